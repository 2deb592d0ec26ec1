//! `archive_command`: takes a file of PostgreSQL's log, and says yes only when it is stored for good.
//!
//! The same file again is a success, the same name with other content never. A file of another cluster, or with another
//! content than its name says, is refused before anything is stored. While one file is asked for, those that wait
//! behind it are stored too; a mark in the spool lets PostgreSQL's next calls return at once. A mark is believed only
//! about the very bytes it was left for, and PostgreSQL's own marks (`archive_status`) are read and never touched.

use super::archive::{ArchivedName, ClusterIdentity, WalArchive};
use super::circuit;
use super::error::{Result, WalError, describe};
use super::facts;
use super::push_ahead;
use super::spool::{FileIdentity, Spool, read_document, read_stable, write_document};
use lifeboat_postgres::SystemId;
use lifeboat_postgres::history::{HISTORY_BYTES_MAX, TimelineHistory};
use lifeboat_postgres::label::LABEL_BYTES_MAX;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize, WalFileName};
use lifeboat_repository::{LogPut, Repository};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const IDENTITY_FILE: &str = "cluster.json";
pub(crate) const ROOM: &str = "push";

/// How much to do beyond what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushOptions {
    /// How many files to store ahead; 0 for none.
    pub ahead_files_max: usize,
    /// How many at once. Fewer when segments are large: no more than 256 MiB are held in memory.
    pub ahead_parallel: usize,
    /// When to stop beginning new ones, and waiting for those under way.
    pub ahead_time: Duration,
}

impl Default for PushOptions {
    fn default() -> Self {
        Self { ahead_files_max: 64, ahead_parallel: 8, ahead_time: Duration::from_secs(20) }
    }
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushOutcome {
    /// Stored by an earlier call that went ahead; nothing was sent now.
    pub was_ahead: bool,
    /// Nobody had it before.
    pub created: bool,
    /// Locations that have it, durably. Empty when `was_ahead`.
    pub stored_in: Vec<String>,
    /// Locations that don't, and why: for printing. The repository's healing brings it there.
    pub failures: Vec<(String, String)>,
    /// Files that were stored ahead.
    pub ahead: Vec<String>,
    /// Files that were tried ahead and not stored, and why. PostgreSQL will ask for them itself.
    pub ahead_failures: Vec<(String, String)>,
}

/// Whether an earlier call stored exactly this file. Needs no key and asks no location.
pub fn already_pushed(path: &Path, spool: &Spool) -> Result<Option<PushOutcome>> {
    let (name, _) = file_name(path)?;
    let mark = mark_path(spool, &name);
    if !mark.exists() {
        return Ok(None);
    }
    let is_about_it = spool.mark_matches(&mark, path)?;
    // Its purpose is served. If PostgreSQL asks once more, the archive itself says that it has the file.
    let _ = std::fs::remove_file(&mark);
    Ok(is_about_it.then(|| PushOutcome { was_ahead: true, ..PushOutcome::default() }))
}

/// Stores the file at `path`, and some of those that wait behind it.
///
/// # Errors
/// When it is not stored in any location; when it is refused. Nothing was overwritten.
pub async fn push(
    repository: Arc<Repository>,
    workload: &str,
    path: &Path,
    spool: &Spool,
    options: PushOptions,
) -> Result<PushOutcome> {
    if let Some(outcome) = already_pushed(path, spool)? {
        return Ok(outcome);
    }
    let (text, name) = file_name(path)?;
    let (bytes, _) = read_stable(path)?;
    let cluster = identity_of(path, name, &bytes)?;
    let archive = WalArchive::new(repository, workload, cluster);
    check(&archive, name, &bytes)?;
    claim(&archive, spool).await?;
    let archive = Arc::new(archive);
    let store = {
        let archive = archive.clone();
        // A task of its own: compressing the files that wait must not hold up the one that is asked for.
        tokio::spawn(async move { store(&archive, name, &bytes).await })
    };
    let (stored, ahead) = tokio::join!(store, push_ahead::run(&archive, path, spool, options));
    let stored = stored.map_err(|error| WalError::Internal(error.to_string()))?;
    let stored = stored?;
    let _ = circuit::note(spool, &stored.failures, &stored.stored_in, SystemTime::now());
    tracing::debug!(file = text, created = stored.created, "stored");
    Ok(PushOutcome {
        was_ahead: false,
        created: stored.created,
        stored_in: stored.stored_in,
        failures: stored.failures,
        ahead: ahead.stored,
        ahead_failures: ahead.failures,
    })
}

/// The name of a file, checked: exactly as PostgreSQL gives them.
pub(crate) fn file_name(path: &Path) -> Result<(String, WalFileName)> {
    let text = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = text.parse()?;
    Ok((text, name))
}

pub(crate) fn mark_path(spool: &Spool, name: &str) -> PathBuf {
    spool.path(ROOM).join(format!("{name}.ok"))
}

/// Leaves the mark that lets the next call return at once.
pub(crate) fn leave_mark(spool: &Spool, name: &str, file: FileIdentity) -> Result<()> {
    spool.room(ROOM)?;
    spool.leave_mark(&mark_path(spool, name), file)
}

/// Stores checked content.
pub(crate) async fn store(archive: &WalArchive, name: WalFileName, bytes: &[u8]) -> Result<LogPut> {
    let annex = match name {
        WalFileName::Segment(_) | WalFileName::Partial(_) => facts::annex_of(bytes),
        WalFileName::History(_) | WalFileName::Backup { .. } => Vec::new(),
    };
    let group = archive.group_of(ArchivedName::File(name));
    Ok(archive.repository.put_log(&archive.workload, &group, &name.to_string(), bytes, &annex).await?)
}

/// The same without its content.
pub(crate) fn identity_beside(path: &Path, name: WalFileName) -> Result<ClusterIdentity> {
    let beside = path.parent().and_then(identity_in);
    beside.ok_or_else(|| WalError::UnknownCluster { name: name.to_string() })
}

/// Whose file it is: a segment says so itself, for the others a segment beside them does.
fn identity_of(path: &Path, name: WalFileName, bytes: &[u8]) -> Result<ClusterIdentity> {
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            let refused = |source| WalError::Segment { name: segment.to_string(), source };
            let header = inspect_segment_start(bytes).map_err(refused)?;
            Ok(ClusterIdentity { system_id: header.system_id, segment_size: header.segment_size })
        }
        WalFileName::History(_) | WalFileName::Backup { .. } => identity_beside(path, name),
    }
}

