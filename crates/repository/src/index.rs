//! The index: which pack and frame holds a chunk.
//!
//! It is made of fragments, written once, that merge in any order: a fragment lists some packs with all their frames.
//! The index is a cache of what the packs' own tables say; losing a fragment loses time, not data.
//!
//! All of it is in memory while it is used, some 65 bytes for each chunk: see `index/places.rs`.

mod places;

use crate::chunk::ChunkId;
use crate::container::{FRAMES_MAX, Frame, TOC_ROW_BYTES as ROW_BYTES};
use crate::error::{Error, Result};
use places::Places;
use std::collections::HashSet;
use std::ops::Range;

const PACK_HEAD_BYTES: usize = 32 + 8 + 32 + 4;
/// A fragment is not made larger than this many frames: some 50 MiB.
const FRAGMENT_FRAMES_MAX: usize = 1 << 20;
/// Largest fragment accepted, in bytes.
pub const FRAGMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A pack as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackEntry {
    /// Name: BLAKE3 of its bytes.
    pub id: [u8; 32],
    /// Whole size in bytes.
    pub bytes: u64,
    /// Salt of its key slot.
    pub salt: [u8; 32],
    /// Frames in order.
    pub frames: Vec<Frame>,
}

impl PackEntry {
    /// The key under which it is stored.
    pub fn key(&self) -> String {
        pack_key(&self.id)
    }
}

/// The key of a pack.
pub fn pack_key(id: &[u8; 32]) -> String {
    let name = hex::encode(id);
    format!("packs/{}/{name}", &name[..2])
}

/// Where a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Number of the pack in [`Index::pack`].
    pub pack: u32,
    /// Number of the frame in that pack.
    pub frame: u32,
}

/// All fragments merged.
#[derive(Debug, Default)]
pub struct Index {
    packs: Vec<PackEntry>,
    known: HashSet<[u8; 32]>,
    places: Places,
}

impl Index {
    /// Adds a pack. One that is known already changes nothing.
    pub fn add(&mut self, pack: PackEntry) {
        if self.known.insert(pack.id) {
            self.packs.push(pack);
            self.places.add_last(&self.packs);
        }
    }

    /// Where a chunk is, if any pack holds it: in the pack that was added first.
    pub fn find(&self, id: &ChunkId) -> Option<Placement> {
        self.places.of(&self.packs, id).next()
    }

    /// Where a chunk is in the packs whose numbers `may_be_used` lets pass: in the one that was added first.
    pub fn find_in(&self, id: &ChunkId, may_be_used: impl Fn(u32) -> bool) -> Option<Placement> {
        self.places.of(&self.packs, id).find(|place| may_be_used(place.pack))
    }

    /// Whether a pack is known.
    pub fn has_pack(&self, id: &[u8; 32]) -> bool {
        self.known.contains(id)
    }

    /// A pack by its number.
    pub fn pack(&self, number: u32) -> &PackEntry {
        &self.packs[number as usize]
    }

    /// All packs.
    pub fn packs(&self) -> &[PackEntry] {
        &self.packs
    }

    /// The row of a placed frame.
    pub fn frame(&self, placement: Placement) -> &Frame {
        &self.packs[placement.pack as usize].frames[placement.frame as usize]
    }

    /// All packs, and no index any more.
    pub fn into_packs(self) -> Vec<PackEntry> {
        self.packs
    }
}

/// Cuts a list of packs into parts that each make a fragment of a size that is accepted when it is read.
pub fn fragments_of(packs: &[PackEntry]) -> Vec<&[PackEntry]> {
    let (mut parts, mut start, mut frames) = (Vec::new(), 0, 0);
    for (number, pack) in packs.iter().enumerate() {
        if number > start && frames + pack.frames.len() > FRAGMENT_FRAMES_MAX {
            parts.push(&packs[start..number]);
            (start, frames) = (number, 0);
        }
        frames += pack.frames.len();
    }
    parts.push(&packs[start..]);
    parts
}

/// Bytes of a fragment with these packs.
pub fn encode_fragment(packs: &[PackEntry]) -> Vec<u8> {
    let rows: usize = packs.iter().map(|pack| pack.frames.len()).sum();
    let mut out = Vec::with_capacity(4 + packs.len() * PACK_HEAD_BYTES + rows * ROW_BYTES);
    out.extend_from_slice(&(packs.len() as u32).to_le_bytes());
    for pack in packs {
        out.extend_from_slice(&pack.id);
        out.extend_from_slice(&pack.bytes.to_le_bytes());
        out.extend_from_slice(&pack.salt);
        out.extend_from_slice(&(pack.frames.len() as u32).to_le_bytes());
        for frame in &pack.frames {
            out.extend_from_slice(&frame.row());
        }
    }
    out
}

/// A cursor over foreign bytes that never reads past them.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(head)
    }

    fn word(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take(8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<[u8; 32]> {
        self.take(32).and_then(|bytes| bytes.try_into().ok())
    }
}

/// Reads a fragment.
pub fn parse_fragment(object: &str, bytes: &[u8]) -> Result<Vec<PackEntry>> {
    let mut cursor = Cursor(bytes);
    let packs =
        parse_packs(&mut cursor).ok_or_else(|| Error::corrupt(object, "the fragment of the index is not whole"))?;
    if !cursor.0.is_empty() {
        return Err(Error::corrupt(object, "the fragment of the index has bytes left over"));
    }
    Ok(packs)
}

fn parse_packs(cursor: &mut Cursor<'_>) -> Option<Vec<PackEntry>> {
    let count = cursor.word()? as usize;
    if count > cursor.0.len() / PACK_HEAD_BYTES {
        return None;
    }
    let mut packs = Vec::with_capacity(count);
    for _ in 0..count {
        let (id, bytes, salt) = (cursor.id()?, cursor.long()?, cursor.id()?);
        let frame_count = cursor.word()?;
        if frame_count > FRAMES_MAX || frame_count as usize > cursor.0.len() / ROW_BYTES {
            return None;
        }
        let mut free = 0..bytes;
        // Exactly as many as there are: collected, they would take up to twice the memory for as long as the index is used.
        let mut frames = Vec::with_capacity(frame_count as usize);
        for _ in 0..frame_count {
            frames.push(parse_row(cursor, &mut free)?);
        }
        packs.push(PackEntry { id, bytes, salt, frames });
    }
    Some(packs)
}

/// `free` is the part of the pack after the frames so far: frames follow one another.
fn parse_row(cursor: &mut Cursor<'_>, free: &mut Range<u64>) -> Option<Frame> {
    let frame = Frame::of_row(cursor.take(ROW_BYTES)?.first_chunk()?)?;
    let (start, end) = (u64::from(frame.offset), u64::from(frame.offset) + u64::from(frame.stored_bytes));
    let fits = frame.has_sane_sizes() && free.start <= start && end <= free.end;
    free.start = end;
    fits.then_some(frame)
}
