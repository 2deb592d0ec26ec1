//! What a record does to the rows of a table, to the map of the catalogs' files, and to databases.
//!
//! Not here: pages, and what the rows mean.
//!
//! Source: `heapam_xlog.h`, `relmapper.h`, `dbcommands_xlog.h`, `rmgrlist.h` of PostgreSQL 14 to 18, which lay these out alike,
//! but for `DROP DATABASE`, which has another number in 14.

use super::block_references::RelationLocator;
use super::contents::Contents;
use super::record::{Record, ResourceManager};
use crate::MajorVersion;
use crate::layout::Fork;
use crate::little_endian::{u8_at, u16_at, u32_at};

const DATABASE: u8 = 4;
const RELATION_MAP: u8 = 7;
const HEAP: u8 = 10;

/// The part of a tuple's header that is not logged lies before this.
pub const TUPLE_HEADER_BYTES: usize = 23;
/// `xl_heap_header`.
const LOGGED_HEADER_BYTES: usize = 5;

const PREFIX_FROM_OLD: u8 = 1 << 5;
const SUFFIX_FROM_OLD: u8 = 1 << 6;
/// Of a delete: an insertion that was given up, or a row that moves to another partition.
const NOT_A_DELETION: u8 = 1 << 3 | 1 << 4;

/// Where a row lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowPlace {
    /// The block of the main fork.
    pub block: u32,
    /// The number on the page, from 1.
    pub number: u16,
}

/// A row as it is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggedRow<'a> {
    /// `t_infomask`.
    pub flags: u16,
    /// Where its columns begin, counted from the tuple's own beginning (`t_hoff`).
    pub columns_at: u8,
    /// So many bytes of the columns are as in the row that it replaces, at the beginning.
    pub prefix: u16,
    /// The same, at the end.
    pub suffix: u16,
    /// From behind the fixed header on: the map of nulls, and the columns.
    pub bytes: &'a [u8],
}

/// What a record does to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChange<'a> {
    /// It is new. Without a row when only the page's image has it.
    Insert {
        /// Where.
        at: RowPlace,
        /// What.
        row: Option<LoggedRow<'a>>,
    },
    /// It is replaced.
    Update {
        /// Where it was.
        from: RowPlace,
        /// Where its new version is.
        to: RowPlace,
        /// The new version, as above.
        row: Option<LoggedRow<'a>>,
    },
    /// It is gone.
    Delete {
        /// Where it was.
        at: RowPlace,
        /// False for an insertion that was given up, and for a row that moves to another partition.
        is_deletion: bool,
    },
    /// Its columns are overwritten where it lies.
    InPlace {
        /// Where.
        at: RowPlace,
        /// The columns.
        columns: &'a [u8],
    },
}

/// What a record says of something larger than a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterChange<'a> {
    /// Which file holds each of the catalogs that can't look themselves up.
    Map {
        /// Of which database; 0: of the catalogs that all share.
        database: u32,
        /// In which tablespace it lies.
        tablespace: u32,
        /// The content of `pg_filenode.map`.
        map: &'a [u8],
    },
    /// A database's files are removed.
    DropDatabase {
        /// Which.
        database: u32,
    },
}

impl<'a> RowChange<'a> {
    /// What the record does, and to which table. None when it changes no row.
    pub fn of(record: &Record, contents: &Contents<'a>) -> Option<(RelationLocator, Self)> {
        if record.header.manager != ResourceManager::Other(HEAP) {
            return None;
        }
        let page = contents.block(0).filter(|block| block.reference.fork == Some(Fork::Main))?;
        let main = contents.main;
        let place = |number| RowPlace { block: page.reference.block, number };
        let change = match record.header.info & 0x70 {
            // xl_heap_insert
            0x00 => Self::Insert { at: place(u16_at(main, 0)?), row: LoggedRow::parse(page.data, 0) },
            // xl_heap_delete
            0x10 => Self::Delete { at: place(u16_at(main, 4)?), is_deletion: u8_at(main, 7)? & NOT_A_DELETION == 0 },
            // xl_heap_update, and the same for a new version on the same page
            0x20 | 0x40 => {
                let old_block = contents.block(1).map_or(page.reference.block, |block| block.reference.block);
                let from = RowPlace { block: old_block, number: u16_at(main, 4)? };
                let to = place(u16_at(main, 12)?);
                Self::Update { from, to, row: LoggedRow::parse(page.data, u8_at(main, 7)?) }
            }
            // xl_heap_inplace
            0x70 => Self::InPlace { at: place(u16_at(main, 0)?), columns: page.data },
            _ => return None,
        };
        Some((page.reference.relation, change))
    }
}

impl<'a> LoggedRow<'a> {
    /// `flags` are those of `xl_heap_update`.
    fn parse(data: &'a [u8], flags: u8) -> Option<Self> {
        let (mut at, mut prefix, mut suffix) = (0, 0, 0);
        if flags & PREFIX_FROM_OLD != 0 {
            prefix = u16_at(data, at)?;
            at += 2;
        }
        if flags & SUFFIX_FROM_OLD != 0 {
            suffix = u16_at(data, at)?;
            at += 2;
        }
        let columns_at = u8_at(data, at + 4)?;
        let bytes = data.get(at + LOGGED_HEADER_BYTES..)?;
        let is_sound = usize::from(columns_at) >= TUPLE_HEADER_BYTES;
        is_sound.then_some(Self { flags: u16_at(data, at + 2)?, columns_at, prefix, suffix, bytes })
    }
}

impl<'a> ClusterChange<'a> {
    /// What the record says. `version` is the one that wrote it.
    pub fn of(record: &Record, contents: &Contents<'a>, version: MajorVersion) -> Option<Self> {
        let main = contents.main;
        let drop_database = if version >= MajorVersion::V15 { 0x20 } else { 0x10 };
        match (record.header.manager, record.header.info & 0xF0) {
            // xl_relmap_update
            (ResourceManager::Other(RELATION_MAP), 0x00) => {
                let map = main.get(12..)?;
                let map = map.get(..usize::try_from(u32_at(main, 8)?).ok()?)?;
                Some(Self::Map { database: u32_at(main, 0)?, tablespace: u32_at(main, 4)?, map })
            }
            // xl_dbase_drop_rec
            (ResourceManager::Other(DATABASE), info) if info == drop_database => {
                Some(Self::DropDatabase { database: u32_at(main, 0)? })
            }
            _ => None,
        }
    }
}
