//! Reading a running cluster: what belongs to it, what of that changed, and the tree that comes out.
//!
//! The reading runs on threads of its own, while the backup session is watched: without the session the copy is worth
//! nothing.

use super::observe::Observed;
use super::{BackupRequest, cancelled, changes, now_ns};
use crate::postgres::appearance::{Album, Seen};
use crate::postgres::assemble::{Assembled, assemble};
use crate::postgres::baseline::Baseline;
use crate::postgres::capture::{Capture, Captured};
use crate::postgres::page_check::PageChecker;
use crate::postgres::restore::CONTROL_FILE;
use crate::postgres::scan::{Found, Scan, scan};
use crate::postgres::suspects::Suspects;
use crate::postgres::throttle::Throttle;
use crate::postgres::{BLOCK_BYTES, BackupError, PostgresDetails};
use lifeboat_postgres::backup_session::BackupSession;
use lifeboat_postgres::layout::Layout;
use lifeboat_repository::{EntryKind, Extent, Progress, Repository, Source, WriteSession};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often the backup session is asked whether it still lives.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Everything the reading needs.
pub(super) struct Reading<'a> {
    pub(super) repository: &'a Arc<Repository>,
    pub(super) request: &'a BackupRequest,
    pub(super) directory: &'a Path,
    pub(super) observed: &'a Observed,
    pub(super) progress: &'a Arc<dyn Progress>,
}

/// What was read.
pub(super) struct Read {
    pub(super) captured: Captured,
    pub(super) assembled: Assembled,
    pub(super) looked_at_ns: i64,
    pub(super) seen: BTreeMap<String, Seen>,
    /// Every page was read, as far as files were.
    pub(super) is_whole: bool,
}

impl Reading<'_> {
    /// Reads and stores all files; the control file last. Watches the session meanwhile: without it the copy is worth
    /// nothing, and the sooner that is known the better.
    pub(super) async fn read(
        &self,
        session: &BackupSession,
        write: &Arc<WriteSession>,
        cancel: watch::Receiver<bool>,
        notes: &mut Vec<String>,
    ) -> Result<Read, BackupError> {
        let suspects = self.suspects(session, notes).await?;
        let parent = self.observed.previous.as_ref();
        let baseline = Baseline::of_parent(parent, write, notes).await?;
        // When the log can't be trusted, nothing is: then every file is read.
        let skips = self.request.skips_unchanged_files && (suspects.is_some() || !self.request.trusts_log);
        let previous = self.observed.previous.as_ref().filter(|_| skips);
        let album = previous.and_then(|point| Album::load(&self.request.state_dir, &self.request.workload, &point.id));
        let damaged = self.damaged()?;
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            repository: self.repository.clone(),
            layout: self.observed.layout(),
            checker: self.observed.control.has_page_checksums().then(|| PageChecker {
                started_at: session.started().start_lsn,
                blocks_per_segment: self.observed.control.blocks_per_relation_segment,
            }),
            request: self.request.clone(),
            directory: self.directory.to_owned(),
            baseline,
            album,
            damaged,
            suspects,
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

    /// What may have changed, when the log is asked and can tell.
    async fn suspects(
        &self,
        session: &BackupSession,
        notes: &mut Vec<String>,
    ) -> Result<Option<Suspects>, BackupError> {
        let parent = self.observed.previous.as_ref().filter(|_| self.request.trusts_log);
        let Some(parent) = parent else { return Ok(None) };
        self.progress.phase("ask the log what changed", None);
        let (request, directory, observed) = (self.request, self.directory, self.observed);
        match changes::observe(self.repository, request, directory, observed, parent, session.started()).await {
            Ok(changed) => {
                tracing::debug!(pages = changed.pages(), "the log tells what changed");
                let blocks_per_file = self.observed.control.blocks_per_relation_segment;
                Ok(Some(Suspects { changed, blocks_per_file, damaged: self.damaged()? }))
            }
            Err(reason) => {
                notes.push(format!("every page is read: {reason}"));
                Ok(None)
            }
        }
    }

    /// Files with damaged pages at the parent point.
    fn damaged(&self) -> Result<BTreeSet<String>, BackupError> {
        let Some(point) = &self.observed.previous else { return Ok(BTreeSet::new()) };
        Ok(PostgresDetails::of(point)?.bad_pages.into_iter().map(|page| page.path).collect())
    }
}

