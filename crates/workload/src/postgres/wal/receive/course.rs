//! What one place stores next of the log that has come. Pure: positions in, jobs out.
//!
//! Three habits. *Sparing*: whole segments as soon as there are, parts when they are due, one thing at a time: few objects.
//! *Prompt*: what has come meanwhile as one part, at once, and whole segments beside it, so that no commit waits for the
//! sixteen megabytes before it. *Journal*: bytes, at once.
//!
//! Prompt parts are many. Every sixteenth covers the fifteen before it as well, every 256th the 255 before it, so that some
//! dozens lead to the end, whatever there were; for that, each byte is written up to four times.

use super::pending::Pending;
use bytes::Bytes;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::wal_file::{Segment, SegmentSize};

/// So many parts are covered by one.
const PARTS_COVERED: usize = 16;
/// No larger part is made to cover others: writing it holds up the commits behind it.
const COVERING_BYTES_MAX: u64 = 1 << 20;
/// So much goes to a journal in one write.
const JOURNAL_BYTES_MAX: u64 = 8 << 20;

/// How a place stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Habit {
    Sparing,
    Prompt,
    Journal,
}

/// What a job stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    /// A whole segment.
    Segment,
    /// A part of one.
    Part,
    /// Bytes for the journal; from one segment.
    Bytes,
}

/// What is to be stored next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    pub what: What,
    pub from: Lsn,
    pub to: Lsn,
    pub bytes: Bytes,
}

/// How far a place is.
#[derive(Debug)]
pub(crate) struct Course {
    habit: Habit,
    /// Everything before is durable there.
    stored: Lsn,
    /// The start of the next segment that is stored whole.
    whole: Lsn,
    /// Where the parts of the segment at `stored` ended, and where the first began.
    ends: Vec<Lsn>,
}

impl Course {
    pub(crate) fn new(habit: Habit, stored: Lsn, start: Lsn) -> Self {
        Self { habit, stored: stored.max(start), whole: start, ends: Vec::new() }
    }

    /// Everything before is durable there.
    pub(crate) fn stored(&self) -> Lsn {
        self.stored
    }

    /// From where on bytes must stay in memory for this place.
    pub(crate) fn needs_from(&self) -> Lsn {
        if self.habit == Habit::Journal { self.stored } else { self.whole }
    }

    /// A part, or bytes; for a sparing place only when it is `due`.
    pub(crate) fn next_part(&self, pending: &Pending, due: bool) -> Option<Job> {
        let received = pending.received();
        if self.stored >= received || self.habit == Habit::Sparing && !due {
            return None;
        }
        let segment = Segment::containing(pending.timeline(), self.stored, pending.size());
        let (start, end) = (segment.start(pending.size()), segment.end(pending.size()));
        let to = received.min(end);
        let (what, from, to) = match self.habit {
            Habit::Journal => (What::Bytes, self.stored, to.min(self.stored.saturating_add(JOURNAL_BYTES_MAX))),
            // The whole segment says it all.
            Habit::Sparing if to == end => return None,
            Habit::Prompt if to == end && self.stored == start && self.whole == start => return None,
            Habit::Sparing => (What::Part, self.stored, to),
            Habit::Prompt => (What::Part, self.begin(start, to), to),
        };
        Some(Job { what, from, to, bytes: pending.piece(from, to)? })
    }

    /// Where a part up to `to` begins: at the end of the last one, or so much before that it covers some.
    fn begin(&self, start: Lsn, to: Lsn) -> Lsn {
        if self.ends.first().is_none_or(|first| *first < start) {
            return self.stored;
        }
        let number = self.ends.len();
        let mut from = self.stored;
        let mut covers = PARTS_COVERED;
        while number.is_multiple_of(covers) {
            match self.ends.get(number - covers) {
                Some(earlier) if to.bytes_since(*earlier) <= COVERING_BYTES_MAX => from = *earlier,
                _ => break,
            }
            covers *= PARTS_COVERED;
        }
        from
    }

    /// Whether a whole segment is there to be stored.
    pub(crate) fn has_whole(&self, pending: &Pending) -> bool {
        let end = self.whole.saturating_add(pending.size().bytes());
        self.habit != Habit::Journal && pending.received() >= end
    }

    /// The next whole segment, as soon as it is there.
    pub(crate) fn next_whole(&self, pending: &Pending) -> Option<Job> {
        if !self.has_whole(pending) {
            return None;
        }
        let end = self.whole.saturating_add(pending.size().bytes());
        let bytes = pending.piece(self.whole, end)?;
        Some(Job { what: What::Segment, from: self.whole, to: end, bytes })
    }

    /// Notes that this was stored.
    pub(crate) fn done(&mut self, job: &Job, size: SegmentSize) {
        if job.what == What::Segment {
            self.whole = self.whole.max(job.to);
        }
        if job.what == What::Part && self.habit == Habit::Prompt {
            let start = Lsn(job.from.0 - job.from.0 % size.bytes());
            if self.ends.first().is_none_or(|first| *first < start) {
                self.ends = vec![job.from];
            }
            self.ends.push(job.to);
        }
        self.stored = self.stored.max(job.to);
    }