/// Whose segments lie in a directory.
fn identity_in(directory: &Path) -> Option<ClusterIdentity> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let mut names: Vec<SegmentName> = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    names.sort_unstable();
    // The first ones are in use or waiting; the last ones are recycled and still hold what they held before.
    names.into_iter().find_map(|name| {
        let mut header = Vec::new();
        File::open(directory.join(name.to_string())).ok()?.take(64).read_to_end(&mut header).ok()?;
        let header = inspect_segment_start(&header).ok()?;
        Some(ClusterIdentity { system_id: header.system_id, segment_size: header.segment_size })
    })
}

/// Is the content what the name says, and of this cluster?
pub(crate) fn check(archive: &WalArchive, name: WalFileName, bytes: &[u8]) -> Result<()> {
    let text = name.to_string();
    let length = |expected| WalError::Length { name: text.clone(), found: bytes.len() as u64, expected };
    match name {
        WalFileName::Segment(segment) | WalFileName::Partial(segment) => {
            check_segment(archive, &text, segment, bytes, bytes.len() as u64)?;
        }
        WalFileName::History(timeline) => {
            let refused = |what: String| WalError::Content { name: text.clone(), what };
            TimelineHistory::parse(timeline, bytes).map_err(|error| refused(error.to_string()))?;
        }
        WalFileName::Backup { .. } if bytes.len() > LABEL_BYTES_MAX.min(HISTORY_BYTES_MAX) => {
            return Err(length(LABEL_BYTES_MAX as u64));
        }
        WalFileName::Backup { .. } => {}
    }
    Ok(())
}

/// A segment, or a `.partial`, by its first bytes and its length.
pub(crate) fn check_segment(
    archive: &WalArchive,
    name: &str,
    segment: SegmentName,
    start: &[u8],
    length: u64,
) -> Result<()> {
    let refused = |source| WalError::Segment { name: name.to_owned(), source };
    let header = inspect_segment_start(start).map_err(refused)?;
    header.check(segment, archive.system_id).map_err(refused)?;
    let expected = archive.segment_size.bytes();
    if header.segment_size != archive.segment_size || length != expected {
        return Err(WalError::Length { name: name.to_owned(), found: length, expected });
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct KnownCluster {
    system_id: SystemId,
    segment_bytes: u64,
    destination: String,
    /// Another repository may have been made at the same places since. What was noted without it counts for nothing.
    repository: String,
}

impl KnownCluster {
    fn of(archive: &WalArchive, spool: &Spool) -> Self {
        Self {
            system_id: archive.system_id,
            segment_bytes: archive.segment_size.bytes(),
            destination: spool.destination().to_owned(),
            repository: archive.repository.id().to_string(),
        }
    }
}

/// Claims the archive, asking the locations only when the spool doesn't know the answer.
pub(crate) async fn claim(archive: &WalArchive, spool: &Spool) -> Result<()> {
    let known = read_document::<KnownCluster>(&spool.path(IDENTITY_FILE));
    match known.is_some_and(|known| known == KnownCluster::of(archive, spool)) {
        true => Ok(()),
        false => claim_anew(archive, spool).await,
    }
}

/// Claims the archive, asking the locations whatever the spool knows: the record may have been lost since.
pub(crate) async fn claim_anew(archive: &WalArchive, spool: &Spool) -> Result<()> {
    let path = spool.path(IDENTITY_FILE);
    let ours = KnownCluster::of(archive, spool);
    archive.claim().await?;
    let known = read_document::<KnownCluster>(&path);
    if known.as_ref() == Some(&ours) {
        return Ok(());
    }
    // Marks and segments of another repository. The locations say themselves what this one has.
    for room in [ROOM, super::prefetch::ROOM] {
        let _ = std::fs::remove_dir_all(spool.path(room));
    }
    let noted = spool.room("").and_then(|_| write_document(&path, &ours));
    if let Err(error) = noted {
        tracing::warn!(error = describe(&error), "the spool can't be written; every call asks the locations");
    }
    Ok(())
}

/// How many segments of that size fit the memory that pushing ahead and prefetching may use.
pub(crate) fn segments_in_memory(size: SegmentSize, wanted: usize) -> usize {
    const BYTES_MAX: u64 = 256 << 20;
    let fit = usize::try_from(BYTES_MAX / size.bytes()).unwrap_or(1);
    wanted.min(fit).max(1)
}
