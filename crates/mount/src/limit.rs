//! How much of what came may lie here at once, of all files together; and what came first, because that goes first.
//!
//! Only what takes room on the disk and could be fetched again is counted. What was written since, or cut off, is counted until its turn comes:
//! too much is never kept for that.

use crate::blocks::BLOCK_BYTES;
use crate::journal::FileNumber;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who reads in order is given so much ahead at most, as a part of all: many may do so at once.
const AHEAD_PART: u64 = 64;

/// Blocks of one file that came together.
pub type Came = (FileNumber, Range<u64>);

/// A bound in bytes, and what is kept below it.
#[derive(Debug)]
pub struct Limit {
    bytes_max: u64,
    kept: Mutex<Kept>,
    /// The disk doesn't give room back: all is kept.
    is_off: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    /// The oldest first.
    came: VecDeque<Came>,
    bytes: u64,
    /// What is being fetched, or is about to be.
    expected_bytes: u64,
    most_bytes: u64,
}

/// Room that is kept free for what is about to come.
#[derive(Debug)]
pub struct Expected<'a> {
    limit: &'a Limit,
    bytes: u64,
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        self.limit.lock().expected_bytes -= self.bytes;
    }
}

fn bytes_of(run: &Range<u64>) -> u64 {
    (run.end - run.start) * BLOCK_BYTES
}

impl Limit {
    /// So many bytes. More lie here only while more is needed at once.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes_max, kept: Mutex::default(), is_off: AtomicBool::new(false) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much comes ahead for one who reads in order, at most.
    pub fn ahead_bytes_max(&self) -> u64 {
        self.bytes_max / AHEAD_PART
    }

    /// Blocks that were not here are.
    pub fn came(&self, number: FileNumber, run: Range<u64>) {
        let mut kept = self.lock();
        kept.bytes += bytes_of(&run);
        kept.most_bytes = kept.most_bytes.max(kept.bytes);
        kept.came.push_back((number, run));
    }

    /// So many bytes are about to come.
    pub fn expect(&self, bytes: u64) -> Expected<'_> {
        self.lock().expected_bytes += bytes;
        Expected { limit: self, bytes }
    }

    /// How many runs of blocks are kept.
    pub fn runs(&self) -> usize {
        self.lock().came.len()
    }

    /// The most that was ever kept at once, in bytes.
    pub fn most_bytes(&self) -> u64 {
        self.lock().most_bytes
    }

    /// What is to go next, if there is too much. It no longer counts.
    pub fn too_many(&self) -> Option<Came> {
        let mut kept = self.lock();
        if self.is_off() || kept.bytes + kept.expected_bytes <= self.bytes_max {
            return None;
        }
        let oldest = kept.came.pop_front()?;
        kept.bytes -= bytes_of(&oldest.1);
        Some(oldest)
    }

    /// From now on all is kept.
    pub fn turn_off(&self) {
        self.is_off.store(true, Ordering::Relaxed);
    }

    /// Whether all is kept: the disk didn't give room back.
    pub fn is_off(&self) -> bool {
        self.is_off.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first_and_room_is_made_for_what_comes() {
        let limit = Limit::new(4 * BLOCK_BYTES);
        for number in 0..4 {
            limit.came(number, 0..1);
        }
        assert_eq!(limit.too_many(), None);
        let expected = limit.expect(2 * BLOCK_BYTES);
        assert_eq!((limit.too_many(), limit.too_many(), limit.too_many()), (Some((0, 0..1)), Some((1, 0..1)), None));
        drop(expected);
        limit.came(4, 0..5);
        // One that is needed just now comes again behind the others.
        assert_eq!(limit.too_many(), Some((2, 0..1)));
        limit.came(2, 0..1);
        assert_eq!((limit.too_many(), limit.too_many()), (Some((3, 0..1)), Some((4, 0..5))));
        assert_eq!((limit.too_many(), limit.most_bytes()), (None, 7 * BLOCK_BYTES));
    }

    #[test]
    fn where_no_room_is_given_back_all_is_kept() {
        let limit = Limit::new(0);
        limit.came(1, 0..1);
        limit.turn_off();
        assert_eq!(limit.too_many(), None);
    }
}
