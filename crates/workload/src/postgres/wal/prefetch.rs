//! Segments that recovery will ask for next, loaded while it replays the last one.
//!
//! A background process loads them into the spool and stays a few segments ahead for as long as recovery goes on; the next
//! `restore_command` finds its segment there without key or network, and only renames it. The key lives in the memory of
//! that process and nowhere else. A loaded segment is believed only when it is the very file that its mark was left for, since
//! the machine was last started (what was written before may be torn, for nothing here is synced), and when it belongs to
//! the cluster that is being recovered. Only whole segments are loaded. `pg_rewind` walks backwards: it is served without
//! any of this.

use super::archive::WalArchive;
use super::error::{Result, WalError};
use super::fetch::{self, FetchOptions};
use super::push::segments_in_memory;
use super::spool::{self, FileIdentity, Spool, clear_older_than, read_document, read_stable, replace};
use lifeboat_postgres::SystemId;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize, WalFileName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::task::JoinSet;

/// How many segments are loaded ahead, when the caller has no other wish.
pub const PREFETCH_SEGMENTS: usize = 16;
/// How long a loader waits for recovery to ask for more before it ends.
pub const PREFETCH_PATIENCE: Duration = Duration::from_secs(10);
pub(crate) const ROOM: &str = "fetch";
const SEAT: &str = "prefetch.lock";
const LOADING: &str = ".loading";
/// What nobody came for by then was loaded for another recovery.
const AGE_MAX: Duration = Duration::from_secs(3600);
const PARALLEL: usize = 4;
/// Between two looks at what recovery asked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// How long recovery waits for a segment that is being loaded. Then it loads it itself.
const LOADING_TIME_MAX: Duration = Duration::from_secs(60);
/// The start of a segment that says whose it is.
const HEADER_BYTES: u64 = 8192;

/// What a prefetcher did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PrefetchOutcome {
    /// Another one is at work.
    Busy,
    /// Loaded this many, until the archive's end or until nobody asked for more.
    Loaded(usize),
}

/// The right to load for a spool: one process has it at a time.
#[derive(Debug)]
pub struct PrefetchSeat {
    _lock: File,
}

impl PrefetchSeat {
    /// `None` when another process loads. Asked before the repository is opened, because that costs.
    pub fn take(spool: &Spool) -> Result<Option<Self>> {
        spool.room(ROOM)?;
        Ok(spool::only_one(&spool.path(SEAT))?.map(|lock| Self { _lock: lock }))
    }
}

/// What was loaded.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Loaded {
    file: FileIdentity,
    /// Of the machine, since it was last started.
    boot: String,
    destination: String,
}

/// A number that is another one each time the machine starts. `None` where the kernel doesn't tell: then nothing that was
/// loaded is believed.
fn boot_id() -> Option<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()
}

/// Gives out a segment that was loaded ahead: moves it to `destination` and forgets it.
/// False when there is none that can be trusted: then ask the archive. `system_id`: of the cluster in recovery, when
/// the caller knows it.
pub fn take_prefetched(name: &str, destination: &Path, spool: &Spool, system_id: Option<SystemId>) -> Result<bool> {
    let Ok(segment) = name.parse::<SegmentName>() else { return Ok(false) };
    let room = spool.path(ROOM);
    let (path, mark) = paths(&room, segment);
    await_loading(spool, segment);
    let trusted = is_trusted(&path, &mark, segment, spool, system_id) && give(&path, destination)?;
    let _ = fs::remove_file(&mark);
    let _ = fs::remove_file(&path);
    // Whoever loads goes on from here. If that can't be written, recovery loads by itself.
    let _ = spool.room(ROOM).and_then(|room| replace(&wanted_path(&room), segment.to_string().as_bytes(), false));
    Ok(trusted)
}

/// Moves a file. False when it is gone: one who loads for another recovery of this cluster, or for the one before, forgets what he has no use for.
fn give(path: &Path, destination: &Path) -> Result<bool> {
    match fs::rename(path, destination) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        // Another file system.
        Err(_) => match read_stable(path) {
            Ok((content, _)) => replace(destination, &content, false).map(|()| true),
            Err(_) => Ok(false),
        },
    }
}