    /// What comes before is not waited for any more: others have it.
    pub(crate) fn skip_to(&mut self, start_of_segment: Lsn) {
        self.whole = self.whole.max(start_of_segment);
        self.stored = self.stored.max(start_of_segment);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::TimelineId;
    use std::collections::BTreeMap;

    const MIB: u64 = 1 << 20;

    fn size() -> SegmentSize {
        SegmentSize::new(MIB).unwrap()
    }

    fn pending(bytes: usize) -> Pending {
        let mut pending = Pending::new(TimelineId(1), Lsn(3 * MIB), size());
        assert!(pending.append(Lsn(3 * MIB), &vec![1; bytes]));
        pending
    }

    fn course(habit: Habit, stored: u64) -> Course {
        Course::new(habit, Lsn(3 * MIB + stored), Lsn(3 * MIB))
    }

    /// One thing at a time, until nothing is left.
    fn drive(course: &mut Course, pending: &Pending, due: bool) -> String {
        let mut jobs = Vec::new();
        while let Some(job) = course.next_whole(pending).or_else(|| course.next_part(pending, due)) {
            jobs.push(format!("{:?} {:X}..{:X}", job.what, job.from.0, job.to.0));
            assert_eq!(job.bytes.len() as u64, job.to.bytes_since(job.from));
            course.done(&job, size());
        }
        jobs.join(", ")
    }

    #[test]
    fn sparing_stores_parts_when_due_and_whole_segments() {
        let mut sparing = course(Habit::Sparing, 100);
        assert_eq!(drive(&mut sparing, &pending(100), true), "", "that was stored before the restart");
        assert_eq!(drive(&mut sparing, &pending(150), false), "", "not due yet");
        assert_eq!(drive(&mut sparing, &pending(150), true), "Part 300064..300096");
        let more = pending(MIB as usize + 150);
        assert_eq!(drive(&mut sparing, &more, true), "Segment 300000..400000, Part 400000..400096");
        assert_eq!((sparing.stored(), sparing.needs_from()), (Lsn(4 * MIB + 150), Lsn(4 * MIB)));
    }

    #[test]
    fn prompt_goes_on_beside_the_whole_segment() {
        let mut prompt = course(Habit::Prompt, 0);
        let part = prompt.next_part(&pending(100), false).unwrap();
        prompt.done(&part, size());
        let more = pending(MIB as usize + 150);
        let whole = prompt.next_whole(&more).unwrap();
        for expected in [(3 * MIB + 100, 4 * MIB), (4 * MIB, 4 * MIB + 150)] {
            let part = prompt.next_part(&more, false).unwrap();
            assert_eq!((part.from.0, part.to.0), expected);
            prompt.done(&part, size());
        }
        assert_eq!((prompt.stored(), prompt.needs_from()), (Lsn(4 * MIB + 150), Lsn(3 * MIB)));
        prompt.done(&whole, size());
        assert_eq!((prompt.stored(), prompt.needs_from()), (Lsn(4 * MIB + 150), Lsn(4 * MIB)));
        let mut late = course(Habit::Prompt, 0);
        assert_eq!(
            drive(&mut late, &more, false),
            "Segment 300000..400000, Part 400000..400096",
            "no part of what is whole"
        );
    }

    /// However many parts were made, few lead to the end; and all of them are needed for it.
    #[test]
    fn few_parts_lead_to_the_end() {
        let mut prompt = course(Habit::Prompt, 7);
        let mut by_start: BTreeMap<u64, u64> = BTreeMap::new();
        let mut written = 0;
        for bytes in (17..=200_007).step_by(10) {
            let part = prompt.next_part(&pending(bytes), false).unwrap();
            assert_eq!(part.to.0, 3 * MIB + bytes as u64);
            written += part.bytes.len();
            let longest = by_start.entry(part.from.0).or_default();
            *longest = part.to.0.max(*longest);
            prompt.done(&part, size());
        }
        let (mut reached, mut count) = (3 * MIB + 7, 0);
        while reached < 3 * MIB + 200_007 {
            reached = by_start[&reached];
            count += 1;
        }
        assert!(count <= 4 * (PARTS_COVERED + 1), "{count} parts");
        assert!(written <= 5 * 200_000, "{written} bytes");
    }

    #[test]
    fn a_journal_takes_bytes_at_once() {
        let mut journal = course(Habit::Journal, 50);
        let log = pending(MIB as usize + 150);
        assert_eq!(drive(&mut journal, &log, false), "Bytes 300032..400000, Bytes 400000..400096");
        assert_eq!(journal.needs_from(), Lsn(4 * MIB + 150));
    }

    #[test]
    fn who_lags_too_far_skips() {
        let mut prompt = course(Habit::Prompt, 0);
        prompt.skip_to(Lsn(4 * MIB));
        assert_eq!(drive(&mut prompt, &pending(MIB as usize + 150), false), "Part 400000..400096");
    }
}
