//! What a stored segment says about itself, so that planners need not read the log.
//!
//! The facts lie beside the segment, in its annex. They are a convenience: a segment without them, or with facts of a
//! version that we don't know, is read instead.

use super::archive::WalArchive;
use super::error::{Result, WalError};
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::wal::{SegmentFacts, segment_facts};
use lifeboat_repository::LogEntry;
use serde::{Deserialize, Serialize};

/// Version of this document.
pub const FACTS_VERSION: u32 = 1;

/// What happened in a segment. A record belongs to the segment in which it ends. A segment that came alone knows
/// nothing of a record that began in the one before: so a commit at the very border may be in neither's count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFacts {
    /// [`FACTS_VERSION`].
    pub version: u32,
    /// The first record that begins in it.
    pub first_record: Option<Lsn>,
    /// The end of the last complete record.
    pub end_of_valid: Lsn,
    /// How many transactions committed.
    pub commits: u64,
    /// The earliest time of a commit.
    pub first_commit_at: Option<Timestamp>,
    /// The latest time of a commit.
    pub last_commit_at: Option<Timestamp>,
    /// The latest time of a commit or abort.
    pub last_transaction_at: Option<Timestamp>,
    /// The oldest transaction that ended, in the circular order of 32-bit numbers.
    pub xid_min: Option<u32>,
    /// The newest one.
    pub xid_max: Option<u32>,
    /// Places named by the user, in order.
    pub restore_points: Vec<StoredRestorePoint>,
    /// Ends with a switch: the rest is empty on purpose.
    pub switched: bool,
    /// All of it is valid log, or left empty by a switch.
    pub complete: bool,
}

/// A place named with `pg_create_restore_point`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredRestorePoint {
    /// Its name.
    pub name: String,
    /// The end of its record.
    pub lsn: Lsn,
    /// When it was made.
    pub at: Option<Timestamp>,
}

impl From<SegmentFacts> for StoredFacts {
    fn from(facts: SegmentFacts) -> Self {
        let point = |point: lifeboat_postgres::wal::RestorePoint| StoredRestorePoint {
            name: point.name,
            lsn: point.lsn,
            at: point.at,
        };
        Self {
            version: FACTS_VERSION,
            first_record: facts.first_record,
            end_of_valid: facts.end_of_valid,
            commits: facts.commits,
            first_commit_at: facts.first_commit_at,
            last_commit_at: facts.last_commit_at,
            last_transaction_at: facts.last_transaction_at,
            xid_min: facts.xid_min,
            xid_max: facts.xid_max,
            restore_points: facts.restore_points.into_iter().map(point).collect(),
            switched: facts.switched,
            complete: facts.complete,
        }
    }
}

/// The annex of a segment. Empty when its facts can't be found out: that must not keep it from being stored.
pub(crate) fn annex_of(segment: &[u8]) -> Vec<u8> {
    segment_facts(segment).ok().map(annex_with).unwrap_or_default()
}

/// The annex with these facts.
pub(crate) fn annex_with(facts: SegmentFacts) -> Vec<u8> {
    serde_json::to_vec(&StoredFacts::from(facts)).unwrap_or_default()
}

/// The facts in an annex.
pub(crate) fn parse_annex(annex: &[u8]) -> Option<StoredFacts> {
    let facts: StoredFacts = serde_json::from_slice(annex).ok()?;
    (facts.version == FACTS_VERSION).then_some(facts)
}

/// The facts of a stored segment or `.partial`.
pub async fn facts_of(archive: &WalArchive, entry: &LogEntry) -> Result<StoredFacts> {
    let object = archive.repository.get_log(&archive.workload, entry, &mut Vec::new()).await?;
    if let Some(facts) = parse_annex(&object.annex) {
        return Ok(facts);
    }
    let name = entry.name.clone();
    segment_facts(&object.bytes).map(StoredFacts::from).map_err(|source| WalError::Segment { name, source })
}
