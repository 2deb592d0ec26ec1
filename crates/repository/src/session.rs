//! Writing: a session takes chunks from many threads and makes sure that they, the index and the point are stored, in
//! this order, in every location that keeps up.
//!
//! Not here: what to read and how to cut it.

use crate::chunk::ChunkId;
use crate::container::{Builder, ContainerKind};
use crate::copy;
use crate::error::{Error, Result};
use crate::fanout::{Fanout, LaneReport};
use crate::index::{Index, PackEntry, encode_fragment, pack_key};
use crate::log::LogPut;
use crate::open::{Repository, describe};
use crate::pack::OpenPack;
use crate::point::{LocationState, Point};
use crate::reader::ChunkReader;
use lifeboat_location::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// A fragment of the index is written after this many packs, so that an interrupted run needs little time to resume.
const PACKS_PER_FRAGMENT: usize = 64;

/// What a session added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionReport {
    /// How each location fared.
    pub lanes: Vec<LaneReport>,
    /// Bytes added to each complete location.
    pub bytes_stored: u64,
}

/// State shared by all writers of a session.
#[derive(Debug)]
struct Core {
    repository: Arc<Repository>,
    known: Index,
    fresh: Mutex<HashSet<ChunkId>>,
    finished: Mutex<Vec<PackEntry>>,
    fanout: Fanout,
    bytes_stored: AtomicU64,
}

/// A session of writing to a repository.
#[derive(Debug)]
pub struct WriteSession {
    core: Arc<Core>,
    handle: Handle,
}

impl WriteSession {
    /// Begins a session: brings locations that missed something up to date, then finds out which chunks every
    /// location has. Chunks of interrupted runs count too, so that they are not sent again.
    ///
    /// Locations that can't be listed are out for this session. Notes for people go to `notes`.
    pub async fn begin(repository: Arc<Repository>, notes: &mut Vec<String>) -> Result<Self> {
        for (from, report) in copy::heal(&repository).await {
            notes.push(format!("brought up to date from {from}: {report}"));
        }
        let mut lanes = Vec::new();
        let mut listings: Vec<HashMap<String, u64>> = Vec::new();
        for replica in &repository.replicas {
            match replica.location.list("packs/").await {
                Ok(entries) => {
                    listings.push(entries.into_iter().map(|Entry { key, size, .. }| (key, size)).collect());
                    lanes.push((replica.clone(), None));
                }
                Err(error) => lanes.push((replica.clone(), Some(describe(&error)))),
            }
        }
        let (known, adopted) = known_everywhere(&repository, &listings, notes).await?;
        let handle = Handle::current();
        let fanout = Fanout::new(lanes, handle.clone());
        let core = Core {
            repository,
            known,
            fresh: Mutex::default(),
            finished: Mutex::new(adopted),
            fanout,
            bytes_stored: AtomicU64::new(0),
        };
        Ok(Self { core: Arc::new(core), handle })
    }

    /// A writer for one thread.
    pub fn writer(&self) -> Result<ChunkWriter> {
        let compressor = crate::container::compressor(self.core.repository.level)?;
        Ok(ChunkWriter { core: self.core.clone(), open: None, compressor, bytes_new: 0 })
    }

    /// Whether every location has this chunk already.
    pub fn is_known(&self, id: &ChunkId) -> bool {
        self.core.known.find(id).is_some()
    }

    /// Waits for the packs, then writes the index. Every [`ChunkWriter`] must have been finished.
    pub fn settle(&self) -> Result<SessionReport> {
        self.core.fanout.settle()?;
        self.core.write_fragment(true)?;
        let lanes = self.core.fanout.settle()?;
        Ok(SessionReport { lanes, bytes_stored: self.core.bytes_stored.load(Ordering::Relaxed) })
    }

    /// Writes the point: the commit. The states of the locations are filled in; those that are out are named.
    pub fn commit(&self, mut point: Point) -> Result<Point> {
        let report = self.settle()?;
        point.bytes_stored = report.bytes_stored;
        point.locations = report
            .lanes
            .iter()
            .map(|lane| LocationState {
                name: lane.name.clone(),
                state: lane.failure.clone().unwrap_or_else(|| "complete".into()),
            })
            .chain(
                self.core
                    .repository
                    .unavailable
                    .iter()
                    .map(|(name, reason)| LocationState { name: name.clone(), state: reason.clone() }),
            )
            .collect();
        let sealed = self.core.repository.seal_point(&point)?;
        self.core.fanout.submit(&crate::point::key_of(&point.workload, &point.id), sealed)?;
        for lane in self.core.fanout.settle()? {
            if let (Some(reason), Some(state)) =
                (lane.failure, point.locations.iter_mut().find(|state| state.name == lane.name))
            {
                state.state = reason;
            }
        }
        Ok(point)
    }

