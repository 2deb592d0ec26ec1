//! The local directory of a workload: marks and prefetched segments. A cache: deleting it loses nothing.
//!
//! Everything here is private to its owner (0700, 0600), written under a temporary name, and a mark is believed only about
//! the very file that it was left for, unchanged since.

use super::error::{Result, WalError};
use lifeboat_repository::CHUNK_BYTES_MAX;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// A mark is a short JSON document.
const MARK_BYTES_MAX: u64 = 64 * 1024;
/// Larger than any segment.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 30;

/// The spool of one workload.
#[derive(Debug, Clone)]
pub struct Spool {
    directory: PathBuf,
    destination: String,
}

/// What a file was when it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The repository, as [`Spool::new`] was told: a mark about another one proves nothing.
    pub destination: String,
    /// Which file it was.
    pub file: FileIdentity,
}

/// Which file it is, and in which state: whoever writes into it, or renames another one to its name, changes this. The
/// time of the last change can't be set by anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    /// Of a file as the file system shows it.
    pub(crate) fn of(found: &fs::Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        }
    }
}

impl Spool {
    /// The spool of `workload` below `root`. `destination` is any text that changes when the locations change.
    pub fn new(root: &Path, workload: &str, destination: impl Into<String>) -> Self {
        Self { directory: root.join(workload), destination: destination.into() }
    }

    /// The repository, as told.
    pub(crate) fn destination(&self) -> &str {
        &self.destination
    }

    /// The directory for one purpose, made when missing.
    pub(crate) fn room(&self, purpose: &str) -> Result<PathBuf> {
        let path = self.directory.join(purpose);
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(WalError::file("create", &path))?;
        Ok(path)
    }

    /// The same without making it.
    pub(crate) fn path(&self, purpose: &str) -> PathBuf {
        self.directory.join(purpose)
    }

    /// Whether the mark at `mark` is about exactly what is in the file at `path` now. No mark, or one that can't be read, is
    /// about nothing. The file isn't read: a segment is 16 MiB, and PostgreSQL waits.
    pub(crate) fn mark_matches(&self, mark: &Path, path: &Path) -> Result<bool> {
        let Some(mark) = read_document::<Mark>(mark) else { return Ok(false) };
        let now = fs::metadata(path).map_err(WalError::file("read", path))?;
        Ok(mark.destination == self.destination && now.is_file() && mark.file == FileIdentity::of(&now))
    }

    /// Leaves a mark. It may be lost in a crash: then the archive itself says that it has the file.
    pub(crate) fn leave_mark(&self, path: &Path, file: FileIdentity) -> Result<()> {
        let mark = Mark { destination: self.destination.clone(), file };
        let json = serde_json::to_vec(&mark).map_err(|error| WalError::Internal(error.to_string()))?;
        replace(path, &json, false)
    }
}

/// Reads a small JSON document; anything that isn't one is nothing.
pub(crate) fn read_document<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MARK_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Writes a small JSON document, durably.
pub(crate) fn write_document<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let json = serde_json::to_vec(value).map_err(|error| WalError::Internal(error.to_string()))?;
    replace(path, &json, true)
}

/// Puts a whole file in place at once: readers see the old one, none, or all of the new one.
/// `durable` also waits until it would survive a power cut. Without it there is one writer at a time, and what a killed
/// one left is written over by the next: `restore_command` must not fill `pg_wal` with pieces.
pub(crate) fn replace(path: &Path, content: &[u8], durable: bool) -> Result<()> {
    let temporary = if durable { unique_beside(path) } else { path.with_extension("lifeboat-tmp") };
    let written = write_new(&temporary, content, durable).map_err(WalError::file("write", &temporary));
    let placed = written.and_then(|()| fs::rename(&temporary, path).map_err(WalError::file("write", path)));
    if placed.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    placed?;
    match path.parent().filter(|_| durable) {
        Some(parent) => {
            let synced = File::open(parent).and_then(|directory| directory.sync_all());
            synced.map_err(WalError::file("sync", parent))
        }
        None => Ok(()),
    }
}

/// A name that nobody else uses at this moment, in the same directory.
fn unique_beside(path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{name}.{}-{number}.tmp", std::process::id()))
}

fn write_new(path: &Path, content: &[u8], durable: bool) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    if durable {
        file.sync_all()?;
    }
    Ok(())
}

/// The content of a file of at most [`FILE_BYTES_MAX`], and the proof that the path still leads to the file that was read.
pub(crate) fn read_stable(path: &Path) -> Result<(Vec<u8>, FileIdentity)> {
    let mut stable = StableFile::open(path)?;
    let length = stable.len();
    let mut content = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    let reading = Read::by_ref(&mut stable.file).take(length).read_to_end(&mut content);
    stable.read_bytes = reading.map_err(WalError::file("read", path))? as u64;
    Ok((content, stable.confirm()?))
}

/// A file that is read and must stay what it is meanwhile: PostgreSQL recycles segments by renaming them, and then writes
/// into them.
#[derive(Debug)]
pub(crate) struct StableFile {
    path: PathBuf,
    file: File,
    before: fs::Metadata,
    read_bytes: u64,
}

impl StableFile {
    /// Refuses what is no file or too long.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(WalError::file("read", path))?;
        let before = file.metadata().map_err(WalError::file("read", path))?;
        let stable = Self { path: path.to_owned(), file, before, read_bytes: 0 };
        if !stable.before.is_file() {
            return Err(WalError::Content { name: stable.name(), what: "it is not a file".into() });
        }
        if stable.len() > FILE_BYTES_MAX {
            return Err(WalError::Length { name: stable.name(), found: stable.len(), expected: FILE_BYTES_MAX });
        }
        Ok(stable)
    }

    fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// How long it was when it was opened.
    pub(crate) fn len(&self) -> u64 {
        self.before.len()
    }

    /// The next part of the file, in place of what `part` holds: as long as a chunk, shorter only at the end, and empty after it.
    pub(crate) fn read_part(&mut self, part: &mut Vec<u8>) -> Result<()> {
        let left = self.len() - self.read_bytes;
        part.resize(usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES_MAX), 0);
        let mut filled = 0;
        while filled < part.len() {
            match self.file.read(&mut part[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(WalError::file("read", &self.path)(error)),
            }
        }
        part.truncate(filled);
        self.read_bytes += filled as u64;
        Ok(())
    }

    /// After all was read: does the path still lead to the file that was?
    pub(crate) fn confirm(self) -> Result<FileIdentity> {
        let after = fs::metadata(&self.path).map_err(WalError::file("read", &self.path))?;
        let about = |file: &fs::Metadata| (file.dev(), file.ino(), file.len(), file.mtime(), file.mtime_nsec());
        if about(&after) != about(&self.before) || self.read_bytes != self.len() {
            return Err(WalError::Changed { name: self.name() });
        }
        Ok(FileIdentity::of(&after))
    }
}

/// Removes files that nobody came for.
pub(crate) fn clear_older_than(directory: &Path, age: Duration) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let old = modified.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|elapsed| elapsed > age));
        if old {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what a killed process left under names that end so.
pub(crate) fn clear_ending(directory: &Path, ending: &str) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().ends_with(ending)) {
        let _ = fs::remove_file(entry.path());
    }
}

/// Takes the only seat for a purpose, until the value is dropped; `None` when somebody sits there.
pub(crate) fn only_one(path: &Path) -> Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = file.map_err(WalError::file("open", path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(WalError::file("lock", path)(error.into())),
    }
}
