//! Putting an object together in memory.

use super::footer::{HEADER_BYTES, Layout, header_bytes};
use super::packing::{Packer, Shape};
use super::{ANNEX_NUMBER, ContainerKind, FRAMES_MAX, Frame, TOC_NUMBER, name_of, nonce, place};
use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::{Error, Result};
use crate::key::{Keys, random};
use aws_lc_rs::aead::LessSafeKey;
use bytes::Bytes;

/// A finished object.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// What is stored.
    pub bytes: Bytes,
    /// Salt in its key slot.
    pub salt: [u8; 32],
    /// Frames in order.
    pub frames: Vec<Frame>,
}

impl Sealed {
    /// BLAKE3 of the bytes: the object's name where names are hashes.
    pub fn name(&self) -> String {
        name_of(&self.bytes)
    }
}

/// An object that is being put together.
pub struct Builder {
    kind: ContainerKind,
    salt: [u8; 32],
    key: LessSafeKey,
    bytes: Vec<u8>,
    frames: Vec<Frame>,
}

impl Builder {
    /// A new object of `kind` with a salt, and so a key, of its own.
    pub fn new(keys: &Keys, kind: ContainerKind, capacity_bytes: usize) -> Result<Self> {
        let salt = random()?;
        let key = keys.object_key(&salt, kind as u8)?;
        let mut bytes = Vec::with_capacity(capacity_bytes);
        bytes.extend_from_slice(&header_bytes(kind, &salt));
        Ok(Self { kind, salt, key, bytes, frames: Vec::new() })
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Number of frames so far.
    pub fn frame_count(&self) -> usize {
        self.frames.len()
    }

    /// Compresses, seals and appends a frame. Text that doesn't shrink is kept as it is.
    pub fn push(&mut self, packer: &mut Packer, id: ChunkId, plaintext: &[u8], shape: Shape) -> Result<()> {
        let number = self.frames.len() as u32;
        if plaintext.len() > CHUNK_BYTES_MAX || number >= FRAMES_MAX {
            return Err(Error::Internal(format!("a frame of {} bytes, number {number}", plaintext.len())));
        }
        let start = self.bytes.len();
        let packing = packer.pack(plaintext, shape, &mut self.bytes)?;
        self.seal_from(start, number.into())?;
        self.frames.push(Frame {
            id,
            offset: start as u32,
            stored_bytes: (self.bytes.len() - start) as u32,
            plain_bytes: plaintext.len() as u32,
            packing,
        });
        Ok(())
    }

    /// Seals and appends what was packed before, for another object.
    pub fn push_packed(&mut self, frame: &Frame, packed: &[u8]) -> Result<()> {
        let number = self.frames.len() as u32;
        if number >= FRAMES_MAX {
            return Err(Error::Internal(format!("frame number {number}")));
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(packed);
        self.seal_from(start, number.into())?;
        let stored_bytes = (self.bytes.len() - start) as u32;
        self.frames.push(Frame { offset: start as u32, stored_bytes, ..*frame });
        Ok(())
    }

    fn seal_from(&mut self, start: usize, number: u64) -> Result<()> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(number), place(self.kind, number), &mut self.bytes[start..])
            .map_err(|_| Error::Internal("seal a frame".into()))?;
        self.bytes.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Seals table of contents and annex and closes the object.
    pub fn finish(mut self, annex: &[u8]) -> Result<Sealed> {
        let toc_start = self.bytes.len();
        self.frames.iter().for_each(|frame| self.bytes.extend_from_slice(&frame.row()));
        self.seal_from(toc_start, TOC_NUMBER)?;
        let annex_start = self.bytes.len();
        if !annex.is_empty() {
            self.bytes.extend_from_slice(annex);
            self.seal_from(annex_start, ANNEX_NUMBER)?;
        }
        let annex_end = self.bytes.len() as u64;
        let layout = Layout::new(
            self.kind,
            self.salt,
            self.frames.len() as u32,
            toc_start as u64..annex_start as u64,
            annex_start as u64..annex_end,
        );
        self.bytes.extend_from_slice(&layout.footer());
        debug_assert!(self.bytes.len() > HEADER_BYTES);
        let bytes = Bytes::from(self.bytes);
        Ok(Sealed { bytes, salt: self.salt, frames: self.frames })
    }

    /// A document cut into frames and sealed.
    pub fn document(keys: &Keys, kind: ContainerKind, level: i32, text: &[u8], annex: &[u8]) -> Result<Sealed> {
        let mut builder = Self::new(keys, kind, text.len() / 4 + 1024)?;
        let mut packer = Packer::new(level)?;
        for part in text.chunks(CHUNK_BYTES_MAX) {
            builder.push(&mut packer, keys.chunk_id(part), part, Shape::Bytes)?;
        }
        builder.finish(annex)
    }
}
