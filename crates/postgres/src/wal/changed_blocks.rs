//! Which pages of a cluster a stretch of its log changed.
//!
//! Promise: a page of a main fork that is not named here holds, at the end of the stretch, what it held at its beginning,
//! but for hints that may be lost. It takes more than the pages that records name:
//!
//! - A relation that was truncated and grew again has pages of zeros that no record names. So from the lowest block to
//!   which a fork was cut (its *limit*) on, every page counts as changed; after `CREATE`, from block 0 on.
//! - `CREATE DATABASE` and its kin write whole directories that no record names. So every page of such a database does.
//! - Free space and visibility maps change without records. They are not in here at all: read them.
//! - What the log can't say ends the promise: a time with `wal_level = minimal`, records of an extension's own kind, an
//!   end of recovery. Then [`ChangedBlocks::distrusted`] says why, and everything is to be read.
//!
//! Source: `walsummarizer.c`, `storage_xlog.h`, `dbcommands_xlog.h` of PostgreSQL 14 to 18; the holes that were found in
//! the server's own summaries are why maps are left out and limits reach to the end of the file.

use super::block_references::RelationLocator;
use super::record::{Record, ResourceManager};
use crate::MajorVersion;
use crate::layout::{Fork, Place, RelationFile};
use crate::little_endian::u32_at;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

const STORAGE: u8 = 2;
const DATABASE: u8 = 4;
/// The highest resource manager that PostgreSQL itself has (`RM_LOGICALMSG_ID`).
const OWN_MANAGER_MAX: u8 = 21;
const MAIN_FORK: u32 = 0;
/// Of `SMGR_TRUNCATE`: the relation's own pages are cut, not only its maps.
const TRUNCATE_MAIN: u32 = 1;
/// Position of `wal_level` in `xl_parameter_change`, and its value for `replica`.
const WAL_LEVEL_OFFSET: usize = 20;
const WAL_LEVEL_REPLICA: u32 = 1;

/// Blocks of one bitmap: those of a file of 1 GiB.
const BITMAP_BLOCKS: u32 = 131_072;

/// Why nothing can be concluded from a stretch of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Each says what it is in its message.
#[non_exhaustive]
pub enum Distrust {
    #[error("the log holds records of an extension, which may change pages that they don't name")]
    ExtensionRecords,
    #[error("wal_level was minimal for a time, and changes were not logged")]
    MinimalLog,
    #[error("a recovery ended in this stretch of the log")]
    EndOfRecovery,
    #[error("a record of the log can't be understood")]
    NotUnderstood,
}

/// What a relation's log says about its main fork.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Relation {
    /// From here on everything changed.
    limit: Option<u32>,
    /// Of each file of 131072 blocks, a bit for each block up to the highest that changed.
    bitmaps: BTreeMap<u32, Vec<u64>>,
}

/// Pages that changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChangedBlocks {
    relations: BTreeMap<RelationLocator, Relation>,
    databases: BTreeSet<u32>,
    distrusted: Option<Distrust>,
}

impl ChangedBlocks {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Why nothing may be concluded, if so.
    pub fn distrusted(&self) -> Option<Distrust> {
        self.distrusted
    }

    /// Takes in a record. Its body must have been kept, at least the first 8 KiB.
    pub fn add(&mut self, record: &Record, version: MajorVersion) {
        let outcome = match record.header.manager {
            ResourceManager::Other(id) if id > OWN_MANAGER_MAX => Err(Distrust::ExtensionRecords),
            ResourceManager::Log => self.add_log_record(record),
            ResourceManager::Other(STORAGE) => self.add_storage(record),
            ResourceManager::Other(DATABASE) => self.add_database(record),
            _ => Ok(()),
        };
        let outcome = outcome.and_then(|()| self.add_references(record, version));
        if let Err(distrust) = outcome {
            self.distrusted.get_or_insert(distrust);
        }
    }

    fn add_references(&mut self, record: &Record, version: MajorVersion) -> Result<(), Distrust> {
        let references = record.block_references(version).map_err(|_| Distrust::NotUnderstood)?;
        for reference in references.iter().filter(|reference| reference.fork == Some(Fork::Main)) {
            let relation = self.relations.entry(reference.relation).or_default();
            if relation.limit.is_none_or(|limit| reference.block < limit) {
                relation.mark(reference.block);
            }
        }
        Ok(())
    }

    fn add_log_record(&mut self, record: &Record) -> Result<(), Distrust> {
        match record.header.info & 0xF0 {
            // XLOG_PARAMETER_CHANGE
            0x60 => {
                let level = record.main_data().and_then(|data| u32_at(data, WAL_LEVEL_OFFSET));
                let level = level.ok_or(Distrust::NotUnderstood)?;
                if level < WAL_LEVEL_REPLICA { Err(Distrust::MinimalLog) } else { Ok(()) }
            }
            // XLOG_END_OF_RECOVERY
            0x90 => Err(Distrust::EndOfRecovery),
            _ => Ok(()),
        }
    }

