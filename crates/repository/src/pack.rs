//! Packs: chunks on their way to a location, gathered into objects of some megabytes.
//!
//! The annex of a pack holds the block fingerprints of its frames: for each frame a count (u32) and as many u64, all
//! little-endian. Only an incremental backup reads it.

use crate::chunk::ChunkId;
use crate::container::{Builder, ContainerKind, Frame, Packer, Sealed, Shape};
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

    /// Whether it should be closed.
    pub fn is_full(&self) -> bool {
        self.builder.len() >= PACK_BYTES_TARGET
    }

    /// Closes it.
    pub fn finish(self) -> Result<(Sealed, PackEntry)> {
        let has_fingerprints = self.annex.len() > self.builder.frame_count() * 4;
        let sealed = self.builder.finish(if has_fingerprints { &self.annex } else { &[] })?;
        let mut id = [0; 32];
        hex::decode_to_slice(&sealed.name, &mut id).map_err(|error| Error::Internal(error.to_string()))?;
        let entry =
            PackEntry { id, bytes: sealed.bytes.len() as u64, salt: sealed.salt, frames: sealed.frames.clone() };
        Ok((sealed, entry))
    }
}

/// Reads the annex of a pack with `frame_count` frames: the fingerprints of each frame.
pub fn parse_fingerprints(object: &str, annex: &[u8], frame_count: usize) -> Result<Vec<Box<[u64]>>> {
    if annex.is_empty() {
        return Ok(vec![Box::default(); frame_count]);
    }
    let mut rest = annex;
    let mut take = |count: usize| {
        let (head, tail) = rest.split_at_checked(count)?;
        rest = tail;
        Some(head)
    };
    let mut all = Vec::with_capacity(frame_count);
    for _ in 0..frame_count {
        let frame = take(4).and_then(|bytes| {
            let count = u32::from_le_bytes(bytes.try_into().ok()?) as usize;
            let bytes = (count <= FINGERPRINTS_PER_FRAME_MAX).then(|| take(count * 8))??;
            Some(bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default())).collect())
        });
        all.push(frame.ok_or_else(|| Error::corrupt(object, "the block fingerprints are not whole"))?);
    }
    Ok(all)
}