    /// Stores a log file in all locations of this session's repository.
    pub fn put_log(&self, workload: &str, group: &str, name: &str, bytes: &[u8]) -> Result<LogPut> {
        self.handle.block_on(self.core.repository.put_log(workload, group, name, bytes, &[]))
    }
}

impl Core {
    fn is_known(&self, id: &ChunkId) -> bool {
        self.known.find(id).is_some() || self.lock_fresh().contains(id)
    }

    fn lock_fresh(&self) -> std::sync::MutexGuard<'_, HashSet<ChunkId>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, pack: OpenPack) -> Result<()> {
        let (sealed, entry) = pack.finish()?;
        self.bytes_stored.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
        self.fanout.submit(&pack_key(&entry.id), sealed.bytes)?;
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        self.write_fragment(false)
    }

    /// Writes what is finished as a fragment. Fragments may overtake their packs: readers check that a pack is there.
    fn write_fragment(&self, last: bool) -> Result<()> {
        let packs = {
            let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
            if finished.is_empty() || (!last && finished.len() < PACKS_PER_FRAGMENT) {
                return Ok(());
            }
            std::mem::take(&mut *finished)
        };
        if !last {
            // The order of writing is a promise: the packs of a fragment are durable before it.
            self.fanout.settle()?;
        }
        let text = encode_fragment(&packs);
        let sealed = Builder::document(&self.repository.keys, ContainerKind::Index, 3, &text, &[])?;
        self.bytes_stored.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
        self.fanout.submit(&format!("index/{}", sealed.name), sealed.bytes)
    }
}

/// The chunks that every location of `listings` has whole, and the packs among them that no fragment lists yet.
async fn known_everywhere(
    repository: &Arc<Repository>,
    listings: &[HashMap<String, u64>],
    notes: &mut Vec<String>,
) -> Result<(Index, Vec<PackEntry>)> {
    let reader = ChunkReader::open(repository.clone()).await?;
    notes.append(&mut reader.take_notes());
    let (index, adopted) = reader.into_index();
    let everywhere = |pack: &PackEntry| listings.iter().all(|listing| listing.get(&pack.key()) == Some(&pack.bytes));
    let mut known = Index::default();
    let mut fresh_fragment = Vec::new();
    for pack in index.packs() {
        if everywhere(pack) {
            if adopted.contains(&pack.id) {
                fresh_fragment.push(pack.clone());
            }
            known.add(pack.clone());
        }
    }
    Ok((known, fresh_fragment))
}

/// Takes the chunks of one thread.
pub struct ChunkWriter {
    core: Arc<Core>,
    open: Option<OpenPack>,
    compressor: zstd::bulk::Compressor<'static>,
    bytes_new: u64,
}

impl ChunkWriter {
    /// Stores a chunk unless it is stored already. `fingerprints` are those of its blocks, for the next backup.
    ///
    /// Returns before the chunk is durable; [`WriteSession::commit`] waits for that.
    pub fn put(&mut self, plaintext: &[u8], fingerprints: &[u64]) -> Result<ChunkId> {
        let id = self.core.repository.keys.chunk_id(plaintext);
        if self.core.is_known(&id) || !self.core.lock_fresh().insert(id) {
            return Ok(id);
        }
        self.bytes_new += plaintext.len() as u64;
        let pack = match &mut self.open {
            Some(pack) => pack,
            none => none.insert(OpenPack::new(&self.core.repository.keys)?),
        };
        pack.push(&mut self.compressor, id, plaintext, fingerprints)?;
        if pack.is_full() {
            self.flush()?;
        }
        Ok(id)
    }

    fn flush(&mut self) -> Result<()> {
        self.open.take().map_or(Ok(()), |pack| self.core.hand_over(pack))
    }

    /// Closes the last pack. Returns the bytes of plaintext that were new.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.bytes_new)
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Internal(error.to_string())
    }
}
