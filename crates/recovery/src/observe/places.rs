//! Searching the log for a transaction or a restore point.
//!
//! The newest segments first, because what is looked for is mostly a mishap of today; and on until the newest recovery
//! point from which it can be reached was passed, because PostgreSQL would stop at an older one of the same name.

use super::coverage::content;
use crate::error::Result;
use crate::path::PointSummary;
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

/// Looks for the target in all timelines.
pub async fn search(
    archive: &WalArchive,
    inventory: &Inventory,
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
        let newest = places.iter().map(|place| place.end).max();
        let enough = newest.and_then(|end| {
            ours().filter(|point| point.lsn_stop < end).max_by_key(|point| point.lsn_stop).map(|point| point.lsn_start)
        });
        if enough.is_some_and(|enough| segment.end(size) <= enough) {
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
