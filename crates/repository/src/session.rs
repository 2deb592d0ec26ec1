//! Writing: a session takes chunks from many threads and makes sure that they, the index and the point are stored, in
//! this order, in every location that keeps up.
//!
//! Everything but [`WriteSession::begin`] blocks: it is called from threads (`spawn_blocking`), while the runtime in
//! which the session began does the uploads.
//!
//! Not here: what to read and how to cut it.

use crate::chunk::ChunkId;
use crate::container::{Builder, ContainerKind, Packer, Shape};
use crate::copy;
use crate::error::{Error, Result};
use crate::fanout::{Fanout, LaneReport};
use crate::index::{PackEntry, Placement, encode_fragment, fragments_of, pack_key};
use crate::open::{Replica, Repository, describe};
use crate::pack::OpenPack;
use crate::patience::ask_all;
use crate::point::{LocationState, Point};
use crate::reader::ChunkReader;
use crate::removal::{Ground, Reliance};
use lifeboat_location::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
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

/// What is stored already and may be built on.
#[derive(Debug)]
struct Known {
    /// Of the locations that answered when the session began.
    reader: Arc<ChunkReader>,
    /// By the numbers of packs in the reader's index: whether every one of these locations has the pack whole, and it isn't
    /// marked for removal.
    is_solid: Vec<bool>,
}

impl Known {
    fn find(&self, id: &ChunkId) -> Option<Placement> {
        self.reader.index().find_in(id, |pack| self.is_solid[pack as usize])
    }
}

/// State shared by all writers of a session.
#[derive(Debug)]
struct Core {
    repository: Arc<Repository>,
    known: Known,
    fresh: Mutex<HashSet<ChunkId>>,
    finished: Mutex<Vec<PackEntry>>,
    fanout: Fanout,
    bytes_stored: AtomicU64,
    /// Packs that were begun and not handed over.
    open_packs: AtomicUsize,
    reliance: Reliance,
    /// Packs that turned out to be damaged while the session went on.
    distrusted: RwLock<HashSet<[u8; 32]>>,
    /// So that nobody waits for the list while it is empty.
    is_anything_distrusted: AtomicBool,
}

/// A session of writing to a repository.
#[derive(Debug)]
pub struct WriteSession {
    core: Arc<Core>,
}

impl WriteSession {
    /// Begins a session: brings locations that missed something up to date, then finds out which chunks every
    /// location has. Chunks of interrupted runs count too, so that they are not sent again.
    ///
    /// Locations that can't be listed are out for this session. Notes for people go to `notes`.
    pub async fn begin(repository: Arc<Repository>, notes: &mut Vec<String>) -> Result<Self> {
        let healed = copy::heal(&repository).await?;
        for (from, report) in &healed.reports {
            notes.push(format!("brought up to date from {from}: {report}"));
        }
        let mut lanes = Vec::new();
        let mut listings: Vec<HashMap<String, u64>> = Vec::new();
        let ask = async |replica: Replica| {
            let entries = replica.location.list("packs/").await?;
            Ok(entries.into_iter().map(|Entry { key, size, .. }| (key, size)).collect())
        };
        // What is behind stays out: what it lacks would otherwise be stored a second time everywhere.
        let is_behind = |replica: &&Replica| !healed.behind.iter().any(|(name, _)| name == &replica.name);
        let current: Vec<Replica> = repository.replicas.iter().filter(is_behind).cloned().collect();
        // Before anything is listed: what a sweep deletes in between must not count as known.
        let ground = Ground::survey(&repository.among(current.clone()), notes).await;
        let answers = ask_all(&current, repository.limits.listing(), ask).await;
        for (replica, answer) in current.into_iter().zip(answers) {
            match answer {
                Ok(listing) => {
                    listings.push(listing);
                    lanes.push((replica, None));
                }
                Err(error) => lanes.push((replica, Some(describe(&error)))),
            }
        }
        let live: Vec<Replica> =
            lanes.iter().filter(|(_, failure)| failure.is_none()).map(|(replica, _)| replica.clone()).collect();
        for (name, reason) in healed.behind {
            let replica = repository.replicas.iter().find(|replica| replica.name == name);
            lanes.extend(replica.map(|replica| (replica.clone(), Some(reason))));
        }
        if live.is_empty() {
            let reasons = lanes.iter().map(|(r, why)| format!("{}: {}", r.name, why.as_deref().unwrap_or_default()));
            return Err(Error::AllLocationsFailed { reasons: reasons.collect(), temporary: true });
        }
        let live = Arc::new(repository.among(live));
        let (known, adopted) = known_everywhere(&live, &listings, &ground, notes).await?;
        let fanout = Fanout::new(lanes, Handle::current(), repository.limits);
        let reliance = Reliance::new(live, ground, known.reader.index());
        let core = Core {
            repository,
            known,
            fresh: Mutex::default(),
            finished: Mutex::new(adopted),
            fanout,
            bytes_stored: AtomicU64::new(0),
            open_packs: AtomicUsize::new(0),
            reliance,
            distrusted: RwLock::default(),
            is_anything_distrusted: AtomicBool::new(false),
        };
        Ok(Self { core: Arc::new(core) })
    }

