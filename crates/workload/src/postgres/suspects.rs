//! Which parts of a file must be read, when the log says what changed since the baseline.
//!
//! Promise: what is not read is in the baseline as it is now, but for hints. Whatever the log doesn't tell about is read:
//! every file that isn't the main fork of a relation, a file that is new, one that is shorter than it was, what was added
//! behind its old end, and files in which the baseline has damaged pages.
//!
//! Only decisions here: the log is read in `backup/changes.rs`, the files in `capture`.

use crate::postgres::BLOCK_BYTES;
use crate::postgres::scan::Found;
use lifeboat_postgres::layout::FileKind;
use lifeboat_postgres::wal::ChangedBlocks;
use lifeboat_repository::Extent;
use std::collections::BTreeSet;
use std::ops::Range;

/// What is known about changes since the baseline.
#[derive(Debug)]
pub struct Suspects {
    /// By the log.
    pub changed: ChangedBlocks,
    /// Blocks in a file of a relation.
    pub blocks_per_file: u32,
    /// Files with damaged pages in the baseline.
    pub damaged: BTreeSet<String>,
}

/// What to do with a part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is stored already.
    Keep(Extent),
    /// Read from here to there.
    Read {
        /// First byte.
        from: u64,
        /// After the last byte.
        to: u64,
    },
}

impl Suspects {
    /// The stretches of a file that may have changed, in order: bytes, at borders of blocks. `None`: all of it, compared
    /// block by block.
    pub fn of(&self, found: &Found, stored_bytes: u64) -> Option<Vec<Range<u64>>> {
        let Some(FileKind::Relation(relation)) = &found.file_kind else { return None };
        let is_whole = stored_bytes.is_multiple_of(BLOCK_BYTES) && stored_bytes > 0;
        if !is_whole || found.size < stored_bytes || self.damaged.contains(&found.path) {
            return None;
        }
        let stored_blocks = u32::try_from(stored_bytes / BLOCK_BYTES).ok()?;
        let blocks = self.changed.of_file(relation, self.blocks_per_file, stored_blocks);
        if blocks.first().is_some_and(|first| first.start == 0 && first.end == stored_blocks) {
            return None;
        }
        let bytes = |block: u32| u64::from(block) * BLOCK_BYTES;
        let mut ranges: Vec<Range<u64>> = blocks.iter().map(|range| bytes(range.start)..bytes(range.end)).collect();
        if found.size > stored_bytes {
            match ranges.last_mut() {
                Some(last) if last.end == stored_bytes => last.end = found.size,
                _ => ranges.push(stored_bytes..found.size),
            }
        }
        Some(ranges)
    }
}

/// What to do from `span.start` to `span.end`: keep what is stored, read the suspects and what some location lacks.
///
/// `stored` are extents in order, covering the span up to where the baseline's file ended; `suspects` are in order and
/// reach to the end of the file behind that.
pub fn steps(
    span: Range<u64>,
    stored: &[Extent],
    suspects: &[Range<u64>],
    is_known: impl Fn(&Extent) -> bool,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = span.start;
    for suspect in suspects {
        let (from, to) = (suspect.start.max(span.start), suspect.end.min(span.end));
        if from >= to {
            continue;
        }
        keep(at..from, stored, &is_known, &mut steps);
        read(from, to, &mut steps);
        at = to;
    }
    keep(at..span.end, stored, &is_known, &mut steps);
    steps
}

fn keep(range: Range<u64>, stored: &[Extent], is_known: &impl Fn(&Extent) -> bool, steps: &mut Vec<Step>) {
    let mut at = range.start;
    let first = stored.partition_point(|extent| extent.offset + u64::from(extent.length) <= range.start);
    for extent in stored[first..].iter().take_while(|extent| extent.offset < range.end) {
        let end = extent.offset + u64::from(extent.length);
        let part = extent.part(range.start.max(extent.offset), range.end.min(end));
        at = part.offset + u64::from(part.length);
        if is_known(&part) {
            steps.push(Step::Keep(part));
        } else {
            read(part.offset, at, steps);
        }
    }
    // Nothing stored for it: not what the caller promised, and reading is always right.
    read(at, range.end, steps);
}

fn read(from: u64, to: u64, steps: &mut Vec<Step>) {
    if from >= to {
        return;
    }
    match steps.last_mut() {
        Some(Step::Read { to: end, .. }) if *end == from => *end = to,
        _ => steps.push(Step::Read { from, to }),
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, clippy::type_complexity)] // Tables of lists of ranges.
mod tests {
    use super::*;
    use lifeboat_postgres::layout::{Fork, Place, RelationFile};
    use lifeboat_repository::{ChunkId, EntryKind, Source};

