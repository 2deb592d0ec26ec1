//! What a point's source gave to a mount, and what it could not give.
//!
//! The server that asks is told no more than "input/output error", and the program that looks on must know why: what is lost or damaged is
//! a fact about the point, and a location that doesn't answer is none. After one of those nothing more is asked for: all that is found from then on
//! would be about the location, and each question may take its time.

use crate::error::RecoveryError;
use crate::instant::PointSource;
use lifeboat_mount::blocks::{BLOCK_BYTES, BlockSet, blocks_of};
use lifeboat_mount::hydrate::Part;
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::source::{Sink, Source, SourceError};
use lifeboat_repository::{Error, Progress};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A report names no more damage than that.
const DAMAGE_TOLD_MAX: usize = 5;
/// More is not even counted.
const DAMAGE_MAX: usize = 10_000;
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What was given so far.
#[derive(Default)]
pub struct Given {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blocks: HashMap<FileNumber, BlockSet>,
    damage: BTreeSet<String>,
    /// Why nothing more is asked for.
    trouble: Option<SourceError>,
    is_over: Option<String>,
}

/// A point's files, and whoever looks on.
pub struct Watched {
    source: PointSource,
    given: Arc<Given>,
}

impl Watched {
    /// What `source` gives is noted.
    pub fn new(source: PointSource, given: Arc<Given>) -> Self {
        Self { source, given }
    }
}

impl Source for Watched {
    fn fetch(&self, number: FileNumber, range: Range<u64>, sink: &mut Sink<'_>) -> Result<(), SourceError> {
        if let Some(why) = &self.given.lock().is_over {
            return Err(why.clone().into());
        }
        let file_bytes = self.source.bytes_of(number);
        let given = self.source.fetch(number, range.clone(), &mut |offset, piece| {
            self.given.note(number, offset..offset + piece.length(), file_bytes);
            sink(offset, piece)
        });
        given.map_err(|error| self.given.refused(&self.source.path_of(number), error))
    }

    fn name_of(&self, number: FileNumber) -> String {
        self.source.path_of(number)
    }
}

impl Given {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: FileNumber, bytes: Range<u64>, file_bytes: u64) {
        let end = if bytes.end >= file_bytes { blocks_of(file_bytes) } else { bytes.end / BLOCK_BYTES };
        let mut state = self.lock();
        let blocks = state.blocks.entry(number).or_insert_with(|| BlockSet::new(blocks_of(file_bytes)));
        blocks.insert(bytes.start.div_ceil(BLOCK_BYTES)..end);
    }

    fn missing(&self, part: &Part) -> Vec<Range<u64>> {
        let blocks = part.bytes.start / BLOCK_BYTES..blocks_of(part.bytes.end);
        let missing = match self.lock().blocks.get(&part.number) {
            Some(given) => given.missing(blocks),
            None => vec![blocks],
        };
        let bytes = |run: Range<u64>| run.start * BLOCK_BYTES..(run.end * BLOCK_BYTES).min(part.bytes.end);
        missing.into_iter().map(bytes).collect()
    }

    /// Notes why something wasn't given. Returns what the one who asked is told.
    fn refused(&self, path: &str, error: SourceError) -> SourceError {
        let said = format!("{path}: {}", super::asking::chain(&*error));
        let mut state = self.lock();
        if error.downcast_ref::<Error>().is_some_and(Error::is_loss) {
            if state.damage.len() < DAMAGE_MAX {
                state.damage.insert(said.clone());
            }
        } else {
            state.is_over.get_or_insert(said.clone());
            state.trouble.get_or_insert(error);
        }
        said.into()
    }

    /// Returns when nothing more is asked for, or so long after something was lost or damaged.
    pub async fn hopeless(&self, patience: Duration) {
        let mut damaged_at = None;
        loop {
            let (is_over, is_damaged) = {
                let state = self.lock();
                (state.is_over.is_some(), !state.damage.is_empty())
            };
            if is_over || (is_damaged && damaged_at.get_or_insert_with(Instant::now).elapsed() >= patience) {
                return;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// What is lost or damaged, in one sentence.
    pub fn damage(&self) -> Option<String> {
        let state = self.lock();
        let told: Vec<&str> = state.damage.iter().take(DAMAGE_TOLD_MAX).map(String::as_str).collect();
        let more = state.damage.len() - told.len();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!told.is_empty()).then(|| format!("a part of the point can't be had: {}{more}", told.join("; ")))
    }

    /// What says nothing about the point, and kept us from looking at all of it.
    pub fn take_trouble(&self) -> Option<RecoveryError> {
        let error = self.lock().trouble.take()?;
        Some(match error.downcast::<Error>() {
            Ok(error) => RecoveryError::Repository(*error),
            Err(error) => {
                let error = error.downcast::<io::Error>().map_or_else(io::Error::other, |error| *error);
                RecoveryError::file("bring files to", Path::new("the copy"), error)
            }
        })
    }

    /// Asks for all that was never given, and keeps nothing of it.
    pub fn read_the_rest(&self, source: &dyn Source, parts: &[Part], workers: usize, progress: &dyn Progress) {
        let rest: Vec<_> = parts.iter().map(|part| (part.number, self.missing(part))).collect();
        let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        let all: u64 = rest.iter().map(|(_, ranges)| bytes(ranges)).sum();
        if all == 0 {
            return;
        }
        progress.phase("read what nobody asked for", Some(all));
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..workers.max(1) {
                scope.spawn(|| {
                    while let Some((number, ranges)) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                        for range in ranges {
                            // Why not is noted.
                            let _ = source.fetch(*number, range.clone(), &mut |_, _| Ok(()));
                        }
                        progress.advance(bytes(ranges));
                    }
                });
            }
        });
    }
}
