//! One file that is still coming: what of it is here, and how more of it comes.
//!
//! Blocks come in two ways: a write brings its own, a fetch those that nothing else brought. While those are written, a write to the same
//! blocks waits, so a fetch never lays old content over new; everybody else goes on. What is here is known in memory first and in the
//! journal when the file is synced; between the two, a crash forgets the block, and it is fetched again as if the write had never been.
//! That is what PostgreSQL expects of any file system.

mod landing;
mod limited;
mod reads;

pub use limited::Held;
pub use reads::READS_UNIT_BYTES;

use crate::blocks::{BLOCK_BYTES, BlockSet, blocks_of};
use crate::journal::{FileNumber, Journal, Record, is_full};
use crate::overlay::read_full;
use crate::part::PartRoom;
use crate::source::{Source, SourceError};
use limited::Limited;
use reads::Reads;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Who reads one block after the other gets more and more of what follows, up to this.
const AHEAD_BLOCKS_MAX: u64 = 8 * 1024 * 1024 / BLOCK_BYTES;
const AHEAD_BLOCKS_FIRST: u64 = 32;

/// A file that is still coming. Every function is given the same file, open for reading and writing.
#[derive(Debug)]
pub struct LazyFile {
    number: FileNumber,
    /// See [`limited`].
    is_limited: bool,
    reads: Reads,
    state: Mutex<State>,
    /// Held through a whole sync: who syncs must not return while another one still brings to the journal what both cover.
    syncing: Mutex<()>,
    /// Something that was coming is here, or won't be.
    settled: Condvar,
}

#[derive(Debug)]
struct State {
    /// What lies behind was never in the point, or was cut off since: there is nothing to fetch there.
    origin_bytes: u64,
    local: BlockSet,
    /// Local, and not in the journal yet.
    unrecorded: Vec<Range<u64>>,
    /// Being fetched.
    coming: Vec<Range<u64>>,
    /// Being written, of what was fetched. None of it is local yet.
    landing: Vec<Range<u64>>,
    ahead: Ahead,
    /// It was cut, and the journal had no room to say so.
    owes_shortened: bool,
    /// A sync failed: nobody knows what reached the disk, and a second sync would not tell.
    is_broken: bool,
    /// Only so much of what comes is kept, and nothing is recorded.
    limited: Option<Limited>,
}

/// Whether somebody reads in order.
#[derive(Debug, Default)]
struct Ahead {
    end: u64,
    blocks: u64,
}

/// Why a part of a file can't be had.
#[derive(Debug, thiserror::Error)]
pub enum BringError {
    /// The source did not give it.
    #[error("fetch {bytes:?} of {name}")]
    Source {
        /// Which file, as people call it.
        name: String,
        /// Which bytes of it.
        bytes: Range<u64>,
        /// Why.
        #[source]
        source: SourceError,
    },
    /// The local disk.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl BringError {
    /// Whether it was there, and the local disk did not take it.
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Io(_))
    }

    /// With all its causes.
    pub fn in_words(&self) -> String {
        let mut sentence = self.to_string();
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            sentence.push_str(&format!(": {cause}"));
            next = cause.source();
        }
        sentence
    }
}

/// What came of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    /// It is done.
    Whole,
    /// These bytes must be here first: the write covers only parts of their blocks.
    Needs(Vec<Range<u64>>),
}

impl LazyFile {
    /// A file of so many bytes, none of which is here.
    pub fn new(number: FileNumber, origin_bytes: u64) -> Self {
        Self::recalled(number, origin_bytes, BlockSet::new(blocks_of(origin_bytes)))
    }

    /// A file of which the journal says that these blocks are here.
    pub fn recalled(number: FileNumber, origin_bytes: u64, local: BlockSet) -> Self {
        let (unrecorded, coming, landing, ahead) = Default::default();
        let (owes_shortened, is_broken, limited) = Default::default();
        let state =
            State { origin_bytes, local, unrecorded, coming, landing, ahead, owes_shortened, is_broken, limited };
        let (is_limited, reads, syncing, settled) = Default::default();
        Self { number, is_limited, reads, state: Mutex::new(state), syncing, settled }
    }

