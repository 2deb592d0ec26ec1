//! Rewriting packs that are mostly dead: what points still need of them goes into new packs, and the old ones become nobody's.
//!
//! Nothing is deleted here. The new packs are written as a backup writes them: packs, then a fragment of the index, in every
//! location. Then the old packs hold nothing that isn't elsewhere too, and the next mark gives them up like any other: two phases,
//! a time of grace, another look. So a crash anywhere leaves chunks twice, and the next run finds that and rewrites nothing a second
//! time.
//!
//! Every chunk is decrypted, decompressed and checked against its id before it is sealed again: damage must not be carried on
//! under a new name. A pack of which no location has a needed chunk whole is left as it is, for `verify` to tell. What was
//! compressed is not compressed again.

use super::{MarkedPoint, clock_of, reach};
use crate::container::{Builder, ContainerKind, FrameOpener};
use crate::error::{Error, Result};
use crate::index::{PackEntry, encode_fragment, fragments_of, pack_key};
use crate::open::{Replica, Repository, describe};
use crate::pack::OpenPack;
use crate::reader::{ChunkReader, pack_id, read_fingerprints};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Frames of one pack, by number.
type Frames = Vec<u32>;

/// What would be rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepackPlan {
    /// Packs that are mostly dead.
    packs: Vec<PackEntry>,
    /// For each of them the frames that nothing else holds.
    moving: Vec<Frames>,
    /// Stored bytes of these packs, in one location.
    pub bytes: u64,
    /// What of that is written again.
    pub live_bytes: u64,
}

impl RepackPlan {
    /// Number of packs.
    pub fn packs(&self) -> usize {
        self.packs.len()
    }
}

/// What was rewritten.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepackReport {
    /// Packs whose needed chunks are all elsewhere now, by the digits of their names. The next mark can give them up.
    pub rewritten: BTreeSet<String>,
    /// New packs.
    pub packs: u64,
    /// Their bytes, in one location.
    pub bytes: u64,
    /// Packs that were left as they are, and why.
    pub left: Vec<String>,
}

impl Repository {
    /// The packs of which less than `percent` is needed by the points that `stays` lets stay: older than `grace`, not marked yet, needed
    /// at all, and not by a point that is held.
    pub async fn plan_repack(
        self: &Arc<Self>,
        stays: impl Fn(&MarkedPoint) -> bool,
        percent: u64,
        grace: Duration,
    ) -> Result<RepackPlan> {
        let marked: HashSet<[u8; 32]> = super::doomed_by(&self.marks().await?);
        let mut reader = ChunkReader::open(self.clone()).await?;
        reader.prefer_others(&marked);
        let live = reach::frames_needed(self, &reader, stays).await?;
        // Who reads from a point knows where its chunks are now: the old packs would have to stay beside the new ones.
        let held = self.held_points().await?;
        let read_from = match held.is_empty() {
            true => HashSet::new(),
            false => reach::packs_needed(self, &reader, |marked| held.contains(marked)).await?,
        };
        let old = self.older_than(grace).await?;
        let share = |pack: &PackEntry, is_live: &[bool]| -> u64 {
            pack.frames
                .iter()
                .zip(is_live)
                .filter(|(_, live)| **live)
                .map(|(frame, _)| u64::from(frame.stored_bytes))
                .sum()
        };
        let mut chosen: BTreeMap<[u8; 32], Vec<bool>> = BTreeMap::new();
        for (pack, is_live) in reader.index().packs().iter().zip(live) {
            let bytes = share(pack, &is_live);
            let is_dying = bytes > 0 && bytes.saturating_mul(100) < pack.bytes.saturating_mul(percent);
            if is_dying && old.contains(&pack.id) && !marked.contains(&pack.id) && !read_from.contains(&pack.id) {
                chosen.insert(pack.id, is_live);
            }
        }
        // A run before this one may have written some of it again already.
        let avoid: HashSet<[u8; 32]> = chosen.keys().copied().chain(marked).collect();
        reader.prefer_others(&avoid);
        let mut plan = RepackPlan::default();
        let mut taken = HashSet::new();
        for pack in reader.index().packs() {
            let Some(is_live) = chosen.get(&pack.id) else { continue };
            let is_elsewhere = |id| {
                let holder = reader.index().find(id).map(|found| reader.index().pack(found.pack).id);
                holder.is_some_and(|holder| !avoid.contains(&holder) && reader.is_sure_of(&holder))
            };
            let numbered = (0u32..).zip(&pack.frames).zip(is_live).filter(|(_, live)| **live);
            let moving: Frames = numbered
                .filter(|((_, frame), _)| !is_elsewhere(&frame.id) && taken.insert(frame.id))
                .map(|((number, _), _)| number)
                .collect();
            plan.bytes += pack.bytes;
            plan.live_bytes += moving.iter().map(|n| u64::from(pack.frames[*n as usize].stored_bytes)).sum::<u64>();
            plan.packs.push(pack.clone());
            plan.moving.push(moving);
        }
        Ok(plan)
    }

