//! The one shape of every sealed object: header, frames, table of contents, annex, footer.
//!
//! `docs/format/container.md` has every byte. A frame is at most 256 KiB of plaintext, compressed, then sealed with
//! AES-256-GCM under a key that belongs to this object alone; the frame's number is its nonce and, with the object's
//! kind, its additional data, so that no frame can be moved. The table of contents is sealed too and lists every frame;
//! the annex holds what only some readers need (block fingerprints, facts about a log segment).
//!
//! Not here: what the frames mean, where objects are stored.

mod builder;
mod footer;
mod packing;
mod pages;

pub use builder::{Builder, Sealed};
pub use footer::{FOOTER_BYTES, Layout, parse_footer, parse_header};
pub use packing::{Packer, Packing, Shape, Unpacker};
pub use pages::{filter as filter_pages, unfilter as unfilter_pages};

use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::error::{Error, Result};
use crate::key::Keys;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use bytes::Bytes;

/// The version this program writes.
pub const FORMAT_VERSION: u16 = 1;
/// Length of the AEAD tag at the end of every sealed part, in bytes.
pub const TAG_BYTES: usize = 16;
/// The shortest container in bytes: header, an empty table and footer.
pub const CONTAINER_BYTES_MIN: u64 = (footer::HEADER_BYTES + TAG_BYTES + FOOTER_BYTES) as u64;
/// Bytes of one frame's row in the table of contents.
pub const TOC_ROW_BYTES: usize = 48;
/// Number of frames an object may have: a pack of 64 MiB made of the smallest useful frames.
pub const FRAMES_MAX: u32 = 1 << 20;
const TOC_NUMBER: u64 = 1 << 63;
const ANNEX_NUMBER: u64 = TOC_NUMBER + 1;

/// What an object is. Part of the key derivation, so that one kind can never be passed off as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ContainerKind {
    /// Chunks.
    Pack = 1,
    /// A fragment of the index.
    Index = 2,
    /// A recovery point.
    Point = 3,
    /// A whole file of a log, such as a WAL segment.
    Log = 4,
    /// A flushed part of a log file that isn't complete yet.
    Tail = 5,
    /// Evidence.
    Ledger = 6,
    /// Any other document: results of verifications, plans.
    Document = 7,
}

impl ContainerKind {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Pack, Self::Index, Self::Point, Self::Log, Self::Tail, Self::Ledger, Self::Document]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A row of the table of contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Id of the plaintext.
    pub id: ChunkId,
    /// Offset of the sealed bytes in the object.
    pub offset: u32,
    /// Sealed length in bytes, with the tag.
    pub stored_bytes: u32,
    /// Plaintext length in bytes.
    pub plain_bytes: u32,
    /// What was done to the plaintext before sealing.
    pub packing: Packing,
}

impl Frame {
    /// The row in a table of contents, and in a fragment of the index.
    pub fn row(&self) -> [u8; TOC_ROW_BYTES] {
        let mut row = [0; TOC_ROW_BYTES];
        row[..32].copy_from_slice(&self.id.0);
        let words = [self.offset, self.stored_bytes, self.plain_bytes, self.packing as u32];
        for (place, word) in row[32..].as_chunks_mut().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        row
    }

    /// Reads a row. Whether its numbers make sense is for the caller to ask.
    pub fn of_row(row: &[u8; TOC_ROW_BYTES]) -> Option<Self> {
        let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        let id = ChunkId(*row.first_chunk()?);
        let packing = Packing::from_number(word(44))?;
        Some(Self { id, offset: word(32), stored_bytes: word(36), plain_bytes: word(40), packing })
    }

    /// Whether plaintext and stored length can belong together: what doesn't shrink is stored as it is.
    pub(crate) fn has_sane_sizes(&self) -> bool {
        let (plain, stored) = (self.plain_bytes as usize, self.stored_bytes as usize);
        plain <= CHUNK_BYTES_MAX && stored >= TAG_BYTES && stored <= plain + TAG_BYTES
    }
}

/// An object whose table of contents has been opened.
#[derive(Debug)]
pub struct Container {
    /// What it is.
    pub kind: ContainerKind,
    /// Its salt: with the repository key it gives the object's own key.
    pub salt: [u8; 32],
    /// Frames in order.
    pub frames: Vec<Frame>,
    layout: Layout,
}

pub(crate) fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

pub(crate) fn place(kind: ContainerKind, number: u64) -> Aad<[u8; 9]> {
    let mut bytes = [0; 9];
    bytes[0] = kind as u8;
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    Aad::from(bytes)
}