    const BLOCK: u64 = BLOCK_BYTES;

    fn chunk(number: u8) -> ChunkId {
        ChunkId([number; 32])
    }

    fn extent(offset: u64, length: u64, number: u8) -> Extent {
        Extent { offset, length: length as u32, source: Source::Chunk { id: chunk(number), offset: 0 } }
    }

    fn found(file_kind: Option<FileKind>, blocks: u64) -> Found {
        Found {
            path: "base/5/16384".into(),
            absolute: "/".into(),
            kind: EntryKind::File,
            file_kind,
            size: blocks * BLOCK,
            mode: 0,
            uid: 0,
            gid: 0,
            modified_ns: 0,
            target: None,
            appearance: Default::default(),
        }
    }

    fn table(blocks: u64) -> Found {
        let place = Place::Database { database: 5 };
        let relation = RelationFile { place, relfilenode: 16384, fork: Fork::Main, segment_number: 0 };
        found(Some(FileKind::Relation(relation)), blocks)
    }

    fn suspects(damaged: &[&str]) -> Suspects {
        let damaged = damaged.iter().map(|path| path.to_string()).collect();
        Suspects { changed: ChangedBlocks::new(), blocks_per_file: 131_072, damaged }
    }

    #[test]
    fn only_a_relation_as_long_as_before_or_longer_is_left_unread() {
        let none = suspects(&[]);
        assert_eq!(none.of(&table(10), 10 * BLOCK), Some(vec![]));
        assert_eq!(none.of(&table(12), 10 * BLOCK), Some(vec![10 * BLOCK..12 * BLOCK]));
        for (found, stored, why) in [
            (table(10), 11 * BLOCK, "it is shorter"),
            (table(10), 10 * BLOCK - 512, "it ended inside a block"),
            (table(10), 0, "it was empty"),
            (found(Some(FileKind::TransactionStatus), 10), 10 * BLOCK, "the log doesn't tell about it"),
            (found(None, 10), 10 * BLOCK, "it is something else"),
        ] {
            assert_eq!(none.of(&found, stored), None, "{why}");
        }
        assert_eq!(suspects(&["base/5/16384"]).of(&table(10), 10 * BLOCK), None);
        assert_eq!(suspects(&["base/5/16385"]).of(&table(10), 10 * BLOCK), Some(vec![]));
    }

    #[test]
    fn steps_cover_the_span_once_and_in_order() {
        let stored = [extent(0, 4 * BLOCK, 1), extent(4 * BLOCK, 4 * BLOCK, 2)];
        let read = |from: u64, to: u64| Step::Read { from: from * BLOCK, to: to * BLOCK };
        let kept = |from: u64, to: u64, number: u8| {
            let start = if number == 1 { 0 } else { 4 };
            let source = Source::Chunk { id: chunk(number), offset: ((from - start) * BLOCK) as u32 };
            Step::Keep(Extent { offset: from * BLOCK, length: ((to - from) * BLOCK) as u32, source })
        };
        let blocks = |ranges: &[Range<u64>]| -> Vec<Range<u64>> {
            ranges.iter().map(|range| range.start * BLOCK..range.end * BLOCK).collect()
        };
        // Span, suspects, chunks that a location lacks, steps.
        let cases: [(Range<u64>, &[Range<u64>], &[u8], Vec<Step>); 8] = [
            (0..8, &[], &[], vec![kept(0, 4, 1), kept(4, 8, 2)]),
            (0..8, &[2..3], &[], vec![kept(0, 2, 1), read(2, 3), kept(3, 4, 1), kept(4, 8, 2)]),
            (0..8, &[3..5], &[], vec![kept(0, 3, 1), read(3, 5), kept(5, 8, 2)]),
            (0..8, &[3..5], &[2], vec![kept(0, 3, 1), read(3, 8)]),
            (0..8, &[], &[1, 2], vec![read(0, 8)]),
            (2..6, &[0..1, 3..4, 7..9], &[], vec![kept(2, 3, 1), read(3, 4), kept(4, 6, 2)]),
            (4..10, &[8..10], &[], vec![kept(4, 8, 2), read(8, 10)]),
            (8..10, &[], &[], vec![read(8, 10)]),
        ];
        for (number, (span, suspects, lacking, expected)) in cases.into_iter().enumerate() {
            let is_known = |extent: &Extent| match extent.source {
                Source::Chunk { id, .. } => !lacking.iter().any(|number| chunk(*number) == id),
                Source::Zero => true,
            };
            let span = span.start * BLOCK..span.end * BLOCK;
            assert_eq!(steps(span, &stored, &blocks(suspects), is_known), expected, "case {number}");
        }
    }
}
