//! Storing the files that wait behind the one that PostgreSQL asks for.
//!
//! PostgreSQL archives one file after the other and waits for each; on a busy server with a distant location that is
//! too slow. What waits is known: `archive_status/<name>.ready` lies beside the log. A file that still has its
//! `.ready` after it was read was not recycled meanwhile, so what was read is what it holds.
//!
//! A few that wait are stored by the call that meets them. When many do, a process in the background stores them, while
//! PostgreSQL asks for one after the other and finds its mark; it ends when nothing waits, and at the first failure: what
//! is wrong, PostgreSQL must hear from the command that it called itself.

use super::archive::{ArchivedName, WalArchive};
use super::circuit;
use super::error::{Result, WalError, describe};
use super::facts::annex_with;
use super::push::{self, PushOptions, file_name, mark_path};
use super::spool::{self, FileIdentity, Spool, StableFile, clear_older_than, read_stable};
use futures::StreamExt;
use lifeboat_postgres::wal::FactsReader;
use lifeboat_postgres::wal_file::{SegmentName, WalFileName};
use lifeboat_repository::{LogPut, Repository, SealedLog};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// A mark that nobody came for by then is about a file that was archived in another way.
const MARK_AGE_MAX: Duration = Duration::from_secs(24 * 3600);

const SEAT: &str = "push-ahead.lock";
const STORING: &str = ".storing";
/// From so many on it is worth a process of its own.
const BACKGROUND_MIN: usize = 8;
/// Files that are looked for at once in the background.
const ROUND_FILES_MAX: usize = 4096;
/// How long PostgreSQL's call waits for a file that is being stored in the background. Then it stores it itself.
const STORING_TIME_MAX: Duration = Duration::from_secs(60);

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    pub stored: Vec<String>,
    pub failures: Vec<(String, String)>,
    /// Locations that failed, and why, although another has the file.
    without: Vec<(String, String)>,
}

impl Ahead {
    fn is_well(&self) -> bool {
        self.failures.is_empty() && self.without.is_empty()
    }
}

/// The right to store ahead for a spool: one process in the background has it at a time.
#[derive(Debug)]
pub struct AheadSeat {
    _lock: File,
}

impl AheadSeat {
    /// `None` when another process is at it.
    pub fn take(spool: &Spool) -> Result<Option<Self>> {
        spool.room("")?;
        Ok(spool::only_one(&spool.path(SEAT))?.map(|lock| Self { _lock: lock }))
    }
}

/// Whether so much waits behind the file at `path` that it is worth a process in the background.
pub fn is_worth_a_process(path: &Path, spool: &Spool) -> bool {
    waiting_behind(path, spool, BACKGROUND_MIN).len() == BACKGROUND_MIN
}

/// Waits while the file at `path` is being stored in the background.
pub fn await_storing(path: &Path, spool: &Spool) {
    let Ok((name, _)) = file_name(path) else { return };
    let (storing, deadline) = (storing_path(spool, &name), Instant::now() + STORING_TIME_MAX);
    let is_manned = || matches!(spool::only_one(&spool.path(SEAT)), Ok(None));
    while storing.exists() && is_manned() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Stores what waits behind the file at `path`, which is the caller's own, until nothing does. Returns how many were stored.
///
/// # Errors
/// The first thing that went wrong: a file that was refused, or a location that didn't take one.
pub async fn push_waiting(
    repository: Arc<Repository>,
    workload: &str,
    path: &Path,
    spool: &Spool,
    seat: AheadSeat,
) -> Result<usize> {
    let (_, name) = file_name(path)?;
    let cluster = push::identity_beside(path, name)?;
    let archive = WalArchive::new(repository, workload, cluster);
    push::claim(&archive, spool).await?;
    let archive = Arc::new(archive);
    spool::clear_ending(&spool.path(push::ROOM), STORING);
    let mut count = 0;
    let ended = loop {
        let round =
            PushOptions { ahead_files_max: ROUND_FILES_MAX, ahead_time: Duration::MAX, ..PushOptions::default() };
        let ahead = run(&archive, path, spool, round).await;
        count += ahead.stored.len();
        let _ = circuit::note(spool, &ahead.without, &[], SystemTime::now());
        if !ahead.is_well() || ahead.stored.is_empty() {
            break ahead;
        }
    };
    drop(seat);
    match ended.failures.into_iter().next() {
        Some((name, what)) => Err(WalError::Content { name, what }),
        None => Ok(count),
    }
}

/// Stores what waits beside `path`, within the limits. Never fails: PostgreSQL asks for each file itself.
pub(crate) async fn run(archive: &Arc<WalArchive>, path: &Path, spool: &Spool, options: PushOptions) -> Ahead {
    clear_older_than(&spool.path("push"), MARK_AGE_MAX);
    let mut ahead = Ahead::default();
    let parallel = push::segments_in_memory(archive.segment_size, options.ahead_parallel);
    let waiting = waiting_behind(path, spool, options.ahead_files_max);
    // Saturates: an hour is for ever here.
    let deadline = tokio::time::Instant::now() + options.ahead_time.min(MARK_AGE_MAX);
    let tasks = waiting.into_iter().map(|file| {
        let (archive, spool) = (archive.clone(), spool.clone());
        async move {
            let text = file_name(&file).map(|(text, _)| text).unwrap_or_default();
            if tokio::time::Instant::now() >= deadline {
                return None;
            }
            // Reading, compressing and sealing take a processor: a task for each, so that they use all there are.
            let stored = tokio::spawn(async move { one(&archive, &file, &spool).await }).await;
            Some((text, stored.unwrap_or_else(|error| Err(WalError::Internal(error.to_string())))))
        }
    });
    let mut results = futures::stream::iter(tasks).buffer_unordered(parallel);
    while let Ok(Some(result)) = tokio::time::timeout_at(deadline, results.next()).await {
        match result {
            Some((name, Ok(put))) => {
                ahead.stored.push(name);
                ahead.without.extend(put.failures);
            }
            Some((name, Err(error))) => ahead.failures.push((name, describe(&error))),
            None => {}
        }
        if !ahead.is_well() && options.ahead_time == Duration::MAX {
            break;
        }
    }
    ahead.stored.sort_unstable();
    ahead
}

async fn one(archive: &WalArchive, path: &Path, spool: &Spool) -> Result<LogPut> {
    let (text, name) = file_name(path)?;
    let _storing = Storing::begin(spool, &text)?;
    let (put, file) = match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            let (sealed, file) = seal_segment(archive, path, &text, segment)?;
            still_waits(path, &text)?;
            let group = archive.group_of(ArchivedName::File(name));
            (archive.repository.put_sealed_log(&archive.workload, &group, &text, sealed).await?, file)
        }
        WalFileName::History(_) | WalFileName::Backup { .. } => {
            let (bytes, file) = read_stable(path)?;
            still_waits(path, &text)?;
            push::check(archive, name, &bytes)?;
            (push::store(archive, name, &bytes).await?, file)
        }
    };
    push::leave_mark(spool, &text, file)?;
    Ok(put)
}

