//! The ceremony of a durable write: private file, bytes, sync, rename without replacing, sync of the directories.

use super::{Inner, failure};
use crate::PutOutcome;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

/// Alignment that every block device takes for direct writes.
const BLOCK_BYTES: usize = 4096;
/// Written in one call. 1 MiB: large enough for full speed, small enough to copy through.
const CHUNK_BYTES: usize = 1 << 20;
/// Below this the page cache is as fast.
const DIRECT_BYTES_MIN: usize = CHUNK_BYTES;
/// A writer that takes longer than this for one object is dead.
const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(24 * 60 * 60);

/// A file in the private directory. Removed on drop unless it was renamed away.
pub(super) struct Temporary {
    path: PathBuf,
}

impl Temporary {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // gone after a rename; a leftover is swept by a later writer
    }
}

impl Inner {
    pub(super) fn put_new(&self, key: &str, bytes: &[u8]) -> io::Result<PutOutcome> {
        let path = self.path(key);
        let parent = path.parent().unwrap_or(&self.root);
        if let Ok(found) = path.symlink_metadata() {
            if found.is_dir() {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "a directory of objects has that name"));
            }
            sync_directory(parent)?; // whoever wrote it may have crashed before their own sync
            return Ok(PutOutcome::AlreadyExists);
        }
        let temporary = self.write_private(bytes)?;
        self.make_durable_directory(parent)?;
        let created = rename_new(temporary.path(), &path)?;
        sync_directory(parent)?;
        Ok(if created { PutOutcome::Created } else { PutOutcome::AlreadyExists })
    }

    /// Writes and syncs a new private file.
    pub(super) fn write_private(&self, bytes: &[u8]) -> io::Result<Temporary> {
        let private = self.private()?;
        remove_leftovers(&private);
        let name = format!("{}-{:016x}", rustix::process::getpid().as_raw_nonzero(), rand::random::<u64>());
        let temporary = Temporary { path: private.join(name) };
        write_synced(&temporary.path, bytes)?;
        self.give_to_owner(&temporary.path)?;
        Ok(temporary)
    }

    /// Makes `directory` below the root, and sees once per process that all of the way up to the root is on disk.
    pub(super) fn make_durable_directory(&self, directory: &Path) -> io::Result<()> {
        let known = |path: &Path| self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(path);
        if known(directory) && directory.is_dir() {
            return Ok(());
        }
        let mut levels: Vec<&Path> = directory.ancestors().take_while(|level| *level != self.root).collect();
        levels.reverse();
        for level in levels {
            match fs::DirBuilder::new().mode(0o700).create(level) {
                Ok(()) => self.give_to_owner(level)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(blocked(level, error)),
            }
            sync_directory(level.parent().unwrap_or(&self.root))?;
        }
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_path_buf());
        Ok(())
    }
}

/// A file stands where a directory must be: nothing the caller could wait for.
fn blocked(level: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::NotADirectory {
        return error;
    }
    io::Error::new(io::ErrorKind::InvalidInput, format!("{}: a file is in the way", level.display()))
}

/// Gives the file at `from` the name `to` unless something has it. `false`: something has.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<bool> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        // Network file systems and old kernels don't know the flag. A link never replaces either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match fs::hard_link(from, to) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        },
        Err(error) => Err(error.into()),
    }
}

pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Large files go around the page cache, where the file system takes it: written through it, the sync at the end
/// waits for the whole file at once and takes several times as long.
fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    if bytes.len() >= DIRECT_BYTES_MIN {
        let direct = options.clone().custom_flags(OFlags::DIRECT.bits() as i32).open(path);
        match direct.and_then(|file| write_direct(file, bytes)) {
            Ok(()) => return Ok(()),
            // tmpfs and some network file systems refuse at opening or at the first write: once more, through the cache.
            Err(error) if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => {
                fs::remove_file(path).or_else(|gone| if failure::is_absent(&gone) { Ok(()) } else { Err(gone) })?;
            }
            Err(error) => return Err(error),
        }
    }
    let mut file = options.open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whole blocks from an aligned buffer; the last one is padded and the file cut to its length.
fn write_direct(file: File, bytes: &[u8]) -> io::Result<()> {
    let mut buffer = vec![0_u8; CHUNK_BYTES + BLOCK_BYTES];
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    let Some(aligned) = buffer.get_mut(start..).and_then(|rest| rest.get_mut(..CHUNK_BYTES)) else {
        return Err(Errno::INVAL.into());
    };
    let mut offset = 0;
    for chunk in bytes.chunks(CHUNK_BYTES) {
        let padded = chunk.len().next_multiple_of(BLOCK_BYTES);
        aligned[..chunk.len()].copy_from_slice(chunk);
        aligned[chunk.len()..padded].fill(0);
        file.write_all_at(&aligned[..padded], offset)?;
        offset += padded as u64;
    }
    if offset != bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    file.sync_all()
}

/// Best effort: what can't be removed now is for the next writer.
fn remove_leftovers(private: &Path) {
    let Ok(entries) = fs::read_dir(private) else { return };
    for entry in entries.flatten() {
        let age = entry.metadata().and_then(|found| found.modified()).ok().and_then(|modified| {
            SystemTime::now().duration_since(modified).ok() // from the future: leave it
        });
        if age.is_some_and(|age| age > LEFTOVER_AGE_MIN) && entry.file_name() != super::register::LOCK {
            tracing::debug!(path = %entry.path().display(), "remove what a crashed writer left");
            let _ = fs::remove_file(entry.path());
        }
    }
}
