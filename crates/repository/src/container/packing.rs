//! How the plaintext of a frame becomes what is sealed, and back.

use super::pages;
use crate::chunk::CHUNK_BYTES_MAX;
use crate::error::{Error, Result};
use std::io::Cursor;

/// What was done to a frame's plaintext before it was sealed. The number is the one in tables of contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Packing {
    /// Nothing: it doesn't shrink.
    Plain = 0,
    /// Compressed with zstd.
    Zstd = 1,
    /// Database pages: filtered ([`pages::filter`]), then compressed with zstd.
    PagesZstd = 2,
}

impl Packing {
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        [Self::Plain, Self::Zstd, Self::PagesZstd].into_iter().find(|packing| *packing as u32 == number)
    }
}

/// What a plaintext is, for whoever compresses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Any bytes.
    Bytes,
    /// Blocks of 8 KiB, most of them database pages.
    Pages,
}

/// Compresses frames, one after the other with the same memory.
pub struct Packer {
    zstd: zstd::bulk::Compressor<'static>,
    filtered: Vec<u8>,
}

impl Packer {
    /// A zstd context of `level` (1 to 19).
    pub fn new(level: i32) -> Result<Self> {
        let failed = |error: std::io::Error| Error::Internal(format!("start zstd: {error}"));
        let mut zstd = zstd::bulk::Compressor::new(level).map_err(failed)?;
        if level == 3 {
            // For inputs as short as a frame, level 3 looks for matches of 4 bytes. On pages those cost more than they
            // save: 6 takes 15 % less time than 5 and a third less than 4, and leaves less on text and JSON.
            zstd.set_parameter(zstd::zstd_safe::CParameter::MinMatch(6)).map_err(failed)?;
        }
        Ok(Self { zstd, filtered: Vec::new() })
    }

    /// The same for files of a log.
    pub fn of_log(level: i32) -> Result<Self> {
        if level != 3 {
            return Self::new(level);
        }
        let failed = |error: std::io::Error| Error::Internal(format!("start zstd: {error}"));
        let mut zstd = zstd::bulk::Compressor::new(1).map_err(failed)?;
        // Measured on PostgreSQL's log full of page images: a tenth less time and an eighth less space than level 3 takes
        // with the matches of 6 bytes that are good for pages. 7 instead of 5 would save 6 % of time more and cost that eighth.
        zstd.set_parameter(zstd::zstd_safe::CParameter::MinMatch(5)).map_err(failed)?;
        Ok(Self { zstd, filtered: Vec::new() })
    }

    /// Appends what is to be sealed to `out`. Text that doesn't shrink is kept as it is.
    pub fn pack(&mut self, plaintext: &[u8], shape: Shape, out: &mut Vec<u8>) -> Result<Packing> {
        let mut text = plaintext;
        let mut packing = Packing::Zstd;
        if shape == Shape::Pages {
            self.filtered.clear();
            self.filtered.extend_from_slice(plaintext);
            if pages::filter(&mut self.filtered) {
                (text, packing) = (&self.filtered, Packing::PagesZstd);
            }
        }
        let start = out.len();
        out.reserve(zstd::zstd_safe::compress_bound(text.len()));
        // A cursor lets zstd write behind the end, into memory that nobody had to fill with zeros.
        let mut end = Cursor::new(std::mem::take(out));
        end.set_position(start as u64);
        let packed = self.zstd.compress_to_buffer(text, &mut end);
        *out = end.into_inner();
        let packed = packed.map_err(|error| Error::Internal(format!("compress: {error}")))?;
        if packed < text.len() {
            out.truncate(start + packed);
            return Ok(packing);
        }
        out.truncate(start);
        out.extend_from_slice(plaintext);
        Ok(Packing::Plain)
    }
}

/// Undoes what a [`Packer`] did, with the same memory for each frame.
pub struct Unpacker {
    zstd: zstd::bulk::Decompressor<'static>,
    plain: Vec<u8>,
}

impl Unpacker {
    /// A zstd context.
    pub fn new() -> Result<Self> {
        let zstd = zstd::bulk::Decompressor::new().map_err(|error| Error::Internal(format!("start zstd: {error}")))?;
        Ok(Self { zstd, plain: Vec::with_capacity(CHUNK_BYTES_MAX) })
    }

    /// The plaintext; none when it doesn't decompress into at most [`CHUNK_BYTES_MAX`].
    pub fn unpack<'a>(&'a mut self, packed: &'a [u8], packing: Packing) -> Option<&'a [u8]> {
        if packing == Packing::Plain {
            return Some(packed);
        }
        self.plain.clear();
        self.zstd.decompress_to_buffer(packed, &mut self.plain).ok()?;
        if packing == Packing::PagesZstd {
            pages::unfilter(&mut self.plain);
        }
        Some(&self.plain)
    }
}
