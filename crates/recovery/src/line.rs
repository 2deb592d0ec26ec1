//! The main line: which timeline a restore follows when nobody said.
//!
//! It starts on the timeline of the newest recovery point, because points are taken of the cluster that is in use, and
//! goes on to a child where the parent has ended. Two things look alike in the archive: a failover, after which the
//! child is the cluster; and a copy that was promoted by accident and archived a little, while the parent went on. What
//! tells them apart is the parent: did it end transactions after the child had begun to? Then it lived on, and the line
//! stays with it. What an old primary did alone in the moments before it was stopped doesn't count as living on: it may
//! be heard of by nobody, go on until its lease ends, and end transactions of its own after its successor's first.
//!
//! Where two children could each be the heir, nobody is chosen here.

use crate::path::{PointSummary, Run, WalCoverage};
use jiff::Timestamp;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::{Lsn, TimelineId};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long an old primary may go on beside its successor: longer than any lease, and what clocks differ by.
const LAST_MOMENTS: Duration = Duration::from_secs(30);

/// Where the main line leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// The timeline it ends on.
    pub timeline: TimelineId,
    /// More than one child took over from there, as far as can be seen.
    pub heirs: Vec<TimelineId>,
    /// Children of the line's timelines that are not followed, and where they branched off.
    pub branches: Vec<(TimelineId, Lsn)>,
}

/// Follows the line that begins on `start`.
pub(crate) fn main_line(start: TimelineId, points: &[PointSummary], coverage: &WalCoverage) -> Line {
    let mut line = Line { timeline: start, heirs: Vec::new(), branches: Vec::new() };
    loop {
        let children = children_of(line.timeline, coverage);
        let (heirs, branches): (Vec<_>, Vec<_>) =
            children.into_iter().partition(|(child, at)| is_heir(*child, line.timeline, *at, points, coverage));
        line.branches.extend(branches);
        match heirs.as_slice() {
            [] => return line,
            // A child's number is greater than its parent's, so this comes to an end.
            [(heir, _)] => line.timeline = *heir,
            several => {
                line.heirs = several.iter().map(|(heir, _)| *heir).collect();
                line.branches.extend_from_slice(several);
                return line;
            }
        }
    }
}

/// Timelines that branched off this one, and where.
fn children_of(timeline: TimelineId, coverage: &WalCoverage) -> Vec<(TimelineId, Lsn)> {
    let parted = coverage.histories.iter().filter_map(|history| {
        let parent = history.ancestors.last()?;
        (parent.timeline == timeline && history.timeline > timeline).then_some((history.timeline, parent.switched_at))
    });
    parted.collect()
}

fn is_heir(
    child: TimelineId,
    parent: TimelineId,
    parted_at: Lsn,
    points: &[PointSummary],
    coverage: &WalCoverage,
) -> bool {
    // Without log behind the fork there is nothing to follow: recovery would run on along the parent. A child that was replaced before it
    // archived anything has left its log at the beginning of its own child's.
    let line = line_of(child, coverage);
    let has_log = runs_of(&line, coverage).any(|run| run.from <= parted_at && parted_at < run.to);
    let ours = points.iter().filter(|point| point.system_id == coverage.system_id);
    let was_backed_up_later = ours.clone().any(|point| point.timeline == parent && point.lsn_stop > parted_at);
    if !has_log || was_backed_up_later {
        return false;
    }
    let parent_last = marks_after(&[parent].into(), parted_at, coverage).max();
    let child_first = marks_after(&line, parted_at, coverage).min();
    let child_last = marks_after(&line, parted_at, coverage).max();
    match (parent_last, child_first.zip(child_last)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(parent_last), Some((child_first, child_last))) => {
            let is_soon = child_first.checked_add(LAST_MOMENTS).is_ok_and(|until| parent_last <= until);
            parent_last <= child_first || (is_soon && child_last > parent_last)
        }
    }
}

/// A timeline and all that descend from it.
fn line_of(timeline: TimelineId, coverage: &WalCoverage) -> BTreeSet<TimelineId> {
    let descends = |history: &&TimelineHistory| history.ancestors.iter().any(|ancestor| ancestor.timeline == timeline);
    let descendants = coverage.histories.iter().filter(descends).map(|history| history.timeline);
    descendants.chain([timeline]).collect()
}

fn runs_of<'a>(line: &'a BTreeSet<TimelineId>, coverage: &'a WalCoverage) -> impl Iterator<Item = &'a Run> {
    coverage.runs.iter().filter(|run| line.contains(&run.timeline))
}

/// When transactions ended behind a position, one for each mark.
fn marks_after(line: &BTreeSet<TimelineId>, lsn: Lsn, coverage: &WalCoverage) -> impl Iterator<Item = Timestamp> {
    let marks = runs_of(line, coverage).flat_map(|run| run.marks.iter()).filter(|mark| mark.up_to > lsn);
    marks.map(|mark| mark.last_at).collect::<Vec<_>>().into_iter()
}
