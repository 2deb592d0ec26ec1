//! How much of each part of a file is read, for whoever wants to know.
//!
//! Told are the reads themselves, also of what is here: what was fetched for one reader, or for nobody, is read by the next one too.

use super::LazyFile;
use crate::blocks::{BLOCK_BYTES, blocks_of};
use std::sync::atomic::{AtomicU32, Ordering};

/// One count for so many bytes of a file: four megabytes of memory for a terabyte.
pub const READS_UNIT_BYTES: u64 = 1024 * 1024;

/// How many blocks of each unit were read; the same block as often as it was read. Empty: nobody wants to know.
#[derive(Debug, Default)]
pub(super) struct Reads(Vec<AtomicU32>);

impl Reads {
    fn of(bytes: u64) -> Self {
        Self((0..bytes.div_ceil(READS_UNIT_BYTES)).map(|_| AtomicU32::new(0)).collect())
    }

    /// Some bytes are read. What lies behind the last unit is left out.
    pub(super) fn note(&self, offset: u64, bytes: u64) {
        let end = offset.saturating_add(bytes);
        let first = offset / READS_UNIT_BYTES;
        for (unit, count) in (first..end.div_ceil(READS_UNIT_BYTES)).zip(self.0.iter().skip(first as usize)) {
            let (from, to) = (offset.max(unit * READS_UNIT_BYTES), end.min((unit + 1) * READS_UNIT_BYTES));
            count.fetch_add((blocks_of(to) - from / BLOCK_BYTES) as u32, Ordering::Relaxed);
        }
    }

    fn now(&self) -> Vec<u32> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    fn forget(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

impl LazyFile {
    /// The same, of which from now on is known how much of it is read.
    pub fn noting_reads(mut self) -> Self {
        self.reads = Reads::of(self.progress().1);
        self
    }

    /// How many blocks of each unit were read.
    pub fn reads(&self) -> Vec<u32> {
        self.reads.now()
    }

    /// Begins to count again.
    pub fn forget_reads(&self) {
        self.reads.forget();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_where_they_are_read() {
        const MIB: u64 = READS_UNIT_BYTES;
        for (offset, bytes, expected) in [
            (0, 0, [0, 0, 0]),
            (0, BLOCK_BYTES, [1, 0, 0]),
            (BLOCK_BYTES - 1, 2, [2, 0, 0]),
            (MIB - BLOCK_BYTES, 2 * BLOCK_BYTES, [1, 1, 0]),
            (0, 2 * MIB, [128, 128, 0]),
            (2 * MIB + 5, 8 * MIB, [0, 0, 128]),
            (9 * MIB, MIB, [0, 0, 0]),
            (u64::MAX, u64::MAX, [0, 0, 0]),
        ] {
            let file = LazyFile::new(1, 2 * MIB + 1).noting_reads();
            file.reads.note(offset, bytes);
            assert_eq!(file.reads(), expected, "{offset} {bytes}");
            file.forget_reads();
            assert_eq!(file.reads(), [0, 0, 0]);
        }
        let unheeded = LazyFile::new(1, MIB);
        unheeded.reads.note(0, MIB);
        assert!(unheeded.reads().is_empty());
    }
}