/// The part that runs on threads of its own.
struct Work {
    repository: Arc<Repository>,
    layout: Layout,
    checker: Option<PageChecker>,
    request: BackupRequest,
    directory: PathBuf,
    baseline: Option<Baseline>,
    /// What was seen at the parent point, when unchanged files are not to be read.
    album: Option<Album>,
    /// Files with damaged pages at the parent point.
    damaged: BTreeSet<String>,
    /// What may have changed, when the log could tell.
    suspects: Option<Suspects>,
    write: Arc<WriteSession>,
    progress: Arc<dyn Progress>,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn run(self) -> Result<Read, BackupError> {
        let looked_at_ns = now_ns();
        let Scan { entries, refused } = scan(&self.directory, &self.layout).map_err(BackupError::read)?;
        if let Some(first) = refused.first() {
            return Err(BackupError::refused(
                first.clone(),
                "move files that aren't PostgreSQL's out of the data directory",
            ));
        }
        let all: Vec<&Found> = entries.iter().filter(|entry| entry.kind == EntryKind::File).collect();
        let mut same = self.unchanged(&all, looked_at_ns)?;
        let files: Vec<&Found> = all.iter().copied().filter(|file| !same.contains_key(file.path.as_str())).collect();
        self.progress.phase("back up", Some(files.iter().map(|file| file.size).sum()));
        let throttle = Throttle::new(self.request.max_rate_bytes_per_second);
        let capture = Capture {
            files: &files,
            baseline: self.baseline.as_ref(),
            suspects: self.suspects.as_ref(),
            session: &self.write,
            repository: &self.repository,
            checker: self.checker,
            throttle: &throttle,
            progress: &*self.progress,
            cancelled: &|| self.stop.load(Ordering::Relaxed),
        };
        let mut captured = capture.run(self.request.workers)?;
        self.write.distrust(self.baseline.as_ref().map(Baseline::lost_packs).unwrap_or_default());
        let mut writer = self.write.writer()?;
        let (control, control_extents) = self.control(&mut writer)?;
        let mut seen: BTreeMap<String, Seen> =
            same.iter().map(|(path, (seen, _))| ((*path).to_owned(), *seen)).collect();
        for file in &files {
            seen.insert(file.path.clone(), Seen { appearance: file.appearance, read_at_ns: looked_at_ns });
        }
        let mut file_number = 0;
        let mut listed: Vec<(&Found, Content)> = Vec::with_capacity(entries.len() + 1);
        for entry in &entries {
            if entry.kind != EntryKind::File {
                listed.push((entry, Content::Known(Vec::new())));
                continue;
            }
            if let Some((_, extents)) = same.remove(entry.path.as_str()) {
                listed.push((entry, Content::Known(extents)));
                continue;
            }
            listed.push((entry, Content::Read(file_number)));
            file_number += 1;
        }
        let place = listed.partition_point(|(found, _)| found.path.as_str() < CONTROL_FILE);
        listed.insert(place, (&control, Content::Known(control_extents)));
        // One file at a time: all extents a second time would be a good part of the memory that a large cluster takes.
        let listed = listed.into_iter().map(|(found, content)| (found, content.extents(&captured)));
        let assembled = assemble(&mut writer, listed)?;
        captured.extents = Vec::new();
        captured.bytes_new += writer.finish()?;
        Ok(Read { captured, assembled, looked_at_ns, seen, is_whole: self.suspects.is_none() })
    }

    /// Files that look as they did at the parent point, with where their bytes are. One with pages that were damaged then
    /// is read again, and one of which some location lacks a part.
    fn unchanged<'f>(
        &self,
        files: &[&'f Found],
        now_ns: i64,
    ) -> Result<BTreeMap<&'f str, (Seen, Vec<Extent>)>, BackupError> {
        let mut same = BTreeMap::new();
        let (Some(album), Some(baseline)) = (&self.album, &self.baseline) else { return Ok(same) };
        for file in files {
            let Some(seen) = album.same(&file.path, &file.appearance, now_ns) else { continue };
            if self.damaged.contains(&file.path) {
                continue;
            }
            let Some(extents) = baseline.whole(&file.path, file.size)? else { continue };
            let is_stored = |extent: &Extent| match extent.source {
                Source::Zero => true,
                Source::Chunk { id, .. } => self.write.is_known(&id),
            };
            if extents.iter().all(is_stored) {
                same.insert(file.path.as_str(), (seen, extents));
            }
        }
        Ok(same)
    }

    /// The control file, read with care and after everything else: on a standby that order is what makes the copy
    /// consistent.
    fn control(&self, writer: &mut lifeboat_repository::ChunkWriter) -> Result<(Found, Vec<Extent>), BackupError> {
        let bytes = lifeboat_postgres::control::read_bytes(&self.directory).map_err(BackupError::control)?;
        let id = writer.put_pages(&bytes, &[self.repository.block_fingerprint(&bytes)])?;
        debug_assert!(bytes.len() as u64 <= BLOCK_BYTES);
        let extent = Extent { offset: 0, length: bytes.len() as u32, source: Source::Chunk { id, offset: 0 } };
        let found = Found {
            path: CONTROL_FILE.into(),
            absolute: self.directory.join(CONTROL_FILE),
            kind: EntryKind::File,
            file_kind: None,
            size: bytes.len() as u64,
            mode: 0o600,
            uid: 0,
            gid: 0,
            modified_ns: 0,
            target: None,
            appearance: Default::default(),
        };
        Ok((found, vec![extent]))
    }
}

/// Where the bytes of an entry are.
enum Content {
    Known(Vec<Extent>),
    /// In what was captured under this number.
    Read(u32),
}

impl Content {
    /// None when the file vanished.
    fn extents(self, captured: &Captured) -> Option<Vec<Extent>> {
        match self {
            Self::Known(extents) => Some(extents),
            Self::Read(number) if captured.vanished.binary_search(&number).is_ok() => None,
            Self::Read(number) => Some(up_to_first_hole(captured.extents_of(number).collect())),
        }
    }
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
