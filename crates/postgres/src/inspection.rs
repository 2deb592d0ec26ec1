//! What a server is and lets us do, observed in one go, and what follows from it.
//!
//! [`observe`] asks; [`findings`] judges, purely. A refusal means that a backup would fail or be worth nothing;
//! a warning means that something will be missing or slow on the day it is needed.
//!
//! Not here: free space, files, archiving that is proven by doing it.

mod flushed;
mod judgement;
mod observation;
mod replay;
mod shape;
pub mod synchronous;

pub use flushed::{FlushedState, observe_flushed};
pub use judgement::{Finding, Means, Severity, findings, refusals, replicating_role_statements, role_statements};
pub use observation::observe;
pub(crate) use observation::{column, lsn, many, one};
pub use replay::{Lag, PrimaryState, ReplayState, close_segment, lag, observe_primary, observe_replay};
pub use shape::{Shape, shape};

use crate::{Lsn, SystemId, TimelineId};
use jiff::Timestamp;
use serde::Serialize;
use std::path::PathBuf;

/// One server at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerFacts {
    /// Such as 170004.
    pub version_number: u32,
    pub system_id: SystemId,
    /// `None` when the role may not read it.
    pub data_directory: Option<PathBuf>,
    pub config_file: Option<PathBuf>,
    pub hba_file: Option<PathBuf>,
    pub ident_file: Option<PathBuf>,
    /// A standby, or a server that still replays.
    pub in_recovery: bool,
    pub timeline: TimelineId,
    /// The end of WAL that is written; on a standby, replayed.
    pub current_lsn: Option<Lsn>,
    /// `minimal`, `replica`, `logical`.
    pub wal_level: String,
    /// `off`, `on`, `always`.
    pub archive_mode: String,
    pub archive_command: String,
    /// Since 15.
    pub archive_library: String,
    pub wal_segment_size_bytes: u64,
    pub block_size_bytes: u32,
    pub data_checksums: bool,
    pub full_page_writes: bool,
    pub max_wal_senders: u32,
    pub max_replication_slots: u32,
    pub tablespaces: Vec<Tablespace>,
    pub role: RoleFacts,
    pub slots: Vec<SlotFacts>,
    /// `None` on a standby that doesn't archive by itself.
    pub archiver: Option<ArchiverFacts>,
}

/// A tablespace that isn't one of the two that every cluster has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tablespace {
    pub oid: u32,
    pub path: PathBuf,
}

/// Who we are on the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RoleFacts {
    pub name: String,
    pub is_superuser: bool,
    /// May open replication connections.
    pub may_replicate: bool,
    /// May call both functions that start and stop a backup, in the database of this session.
    pub may_back_up: bool,
    pub may_switch_wal: bool,
    pub may_create_restore_point: bool,
    pub may_read_settings: bool,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlotFacts {
    pub name: String,
    pub is_physical: bool,
    pub is_active: bool,
    /// WAL is kept from here on; `None` when it was never used, or is lost.
    pub restart_lsn: Option<Lsn>,
    /// `reserved`, `extended`, `unreserved`, `lost`; `None` when it keeps nothing.
    pub wal_status: Option<String>,
}

/// How archiving does, by the server's own count since its statistics were reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiverFacts {
    pub archived: u64,
    pub last_archived: Option<String>,
    pub last_archived_at: Option<Timestamp>,
    pub failed: u64,
    pub last_failed: Option<String>,
    pub last_failed_at: Option<Timestamp>,
}
