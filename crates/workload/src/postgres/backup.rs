//! Taking a recovery point of a running cluster, from the first question to the commit.
//!
//! Observe (server, data directory, what is stored already) → refuse or go on → read and store → stop the backup → make
//! sure that its WAL is stored → write the point. Until the last step there is nothing that looks like a backup.

mod observe;
mod previous;

use crate::postgres::assemble::{Assembled, assemble};
use crate::postgres::baseline::Baseline;
use crate::postgres::capture::{Capture, Captured};
use crate::postgres::details::{DETAILS_VERSION, PostgresDetails, TablespaceDetails};
use crate::postgres::lock::WorkloadLock;
use crate::postgres::page_check::PageChecker;
use crate::postgres::restore::CONTROL_FILE;
use crate::postgres::scan::{Found, Scan, scan};
use crate::postgres::throttle::Throttle;
use crate::postgres::wal::Spool;
use crate::postgres::wal::needed::{NeededWal, ensure};
use crate::postgres::{BLOCK_BYTES, BackupError};
use lifeboat_postgres::backup_session::{BackupSession, BackupStop, Request};
use lifeboat_postgres::connection::Target;
use lifeboat_postgres::layout::Layout;
use lifeboat_repository::{ChunkReader, EntryKind, Extent, Point, PointId, Progress, Repository, Source, WriteSession};
use observe::Observed;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often the backup session is asked whether it still lives.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(5);

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
    let read = reading.read(&session, &write, cancel.clone()).await?;
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
    let details = details_of(request, &observed, &start, &stop, &read.captured)?;
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
    let failed = point.locations.iter().filter(|location| !location.is_complete());
    notes.extend(failed.map(|location| format!("location {} is not complete: {}", location.name, location.state)));
    Ok(BackupOutcome { point, details, notes })
}

async fn cancelled(mut cancel: watch::Receiver<bool>) {
    if cancel.wait_for(|cancel| *cancel).await.is_err() {
        // Nobody is left who could cancel.
        std::future::pending().await
    }
}

/// Everything the reading needs.
struct Reading<'a> {
    repository: &'a Arc<Repository>,
    request: &'a BackupRequest,
    observed: &'a Observed,
    progress: &'a Arc<dyn Progress>,
}

/// What was read.
struct Read {
    captured: Captured,
    assembled: Assembled,
}

