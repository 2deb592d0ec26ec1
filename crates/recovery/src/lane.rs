//! The windows as lanes: for each timeline what can be reached *on it*, and where it left its parent. For drawing.
//!
//! [`crate::windows`] tells each moment once, over all ancestors; a picture shows where the line changes. Positions have no
//! times, so a branch is told by the last thing known to have happened on the parent before it: to the second on a busy
//! server, and no better than its last transaction on a quiet one.

use crate::path::{Path, PointSummary, WalCoverage};
use crate::window::windows_of_path;
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};

/// One timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// Which.
    pub timeline: TimelineId,
    /// The timeline it left, and when, as far as that can be told.
    pub parent: Option<(TimelineId, Option<Timestamp>)>,
    /// From when to when every moment can be reached on it, oldest first.
    pub stretches: Vec<(Timestamp, Timestamp)>,
}

/// Every timeline on which something can be reached, or that has a point, by number.
pub fn lanes(points: &[PointSummary], coverage: &WalCoverage) -> Vec<Lane> {
    let lane = |timeline: TimelineId| {
        let path = Path::to(timeline, coverage);
        let left = path.history.ancestors.last().map(|parent| (parent.timeline, parent.switched_at));
        let parted_at = left.and_then(|(parent, at)| last_known(parent, at, points, coverage));
        let begin = left.map_or(Lsn(0), |(_, at)| at);
        let stretches: Vec<(Timestamp, Timestamp)> = windows_of_path(&path, points)
            .into_iter()
            .filter(|window| window.lsn_to > begin)
            .map(|window| {
                let from = if window.lsn_from >= begin { window.from } else { parted_at.unwrap_or(window.from) };
                (from.min(window.to), window.to)
            })
            .collect();
        Lane { timeline, parent: left.map(|(parent, _)| (parent, parted_at)), stretches }
    };
    let has_point = |timeline: TimelineId| {
        points.iter().any(|point| point.system_id == coverage.system_id && point.timeline == timeline)
    };
    let all = coverage.timelines(points).into_iter().map(lane);
    all.filter(|lane| !lane.stretches.is_empty() || has_point(lane.timeline)).collect()
}

/// The latest time known on a timeline at or before a position.
fn last_known(
    timeline: TimelineId,
    position: Lsn,
    points: &[PointSummary],
    coverage: &WalCoverage,
) -> Option<Timestamp> {
    let path = Path::to(timeline, coverage);
    let of_points = points.iter().filter(|point| path.carries(point) && point.lsn_stop <= position);
    let marks = coverage.runs.iter().filter(|run| run.timeline <= timeline).flat_map(|run| &run.marks);
    let of_marks = marks.filter(|mark| mark.up_to <= position).map(|mark| mark.last_at);
    of_points.map(|point| point.complete_to).chain(of_marks).max()
}
