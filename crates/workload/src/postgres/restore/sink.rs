//! The files of a restore: created, written in any order by many threads, synced.
//!
//! A cluster of many small tables is mostly names: what fits one write is created when it is written, opened once, and
//! comes to the disk with all others.
//!
//! Long aligned writes go around the page cache where the file system allows it: with a sync at the end that is several
//! times faster, and a restore does not push everything else out of memory.

use super::durable::FileSystems;
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
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// Files synced at once: each waits for the disk, and the file system joins those that wait together.
const SYNCS_AT_ONCE: usize = 16;

#[repr(C, align(4096))]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Aligned([u8; ALIGNMENT_BYTES]);

/// Memory for so many bytes, a multiple of the alignment, from which can be written around the page cache.
pub fn room_of(bytes: usize) -> Vec<Aligned> {
    vec![Aligned([0; ALIGNMENT_BYTES]); bytes / ALIGNMENT_BYTES]
}

/// A file in both modes.
struct Pair {
    buffered: File,
    direct: Option<File>,
}

/// All files of a restore.
pub struct FileTable {
    places: Vec<Place>,
    open: Mutex<Open>,
    /// None: each file is synced by itself.
    file_systems: Option<FileSystems>,
}

/// A file to be.
struct Place {
    path: PathBuf,
    size: u64,
    mode: u32,
    /// How much of it will be written. The rest is holes.
    bytes: u64,
}

#[derive(Default)]
struct Open {
    pairs: VecDeque<(u32, Arc<Pair>)>,
    is_created: Vec<bool>,
}

impl Place {
    fn of(destination: &Path, entry: &TreeEntry, bytes: u64) -> Self {
        // Never wider than the group may read: that is all PostgreSQL accepts.
        let mode = entry.mode & 0o640 | 0o600;
        Self { path: destination.join(&entry.path), size: entry.size, mode, bytes }
    }

    /// Not worth direct writes, nor a visit before something is written.
    fn is_small(&self) -> bool {
        (1..DIRECT_BYTES_MIN as u64).contains(&self.bytes) && self.size < DIRECT_BYTES_MIN as u64
    }

    /// With its size and its rights. What was in it stays, unless it is to be `empty`.
    fn create(&self, empty: bool) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(empty).mode(0o600).open(&self.path)?;
        if self.mode != 0o600 || !empty {
            fchmod(&file, Mode::from_raw_mode(self.mode))?;
        }
        Ok(file)
    }

    fn create_sized(&self, over_existing: bool) -> io::Result<()> {
        let file = self.create(!over_existing)?;
        if self.size > 0 || over_existing {
            file.set_len(self.size)?;
        }
        // Room in one piece; holes stay holes. A file system that can't do it does without.
        let is_whole = self.bytes >= self.size / 8 * 7;
        if is_whole && !over_existing && self.size > DIRECT_BYTES_MIN as u64 {
            let room = fallocate(&file, FallocateFlags::empty(), 0, self.size);
            if room == Err(rustix::io::Errno::NOSPC) {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
        }
        Ok(())
    }
}

/// Creates a file that only its owner can read.
pub fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

impl FileTable {
    /// Creates all files with their sizes, but for the small ones of an empty directory, which come when they are written.
    /// Existing ones keep what they hold when `over_existing`. `bytes`: how much of each will be written. `roots`: directories
    /// of all file systems that are written to.
    pub fn create(
        destination: &Path,
        files: &[&TreeEntry],
        bytes: &[u64],
        over_existing: bool,
        roots: &[PathBuf],
    ) -> Result<Self, BackupError> {
        let place = |(entry, bytes): (&&TreeEntry, &u64)| Place::of(destination, entry, *bytes);
        let places: Vec<Place> = files.iter().zip(bytes).map(place).collect();
        // Over an older copy anything may be mounted anywhere.
        let file_systems = if over_existing { None } else { FileSystems::open(roots) };
        let mut is_created = Vec::with_capacity(places.len());
        for place in &places {
            let now = over_existing || !place.is_small();
            if now {
                let named = |error| BackupError::write(with_path(error, &place.path));
                place.create_sized(over_existing).map_err(named)?;
            }
            is_created.push(now);
        }
        Ok(Self { places, open: Mutex::new(Open { pairs: VecDeque::new(), is_created }), file_systems })
    }

    fn pair(&self, number: u32) -> io::Result<Arc<Pair>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, pair)) = open.pairs.iter().find(|(file, _)| *file == number) {
            return Ok(pair.clone());
        }
        let place = &self.places[number as usize];
        let pair = Arc::new(match open.is_created[number as usize] {
            true => Pair {
                buffered: OpenOptions::new().write(true).open(&place.path)?,
                direct: (!place.is_small()).then(|| open_direct(&place.path)).flatten(),
            },
            false => {
                let file = place.create(true)?;
                if place.bytes < place.size {
                    file.set_len(place.size)?;
                }
                open.is_created[number as usize] = true;
                Pair { buffered: file, direct: None }
            }
        });
        if open.pairs.len() >= OPEN_FILES_MAX {
            open.pairs.pop_front();
        }
        open.pairs.push_back((number, pair.clone()));
        Ok(pair)
    }

    /// A writer for one thread.
    pub fn writer(&self) -> FileWriter<'_> {
        FileWriter { table: self, gathered: room_of(WRITE_BYTES_MAX), file: 0, start: 0, length: 0 }
    }

    /// Writes `bytes`, which lie at an aligned address, at `offset` of file `number`.
    pub fn write(&self, number: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let named = |error| with_path(error, &self.places[number as usize].path);
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

    /// Makes a part of a file that is there zero: a hole, where the file system can make one.
    pub fn make_zero(&self, number: u32, offset: u64, length: u64) -> io::Result<()> {
        let named = |error| with_path(error, &self.places[number as usize].path);
        let pair = self.pair(number).map_err(named)?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&pair.buffered, hole, offset, length).is_ok() {
            return Ok(());
        }
        let zeros = [0; DIRECT_BYTES_MIN];
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let next = end.min(at + zeros.len() as u64);
            pair.buffered.write_all_at(&zeros[..(next - at) as usize], at).map_err(named)?;
            at = next;
        }
        Ok(())
    }

    /// Brings all files to the disk.
    pub fn finish(self) -> Result<(), BackupError> {
        let open = self.open.into_inner().unwrap_or_else(PoisonError::into_inner);
        drop(open.pairs);
        if let Some(number) = open.is_created.iter().position(|is_created| !is_created) {
            let what = format!("{} was never written", self.places[number].path.display());
            return Err(lifeboat_repository::Error::Internal(what).into());
        }
        match &self.file_systems {
            Some(all) => all.sync().map_err(BackupError::write),
            None => sync_each(&self.places),
        }
    }
}

fn open_direct(path: &Path) -> Option<File> {
    OpenOptions::new().write(true).custom_flags(OFlags::DIRECT.bits() as i32).open(path).ok()
}

fn sync_each(places: &[Place]) -> Result<(), BackupError> {
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<BackupError>> = Mutex::new(None);
    let sync = |path: &Path| OpenOptions::new().write(true).open(path)?.sync_all();
    std::thread::scope(|scope| {
        for _ in 0..SYNCS_AT_ONCE {
            scope.spawn(|| {
                while let Some(Place { path, .. }) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = sync(path) {
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
