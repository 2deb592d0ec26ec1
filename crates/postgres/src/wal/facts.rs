//! What a segment holds, as far as choosing a moment to recover to must know.

use super::decoder::{DecoderSettings, EndReason, RecordDecoder};
use super::page_header::{SegmentHeader, SegmentStartError, inspect_segment_start};
use super::transaction::{Outcome, RestorePoint, TransactionEnd};
use crate::{Lsn, MajorVersion};
use jiff::Timestamp;

/// What happened in one segment. A record belongs to the segment in which it *ends*: only with that segment can it be
/// replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Whose segment it is.
    pub header: SegmentHeader,
    /// The first record that begins in it. None: a longer record goes all the way through, or nothing is valid.
    pub first_record: Option<Lsn>,
    /// The end of the last complete record. The segment's start when there is none in it.
    pub end_of_valid: Lsn,
    /// How many transactions committed.
    pub commits: u64,
    /// The earliest time of a commit. Times are taken before the record is written, so order and time may differ.
    pub first_commit_at: Option<Timestamp>,
    /// The latest time of a commit.
    pub last_commit_at: Option<Timestamp>,
    /// The latest time of a commit or abort: a recovery to a later time runs on past this segment.
    pub last_transaction_at: Option<Timestamp>,
    /// The oldest transaction that committed or aborted, in the circular order of 32-bit numbers.
    pub xid_min: Option<u32>,
    /// The newest one.
    pub xid_max: Option<u32>,
    /// Places named by the user, in order.
    pub restore_points: Vec<RestorePoint>,
    /// Ends with a switch: the rest is empty on purpose.
    pub switched: bool,
    /// All of the segment is valid log, or left empty by a switch. The opposite: see `ended`.
    pub complete: bool,
    /// Why the log ended inside the segment. None for a file that is too short but right as far as it goes.
    pub ended: Option<EndReason>,
}

/// Walks segments one after the other, so that a record which crosses from one to the next is not lost.
#[derive(Debug, Clone)]
pub struct SegmentWalker {
    settings: Option<DecoderSettings>,
    decoder: Option<RecordDecoder>,
}

impl Default for SegmentWalker {
    fn default() -> Self {
        Self::new()
    }
}

impl SegmentWalker {
    /// Takes segment size and cluster from the first segment.
    pub fn new() -> Self {
        Self { settings: None, decoder: None }
    }

    /// With limits, or what to expect, of the caller's choosing.
    pub fn with_settings(settings: DecoderSettings) -> Self {
        Self { settings: Some(settings), decoder: None }
    }

    /// The facts of the next segment. One that doesn't follow on the last begins anew: the rest of a record that began
    /// before it is skipped, and belongs to nobody. `bytes` may be short (a segment being written), never longer.
    pub fn segment(&mut self, bytes: &[u8]) -> Result<SegmentFacts, SegmentStartError> {
        self.visit(bytes, |_| {})
    }

    /// The same, showing each end of a transaction on the way.
    pub fn visit(
        &mut self,
        bytes: &[u8],
        mut on_transaction: impl FnMut(&TransactionEnd),
    ) -> Result<SegmentFacts, SegmentStartError> {
        let header = inspect_segment_start(bytes)?;
        let size = header.segment_size.bytes();
        if bytes.len() as u64 > size {
            return Err(SegmentStartError::Damaged { what: "it is longer than its segment size" });
        }
        let follows = |decoder: &RecordDecoder| decoder.position() == header.start;
        let decoder = self.decoder.take().filter(follows);
        let mut reader = FactsReader::new(header, self.settings, decoder);
        reader.visit(bytes, &mut on_transaction);
        let (facts, decoder) = reader.end();
        self.decoder = facts.complete.then_some(decoder);
        Ok(facts)
    }
}

/// The facts of a segment that comes in pieces, the first of which has at least the header.
#[derive(Debug)]
pub struct FactsReader {
    facts: SegmentFacts,
    decoder: RecordDecoder,
    seen_bytes: u64,
}

impl FactsReader {
    /// For the segment that begins with these bytes, whose neighbours aren't at hand. Reads nothing but its header.
    pub fn of(start: &[u8]) -> Result<Self, SegmentStartError> {
        Ok(Self::new(inspect_segment_start(start)?, None, None))
    }

