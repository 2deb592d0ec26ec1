//! How transactions ended, and restore points: the moments at which a recovery can stop.

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
    if !has_info {
        return None;
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
            offset = offset.checked_add(4)?.checked_add(count.checked_mul(item_bytes)?)?;
        }
    }
    if flags & (1 << 4) != 0 { u32_at(data, offset) } else { None }
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
