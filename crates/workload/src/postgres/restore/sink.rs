//! The files of a restore: created, written in any order by many threads, synced.
//!
//! Long aligned writes go around the page cache where the file system allows it: with a sync at the end that is several
//! times faster, and a restore does not push everything else out of memory.

use crate::postgres::BackupError;
use crate::postgres::scan::with_path;
use lifeboat_repository::TreeEntry;
use rustix::fs::{FallocateFlags, Mode, OFlags, fallocate, fchmod};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Files open at once. A process may usually have 1024.
const OPEN_FILES_MAX: usize = 256;
/// Direct I/O wants addresses, offsets and lengths in multiples of this.
const ALIGNMENT_BYTES: usize = 4096;
/// Shorter writes are left to the page cache.
const DIRECT_BYTES_MIN: usize = 64 * 1024;
/// What follows one another in a file is gathered into writes of up to this many bytes: a direct write waits for the
/// disk, so it should be worth it.
const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// Files synced at once: each waits for the disk, and the file system joins those that wait together.
const SYNCS_AT_ONCE: usize = 16;

#[repr(C, align(4096))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Aligned([u8; ALIGNMENT_BYTES]);

/// A file in both modes.
struct Pair {
    buffered: File,
    direct: Option<File>,
}

/// All files of a restore.
pub struct FileTable {
    paths: Vec<PathBuf>,
    open: Mutex<VecDeque<(u32, Arc<Pair>)>>,
}

/// Creates a file that only its owner can read.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl FileTable {
    /// Creates all files with their sizes. Existing ones keep what they hold when `over_existing`.
    /// `bytes`: how much of each will be written.
    pub fn create(
        destination: &Path,
        files: &[&TreeEntry],
        bytes: &[u64],
        over_existing: bool,
    ) -> Result<Self, BackupError> {
        let mut paths = Vec::with_capacity(files.len());
        for (entry, bytes) in files.iter().zip(bytes) {
            let path = destination.join(&entry.path);
            // Holes stay holes.
            let room = if *bytes >= entry.size / 8 * 7 && !over_existing { entry.size } else { 0 };
            create_sized(&path, entry, room, over_existing)
                .map_err(|error| BackupError::write(with_path(error, &path)))?;
            paths.push(path);
        }
        Ok(Self { paths, open: Mutex::default() })
    }

    fn pair(&self, number: u32) -> io::Result<Arc<Pair>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pair)) = open.iter().find(|(file, _)| *file == number) {
            return Ok(pair.clone());
        }
        let path = &self.paths[number as usize];
        let buffered = OpenOptions::new().write(true).open(path)?;
        let direct = OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).ok();
        let pair = Arc::new(Pair { buffered, direct });
        if open.len() >= OPEN_FILES_MAX {
            open.pop_front();
        }
        open.push_back((number, pair.clone()));
        Ok(pair)
    }

    /// A writer for one thread.
    pub fn writer(&self) -> FileWriter<'_> {
        let gathered = vec![Aligned([0; ALIGNMENT_BYTES]); WRITE_BYTES_MAX / ALIGNMENT_BYTES];
        FileWriter { table: self, gathered, file: 0, start: 0, length: 0 }
    }

    /// Writes `bytes`, which lie at an aligned address, at `offset` of file `number`.
    fn write(&self, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let named = |error| with_path(error, &self.paths[number as usize]);
        let pair = self.pair(number).map_err(named)?;
        let aligned = offset.is_multiple_of(ALIGNMENT_BYTES as u64) && bytes.len().is_multiple_of(ALIGNMENT_BYTES);
        if let (Some(direct), true) = (&pair.direct, aligned && bytes.len() >= DIRECT_BYTES_MIN) {
            match direct.write_all_at(bytes, offset) {
                // Some file systems take the flag and refuse the write.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                result => return result.map_err(named),
            }
        }
        pair.buffered.write_all_at(bytes, offset).map_err(named)
    }

    /// Syncs all files and sets their permissions.
    pub fn finish(self, files: &[&TreeEntry]) -> Result<(), BackupError> {
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<BackupError>> = Mutex::new(None);
        let finish_one = |path: &Path, entry: &TreeEntry| -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(path)?;
            fchmod(&file, Mode::from_raw_mode(entry.mode & 0o640 | 0o600))?;
            file.sync_all()
        };
        std::thread::scope(|scope| {
            for _ in 0..SYNCS_AT_ONCE {
                scope.spawn(|| {
                    while let Some((path, entry)) = take(&next, &self.paths, files) {
                        if let Err(error) = finish_one(path, entry) {
                            let error = BackupError::write(with_path(error, path));
                            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            return;
                        }
                    }
                });
            }
        });
        failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
    }
}

/// Gathers what follows one another, in memory of its own that is used again and again.
pub struct FileWriter<'a> {
    table: &'a FileTable,
    gathered: Vec<Aligned>,
    file: u32,
    start: u64,
    length: usize,
}

impl FileWriter<'_> {
    /// Writes `bytes` at `offset` of file `number`, now or at the next [`Self::flush`].
    pub fn write(&mut self, number: u32, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        if number != self.file || offset != self.start + self.length as u64 {
            self.flush()?;
            (self.file, self.start) = (number, offset);
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(WRITE_BYTES_MAX - self.length));
            let room: &mut [u8] = bytemuck::cast_slice_mut(&mut self.gathered);
            room[self.length..][..now.len()].copy_from_slice(now);
            self.length += now.len();
            bytes = later;
            if self.length == WRITE_BYTES_MAX {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what is gathered.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.length > 0 {
            let bytes: &[u8] = bytemuck::cast_slice(&self.gathered);
            self.table.write(self.file, self.start, &bytes[..self.length])?;
            self.start += self.length as u64;
            self.length = 0;
        }
        Ok(())
    }
}

fn take<'a>(next: &AtomicUsize, paths: &'a [PathBuf], files: &[&'a TreeEntry]) -> Option<(&'a Path, &'a TreeEntry)> {
    let number = next.fetch_add(1, Ordering::Relaxed);
    Some((paths.get(number)?, files.get(number)?))
}

fn create_sized(path: &Path, entry: &TreeEntry, room_bytes: u64, over_existing: bool) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(!over_existing).mode(0o600).open(path)?;
    file.set_len(entry.size)?;
    // Room in one piece. A file system that can't do it does without.
    if room_bytes > DIRECT_BYTES_MIN as u64 {
        let room = fallocate(&file, FallocateFlags::empty(), 0, room_bytes);
        if room == Err(rustix::io::Errno::NOSPC) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
    }
    Ok(())
}