    /// Its number.
    pub fn number(&self) -> FileNumber {
        self.number
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are here, and bytes in all, of what was in the point.
    pub fn progress(&self) -> (u64, u64) {
        let state = self.lock();
        ((state.local.count() * BLOCK_BYTES).min(state.origin_bytes), state.origin_bytes)
    }

    /// Whether all of it is here, and the journal says so.
    pub fn is_whole(&self) -> bool {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.lock();
        state.is_recorded() && !state.is_broken
    }

    /// Whether something came that isn't in the journal.
    pub fn is_unsettled(&self) -> bool {
        let state = self.lock();
        !state.unrecorded.is_empty() || state.owes_shortened
    }

    /// The byte ranges in `range` that are not here.
    pub fn missing(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let state = self.lock();
        let runs = state.local.missing(range.start / BLOCK_BYTES..blocks_of(range.end));
        runs.into_iter().map(|run| state.bytes_of(&run)).collect()
    }

    /// Reads what is here. None when something of it isn't. Less than asked for at the file's end. Who reads asks this first, so this is
    /// where reads are noted.
    pub fn read_here(&self, file: &File, offset: u64, room: &mut [u8]) -> io::Result<Option<usize>> {
        self.reads.note(offset, room.len() as u64);
        let range = offset..offset + room.len() as u64;
        let _held = self.hold(range.clone());
        if !self.missing(range).is_empty() {
            return Ok(None);
        }
        read_full(file, offset, room).map(Some)
    }

    /// Brings what is missing of `range`, and more of what follows when it is read in order. Returns when it is here.
    pub fn bring_for_read(&self, file: &File, range: Range<u64>, source: &dyn Source) -> Result<(), BringError> {
        let wanted = {
            let mut state = self.lock();
            let first =
                state.local.missing(range.start / BLOCK_BYTES..blocks_of(range.end)).first().map(|run| run.start);
            let most = state.limited.as_ref().map_or(AHEAD_BLOCKS_MAX, Limited::ahead_blocks_max);
            let ahead = first.map_or(0, |first| state.ahead.seen(first, blocks_of(range.end), most));
            range.start..range.end.max(ahead * BLOCK_BYTES)
        };
        self.bring(file, wanted, source)
    }

    /// Brings what is missing of `range`. Returns when it is here.
    pub fn bring(&self, file: &File, range: Range<u64>, source: &dyn Source) -> Result<(), BringError> {
        let blocks = range.start / BLOCK_BYTES..blocks_of(range.end);
        let _held = self.hold(range);
        let mut state = self.lock();
        loop {
            let missing = state.local.missing(blocks.clone());
            if missing.is_empty() {
                return Ok(());
            }
            let Some(run) = missing.iter().find_map(|run| first_free(run, &state.coming)) else {
                // Somebody else fetches all of it.
                state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let bytes = state.bytes_of(&run);
            state.coming.push(run.clone());
            drop(state);
            let mut refused = None;
            let fetched = source.fetch(self.number, bytes.clone(), &mut |offset, piece| {
                self.fill(file, offset, piece).inspect_err(|error| refused = error.raw_os_error())
            });
            state = self.lock();
            state.coming.retain(|coming| *coming != run);
            self.settled.notify_all();
            let failed = |why| BringError::Source { name: source.name_of(self.number), bytes, source: why };
            match (fetched, refused) {
                // It was there, and the local disk did not take it.
                (Err(_), Some(code)) => return Err(io::Error::from_raw_os_error(code).into()),
                (fetched, _) => fetched.map_err(failed.clone())?,
            }
            if !state.local.missing(run).is_empty() {
                return Err(failed("it was not delivered".into()));
            }
        }
    }

    /// As [`Self::bring`], for a part of which hardly anything is here, and for which nobody waits: it is put together in memory, and
    /// written around the page cache where `direct` can. What is just being fetched by others is left to them.
    pub fn bring_part(
        &self,
        (file, direct): (&File, Option<&File>),
        range: Range<u64>,
        source: &dyn Source,
        room: &mut PartRoom,
    ) -> Result<(), BringError> {
        let (run, bytes) = {
            let mut state = self.lock();
            let missing = state.local.missing(range.start / BLOCK_BYTES..blocks_of(range.end));
            let Some(run) = missing.iter().find_map(|run| first_free(run, &state.coming)) else { return Ok(()) };
            state.coming.push(run.clone());
            (run.clone(), state.bytes_of(&run))
        };
        let mut part = room.begin(bytes.clone());
        let mut refused = None;
        let fetched = source.fetch(self.number, bytes.clone(), &mut |offset, piece| {
            let outside = part.take(offset, piece);
            let mut fill = outside.into_iter().flatten().map(|(offset, piece)| self.fill(file, offset, piece));
            fill.try_for_each(|filled| filled.inspect_err(|error| refused = error.raw_os_error()))
        });
        // Also when the rest of it failed: what came needn't come again.
        let written = self.write_part(file, direct, &part, &run);
        let mut state = self.lock();
        state.coming.retain(|coming| *coming != run);
        self.settled.notify_all();
        drop(state);
        let failed = |why| BringError::Source { name: source.name_of(self.number), bytes, source: why };
        match (fetched, refused) {
            (Err(_), Some(code)) => return Err(io::Error::from_raw_os_error(code).into()),
            (fetched, _) => fetched.map_err(failed.clone())?,
        }
        if written? { Ok(()) } else { Err(failed("it was not delivered".into())) }
    }

    /// Writes. What of a block isn't written over must be here.
    pub fn write(&self, file: &File, offset: u64, data: &[u8]) -> io::Result<Written> {
        let end = offset + data.len() as u64;
        let mut state = self.lock_when_landed(&(offset / BLOCK_BYTES..blocks_of(end)));
        let needed = state.cut_by(offset, end);
        if !needed.is_empty() {
            return Ok(Written::Needs(needed.iter().map(|run| state.bytes_of(run)).collect()));
        }
        file.write_all_at(data, offset)?;
        state.written(offset / BLOCK_BYTES..blocks_of(end));
        Ok(Written::Whole)
    }

    /// Sets the file's length. What is cut off never comes back.
    pub fn set_length(&self, file: &File, bytes: u64, journal: &Journal) -> io::Result<()> {
        // What a sync took is neither unrecorded nor in the journal until it ends.
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let cut = bytes / BLOCK_BYTES..u64::MAX;
        {
            let mut state = self.lock_when_landed(&cut);
            if bytes >= state.origin_bytes || state.is_recorded() || state.limited.is_some() {
                state.shorten(bytes);
                return file.set_len(bytes);
            }
        }
        // Who reads or writes goes on while the disk is waited for. A crash from here on cuts the file, and nobody was promised anything
        // that is lost by this: a sync waits.
        journal.append(&[Record::Shortening { number: self.number, bytes }])?;
        let cut = {
            let mut state = self.lock_when_landed(&cut);
            state.shorten(bytes);
            file.set_len(bytes)
        };
        // Its length and the journal disagree until both are durable: see [`finish_shortening`].
        let durable = cut.and_then(|()| file.sync_all());
        let is_cut = durable.is_ok();
        let said = durable.and_then(|()| journal.append(&[Record::Shortened { number: self.number }]));
        let mut state = self.lock();
        match said {
            // The next sync says it, before it promises anything.
            Err(error) if is_cut && is_full(&error) => state.owes_shortened = true,
            Err(error) => {
                state.is_broken = true;
                return Err(error);
            }
            Ok(()) => state.owes_shortened = false,
        }
        Ok(())
    }

    /// Makes what was written durable, then what the journal says of it. Returns whether all of the file is here, and the journal
    /// says so.
    pub fn sync(&self, file: &File, journal: &Journal) -> io::Result<bool> {
        let _syncing = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let (runs, owes_shortened) = {
            let mut state = self.lock();
            if state.is_broken {
                return Err(io::Error::other("an earlier sync failed: what reached the disk is not known"));
            }
            (merged(std::mem::take(&mut state.unrecorded)), state.owes_shortened)
        };
        if self.is_limited() {
            file.sync_data().inspect_err(|_| self.lock().is_broken = true)?;
            return Ok(false);
        }
        let local = |blocks: &Range<u64>| Record::Local { number: self.number, blocks: blocks.clone() };
        let shortened = owes_shortened.then_some(Record::Shortened { number: self.number });
        let records: Vec<Record> = shortened.into_iter().chain(runs.iter().map(local)).collect();
        let synced = file.sync_data();
        let is_synced = synced.is_ok();
        let done = synced.and_then(|()| journal.append(&records));
        let mut state = self.lock();
        match done {
            // Nothing is promised, and nothing is lost: it can be said when there is room.
            Err(error) if is_synced && is_full(&error) => {
                state.unrecorded.extend(runs);
                return Err(error);
            }
            Err(error) => {
                state.is_broken = true;
                return Err(error);
            }
            Ok(()) => state.owes_shortened = false,
        }
        Ok(state.is_recorded() && !state.is_broken)
    }
}

/// Cuts a file off whose journal says that it is to be cut, and says that it was.
pub fn finish_shortening(file: &File, number: FileNumber, bytes: u64, journal: &Journal) -> io::Result<()> {
    file.set_len(bytes)?;
    file.sync_all()?;
    journal.append(&[Record::Shortened { number }])
}

impl State {
    /// Only between syncs.
    fn is_recorded(&self) -> bool {
        self.local.is_full() && self.unrecorded.is_empty() && !self.owes_shortened && self.limited.is_none()
    }

    fn bytes_of(&self, run: &Range<u64>) -> Range<u64> {
        run.start * BLOCK_BYTES..(run.end * BLOCK_BYTES).min(self.origin_bytes)
    }

    fn arrived(&mut self, run: Range<u64>) {
        self.local.insert(run.clone());
        if self.limited.is_none() {
            self.unrecorded.push(run);
        }
    }

    /// As [`Self::arrived`], for what may be here already.
    fn written(&mut self, run: Range<u64>) {
        if let Some(limited) = &mut self.limited {
            limited.written.insert(run.clone());
        }
        for run in self.local.missing(run) {
            self.arrived(run);
        }
    }

    /// Blocks that aren't here, and of which only a part lies between two offsets.
    fn cut_by(&self, start: u64, end: u64) -> Vec<Range<u64>> {
        let is_cut = |block: u64| {
            let bytes = self.bytes_of(&(block..block + 1));
            block < self.local.blocks() && !self.local.contains(block) && (start > bytes.start || end < bytes.end)
        };
        let (first, last) = (start / BLOCK_BYTES, end.saturating_sub(1) / BLOCK_BYTES);
        let mut blocks = vec![first];
        blocks.extend((last != first).then_some(last));
        blocks.into_iter().filter(|block| is_cut(*block)).map(|block| block..block + 1).collect()
    }

    fn shorten(&mut self, bytes: u64) {
        if bytes >= self.origin_bytes {
            return;
        }
        let blocks = blocks_of(bytes);
        self.origin_bytes = bytes;
        self.local.shorten(blocks);
        if let Some(limited) = &mut self.limited {
            limited.written.shorten(blocks);
        }
        self.unrecorded.retain_mut(|run| {
            run.end = run.end.min(blocks);
            run.start < run.end
        });
    }
}

impl Ahead {
    /// Somebody misses block `first`, and reads up to `end`. Returns up to where it should be brought.
    fn seen(&mut self, first: u64, end: u64, most: u64) -> u64 {
        // What comes may reach somewhat further than what was asked for.
        let is_next = self.end > 0 && (self.end..=self.end + AHEAD_BLOCKS_FIRST).contains(&first);
        self.blocks = if is_next { (self.blocks * 2).max(AHEAD_BLOCKS_FIRST).min(most) } else { 0 };
        self.end = end.max(first + self.blocks);
        self.end
    }
}

/// The first part of a run that is in none of the others.
fn first_free(run: &Range<u64>, others: &[Range<u64>]) -> Option<Range<u64>> {
    let mut start = run.start;
    while let Some(over) = others.iter().find(|other| other.contains(&start)) {
        start = over.end;
    }
    let end = others.iter().map(|other| other.start).filter(|other| *other > start).min();
    let end = end.map_or(run.end, |end| end.min(run.end));
    (start < end).then_some(start..end)
}

/// Runs in order, those that touch joined.
fn merged(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    runs.sort_unstable_by_key(|run| run.start);
    let mut out: Vec<Range<u64>> = Vec::new();
    for run in runs {
        match out.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => out.push(run),
        }
    }
    out
}

/// Zeros, where something from before a crash may lie: a hole if the file system can make one.
fn make_zero(file: &File, bytes: &Range<u64>) -> io::Result<()> {
    if make_hole(file, bytes).is_ok() {
        return Ok(());
    }
    let zeros = [0; 64 * 1024];
    let mut at = bytes.start;
    while at < bytes.end {
        let length = (bytes.end - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..length], at)?;
        at += length as u64;
    }
    Ok(())
}