impl Reading<'_> {
    /// Reads and stores all files; the control file last. Watches the session meanwhile: without it the copy is worth
    /// nothing, and the sooner that is known the better.
    async fn read(
        &self,
        session: &BackupSession,
        write: &Arc<WriteSession>,
        cancel: watch::Receiver<bool>,
    ) -> Result<Read, BackupError> {
        let baseline = match &self.observed.previous {
            Some(point) => {
                let reader = Arc::new(ChunkReader::open(self.repository.clone()).await?);
                Some(Baseline::load(reader, point).await?)
            }
            None => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            repository: self.repository.clone(),
            layout: self.observed.layout(),
            checker: self.observed.control.has_page_checksums().then(|| PageChecker {
                started_at: session.started().start_lsn,
                blocks_per_segment: self.observed.control.blocks_per_relation_segment,
            }),
            request: self.request.clone(),
            baseline,
            write: write.clone(),
            progress: self.progress.clone(),
            stop: stop.clone(),
        };
        let mut reading = tokio::task::spawn_blocking(move || work.run());
        let mut failure = None;
        loop {
            tokio::select! {
                done = &mut reading => {
                    let read = done.map_err(lifeboat_repository::Error::from)?;
                    return match failure {
                        Some(failure) => Err(failure),
                        None => read,
                    };
                }
                () = cancelled(cancel.clone()), if failure.is_none() => failure = Some(BackupError::Interrupted),
                () = tokio::time::sleep(SESSION_CHECK_INTERVAL), if failure.is_none() => {
                    failure = session.check().await.map_err(BackupError::server).err();
                }
            }
            if failure.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// The part that runs on threads of its own.
struct Work {
    repository: Arc<Repository>,
    layout: Layout,
    checker: Option<PageChecker>,
    request: BackupRequest,
    baseline: Option<Baseline>,
    write: Arc<WriteSession>,
    progress: Arc<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(self) -> Result<Read, BackupError> {
        let Scan { entries, refused } = scan(&self.request.data_dir, &self.layout).map_err(BackupError::read)?;
        if let Some(first) = refused.first() {
            return Err(BackupError::refused(
                first.clone(),
                "move files that aren't PostgreSQL's out of the data directory",
            ));
        }
        let files: Vec<&Found> = entries.iter().filter(|entry| entry.kind == EntryKind::File).collect();
        self.progress.phase("back up", Some(files.iter().map(|file| file.size).sum()));
        let throttle = Throttle::new(self.request.max_rate_bytes_per_second);
        let capture = Capture {
            files: &files,
            baseline: self.baseline.as_ref(),
            session: &self.write,
            repository: &self.repository,
            checker: self.checker,
            throttle: &throttle,
            progress: &*self.progress,
            cancelled: &|| self.stop.load(Ordering::Relaxed),
        };
        let mut captured = capture.run(self.request.workers)?;
        let mut writer = self.write.writer()?;
        let (control, control_extents) = self.control(&mut writer)?;
        let extents = by_file(&mut captured, files.len());
        let mut file_number = 0;
        let mut listed: Vec<(&Found, Option<Vec<Extent>>)> = Vec::with_capacity(entries.len() + 1);
        let mut extents = extents.into_iter();
        for entry in &entries {
            if entry.kind != EntryKind::File {
                listed.push((entry, Some(Vec::new())));
                continue;
            }
            let vanished = captured.vanished.binary_search(&file_number).is_ok();
            let own = extents.next().unwrap_or_default();
            listed.push((entry, (!vanished).then_some(own)));
            file_number += 1;
        }
        let place = listed.partition_point(|(found, _)| found.path.as_str() < CONTROL_FILE);
        listed.insert(place, (&control, Some(control_extents)));
        let assembled = assemble(&mut writer, listed.into_iter())?;
        captured.bytes_new += writer.finish()?;
        Ok(Read { captured, assembled })
    }

    /// The control file, read with care and after everything else: on a standby that order is what makes the copy
    /// consistent.
    fn control(&self, writer: &mut lifeboat_repository::ChunkWriter) -> Result<(Found, Vec<Extent>), BackupError> {
        let bytes = lifeboat_postgres::control::read_bytes(&self.request.data_dir).map_err(BackupError::control)?;
        let id = writer.put_pages(&bytes, &[self.repository.block_fingerprint(&bytes)])?;
        debug_assert!(bytes.len() as u64 <= BLOCK_BYTES);
        let extent = Extent { offset: 0, length: bytes.len() as u32, source: Source::Chunk { id, offset: 0 } };
        let found = Found {
            path: CONTROL_FILE.into(),
            absolute: self.request.data_dir.join(CONTROL_FILE),
            kind: EntryKind::File,
            file_kind: None,
            size: bytes.len() as u64,
            mode: 0o600,
            uid: 0,
            gid: 0,
            modified_ns: 0,
            target: None,
        };
        Ok((found, vec![extent]))
    }
}

/// The extents of each file, in order of file.
fn by_file(captured: &mut Captured, files: usize) -> Vec<Vec<Extent>> {
    let mut all = vec![Vec::new(); files];
    for (number, extent) in std::mem::take(&mut captured.extents) {
        all[number as usize].push(extent);
    }
    all.into_iter().map(up_to_first_hole).collect()
}

/// A file that became shorter while several workers read it has a hole; what lies behind is from before the cut, and
/// replay makes it anew.
fn up_to_first_hole(extents: Vec<Extent>) -> Vec<Extent> {
    let mut end = 0;
    let whole = |extent: &Extent| {
        let follows = extent.offset == end;
        end = extent.offset + u64::from(extent.length);
        follows
    };
    extents.into_iter().take_while(whole).collect()
}

fn details_of(
    request: &BackupRequest,
    observed: &Observed,
    start: &lifeboat_postgres::backup_session::BackupStart,
    stop: &BackupStop,
    captured: &Captured,
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
        bad_pages: captured.bad_pages.clone(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