    /// A writer for one thread.
    pub fn writer(&self) -> Result<ChunkWriter> {
        let packer = Packer::new(self.core.repository.level)?;
        Ok(ChunkWriter { core: self.core.clone(), open: None, packer, bytes_new: 0 })
    }

    /// Whether every location has this chunk already.
    pub fn is_known(&self, id: &ChunkId) -> bool {
        self.core.is_stored(id)
    }

    /// The reader that the session has already, so that its index is in memory once. When some location is out for this session,
    /// a new one that asks all of them.
    pub async fn reader(&self) -> Result<Arc<ChunkReader>> {
        let Core { known, repository, .. } = &*self.core;
        match known.reader.repository().replicas.len() == repository.replicas.len() {
            true => Ok(known.reader.clone()),
            false => Ok(Arc::new(ChunkReader::open(repository.clone()).await?)),
        }
    }

    /// These packs turned out to be damaged: from now on nothing is built on them. What was built on them already, the commit
    /// refuses.
    pub fn distrust(&self, packs: HashSet<[u8; 32]>) {
        if !packs.is_empty() {
            self.core.distrusted.write().unwrap_or_else(PoisonError::into_inner).extend(packs);
            self.core.is_anything_distrusted.store(true, Ordering::Release);
        }
    }

    /// Waits for the packs, then writes the index. Every [`ChunkWriter`] must have been finished.
    pub fn settle(&self) -> Result<SessionReport> {
        let open = self.core.open_packs.load(Ordering::SeqCst);
        if open > 0 {
            // Their chunks are nowhere, and a point could refer to them.
            return Err(Error::Internal(format!("{open} packs were begun and never handed over")));
        }
        self.core.fanout.settle()?;
        self.core.write_fragment(true)?;
        let lanes = self.core.fanout.settle()?;
        Ok(SessionReport { lanes, bytes_stored: self.core.bytes_stored.load(Ordering::Relaxed) })
    }

    /// Writes the point: the commit. The states of the locations are filled in; those that are out are named.
    pub fn commit(&self, mut point: Point) -> Result<Point> {
        let report = self.settle()?;
        let core = &self.core;
        let stored_in: Vec<&str> =
            report.lanes.iter().filter(|lane| lane.failure.is_none()).map(|lane| lane.name.as_str()).collect();
        core.fanout.block_on(core.still_holds(&stored_in))?;
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
        let key = crate::point::key_of(&point.workload, &point.id);
        let (receipt_key, receipt) = self.core.repository.seal_receipt(&key, &sealed)?;
        self.core.fanout.submit(&key, sealed)?;
        note_failures(&mut point, self.core.fanout.settle()?);
        // The point is there. A location that fails only now gets its receipt from the next session.
        if self.core.fanout.submit(&receipt_key, receipt).is_ok() {
            let _ = self.core.fanout.settle();
        }
        Ok(point)
    }
}

/// What the stored point can't know: that a location failed while the point itself was written.
fn note_failures(point: &mut Point, lanes: Vec<LaneReport>) {
    for lane in lanes {
        let state = point.locations.iter_mut().find(|state| state.name == lane.name);
        if let (Some(reason), Some(state)) = (lane.failure, state) {
            state.state = reason;
        }
    }
}

impl Core {
    /// Whether every location has it; then the session builds on it.
    fn is_stored(&self, id: &ChunkId) -> bool {
        let found = self.known.find(id).filter(|placement| !self.is_distrusted(*placement));
        if let Some(placement) = found {
            self.reliance.rely_on(placement);
        }
        found.is_some()
    }

    fn is_distrusted(&self, placement: Placement) -> bool {
        let pack = || self.known.reader.index().pack(placement.pack).id;
        self.is_anything_distrusted.load(Ordering::Acquire)
            && self.distrusted.read().unwrap_or_else(PoisonError::into_inner).contains(&pack())
    }

