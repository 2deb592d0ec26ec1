//! The journal as a file: added to, opened by one at a time, written anew when it says much more than it must.
//!
//! Promise: what was added is there, whenever the power goes, also while it is written anew: the new one is whole and durable before it
//! gets the name of the old one.

use super::{
    ALIGNMENT_BYTES, FRAME_BYTES_MAX, HEADER_BYTES, JournalError, Parsed, RECORD_BYTES, Record, first_block, frame,
    parse, parse_frames,
};
use crate::place::open_below;
use crate::root::{Identity, stat_of};
use crate::told::{records as records_of, told};
use rustix::fs::{
    AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, fallocate, flock, fsync, renameat, statat, unlinkat,
};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How much shorter it must become to be worth writing anew.
const SHORTER: u64 = 4;
/// Below this, nothing is gained when it is opened.
const SHRINK_FROM_BYTES: u64 = 64 * 1024;
/// Below this, nothing is gained while it is used.
const COMPACT_FROM_BYTES: u64 = 64 * 1024 * 1024;

/// Room that is kept for what comes next: where a disk is full, what was written before can still be synced.
const RESERVE_BYTES: u64 = 1024 * 1024;

/// A journal that is open for more.
#[derive(Debug)]
pub struct Journal {
    directory: OwnedFd,
    name: String,
    end: Mutex<End>,
    /// Held by who writes it anew.
    compacting: Mutex<()>,
}

/// Where the next frame goes.
#[derive(Debug)]
struct End {
    file: File,
    at: u64,
    frames: u32,
    /// Its length when it was last known to say nothing twice.
    needed: u64,
    /// Up to where there is room, for sure.
    reserved: u64,
    is_broken: bool,
}

impl Journal {
    /// As [`Self::create_in`], at a path whose directory is to be trusted.
    pub fn create(path: &Path, records: &[Record]) -> io::Result<Self> {
        let (directory, name) = parts(path)?;
        Self::create_in(directory.as_fd(), name, records)
    }

