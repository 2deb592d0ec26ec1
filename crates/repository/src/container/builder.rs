//! Putting an object together in memory.

use super::footer::{HEADER_BYTES, Layout, header_bytes};
use super::{ANNEX_NUMBER, ContainerKind, FRAMES_MAX, Frame, TOC_NUMBER, TOC_ROW_BYTES, name_of, nonce, place};
use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::{Error, Result};
use crate::key::{Keys, random};
use aws_lc_rs::aead::LessSafeKey;
use bytes::Bytes;
use std::io::Cursor;

/// A finished object.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// BLAKE3 of the bytes: the object's name where names are hashes.
    pub name: String,
    /// What is stored.
    pub bytes: Bytes,
    /// Salt in its key slot.
    pub salt: [u8; 32],
    /// Frames in order.
    pub frames: Vec<Frame>,
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
    pub fn push(&mut self, compressor: &mut zstd::bulk::Compressor<'_>, id: ChunkId, plaintext: &[u8]) -> Result<()> {
        let number = self.frames.len() as u32;
        if plaintext.len() > CHUNK_BYTES_MAX || number >= FRAMES_MAX {
            return Err(Error::Internal(format!("a frame of {} bytes, number {number}", plaintext.len())));
        }
        let start = self.bytes.len();
        self.bytes.reserve(zstd::zstd_safe::compress_bound(plaintext.len()));
        // A cursor lets zstd write behind the end, into memory that nobody had to fill with zeros.
        let mut end = Cursor::new(std::mem::take(&mut self.bytes));
        end.set_position(start as u64);
        let packed = compressor.compress_to_buffer(plaintext, &mut end);
        self.bytes = end.into_inner();
        let packed = packed.map_err(|error| Error::Internal(format!("compress: {error}")))?;
        let compressed = packed < plaintext.len();
        self.bytes.truncate(start + packed);
        if !compressed {
            self.bytes.truncate(start);
            self.bytes.extend_from_slice(plaintext);
        }
        self.seal_from(start, number.into())?;
        self.frames.push(Frame {
            id,
            offset: start as u32,
            stored_bytes: (self.bytes.len() - start) as u32,
            plain_bytes: plaintext.len() as u32,
            compressed,
        });
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
        let mut toc = Vec::with_capacity(self.frames.len() * TOC_ROW_BYTES);
        for frame in &self.frames {
            toc.extend_from_slice(&frame.id.0);
            for word in [frame.offset, frame.stored_bytes, frame.plain_bytes, frame.compressed.into()] {
                toc.extend_from_slice(&word.to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(&toc);
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
        Ok(Sealed { name: name_of(&bytes), bytes, salt: self.salt, frames: self.frames })
    }

    /// A document cut into frames and sealed.
    pub fn document(keys: &Keys, kind: ContainerKind, level: i32, text: &[u8], annex: &[u8]) -> Result<Sealed> {
        let mut builder = Self::new(keys, kind, text.len() / 4 + 1024)?;
        let mut compressor = compressor(level)?;
        for part in text.chunks(CHUNK_BYTES_MAX) {
            builder.push(&mut compressor, keys.chunk_id(part), part)?;
        }
        builder.finish(annex)
    }
}

/// A zstd context of `level` (1 to 19).
pub fn compressor(level: i32) -> Result<zstd::bulk::Compressor<'static>> {
    let failed = |error: std::io::Error| Error::Internal(format!("start zstd: {error}"));
    let mut compressor = zstd::bulk::Compressor::new(level).map_err(failed)?;
    if level == 3 {
        // For inputs as short as a frame, level 3 looks for matches of 4 bytes. On pages those cost more than they
        // save: 5 is faster, and smaller by 0.1 % (pgbench) to 4 % (text and JSON).
        compressor.set_parameter(zstd::zstd_safe::CParameter::MinMatch(5)).map_err(failed)?;
    }
    Ok(compressor)
}
