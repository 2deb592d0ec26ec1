//! Reading a data directory into a repository while the database writes to it.
//!
//! Files are cut into blocks of 8 KiB. Blocks that changed since the baseline (all of them in a full backup) are gathered
//! into chunks; the others keep the place they have. Several workers take spans of files, largest files first. Parts that
//! cannot have changed, as far as the log tells, aren't even read (see `suspects`).
//!
//! Pages may be torn and files may grow, shrink or vanish: replay from the start of the backup repairs all of it. What
//! replay can't repair is a page that was damaged before: its checksum is checked here, and it is reported, not hidden.

mod arriving;

pub use arriving::{Piece, Window};

use crate::postgres::baseline::{Baseline, StoredBlock};
use crate::postgres::details::BadPage;
use crate::postgres::scan::{Found, with_path};
use crate::postgres::suspects::{Step, Suspects, steps};
use crate::postgres::throttle::{self, Throttle};
use crate::postgres::{BLOCK_BYTES, BackupError, page_check::PageChecker};
use lifeboat_postgres::layout::FileKind;
use lifeboat_repository::{
    CHUNK_BYTES_MAX, ChunkWriter, Extent, LEAF_SPAN_BYTES, Progress, Repository, Source, WriteSession,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Small files are handed to a worker together until they make this many bytes, so that they share chunks.
const BATCH_BYTES: u64 = 4 * 1024 * 1024;
/// One read, and the window in which a full backup cuts its chunks.
const WINDOW_BYTES: usize = CHUNK_BYTES_MAX;

/// What all workers share.
pub struct Capture<'a> {
    /// Files to read. The position in this slice is the file's number.
    pub files: &'a [&'a Found],
    /// What to compare with; `None` is a full backup.
    pub baseline: Option<&'a Baseline>,
    /// What may have changed since the baseline; `None`: anything.
    pub suspects: Option<&'a Suspects>,
    /// The session that is written to.
    pub session: &'a WriteSession,
    /// Gives fingerprints.
    pub repository: &'a Repository,
    /// Judges pages.
    pub checker: Option<PageChecker>,
    /// Limits the rate.
    pub throttle: &'a Throttle,
    /// Watches.
    pub progress: &'a dyn Progress,
    /// Ends the work early when it says so: the backup session is gone, or somebody interrupts.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

/// What was read and stored.
#[derive(Debug, Default)]
pub struct Captured {
    /// Number of the file and extent, in order.
    pub extents: Vec<(u32, Extent)>,
    /// Files that were gone when their turn came.
    pub vanished: Vec<u32>,
    /// Damaged pages.
    pub bad_pages: Vec<BadPage>,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes of blocks that were new or changed.
    pub bytes_changed: u64,
    /// Bytes that no location had yet.
    pub bytes_new: u64,
}

impl Captured {
    /// The extents of one file, in order of offset.
    pub fn extents_of(&self, number: u32) -> impl Iterator<Item = Extent> + '_ {
        let from = self.extents.partition_point(|(file, _)| *file < number);
        self.extents[from..].iter().take_while(move |(file, _)| *file == number).map(|(_, extent)| *extent)
    }
}

/// A piece of work: part of a long file, or several short ones.
#[derive(Debug, Clone)]
struct Unit {
    files: Vec<u32>,
    start: u64,
    length: u64,
}

