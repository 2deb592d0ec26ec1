//! What a session builds on, and whether it is still there when the session commits.
//!
//! A session takes no lock. It leaves out what was marked when it began, remembers which packs it counts on and which it
//! wrote, and looks again before its point is written: what was marked meanwhile may be deleted after the time of grace.

use super::{Mark, doomed_by};
use crate::chunk::ChunkId;
use crate::error::{Error, Result};
use crate::index::{Index, Placement};
use crate::open::{Replica, Repository, describe};
use crate::patience::ask_all;
use crate::reader::{ChunkReader, pack_id};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// A session that took longer asks for every pack by name: a mark may have come, been swept, and gone.
const LONG: Duration = Duration::from_secs(12 * 3600);

/// What stood when a session began.
#[derive(Debug)]
pub(crate) struct Ground {
    at: SystemTime,
    marks: HashSet<String>,
    /// Packs that nothing may build on; `None` when that couldn't be told, and so nothing may be built on at all.
    doomed: Option<HashSet<[u8; 32]>>,
}

impl Ground {
    /// Looks at the marks. Call before anything else is looked at: what is marked later is found by the second look.
    pub(crate) async fn survey(repository: &Repository, notes: &mut Vec<String>) -> Self {
        let at = SystemTime::now();
        match repository.marks().await {
            Ok(marks) => {
                let damaged = repository.damaged_packs().await;
                let doomed = doomed_by(&marks);
                let marks = marks.into_iter().map(|mark: Mark| mark.name).collect();
                match &damaged {
                    Some(packs) if packs.is_empty() => {}
                    Some(packs) => notes.push(format!(
                        "{} packs were found damaged or missing by a verification: what is needed of them is stored anew",
                        packs.len()
                    )),
                    None => notes.push("so much was found damaged that nothing stored is built on".to_owned()),
                }
                Self { at, marks, doomed: damaged.map(|damaged| doomed.into_iter().chain(damaged).collect()) }
            }
            Err(error) => {
                let why = describe(&error);
                notes.push(format!("what is marked for removal can't be told, so nothing stored is built on: {why}"));
                Self { at, marks: HashSet::new(), doomed: None }
            }
        }
    }

    /// Whether a session may build on this pack.
    pub(crate) fn carries(&self, pack: &[u8; 32]) -> bool {
        self.doomed.as_ref().is_some_and(|doomed| !doomed.contains(pack))
    }
}

fn words_for(frames: usize) -> Box<[AtomicU64]> {
    (0..frames.div_ceil(64)).map(|_| AtomicU64::new(0)).collect()
}

/// What one session counts on.
#[derive(Debug)]
pub(crate) struct Reliance {
    /// The locations that answered when the session began.
    repository: Arc<Repository>,
    ground: Ground,
    /// For each known pack, by its number in the index, a bit for each frame.
    relied_on: Vec<Box<[AtomicU64]>>,
    written: Mutex<HashSet<[u8; 32]>>,
}

impl Reliance {
    pub(crate) fn new(repository: Arc<Repository>, ground: Ground, known: &Index) -> Self {
        let relied_on = known.packs().iter().map(|pack| words_for(pack.frames.len())).collect();
        Self { repository, ground, relied_on, written: Mutex::default() }
    }

    /// The session builds on this chunk of a known pack.
    pub(crate) fn rely_on(&self, placement: Placement) {
        let words = self.relied_on.get(placement.pack as usize);
        if let Some(word) = words.and_then(|words| words.get(placement.frame as usize / 64)) {
            word.fetch_or(1 << (placement.frame % 64), Ordering::Relaxed);
        }
    }

    /// The chunks that the session builds on in those of its packs that are `doomed`.
    fn chunks_in(&self, known: &Index, doomed: &HashSet<[u8; 32]>) -> Vec<ChunkId> {
        let packs = known.packs().iter().zip(&self.relied_on).filter(|(pack, _)| doomed.contains(&pack.id));
        let relied = packs.flat_map(|(pack, words)| {
            let is_set = |number: &usize| words[number / 64].load(Ordering::Relaxed) >> (number % 64) & 1 == 1;
            (0..pack.frames.len()).filter(is_set).map(|number| pack.frames[number].id)
        });
        relied.collect()
    }

