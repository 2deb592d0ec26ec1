//! Taking a recovery point of a running cluster, from the first question to the commit.
//!
//! Observe (server, data directory, what is stored already) → refuse or go on → read and store → stop the backup → make
//! sure that its WAL is stored → write the point. Until the last step there is nothing that looks like a backup.

mod changes;
mod observe;
mod previous;
mod reading;
mod remote;
mod source;
mod stream;

use crate::postgres::BackupError;
use crate::postgres::appearance::{Album, Seen};
use crate::postgres::details::{DETAILS_VERSION, PostgresDetails, TablespaceDetails};
use crate::postgres::lock::WorkloadLock;
use crate::postgres::wal::Spool;
use crate::postgres::wal::needed::{NeededWal, ensure};
use lifeboat_postgres::backup_session::{BackupSession, BackupStart, BackupStop, Request};
use lifeboat_postgres::connection::Target;
pub use lifeboat_postgres::replication::ServerCompression;
use lifeboat_repository::{Point, PointId, Progress, Repository, WriteSession};
use observe::Observed;
use reading::{Read, Reading};
use remote::Copied;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
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
    /// Its data directory. `None`: it isn't on this machine, and the server sends its files.
    pub data_dir: Option<PathBuf>,
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
    /// What the server does with the files that it sends.
    pub server_compression: ServerCompression,
    /// Whose standby it is.
    pub primary: Option<Primary>,
}

/// The primary of the standby that is backed up.
#[derive(Debug, Clone)]
pub struct Primary {
    /// How to reach it.
    pub connection: Target,
    /// How far the standby may be behind it. `None`: it isn't measured.
    pub max_lag: Option<Duration>,
    /// What to do when the standby can't serve.
    pub fallback: Fallback,
}

/// When a standby lags, is down, or isn't one any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fallback {
    /// No backup.
    #[default]
    Fail,
    /// The primary sends its files.
    Primary,
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
    let mut notes = Vec::new();
    let request = &source::choose(request, &mut notes).await?;
    let label = format!("lifeboat {} {started_at}", request.workload);
    let job = Job { repository: &repository, request, label: &label, progress: &progress, cancel: cancel.clone() };
    let (write, copied) = match &request.data_dir {
        Some(directory) => job.read(directory, &mut notes).await?,
        None => job.have_it_sent(&mut notes).await?,
    };
    let Copied { observed, start, stop, read } = copied;
    if let Some(primary) = request.primary.as_ref().filter(|_| start.on_standby) {
        source::close_segment_of(primary).await?;
    }
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

/// What both ways of getting at the files need.
struct Job<'a> {
    repository: &'a Arc<Repository>,
    request: &'a BackupRequest,
    label: &'a str,
    progress: &'a Arc<dyn Progress>,
    cancel: watch::Receiver<bool>,
}

impl Job<'_> {
    /// The files are on this machine.
    async fn read(
        &self,
        directory: &Path,
        notes: &mut Vec<String>,
    ) -> Result<(Arc<WriteSession>, Copied), BackupError> {
        let Self { repository, request, progress, .. } = self;
        let mut observed = observe::observe(repository, request, directory).await?;
        notes.append(&mut observed.notes);
        self.note_locations(notes);
        let client = request.connection.connect().await.map_err(BackupError::server)?;
        let ask = Request { workload: &request.workload, label: self.label, fast_checkpoint: request.fast_checkpoint };
        progress.phase("checkpoint", None);
        let session = tokio::select! {
            session = BackupSession::start(client, &ask) => session.map_err(BackupError::server)?,
            () = cancelled(self.cancel.clone()) => return Err(BackupError::Interrupted),
        };
        let write = Arc::new(WriteSession::begin(Arc::clone(repository), notes).await?);
        let reading = Reading { repository, request, directory, observed: &observed, progress };
        let read = reading.read(&session, &write, self.cancel.clone(), notes).await?;
        let start = session.started().clone();
        let stop = session.stop().await.map_err(BackupError::server)?;
        Ok((write, Copied { observed, start, stop, read }))
    }

    /// They are not: the server sends them.
    async fn have_it_sent(&self, notes: &mut Vec<String>) -> Result<(Arc<WriteSession>, Copied), BackupError> {
        let remote = remote::observe(self.repository, self.request, notes).await?;
        self.note_locations(notes);
        self.progress.phase("checkpoint", None);
        let write = Arc::new(WriteSession::begin(Arc::clone(self.repository), notes).await?);
        let mut copied = remote.copy(self, &write).await?;
        notes.append(&mut copied.observed.notes);
        Ok((write, copied))
    }

    fn note_locations(&self, notes: &mut Vec<String>) {
        let unavailable = self.repository.unavailable();
        notes.extend(unavailable.iter().map(|(name, reason)| format!("location {name} is left out: {reason}")));
    }
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
    start: &BackupStart,
    stop: &BackupStop,
    read: &Read,
) -> Result<PostgresDetails, BackupError> {
    let facts = &observed.facts;
    // Where the server says it is, when nothing else is known.
    let data_dir = request.data_dir.as_ref().or(facts.data_directory.as_ref()).cloned().unwrap_or_default();
    let outside = [&facts.config_file, &facts.hba_file, &facts.ident_file];
    let outside = outside.into_iter().flatten().filter(|path| !path.starts_with(&data_dir));
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
        complete_to: Some(stop.complete_to),
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
        data_dir: data_dir.display().to_string(),
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
