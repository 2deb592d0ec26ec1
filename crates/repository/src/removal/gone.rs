//! What a location gave up on purpose, written down in that location: what it lacks without missing it.
//!
//! Each location keeps what its own policy says. A point that one gave up and another keeps must not come back with the next
//! copy, nor be called missing, whoever looks and whatever his configuration says. So a sweep writes down what it is going to
//! delete before it deletes anything (`removals/gone/<time>-<id>`, only there, and never copied). Several records count together;
//! a new one takes in the old ones, so that one is left.
//!
//! A key that was removed is written down in the same way, so that a location which was away with it doesn't bring it back.
//!
//! A pack that was given up comes back when a point needs it that the location is still to get: a point never comes to a place
//! without its packs.

use super::{Covered, MarkedPoint, PREFIX, Removal, SweepReport, reach};
use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::key::random;
use crate::log::parse_key;
use crate::open::{Replica, Repository};
use crate::patience::{answer_within, ask_all};
use crate::point::{PointId, key_of};
use crate::reader::{ChunkReader, pack_id};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

const GONE: &str = "removals/gone/";

/// What one location gave up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    /// Points, parts of logs, packs.
    #[serde(flatten)]
    pub removal: Removal,
    /// Keys of fragments of the index that made room for others.
    #[serde(default)]
    pub index: Vec<String>,
    /// Keys of the records of passphrases and machines that may open the repository no more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    made_at: Timestamp,
    #[serde(flatten)]
    gone: Gone,
}

/// Both lists as one, each thing once.
fn merged<T: Ord>(one: Vec<T>, other: Vec<T>) -> Vec<T> {
    one.into_iter().chain(other).collect::<BTreeSet<T>>().into_iter().collect()
}

impl Gone {
    fn is_empty(&self) -> bool {
        self.removal.is_empty() && self.index.is_empty() && self.keys.is_empty()
    }

    fn and(self, other: Self) -> Self {
        let (a, b) = (self.removal, other.removal);
        let removal = Removal {
            points: merged(a.points, b.points),
            logs: merged(a.logs, b.logs),
            packs: merged(a.packs, b.packs),
        };
        Self { removal, index: merged(self.index, other.index), keys: merged(self.keys, other.keys) }
    }

    /// Only what some of these keys are about, and removed keys for ever: a place that nobody asks today may have one.
    fn limited_to(mut self, keys: &HashSet<String>) -> Self {
        self.removal.points.retain(|marked| keys.contains(&key_of(&marked.workload, &marked.point)));
        self.removal.packs.retain(|id| pack_id(id).is_some_and(|id| keys.contains(&crate::index::pack_key(&id))));
        self.index.retain(|key| keys.contains(key));
        let logs: Vec<(&str, crate::log::LogEntry)> = keys.iter().filter_map(|key| log_of(key)).collect();
        self.removal.logs.retain(|range| logs.iter().any(|(workload, entry)| range.covers(workload, entry)));
        self
    }
}

/// The workload and the file of a log that a key names.
pub(super) fn log_of(key: &str) -> Option<(&str, crate::log::LogEntry)> {
    let (workload, rest) = key.strip_prefix("wal/")?.split_once('/')?;
    Some((workload, parse_key(rest, 0)?))
}

impl Covered {
    pub(crate) fn add_gone(&mut self, gone: &Gone) {
        self.add(&gone.removal);
        self.keys.extend(gone.index.iter().chain(&gone.keys).cloned());
    }

    /// These points are covered, too, by their keys.
    pub(crate) fn add_points<'a>(&mut self, keys: impl Iterator<Item = &'a str>) {
        self.add(&Removal { points: keys.filter_map(marked_of).collect(), ..Removal::default() });
    }

    /// These packs count as missing again, and with them the fragments of the index that may list them.
    pub(crate) fn except(&mut self, packs: &HashSet<String>) {
        let before = self.keys.len();
        self.keys.retain(|key| !packs.contains(key));
        if self.keys.len() < before {
            self.keys.retain(|key| !key.starts_with("index/"));
        }
    }

    /// The packs among what is covered.
    pub(crate) fn has_packs(&self) -> bool {
        self.keys.iter().any(|key| key.starts_with("packs/"))
    }
}

impl Repository {
    /// What a location gave up. A record that can't be read is an error: what it covers can't be told.
    pub(crate) async fn gone_at(&self, replica: &Replica) -> Result<Gone> {
        Ok(self.gone_records(replica).await?.0)
    }