    /// Whether every location has these chunks in a pack that isn't doomed: somebody wrote them again.
    async fn are_elsewhere(
        &self,
        repository: &Repository,
        chunks: &[ChunkId],
        doomed: &HashSet<[u8; 32]>,
    ) -> Result<bool> {
        let mut reader = ChunkReader::open(Arc::new(repository.among(repository.replicas.clone()))).await?;
        reader.prefer_others(doomed);
        let mut holders = HashSet::new();
        for id in chunks {
            let Some(found) = reader.index().find(id) else { return Ok(false) };
            holders.insert(reader.index().pack(found.pack).id);
        }
        for replica in &repository.replicas {
            let listed = replica.location.list("packs/").await?;
            let present: HashSet<[u8; 32]> = listed.iter().filter_map(|entry| pack_id(&entry.key)).collect();
            if !holders.is_subset(&present) {
                return Ok(false);
            }
        }
        Ok(holders.is_disjoint(doomed))
    }

    /// The session wrote this pack.
    pub(crate) fn wrote(&self, pack: [u8; 32]) {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(pack);
    }

    /// An error when the session builds on a chunk of one of these packs.
    pub(crate) fn is_free_of(&self, known: &Index, packs: &HashSet<[u8; 32]>) -> Result<()> {
        let is_relied_on = |words: &[AtomicU64]| words.iter().any(|word| word.load(Ordering::Relaxed) != 0);
        let mut relied_on = known.packs().iter().zip(&self.relied_on).filter(|(_, words)| is_relied_on(words));
        match relied_on.find(|(pack, _)| packs.contains(&pack.id)) {
            Some((pack, _)) => Err(Error::Decayed { what: hex::encode(pack.id) }),
            None => Ok(()),
        }
    }

    /// The second look, in the locations that have everything so far. An error when something that the session counts on was
    /// marked in one of them, or is gone.
    pub(crate) async fn still_holds(&self, known: &Index, stored_in: &[&str]) -> Result<()> {
        let still_in = |replica: &&Replica| stored_in.contains(&replica.name.as_str());
        let repository = &self.repository.among(self.repository.replicas.iter().filter(still_in).cloned().collect());
        let relied_on = known
            .packs()
            .iter()
            .zip(&self.relied_on)
            .filter(|(_, words)| words.iter().any(|word| word.load(Ordering::Relaxed) != 0));
        let mut needed: HashSet<[u8; 32]> = relied_on.map(|(pack, _)| pack.id).collect();
        let builds_on_nothing = needed.is_empty();
        needed.extend(self.written.lock().unwrap_or_else(PoisonError::into_inner).iter());
        let mut marks = match repository.marks().await {
            Ok(marks) => marks,
            // A session that builds on nothing needs no marks: a damaged one must not end all backups.
            Err(_) if builds_on_nothing => Vec::new(),
            Err(error) => return Err(error),
        };
        let all_doomed = doomed_by(&marks);
        marks.retain(|mark| !self.ground.marks.contains(&mark.name));
        let doomed = doomed_by(&marks);
        if let Some(pack) = doomed.intersection(&needed).next() {
            let own = self.written.lock().unwrap_or_else(PoisonError::into_inner).is_disjoint(&doomed);
            let chunks = self.chunks_in(known, &doomed);
            if !own || !self.are_elsewhere(repository, &chunks, &all_doomed).await? {
                return Err(Error::Undermined { what: hex::encode(pack) });
            }
            needed.retain(|pack| !doomed.contains(pack));
        }
        let age = self.ground.at.elapsed().unwrap_or(LONG);
        if age < LONG {
            return Ok(());
        }
        let ask = async |replica: Replica| Ok(replica.location.list("packs/").await?);
        for listing in ask_all(&repository.replicas, repository.limits.listing(), ask).await.into_iter().flatten() {
            let present: HashSet<[u8; 32]> = listing.iter().filter_map(|entry| pack_id(&entry.key)).collect();
            // A location that is out for this session lacks what was written since.
            let is_current = self.written.lock().unwrap_or_else(PoisonError::into_inner).is_subset(&present);
            if let Some(pack) = needed.difference(&present).next().filter(|_| is_current) {
                return Err(Error::Undermined { what: hex::encode(pack) });
            }
        }
        Ok(())
    }
}
