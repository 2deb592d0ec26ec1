//! Header and footer: the parts of an object that need no key.

use super::{ContainerKind, FORMAT_VERSION, FRAMES_MAX, TAG_BYTES, TOC_ROW_BYTES};
use crate::error::{Error, Result};
use std::ops::Range;

/// First bytes of every object.
pub const MAGIC: &[u8; 8] = b"LIFEBOAT";
/// Last bytes of every object.
pub const END_MAGIC: &[u8; 8] = b"TAOBEFIL";
/// Length of the footer.
pub const FOOTER_BYTES: usize = 56;
/// Header with the only key slot of this version: a salt of 32 bytes.
pub const HEADER_BYTES: usize = 48;
const SLOT_SALT: u8 = 0;

/// What header and footer say about an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// What it is.
    pub kind: ContainerKind,
    /// Salt from the key slot.
    pub salt: [u8; 32],
    /// Length of the header with the key slot, in bytes: the first frame follows.
    pub header_bytes: u32,
    /// Number of frames.
    pub frame_count: u32,
    toc_offset: u64,
    toc_bytes: u32,
    annex_offset: u64,
    annex_bytes: u32,
}

/// What the header alone says.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    kind: ContainerKind,
    salt: [u8; 32],
    bytes: [u8; HEADER_BYTES],
}

impl Layout {
    /// Where the sealed table of contents lies.
    pub fn toc_range(&self) -> Range<u64> {
        self.toc_offset..self.toc_offset + u64::from(self.toc_bytes)
    }

    /// Where the sealed annex lies; empty when there is none.
    pub fn annex_range(&self) -> Range<u64> {
        self.annex_offset..self.annex_offset + u64::from(self.annex_bytes)
    }

    pub(super) fn new(
        kind: ContainerKind,
        salt: [u8; 32],
        frame_count: u32,
        toc: Range<u64>,
        annex: Range<u64>,
    ) -> Self {
        Self {
            kind,
            salt,
            header_bytes: HEADER_BYTES as u32,
            frame_count,
            toc_offset: toc.start,
            toc_bytes: (toc.end - toc.start) as u32,
            annex_offset: annex.start,
            annex_bytes: (annex.end - annex.start) as u32,
        }
    }

    /// The footer's bytes.
    pub(super) fn footer(&self) -> [u8; FOOTER_BYTES] {
        let mut footer = [0; FOOTER_BYTES];
        footer[0..8].copy_from_slice(&self.toc_offset.to_le_bytes());
        footer[8..16].copy_from_slice(&self.annex_offset.to_le_bytes());
        footer[16..20].copy_from_slice(&self.toc_bytes.to_le_bytes());
        footer[20..24].copy_from_slice(&self.annex_bytes.to_le_bytes());
        footer[24..28].copy_from_slice(&self.frame_count.to_le_bytes());
        footer[28..32].copy_from_slice(&self.header_bytes.to_le_bytes());
        let sum = checksum(&header_bytes(self.kind, &self.salt), &footer[..32]);
        footer[32..48].copy_from_slice(&sum);
        footer[48..].copy_from_slice(END_MAGIC);
        footer
    }
}

/// The header of an object of `kind` with `salt` in its key slot.
pub(super) fn header_bytes(kind: ContainerKind, salt: &[u8; 32]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[10] = kind as u8;
    header[11] = SLOT_SALT;
    header[12..14].copy_from_slice(&(salt.len() as u16).to_le_bytes());
    header[16..].copy_from_slice(salt);
    header
}

fn checksum(header: &[u8; HEADER_BYTES], fields: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(fields);
    let mut sum = [0; 16];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    sum
}

/// Reads the first bytes of an object.
pub fn parse_header(object: &str, bytes: &[u8]) -> Result<Header> {
    let header: [u8; HEADER_BYTES] = bytes
        .get(..HEADER_BYTES)
        .and_then(|header| header.try_into().ok())
        .ok_or_else(|| Error::corrupt(object, "shorter than a header"))?;
    if &header[..8] != MAGIC {
        return Err(Error::corrupt(object, "doesn't begin like an object of a repository"));
    }
    let version = u16::from_le_bytes([header[8], header[9]]);
    if version != FORMAT_VERSION {
        return Err(Error::NewerFormat { object: object.into(), found: version, known: FORMAT_VERSION });
    }
    let kind =
        ContainerKind::from_byte(header[10]).ok_or_else(|| Error::corrupt(object, "is of a kind nobody knows"))?;
    if header[11] != SLOT_SALT || header[12..16] != [32, 0, 0, 0] {
        return Err(Error::corrupt(object, "has a key slot of a kind this version cannot open"));
    }
    let mut salt = [0; 32];
    salt.copy_from_slice(&header[16..]);
    Ok(Header { kind, salt, bytes: header })
}

/// Reads the last [`FOOTER_BYTES`] of an object that is `object_bytes` long. What it returns lies inside the object.
pub fn parse_footer(object: &str, header: Header, footer: &[u8], object_bytes: u64) -> Result<Layout> {
    let damaged = |what: &str| Error::corrupt(object, what.to_string());
    let footer: &[u8; FOOTER_BYTES] = footer.try_into().map_err(|_| damaged("shorter than a footer"))?;
    if &footer[48..] != END_MAGIC {
        return Err(damaged("doesn't end like an object of a repository: it is cut short or changed"));
    }
    if checksum(&header.bytes, &footer[..32]) != footer[32..48] {
        return Err(damaged("header or footer changed since it was written"));
    }
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&footer[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let word = |at: usize| u32::from_le_bytes([footer[at], footer[at + 1], footer[at + 2], footer[at + 3]]);
    let layout = Layout {
        kind: header.kind,
        salt: header.salt,
        header_bytes: word(28),
        frame_count: word(24),
        toc_offset: long(0),
        toc_bytes: word(16),
        annex_offset: long(8),
        annex_bytes: word(20),
    };
    let toc_end = layout.toc_offset.checked_add(layout.toc_bytes.into());
    let annex_end = layout.annex_offset.checked_add(layout.annex_bytes.into());
    let fits = layout.header_bytes as usize == HEADER_BYTES
        && layout.frame_count <= FRAMES_MAX
        && layout.toc_bytes as usize == layout.frame_count as usize * TOC_ROW_BYTES + TAG_BYTES
        && layout.toc_offset >= HEADER_BYTES as u64
        && toc_end == Some(layout.annex_offset)
        && annex_end.and_then(|end| end.checked_add(FOOTER_BYTES as u64)) == Some(object_bytes);
    fits.then_some(layout).ok_or_else(|| damaged("its parts don't fill it: it is cut short or changed"))
}
