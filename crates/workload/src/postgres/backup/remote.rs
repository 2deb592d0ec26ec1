//! A recovery point of a cluster whose files can't be read here: the server sends them.
//!
//! All of the cluster crosses the network, and only what changed is stored: what arrives is compared with the parent
//! point block by block, as it is when files are read. One task reads the stream and sorts it, workers do the rest; the
//! connection is the limit, not the hashing. Nothing is written to a disk of this machine, and little is kept in memory:
//! a window for each worker, some in between, and the list of files.
//!
//! The server's own words end it well or not at all: the end of the stream, the manifest, and a session that was there
//! all the time. A server that leaves in between leaves nothing that looks like a backup.

use super::observe::{Observed, keeps_wal, refuse};
use super::reading::Read;
use super::stream::{Intake, Taken, wrong, wrong_by};
use super::{BackupRequest, Job, cancelled, now_ns, previous};
use crate::postgres::BackupError;
use crate::postgres::assemble::assemble;
use crate::postgres::baseline::Baseline;
use crate::postgres::capture::{Capture, Captured, Window};
use crate::postgres::page_check::PageChecker;
use crate::postgres::restore::CONTROL_FILE;
use crate::postgres::scan::Found;
use crate::postgres::throttle::Throttle;
use lifeboat_postgres::backup_session::{BackupStart, BackupStop, LockedSession};
use lifeboat_postgres::control::ControlFile;
use lifeboat_postgres::inspection::{Means, ServerFacts, Shape, observe as observe_server, shape};
use lifeboat_postgres::label::BackupLabel;
use lifeboat_postgres::layout::Layout;
use lifeboat_postgres::manifest::{ManifestReader, ManifestSummary};
use lifeboat_postgres::replication::{
    BaseBackup, BaseBackupEnd, BaseBackupEvent, BaseBackupRequest, ReplicationClient, ServerCompression,
};
use lifeboat_postgres::{MajorVersion, SystemId};
use lifeboat_repository::{EntryKind, Extent, Inflater, Point, Progress, Repository, Source, WriteSession};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// A server that is about to send its files.
pub(super) struct Remote {
    facts: ServerFacts,
    major: MajorVersion,
    shape: Shape,
    pub(super) previous: Option<Point>,
    /// Holds the workload's lock.
    session: LockedSession,
}

/// What came of it.
pub(super) struct Copied {
    pub(super) observed: Observed,
    pub(super) start: BackupStart,
    pub(super) stop: BackupStop,
    pub(super) read: Read,
}

/// Looks at server and repository; refuses what can't work, with what to do about it. Takes the workload's lock.
pub(super) async fn observe(
    repository: &Arc<Repository>,
    request: &BackupRequest,
    notes: &mut Vec<String>,
) -> Result<Remote, BackupError> {
    let session = request.connection.connect().await.map_err(BackupError::server)?;
    let facts = observe_server(&session).await.map_err(BackupError::server)?;
    refuse(&facts, Means::Replication)?;
    keeps_wal(&facts, &request.workload)?;
    let major = MajorVersion::from_server_version_num(facts.version_number)
        .map_err(|error| BackupError::refused(error.to_string(), "upgrade PostgreSQL, or Lifeboat"))?;
    if major == MajorVersion::V14 && request.server_compression != ServerCompression::None {
        return Err(BackupError::refused(
            "PostgreSQL 14 can't compress what it sends",
            "remove server_compression from the workload",
        ));
    }
    let shape = shape(&session).await.map_err(BackupError::server)?;
    let previous = previous::find(repository, request, facts.system_id, notes).await?;
    let session = LockedSession::take(session, &request.workload).await.map_err(BackupError::server)?;
    Ok(Remote { facts, major, shape, previous, session })
}