    /// Packs that are older than `grace` in every location that has them, by the stores' own clocks.
    async fn older_than(&self, grace: Duration) -> Result<HashSet<[u8; 32]>> {
        let (mut old, mut young) = (HashSet::new(), HashSet::new());
        for replica in &self.replicas {
            let now = clock_of(replica).await?;
            for entry in replica.location.list("packs/").await? {
                let Some(id) = pack_id(&entry.key) else { continue };
                let is_old = now.duration_since(entry.modified).unwrap_or_default() >= grace;
                if is_old {
                    old.insert(id)
                } else {
                    young.insert(id)
                };
            }
        }
        Ok(old.difference(&young).copied().collect())
    }

    /// Writes what is needed of these packs again, in every location of this repository. `max_rate` bounds reading, in bytes per
    /// second; `done` is told the bytes that were moved.
    pub async fn repack(
        self: &Arc<Self>,
        plan: &RepackPlan,
        max_rate: Option<u64>,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<RepackReport> {
        let mut report = RepackReport::default();
        if plan.packs.is_empty() {
            return Ok(report);
        }
        let mut writing = Writing::new(self, self.left_unlisted().await?);
        for (pack, moving) in plan.packs.iter().zip(&plan.moving) {
            let begun = tokio::time::Instant::now();
            match self.read_frames(pack, moving).await {
                Ok(frames) => {
                    for frame in frames {
                        writing.push(frame, &mut report).await?;
                    }
                    report.rewritten.insert(hex::encode(pack.id));
                }
                Err(error) if error.is_loss() => report.left.push(format!("{}: {}", pack.key(), describe(&error))),
                Err(error) => return Err(error),
            }
            let bytes = moving.iter().map(|n| u64::from(pack.frames[*n as usize].stored_bytes)).sum::<u64>();
            done(bytes);
            if let Some(rate) = max_rate.filter(|rate| *rate > 0) {
                tokio::time::sleep_until(begun + Duration::from_secs_f64(bytes as f64 / rate as f64)).await;
            }
        }
        writing.finish(&mut report).await?;
        Ok(report)
    }

    /// Packs that no fragment lists: a run before this one stopped before it wrote one. Only those that every location has.
    async fn left_unlisted(self: &Arc<Self>) -> Result<Vec<PackEntry>> {
        self.bring_up_to_date().await;
        let mut everywhere: Option<HashSet<[u8; 32]>> = None;
        for replica in &self.replicas {
            let listed = replica.location.list("packs/").await?;
            let here: HashSet<[u8; 32]> = listed.iter().filter_map(|entry| pack_id(&entry.key)).collect();
            everywhere = Some(everywhere.map_or(here.clone(), |before| before.intersection(&here).copied().collect()));
        }
        let everywhere = everywhere.unwrap_or_default();
        let (index, unlisted) = ChunkReader::open(self.clone()).await?.into_index();
        let is_left = |pack: &PackEntry| unlisted.contains(&pack.id) && everywhere.contains(&pack.id);
        Ok(index.into_packs().into_iter().filter(is_left).collect())
    }

    /// The frames, opened and checked, from the first location that has all of them whole.
    async fn read_frames(&self, pack: &PackEntry, numbers: &[u32]) -> Result<Vec<Moving>> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let mut failure = Error::NotFound { what: pack.key() };
        for replica in &self.replicas {
            match self.read_frames_from(replica, pack, numbers).await {
                Ok(frames) => return Ok(frames),
                Err(error) if error.is_loss() => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    async fn read_frames_from(&self, replica: &Replica, pack: &PackEntry, numbers: &[u32]) -> Result<Vec<Moving>> {
        let object = format!("{}/{}", replica.location.address(), pack.key());
        let bytes = replica.location.get(&pack.key()).await?;
        let fingerprints = read_fingerprints(self, replica, pack).await?;
        let mut opener = FrameOpener::new(&self.keys, ContainerKind::Pack, &pack.salt)?;
        let mut moving = Vec::with_capacity(numbers.len());
        for &number in numbers {
            let frame = pack.frames[number as usize];
            let start = frame.offset as usize;
            let sealed = bytes
                .get(start..start + frame.stored_bytes as usize)
                .ok_or_else(|| Error::corrupt(&object, "shorter than the index says"))?;
            opener.open(&self.keys, &object, number, &frame, sealed)?;
            let packed = opener.packed(&object, number, sealed)?;
            moving.push(Moving { frame, packed, fingerprints: fingerprints.of(number).into() });
        }
        Ok(moving)
    }
}

/// A chunk on its way.
pub(crate) struct Moving {
    pub(crate) frame: crate::container::Frame,
    /// Compressed, and not sealed.
    pub(crate) packed: Vec<u8>,
    pub(crate) fingerprints: Box<[u64]>,
}

/// New packs.
pub(crate) struct Writing<'a> {
    repository: &'a Repository,
    open: Option<OpenPack>,
    finished: Vec<PackEntry>,
}

impl<'a> Writing<'a> {
    /// `finished`: packs that a run before this one wrote and didn't list.
    pub(crate) fn new(repository: &'a Repository, finished: Vec<PackEntry>) -> Self {
        Self { repository, open: None, finished }
    }

    pub(crate) async fn push(&mut self, moving: Moving, report: &mut RepackReport) -> Result<()> {
        let pack = match &mut self.open {
            Some(pack) => pack,
            none => none.insert(OpenPack::new(&self.repository.keys)?),
        };
        pack.push_packed(&moving.frame, &moving.packed, &moving.fingerprints)?;
        if pack.is_full() { self.close(report).await } else { Ok(()) }
    }

    async fn close(&mut self, report: &mut RepackReport) -> Result<()> {
        let Some(pack) = self.open.take() else { return Ok(()) };
        let (sealed, entry) = pack.finish()?;
        report.packs += 1;
        report.bytes += sealed.bytes.len() as u64;
        self.repository.put_everywhere(&pack_key(&entry.id), &sealed.bytes).await?;
        self.finished.push(entry);
        Ok(())
    }

    /// The packs are durable before the fragment that lists them.
    pub(crate) async fn finish(mut self, report: &mut RepackReport) -> Result<()> {
        self.close(report).await?;
        if self.finished.is_empty() {
            return Ok(());
        }
        for part in fragments_of(&self.finished) {
            let text = encode_fragment(part);
            let sealed = Builder::document(&self.repository.keys, ContainerKind::Index, 3, &text, &[])?;
            self.repository.put_everywhere(&format!("index/{}", sealed.name()), &sealed.bytes).await?;
        }
        Ok(())
    }
}
