//! File maps: which chunk holds which part of a file.
//!
//! A map is cut into leaves that each cover 32 MiB of the file. A leaf lists the chunks it needs and then, in order,
//! which range of the file lies where in which chunk; ranges of zeros need no chunk. A new recovery point writes only
//! the leaves that changed, and a leaf points straight at old chunks for what did not: nothing is replayed at restore.
//! Finding one page is a division and a binary search.

use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::{Error, Result};
use std::collections::HashMap;

/// How much of a file one leaf covers, in bytes.
pub const LEAF_SPAN_BYTES: u64 = 32 * 1024 * 1024;
const ZERO: u32 = u32::MAX;
const ROW_BYTES: usize = 16;

/// Where the bytes of an extent are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Nowhere: they are all zero.
    Zero,
    /// In a chunk, from this byte on.
    Chunk {
        /// Which.
        id: ChunkId,
        /// First byte in its plaintext.
        offset: u32,
    },
}

/// A range of a file and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte in the file.
    pub offset: u64,
    /// Length in bytes, never 0.
    pub length: u32,
    /// Where.
    pub source: Source,
}

impl Extent {
    /// What is left of the extent behind its first `length` bytes. `length` is less than the extent's.
    pub fn after(&self, length: u32) -> Self {
        let source = match self.source {
            Source::Zero => Source::Zero,
            Source::Chunk { id, offset } => Source::Chunk { id, offset: offset + length },
        };
        Self { offset: self.offset + u64::from(length), length: self.length - length, source }
    }

    /// The part of the extent from `from` to `to` in the file. Both lie in the extent, `from` before `to`.
    pub fn part(&self, from: u64, to: u64) -> Self {
        let skipped = from.saturating_sub(self.offset) as u32;
        let rest = if skipped == 0 { *self } else { self.after(skipped) };
        Self { length: rest.length.min(to.saturating_sub(rest.offset) as u32), ..rest }
    }

    /// Whether `next` goes on where this one ends, in the file and in the chunk: then one extent can be both.
    pub fn continues_into(&self, next: &Self) -> bool {
        self.offset + u64::from(self.length) == next.offset
            && match (self.source, next.source) {
                (Source::Zero, Source::Zero) => u64::from(self.length) + u64::from(next.length) <= LEAF_SPAN_BYTES,
                (Source::Chunk { id: a, offset: from }, Source::Chunk { id: b, offset: to }) => {
                    a == b && from + self.length == to
                }
                _ => false,
            }
    }
}

/// The part of a map that covers one span of a file. Extents are relative to the file, in order, without overlap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf {
    /// In order of offset.
    pub extents: Vec<Extent>,
}

impl Leaf {
    /// Bytes of a leaf that begins at `start` in the file.
    pub fn encode(&self, start: u64) -> Vec<u8> {
        let mut table: Vec<ChunkId> = Vec::new();
        let mut numbers: HashMap<ChunkId, u32> = HashMap::new();
        let mut rows = Vec::with_capacity(self.extents.len() * ROW_BYTES);
        for extent in &self.extents {
            let (number, offset) = match extent.source {
                Source::Zero => (ZERO, 0),
                Source::Chunk { id, offset } => {
                    let number = *numbers.entry(id).or_insert_with(|| {
                        table.push(id);
                        table.len() as u32 - 1
                    });
                    (number, offset)
                }
            };
            for word in [(extent.offset - start) as u32, extent.length, number, offset] {
                rows.extend_from_slice(&word.to_le_bytes());
            }
        }
        let mut out = Vec::with_capacity(8 + table.len() * 32 + rows.len());
        out.extend_from_slice(&(table.len() as u32).to_le_bytes());
        out.extend_from_slice(&(self.extents.len() as u32).to_le_bytes());
        table.iter().for_each(|id| out.extend_from_slice(&id.0));
        out.extend_from_slice(&rows);
        out
    }

    /// Reads a leaf that begins at `start` in the file. Every extent lies in the leaf's span and in its chunk.
    pub fn parse(bytes: &[u8], start: u64) -> Result<Self> {
        Self::parse_checked(bytes, start).ok_or_else(|| Error::corrupt("file map", "a leaf is not whole"))
    }

    fn parse_checked(bytes: &[u8], start: u64) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let (chunk_count, extent_count) = (word(0)? as usize, word(4)? as usize);
        let rows_at = chunk_count.checked_mul(32)?.checked_add(8)?;
        if rows_at.checked_add(extent_count.checked_mul(ROW_BYTES)?)? != bytes.len() {
            return None;
        }
        let mut extents = Vec::with_capacity(extent_count);
        let mut end = 0u64;
        for row in 0..extent_count {
            let at = rows_at + row * ROW_BYTES;
            let (offset, length, number, chunk_offset) = (word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?);
            if u64::from(offset) < end || length == 0 {
                return None;
            }
            end = u64::from(offset) + u64::from(length);
            let source = if number == ZERO {
                Source::Zero
            } else {
                if number as usize >= chunk_count || chunk_offset as usize + length as usize > CHUNK_BYTES_MAX {
                    return None;
                }
                let id = bytes.get(8 + number as usize * 32..)?.get(..32)?.try_into().ok()?;
                Source::Chunk { id: ChunkId(id), offset: chunk_offset }
            };
            extents.push(Extent { offset: start.checked_add(offset.into())?, length, source });
        }
        (end <= LEAF_SPAN_BYTES).then_some(Self { extents })
    }

    /// The extent that covers `offset`, found by binary search.
    pub fn find(&self, offset: u64) -> Option<&Extent> {
        let after = self.extents.partition_point(|extent| extent.offset <= offset);
        let extent = self.extents.get(after.checked_sub(1)?)?;
        (offset < extent.offset + u64::from(extent.length)).then_some(extent)
    }

    /// Appends an extent, joining it with the last one when they continue each other.
    pub fn push(&mut self, extent: Extent) {
        match self.extents.last_mut() {
            Some(last) if last.continues_into(&extent) => last.length += extent.length,
            _ => self.extents.push(extent),
        }
    }
}
