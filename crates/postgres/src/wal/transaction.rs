//! How transactions ended, and restore points: the moments at which a recovery can stop.

use super::block_references::RelationLocator;
use super::record::{Record, ResourceManager};
use crate::little_endian::{u32_at, u64_at};
use crate::{Lsn, MajorVersion};
use jiff::Timestamp;

/// From 1970 to PostgreSQL's 2000-01-01.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its changes hold.
    Committed,
    /// They don't.
    Aborted,
}

/// The record with which a transaction ended, at once or after having been prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionEnd {
    /// The transaction. For a prepared one the number it was prepared under, which is what `recovery_target_xid`
    /// compares. None when the record's body wasn't kept so far or can't be understood.
    pub xid: Option<u32>,
    /// How it ended.
    pub outcome: Outcome,
    /// When, by the server's clock. Not in strict order from one record to the next. None when not kept or impossible.
    pub at: Option<Timestamp>,
    /// Where the record begins: recovery that excludes the transaction ends here.
    pub start: Lsn,
    /// Where the record ends: recovery that includes the transaction ends here.
    pub end: Lsn,
}

/// A place named with `pg_create_restore_point`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestorePoint {
    /// Its name; not valid UTF-8 becomes `�`.
    pub name: String,
    /// The end of its record: what `pg_create_restore_point` returned.
    pub lsn: Lsn,
    /// When it was made.
    pub at: Option<Timestamp>,
}

/// PostgreSQL's microseconds since 2000 as a moment. None when outside of years -9999 to 9999.
pub fn timestamp(microseconds_since_2000: i64) -> Option<Timestamp> {
    Timestamp::from_microsecond(microseconds_since_2000.checked_add(EPOCH_MICROSECONDS)?).ok()
}

impl TransactionEnd {
    /// What the record says, when it ends a transaction. `version` is the one that wrote the log.
    pub fn of(record: &Record, version: MajorVersion) -> Option<Self> {
        if record.header.manager != ResourceManager::Transaction {
            return None;
        }
        let (outcome, was_prepared) = match record.header.info & 0x70 {
            0x00 => (Outcome::Committed, false),
            0x20 => (Outcome::Aborted, false),
            0x30 => (Outcome::Committed, true),
            0x40 => (Outcome::Aborted, true),
            _ => return None,
        };
        let data = record.main_data();
        let at = data.and_then(|data| timestamp(u64_at(data, 0)?.cast_signed()));
        let xid = if was_prepared {
            data.and_then(|data| prepared_xid(data, record.header.info & 0x80 != 0, version))
        } else {
            Some(record.header.xid)
        };
        Some(Self { xid, outcome, at, start: record.start, end: record.end })
    }
}

/// The number comes after lists whose lengths must be read first.
fn prepared_xid(data: &[u8], has_info: bool, version: MajorVersion) -> Option<u32> {
    Lists::of(data, has_info, version)?.prepared
}

/// What else the end of a transaction says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TransactionLists {
    /// Its subtransactions that ended as it did. They have numbers of their own, under which their changes are logged.
    pub subtransactions: Vec<u32>,
    /// Relation files that go with it: of a commit those of what was dropped or written anew, of an abort those of what was made.
    pub dropped: Vec<RelationLocator>,
}

impl TransactionLists {
    /// Of a record that ends a transaction. None when it isn't one, can't be understood, or not enough of it was kept.
    pub fn of(record: &Record, version: MajorVersion) -> Option<Self> {
        let is_end = record.header.manager == ResourceManager::Transaction
            && matches!(record.header.info & 0x70, 0x00 | 0x20 | 0x30 | 0x40);
        let data = record.main_data().filter(|_| is_end)?;
        let lists = Lists::of(data, record.header.info & 0x80 != 0, version)?;
        let word = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        let subtransactions = lists.subtransactions.as_chunks().0.iter().map(word).collect();
        let dropped = lists.dropped.as_chunks::<12>().0.iter().filter_map(|bytes| RelationLocator::parse(bytes));
        Some(Self { subtransactions, dropped: dropped.collect() })
    }
}

/// The lists in `xl_xact_commit` and `xl_xact_abort`, as bytes.
#[derive(Default)]
struct Lists<'a> {
    subtransactions: &'a [u8],
    dropped: &'a [u8],
    prepared: Option<u32>,
}

impl<'a> Lists<'a> {
    /// `ParseCommitRecord` in `xactdesc.c`.
    fn of(data: &'a [u8], has_info: bool, version: MajorVersion) -> Option<Self> {
        let mut lists = Self::default();
        if !has_info {
            return Some(lists);
        }
        let flags = u32_at(data, 8)?;
        let mut offset = 12usize;
        if flags & 1 != 0 {
            offset += 8;
        }
        let dropped_statistics_bytes = if version >= MajorVersion::V18 { 16 } else { 12 };
        // Subtransactions, dropped relation files, dropped statistics, invalidation messages.
        for (flag, item_bytes) in [(1 << 1, 4), (1 << 2, 12), (1 << 8, dropped_statistics_bytes), (1 << 3, 16)] {
            if flags & flag != 0 {
                let count = usize::try_from(u32_at(data, offset)?).ok()?;
                let from = offset.checked_add(4)?;
                offset = from.checked_add(count.checked_mul(item_bytes)?)?;
                match flag {
                    0x2 => lists.subtransactions = data.get(from..offset)?,
                    0x4 => lists.dropped = data.get(from..offset)?,
                    _ => {}
                }
            }
        }
        if flags & (1 << 4) != 0 {
            lists.prepared = Some(u32_at(data, offset)?);
        }
        Some(lists)
    }
}

impl RestorePoint {
    /// What the record says, when it is a restore point.
    pub fn of(record: &Record) -> Option<Self> {
        if !record.header.is_restore_point() {
            return None;
        }
        let data = record.main_data()?;
        let name = data.get(8..72)?;
        let name = name.split(|byte| *byte == 0).next()?;
        let at = timestamp(u64_at(data, 0)?.cast_signed());
        Some(Self { name: String::from_utf8_lossy(name).into_owned(), lsn: record.end, at })
    }
}
