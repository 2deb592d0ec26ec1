//! A record taken apart: the pages it changes, with their images and their data, and its own data.
//!
//! Not here: what the data mean.
//!
//! Source: `xlogrecord.h`, `DecodeXLogRecord` in `xlogreader.c` of PostgreSQL 14 to 18.

use super::block_references::{BlockReference, NotUnderstood, REFERENCE_ID_MAX, ReferenceHeader, WILL_INITIALIZE};
use super::image::PageImage;
use super::record::{RECORD_HEADER_BYTES, Record};
use crate::MajorVersion;
use crate::little_endian::{u8_at, u32_at};

/// A record's body, in its parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents<'a> {
    /// The pages it changes, in the order of their numbers.
    pub blocks: Vec<Block<'a>>,
    /// The resource manager's own data.
    pub main: &'a [u8],
}

/// A page that a record changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block<'a> {
    /// By which number the resource manager knows it.
    pub id: u8,
    /// Which page.
    pub reference: BlockReference,
    /// The page is made anew.
    pub is_made_anew: bool,
    /// The page as it is after the change.
    pub image: Option<PageImage<'a>>,
    /// What to do to it. Empty, mostly, where there is an image.
    pub data: &'a [u8],
}

impl<'a> Contents<'a> {
    /// The page with that number.
    pub fn block(&self, id: u8) -> Option<&Block<'a>> {
        self.blocks.iter().find(|block| block.id == id)
    }
}

impl Record {
    /// Its parts. All of the body must have been kept.
    pub fn contents(&self, version: MajorVersion) -> Result<Contents<'_>, NotUnderstood> {
        if self.body.len() + RECORD_HEADER_BYTES != self.header.total_bytes as usize {
            return Err(NotUnderstood);
        }
        contents(&self.body, version).ok_or(NotUnderstood)
    }
}

/// The parts of a whole body. None when it contradicts itself.
pub fn contents(body: &[u8], version: MajorVersion) -> Option<Contents<'_>> {
    let mut rest = body;
    let (mut headers, mut main_bytes, mut announced) = (Vec::new(), 0usize, 0usize);
    let mut before = None;
    while rest.len() > announced {
        let (id, after) = rest.split_first()?;
        let (skip, data) = match *id {
            255 => (1, usize::from(u8_at(after, 0)?)),
            254 => (4, u32_at(after, 0)? as usize),
            // The replication origin, the transaction above a subtransaction.
            253 => (2, 0),
            252 => (4, 0),
            id if id <= REFERENCE_ID_MAX => {
                let header = ReferenceHeader::parse(after, version, before)?;
                before = Some(header.reference.relation);
                let parts = (header.bytes, header.data_bytes);
                headers.push((id, header));
                parts
            }
            _ => return None,
        };
        if *id >= 254 {
            main_bytes = data;
        }
        announced = announced.checked_add(data)?;
        rest = after.get(skip..)?;
    }
    if rest.len() != announced {
        return None;
    }
    let mut blocks = Vec::with_capacity(headers.len());
    for (id, header) in headers {
        let (own, after) = rest.split_at_checked(header.data_bytes)?;
        let (stored, data) = own.split_at_checked(header.image.map_or(0, |image| image.stored_bytes.into()))?;
        rest = after;
        let image = header.image.map(|header| PageImage::new(header, stored, version));
        let is_made_anew = header.flags & WILL_INITIALIZE != 0;
        blocks.push(Block { id, reference: header.reference, is_made_anew, image, data });
    }
    (rest.len() == main_bytes).then_some(Contents { blocks, main: rest })
}
