//! Storing files that arrive as a stream: the same decisions as for files that are read, made by several workers on
//! pieces that somebody else puts before them.
//!
//! One reads the stream and cuts it into windows; the workers check pages, compare with the baseline, compress and
//! seal. Only so many windows wait as the channel holds, so memory doesn't depend on the size of the cluster.

use super::{Capture, Captured, Worker};
use crate::postgres::BackupError;
use crate::postgres::scan::Found;
use lifeboat_postgres::layout::FileKind;
use lifeboat_repository::CHUNK_BYTES_MAX;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// Part of one file, inside a window.
#[derive(Debug)]
pub struct Piece {
    /// Number of the file.
    pub number: u32,
    /// The file.
    pub found: Arc<Found>,
    /// Where in the file.
    pub offset: u64,
    /// Where in the window.
    pub at: usize,
    /// How long.
    pub length: usize,
}

/// What a worker gets at once: one window of a long file, or several short files.
#[derive(Debug, Default)]
pub struct Window {
    /// The parts.
    pub pieces: Vec<Piece>,
    /// Their bytes, at most [`CHUNK_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

impl Capture<'_> {
    /// Stores what comes until the sender is gone. The first error closes the channel, so that the sender notices.
    pub fn run_arriving(&self, workers: usize, windows: mpsc::Receiver<Window>) -> Result<Captured, BackupError> {
        let (windows, total) = (Mutex::new(windows), Mutex::new(Captured::default()));
        let failure: Mutex<Option<BackupError>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(|| match self.work_arriving(&windows) {
                    Ok(done) => total.lock().unwrap_or_else(PoisonError::into_inner).add(done),
                    Err(error) => {
                        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        windows.lock().unwrap_or_else(PoisonError::into_inner).close();
                    }
                });
            }
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let mut captured = total.into_inner().unwrap_or_else(PoisonError::into_inner);
        captured.extents.sort_unstable_by_key(|(file, extent)| (*file, extent.offset));
        captured.bad_pages.sort();
        Ok(captured)
    }

    fn work_arriving(&self, windows: &Mutex<mpsc::Receiver<Window>>) -> Result<Captured, BackupError> {
        let mut worker = Worker {
            capture: self,
            writer: self.session.writer()?,
            buffer: Vec::new(),
            gathered: Vec::with_capacity(CHUNK_BYTES_MAX),
            fingerprints: Vec::new(),
            waiting: Vec::new(),
            result: Captured::default(),
        };
        loop {
            let window = windows.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            let Some(window) = window else { break };
            for piece in &window.pieces {
                worker.store_piece(piece, &window.bytes[piece.at..piece.at + piece.length])?;
            }
        }
        worker.finish()
    }
}

impl Worker<'_> {
    fn store_piece(&mut self, piece: &Piece, bytes: &[u8]) -> Result<(), BackupError> {
        let found = &piece.found;
        if let (Some(checker), Some(FileKind::Relation(relation))) = (&self.capture.checker, &found.file_kind) {
            self.result.bad_pages.extend(checker.check_once(&found.path, relation, piece.offset, bytes));
        }
        let stored = match self.capture.baseline {
            Some(baseline) => baseline.blocks(&found.path, piece.offset, bytes.len() as u64)?,
            None => Vec::new(),
        };
        self.store_blocks(piece.number, piece.offset, bytes, &stored)?;
        self.result.bytes_read += bytes.len() as u64;
        Ok(())
    }
}

impl Captured {
    fn add(&mut self, other: Self) {
        self.extents.extend(other.extents);
        self.bad_pages.extend(other.bad_pages);
        self.bytes_read += other.bytes_read;
        self.bytes_changed += other.bytes_changed;
        self.bytes_new += other.bytes_new;
    }
}
