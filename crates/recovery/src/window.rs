//! The windows: spans inside which every moment can be brought back.
//!
//! A window begins where a recovery point is consistent and ends where the log that follows it has a hole, or ends. Each
//! is told for one timeline, over that timeline's ancestors. A timeline whose every moment is also reached by one that
//! descends from it is not listed by itself: after a clean promotion there is one line, not two.
//!
//! Times are known as far as the ends of transactions are: between the last of them and the end of the log nothing
//! can be seen to differ.

use crate::path::{Path, PointSummary, WalCoverage};
use crate::target::spoken;
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::PointId;
use serde::Serialize;
use std::fmt;

/// A span inside which every moment can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Window {
    /// Given as `--timeline`, every moment of the window is on the path.
    pub timeline: TimelineId,
    /// The earliest moment.
    pub from: Timestamp,
    /// The latest: the end of the last transaction that is archived, or of the last point.
    pub to: Timestamp,
    /// The earliest position.
    pub lsn_from: Lsn,
    /// The latest position.
    pub lsn_to: Lsn,
    /// The points in it, oldest first.
    pub points: Vec<PointId>,
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (spoken(self.from, None), spoken(self.to, None));
        write!(f, "timeline {}: {from} to {to} ({} to {})", self.timeline, self.lsn_from, self.lsn_to)
    }
}

/// A point that can't be made consistent: log that it needs is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// The point.
    pub point: PointId,
    /// Its timeline.
    pub timeline: TimelineId,
    /// The first byte that is missing.
    pub missing_from: Lsn,
    /// Where it would have been consistent.
    pub needed_to: Lsn,
}

/// All windows of one cluster, by timeline, then by time.
pub fn windows(points: &[PointSummary], coverage: &WalCoverage) -> Vec<Window> {
    let of_timeline = |timeline| {
        let path = Path::to(timeline, coverage);
        // A window that ends before the timeline begins is its ancestor's.
        let ends_here = |window: &Window| path.history.timeline_at(Lsn(window.lsn_to.0.saturating_sub(1))) == timeline;
        let windows = windows_of_path(&path, points).into_iter().filter(ends_here).collect();
        (path, windows)
    };
    let all: Vec<(Path, Vec<Window>)> = coverage.timelines(points).into_iter().map(of_timeline).collect();
    let is_repeated = |window: &Window| {
        let descendants = all.iter().filter(|(path, _)| path.history.timeline != window.timeline);
        descendants.filter(|(path, _)| path.history.contains_end(window.timeline, window.lsn_to)).any(|(_, theirs)| {
            theirs.iter().any(|other| {
                other.lsn_from <= window.lsn_from && window.lsn_to <= other.lsn_to && window.to <= other.to
            })
        })
    };
    all.iter().flat_map(|(_, windows)| windows).filter(|window| !is_repeated(window)).cloned().collect()
}

/// The windows on one path, oldest first.
pub(crate) fn windows_of_path(path: &Path, points: &[PointSummary]) -> Vec<Window> {
    let mut on_path: Vec<&PointSummary> = points.iter().filter(|point| path.carries(point)).collect();
    on_path.sort_by_key(|point| (point.lsn_stop, point.stopped_at));
    let mut windows: Vec<Window> = Vec::new();
    for point in on_path {
        let reach = path.reach(point.lsn_start);
        if reach.end < point.lsn_stop {
            continue;
        }
        // Of the time between `complete_to` and `stopped_at` the log behind the point tells, if it is there.
        let known_to = reach.last_at.map_or(point.complete_to, |at| at.max(point.complete_to));
        match windows.last_mut().filter(|window| point.lsn_stop <= window.lsn_to) {
            Some(window) => {
                window.to = window.to.max(known_to);
                window.lsn_to = window.lsn_to.max(reach.end);
                window.points.push(point.id.clone());
            }
            None => windows.push(Window {
                timeline: path.history.timeline,
                from: point.stopped_at,
                to: known_to.max(point.stopped_at),
                lsn_from: point.lsn_stop,
                lsn_to: reach.end,
                points: vec![point.id.clone()],
            }),
        }
    }
    windows
}

/// Points that lie in no window, because log between their start and their end is missing.
pub fn unusable(points: &[PointSummary], coverage: &WalCoverage) -> Vec<Unusable> {
    let paths: Vec<Path> =
        coverage.timelines(points).into_iter().map(|timeline| Path::to(timeline, coverage)).collect();
    let ours = points.iter().filter(|point| point.system_id == coverage.system_id);
    let missing = ours.filter_map(|point| {
        let ends = paths.iter().filter(|path| path.carries(point)).map(|path| path.reach(point.lsn_start).end);
        let missing_from = ends.max().unwrap_or(point.lsn_start);
        let unusable =
            Unusable { point: point.id.clone(), timeline: point.timeline, missing_from, needed_to: point.lsn_stop };
        (missing_from < point.lsn_stop).then_some(unusable)
    });
    missing.collect()
}
