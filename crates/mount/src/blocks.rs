//! Which blocks of a file are here: one bit for each.

use std::ops::Range;

/// The unit in which a file comes: a page of PostgreSQL, or a whole part of a larger one.
pub const BLOCK_BYTES: u64 = 8192;

/// A set of blocks, by number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BlockSet {
    words: Vec<u64>,
    blocks: u64,
    count: u64,
}

/// The number of blocks that so many bytes touch.
pub fn blocks_of(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES)
}

impl BlockSet {
    /// An empty set of blocks below `blocks`.
    pub fn new(blocks: u64) -> Self {
        Self { words: vec![0; blocks.div_ceil(64) as usize], blocks, count: 0 }
    }

    /// How many blocks there could be.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// How many blocks are in it.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether every block is in it.
    pub fn is_full(&self) -> bool {
        self.count == self.blocks
    }

    /// Whether a block is in it. One that is out of bounds isn't.
    pub fn contains(&self, block: u64) -> bool {
        block < self.blocks && self.words[(block / 64) as usize] >> (block % 64) & 1 == 1
    }

    /// Adds blocks. What is out of bounds is left out.
    pub fn insert(&mut self, range: Range<u64>) {
        for (word, mask) in masks(range.start..range.end.min(self.blocks)) {
            let word = &mut self.words[word];
            self.count += u64::from((mask & !*word).count_ones());
            *word |= mask;
        }
    }

    /// Takes blocks out. What is out of bounds is left out.
    pub fn remove(&mut self, range: Range<u64>) {
        for (word, mask) in masks(range.start..range.end.min(self.blocks)) {
            let word = &mut self.words[word];
            self.count -= u64::from((mask & *word).count_ones());
            *word &= !mask;
        }
    }

    /// Forgets all blocks from `blocks` on, for good.
    pub fn shorten(&mut self, blocks: u64) {
        if blocks >= self.blocks {
            return;
        }
        self.remove(blocks..self.blocks);
        self.blocks = blocks;
        self.words.truncate(blocks.div_ceil(64) as usize);
    }

    /// The runs of blocks that are in it, in order.
    pub fn runs(&self) -> Vec<Range<u64>> {
        let gaps = self.missing(0..self.blocks);
        let starts = std::iter::once(0).chain(gaps.iter().map(|gap| gap.end));
        let ends = gaps.iter().map(|gap| gap.start).chain(std::iter::once(self.blocks));
        starts.zip(ends).filter(|(start, end)| start < end).map(|(start, end)| start..end).collect()
    }

    /// The runs of blocks in `range` that are not in it, in order. What is out of bounds is left out.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        for (word, mask) in masks(range.start..range.end.min(self.blocks)) {
            let mut absent = mask & !self.words[word];
            while absent != 0 {
                let first = absent.trailing_zeros();
                let length = (!(absent >> first)).trailing_zeros();
                let start = word as u64 * 64 + u64::from(first);
                let run = start..start + u64::from(length);
                match runs.last_mut() {
                    Some(last) if last.end == run.start => last.end = run.end,
                    _ => runs.push(run),
                }
                absent &= !(u64::MAX.checked_shl(first).unwrap_or(0) & low(first + length));
            }
        }
        runs
    }
}

/// The lowest `bits` bits.
fn low(bits: u32) -> u64 {
    1u64.checked_shl(bits).map_or(u64::MAX, |one| one - 1)
}

/// The words that a range touches, with the bits of each.
fn masks(range: Range<u64>) -> impl Iterator<Item = (usize, u64)> {
    let words = if range.start < range.end { range.start / 64..range.end.div_ceil(64) } else { 0..0 };
    words.map(move |word| {
        let from = range.start.saturating_sub(word * 64).min(64) as u32;
        let to = (range.end - word * 64).min(64) as u32;
        (word as usize, low(to) & !low(from))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a set that is plainly right.
        #[test]
        fn it_is_a_set(blocks in 0u64..300, steps in prop::collection::vec((0u64..320, 0u64..150, any::<bool>()), 0..12)) {
            let (mut set, mut model, mut bound) = (BlockSet::new(blocks), BTreeSet::new(), blocks);
            for (start, length, shortens) in steps {
                if shortens && length > 140 {
                    set.shorten(start);
                    bound = bound.min(start);
                    model.retain(|block| *block < bound);
                } else if shortens {
                    set.remove(start..start + length);
                    model.retain(|block| !(start..start + length).contains(block));
                } else {
                    set.insert(start..start + length);
                    model.extend((start..start + length).filter(|block| *block < bound));
                }
                prop_assert_eq!(set.count(), model.len() as u64);
                prop_assert_eq!(set.is_full(), model.len() as u64 == bound);
                let runs = set.runs();
                prop_assert!(runs.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", runs);
                prop_assert_eq!(runs.into_iter().flatten().collect::<BTreeSet<u64>>(), model.clone());
                let missing = set.missing(start..start + 200);
                prop_assert!(missing.windows(2).all(|pair| pair[0].end < pair[1].start), "{:?}", missing);
                let listed: Vec<u64> = missing.into_iter().flatten().collect();
                let absent: Vec<u64> =
                    (start..(start + 200).min(bound)).filter(|block| !model.contains(block)).collect();
                prop_assert_eq!(listed, absent);
                for block in 0..330 {
                    prop_assert_eq!(set.contains(block), model.contains(&block));
                }
            }
        }
    }
}
