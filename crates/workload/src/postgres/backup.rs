//! Taking a recovery point of a running cluster, from the first question to the commit.
//!
//! Observe (server, data directory, what is stored already) → refuse or go on → read and store → stop the backup → make
//! sure that its WAL is stored → write the point. Until the last step there is nothing that looks like a backup.

mod changes;
mod observe;
mod previous;
mod reading;

use crate::postgres::BackupError;
use crate::postgres::appearance::{Album, Seen};
use crate::postgres::details::{DETAILS_VERSION, PostgresDetails, TablespaceDetails};
use crate::postgres::lock::WorkloadLock;
use crate::postgres::wal::Spool;
use crate::postgres::wal::needed::{NeededWal, ensure};
use lifeboat_postgres::backup_session::{BackupSession, BackupStop, Request};
use lifeboat_postgres::connection::Target;
use lifeboat_repository::{Point, PointId, Progress, Repository, WriteSession};
use observe::Observed;
use reading::{Read, Reading};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What to compare with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupType {
    /// Nothing.
    Full,
    /// The newest point; a full backup when there is none.
    Incremental,
    /// The newest full point.
    Differential,
}

impl BackupType {
    /// As it stands in a point.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incr",
            Self::Differential => "diff",
        }
    }
}

/// What to back up, and how.
#[derive(Debug, Clone)]
pub struct BackupRequest {
    /// Name of the workload.
    pub workload: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// How to reach the server.
    pub connection: Target,
    /// What to compare with.
    pub backup_type: BackupType,
    /// Threads that read, compress and seal.
    pub workers: usize,
    /// Limit on reading.
    pub max_rate_bytes_per_second: Option<u64>,
    /// Ask for the starting checkpoint at once, not spread over minutes.
    pub fast_checkpoint: bool,
    /// Where locks and marks of this machine are.
    pub state_dir: PathBuf,
    /// Marks about WAL files that are stored already.
    pub spool: Spool,
    /// How long to wait at the end until the WAL of the backup is stored.
    pub wal_time_limit: Duration,
    /// Don't read files that look as they did at the parent point. See `appearance`.
    pub skips_unchanged_files: bool,
    /// Ask the log what changed since the parent point, and read that. See `backup/changes.rs`.
    pub trusts_log: bool,
}

/// A finished backup.
#[derive(Debug)]
pub struct BackupOutcome {
    /// The point.
    pub point: Point,
    /// What it says about the cluster.
    pub details: PostgresDetails,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Takes a recovery point. `cancel` ends the work at the next opportunity; nothing is left behind then.
pub async fn backup(
    repository: Arc<Repository>,
    request: &BackupRequest,
    progress: Arc<dyn Progress>,
    cancel: watch::Receiver<bool>,
) -> Result<BackupOutcome, BackupError> {
    let started_at = jiff::Timestamp::now();
    let _lock = WorkloadLock::take(&request.state_dir, &request.workload)?;
    let mut observed = observe::observe(&repository, request).await?;
    let mut notes = std::mem::take(&mut observed.notes);
    notes
        .extend(repository.unavailable().iter().map(|(name, reason)| format!("location {name} is left out: {reason}")));
    let client = request.connection.connect().await.map_err(BackupError::server)?;
    let label = format!("lifeboat {} {started_at}", request.workload);
    let ask = Request { workload: &request.workload, label: &label, fast_checkpoint: request.fast_checkpoint };
    progress.phase("checkpoint", None);
    let session = tokio::select! {
        session = BackupSession::start(client, &ask) => session.map_err(BackupError::server)?,
        () = cancelled(cancel.clone()) => return Err(BackupError::Interrupted),
    };
    let write = Arc::new(WriteSession::begin(repository.clone(), &mut notes).await?);
    let reading = Reading { repository: &repository, request, observed: &observed, progress: &progress };
    let read = reading.read(&session, &write, cancel.clone(), &mut notes).await?;
    let start = session.started().clone();
    let stop = session.stop().await.map_err(BackupError::server)?;
    let needed = NeededWal {
        workload: request.workload.clone(),
        system_id: observed.control.system_id,
        timeline: start.timeline,
        from: start.start_lsn,
        to: stop.stop_lsn,
        segment_size: observed.control.wal_segment_size,
        data_dir: request.data_dir.clone(),
        spool: request.spool.clone(),
        on_standby: start.on_standby,
    };
    progress.phase("wait for the WAL of the backup", None);
    tokio::select! {
        result = ensure(&repository, &needed, request.wal_time_limit) => result?,
        () = cancelled(cancel) => return Err(BackupError::Interrupted),
    }
    // The archiver leaves a location alone for a while after a failure: what of this backup's log it passed by must be
    // there too before the point is.
    notes.extend(repository.bring_up_to_date().await);
    progress.phase("commit", None);
    let finished_at = jiff::Timestamp::now();
    let details = details_of(request, &observed, &start, &stop, &read)?;
    let point = Point {
        id: PointId::new(finished_at)?,
        workload: request.workload.clone(),
        kind: "postgres".into(),
        backup_type: observed.effective_type(request.backup_type).word().into(),
        parent: observed.previous.as_ref().map(|point| point.id.clone()),
        started_at,
        finished_at,
        tree: read.assembled.tree,
        files: read.assembled.files,
        bytes: read.assembled.bytes,
        bytes_read: read.captured.bytes_read,
        bytes_new: read.captured.bytes_changed,
        bytes_stored: 0,
        locations: Vec::new(),
        details: serde_json::to_value(&details).map_err(|e| lifeboat_repository::Error::Internal(e.to_string()))?,
    };
    let point = tokio::task::block_in_place(|| write.commit(point))?;
    notes.extend(remember(request, &point, read.looked_at_ns, read.seen));
    let failed = point.locations.iter().filter(|location| !location.is_complete());
    notes.extend(failed.map(|location| format!("location {} is not complete: {}", location.name, location.state)));
    Ok(BackupOutcome { point, details, notes })
}

/// Keeps how the files looked, for the next backup. What went wrong only costs it time.
fn remember(request: &BackupRequest, point: &Point, looked_at_ns: i64, seen: BTreeMap<String, Seen>) -> Option<String> {
    let album = request.skips_unchanged_files.then(|| Album::new(point.id.clone(), looked_at_ns, seen))?;
    let error = album.save(&request.state_dir, &request.workload).err()?;
    Some(format!("the next backup will read every file: {error}"))
}

fn now_ns() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or_default()
}

