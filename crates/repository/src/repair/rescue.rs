//! Saving what can be read of a pack that no location has whole.
//!
//! A flipped bit costs one chunk of some hundreds. Every chunk is asked of every location, and what is whole somewhere goes into new
//! packs, as a backup writes them: packs, then a fragment of the index, everywhere. What stays lost only a backup can bring
//! again, from a cluster that still has it. When everything that the points of a location need lies in other packs, the damaged
//! one goes: until then the points that need the rest are told apart from the others by it.
//!
//! Nothing that could be read before can't be read afterwards, not even what no point needs yet: a backup may be under way that
//! counts on it.

use super::{is_pack, what_goes};
use crate::container::{ContainerKind, FrameOpener};
use crate::error::Result;
use crate::index::PackEntry;
use crate::open::{Replica, Repository};
use crate::pack::{Fingerprints, PACK_BYTES_MAX};
use crate::patience::within;
use crate::reader::{ChunkReader, pack_id, read_fingerprints};
use crate::removal::{Moving, RepackReport, SweepReport, Writing, doomed_by};
use crate::verify::Damage;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What became of damaged packs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Chunks that were stored anew.
    pub chunks: u64,
    /// Their stored bytes, in one location.
    pub bytes: u64,
    /// Chunks that are whole in no location, and in no other pack.
    pub chunks_lost: u64,
    /// Damaged packs that are gone: nothing that a point needs was only there.
    pub dropped: Vec<Damage>,
}

impl Repository {
    /// Saves what can be read of the packs among `lost`, of which no location has a whole copy, and drops those that no point needs
    /// any more. Interrupted anywhere, the next run goes on.
    ///
    /// # Errors
    /// When a location doesn't answer, or doesn't take what is stored anew.
    pub async fn rescue(self: &Arc<Self>, lost: &[Damage]) -> Result<Rescued> {
        let mut rescued = Rescued::default();
        let packs: HashSet<[u8; 32]> =
            lost.iter().filter(|damage| is_pack(&damage.object)).filter_map(|damage| pack_id(&damage.object)).collect();
        if packs.is_empty() {
            return Ok(rescued);
        }
        // What is marked may be deleted at any moment: nothing is safe there.
        let avoided: HashSet<[u8; 32]> = doomed_by(&self.marks().await?).union(&packs).copied().collect();
        let mut report = RepackReport::default();
        let mut writing = Writing::new(self, Vec::new());
        // Two damaged packs may hold the same chunk, and one of them whole.
        let (mut saved, mut wanted_all) = (HashSet::new(), HashSet::new());
        for (pack, wanted) in self.only_there(&packs, &avoided).await? {
            wanted_all.extend(wanted.iter().map(|number| pack.frames[*number as usize].id));
            for moving in self.save(&pack, &wanted).await? {
                if saved.insert(moving.frame.id) {
                    rescued.bytes += u64::from(moving.frame.stored_bytes);
                    writing.push(moving, &mut report).await?;
                }
            }
        }
        writing.finish(&mut report).await?;
        rescued.chunks = saved.len() as u64;
        rescued.chunks_lost = (wanted_all.len() - saved.len()) as u64;
        for replica in &self.replicas {
            let mut here = lost.iter().filter(|damage| damage.location == replica.name && is_pack(&damage.object));
            let Some(first) = here.next() else { continue };
            let alone = Arc::new(self.only(&replica.name)?);
            // What a point needs can't be told when it can't be read: then all of it is needed.
            let Ok(needed) = alone.packs_needed(&avoided).await else { continue };
            for damage in [first].into_iter().chain(here).filter(|damage| !needed.contains(&damage.object)) {
                self.note_gone(replica, what_goes(&damage.object)).await?;
                self.forget(replica, &damage.object).await?;
                rescued.dropped.push(damage.clone());
            }
        }
        self.strike_out(&rescued.dropped).await?;
        Ok(rescued)
    }