    async fn gone_records(&self, replica: &Replica) -> Result<(Gone, Vec<String>)> {
        let (mut gone, mut keys) = (Gone::default(), Vec::new());
        for entry in replica.location.list(GONE).await? {
            let json = self.unseal(ContainerKind::Document, &entry.key, &replica.location.get(&entry.key).await?)?;
            let document: Document =
                serde_json::from_slice(&json).map_err(|error| Error::corrupt(&entry.key, error.to_string()))?;
            gone = gone.and(document.gone);
            keys.push(entry.key);
        }
        Ok((gone, keys))
    }

    /// Writes down that a location gives this up, too. Durable when it returns.
    pub(crate) async fn note_gone(&self, replica: &Replica, more: Gone) -> Result<()> {
        let (known, old) = self.gone_records(replica).await?;
        let all = known.clone().and(more);
        if all == known && old.len() <= 1 {
            return Ok(());
        }
        self.replace_gone(replica, all, old).await
    }

    async fn replace_gone(&self, replica: &Replica, gone: Gone, old: Vec<String>) -> Result<()> {
        if !gone.is_empty() {
            let suffix: [u8; 4] = random()?;
            let made_at = Timestamp::now();
            let key = format!("{GONE}{}-{}", made_at.strftime("%Y%m%dT%H%M%SZ"), hex::encode(suffix));
            let sealed = self.seal(ContainerKind::Document, &Document { made_at, gone })?;
            replica.location.put_new(&key, sealed).await?;
        }
        for key in old {
            replica.location.delete(&key).await?;
        }
        Ok(())
    }

    /// What is being deleted in one location at this moment, and so isn't copied from there.
    pub(crate) async fn leaving(&self, replica: &Replica) -> Result<Covered> {
        let mut marks = self.only(&replica.name)?.marks().await?;
        marks.retain(|mark| mark.has_begun);
        if marks.is_empty() {
            return Ok(Covered::default());
        }
        // What the sweep spared stays. What goes was written down before.
        let gone = self.gone_at(replica).await?.removal;
        for mark in &mut marks {
            mark.removal.points.retain(|point| gone.points.contains(point));
            mark.removal.packs.retain(|pack| gone.packs.contains(pack));
        }
        Ok(Covered::by(&marks))
    }

    /// Everything that one location lacks on purpose, or will.
    pub(crate) async fn covered_at(&self, replica: &Replica) -> Result<Covered> {
        let marks = self.only(&replica.name)?.marks().await?;
        let mut covered = Covered::by(&marks);
        covered.add_gone(&self.gone_at(replica).await?);
        Ok(covered)
    }

    /// The keys of the packs that these points need.
    pub(crate) async fn packs_of_points(&self, keys: &[&str]) -> Result<HashSet<String>> {
        let everything = Arc::new(self.among(self.replicas.clone()));
        let reader = ChunkReader::open(everything.clone()).await?;
        let points: BTreeSet<MarkedPoint> = keys.iter().filter_map(|key| marked_of(key)).collect();
        let needed = reach::packs_of(&everything, &reader, points.iter()).await?;
        Ok(needed.iter().map(crate::index::pack_key).collect())
    }

    /// For each point, by its key, the keys of the packs that it needs: of several that hold a chunk, the one that is not known to be
    /// damaged. None when that can't be told.
    ///
    /// # Errors
    /// When no location can be listed.
    pub async fn packs_of_each(&self, keys: &[String]) -> Result<Vec<Option<HashSet<String>>>> {
        let everything = Arc::new(self.among(self.replicas.clone()));
        let reader = ChunkReader::open(everything.clone()).await?;
        let mut each = Vec::new();
        for point in keys.iter().map(|key| marked_of(key)) {
            let needed = reach::packs_of(&everything, &reader, point.iter()).await.ok().filter(|_| point.is_some());
            each.push(needed.map(|packs| packs.iter().map(crate::index::pack_key).collect()));
        }
        Ok(each)
    }

