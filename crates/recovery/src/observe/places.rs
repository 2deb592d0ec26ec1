//! Searching the log for a transaction or a restore point.
//!
//! The newest segments first, because what is looked for is mostly a mishap of today; and on until the newest recovery
//! point from which it can be reached was passed, because PostgreSQL would stop at an older one of the same name.
//!
//! Only what lies on the line that is wanted ends the search. After a cluster was taken back to an earlier moment, the log that it left
//! and the one that it writes have the same numbers: the same transaction is in both, and the other one is reached first.

use super::coverage::content;
use crate::error::Result;
use crate::path::{Path, PointSummary};
use crate::planner::Place;
use crate::target::Target;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::wal::SegmentWalker;
use lifeboat_postgres::wal_file::{Segment, SegmentNumber};
use lifeboat_repository::Progress;
use lifeboat_workload::postgres::wal::{Inventory, WalArchive, WalError};

/// What was found.
pub struct Found {
    pub places: Vec<Place>,
    /// From here on everything was looked at.
    pub looked_from: Lsn,
}

/// Looks for the target in all timelines, until it is found on the line that is wanted.
pub async fn search(
    archive: &WalArchive,
    inventory: &Inventory,
    line: &Path<'_>,
    points: &[PointSummary],
    target: &Target,
    progress: &dyn Progress,
) -> Result<Found> {
    let size = archive.segment_size;
    let ours = || points.iter().filter(|point| point.system_id == archive.system_id);
    let mut places: Vec<Place> = Vec::new();
    let mut segments = segments(archive, inventory);
    segments.sort_by_key(|segment| std::cmp::Reverse((segment.number, segment.timeline)));
    // Before the oldest point nothing can be reached.
    let oldest = ours().map(|point| SegmentNumber::containing(point.lsn_start, size)).min();
    segments.retain(|segment| oldest.is_some_and(|oldest| segment.number >= oldest));
    progress.phase("search the log", Some(segments.len() as u64 * size.bytes()));
    let mut looked_from = None;
    for segment in segments {
        if enough(&places, line, points).is_some_and(|enough| segment.end(size) <= enough) {
            break;
        }
        let before = match segment.previous() {
            Some(previous) => readable(archive, inventory, previous).await?,
            None => Vec::new(),
        };
        let bytes = readable(archive, inventory, segment).await?;
        places.extend(in_segment(segment, &before, &bytes, target));
        looked_from = Some(segment.start(size));
        progress.advance(size.bytes());
    }
    Ok(Found { places, looked_from: looked_from.unwrap_or_default() })
}

/// From where on everything must be looked at. None while nothing was found from which a point leads to it.
fn enough(places: &[Place], line: &Path<'_>, points: &[PointSummary]) -> Option<Lsn> {
    let newest = places.iter().filter(|place| line.passes(place)).map(|place| place.end).max()?;
    let before = points.iter().filter(|point| line.carries(point) && point.lsn_stop < newest);
    before.max_by_key(|point| point.lsn_stop).map(|point| point.lsn_start)
}

/// What is in a segment; nothing when it is damaged everywhere: what is in it can't be reached.
async fn readable(archive: &WalArchive, inventory: &Inventory, segment: Segment) -> Result<Vec<u8>> {
    match content(archive, inventory, segment).await {
        Err(WalError::Repository(error)) if error.is_loss() => Ok(Vec::new()),
        content => Ok(content?),
    }
}

fn segments(archive: &WalArchive, inventory: &Inventory) -> Vec<Segment> {
    let mut segments = Vec::new();
    for timeline in inventory.timelines.keys() {
        for span in inventory.runs(*timeline) {
            let last = Segment::ending_at(*timeline, span.to, archive.segment_size);
            let mut segment = Segment::containing(*timeline, span.from, archive.segment_size);
            while segment.number <= last.number {
                segments.push(segment);
                segment = segment.next();
            }
        }
    }
    segments
}

/// Places whose record ends in the segment; `before` holds where it may have begun.
fn in_segment(segment: Segment, before: &[u8], bytes: &[u8], target: &Target) -> Vec<Place> {
    let mut walker = SegmentWalker::new();
    if !before.is_empty() && walker.segment(before).is_err() {
        walker = SegmentWalker::new();
    }
    let mut places = Vec::new();
    let facts = walker.visit(bytes, |end| {
        if matches!(target, Target::Xid(xid) if end.xid == Some(*xid)) {
            places.push(Place { timeline: segment.timeline, start: Some(end.start), end: end.end });
        }
    });
    if let (Ok(facts), Target::Name(name)) = (facts, target) {
        let named = facts.restore_points.into_iter().filter(|point| point.name == *name);
        places.extend(named.map(|point| Place { timeline: segment.timeline, start: None, end: point.lsn }));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::WalCoverage;
    use lifeboat_postgres::history::TimelineHistory;
    use lifeboat_postgres::{SystemId, TimelineId};
    use lifeboat_repository::PointId;

    fn point(timeline: u32, start: u64) -> PointSummary {
        let at = jiff::Timestamp::UNIX_EPOCH;
        PointSummary {
            id: PointId(format!("{timeline} {start}")),
            system_id: SystemId(7),
            timeline: TimelineId(timeline),
            lsn_start: Lsn(start),
            lsn_stop: Lsn(start + 5),
            stopped_at: at,
            complete_to: at,
            locations: Vec::new(),
            bytes: 0,
            files: 0,
        }
    }

    #[test]
    fn what_lies_on_another_line_ends_no_search() {
        let history = |timeline, text: &[u8]| TimelineHistory::parse(TimelineId(timeline), text).unwrap();
        // Taken back twice, to 0/64 of the first timeline.
        let histories = vec![history(2, b"1\t0/64\tback\n"), history(3, b"1\t0/64\tback\n")];
        let coverage = WalCoverage { system_id: SystemId(7), runs: Vec::new(), histories };
        let points = [point(1, 20), point(2, 900), point(3, 120), point(3, 180)];
        let place = |timeline, end| Place { timeline: TimelineId(timeline), start: None, end: Lsn(end) };
        let (second, third) = (Path::to(TimelineId(2), &coverage), Path::to(TimelineId(3), &coverage));
        let abandoned = [place(2, 950)];
        assert_eq!(enough(&abandoned, &second, &points), Some(Lsn(900)));
        assert_eq!(enough(&abandoned, &third, &points), None, "the same number, by another line");
        let both = [place(2, 950), place(3, 150)];
        assert_eq!(enough(&both, &third, &points), Some(Lsn(120)), "not from a point behind it, nor of the other line");
        assert_eq!(enough(&[place(1, 60)], &third, &points), Some(Lsn(20)), "what both lines share");
        assert_eq!(enough(&[place(1, 110)], &third, &points), None, "what the first did alone");
    }
}