fn unseal(key: &LessSafeKey, kind: ContainerKind, number: u64, sealed: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed.to_vec();
    let length = key.open_in_place(nonce(number), place(kind, number), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

impl Container {
    /// Opens the table of contents of `object`, whose last bytes are `tail` (at least footer and table: see
    /// [`Layout::tail_bytes`]) and whose header is `header`.
    pub fn open_parts(keys: &Keys, object: &str, layout: Layout, toc: &[u8]) -> Result<Self> {
        let key = keys.object_key(&layout.salt, layout.kind as u8)?;
        let plain = unseal(&key, layout.kind, TOC_NUMBER, toc)
            .ok_or_else(|| Error::corrupt(object, "the table of contents doesn't open with this repository's key"))?;
        let frames = parse_toc(object, &plain, &layout)?;
        Ok(Self { kind: layout.kind, salt: layout.salt, frames, layout })
    }

    /// Opens the table of contents of a whole object.
    pub fn open(keys: &Keys, object: &str, kind: ContainerKind, bytes: &[u8]) -> Result<Self> {
        let layout = parse(object, bytes)?;
        if layout.kind != kind {
            return Err(Error::corrupt(object, format!("is a {:?}, not a {kind:?}", layout.kind)));
        }
        let toc = layout.toc_range();
        Self::open_parts(keys, object, layout, &bytes[toc.start as usize..toc.end as usize])
    }

    /// The annex, from a whole object. Empty when there is none.
    pub fn annex(&self, keys: &Keys, object: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        let range = self.layout.annex_range();
        let sealed = bytes
            .get(range.start as usize..range.end as usize)
            .ok_or_else(|| Error::corrupt(object, "the annex lies outside the object"))?;
        self.open_annex(keys, object, sealed)
    }

    /// Where the annex lies in the object.
    pub fn annex_range(&self) -> std::ops::Range<u64> {
        self.layout.annex_range()
    }

    /// Opens the sealed bytes of [`Self::annex_range`].
    pub fn open_annex(&self, keys: &Keys, object: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let key = keys.object_key(&self.salt, self.kind as u8)?;
        unseal(&key, self.kind, ANNEX_NUMBER, sealed)
            .ok_or_else(|| Error::corrupt(object, "the annex doesn't open with this repository's key"))
    }

    /// All frames decoded and joined: for documents, whose frames are one text.
    pub fn contents(&self, keys: &Keys, object: &str, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
        self.join(object, bytes, bytes_max, keys, |opener, number, frame, sealed| {
            opener.open(keys, object, number, frame, sealed)
        })
    }

    /// The same without comparing each frame with its id: for a caller who compares the whole with one.
    pub fn contents_to_check(&self, keys: &Keys, object: &str, bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
        self.join(object, bytes, bytes_max, keys, |opener, number, frame, sealed| {
            opener.decode(object, number, frame, sealed)
        })
    }

    fn join(
        &self,
        object: &str,
        bytes: &[u8],
        bytes_max: usize,
        keys: &Keys,
        open: impl for<'a> Fn(&'a mut FrameOpener, u32, &Frame, &[u8]) -> Result<&'a [u8]>,
    ) -> Result<Vec<u8>> {
        let total: usize = self.frames.iter().map(|frame| frame.plain_bytes as usize).sum();
        if total > bytes_max {
            return Err(Error::corrupt(object, format!("{total} bytes are more than the {bytes_max} allowed")));
        }
        let mut opener = FrameOpener::new(keys, self.kind, &self.salt)?;
        let mut out = Vec::with_capacity(total);
        for (number, frame) in self.frames.iter().enumerate() {
            let start = frame.offset as usize;
            let sealed = bytes
                .get(start..start + frame.stored_bytes as usize)
                .ok_or_else(|| Error::corrupt(object, "a frame lies outside the object"))?;
            out.extend_from_slice(open(&mut opener, number as u32, frame, sealed)?);
        }
        Ok(out)
    }
}

/// Opens frames of one object, one after the other in the same memory: new memory for each frame costs about as much as
/// decompressing it.
pub struct FrameOpener {
    key: LessSafeKey,
    kind: ContainerKind,
    desk: Desk,
}

/// The memory of a [`FrameOpener`], to be given to the next one.
pub struct Desk {
    unpacker: Unpacker,
    packed: Vec<u8>,
}

impl Desk {
    /// A new one.
    pub fn new() -> Result<Self> {
        Ok(Self { unpacker: Unpacker::new()?, packed: Vec::new() })
    }
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

impl FrameOpener {
    /// For the object of `kind` with this salt.
    pub fn new(keys: &Keys, kind: ContainerKind, salt: &[u8; 32]) -> Result<Self> {
        Self::at(Desk::new()?, keys, kind, salt)
    }

    /// The same with memory that another one has used.
    pub fn at(desk: Desk, keys: &Keys, kind: ContainerKind, salt: &[u8; 32]) -> Result<Self> {
        let key = keys.object_key(salt, kind as u8)?;
        Ok(Self { key, kind, desk })
    }

    /// Its memory.
    pub fn into_desk(self) -> Desk {
        self.desk
    }

    /// Decrypts one frame, and leaves it compressed. Check it with [`Self::open`] first.
    pub fn packed(&mut self, object: &str, number: u32, sealed: &[u8]) -> Result<Vec<u8>> {
        let mut packed = sealed.to_vec();
        let place = place(self.kind, number.into());
        let length = self
            .key
            .open_in_place(nonce(number.into()), place, &mut packed)
            .map_err(|_| Error::corrupt(object, format!("frame {number}: the bytes are not what was sealed")))?
            .len();
        packed.truncate(length);
        Ok(packed)
    }

    /// Decrypts, decompresses and checks one frame against its id.
    pub fn open(&mut self, keys: &Keys, object: &str, number: u32, frame: &Frame, sealed: &[u8]) -> Result<&[u8]> {
        let plain = self.decode(object, number, frame, sealed)?;
        if keys.chunk_id(plain) != frame.id {
            let what = format!("frame {number}: the content doesn't have the id it is listed under");
            return Err(Error::corrupt(object, what));
        }
        Ok(plain)
    }

    fn decode(&mut self, object: &str, number: u32, frame: &Frame, sealed: &[u8]) -> Result<&[u8]> {
        let damaged = |what: &str| Error::corrupt(object, format!("frame {number}: {what}"));
        let plain_bytes = frame.plain_bytes as usize;
        if plain_bytes > CHUNK_BYTES_MAX {
            return Err(damaged("longer than a frame may be"));
        }
        let Desk { unpacker, packed } = &mut self.desk;
        packed.clear();
        packed.extend_from_slice(sealed);
        let number = u64::from(number);
        let packed = self
            .key
            .open_in_place(nonce(number), place(self.kind, number), packed)
            .map_err(|_| damaged("the bytes are not what was sealed"))?;
        let plain = unpacker.unpack(packed, frame.packing).ok_or_else(|| damaged("doesn't decompress"))?;
        if plain.len() != plain_bytes {
            return Err(damaged("wrong length after decompression"));
        }
        Ok(plain)
    }
}

/// Reads header and footer of a whole object. Needs no key; everything it returns lies inside `bytes`.
pub fn parse(object: &str, bytes: &[u8]) -> Result<Layout> {
    let header = parse_header(object, bytes)?;
    let tail = bytes.len().checked_sub(FOOTER_BYTES).map(|start| &bytes[start..]);
    let tail = tail.ok_or_else(|| Error::corrupt(object, "shorter than a footer"))?;
    parse_footer(object, header, tail, bytes.len() as u64)
}

/// Reads the table of contents, opened, of the object with this header and footer.
pub fn parse_toc(object: &str, plain: &[u8], layout: &Layout) -> Result<Vec<Frame>> {
    let damaged = |what: &str| Error::corrupt(object, format!("table of contents: {what}"));
    if plain.len() != layout.frame_count as usize * TOC_ROW_BYTES {
        return Err(damaged("wrong length"));
    }
    let mut expected_offset = layout.header_bytes;
    let mut frames = Vec::with_capacity(layout.frame_count as usize);
    for row in plain.as_chunks().0 {
        let frame = Frame::of_row(row).ok_or_else(|| damaged("unknown compression"))?;
        if frame.offset != expected_offset || !frame.has_sane_sizes() {
            return Err(damaged("frames don't follow one another"));
        }
        expected_offset = frame.offset.checked_add(frame.stored_bytes).ok_or_else(|| damaged("offset overflows"))?;
        frames.push(frame);
    }
    if u64::from(expected_offset) != layout.toc_range().start {
        return Err(damaged("frames don't fill the object"));
    }
    Ok(frames)
}

/// A sealed object in memory: its bytes, and the key-free name they have.
pub fn name_of(bytes: &Bytes) -> String {
    blake3::hash(bytes).to_hex().to_string()
}