    /// Writes a new one, whole. The caller makes its name durable.
    pub fn create_in(directory: BorrowedFd<'_>, name: &str, records: &[Record]) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC;
        let file = File::from(open_below(directory, Path::new(name), flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        file.write_all_at(&first_block(), 0)?;
        let journal = Self::of(directory, name, file, ALIGNMENT_BYTES as u64, 0)?;
        journal.append(records)?;
        journal.lock().needed = needed(records);
        Ok(journal)
    }

    fn of(directory: BorrowedFd<'_>, name: &str, file: File, at: u64, frames: u32) -> io::Result<Self> {
        let end = Mutex::new(End { file, at, frames, needed: at, reserved: 0, is_broken: false });
        let directory = directory.try_clone_to_owned()?;
        Ok(Self { directory, name: name.to_owned(), end, compacting: Mutex::default() })
    }

    /// As [`Self::open_in`], at a path whose directory is to be trusted.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), JournalError> {
        let (directory, name) = parts(path)?;
        Self::open_in(directory.as_fd(), name)
    }

    /// Opens one, without what a crash tore off, for as long as it is kept: nobody else can.
    pub fn open_in(directory: BorrowedFd<'_>, name: &str) -> Result<(Self, Vec<Record>), JournalError> {
        let mut file = File::from(open_below(directory, Path::new(name), OFlags::RDWR, Mode::empty())?);
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(JournalError::Busy),
            locked => locked.map_err(io::Error::from)?,
        }
        let named = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        // Whoever has it wrote it anew between the two.
        if Identity::of(&named) != Identity::of(&stat_of(&file)?) {
            return Err(JournalError::Busy);
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let Parsed { records, frames, end } = parse(&bytes)?;
        if end < bytes.len() {
            file.set_len(end as u64)?;
            file.sync_all()?;
        }
        Ok((Self::of(directory, name, file, end as u64, frames)?, records))
    }

    fn lock(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is added while this is held.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> impl Drop + '_ {
        self.lock()
    }

    /// Adds records. They are durable when it returns.
    ///
    /// After a sync that failed it takes no more: it isn't known what of the frame is there. When there is no room, it isn't there, and can
    /// be added when there is.
    pub fn append(&self, records: &[Record]) -> io::Result<()> {
        self.lock().append(records)
    }

    /// Writes it anew when these records say all that it says, in much less. Nothing else is to be added meanwhile.
    pub fn shrink(&self, records: &[Record]) -> io::Result<()> {
        let mut end = self.lock();
        end.needed = needed(records);
        if end.at < SHRINK_FROM_BYTES || end.at < end.needed * SHORTER {
            return Ok(());
        }
        match Self::create_in(self.directory.as_fd(), &self.unfinished(), records) {
            Ok(new) => self.replace(&mut end, new),
            Err(error) => self.stays_as_it_is(&error),
        }
    }

    /// Forgets all that it says: every file is here.
    pub fn clear(&self) -> io::Result<()> {
        let new = Self::create_in(self.directory.as_fd(), &self.unfinished(), &[])?;
        self.replace(&mut self.lock(), new)
    }

    /// Says the same in fewer records, if it says much more than it must as far as can be told without reading it.
    pub fn compact_if_long(&self) -> io::Result<()> {
        {
            let mut end = self.lock();
            if end.is_broken || end.at <= end.needed.saturating_mul(SHORTER).max(COMPACT_FROM_BYTES) {
                return Ok(());
            }
            // Whatever comes of it, it is tried again only when it is as much longer again.
            end.needed = end.at;
        }
        self.compact()
    }

    /// Says the same in fewer records. Who adds some meanwhile waits only while the last few of them are written over.
    fn compact(&self) -> io::Result<()> {
        let Ok(_only) = self.compacting.try_lock() else { return Ok(()) };
        let (file, mut seen) = {
            let end = self.lock();
            (end.file.try_clone()?, Parsed { records: Vec::new(), frames: end.frames, end: end.at as usize })
        };
        let begun = || {
            // What was written never changes.
            let mut bytes = vec![0; seen.end];
            file.read_exact_at(&mut bytes, 0)?;
            let records = records_of(&told(&parse(&bytes).map_err(io::Error::other)?.records));
            Self::create_in(self.directory.as_fd(), &self.unfinished(), &records)
        };
        let new = match begun() {
            Ok(new) => new,
            Err(error) => return self.stays_as_it_is(&error),
        };
        let mut end = self.lock();
        let mut behind = vec![0; end.at as usize - seen.end];
        file.read_exact_at(&mut behind, seen.end as u64)?;
        seen.end = 0;
        match new.append(&parse_frames(&behind, seen).map_err(io::Error::other)?.records) {
            Ok(()) => self.replace(&mut end, new),
            Err(error) => self.stays_as_it_is(&error),
        }
    }

    fn unfinished(&self) -> String {
        format!("{}.new", self.name)
    }

    /// It is only longer than it must be.
    fn stays_as_it_is(&self, error: &io::Error) -> io::Result<()> {
        tracing::warn!("the journal of the mount could not be written anew: {error}");
        let _ = unlinkat(&self.directory, self.unfinished(), AtFlags::empty());
        Ok(())
    }

    /// Gives a new one, which is durable, the name of this one.
    fn replace(&self, end: &mut End, new: Self) -> io::Result<()> {
        if end.is_broken {
            return Err(broken());
        }
        renameat(&self.directory, &new.name, &self.directory, &self.name)?;
        *end = new.end.into_inner().unwrap_or_else(PoisonError::into_inner);
        // Until this is done, it isn't known which of the two is found after a crash.
        end.is_broken = true;
        fsync(&self.directory)?;
        end.is_broken = false;
        Ok(())
    }
}

/// How many bytes these records take.
fn needed(records: &[Record]) -> u64 {
    let frames = records.chunks(FRAME_BYTES_MAX / RECORD_BYTES);
    let bytes = frames.map(|frame| (HEADER_BYTES + frame.len() * RECORD_BYTES).next_multiple_of(ALIGNMENT_BYTES));
    (ALIGNMENT_BYTES + bytes.sum::<usize>()) as u64
}

fn broken() -> io::Error {
    io::Error::other("the journal of the mount could not be written before")
}

/// Whether there was no room, and may be later.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl End {
    /// Makes room ahead, if the file system can and has it.
    fn reserve(&mut self, bytes: u64) {
        if self.at + bytes <= self.reserved {
            return;
        }
        let ahead = bytes + RESERVE_BYTES;
        if fallocate(&self.file, FallocateFlags::KEEP_SIZE, self.at, ahead).is_ok() {
            self.reserved = self.at + ahead;
        }
    }

    fn append(&mut self, records: &[Record]) -> io::Result<()> {
        // No frame is longer than the reader takes.
        for records in records.chunks(FRAME_BYTES_MAX / RECORD_BYTES) {
            if self.is_broken {
                return Err(broken());
            }
            let frame = frame(self.frames, records);
            self.is_broken = true;
            self.reserve(frame.len() as u64);
            if let Err(error) = self.file.write_all_at(&frame, self.at) {
                // Nothing of it was called durable, and what is written there next is written over it.
                self.is_broken = !is_full(&error) || self.file.set_len(self.at).is_err();
                self.reserved = 0;
                return Err(error);
            }
            self.file.sync_data()?;
            (self.is_broken, self.at, self.frames) = (false, self.at + frame.len() as u64, self.frames + 1);
        }
        Ok(())
    }
}