/// Reads, checks, looks through and seals a segment in one pass, part by part: sixteen megabytes would leave the
/// processor's cache between one step and the next.
fn seal_segment(
    archive: &WalArchive,
    path: &Path,
    name: &str,
    segment: SegmentName,
) -> Result<(SealedLog, FileIdentity)> {
    let mut file = StableFile::open(path)?;
    let length = file.len();
    let mut part = Vec::new();
    file.read_part(&mut part)?;
    push::check_segment(archive, name, segment, &part, length)?;
    let mut facts = FactsReader::of(&part).map_err(|source| WalError::Segment { name: name.to_owned(), source })?;
    let mut sealer = archive.repository.log_sealer(usize::try_from(length).unwrap_or_default())?;
    while !part.is_empty() {
        facts.read(&part);
        sealer.push(&part)?;
        file.read_part(&mut part)?;
    }
    let file = file.confirm()?;
    Ok((sealer.finish(&annex_with(facts.finish()))?, file))
}

/// What still has its `.ready` after it was read was not recycled meanwhile.
fn still_waits(path: &Path, name: &str) -> Result<()> {
    let waits = ready_path(path, name).is_some_and(|ready| ready.exists());
    waits.then_some(()).ok_or_else(|| WalError::Changed { name: name.to_owned() })
}

/// A file is being stored: whoever is asked for it had better wait.
struct Storing(PathBuf);

impl Storing {
    fn begin(spool: &Spool, name: &str) -> Result<Self> {
        spool.room(push::ROOM)?;
        let path = storing_path(spool, name);
        File::create(&path).map_err(WalError::file("create", &path))?;
        Ok(Self(path))
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn storing_path(spool: &Spool, name: &str) -> PathBuf {
    spool.path(push::ROOM).join(format!("{name}{STORING}"))
}

fn ready_path(path: &Path, name: &str) -> Option<PathBuf> {
    Some(path.parent()?.join("archive_status").join(format!("{name}.ready")))
}

/// What waits, in the order in which PostgreSQL will ask: histories first, then by name.
fn waiting_behind(path: &Path, spool: &Spool, files_max: usize) -> Vec<PathBuf> {
    let (Some(directory), Some(own)) = (path.parent(), path.file_name()) else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(directory.join("archive_status")) else { return Vec::new() };
    let mut waiting: Vec<(bool, String)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().to_str()?.strip_suffix(".ready")?.to_owned();
            let parsed: WalFileName = name.parse().ok()?;
            let stored = mark_path(spool, &name).exists();
            (name.as_str() != own && !stored).then_some((!matches!(parsed, WalFileName::History(_)), name))
        })
        .collect();
    waiting.sort_unstable();
    waiting.truncate(files_max);
    waiting.into_iter().map(|(_, name)| directory.join(name)).collect()
}