impl Remote {
    /// Has the server send its files, and stores them.
    pub(super) async fn copy(self, job: &Job<'_>, write: &Arc<WriteSession>) -> Result<Copied, BackupError> {
        let Job { repository, request, label, progress, cancel } = job;
        // The server ends its backup by itself, and doesn't say up to when transactions were before that.
        let (_, complete_to) = self.session.now().await.map_err(BackupError::server)?;
        let mut copy = tokio::select! {
            copy = self.begin(request, label) => copy?,
            () = cancelled(cancel.clone()) => return Err(BackupError::Interrupted),
        };
        let looked_at_ns = now_ns();
        progress.phase("back up", copy.started().estimated_bytes);
        let mut notes = Vec::new();
        let baseline = Baseline::of_parent(self.previous.as_ref(), write, &mut notes).await?;
        let (windows, crew) = self.start_workers(job, write, baseline, &copy);
        let layout = Layout::new(self.major, self.shape.catalog_version);
        let mut pump = Pump {
            intake: Intake::new(layout),
            windows,
            throttle: Throttle::new(request.max_rate_bytes_per_second),
            compression: request.server_compression,
            progress: Arc::clone(progress),
        };
        let pumped = tokio::select! {
            pumped = pump.run(&mut copy) => pumped,
            () = cancelled(cancel.clone()) => Err(BackupError::Interrupted),
        };
        // The workers end when the sender of windows is gone.
        let Pump { intake, windows, .. } = pump;
        drop(windows);
        let captured = crew.await.map_err(lifeboat_repository::Error::from)?;
        // When a worker fails, the pump only notices that nobody takes its windows: the worker knows why.
        let (captured, (end, manifest)) = match (captured, pumped) {
            (Ok(captured), Ok(pumped)) => (captured, pumped),
            (_, Err(error @ BackupError::Interrupted)) | (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        let start = copy.started().clone();
        let taken = intake.finish(&start.tablespaces)?;
        let control = self.judge(&taken, &manifest, &copy, &end)?;
        // A little after the end of the copy: earlier moments can't be reached from it.
        let (stopped_at, _) = self.session.now().await.map_err(BackupError::server)?;
        if end.is_damaged && captured.bad_pages.is_empty() {
            notes.push("the server says that it read damaged pages, none of which is in this backup".to_owned());
        }
        let start = BackupStart {
            start_lsn: start.start_lsn,
            timeline: start.timeline,
            started_at: stopped_at,
            on_standby: self.facts.in_recovery,
        };
        let stop = BackupStop {
            stop_lsn: end.stop_lsn,
            backup_label: taken.label.clone(),
            tablespace_map: taken.map.clone(),
            stopped_at,
            complete_to,
        };
        let (repository, write) = (Arc::clone(repository), write.clone());
        let stored =
            tokio::task::spawn_blocking(move || store_tree(&repository, &write, taken, captured, looked_at_ns));
        let read = stored.await.map_err(lifeboat_repository::Error::from)??;
        let Self { facts, major, previous, .. } = self;
        Ok(Copied { observed: Observed { facts, control, major, previous, notes }, start, stop, read })
    }

    async fn begin(&self, request: &BackupRequest, label: &str) -> Result<BaseBackup, BackupError> {
        let mut client = ReplicationClient::connect(&request.connection).await.map_err(BackupError::server)?;
        let identity = client.identify_system().await.map_err(BackupError::server)?;
        let is_other = client.is_standby().is_some_and(|is_standby| is_standby != self.facts.in_recovery);
        if identity.system_id != self.facts.system_id || is_other {
            return Err(BackupError::refused(
                "the connection leads to several servers: one answers questions, another would send its files",
                "name one host in connection",
            ));
        }
        let ask = BaseBackupRequest {
            label,
            fast_checkpoint: request.fast_checkpoint,
            max_rate_bytes_per_second: request.max_rate_bytes_per_second,
            compression: request.server_compression,
        };
        client.base_backup(&ask).await.map_err(BackupError::server)
    }

    fn start_workers(
        &self,
        job: &Job<'_>,
        write: &Arc<WriteSession>,
        baseline: Option<Baseline>,
        copy: &BaseBackup,
    ) -> (mpsc::Sender<Window>, tokio::task::JoinHandle<Result<Captured, BackupError>>) {
        let Job { repository, request, progress, .. } = job;
        let workers = request.workers.max(1);
        // Two for each worker: one it works on next, one for when the stream comes in bursts.
        let (sender, receiver) = mpsc::channel(2 * workers);
        let checker = self.shape.has_page_checksums.then_some(PageChecker {
            started_at: copy.started().start_lsn,
            blocks_per_segment: self.shape.blocks_per_relation_segment,
        });
        let (repository, write, progress) = (Arc::clone(repository), write.clone(), Arc::clone(progress));
        let crew = tokio::task::spawn_blocking(move || {
            let capture = Capture {
                files: &[],
                baseline: baseline.as_ref(),
                suspects: None,
                session: &write,
                repository: &repository,
                checker,
                throttle: &Throttle::new(None),
                progress: &*progress,
                cancelled: &|| false,
            };
            let captured = capture.run_arriving(workers, receiver);
            write.distrust(baseline.as_ref().map(Baseline::lost_packs).unwrap_or_default());
            captured
        });
        (sender, crew)
    }

    /// Does all that came fit together?
    fn judge(
        &self,
        taken: &Taken,
        manifest: &ManifestSummary,
        copy: &BaseBackup,
        end: &BaseBackupEnd,
    ) -> Result<ControlFile, BackupError> {
        let start = copy.started();
        let control = ControlFile::parse(&taken.control).map_err(BackupError::control)?;
        let is_same = |id: SystemId| id == self.facts.system_id;
        if !is_same(control.system_id) || !manifest.system_id.is_none_or(is_same) {
            return Err(wrong("the files are of another cluster than the one that was asked"));
        }
        let shape = &self.shape;
        let found = (control.catalog_version, control.blocks_per_relation_segment, control.has_page_checksums());
        if found != (shape.catalog_version, shape.blocks_per_relation_segment, shape.has_page_checksums) {
            return Err(wrong("the control file says otherwise than the server"));
        }
        let label = BackupLabel::parse(&taken.label).map_err(|error| wrong_by("backup_label can't be read", error))?;
        if (label.start, label.timeline) != (start.start_lsn, start.timeline) {
            return Err(wrong("backup_label begins elsewhere than the backup"));
        }
        if end.timeline != start.timeline {
            return Err(wrong("the server has changed to another timeline meanwhile"));
        }
        let range = manifest.ranges.first().zip(manifest.ranges.last());
        let fits = range.is_some_and(|(first, last)| first.start <= start.start_lsn && last.end == end.stop_lsn);
        if !fits || end.stop_lsn < start.start_lsn {
            return Err(wrong("the manifest names another part of the log than the server's answer"));
        }
        Ok(control)
    }
}

/// From the stream to the workers.
struct Pump {
    intake: Intake,
    windows: mpsc::Sender<Window>,
    throttle: Throttle,
    compression: ServerCompression,
    progress: Arc<dyn Progress>,
}

impl Pump {
    async fn run(&mut self, copy: &mut BaseBackup) -> Result<(BaseBackupEnd, ManifestSummary), BackupError> {
        let mut inflater = None;
        let mut manifest = ManifestReader::default();
        loop {
            match copy.next_event().await.map_err(BackupError::server)? {
                BaseBackupEvent::Archive(tablespace) => {
                    self.end_archive(inflater.take()).await?;
                    self.intake.begin_archive(tablespace)?;
                    inflater = match self.compression {
                        ServerCompression::None => None,
                        ServerCompression::Zstd => Some(Inflater::zstd().map_err(|e| wrong_by("no decompression", e))?),
                    };
                }
                BaseBackupEvent::ArchiveData(bytes) => match &mut inflater {
                    None => self.take(&bytes).await?,
                    Some(inflater) => {
                        let mut rest = &bytes[..];
                        let inflate = |error| wrong_by("an archive can't be decompressed", error);
                        while let Some(piece) = inflater.next_piece(&mut rest).map_err(inflate)? {
                            self.take(piece).await?;
                        }
                    }
                },
                BaseBackupEvent::Manifest => self.end_archive(inflater.take()).await?,
                BaseBackupEvent::ManifestData(bytes) => {
                    let mut lines = Vec::new();
                    let unreadable = |error| wrong_by("the manifest can't be read", error);
                    manifest.push(&bytes, |file| lines.push(file)).map_err(unreadable)?;
                    lines.iter().try_for_each(|file| self.intake.confirm(file))?;
                }
                BaseBackupEvent::End(end) => {
                    let summary = manifest.finish().map_err(|error| wrong_by("the manifest can't be read", error))?;
                    return Ok((end, summary));
                }
            }
        }
    }

    async fn take(&mut self, plain: &[u8]) -> Result<(), BackupError> {
        let delay = self.throttle.delay(plain.len() as u64);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.intake.push(plain)?;
        self.progress.advance(plain.len() as u64);
        self.hand_over().await
    }

    async fn end_archive(&mut self, inflater: Option<Inflater>) -> Result<(), BackupError> {
        if let Some(inflater) = inflater {
            inflater.finish().map_err(|error| wrong_by("an archive ends too early", error))?;
        }
        self.intake.end_archive()?;
        self.hand_over().await
    }

    async fn hand_over(&mut self) -> Result<(), BackupError> {
        for window in self.intake.take_ready() {
            if self.windows.send(window).await.is_err() {
                return Err(lifeboat_repository::Error::Internal("nobody stores what arrives".into()).into());
            }
        }
        Ok(())
    }
}

/// The control file and the tree, after everything else.
fn store_tree(
    repository: &Arc<Repository>,
    write: &Arc<WriteSession>,
    taken: Taken,
    mut captured: Captured,
    looked_at_ns: i64,
) -> Result<Read, BackupError> {
    let mut writer = write.writer()?;
    let id = writer.put_pages(&taken.control, &[repository.block_fingerprint(&taken.control)])?;
    let source = Source::Chunk { id, offset: 0 };
    let control_extents = vec![Extent { offset: 0, length: taken.control.len() as u32, source }];
    let control = Found {
        path: CONTROL_FILE.into(),
        absolute: Default::default(),
        kind: EntryKind::File,
        file_kind: None,
        size: taken.control.len() as u64,
        mode: 0o600,
        uid: 0,
        gid: 0,
        modified_ns: 0,
        target: None,
        appearance: Default::default(),
    };
    let is_before = |(found, _): &(Arc<Found>, Option<u32>)| found.path.as_str() < CONTROL_FILE;
    let (before, after) = taken.entries.split_at(taken.entries.partition_point(is_before));
    let own = |number: Option<u32>| number.map_or_else(Vec::new, |number| captured.extents_of(number).collect());
    let before = before.iter().map(|(found, number)| (&**found, Some(own(*number))));
    let after = after.iter().map(|(found, number)| (&**found, Some(own(*number))));
    let control = std::iter::once((&control, Some(control_extents)));
    let assembled = assemble(&mut writer, before.chain(control).chain(after))?;
    captured.extents = Vec::new();
    captured.bytes_new += writer.finish()?;
    Ok(Read { captured, assembled, looked_at_ns, seen: BTreeMap::new(), is_whole: true })
}
