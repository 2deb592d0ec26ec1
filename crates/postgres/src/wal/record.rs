//! One record of the log: its header, its checksum, its main data.

use crate::Lsn;
use crate::little_endian::{u8_at, u32_at, u64_at};

/// What stands before the body of each record.
pub const RECORD_HEADER_BYTES: usize = 24;

/// The longest record that PostgreSQL writes (`XLogRecordMaxSize`).
pub const RECORD_BYTES_MAX: u32 = 1020 << 20;

const CHECKSUM_OFFSET: usize = 20;

/// The parts of PostgreSQL whose records are understood here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceManager {
    /// Checkpoints, segment switches, restore points.
    Log,
    /// Commits and aborts.
    Transaction,
    /// Any other, by number.
    Other(u8),
}

impl ResourceManager {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Log,
            1 => Self::Transaction,
            other => Self::Other(other),
        }
    }
}

/// The header of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordHeader {
    /// Header and body, without the padding that follows.
    pub total_bytes: u32,
    /// The transaction that wrote it; 0: none.
    pub xid: u32,
    /// Where the record before this one begins.
    pub previous: Lsn,
    /// Flags, of which the high four bits belong to the resource manager.
    pub info: u8,
    /// Whose record it is.
    pub manager: ResourceManager,
    pub(super) checksum: u32,
}

impl RecordHeader {
    pub(super) fn parse(bytes: &[u8; RECORD_HEADER_BYTES]) -> Option<Self> {
        Some(Self {
            total_bytes: u32_at(bytes, 0)?,
            xid: u32_at(bytes, 4)?,
            previous: Lsn(u64_at(bytes, 8)?),
            info: u8_at(bytes, 16)?,
            manager: ResourceManager::of(u8_at(bytes, 17)?),
            checksum: u32_at(bytes, CHECKSUM_OFFSET)?,
        })
    }

    /// The checksum of a whole record: the body's first, then the header up to the checksum itself.
    pub(super) fn checksum_of(header: &[u8; RECORD_HEADER_BYTES], body_checksum: u32) -> u32 {
        crc32c::crc32c_append(body_checksum, &header[..CHECKSUM_OFFSET])
    }

    /// The rest of the segment is empty after this record.
    pub fn is_switch(&self) -> bool {
        self.manager == ResourceManager::Log && self.info & 0xF0 == 0x40
    }

    /// A place that the user named.
    pub fn is_restore_point(&self) -> bool {
        self.manager == ResourceManager::Log && self.info & 0xF0 == 0x70
    }
}

/// A record whose checksum was right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where its header begins.
    pub start: Lsn,
    /// Where the next one may begin: what a recovery target names, what a standby reports as replayed.
    pub end: Lsn,
    /// The header.
    pub header: RecordHeader,
    /// The body after the header: none, the first part, or all of it, as the decoder was told to keep.
    pub body: Vec<u8>,
}

impl Record {
    /// A record as the decoder gives it, made by hand: for tests of those who read records. It has no checksum.
    pub fn new(start: Lsn, xid: u32, manager: u8, info: u8, body: Vec<u8>) -> Self {
        let bytes = RECORD_HEADER_BYTES + body.len();
        let header = RecordHeader {
            total_bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            xid,
            previous: Lsn::default(),
            info,
            manager: ResourceManager::of(manager),
            checksum: 0,
        };
        Self { start, end: start.saturating_add(bytes.next_multiple_of(8) as u64), header, body }
    }

    /// The resource manager's own data, without block references. None for a record that references blocks, and for
    /// one of which not enough was kept to know; its end is missing when the end of the body is.
    pub fn main_data(&self) -> Option<&[u8]> {
        let mut rest = self.body.as_slice();
        loop {
            let (id, after) = rest.split_first()?;
            let (skip, length) = match id {
                255 => (1, usize::from(u8_at(after, 0)?)),
                254 => (4, usize::try_from(u32_at(after, 0)?).ok()?),
                // The replication origin, the transaction above a subtransaction.
                253 => (2, 0),
                252 => (4, 0),
                _ => return None,
            };
            rest = after.get(skip..)?;
            if *id >= 254 {
                // Without blocks nothing else follows.
                let missing = (self.header.total_bytes as usize).checked_sub(RECORD_HEADER_BYTES + self.body.len())?;
                return (rest.len() + missing == length).then_some(rest);
            }
        }
    }
}