    fn new(header: SegmentHeader, settings: Option<DecoderSettings>, decoder: Option<RecordDecoder>) -> Self {
        let decoder = decoder.unwrap_or_else(|| {
            let settings = settings.unwrap_or_else(|| DecoderSettings {
                block_bytes: header.block_bytes,
                ..DecoderSettings::new(header.segment_size)
            });
            RecordDecoder::new(settings, header.start)
        });
        Self { facts: SegmentFacts::none(header), decoder, seen_bytes: 0 }
    }

    /// The next bytes, from the first of the segment on. What is beyond its size is not read.
    pub fn read(&mut self, bytes: &[u8]) {
        self.visit(bytes, &mut |_| {});
    }

    fn visit(&mut self, bytes: &[u8], on_transaction: &mut impl FnMut(&TransactionEnd)) {
        let Self { facts, decoder, seen_bytes } = self;
        let room = facts.header.segment_size.bytes() - *seen_bytes;
        let mut input = &bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        *seen_bytes += input.len() as u64;
        while facts.ended.is_none() {
            match decoder.next(&mut input) {
                Ok(Some(record)) => {
                    facts.end_of_valid = record.end;
                    facts.switched |= record.header.is_switch();
                    if record.start >= facts.header.start {
                        facts.first_record.get_or_insert(record.start);
                    }
                    facts.restore_points.extend(RestorePoint::of(&record));
                    if let Some(end) = TransactionEnd::of(&record, facts.header.version) {
                        facts.add(&end);
                        on_transaction(&end);
                    }
                }
                Ok(None) => break,
                Err(end) => facts.ended = Some(end.reason),
            }
        }
    }

    /// What was found in all that came.
    pub fn finish(self) -> SegmentFacts {
        self.end().0
    }

    fn end(self) -> (SegmentFacts, RecordDecoder) {
        let Self { mut facts, decoder, seen_bytes } = self;
        facts.complete = facts.ended.is_none() && seen_bytes == facts.header.segment_size.bytes();
        // A record that began here and goes on in the next segment is the first one, too.
        let under_way = decoder.record_under_way().filter(|start| *start >= facts.header.start);
        facts.first_record = facts.first_record.or(under_way);
        (facts, decoder)
    }
}

/// The facts of a single segment, whose neighbours aren't at hand. A record that crosses its border is not counted.
pub fn segment_facts(bytes: &[u8]) -> Result<SegmentFacts, SegmentStartError> {
    SegmentWalker::new().segment(bytes)
}

/// The commit of that transaction in one segment: where the record begins and ends, and when it was.
pub fn find_commit(bytes: &[u8], xid: u32) -> Result<Option<TransactionEnd>, SegmentStartError> {
    let mut found = None;
    SegmentWalker::new().visit(bytes, |end| {
        if end.xid == Some(xid) && end.outcome == Outcome::Committed && found.is_none() {
            found = Some(*end);
        }
    })?;
    Ok(found)
}

impl SegmentFacts {
    /// Which version wrote the segment.
    pub fn version(&self) -> MajorVersion {
        self.header.version
    }

    fn none(header: SegmentHeader) -> Self {
        Self {
            header,
            first_record: None,
            end_of_valid: header.start,
            commits: 0,
            first_commit_at: None,
            last_commit_at: None,
            last_transaction_at: None,
            xid_min: None,
            xid_max: None,
            restore_points: Vec::new(),
            switched: false,
            complete: false,
            ended: None,
        }
    }

    fn add(&mut self, end: &TransactionEnd) {
        if end.outcome == Outcome::Committed {
            self.commits += 1;
            self.first_commit_at = [self.first_commit_at, end.at].into_iter().flatten().min();
            self.last_commit_at = self.last_commit_at.max(end.at);
        }
        self.last_transaction_at = self.last_transaction_at.max(end.at);
        if let Some(xid) = end.xid {
            self.xid_min = Some(self.xid_min.map_or(xid, |min| if precedes(xid, min) { xid } else { min }));
            self.xid_max = Some(self.xid_max.map_or(xid, |max| if precedes(max, xid) { xid } else { max }));
        }
    }
}

/// Transaction numbers go round: of two, the older is the one less than half the circle behind.
fn precedes(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() < 0
}