fn is_trusted(path: &Path, mark: &Path, segment: SegmentName, spool: &Spool, system_id: Option<SystemId>) -> bool {
    let Some(loaded) = read_document::<Loaded>(mark) else { return false };
    let Ok(mut file) = File::open(path) else { return false };
    let Ok(found) = file.metadata() else { return false };
    let fresh = found.modified().is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age < AGE_MAX));
    let mut start = Vec::new();
    let read = Read::by_ref(&mut file).take(HEADER_BYTES).read_to_end(&mut start);
    let belongs = read.is_ok()
        && inspect_segment_start(&start).is_ok_and(|header| {
            header.check(segment, system_id.unwrap_or(header.system_id)).is_ok()
                && header.segment_size.bytes() == found.len()
        });
    let same = loaded.file == FileIdentity::of(&found)
        && boot_id().is_some_and(|boot| boot == loaded.boot)
        && loaded.destination == spool.destination();
    fresh && belongs && same
}

/// Waits while somebody is loading this segment.
fn await_loading(spool: &Spool, segment: SegmentName) {
    let (loading, deadline) = (loading_path(&spool.path(ROOM), segment), Instant::now() + LOADING_TIME_MAX);
    let is_manned = || matches!(spool::only_one(&spool.path(SEAT)), Ok(None));
    while loading.exists() && is_manned() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Loads the segments after `last`, and after those that recovery asks for meanwhile: at most `count` and 256 MiB of them
/// wait at any moment. Ends at the first that isn't archived, or when recovery asked for nothing during `patience`. An error
/// of the archive ends it, too: recovery will meet it itself and decide.
pub async fn prefetch(
    archive: Arc<WalArchive>,
    seat: PrefetchSeat,
    last: SegmentName,
    spool: &Spool,
    count: usize,
    patience: Duration,
) -> Result<PrefetchOutcome> {
    let room = spool.room(ROOM)?;
    clear_older_than(&room, AGE_MAX);
    spool::clear_ending(&room, LOADING);
    let mut loader = Loader { archive, spool: spool.clone(), room, tasks: JoinSet::new(), under_way: BTreeSet::new() };
    let outcome = loader.run(last, count, patience).await;
    loader.tasks.shutdown().await;
    for segment in &loader.under_way {
        let _ = fs::remove_file(loading_path(&loader.room, *segment));
    }
    drop(seat);
    outcome.map(PrefetchOutcome::Loaded)
}

struct Loader {
    archive: Arc<WalArchive>,
    spool: Spool,
    room: PathBuf,
    tasks: JoinSet<(SegmentName, Result<bool>)>,
    under_way: BTreeSet<SegmentName>,
}

impl Loader {
    async fn run(&mut self, first: SegmentName, count: usize, patience: Duration) -> Result<usize> {
        let parallel = segments_in_memory(self.archive.segment_size, PARALLEL);
        let (mut last, mut loaded, mut ended) = (first, 0, false);
        let mut asked_at = Instant::now();
        let mut names = self.window(last, count)?;
        // What an earlier recovery asked for is no wish of this one.
        let mut seen = wanted(&self.room);
        loop {
            for name in names.iter().filter(|_| !ended) {
                if self.tasks.len() < parallel && !self.under_way.contains(name) && !paths(&self.room, *name).1.exists()
                {
                    self.begin(*name)?;
                }
            }
            match tokio::time::timeout(LOOK_INTERVAL, self.tasks.join_next()).await {
                Ok(Some(done)) => {
                    let (name, found) = done.map_err(|error| WalError::Internal(error.to_string()))?;
                    self.under_way.remove(&name);
                    let _ = fs::remove_file(loading_path(&self.room, name));
                    match found? {
                        true => loaded += 1,
                        false => ended = true,
                    }
                }
                Ok(None) if ended || asked_at.elapsed() > patience => return Ok(loaded),
                Ok(None) => tokio::time::sleep(LOOK_INTERVAL).await,
                Err(_) => {}
            }
            let asked = wanted(&self.room);
            if let Some(now) = asked.filter(|_| asked != seen) {
                (last, seen, asked_at) = (now, asked, Instant::now());
                names = self.window(last, count)?;
            }
        }
    }

    /// What is to be loaded after `last`. What lies before was served, or will never be asked for: recovery goes forward.
    fn window(&self, last: SegmentName, count: usize) -> Result<Vec<SegmentName>> {
        let names = plan(last, self.archive.segment_size, count)?;
        forget_others(&self.room, &names);
        Ok(names)
    }

    fn begin(&mut self, name: SegmentName) -> Result<()> {
        let loading = loading_path(&self.room, name);
        File::create(&loading).map_err(WalError::file("create", &loading))?;
        self.under_way.insert(name);
        let (archive, spool, room) = (self.archive.clone(), self.spool.clone(), self.room.clone());
        // A task for each: opening and decompressing take a processor.
        self.tasks.spawn(async move {
            let found = load(&archive, name, &spool, &room).await;
            (name, found)
        });
        Ok(())
    }
}

/// Loads one segment. False when it isn't archived whole.
async fn load(archive: &WalArchive, name: SegmentName, spool: &Spool, room: &Path) -> Result<bool> {
    let content = fetch::content(archive, WalFileName::Segment(name), FetchOptions::default()).await?;
    let (Some((content, None)), Some(boot)) = (content, boot_id()) else { return Ok(false) };
    let (path, mark) = paths(room, name);
    replace(&path, &content, false)?;
    let found = fs::metadata(&path).map_err(WalError::file("read", &path))?;
    let loaded = Loaded { file: FileIdentity::of(&found), boot, destination: spool.destination().to_owned() };
    let json = serde_json::to_vec(&loaded).map_err(|error| WalError::Internal(error.to_string()))?;
    replace(&mark, &json, false)?;
    Ok(true)
}

/// The names that come after `last`.
fn plan(last: SegmentName, size: SegmentSize, count: usize) -> Result<Vec<SegmentName>> {
    let segment = last.with_size(size).map_err(WalError::from)?;
    let following = std::iter::successors(Some(segment.next()), |segment| Some(segment.next()));
    Ok(following.take(segments_in_memory(size, count)).map(|segment| segment.name(size)).collect())
}

fn paths(room: &Path, name: SegmentName) -> (PathBuf, PathBuf) {
    (room.join(name.to_string()), room.join(format!("{name}.mark")))
}

fn loading_path(room: &Path, name: SegmentName) -> PathBuf {
    room.join(format!("{name}{LOADING}"))
}

/// The file with the name of the segment that recovery asked for last.
fn wanted_path(room: &Path) -> PathBuf {
    room.join("wanted")
}

fn wanted(room: &Path) -> Option<SegmentName> {
    let mut text = String::new();
    File::open(wanted_path(room)).ok()?.take(24).read_to_string(&mut text).ok()?;
    text.parse().ok()
}

fn forget_others(room: &Path, wanted: &[SegmentName]) {
    let Ok(entries) = fs::read_dir(room) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let segment = name.strip_suffix(".mark").unwrap_or(&name).parse::<SegmentName>();
        if segment.is_ok_and(|segment| !wanted.contains(&segment)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_loader_forgot_meanwhile_is_asked_of_the_archive() {
        let directory = tempfile::tempdir().unwrap();
        let (path, destination) = (directory.path().join("segment"), directory.path().join("destination"));
        assert!(!give(&path, &destination).unwrap() && !destination.exists());
        fs::write(&path, b"log").unwrap();
        assert!(give(&path, &destination).unwrap());
        assert_eq!(fs::read(&destination).unwrap(), b"log");
    }

    #[test]
    fn the_plan_crosses_logs_and_stays_small() {
        let last: SegmentName = "0000000100000003000000FE".parse().unwrap();
        let names: Vec<String> =
            plan(last, SegmentSize::default(), 3).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["0000000100000003000000FF", "000000010000000400000000", "000000010000000400000001"]);
        let large = SegmentSize::new(64 << 20).unwrap();
        let last = "000000010000000300000001".parse().unwrap();
        assert_eq!(plan(last, large, 8).unwrap().len(), 4);
        assert!(plan("000000010000000300000040".parse().unwrap(), large, 8).is_err());
    }
}