/// A path's directory, open, and its last name.
fn parts(path: &Path) -> io::Result<(File, &str)> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(rustix::io::Errno::INVAL)?;
    Ok((File::open(path.parent().unwrap_or(Path::new("/")))?, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn it_goes_on_behind_what_was_torn_off() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let file = Record::File { number: 7, root: 0, bytes: 1 << 20 };
        let local = |blocks| Record::Local { number: 7, blocks };
        Journal::create(&path, std::slice::from_ref(&file)).unwrap().append(&[local(0..2)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], &frame(2, &[local(2..9)])[..31]].concat()).unwrap();
        let (journal, records) = Journal::open(&path).unwrap();
        assert_eq!(records, [file.clone(), local(0..2)]);
        journal.append(&[local(4..5)]).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1, [file, local(0..2), local(4..5)]);
    }

    #[test]
    fn after_an_error_it_takes_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = Journal::create(&path, &[]).unwrap();
        journal.end.lock().unwrap().file = File::open(&path).unwrap();
        assert!(journal.append(&[Record::Shortened { number: 1 }]).is_err());
        journal.end.lock().unwrap().file = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(journal.append(&[Record::Shortened { number: 1 }]).is_err());
    }

    fn scattered(blocks: std::ops::Range<u64>) -> Vec<Record> {
        blocks.map(|block| Record::Local { number: 7, blocks: block..block + 1 }).collect()
    }

    #[test]
    fn it_is_written_anew_when_much_less_says_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let file = Record::File { number: 7, root: 0, bytes: 1 << 30 };
        let journal = Journal::create(&path, std::slice::from_ref(&file)).unwrap();
        scattered(0..40).into_iter().for_each(|record| journal.append(&[record]).unwrap());
        drop(journal);
        // Left by one who was stopped while it wrote it anew.
        std::fs::write(directory.path().join("journal.new"), b"half of it").unwrap();
        let (journal, records) = Journal::open(&path).unwrap();
        assert_eq!(records.len(), 41);
        let fewer = records_of(&told(&records));
        journal.shrink(&fewer).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Busy)), "nobody else gets it in between");
        journal.append(&scattered(90..91)).unwrap();
        drop(journal);
        assert!(std::fs::metadata(&path).unwrap().len() <= 3 * ALIGNMENT_BYTES as u64);
        let (journal, records) = Journal::open(&path).unwrap();
        assert_eq!(records, [fewer, scattered(90..91)].concat());
        // Not when nothing is gained.
        let before = std::fs::metadata(&path).unwrap().ino();
        journal.shrink(&records).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), before);
        assert!(!directory.path().join("journal.new").exists());
    }

    #[test]
    fn what_is_added_while_it_is_written_anew_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let file = |number| Record::File { number, root: 0, bytes: 1 << 30 };
        let journal = Journal::create(&path, &[file(7), file(8)]).unwrap();
        journal.append(&scattered(0..1000)).unwrap();
        std::thread::scope(|scope| {
            let adds = scope.spawn(|| {
                for block in 0..100 {
                    journal.append(&[Record::Local { number: 8, blocks: 2 * block..2 * block + 1 }]).unwrap();
                }
            });
            while !adds.is_finished() {
                journal.compact().unwrap();
            }
        });
        journal.compact().unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Busy)));
        drop(journal);
        let (_, records) = Journal::open(&path).unwrap();
        let mut told = told(&records);
        assert_eq!(told.remove(&7).unwrap().local.count(), 1000);
        assert_eq!(told.remove(&8).unwrap().local.count(), 100);
        assert_eq!(records.len(), 103, "nothing is said twice");
    }

    #[test]
    fn it_is_written_anew_while_it_is_used_when_it_says_much_more_than_it_must() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let journal = Journal::create(&path, &[Record::File { number: 7, root: 0, bytes: 1 << 30 }]).unwrap();
        scattered(0..20).into_iter().for_each(|record| journal.append(&[record]).unwrap());
        let length = journal.lock().at;
        let compacted = |at, needed| {
            let mut end = journal.lock();
            (end.at, end.needed) = (at, needed);
            drop(end);
            // Beyond what is there nothing can be read, and it stays as it is.
            let _ = journal.compact_if_long();
            let tried = journal.lock().needed == at;
            journal.lock().at = length;
            tried
        };
        assert!(compacted(65 << 20, 16 << 20));
        assert!(!compacted(65 << 20, 17 << 20) && !compacted(63 << 20, 1 << 20));
        journal.append(&scattered(20..21)).unwrap();
        drop(journal);
        assert_eq!(Journal::open(&path).unwrap().1.len(), 22);
    }
}
