//! The header of each page of the log, and of the first page of each segment.

use crate::little_endian::{u16_at, u32_at, u64_at};
use crate::wal_file::{SegmentName, SegmentSize, WalFileError};
use crate::{Lsn, MajorVersion, SystemId, TimelineId};

/// Of every page but the first of a segment.
pub const SHORT_HEADER_BYTES: usize = 24;

/// Of the first page of a segment.
pub const LONG_HEADER_BYTES: usize = 40;

const FIRST_IS_CONTINUATION: u16 = 0x0001;
const LONG_HEADER: u16 = 0x0002;
const FIRST_IS_OVERWRITE: u16 = 0x0008;
const ALL_FLAGS: u16 = 0x000F;

/// What stands before the records of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPageHeader {
    /// Says which version wrote it.
    pub magic: u16,
    /// The page begins in the middle of a record.
    pub continues_record: bool,
    /// A record that the pages before began was given up after a crash; this page holds something else.
    pub overwrites_record: bool,
    /// This is the first page of a segment, with a longer header.
    pub is_long: bool,
    /// The timeline that wrote the page.
    pub timeline: TimelineId,
    /// Where the page belongs. A recycled segment holds pages of another place.
    pub address: Lsn,
    /// With `continues_record`: how many bytes of that record are still to come, from this page on.
    pub remaining_bytes: u32,
}

impl LogPageHeader {
    /// Reads the first 24 bytes of a page. None when there are fewer, or the magic or the flags are of no version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, info) = (u16_at(bytes, 0)?, u16_at(bytes, 2)?);
        version_of_magic(magic)?;
        if info & !ALL_FLAGS != 0 {
            return None;
        }
        Some(Self {
            magic,
            continues_record: info & FIRST_IS_CONTINUATION != 0,
            overwrites_record: info & FIRST_IS_OVERWRITE != 0,
            is_long: info & LONG_HEADER != 0,
            timeline: TimelineId(u32_at(bytes, 4)?),
            address: Lsn(u64_at(bytes, 8)?),
            remaining_bytes: u32_at(bytes, 16)?,
        })
    }
}

/// The version whose log has that magic. It changes with every major version.
pub fn version_of_magic(magic: u16) -> Option<MajorVersion> {
    Some(match magic {
        0xD10D => MajorVersion::V14,
        0xD110 => MajorVersion::V15,
        0xD113 => MajorVersion::V16,
        0xD116 => MajorVersion::V17,
        0xD118 => MajorVersion::V18,
        _ => return None,
    })
}

/// Whose segment it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which version wrote it.
    pub version: MajorVersion,
    /// The timeline of its first page. The segment in which a timeline begins opens with pages of the one before.
    pub timeline: TimelineId,
    /// The position of its first byte.
    pub start: Lsn,
    /// The cluster.
    pub system_id: SystemId,
    /// The cluster's segment size.
    pub segment_size: SegmentSize,
    /// The size of the log's pages.
    pub block_bytes: u32,
}

/// Bytes that don't begin a segment, or not the one they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentStartError {
    /// Fewer than 40 bytes.
    #[error("a WAL segment of {bytes} bytes has no header")]
    TooShort {
        /// How many there are.
        bytes: usize,
    },
    /// Another version's, or no log at all. 0: never written.
    #[error("a WAL segment begins with magic {found:04X}, which no supported version of PostgreSQL writes")]
    Magic {
        /// The first two bytes.
        found: u16,
    },
    /// The header contradicts itself.
    #[error("the header of a WAL segment is damaged: {what}")]
    Damaged {
        /// In what.
        what: &'static str,
    },
    /// Of another cluster.
    #[error("the WAL segment was written by the cluster with system identifier {found}, not {expected}")]
    Foreign {
        /// Whose it is.
        found: SystemId,
        /// Whose it should be.
        expected: SystemId,
    },
    /// The name can't be one of this cluster's.
    #[error(transparent)]
    Name(#[from] WalFileError),
    /// The content is of another place of the log than the name says.
    #[error("WAL segment {name} holds the log from {found} on timeline {timeline}, not what its name says")]
    Misnamed {
        /// The file's name.
        name: String,
        /// What its first page says.
        found: Lsn,
        /// What its first page says.
        timeline: TimelineId,
    },
}

/// Reads the header that every segment begins with. Needs its first 40 bytes.
pub fn inspect_segment_start(bytes: &[u8]) -> Result<SegmentHeader, SegmentStartError> {
    let too_short = SegmentStartError::TooShort { bytes: bytes.len() };
    let damaged = |what| SegmentStartError::Damaged { what };
    let (Some(bytes), Some(magic)) = (bytes.get(..LONG_HEADER_BYTES), u16_at(bytes, 0)) else {
        return Err(too_short);
    };
    let version = version_of_magic(magic).ok_or(SegmentStartError::Magic { found: magic })?;
    let page = LogPageHeader::parse(bytes).ok_or(damaged("the flags of its first page"))?;
    let (Some(system_id), Some(size), Some(block_bytes)) = (u64_at(bytes, 24), u32_at(bytes, 32), u32_at(bytes, 36))
    else {
        return Err(too_short);
    };
    let segment_size = SegmentSize::new(size.into()).map_err(|_| damaged("its segment size"))?;
    if !page.is_long {
        return Err(damaged("its first page has no long header"));
    }
    if !block_bytes.is_power_of_two() || !(1024..=65_536).contains(&block_bytes) {
        return Err(damaged("its page size"));
    }
    if segment_size.offset_of(page.address) != 0 {
        return Err(damaged("its first page belongs inside a segment"));
    }
    if page.timeline.0 == 0 {
        return Err(damaged("its timeline is 0"));
    }
    let system_id = SystemId(system_id);
    Ok(SegmentHeader { version, timeline: page.timeline, start: page.address, system_id, segment_size, block_bytes })
}

impl SegmentHeader {
    /// Is this the segment that its file name says, of the cluster it should be of?
    pub fn check(&self, name: SegmentName, system_id: SystemId) -> Result<(), SegmentStartError> {
        if self.system_id != system_id {
            return Err(SegmentStartError::Foreign { found: self.system_id, expected: system_id });
        }
        let start = name.start_lsn(self.segment_size)?;
        if start != self.start || self.timeline > name.timeline {
            let name = name.to_string();
            return Err(SegmentStartError::Misnamed { name, found: self.start, timeline: self.timeline });
        }
        Ok(())
    }
}