/// Largest files first, each cut into spans of a leaf; then the short ones in batches, in order of path.
fn units(files: &[&Found]) -> Vec<Unit> {
    let (mut long, mut units, mut batch, mut batch_bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let mut batches = Vec::new();
    for (number, file) in files.iter().enumerate() {
        if file.size > WINDOW_BYTES as u64 {
            long.push(number as u32);
            continue;
        }
        batch.push(number as u32);
        batch_bytes += file.size.max(512);
        if batch_bytes >= BATCH_BYTES {
            batches.push(Unit { files: std::mem::take(&mut batch), start: 0, length: u64::MAX });
            batch_bytes = 0;
        }
    }
    if !batch.is_empty() {
        batches.push(Unit { files: batch, start: 0, length: u64::MAX });
    }
    long.sort_by_key(|number| std::cmp::Reverse(files[*number as usize].size));
    for number in long {
        let size = files[number as usize].size;
        let mut start = 0;
        while start < size {
            let length = LEAF_SPAN_BYTES.min(size - start);
            units.push(Unit { files: vec![number], start, length });
            start += length;
        }
    }
    units.extend(batches);
    units
}

impl Capture<'_> {
    /// Does the work with `workers` threads. The first error ends it.
    pub fn run(&self, workers: usize) -> Result<Captured, BackupError> {
        let units = units(self.files);
        let next = AtomicUsize::new(0);
        let total = Mutex::new(Captured::default());
        let failure: Mutex<Option<BackupError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(|| {
                    if let Err(error) = self.work(&units, &next, &total) {
                        next.store(units.len(), Ordering::Relaxed);
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut captured = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        captured.extents.sort_unstable_by_key(|(file, extent)| (*file, extent.offset));
        captured.vanished.sort_unstable();
        captured.vanished.dedup();
        captured.bad_pages.sort();
        Ok(captured)
    }

    fn work(&self, units: &[Unit], next: &AtomicUsize, total: &Mutex<Captured>) -> Result<(), BackupError> {
        let mut worker = Worker {
            capture: self,
            writer: self.session.writer()?,
            buffer: vec![0; WINDOW_BYTES],
            gathered: Vec::with_capacity(CHUNK_BYTES_MAX),
            fingerprints: Vec::new(),
            waiting: Vec::new(),
            result: Captured::default(),
        };
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            for &file in &unit.files {
                worker.read_file(file, unit)?;
            }
            if (self.cancelled)() {
                return Err(BackupError::Interrupted);
            }
        }
        let done = worker.finish()?;
        let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
        match total.extents.is_empty() {
            // Moved, not copied: it is the longest list there is.
            true => total.extents = done.extents,
            false => total.extents.extend(done.extents),
        }
        total.vanished.extend(done.vanished);
        total.bad_pages.extend(done.bad_pages);
        total.bytes_read += done.bytes_read;
        total.bytes_changed += done.bytes_changed;
        total.bytes_new += done.bytes_new;
        Ok(())
    }
}

/// One thread.
struct Worker<'a> {
    capture: &'a Capture<'a>,
    writer: ChunkWriter,
    buffer: Vec<u8>,
    /// The chunk that changed blocks are gathered in, and whose it will be.
    gathered: Vec<u8>,
    fingerprints: Vec<u64>,
    waiting: Vec<(u32, u64, u32, u32)>,
    result: Captured,
}

impl Worker<'_> {
    fn read_file(&mut self, number: u32, unit: &Unit) -> Result<(), BackupError> {
        let found = self.capture.files[number as usize];
        let length = unit.length.min(found.size - unit.start);
        let (start, end) = (unit.start, unit.start + length);
        let mut file = None;
        for step in self.steps(found, start, end)? {
            let (from, to) = match step {
                Step::Keep(extent) => {
                    self.extent(number, extent);
                    self.capture.progress.advance(extent.length.into());
                    continue;
                }
                Step::Read { from, to } => (from, to),
            };
            if file.is_none() {
                file = open(found)?;
            }
            let Some(file) = &file else {
                self.result.vanished.push(number);
                self.capture.progress.advance(end - from);
                return Ok(());
            };
            if !self.read_range(number, file, from, to)? {
                // The file became shorter: what is gone, replay doesn't need.
                self.capture.progress.advance(end - to);
                return Ok(());
            }
        }
        Ok(())
    }

    /// What to do with a part of a file: without knowledge of changes, read it.
    fn steps(&self, found: &Found, start: u64, end: u64) -> Result<Vec<Step>, BackupError> {
        let all = vec![Step::Read { from: start, to: end }];
        let (Some(baseline), Some(suspects)) = (self.capture.baseline, self.capture.suspects) else { return Ok(all) };
        let Some(ranges) = baseline.length(&found.path).and_then(|stored| suspects.of(found, stored)) else {
            return Ok(all);
        };
        let stored = baseline.extents(&found.path, start, end - start)?;
        Ok(steps(start..end, &stored, &ranges, |extent| self.is_known(&extent.source)))
    }

    /// Reads and stores a part of a file. False when the file ended before the part did.
    fn read_range(&mut self, number: u32, file: &File, start: u64, end: u64) -> Result<bool, BackupError> {
        let found = self.capture.files[number as usize];
        let stored = match self.capture.baseline {
            Some(baseline) => baseline.blocks(&found.path, start, end - start)?,
            None => Vec::new(),
        };
        let mut at = start;
        while at < end {
            let want = ((end - at) as usize).min(WINDOW_BYTES);
            self.capture.throttle.take(want as u64);
            let got = read_full(file, &mut self.buffer[..want], at)
                .map_err(|e| BackupError::read(with_path(e, &found.absolute)))?;
            if got > 0 {
                self.check_pages(found, file, at, got);
                let first = ((at - start) / BLOCK_BYTES) as usize;
                self.store_window(number, at, got, stored.get(first..).unwrap_or_default())?;
                self.result.bytes_read += got as u64;
            }
            if got < want {
                self.capture.progress.advance(end - at);
                return Ok(false);
            }
            self.capture.progress.advance(got as u64);
            at += got as u64;
        }
        Ok(true)
    }

    fn check_pages(&mut self, found: &Found, file: &File, at: u64, got: usize) {
        let (Some(checker), Some(FileKind::Relation(relation))) = (&self.capture.checker, &found.file_kind) else {
            return;
        };
        let window = &mut self.buffer[..got];
        self.result.bad_pages.extend(checker.check(&found.path, relation, file, at, window));
    }

    /// Decides for each block of a window whether it keeps its place, is zero, or is gathered.
    fn store_window(&mut self, number: u32, at: u64, got: usize, stored: &[StoredBlock]) -> Result<(), BackupError> {
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.store_blocks(number, at, &buffer[..got], stored);
        self.buffer = buffer;
        result
    }

    fn store_blocks(&mut self, number: u32, at: u64, window: &[u8], stored: &[StoredBlock]) -> Result<(), BackupError> {
        let mut prints = Vec::with_capacity(window.len() / BLOCK_BYTES as usize + 1);
        let mut changed = 0;
        for (index, block) in window.chunks(BLOCK_BYTES as usize).enumerate() {
            let print = if is_zero(block) { None } else { Some(self.capture.repository.block_fingerprint(block)) };
            let kept = stored.get(index).filter(|old| self.is_same(old, block.len(), print)).map(|old| old.source);
            changed += usize::from(kept.is_none());
            prints.push((print, kept));
        }
        let whole =
            window.len() == CHUNK_BYTES_MAX && changed == prints.len() && prints.iter().any(|(p, _)| p.is_some());
        if whole {
            // The window is a chunk as it stands: cut in the same place every time, so that a second full backup
            // finds it again.
            let all: Vec<u64> = prints
                .iter()
                .zip(window.chunks(BLOCK_BYTES as usize))
                .map(|((print, _), block)| print.unwrap_or_else(|| self.capture.repository.block_fingerprint(block)))
                .collect();
            let id = self.writer.put_pages(window, &all)?;
            self.result.bytes_changed += window.len() as u64;
            let source = Source::Chunk { id, offset: 0 };
            self.extent(number, Extent { offset: at, length: window.len() as u32, source });
            return Ok(());
        }
        for (index, block) in window.chunks(BLOCK_BYTES as usize).enumerate() {
            let offset = at + index as u64 * BLOCK_BYTES;
            match prints[index] {
                (_, Some(source)) => self.extent(number, Extent { offset, length: block.len() as u32, source }),
                (None, None) => {
                    self.extent(number, Extent { offset, length: block.len() as u32, source: Source::Zero });
                }
                (Some(print), None) => self.gather(number, offset, block, print)?,
            }
        }
        Ok(())
    }

    fn is_same(&self, old: &StoredBlock, length: usize, print: Option<u64>) -> bool {
        let same = old.length as usize == length
            && match old.source {
                Source::Zero => print.is_none(),
                Source::Chunk { .. } => print.is_some() && old.fingerprint == print,
            };
        same && self.is_known(&old.source)
    }

    /// A chunk that some location lacks is stored anew: the point must be whole everywhere.
    fn is_known(&self, source: &Source) -> bool {
        match source {
            Source::Zero => true,
            Source::Chunk { id, .. } => self.capture.session.is_known(id),
        }
    }

    fn gather(&mut self, number: u32, offset: u64, block: &[u8], print: u64) -> Result<(), BackupError> {
        let place = self.gathered.len() as u32;
        self.gathered.extend_from_slice(block);
        // Blocks stay aligned in their chunk; the padding of a short one compresses to nothing.
        self.gathered.resize(place as usize + BLOCK_BYTES as usize, 0);
        self.fingerprints.push(print);
        self.waiting.push((number, offset, block.len() as u32, place));
        self.result.bytes_changed += block.len() as u64;
        if self.gathered.len() + BLOCK_BYTES as usize > CHUNK_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let id = self.writer.put_pages(&self.gathered, &self.fingerprints)?;
        for (number, offset, length, place) in std::mem::take(&mut self.waiting) {
            self.extent(number, Extent { offset, length, source: Source::Chunk { id, offset: place } });
        }
        self.gathered.clear();
        self.fingerprints.clear();
        Ok(())
    }

    fn extent(&mut self, number: u32, extent: Extent) {
        if let Some((last_number, last)) = self.result.extents.last_mut()
            && *last_number == number
            && last.continues_into(&extent)
        {
            last.length += extent.length;
            return;
        }
        self.result.extents.push((number, extent));
    }

    fn finish(mut self) -> Result<Captured, BackupError> {
        self.flush()?;
        self.result.bytes_new = self.writer.finish()?;
        Ok(self.result)
    }
}

/// None when it is gone.
fn open(found: &Found) -> Result<Option<File>, BackupError> {
    match File::open(&found.absolute) {
        Ok(file) => {
            throttle::read_once(&file);
            Ok(Some(file))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(BackupError::read(with_path(error, &found.absolute))),
    }
}

fn is_zero(block: &[u8]) -> bool {
    // Most blocks differ in their first bytes; the rest is compared in long steps.
    block.first() == Some(&0) && block.iter().all(|byte| *byte == 0)
}

/// Reads until the buffer is full or the file ends.
fn read_full(file: &File, buffer: &mut [u8], at: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