    /// Whether everything that a point leads to can be had, from whichever location. False only when every location answered.
    ///
    /// # Errors
    /// When that can't be told.
    pub(crate) async fn can_be_followed(&self, point: &str) -> Result<bool> {
        let Some(point) = marked_of(point) else { return Ok(true) };
        self.all_must_answer()?;
        let everything = Arc::new(self.among(self.replicas.clone()));
        let reader = ChunkReader::open(everything.clone()).await?;
        match reach::packs_of(&everything, &reader, [&point].into_iter()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_loss() && reader.all_answered() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes the records of removed keys away from locations that were away when they were removed. One that doesn't answer is left
    /// for another time; nobody waits for it.
    pub(crate) async fn forget_removed_keys(&self) -> Result<()> {
        let ask = async |replica: Replica| {
            let (records, keys) = (replica.location.list(GONE).await?, replica.location.list("keys/").await?);
            Ok((records.len(), keys.into_iter().map(|entry| entry.key).collect::<Vec<String>>()))
        };
        let mut answered = Vec::new();
        for (replica, answer) in self.replicas.iter().zip(ask_all(&self.replicas, self.limits.patience, ask).await) {
            answered.extend(answer.ok().map(|(records, keys)| (replica, records, keys)));
        }
        let mut removed = BTreeSet::new();
        for (replica, ..) in answered.iter().filter(|(_, records, _)| *records > 0) {
            removed.extend(answer_within(replica, self.limits.listing(), self.gone_at(replica)).await?.keys);
        }
        for (replica, _, keys) in answered {
            let stale: Vec<String> = keys.into_iter().filter(|key| removed.contains(key)).collect();
            if stale.is_empty() {
                continue;
            }
            let forget = async {
                self.note_gone(replica, Gone { keys: stale.clone(), ..Gone::default() }).await?;
                for key in stale {
                    replica.location.delete(&key).await?;
                }
                Ok(())
            };
            answer_within(replica, self.limits.listing(), forget).await?;
        }
        Ok(())
    }

    /// These packs are back: from now on they are missed when they are lost.
    pub(crate) async fn is_back(&self, replica: &Replica, packs: &HashSet<String>) -> Result<()> {
        // What can't be read covers nothing.
        let Ok((mut gone, old)) = self.gone_records(replica).await else { return Ok(()) };
        let before = gone.removal.packs.len();
        gone.removal.packs.retain(|id| pack_id(id).is_none_or(|id| !packs.contains(&crate::index::pack_key(&id))));
        if gone.removal.packs.len() == before {
            return Ok(());
        }
        gone.index.clear();
        self.replace_gone(replica, gone, old).await
    }

    /// Forgets what no other location has any more, so that the records don't grow for ever. Call only when every location that
    /// could have it answers: a disk in a drawer may have it.
    pub async fn forget_gone(&self) -> Result<()> {
        self.all_must_answer()?;
        let mut listings = Vec::new();
        for replica in &self.replicas {
            let entries = replica.location.list("").await?;
            // A sweep that was interrupted at its very end leaves a `begun` without its mark.
            let is_left_over = |key: &str| {
                let mark = key.strip_suffix("/begun").map(|removal| format!("{removal}/mark"));
                mark.is_some_and(|mark| entries.iter().all(|entry| entry.key != mark))
            };
            for entry in entries.iter().filter(|entry| entry.key.starts_with(PREFIX) && is_left_over(&entry.key)) {
                replica.location.delete(&entry.key).await?;
            }
            let keys = entries.into_iter().map(|entry| entry.key).filter(|key| !key.starts_with(PREFIX));
            listings.push((replica, keys.collect::<HashSet<String>>()));
        }
        for (replica, here) in &listings {
            let others = listings.iter().filter(|(other, _)| other.name != replica.name);
            let elsewhere: HashSet<String> = others.flat_map(|(_, keys)| keys.iter().cloned()).collect();
            let gone = self.gone_at(replica).await?;
            let left = gone.clone().limited_to(&elsewhere);
            if left == gone {
                continue;
            }
            // A copy that was under way may have brought a fragment after the sweep: once this is forgotten, its packs would be missed.
            let forgotten = gone.removal.pack_ids().filter(|id| !left.removal.packs.contains(&hex::encode(id)));
            let absent = forgotten.filter(|id| !here.contains(&crate::index::pack_key(id))).collect();
            let mut report = SweepReport::default();
            self.only(&replica.name)?.rewrite_fragments(&absent, &mut report).await?;
            if report.failures.is_empty() {
                self.forget_log_ends(&replica.name).await?;
                let (gone, old) = self.gone_records(replica).await?;
                self.replace_gone(replica, gone.limited_to(&elsewhere), old).await?;
            }
        }
        Ok(())
    }
}

fn marked_of(key: &str) -> Option<MarkedPoint> {
    let (workload, id) = key.strip_prefix("points/")?.split_once('/')?;
    Some(MarkedPoint { workload: workload.into(), point: PointId(id.into()) })
}
