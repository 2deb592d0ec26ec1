//! Images of pages in the log: without the hole in their middle, and perhaps compressed.
//!
//! Not here: Zstandard, whose home is another room. Whoever has it lends it.
//!
//! Source: `xlogrecord.h`, `RestoreBlockImage` in `xlogreader.c`, `pg_lzcompress.c` of PostgreSQL 14 to 18; the block
//! format of LZ4 (`lz4_Block_format.md`).

use super::block_references::ImageHeader;
use crate::MajorVersion;

/// The size of a page.
pub const PAGE_BYTES: usize = 8192;

/// Decompresses Zstandard to at most so many bytes. None when that can't be done.
pub type InflateZstandard = fn(&[u8], usize) -> Option<Vec<u8>>;

/// How an image is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageCompression {
    /// As it is.
    None,
    /// PostgreSQL's own.
    Pglz,
    /// LZ4, one block.
    Lz4,
    /// Zstandard.
    Zstandard,
}

/// A page as it is after the change that its record describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageImage<'a> {
    /// The bytes in the log.
    pub stored: &'a [u8],
    /// How they are compressed.
    pub compression: ImageCompression,
    hole_offset: usize,
    /// None: what is lacking to a page.
    hole_bytes: Option<usize>,
}

impl<'a> PageImage<'a> {
    pub(super) fn new(header: ImageHeader, stored: &'a [u8], version: MajorVersion) -> Self {
        let compression = match header.info {
            _ if !header.is_compressed => ImageCompression::None,
            _ if version < MajorVersion::V15 => ImageCompression::Pglz,
            info if info & 0x04 != 0 => ImageCompression::Pglz,
            info if info & 0x08 != 0 => ImageCompression::Lz4,
            _ => ImageCompression::Zstandard,
        };
        let hole_bytes = header.hole_bytes.map(usize::from);
        Self { stored, compression, hole_offset: header.hole_offset.into(), hole_bytes }
    }

    /// The whole page. None when it is damaged, or compressed in a way that can't be undone.
    pub fn page(&self, zstandard: Option<InflateZstandard>) -> Option<Vec<u8>> {
        let hole_bytes = self.hole_bytes.or_else(|| PAGE_BYTES.checked_sub(self.stored.len()))?;
        let plain_bytes = PAGE_BYTES.checked_sub(hole_bytes)?;
        let mut page = match self.compression {
            ImageCompression::None => self.stored.to_vec(),
            ImageCompression::Pglz => pglz(self.stored, plain_bytes)?,
            ImageCompression::Lz4 => lz4(self.stored, plain_bytes)?,
            ImageCompression::Zstandard => zstandard?(self.stored, plain_bytes)?,
        };
        if page.len() != plain_bytes || self.hole_offset > plain_bytes {
            return None;
        }
        let behind = page.split_off(self.hole_offset);
        page.resize(self.hole_offset + hole_bytes, 0);
        page.extend(behind);
        Some(page)
    }
}

/// Copies `length` bytes from `distance` before the end; they may reach into what is being written.
fn repeat(plain: &mut Vec<u8>, distance: usize, length: usize) -> Option<()> {
    let from = plain.len().checked_sub(distance).filter(|_| distance > 0)?;
    for at in from..from + length {
        plain.push(*plain.get(at)?);
    }
    Some(())
}

/// PostgreSQL's own compression: a byte of flags, then eight things, each a byte or a reference.
fn pglz(stored: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(plain_bytes);
    let mut rest = stored.iter().copied();
    while plain.len() < plain_bytes {
        let Some(flags) = rest.next() else { break };
        for bit in 0..8 {
            let Some(first) = rest.next().filter(|_| plain.len() < plain_bytes) else { break };
            if flags & 1 << bit == 0 {
                plain.push(first);
                continue;
            }
            let distance = usize::from(first & 0xF0) << 4 | usize::from(rest.next()?);
            let mut length = usize::from(first & 0x0F) + 3;
            if length == 18 {
                length += usize::from(rest.next()?);
            }
            let room = plain_bytes - plain.len();
            repeat(&mut plain, distance, length.min(room))?;
        }
    }
    (plain.len() == plain_bytes).then_some(plain)
}

/// One block of LZ4.
fn lz4(stored: &[u8], plain_bytes: usize) -> Option<Vec<u8>> {
    let mut plain: Vec<u8> = Vec::with_capacity(plain_bytes);
    let mut rest = stored;
    let longer = |rest: &mut &[u8], nibble: u8| {
        let mut length = usize::from(nibble);
        let mut goes_on = nibble == 15;
        while goes_on {
            let (more, after) = rest.split_first()?;
            (length, *rest) = (length + usize::from(*more), after);
            goes_on = *more == 255;
        }
        Some(length)
    };
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        let length = longer(&mut rest, token >> 4)?;
        let (literals, after) = rest.split_at_checked(length)?;
        if plain.len() + length > plain_bytes {
            return None;
        }
        plain.extend_from_slice(literals);
        let Some((distance, after)) = after.split_first_chunk() else { break };
        rest = after;
        let length = longer(&mut rest, token & 0x0F)? + 4;
        if plain.len() + length > plain_bytes {
            return None;
        }
        repeat(&mut plain, u16::from_le_bytes(*distance).into(), length)?;
    }
    (plain.len() == plain_bytes).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn references_repeat_what_was_written() {
        // Three letters, then twelve bytes from three before: flags 0b1000.
        assert_eq!(pglz(&[0b1000, b'a', b'b', b'c', 0x09, 3], 15).as_deref(), Some(&b"abcabcabcabcabc"[..]));
        // A length of 18 and more has a byte of its own.
        assert_eq!(pglz(&[0b10, b'x', 0x0F, 1, 2], 21), Some(vec![b'x'; 21]));
        assert_eq!(pglz(&[0b10, b'x', 0x0F, 2, 2], 21), None, "from before the beginning");
        assert_eq!(pglz(&[0b10, b'x'], 21), None, "too short");
        // Three literals, a match of 4 + 8 from three before; then the last literals.
        let block = [0x38, b'a', b'b', b'c', 3, 0, 0x10, b'z'];
        assert_eq!(lz4(&block, 16).as_deref(), Some(&b"abcabcabcabcabcz"[..]));
        assert_eq!(lz4(&[0xF0, 1, b'q'], 16), None, "fewer literals than announced");
        let long: Vec<u8> = [0xF0, 255, 0].into_iter().chain([b'l'; 270]).collect();
        assert_eq!(lz4(&long, 270), Some(vec![b'l'; 270]));
    }

    #[test]
    fn the_hole_comes_back() {
        let header =
            ImageHeader { stored_bytes: 6000, hole_offset: 100, info: 0x01, hole_bytes: None, is_compressed: false };
        let page = PageImage::new(header, &[7; 6000], MajorVersion::V18).page(None).unwrap();
        let zeros = page.iter().enumerate().filter(|(_, byte)| **byte == 0).map(|(at, _)| at);
        assert_eq!(zeros.collect::<Vec<_>>(), (100..100 + 2192).collect::<Vec<_>>());
        assert_eq!(page.len(), PAGE_BYTES);
    }

    proptest! {
        #[test]
        fn nothing_makes_more_than_was_promised(stored: Vec<u8>, plain in 0usize..9000) {
            for outcome in [pglz(&stored, plain), lz4(&stored, plain)].into_iter().flatten() {
                prop_assert_eq!(outcome.len(), plain);
            }
        }
    }
}
