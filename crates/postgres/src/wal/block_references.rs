//! Which pages a record changes.
//!
//! A record names every page that its replay will touch, before anything else in its body: without that, replay could
//! not lock them. What a record does to whole files (truncating, creating, copying a database) it says in its main data.
//!
//! Not here: what is done to the pages.
//!
//! Source: `xlogrecord.h`, `DecodeXLogRecord` in `xlogreader.c` of PostgreSQL 14 to 18.

use super::record::{RECORD_HEADER_BYTES, Record};
use crate::MajorVersion;
use crate::layout::{Fork, Place};
use crate::little_endian::{u8_at, u16_at, u32_at};

/// The highest number of a reference in a record (`XLR_MAX_BLOCK_ID`).
pub(super) const REFERENCE_ID_MAX: u8 = 32;
/// `pg_default`, the tablespace that is `base`.
const DEFAULT_TABLESPACE: u32 = 1663;
/// `pg_global`, the tablespace that is `global`.
const GLOBAL_TABLESPACE: u32 = 1664;

const FORK_MASK: u8 = 0x0F;
const HAS_IMAGE: u8 = 0x10;
const HAS_DATA: u8 = 0x20;
pub(super) const WILL_INITIALIZE: u8 = 0x40;
const SAME_RELATION: u8 = 0x80;
const IMAGE_HAS_HOLE: u8 = 0x01;

/// The files of a relation, as the log names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationLocator {
    /// Where they lie.
    pub place: Place,
    /// The number in their names.
    pub relfilenode: u32,
}

impl RelationLocator {
    /// From twelve bytes: tablespace, database, relation.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (tablespace, database) = (u32_at(bytes, 0)?, u32_at(bytes, 4)?);
        let place = match tablespace {
            GLOBAL_TABLESPACE => Place::Global,
            DEFAULT_TABLESPACE => Place::Database { database },
            _ => Place::Tablespace { tablespace, database },
        };
        Some(Self { place, relfilenode: u32_at(bytes, 8)? })
    }
}

/// A page that a record changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockReference {
    /// Whose.
    pub relation: RelationLocator,
    /// In which of the relation's forks; none for one that we don't know.
    pub fork: Option<Fork>,
    /// Which block of the fork, counted over all its files.
    pub block: u32,
    /// Whether replay reads the page as it was: it isn't made anew, and no image is put in its place.
    pub is_read: bool,
}

/// The fork with that number in the log.
pub fn fork_of_number(number: u8) -> Option<Fork> {
    [Fork::Main, Fork::FreeSpace, Fork::Visibility, Fork::Init].get(usize::from(number)).copied()
}

/// A body that can't be understood: nothing may be concluded from the log it is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block references of a record can't be understood")]
pub struct NotUnderstood;

impl Record {
    /// The pages it changes. Needs the front of the body: all of it that comes before the data.
    pub fn block_references(&self, version: MajorVersion) -> Result<Vec<BlockReference>, NotUnderstood> {
        let mut references = Vec::new();
        let mut rest = self.body.as_slice();
        let mut before = None;
        // The data of the references and of the record follow the headers; where they begin is where as many bytes are
        // left as the headers announced. Bytes at the end of the body that weren't kept count too.
        let body_bytes = (self.header.total_bytes as usize).saturating_sub(RECORD_HEADER_BYTES);
        let missing = body_bytes.checked_sub(self.body.len()).ok_or(NotUnderstood)?;
        let mut announced = 0usize;
        while rest.len() + missing > announced {
            let (id, after) = rest.split_first().ok_or(NotUnderstood)?;
            let (skip, data) = match *id {
                255 => (1, usize::from(u8_at(after, 0).ok_or(NotUnderstood)?)),
                254 => (4, u32_at(after, 0).ok_or(NotUnderstood)? as usize),
                253 => (2, 0),
                252 => (4, 0),
                id if id <= REFERENCE_ID_MAX => {
                    let header = ReferenceHeader::parse(after, version, before).ok_or(NotUnderstood)?;
                    before = Some(header.reference.relation);
                    references.push(header.reference);
                    (header.bytes, header.data_bytes)
                }
                _ => return Err(NotUnderstood),
            };
            announced = announced.checked_add(data).ok_or(NotUnderstood)?;
            rest = after.get(skip..).ok_or(NotUnderstood)?;
        }
        if rest.len() + missing == announced { Ok(references) } else { Err(NotUnderstood) }
    }
}

/// One reference, without its first byte.
pub(super) struct ReferenceHeader {
    pub reference: BlockReference,
    /// Fork and flags.
    pub flags: u8,
    /// Length of the header itself.
    pub bytes: usize,
    /// What it announces: the image and the data behind it.
    pub data_bytes: usize,
    pub image: Option<ImageHeader>,
}

/// How an image of a page is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageHeader {
    pub stored_bytes: u16,
    pub hole_offset: u16,
    pub info: u8,
    /// Length of the hole; none when it follows from the length.
    pub hole_bytes: Option<u16>,
    pub is_compressed: bool,
}

impl ImageHeader {
    /// Replay puts it in the page's place. Others are there to be compared with what replay makes.
    fn is_applied(self, version: MajorVersion) -> bool {
        self.info & if version >= MajorVersion::V15 { 0x02 } else { 0x04 } != 0
    }

    fn parse(bytes: &[u8], version: MajorVersion) -> Option<(Self, usize)> {
        let info = u8_at(bytes, 4)?;
        let is_compressed = info & if version >= MajorVersion::V15 { 0x1C } else { 0x02 } != 0;
        let has_length = info & IMAGE_HAS_HOLE != 0 && is_compressed;
        let hole_bytes = match (has_length, info & IMAGE_HAS_HOLE != 0) {
            (true, _) => Some(u16_at(bytes, 5)?),
            (false, true) => None,
            (false, false) => Some(0),
        };
        let (stored_bytes, hole_offset) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        Some((Self { stored_bytes, hole_offset, info, hole_bytes, is_compressed }, if has_length { 7 } else { 5 }))
    }
}

impl ReferenceHeader {
    pub fn parse(bytes: &[u8], version: MajorVersion, before: Option<RelationLocator>) -> Option<Self> {
        let flags = u8_at(bytes, 0)?;
        let mut data_bytes = usize::from(u16_at(bytes, 1)?);
        if (flags & HAS_DATA != 0) != (data_bytes > 0) {
            return None;
        }
        let (mut at, mut image) = (3, None);
        if flags & HAS_IMAGE != 0 {
            let (header, length) = ImageHeader::parse(bytes.get(at..)?, version)?;
            data_bytes += usize::from(header.stored_bytes);
            image = Some(header);
            at += length;
        }
        let relation = if flags & SAME_RELATION != 0 {
            before?
        } else {
            let relation = RelationLocator::parse(bytes.get(at..)?)?;
            at += 12;
            relation
        };
        let block = u32_at(bytes, at)?;
        let is_replaced = image.is_some_and(|image| image.is_applied(version));
        let is_read = flags & WILL_INITIALIZE == 0 && !is_replaced;
        let reference = BlockReference { relation, fork: fork_of_number(flags & FORK_MASK), block, is_read };
        Some(Self { reference, flags, bytes: at + 4, data_bytes, image })
    }
}