    fn add_storage(&mut self, record: &Record) -> Result<(), Distrust> {
        let data = record.main_data().ok_or(Distrust::NotUnderstood)?;
        let field = |offset| u32_at(data, offset).ok_or(Distrust::NotUnderstood);
        let relation = |offset| data.get(offset..).and_then(RelationLocator::parse).ok_or(Distrust::NotUnderstood);
        match record.header.info & 0xF0 {
            // XLOG_SMGR_CREATE
            0x10 if field(12)? == MAIN_FORK => self.cut(relation(0)?, 0),
            0x10 => {}
            // XLOG_SMGR_TRUNCATE
            0x20 if field(16)? & TRUNCATE_MAIN != 0 => self.cut(relation(4)?, field(0)?),
            0x20 => {}
            _ => return Err(Distrust::NotUnderstood),
        }
        Ok(())
    }

    /// Of every kind of record about a database the first field is the one that was made or removed.
    fn add_database(&mut self, record: &Record) -> Result<(), Distrust> {
        let database = record.main_data().and_then(|data| u32_at(data, 0)).ok_or(Distrust::NotUnderstood)?;
        self.databases.insert(database);
        Ok(())
    }

    fn cut(&mut self, relation: RelationLocator, to_block: u32) {
        let relation = self.relations.entry(relation).or_default();
        let limit = relation.limit.map_or(to_block, |limit| limit.min(to_block));
        relation.limit = Some(limit);
        relation.bitmaps.retain(|number, _| number.saturating_mul(BITMAP_BLOCKS) < limit);
    }

    /// The blocks of a file that may have changed, in order, without overlap, none empty: numbers within the file, of
    /// its `blocks` blocks. All of them for a fork that the log doesn't tell about.
    pub fn of_file(&self, file: &RelationFile, blocks_per_file: u32, blocks: u32) -> Vec<Range<u32>> {
        let everything = || std::iter::once(0..blocks).filter(|range| !range.is_empty()).collect();
        let database = match file.place {
            Place::Global => 0,
            Place::Database { database } | Place::Tablespace { database, .. } => database,
        };
        let is_new = self.databases.contains(&database);
        let Some(first) = file.first_block(blocks_per_file) else { return everything() };
        if self.distrusted.is_some() || file.fork != Fork::Main || is_new {
            return everything();
        }
        let locator = RelationLocator { place: file.place, relfilenode: file.relfilenode };
        let Some(relation) = self.relations.get(&locator) else { return Vec::new() };
        let limit = relation.limit.map_or(blocks, |limit| limit.saturating_sub(first).min(blocks));
        let mut ranges = relation.marked(first, limit);
        if limit < blocks {
            push(&mut ranges, limit..blocks);
        }
        ranges
    }

    /// How many pages records named, apart from those past a limit.
    pub fn pages(&self) -> u64 {
        let bitmaps = self.relations.values().flat_map(|relation| relation.bitmaps.values());
        bitmaps.flatten().map(|word| u64::from(word.count_ones())).sum()
    }
}

impl Relation {
    fn mark(&mut self, block: u32) {
        let bits = self.bitmaps.entry(block / BITMAP_BLOCKS).or_default();
        let inside = block % BITMAP_BLOCKS;
        let word = (inside / 64) as usize;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << (inside % 64);
    }

    fn is_marked(&self, block: u32) -> bool {
        let inside = block % BITMAP_BLOCKS;
        let word = self.bitmaps.get(&(block / BITMAP_BLOCKS)).and_then(|bits| bits.get((inside / 64) as usize));
        word.is_some_and(|word| word & (1 << (inside % 64)) != 0)
    }

    /// The marked blocks among `count` from `first` on, numbered from there.
    fn marked(&self, first: u32, count: u32) -> Vec<Range<u32>> {
        let mut ranges = Vec::new();
        let mut inside = 0;
        while inside < count {
            let block = first.saturating_add(inside);
            // Most words of most files are empty.
            let word = self
                .bitmaps
                .get(&(block / BITMAP_BLOCKS))
                .and_then(|bits| bits.get((block % BITMAP_BLOCKS / 64) as usize).copied());
            if word.unwrap_or_default() == 0 {
                inside += 64 - block % 64;
                continue;
            }
            if self.is_marked(block) {
                push(&mut ranges, inside..inside + 1);
            }
            inside += 1;
        }
        ranges
    }
}

/// Appends a range, joining it with the last one where they touch.
fn push(ranges: &mut Vec<Range<u32>>, range: Range<u32>) {
    match ranges.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}
