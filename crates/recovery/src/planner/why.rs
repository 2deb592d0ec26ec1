//! Which reason helps most when no point will do.

use super::{Fit, Place, Planner};
use crate::path::{Path, PointSummary};
use crate::refusal::Reason;
use crate::target::Target;
use crate::window::windows_of_path;
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};

impl Planner<'_> {
    /// No point of `on_path` will do: the most helpful reason.
    pub(super) fn why_not(&self, path: &Path, on_path: &[&PointSummary], places: &[Place]) -> Reason {
        if let Some(given) = &self.given {
            return self.why_not_given(given, path, on_path, places);
        }
        let windows =
            windows_of_path(path, on_path.iter().map(|point| (*point).clone()).collect::<Vec<_>>().as_slice());
        let (Some(first), Some(last)) = (windows.first(), windows.last()) else {
            let newest = on_path.last().map(|point| (*point).clone());
            return newest.map_or(Reason::NoPoints { location: self.wanted.location.clone() }, |point| {
                let missing_from = path.reach(point.lsn_start).end;
                Reason::LogMissing { point: point.id, missing_from, needed_to: point.lsn_stop }
            });
        };
        let is_before = |at: Timestamp, lsn: Lsn| match &self.wanted.target {
            Target::Time(time) => *time < at,
            Target::Lsn(target) => *target < lsn,
            _ => places.last().is_some_and(|place| place.end <= lsn),
        };
        if is_before(first.from, first.lsn_from) {
            return Reason::TooEarly { at: first.from, lsn: first.lsn_from };
        }
        let after = windows.iter().position(|window| is_before(window.from, window.lsn_from));
        match after.and_then(|after| Some((windows.get(after.checked_sub(1)?)?, windows.get(after)?))) {
            Some((before, after)) => Reason::InGap {
                before: before.to,
                lsn_before: before.lsn_to,
                after: after.from,
                lsn_after: after.lsn_from,
            },
            None => Reason::TooLate { at: last.to, lsn: last.lsn_to },
        }
    }

    fn why_not_given(&self, given: &PointSummary, path: &Path, on_path: &[&PointSummary], places: &[Place]) -> Reason {
        let reaches = |point: &&&PointSummary| matches!(self.fit(point, path, places), Fit::Reaches(..));
        let better = on_path.iter().rev().find(reaches).map(|point| point.id.clone());
        let point = given.id.clone();
        match self.fit(given, path, places) {
            Fit::LogMissing(missing_from) => Reason::LogMissing { point, missing_from, needed_to: given.lsn_stop },
            Fit::FallsShort(reach) => {
                let at = self.known_to(path, &reach, given);
                Reason::PointFallsShort { point, at, lsn: reach.end, better }
            }
            Fit::TooLate | Fit::Reaches(..) => {
                Reason::PointAfterTarget { point, at: given.stopped_at, lsn: given.lsn_stop, better }
            }
        }
    }

    /// Not on the main line: perhaps on another, which only the user can say is meant.
    pub(super) fn look_elsewhere(&self, line: TimelineId, reason: Reason) -> Reason {
        let others = self.coverage().timelines(&self.points).into_iter().filter(|timeline| *timeline != line);
        let timelines: Vec<TimelineId> = others.filter(|timeline| self.on_timeline(*timeline).is_ok()).collect();
        if timelines.is_empty() { reason } else { Reason::OnAnotherTimeline { line, timelines } }
    }
}

impl Reason {
    /// Another timeline may help.
    pub(super) fn is_about_the_target(&self) -> bool {
        matches!(
            self,
            Self::TooEarly { .. }
                | Self::TooLate { .. }
                | Self::InGap { .. }
                | Self::NotInLog { .. }
                | Self::PointFallsShort { .. }
                | Self::PointAfterTarget { .. }
                | Self::LogMissing { .. }
                | Self::NotOnPath { .. }
        )
    }
}
