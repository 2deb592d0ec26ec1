//! Files of which only so much is kept as there is room for: for who reads everything once, and throws it away.
//!
//! Such an overlay is never come back to: nothing is recorded, no file is ever whole, and what is left is to be removed.

use super::Overlay;
use crate::journal::FileNumber;
use crate::limit::Limit;
use std::io;
use std::ops::Range;
use std::sync::{Arc, PoisonError};

/// What lies here of files of which only so much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kept {
    /// The most that lay here at once of what could have been fetched again, in bytes.
    pub came_bytes_max: u64,
    /// What was written to blocks that could have been fetched, in bytes.
    pub written_bytes: u64,
    /// The disk gave no room back, so all that came is still here.
    pub is_all: bool,
}

impl Overlay {
    /// From now on no more than so many bytes of what comes are kept, beside what is written. Before it is mounted.
    pub fn limited(mut self, bytes_max: u64) -> Self {
        let limit = Arc::new(Limit::new(bytes_max));
        let files = self.files.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (number, coming) in &mut files.by_number {
            if let Some(file) = Arc::get_mut(&mut coming.file) {
                let whole = std::mem::replace(file, crate::lazy::LazyFile::new(*number, 0));
                *file = whole.limited(limit.clone());
            }
        }
        self.limit = Some(limit);
        self
    }

    /// What is kept. None when everything is.
    pub fn kept(&self) -> Option<Kept> {
        let limit = self.limit.as_ref()?;
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let written_bytes = files.by_number.values().map(|coming| coming.file.written_bytes()).sum();
        Some(Kept { came_bytes_max: limit.most_bytes(), written_bytes, is_all: limit.is_off() })
    }

    /// Gives up the oldest of what came, as far as there is too much and nobody needs it.
    pub(super) fn make_room(&self) {
        let Some(limit) = &self.limit else { return };
        // Once around: what is needed just now goes to the end.
        for _ in 0..limit.runs() {
            let Some((number, run)) = limit.too_many() else { return };
            match self.give_up(number, run) {
                Ok(needed) => needed.into_iter().for_each(|run| limit.came(number, run)),
                Err(error) => {
                    tracing::warn!(%error, "the disk gives no room back: all that comes is kept");
                    limit.turn_off();
                }
            }
        }
    }

    fn give_up(&self, number: FileNumber, run: Range<u64>) -> io::Result<Vec<Range<u64>>> {
        let Some((coming, file)) = self.open_coming(number)? else { return Ok(Vec::new()) };
        coming.file.give_up(&file, run)
    }
}
