//! The main line: which timeline a restore follows when nobody said.
//!
//! It starts on the timeline of the newest recovery point, because points are taken of the cluster that is in use, and
//! goes on to a child where the parent has ended. Two things look alike in the archive: a failover, after which the
//! child is the cluster; and a copy that was promoted by accident and archived a little, while the parent went on. What
//! tells them apart is the parent: did it end transactions after the child had begun to? Then it lived on, and the line
//! stays with it. What an old primary did alone in the moments before it was stopped doesn't count as living on.
//!
//! Where two children could each be the heir, nobody is chosen here.

use crate::path::{PointSummary, WalCoverage};
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};

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
    // Without log of its own there is nothing to follow: recovery would run on along the parent.
    let has_log = coverage.runs_of(child).any(|run| run.from <= parted_at && parted_at < run.to);
    let ours = points.iter().filter(|point| point.system_id == coverage.system_id);
    let was_backed_up_later = ours.clone().any(|point| point.timeline == parent && point.lsn_stop > parted_at);
    if !has_log || was_backed_up_later {
        return false;
    }
    match (last_transaction_after(parent, parted_at, coverage), first_transactions_after(child, parted_at, coverage)) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(parent_last), Some(child_first)) => parent_last <= child_first,
    }
}

fn last_transaction_after(timeline: TimelineId, lsn: Lsn, coverage: &WalCoverage) -> Option<Timestamp> {
    marks_after(timeline, lsn, coverage).max()
}

fn first_transactions_after(timeline: TimelineId, lsn: Lsn, coverage: &WalCoverage) -> Option<Timestamp> {
    marks_after(timeline, lsn, coverage).min()
}

fn marks_after(timeline: TimelineId, lsn: Lsn, coverage: &WalCoverage) -> impl Iterator<Item = Timestamp> {
    let marks = coverage.runs_of(timeline).flat_map(|run| run.marks.iter());
    marks.filter(move |mark| mark.up_to > lsn).map(|mark| mark.last_at)
}