    /// Takes packs that are gone everywhere out of the index: what lists them would have them missed, once it is forgotten why they went.
    async fn strike_out(&self, dropped: &[Damage]) -> Result<()> {
        let mut gone: HashSet<[u8; 32]> = dropped.iter().filter_map(|damage| pack_id(&damage.object)).collect();
        for replica in self.replicas.iter().filter(|_| !dropped.is_empty()) {
            for entry in replica.location.list("packs/").await? {
                pack_id(&entry.key).map(|id| gone.remove(&id));
            }
        }
        self.rewrite_fragments(&gone, &mut SweepReport::default()).await
    }

    /// For each of these packs the numbers of the chunks that some location has in no other pack, but those that are `avoided`.
    async fn only_there(
        self: &Arc<Self>,
        packs: &HashSet<[u8; 32]>,
        avoided: &HashSet<[u8; 32]>,
    ) -> Result<Vec<(PackEntry, BTreeSet<u32>)>> {
        let mut found: HashMap<[u8; 32], (PackEntry, BTreeSet<u32>)> = HashMap::new();
        for replica in &self.replicas {
            let mut reader = ChunkReader::open(Arc::new(self.only(&replica.name)?)).await?;
            reader.prefer_others(avoided);
            let index = reader.index();
            for pack in index.packs().iter().filter(|pack| packs.contains(&pack.id)) {
                let is_only_there = |id| {
                    let holder = index.find(id).map(|place| index.pack(place.pack).id);
                    !holder.is_some_and(|holder| !avoided.contains(&holder) && reader.is_sure_of(&holder))
                };
                let numbered = (0u32..).zip(&pack.frames);
                let wanted = numbered.filter(|(_, frame)| is_only_there(&frame.id)).map(|(number, _)| number);
                found.entry(pack.id).or_insert_with(|| (pack.clone(), BTreeSet::new())).1.extend(wanted);
            }
        }
        Ok(found.into_values().collect())
    }

    /// The wanted chunks of a pack, each from the first location that has it whole.
    async fn save(&self, pack: &PackEntry, wanted: &BTreeSet<u32>) -> Result<Vec<Moving>> {
        let mut saved: BTreeMap<u32, Moving> = BTreeMap::new();
        let limit = self.limits.time_for(PACK_BYTES_MAX as u64);
        for replica in &self.replicas {
            if wanted.len() == saved.len() {
                break;
            }
            let bytes = match within(replica, limit, replica.location.get(&pack.key())).await {
                Ok(bytes) => bytes,
                Err(error) if error.is_loss() => continue,
                Err(error) => return Err(error),
            };
            // Without them the next backup reads these blocks once more, that is all.
            let fingerprints = read_fingerprints(self, replica, pack).await.unwrap_or_default();
            for number in wanted {
                if !saved.contains_key(number)
                    && let Some(moving) = self.whole_chunk(replica, pack, *number, &bytes, &fingerprints)?
                {
                    saved.insert(*number, moving);
                }
            }
        }
        Ok(saved.into_values().collect())
    }

    /// One chunk of a pack as this location has it; `None` when it is not what was written.
    fn whole_chunk(
        &self,
        replica: &Replica,
        pack: &PackEntry,
        number: u32,
        bytes: &[u8],
        fingerprints: &Fingerprints,
    ) -> Result<Option<Moving>> {
        let object = format!("{}/{}", replica.location.address(), pack.key());
        let Some(frame) = pack.frames.get(number as usize).copied() else { return Ok(None) };
        let start = frame.offset as usize;
        let Some(sealed) = bytes.get(start..start + frame.stored_bytes as usize) else { return Ok(None) };
        let mut opener = FrameOpener::new(&self.keys, ContainerKind::Pack, &pack.salt)?;
        let opened = match opener.open(&self.keys, &object, number, &frame, sealed) {
            Ok(_) => opener.packed(&object, number, sealed),
            Err(error) => Err(error),
        };
        match opened {
            Ok(packed) => Ok(Some(Moving { frame, packed, fingerprints: fingerprints.of(number).into() })),
            Err(error) if error.is_loss() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