/// Zeros that take no room.
fn make_hole(file: &File, bytes: &Range<u64>) -> io::Result<()> {
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, hole, bytes.start, bytes.end - bytes.start)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_waits_for_the_one_that_took_what_it_covers() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::create(&directory.path().join("journal"), &[]).unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(directory.path().join("file")).unwrap();
        let lazy = LazyFile::new(1, 10 * BLOCK_BYTES);
        assert_eq!(lazy.write(&file, 0, &[1; BLOCK_BYTES as usize]).unwrap(), Written::Whole);
        std::thread::scope(|scope| {
            let held = journal.hold();
            let first = scope.spawn(|| lazy.sync(&file, &journal));
            while lazy.is_unsettled() {
                std::thread::yield_now();
            }
            // All that it covers is on its way to the journal, and not there.
            let second = scope.spawn(|| lazy.sync(&file, &journal));
            // Nothing can tell that it waits; only that it does not return, if it is given the time.
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert!(!second.is_finished());
            drop(held);
            first.join().unwrap().unwrap();
            second.join().unwrap().unwrap();
        });
    }

    #[test]
    fn parts_that_somebody_else_fetches_are_left_out() {
        let run = |(start, end): (u64, u64)| start..end;
        let cases = [
            (vec![], Some((10, 20))),
            (vec![(0, 12)], Some((12, 20))),
            (vec![(15, 30)], Some((10, 15))),
            (vec![(5, 12), (12, 14), (18, 19)], Some((14, 18))),
            (vec![(5, 15), (15, 25)], None),
        ];
        for (others, expected) in cases {
            let runs: Vec<Range<u64>> = others.iter().copied().map(run).collect();
            assert_eq!(first_free(&(10..20), &runs), expected.map(run), "{others:?}");
        }
        assert_eq!(merged(vec![5..7, 0..2, 2..3, 6..9]), [0..3, 5..9]);
    }
}