async fn cancelled(mut cancel: watch::Receiver<bool>) {
    if cancel.wait_for(|cancel| *cancel).await.is_err() {
        // Nobody is left who could cancel.
        std::future::pending().await
    }
}

fn details_of(
    request: &BackupRequest,
    observed: &Observed,
    start: &lifeboat_postgres::backup_session::BackupStart,
    stop: &BackupStop,
    read: &Read,
) -> Result<PostgresDetails, BackupError> {
    let facts = &observed.facts;
    let outside = [&facts.config_file, &facts.hba_file, &facts.ident_file];
    let outside = outside.into_iter().flatten().filter(|path| !path.starts_with(&request.data_dir));
    Ok(PostgresDetails {
        version: DETAILS_VERSION,
        system_id: observed.control.system_id,
        major: observed.major,
        server_version_num: facts.version_number,
        catalog_version: observed.control.catalog_version,
        timeline: start.timeline,
        lsn_start: start.start_lsn,
        lsn_stop: stop.stop_lsn,
        stopped_at: stop.stopped_at,
        wal_segment_bytes: observed.control.wal_segment_size.bytes(),
        data_checksums: observed.control.has_page_checksums(),
        from_standby: start.on_standby,
        backup_label: hex(&stop.backup_label),
        tablespace_map: hex(stop.tablespace_map.as_deref().unwrap_or_default()),
        tablespaces: facts
            .tablespaces
            .iter()
            .map(|tablespace| TablespaceDetails { oid: tablespace.oid, path: tablespace.path.display().to_string() })
            .collect(),
        data_dir: request.data_dir.display().to_string(),
        outside_files: outside.map(|path| path.display().to_string()).collect(),
        bad_pages: read.captured.bad_pages.clone(),
        read_whole_at: read_whole_at(observed, read, start.started_at)?,
    })
}

/// When every page was last read: now, or when it was before the parent.
fn read_whole_at(
    observed: &Observed,
    read: &Read,
    now: jiff::Timestamp,
) -> Result<Option<jiff::Timestamp>, BackupError> {
    match &observed.previous {
        Some(parent) if !read.is_whole => {
            Ok(Some(PostgresDetails::of(parent)?.read_whole_at.unwrap_or(parent.started_at)))
        }
        _ => Ok(Some(now)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
