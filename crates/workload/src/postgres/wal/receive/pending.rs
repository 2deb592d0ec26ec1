//! The bytes that have come and are not stored yet, and what to store next. Does no I/O and knows no clock.

use super::super::archive::TailName;
use bytes::Bytes;
use lifeboat_postgres::wal_file::{Segment, SegmentName, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};
use std::collections::VecDeque;

/// How much may wait in memory, unless a single segment is larger.
const WAITING_BYTES_MAX: u64 = 64 << 20;

/// What is to be stored next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Job {
    /// A whole segment.
    Segment(SegmentName, Bytes),
    /// A part of the segment that is being received.
    Tail(TailName, Bytes),
}

/// Consecutive segments of one timeline; all but the last are whole.
#[derive(Debug)]
pub(crate) struct Pending {
    size: SegmentSize,
    first: Segment,
    segments: VecDeque<Vec<u8>>,
    stored: Lsn,
}

impl Pending {
    /// Bytes will come from the start of the segment that holds `stored`; what lies before `stored` is stored already.
    pub(crate) fn new(timeline: TimelineId, stored: Lsn, size: SegmentSize) -> Self {
        let first = Segment::containing(timeline, stored, size);
        Self { size, first, segments: VecDeque::new(), stored }
    }

    /// The timeline of all of it.
    pub(crate) fn timeline(&self) -> TimelineId {
        self.first.timeline
    }

    /// Where the next byte belongs.
    pub(crate) fn received(&self) -> Lsn {
        let bytes: u64 = self.segments.iter().map(|segment| segment.len() as u64).sum();
        self.first.start(self.size).saturating_add(bytes)
    }

    /// Everything before is in the repository.
    pub(crate) fn stored(&self) -> Lsn {
        self.stored
    }

    /// Whether there is something to store.
    pub(crate) fn is_behind(&self) -> bool {
        self.received() > self.stored
    }

    /// Whether more may come now.
    pub(crate) fn has_room(&self) -> bool {
        let waiting = self.received().bytes_since(self.first.start(self.size));
        waiting < (2 * self.size.bytes()).max(WAITING_BYTES_MAX)
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

    /// What to store next: a whole segment as soon as there is one, a part of the last one when `tail` is due.
    pub(crate) fn next_job(&self, tail: bool) -> Option<Job> {
        let bytes = self.segments.front()?;
        let name = self.first.name(self.size);
        let start = self.first.start(self.size);
        if bytes.len() as u64 == self.size.bytes() {
            return Some(Job::Segment(name, Bytes::copy_from_slice(bytes)));
        }
        let from = usize::try_from(self.stored.bytes_since(start)).ok()?;
        if !tail || from >= bytes.len() {
            return None;
        }
        let offset = |offset: usize| u32::try_from(offset).ok();
        let name = TailName { segment: name, from: offset(from)?, to: offset(bytes.len())? };
        Some(Job::Tail(name, Bytes::copy_from_slice(&bytes[from..])))
    }

    /// Notes that this was stored.
    pub(crate) fn done(&mut self, job: &Job) {
        match job {
            Job::Segment(..) => {
                self.stored = self.stored.max(self.first.end(self.size));
                self.segments.pop_front();
                self.first = self.first.next();
            }
            Job::Tail(name, _) => {
                let end = self.first.start(self.size).saturating_add(name.to.into());
                self.stored = self.stored.max(end);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn pending(stored: u64) -> Pending {
        Pending::new(TimelineId(1), Lsn(stored), SegmentSize::new(MIB).unwrap())
    }

    fn drive(pending: &mut Pending) -> String {
        let mut jobs = Vec::new();
        while let Some(job) = pending.next_job(true) {
            jobs.push(match &job {
                Job::Segment(name, bytes) => format!("{name} {}", bytes.len()),
                Job::Tail(name, bytes) => format!("{name} {}", bytes.len()),
            });
            pending.done(&job);
        }
        jobs.join(", ")
    }

    #[test]
    fn parts_then_the_whole_segment() {
        let mut log = pending(3 * MIB + 100);
        assert!(log.append(Lsn(3 * MIB), &[1; 100]));
        assert_eq!((log.next_job(true), log.is_behind()), (None, false), "that was stored before the restart");
        assert!(log.append(log.received(), &[2; 50]));
        assert_eq!(log.next_job(false), None, "not due yet");
        assert_eq!(drive(&mut log), "000000010000000000000003.00000064.00000096 50");
        assert!(log.append(log.received(), &vec![3; MIB as usize]));
        assert_eq!(drive(&mut log), "000000010000000000000003 1048576, 000000010000000000000004.00000000.00000096 150");
        assert_eq!((log.stored(), log.received()), (Lsn(4 * MIB + 150), Lsn(4 * MIB + 150)));
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut log = pending(3 * MIB);
        assert!(!log.append(Lsn(3 * MIB + 1), &[1]));
        assert!(!log.append(Lsn(2 * MIB), &[1]));
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = pending(0);
        while log.has_room() {
            assert!(log.append(log.received(), &vec![0; MIB as usize / 2]));
        }
        assert_eq!(log.received(), Lsn(WAITING_BYTES_MAX));
        log.done(&log.next_job(false).unwrap());
        assert!(log.has_room());
    }
}
