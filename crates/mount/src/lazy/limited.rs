//! A file of which only so much is kept: what was written to it, and of what came as much as there is room for.
//!
//! Promise: a block that was written is never given up. One that only came is given up while nobody reads it, waits for it or writes
//! to a part of it; whoever wants it next fetches it again. It is forgotten before its bytes go, both under the file's lock, and who reads
//! holds what he reads from before he looks whether it is here: so nobody ever reads the hole that is left.
//!
//! Such a file is never whole, whatever came of it, and nothing of it is recorded: who ends leaves nothing to come back to.

use super::{AHEAD_BLOCKS_MAX, LazyFile, State, make_hole};
use crate::blocks::{BLOCK_BYTES, BlockSet, blocks_of};
use crate::journal::FileNumber;
use crate::limit::Limit;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// What is known beside what is here.
#[derive(Debug)]
pub(super) struct Limited {
    number: FileNumber,
    limit: Arc<Limit>,
    /// Blocks that the source can't give again.
    pub(super) written: BlockSet,
    /// Blocks that somebody reads or waits for. The same may be there twice.
    held: Vec<Range<u64>>,
}

impl Limited {
    pub(super) fn ahead_blocks_max(&self) -> u64 {
        AHEAD_BLOCKS_MAX.min(self.limit.ahead_bytes_max() / BLOCK_BYTES)
    }
}

impl State {
    /// These blocks came, and take room on the disk.
    pub(super) fn takes_room(&self, run: &Range<u64>) {
        if let Some(limited) = &self.limited {
            limited.limit.came(limited.number, run.clone());
        }
    }
}

/// Blocks that stay while this is there.
#[derive(Debug)]
pub struct Held<'a> {
    file: &'a LazyFile,
    /// None where nothing is ever given up.
    blocks: Option<Range<u64>>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Some(blocks) = &self.blocks else { return };
        if let Some(limited) = &mut self.file.lock().limited
            && let Some(at) = limited.held.iter().position(|held| held == blocks)
        {
            limited.held.swap_remove(at);
        }
    }
}

impl LazyFile {
    /// The same, of which from now on only so much is kept as there is room for.
    pub fn limited(mut self, limit: Arc<Limit>) -> Self {
        let (number, state) = (self.number, self.state.get_mut().unwrap_or_else(PoisonError::into_inner));
        // What an earlier mount brought may have been written there since.
        let written = state.local.clone();
        state.limited = Some(Limited { number, limit, written, held: Vec::new() });
        self.is_limited = true;
        self
    }

    /// Whether only so much of it is kept as there is room for.
    pub fn is_limited(&self) -> bool {
        self.is_limited
    }

    /// Keeps the blocks that `range` touches, here or on their way, from being given up. First held, then looked at.
    pub fn hold(&self, range: Range<u64>) -> Held<'_> {
        if !self.is_limited {
            return Held { file: self, blocks: None };
        }
        let blocks = range.start / BLOCK_BYTES..blocks_of(range.end);
        if let Some(limited) = &mut self.lock().limited {
            limited.held.push(blocks.clone());
        }
        Held { file: self, blocks: Some(blocks) }
    }

    /// Bytes of it that were written here, in whole blocks.
    pub fn written_bytes(&self) -> u64 {
        self.lock().limited.as_ref().map_or(0, |limited| limited.written.count() * BLOCK_BYTES)
    }

    /// Gives these blocks up, as far as they only came. Returns those that somebody needs just now: they stay.
    pub fn give_up(&self, file: &File, run: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let mut state = self.lock();
        let Some(limited) = &state.limited else { return Ok(Vec::new()) };
        let (mut stay, mut go) = (Vec::new(), Vec::new());
        for block in run.start..run.end.min(state.local.blocks()) {
            if !state.local.contains(block) || limited.written.contains(block) {
                continue;
            }
            // Whoever waits for what is being fetched holds it.
            let is_needed = limited.held.iter().any(|run| run.contains(&block));
            add(if is_needed { &mut stay } else { &mut go }, block);
        }
        for run in go {
            let bytes = state.bytes_of(&run);
            state.local.remove(run);
            make_hole(file, &bytes)?;
        }
        Ok(stay)
    }
}

/// Adds a block to runs that lie before it.
fn add(runs: &mut Vec<Range<u64>>, block: u64) {
    match runs.last_mut() {
        Some(last) if last.end == block => last.end = block + 1,
        _ => runs.push(block..block + 1),
    }
}
