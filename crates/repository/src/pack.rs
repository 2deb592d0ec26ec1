//! Packs: chunks on their way to a location, gathered into objects of some megabytes.
//!
//! The annex of a pack holds the block fingerprints of its frames: for each frame a count (u32) and as many u64, all
//! little-endian. Only an incremental backup reads it.

use crate::chunk::ChunkId;
use crate::container::{Builder, ContainerKind, Frame, Packer, Sealed, Shape, TOC_ROW_BYTES};
use crate::error::{Error, Result};
use crate::index::PackEntry;
use crate::key::Keys;

/// Largest pack that the format allows.
pub const PACK_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A pack is closed when it has grown to this many bytes.
pub const PACK_BYTES_TARGET: usize = 16 * 1024 * 1024;
/// Fingerprints a frame can have: one for every 8 KiB, and no block is smaller than 512 bytes.
const FINGERPRINTS_PER_FRAME_MAX: usize = 512;

/// A pack that is being filled by one worker.
pub struct OpenPack {
    builder: Builder,
    annex: Vec<u8>,
}

impl OpenPack {
    /// An empty pack.
    pub fn new(keys: &Keys) -> Result<Self> {
        // Room for one more frame, so that the buffer never grows beyond what was promised.
        let builder = Builder::new(keys, ContainerKind::Pack, PACK_BYTES_TARGET + 512 * 1024)?;
        Ok(Self { builder, annex: Vec::new() })
    }

    /// Adds a chunk. Returns its stored size in bytes.
    pub fn push(
        &mut self,
        packer: &mut Packer,
        id: ChunkId,
        plaintext: &[u8],
        shape: Shape,
        fingerprints: &[u64],
    ) -> Result<usize> {
        let before = self.builder.len();
        self.builder.push(packer, id, plaintext, shape)?;
        self.annex.extend_from_slice(&(fingerprints.len() as u32).to_le_bytes());
        fingerprints.iter().for_each(|value| self.annex.extend_from_slice(&value.to_le_bytes()));
        Ok(self.builder.len() - before)
    }

    /// Adds a chunk as another pack had it: compressed, and not sealed.
    pub fn push_packed(&mut self, frame: &Frame, packed: &[u8], fingerprints: &[u64]) -> Result<()> {
        self.builder.push_packed(frame, packed)?;
        self.annex.extend_from_slice(&(fingerprints.len() as u32).to_le_bytes());
        fingerprints.iter().for_each(|value| self.annex.extend_from_slice(&value.to_le_bytes()));
        Ok(())
    }

    /// Whether it should be closed. Table and annex count: chunks that shrink to almost nothing would otherwise make packs
    /// of several times that size, and whoever writes, verifies or compares with them holds such a pack in memory.
    pub fn is_full(&self) -> bool {
        self.builder.len() + self.builder.frame_count() * TOC_ROW_BYTES + self.annex.len() >= PACK_BYTES_TARGET
    }

    /// Closes it.
    pub fn finish(self) -> Result<(Sealed, PackEntry)> {
        let has_fingerprints = self.annex.len() > self.builder.frame_count() * 4;
        let sealed = self.builder.finish(if has_fingerprints { &self.annex } else { &[] })?;
        let mut id = [0; 32];
        hex::decode_to_slice(sealed.name(), &mut id).map_err(|error| Error::Internal(error.to_string()))?;
        let entry =
            PackEntry { id, bytes: sealed.bytes.len() as u64, salt: sealed.salt, frames: sealed.frames.clone() };
        Ok((sealed, entry))
    }
}

/// The block fingerprints of all frames of a pack; of none, unless they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Of all blocks, frame after frame.
    values: Box<[u64]>,
    /// For each frame the number of values up to its last.
    ends: Box<[u32]>,
}

impl Fingerprints {
    /// Those of one frame by its number; none when it was stored without, or isn't there.
    pub fn of(&self, frame: u32) -> &[u64] {
        let end_of = |number: u32| self.ends.get(number as usize).map(|end| *end as usize);
        let start = frame.checked_sub(1).map_or(Some(0), end_of);
        start.zip(end_of(frame)).and_then(|(start, end)| self.values.get(start..end)).unwrap_or_default()
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.ends.len()
    }
}

/// Reads the annex of a pack with `frame_count` frames: the fingerprints of each frame.
pub fn parse_fingerprints(object: &str, annex: &[u8], frame_count: usize) -> Result<Fingerprints> {
    if annex.is_empty() {
        return Ok(Fingerprints { values: Box::default(), ends: vec![0; frame_count].into() });
    }
    let not_whole = || Error::corrupt(object, "the block fingerprints are not whole");
    let mut rest = annex;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at_checked(count)?;
        rest = tail;
        Some(head)
    };
    // No more than the annex has room for.
    let mut values = Vec::with_capacity((annex.len() / 8).saturating_sub(frame_count / 2));
    let mut ends = Vec::with_capacity(frame_count.min(annex.len() / 4));
    for _ in 0..frame_count {
        let head = take(4).and_then(|bytes| bytes.first_chunk()).ok_or_else(not_whole)?;
        let count = u32::from_le_bytes(*head) as usize;
        let words = (count <= FINGERPRINTS_PER_FRAME_MAX).then(|| take(count * 8)).flatten().ok_or_else(not_whole)?;
        values.extend(words.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)));
        ends.push(values.len() as u32);
    }
    Ok(Fingerprints { values: values.into(), ends: ends.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pack_of_small_frames_is_closed_before_table_and_annex_make_it_large() {
        let keys = Keys::generate([0; 16]).unwrap();
        let mut packer = Packer::new(3).unwrap();
        let mut pack = OpenPack::new(&keys).unwrap();
        let mut pushed = 0u32;
        while !pack.is_full() {
            let text = [[7; 1000].as_slice(), &pushed.to_le_bytes()].concat();
            pack.push(&mut packer, keys.chunk_id(&text), &text, Shape::Pages, &[u64::from(pushed); 500]).unwrap();
            pushed += 1;
        }
        let (sealed, entry) = pack.finish().unwrap();
        assert_eq!(entry.frames.len(), pushed as usize);
        let size = sealed.bytes.len();
        assert!((PACK_BYTES_TARGET..PACK_BYTES_TARGET + 8192).contains(&size), "{size} bytes");
    }

    #[test]
    fn fingerprints_are_those_of_their_frames() {
        let row = |values: &[u64]| {
            let count = (values.len() as u32).to_le_bytes();
            [count.as_slice(), &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>()].concat()
        };
        let annex = [row(&[1, 2]), row(&[]), row(&[3])].concat();
        let found = parse_fingerprints("pack", &annex, 3).unwrap();
        assert_eq!([found.of(0), found.of(1), found.of(2), found.of(3)], [&[1, 2][..], &[], &[3], &[]]);
        assert_eq!((found.count(), found.frames()), (3, 3));
        assert!(parse_fingerprints("pack", &annex[..annex.len() - 1], 3).is_err());
        assert!(parse_fingerprints("pack", &annex, 4).is_err());
        assert!(parse_fingerprints("pack", &u32::MAX.to_le_bytes(), 1).is_err());
        assert!(parse_fingerprints("pack", &[], 2).unwrap().of(1).is_empty());
    }
}