    /// Whether the session may commit. What was found damaged meanwhile is written down, so that the next one doesn't build on it.
    async fn still_holds(&self, stored_in: &[&str]) -> Result<()> {
        let distrusted = self.distrusted.read().unwrap_or_else(PoisonError::into_inner).clone();
        if !distrusted.is_empty() {
            self.repository.look_again(&distrusted).await;
            self.reliance.is_free_of(self.known.reader.index(), &distrusted)?;
        }
        self.reliance.still_holds(self.known.reader.index(), stored_in).await
    }

    fn is_known(&self, id: &ChunkId) -> bool {
        self.is_stored(id) || self.lock_fresh().contains(id)
    }

    fn lock_fresh(&self) -> std::sync::MutexGuard<'_, HashSet<ChunkId>> {
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, pack: OpenPack) -> Result<()> {
        let (sealed, entry) = pack.finish()?;
        self.bytes_stored.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
        self.fanout.submit(&pack_key(&entry.id), sealed.bytes)?;
        self.open_packs.fetch_sub(1, Ordering::SeqCst);
        self.reliance.wrote(entry.id);
        self.finished.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        self.write_fragment(false)
    }

    /// Writes what is finished as fragments, after the packs that they list.
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
        for part in fragments_of(&packs) {
            let text = encode_fragment(part);
            let sealed = Builder::document(&self.repository.keys, ContainerKind::Index, 3, &text, &[])?;
            self.bytes_stored.fetch_add(sealed.bytes.len() as u64, Ordering::Relaxed);
            self.fanout.submit(&format!("index/{}", sealed.name()), sealed.bytes)?;
        }
        Ok(())
    }
}

/// The chunks that every location of `listings` has whole, and the packs among them that no fragment lists yet.
async fn known_everywhere(
    repository: &Arc<Repository>,
    listings: &[HashMap<String, u64>],
    ground: &Ground,
    notes: &mut Vec<String>,
) -> Result<(Known, Vec<PackEntry>)> {
    let reader = ChunkReader::open(repository.clone()).await?;
    notes.append(&mut reader.take_notes());
    let everywhere = |pack: &PackEntry| listings.iter().all(|listing| listing.get(&pack.key()) == Some(&pack.bytes));
    let packs = reader.index().packs();
    let is_solid: Vec<bool> = packs.iter().map(|pack| everywhere(pack) && ground.carries(&pack.id)).collect();
    let unlisted = packs.iter().zip(&is_solid).filter(|(pack, is_solid)| **is_solid && reader.has_adopted(&pack.id));
    let fresh_fragment = unlisted.map(|(pack, _)| pack.clone()).collect();
    Ok((Known { reader: Arc::new(reader), is_solid }, fresh_fragment))
}

/// Takes the chunks of one thread.
pub struct ChunkWriter {
    core: Arc<Core>,
    open: Option<OpenPack>,
    packer: Packer,
    bytes_new: u64,
}

impl ChunkWriter {
    /// Stores a chunk unless it is stored already.
    ///
    /// Returns before the chunk is durable; [`WriteSession::commit`] waits for that.
    pub fn put(&mut self, plaintext: &[u8]) -> Result<ChunkId> {
        self.put_as(plaintext, Shape::Bytes, &[])
    }

    /// Stores a chunk of blocks of 8 KiB, most of them database pages, as [`Self::put`] does. `fingerprints` are those of
    /// its blocks, for the next backup.
    pub fn put_pages(&mut self, plaintext: &[u8], fingerprints: &[u64]) -> Result<ChunkId> {
        self.put_as(plaintext, Shape::Pages, fingerprints)
    }

    fn put_as(&mut self, plaintext: &[u8], shape: Shape, fingerprints: &[u64]) -> Result<ChunkId> {
        let id = self.core.repository.keys.chunk_id(plaintext);
        if self.core.is_known(&id) || !self.core.lock_fresh().insert(id) {
            return Ok(id);
        }
        self.bytes_new += plaintext.len() as u64;
        let pack = match &mut self.open {
            Some(pack) => pack,
            none => {
                self.core.open_packs.fetch_add(1, Ordering::SeqCst);
                none.insert(OpenPack::new(&self.core.repository.keys)?)
            }
        };
        pack.push(&mut self.packer, id, plaintext, shape, fingerprints)?;
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
