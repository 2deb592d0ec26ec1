//! How what was fetched gets into the file: while nobody is kept from the rest of it.
//!
//! Promise: what somebody wrote is never written over, and what is being written is here for nobody before it is whole.

use super::{LazyFile, State, make_zero};
use crate::blocks::{BLOCK_BYTES, blocks_of};
use crate::part::PartInMemory;
use crate::source::Piece;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{MutexGuard, PoisonError};

/// So much is written in one go: who writes to it waits.
const WRITE_BLOCKS_MAX: u64 = 1024 * 1024 / BLOCK_BYTES;

impl LazyFile {
    /// Writes what of a part isn't here by now. False when something of it didn't come.
    pub(super) fn write_part(
        &self,
        file: &File,
        direct: Option<&File>,
        part: &PartInMemory<'_>,
        run: &Range<u64>,
    ) -> io::Result<bool> {
        let next = |state: &State| {
            let absent = state.local.missing(run.clone());
            let came = absent.iter().flat_map(|run| part.came(run)).next()?;
            Some(came.start..came.end.min(came.start + WRITE_BLOCKS_MAX))
        };
        self.land_each(file, true, next, |bytes| part.write(file, direct, bytes))?;
        Ok(self.lock().local.missing(run.clone()).is_empty())
    }

    /// Takes what was fetched, as far as nothing else is there.
    pub(super) fn fill(&self, file: &File, offset: u64, piece: Piece<'_>) -> io::Result<()> {
        let next = |state: &State| {
            let end = (offset + piece.length()).min(state.origin_bytes);
            // Whole blocks only; the last one of the file is whole when the file ends in it.
            let last = if end == state.origin_bytes { blocks_of(end) } else { end / BLOCK_BYTES };
            let first = offset.div_ceil(BLOCK_BYTES);
            state.local.missing(first..last.max(first)).first().cloned()
        };
        let write = |bytes: &Range<u64>| match piece.part(bytes.start - offset..bytes.end - offset) {
            Piece::Bytes(part) => file.write_all_at(part, bytes.start),
            Piece::Zeros(_) => make_zero(file, bytes),
        };
        self.land_each(file, matches!(piece, Piece::Bytes(_)), next, write)
    }

    /// Writes blocks that came, as long as `next` says which of those that aren't here. Meanwhile others read the file, and write to it; but nobody
    /// writes to what is being written just now, or cuts it off.
    fn land_each(
        &self,
        file: &File,
        takes_room: bool,
        next: impl Fn(&State) -> Option<Range<u64>>,
        write: impl Fn(&Range<u64>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        while let Some(run) = next(&state) {
            // Somebody else has the same. Twice would be once too often: by then it may have been written over.
            if state.is_landing(&run) {
                state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let (bytes, is_last) = (state.bytes_of(&run), state.bytes_of(&run).end == state.origin_bytes);
            state.landing.push(run.clone());
            drop(state);
            let mut written = write(&bytes);
            if is_last {
                written = written.and_then(|()| clear_behind(file, bytes.end));
            }
            state = self.lock();
            state.landing.retain(|landing| *landing != run);
            self.settled.notify_all();
            written?;
            if takes_room {
                state.takes_room(&run);
            }
            state.arrived(run);
        }
        Ok(())
    }

    /// Locked, when nothing that came is just being written to these blocks.
    pub(super) fn lock_when_landed(&self, blocks: &Range<u64>) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.is_landing(blocks) {
            state = self.settled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl State {
    fn is_landing(&self, blocks: &Range<u64>) -> bool {
        self.landing.iter().any(|landing| landing.start < blocks.end && blocks.start < landing.end)
    }
}

/// Makes the rest of a file's last block zero, if the file became longer: whoever wrote there brought the block first, so what lies there
/// is of a write that a crash undid.
fn clear_behind(file: &File, end: u64) -> io::Result<()> {
    let rest = end..end.next_multiple_of(BLOCK_BYTES).min(file.metadata()?.len());
    if rest.is_empty() { Ok(()) } else { make_zero(file, &rest) }
}

#[cfg(test)]
mod tests {
    use super::super::Written;
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::Duration;

    const BLOCK: usize = BLOCK_BYTES as usize;

    #[test]
    fn only_who_writes_to_what_is_landing_waits() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::options().read(true).write(true).create_new(true).open(directory.path().join("file")).unwrap();
        file.set_len(8 * BLOCK_BYTES).unwrap();
        let lazy = LazyFile::new(1, 8 * BLOCK_BYTES);
        let (landing, is_landing) = channel();
        let (go_on, goes_on) = channel::<()>();
        let goes_on = std::sync::Mutex::new(goes_on);
        let landed = AtomicUsize::new(0);
        // The same four blocks, by two who fetched them.
        let land = || {
            let next = |state: &State| state.local.missing(0..4).first().cloned();
            lazy.land_each(&file, true, next, |bytes| {
                landed.fetch_add(1, Ordering::Relaxed);
                landing.send(()).unwrap();
                goes_on.lock().unwrap().recv().unwrap();
                file.write_all_at(&vec![1; (bytes.end - bytes.start) as usize], bytes.start)
            })
        };
        std::thread::scope(|scope| {
            let one = scope.spawn(land);
            is_landing.recv().unwrap();
            assert_eq!(lazy.missing(0..8 * BLOCK_BYTES).len(), 1, "nothing of it is here yet");
            assert_eq!(lazy.write(&file, 4 * BLOCK_BYTES, &[2; BLOCK]).unwrap(), Written::Whole, "others go on");
            let two = scope.spawn(land);
            let over = scope.spawn(|| lazy.write(&file, BLOCK_BYTES, &[3; BLOCK]));
            // Nothing can tell that they wait; only that they do not return, if they are given the time.
            std::thread::sleep(Duration::from_millis(50));
            assert!(!over.is_finished() && !two.is_finished());
            go_on.send(()).unwrap();
            one.join().unwrap().unwrap();
            assert_eq!(over.join().unwrap().unwrap(), Written::Whole);
            two.join().unwrap().unwrap();
        });
        assert_eq!(landed.into_inner(), 1, "what was written over would have come back");
        let mut found = vec![0; 5 * BLOCK];
        file.read_exact_at(&mut found, 0).unwrap();
        let expected: Vec<u8> = [1, 3, 1, 1, 2].into_iter().flat_map(|byte| [byte; BLOCK]).collect();
        assert!(found == expected);
    }
}
