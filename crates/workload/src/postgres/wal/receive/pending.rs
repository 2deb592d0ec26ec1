//! The bytes that have come and that somebody still has to store. Does no I/O and knows no clock.

use bytes::Bytes;
use lifeboat_postgres::wal_file::{Segment, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};
use std::collections::VecDeque;

/// How much may wait in memory, unless a single segment is larger.
const WAITING_BYTES_MAX: u64 = 64 << 20;

/// Consecutive segments of one timeline; all but the last are whole.
#[derive(Debug)]
pub(crate) struct Pending {
    size: SegmentSize,
    first: Segment,
    segments: VecDeque<Vec<u8>>,
}

impl Pending {
    /// Bytes will come from the start of the segment that holds `from`.
    pub(crate) fn new(timeline: TimelineId, from: Lsn, size: SegmentSize) -> Self {
        Self { size, first: Segment::containing(timeline, from, size), segments: VecDeque::new() }
    }

    /// The timeline of all of it.
    pub(crate) fn timeline(&self) -> TimelineId {
        self.first.timeline
    }

    /// The size of its segments.
    pub(crate) fn size(&self) -> SegmentSize {
        self.size
    }

    /// The first byte that is still here.
    pub(crate) fn start(&self) -> Lsn {
        self.first.start(self.size)
    }

    /// Where the next byte belongs.
    pub(crate) fn received(&self) -> Lsn {
        let bytes: u64 = self.segments.iter().map(|segment| segment.len() as u64).sum();
        self.start().saturating_add(bytes)
    }

    /// Whether more may come now.
    pub(crate) fn has_room(&self) -> bool {
        self.received().bytes_since(self.start()) < (2 * self.size.bytes()).max(WAITING_BYTES_MAX)
    }

    /// Takes bytes. False when they don't follow on what came before.
    #[must_use]
    pub(crate) fn append(&mut self, start: Lsn, mut bytes: &[u8]) -> bool {
        if start != self.received() {
            return false;
        }
        let size = usize::try_from(self.size.bytes()).unwrap_or(usize::MAX);
        while !bytes.is_empty() {
            if self.segments.back().is_none_or(|last| last.len() == size) {
                self.segments.push_back(Vec::new());
            }
            if let Some(last) = self.segments.back_mut() {
                let (now, later) = bytes.split_at(bytes.len().min(size - last.len()));
                last.extend_from_slice(now);
                bytes = later;
            }
        }
        true
    }

    /// The bytes from one position to another in the same segment; `None` when they aren't all here.
    pub(crate) fn piece(&self, from: Lsn, to: Lsn) -> Option<Bytes> {
        let segment = Segment::containing(self.timeline(), from, self.size);
        let index = segment.number.0.checked_sub(self.first.number.0)?;
        let start = segment.start(self.size);
        let place = |lsn: Lsn| usize::try_from(lsn.bytes_since(start)).ok();
        let bytes = self.segments.get(usize::try_from(index).ok()?)?.get(place(from)?..place(to)?)?;
        (from < to).then(|| Bytes::copy_from_slice(bytes))
    }

    /// Drops the segments that end at or before `lsn`.
    pub(crate) fn forget_before(&mut self, lsn: Lsn) {
        let size = self.size.bytes();
        while self.first.end(self.size) <= lsn && self.segments.front().is_some_and(|front| front.len() as u64 == size)
        {
            self.segments.pop_front();
            self.first = self.first.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pending(from: u64) -> Pending {
        Pending::new(TimelineId(1), Lsn(from), SegmentSize::new(MIB).unwrap())
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut log = pending(3 * MIB);
        assert!(!log.append(Lsn(3 * MIB + 1), &[1]));
        assert!(!log.append(Lsn(2 * MIB), &[1]));
    }

    #[test]
    fn pieces_lie_in_one_segment() {
        let mut log = pending(3 * MIB + 100);
        assert!(log.append(Lsn(3 * MIB), &[1; 100]));
        assert!(log.append(log.received(), &vec![2; MIB as usize]));
        assert_eq!(log.piece(Lsn(3 * MIB + 99), Lsn(3 * MIB + 101)).unwrap()[..], [1, 2]);
        assert_eq!(log.piece(Lsn(4 * MIB), Lsn(4 * MIB + 100)).unwrap().len(), 100);
        for (from, to) in [(3 * MIB, 4 * MIB + 1), (4 * MIB, 4 * MIB + 101), (2 * MIB, 2 * MIB + 1), (3 * MIB, 3 * MIB)]
        {
            assert_eq!(log.piece(Lsn(from), Lsn(to)), None, "{from} {to}");
        }
        log.forget_before(Lsn(4 * MIB + 50));
        assert_eq!((log.start(), log.received()), (Lsn(4 * MIB), Lsn(4 * MIB + 100)));
        log.forget_before(Lsn(9 * MIB));
        assert_eq!(log.start(), Lsn(4 * MIB), "the one that is filled stays");
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = pending(0);
        while log.has_room() {
            assert!(log.append(log.received(), &vec![0; MIB as usize / 2]));
        }
        assert_eq!(log.received(), Lsn(WAITING_BYTES_MAX));
        log.forget_before(Lsn(MIB));
        assert!(log.has_room());
    }
}
