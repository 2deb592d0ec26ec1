//! From what is archived to what planning must know of it: exact ends, and times where they matter.
//!
//! A listing tells which segments there are, not what is in them, and reading all of a large archive would take longer
//! than a restore. So only these are read: the end of each run, back to the last transaction, and the beginning of each
//! timeline, up to its first one; and what a verification found damaged. A segment that is damaged everywhere is as good as missing: the log ends before it, and begins anew
//! behind it. Nothing may stop a restore that doesn't need it.

use crate::error::{RecoveryError, Result};
use crate::path::{Run, TransactionMark, WalCoverage};
use futures::StreamExt;
use lifeboat_postgres::wal::{
    DecoderSettings, Keep, RecordDecoder, SegmentFacts, SegmentWalker, inspect_segment_start,
};
use lifeboat_postgres::wal_file::{Segment, SegmentName, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::LogEntry;
use lifeboat_workload::postgres::wal::{Inventory, Span, WalArchive, WalError, facts_of};
use std::collections::BTreeSet;

/// How many segments are looked at for a transaction. Segments without any are those of an idle cluster whose log is
/// switched by the clock: at one a minute, these are four hours.
const SEGMENTS_SEARCHED_MAX: usize = 256;
/// Segments read side by side.
const READS_AT_ONCE: usize = 4;

/// What is archived of one cluster. What is damaged is told in `notes`.
pub async fn coverage(archive: &WalArchive, inventory: &Inventory, notes: &mut Vec<String>) -> Result<WalCoverage> {
    let mut runs = Vec::new();
    let lost = lost(archive, inventory, notes).await?;
    for timeline in inventory.timelines.keys() {
        let mut spans = trusted(inventory, *timeline);
        for segment in lost.iter().filter(|segment| segment.timeline == *timeline) {
            spans = spans.into_iter().flat_map(|span| around(span, *segment, archive.segment_size)).collect();
        }
        while let Some(span) = spans.pop() {
            match run(archive, inventory, *timeline, span).await {
                Ok(run) => runs.push(run),
                Err(Unread::Damaged(segment, error)) => {
                    notes.push(unreadable(segment, archive.segment_size, &error));
                    spans.extend(around(span, segment, archive.segment_size));
                }
                Err(Unread::Failed(error)) => return Err(error),
            }
        }
    }
    runs.sort_by_key(|run| (run.timeline, run.from));
    let histories = inventory.histories.values().cloned().collect();
    Ok(WalCoverage { system_id: archive.system_id, runs, histories })
}

/// A segment that could not be read.
enum Unread {
    /// No location has it as it was written.
    Damaged(Segment, WalError),
    /// Perhaps one has it.
    Failed(RecoveryError),
}

impl Unread {
    fn of(segment: Segment, error: WalError) -> Self {
        match error {
            WalError::Repository(ref cause) if cause.is_loss() => Self::Damaged(segment, error),
            error => Self::Failed(error.into()),
        }
    }
}

/// The segments that were found damaged, or can't be whole by their size, and are: each is read once more, because what is known may
/// be old, and another location may have it.
async fn lost(archive: &WalArchive, inventory: &Inventory, notes: &mut Vec<String>) -> Result<Vec<Segment>> {
    let damaged = archive.repository.damaged_logs(&archive.workload).await;
    let mut suspects: BTreeSet<Segment> = BTreeSet::new();
    for (timeline, log) in &inventory.timelines {
        let is_suspect = |entry: &LogEntry| entry.is_too_short() || damaged.contains(&entry.key(&archive.workload));
        let whole = log.segments.iter().filter(|(_, entry)| is_suspect(entry)).map(|(number, _)| *number);
        let parts = log.tails.iter().filter(|(_, parts)| parts.iter().any(|(_, entry)| is_suspect(entry)));
        let partial = log.partials.iter().filter(|(_, partial)| is_suspect(&partial.entry)).map(|(number, _)| *number);
        let numbers = whole.chain(parts.map(|(number, _)| *number)).chain(partial);
        suspects.extend(numbers.map(|number| Segment { timeline: *timeline, number }));
    }
    let read = suspects.into_iter().map(|segment| async move {
        let read = content(archive, inventory, segment).await;
        (segment, read.map(|_| ()).map_err(|error| Unread::of(segment, error)))
    });
    let mut read = futures::stream::iter(read).buffered(READS_AT_ONCE);
    let mut lost = Vec::new();
    while let Some((segment, outcome)) = read.next().await {
        match outcome {
            Ok(()) => {}
            Err(Unread::Damaged(_, error)) => {
                notes.push(unreadable(segment, archive.segment_size, &error));
                lost.push(segment);
            }
            Err(Unread::Failed(error)) => return Err(error),
        }
    }
    Ok(lost)
}

fn unreadable(segment: Segment, size: SegmentSize, error: &WalError) -> String {
    format!("{} can't be read, and the log ends before it: {error}", segment.name(size))
}

/// What is left of a stretch without one of its segments.
fn around(span: Span, segment: Segment, size: SegmentSize) -> impl Iterator<Item = Span> {
    let (start, end) = (segment.start(size), segment.end(size));
    let parts = [Span { to: span.to.min(start), ..span }, Span { from: span.from.max(end), ..span }];
    parts.into_iter().filter(|span| span.from < span.to)
}

/// The stretches of a timeline without the segments that are stored with two contents: fetching one is refused, and so
/// recovery ends before it.
fn trusted(inventory: &Inventory, timeline: TimelineId) -> Vec<Span> {
    let size = inventory.segment_size;
    let doubtful = inventory.conflicts.iter().filter_map(|name| {
        // A part or a `.partial` in doubt puts its segment in doubt.
        let segment = name.get(..24)?.parse::<SegmentName>().ok()?.with_size(size).ok()?;
        (segment.timeline == timeline).then_some(segment)
    });
    let mut spans = inventory.runs(timeline);
    for segment in doubtful {
        spans = spans.into_iter().flat_map(|span| around(span, segment, size)).collect();
    }
    for span in &mut spans {
        // A piece of a segment is given to recovery only as the end of its timeline: with more behind it, it's a gap.
        let next = Segment::ending_at(timeline, span.to, size).next().number;
        let goes_on = inventory.timelines.get(&timeline).is_some_and(|log| {
            log.segments.contains_key(&next) || log.partials.contains_key(&next) || log.tails.contains_key(&next)
        });
        if goes_on {
            span.to = Lsn(span.to.0 - size.offset_of(span.to));
        }
    }
    spans.retain(|span| span.from < span.to);
    spans
}

async fn run(
    archive: &WalArchive,
    inventory: &Inventory,
    timeline: TimelineId,
    span: Span,
) -> std::result::Result<Run, Unread> {
    let size = archive.segment_size;
    let last = Segment::ending_at(timeline, span.to, size);
    let first = SegmentNumber::containing(span.from, size);
    // A record may begin in the segment before.
    let mut pieces = Vec::new();
    for segment in last.previous().into_iter().filter(|segment| segment.number >= first).chain([last]) {
        let content = content(archive, inventory, segment).await;
        pieces.push((segment, content.map_err(|error| Unread::of(segment, error))?));
    }
    let end = end_of(&pieces, size);
    let to = end.as_ref().map_or(span.to, |end| end.to.min(span.to));
    let mut marks: Vec<TransactionMark> = Vec::new();
    for facts in end.iter().flat_map(|end| &end.facts) {
        let up_to = facts.end_of_valid.min(to);
        marks.extend(facts.last_transaction_at.map(|last_at| TransactionMark { up_to, last_at }));
    }
    if marks.is_empty() {
        let before = pieces.first().and_then(|(segment, _)| segment.previous());
        let mut earlier = before.filter(|segment| segment.number >= first);
        for _ in 0..SEGMENTS_SEARCHED_MAX {
            let Some(segment) = earlier else { break };
            if let Some(mark) = mark(archive, inventory, segment).await? {
                marks.push(mark);
                break;
            }
            earlier = segment.previous().filter(|segment| segment.number >= first);
        }
    }
    marks.extend(first_mark(archive, inventory, timeline, span).await?);
    marks.sort_by_key(|mark| mark.up_to);
    marks.dedup_by_key(|mark| mark.up_to);
    // Recovery would ask for it, hear that it can't be had, and give up: it must be told to stop before.
    let is_refused_behind = inventory.segment(last.next().name(size)).is_some() && span.to == last.end(size);
    let last_record = end.map(|end| end.last_record);
    Ok(Run { timeline, from: span.from, to, bytes_to: span.to, last_record, is_refused_behind, marks })
}

/// The first transactions after the timeline began, when that was in this run: they tell whether its parent lived on.
async fn first_mark(
    archive: &WalArchive,
    inventory: &Inventory,
    timeline: TimelineId,
    span: Span,
) -> std::result::Result<Option<TransactionMark>, Unread> {
    let history = inventory.histories.get(&timeline);
    let Some(begin) = history.and_then(|history| history.ancestors.last()).map(|parent| parent.switched_at) else {
        return Ok(None);
    };
    let mut segment = Segment::containing(timeline, begin, archive.segment_size);
    for _ in 0..SEGMENTS_SEARCHED_MAX {
        let start = segment.start(archive.segment_size);
        if start < span.from || start >= span.to {
            return Ok(None);
        }
        if let Some(mark) = mark(archive, inventory, segment).await?.filter(|mark| mark.up_to > begin) {
            return Ok(Some(mark));
        }
        segment = segment.next();
    }
    Ok(None)
}

/// The transactions of one whole segment.
async fn mark(
    archive: &WalArchive,
    inventory: &Inventory,
    segment: Segment,
) -> std::result::Result<Option<TransactionMark>, Unread> {
    let Some(entry) = inventory.segment(segment.name(archive.segment_size)) else { return Ok(None) };
    let facts = facts_of(archive, entry).await.map_err(|error| Unread::of(segment, error))?;
    Ok(facts.last_transaction_at.map(|last_at| TransactionMark { up_to: facts.end_of_valid, last_at }))
}

/// The bytes of a segment, from its first one on, as far as they are archived: whole, from a receiver's parts, or from
/// what PostgreSQL archived when the timeline ended.
pub(crate) async fn content(
    archive: &WalArchive,
    inventory: &Inventory,
    segment: Segment,
) -> std::result::Result<Vec<u8>, WalError> {
    let name = segment.name(archive.segment_size);
    let read = async |entry| -> std::result::Result<Vec<u8>, WalError> {
        Ok(archive.repository.get_log(&archive.workload, entry, &mut Vec::new()).await?.bytes)
    };
    if let Some(entry) = inventory.segment(name) {
        return read(entry).await;
    }
    let Some(log) = inventory.timelines.get(&segment.timeline) else { return Ok(Vec::new()) };
    let mut bytes = Vec::new();
    for (tail, entry) in log.tails.get(&segment.number).into_iter().flatten() {
        let reached = bytes.len();
        if (tail.from as usize) <= reached && (tail.to as usize) > reached {
            let part = read(entry).await?;
            bytes.extend_from_slice(part.get(reached - tail.from as usize..).unwrap_or_default());
        }
    }
    if let Some(partial) = log.partials.get(&segment.number) {
        let valid = partial.valid_to.unwrap_or_default().bytes_since(segment.start(archive.segment_size));
        if valid > bytes.len() as u64 {
            return read(&partial.entry).await;
        }
    }
    Ok(bytes)
}

/// Where a run ends.
struct End {
    to: Lsn,
    last_record: Lsn,
    facts: Vec<SegmentFacts>,
}

/// None when there is no record in the pieces, or they can't be read as log: then the run ends where its bytes do.
fn end_of(pieces: &[(Segment, Vec<u8>)], size: SegmentSize) -> Option<End> {
    let (first, bytes) = pieces.first()?;
    let header = inspect_segment_start(bytes).ok()?;
    let settings =
        DecoderSettings { block_bytes: header.block_bytes, keep: Keep::Nothing, ..DecoderSettings::new(size) };
    let mut decoder = RecordDecoder::new(settings, first.start(size));
    let mut last = None;
    for (_, bytes) in pieces {
        let mut input = bytes.as_slice();
        while let Ok(Some(record)) = decoder.next(&mut input) {
            last = Some((record.start, record.end));
        }
    }
    let (last_record, to) = last?;
    let mut walker = SegmentWalker::new();
    let facts = pieces.iter().map_while(|(_, bytes)| walker.segment(bytes).ok()).collect();
    Some(End { to, last_record, facts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::SystemId;

    #[test]
    fn a_segment_with_two_contents_is_a_hole() {
        let name = |number: u64| format!("0000000100000000{number:08X}");
        let entry = |number: u64, content: &str| LogEntry {
            group: "7/00000001/00000000".into(),
            name: name(number),
            content_id: content.into(),
            stored_bytes: 1,
            locations: vec!["near".into()],
        };
        let size = SegmentSize::new(1 << 20).unwrap();
        let spans = |entries: Vec<LogEntry>| {
            let spans = trusted(&Inventory::build(SystemId(7), size, entries), TimelineId(1));
            spans.iter().map(|span| (span.from.0 >> 20, span.to.0 >> 20)).collect::<Vec<_>>()
        };
        let mut entries: Vec<LogEntry> = (2..7).map(|number| entry(number, "a")).collect();
        assert_eq!(spans(entries.clone()), [(2, 7)]);
        entries.push(entry(4, "b"));
        assert_eq!(spans(entries.clone()), [(2, 4), (5, 7)]);
        entries.push(entry(6, "b"));
        assert_eq!(spans(entries), [(2, 4), (5, 6)]);
    }

    #[test]
    fn a_piece_of_a_segment_counts_only_at_the_end() {
        let entry = |name: &str| LogEntry {
            group: "7/00000001/00000000".into(),
            name: name.into(),
            content_id: "a".into(),
            stored_bytes: 1,
            locations: vec!["near".into()],
        };
        let size = SegmentSize::new(1 << 20).unwrap();
        let spans = |names: &[&str]| {
            let entries = names.iter().map(|name| entry(name)).collect();
            let spans = trusted(&Inventory::build(SystemId(7), size, entries), TimelineId(1));
            spans.iter().map(|span| (span.from.0, span.to.0)).collect::<Vec<_>>()
        };
        let whole = "000000010000000000000002";
        let piece = "000000010000000000000003.00000000.00000800";
        assert_eq!(spans(&[whole, piece]), [(2 << 20, (3 << 20) + 0x800)]);
        let next = "000000010000000000000004";
        assert_eq!(spans(&[whole, piece, next]), [(2 << 20, 3 << 20), (4 << 20, 5 << 20)]);
    }
}
