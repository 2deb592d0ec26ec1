//! Giving up: recovery points, files of a log, and the packs that nobody needs any more.
//!
//! Two phases, and no lock on writers. First a *mark* says what will go (`removals/<name>/mark`). From then on no new session
//! builds on a marked pack, and one that began before looks again before it commits. After a time of grace a *sweep* looks at
//! everything again, spares what is needed after all, and deletes the rest, in the order receipts, points, verifications, log,
//! index, packs. So a point is never anywhere without its packs, and until the sweep nothing is lost: a mark can be taken back.
//!
//! What is under `removals/` is about the location that it is in, and is never copied: each location keeps what its own policy
//! says. So a location is pruned by itself ([`Repository::only`]), and needs no other one: what another one is still to bring comes
//! with everything that it needs ([`gone`]). Called on several locations, everything here is done in all of them alike, and all must
//! answer. The time of grace is measured by each store's own clock.
//!
//! What somebody still reads from is held ([`held`]), and stays whatever the caller says.
//!
//! Not here: which points and which part of a log are given up.

mod gone;
mod held;
mod reach;
mod reliance;
mod repack;
mod sweep;

pub(crate) use gone::Gone;
pub(crate) use held::Fate;
pub(crate) use reliance::{Ground, Reliance};
pub(crate) use repack::{Moving, Writing};
pub use repack::{RepackPlan, RepackReport};
pub use sweep::{Going, SweepReport};

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::index::pack_key;
use crate::key::random;
use crate::log::LogEntry;
use crate::open::{Replica, Repository};
use crate::patience::ask_all;
use crate::point::{PointId, key_of};
use crate::reader::{ChunkReader, pack_id};
use crate::receipt;
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_location::ErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Begins the key of everything about removals.
pub(crate) const PREFIX: &str = "removals/";

/// Files of one group of a log whose names lie between two names, both included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogRange {
    /// The workload.
    pub workload: String,
    /// The group in its log.
    pub group: String,
    /// The first name.
    pub first: String,
    /// The last name.
    pub last: String,
}

impl LogRange {
    /// Whether a file lies in the range.
    pub fn covers(&self, workload: &str, entry: &LogEntry) -> bool {
        self.workload == workload && self.group == entry.group && (&self.first..=&self.last).contains(&&entry.name)
    }
}

/// A point as a mark names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MarkedPoint {
    /// Its workload.
    pub workload: String,
    /// Its name.
    pub point: PointId,
}

/// What will be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Removal {
    /// Points, with their receipts and verifications.
    pub points: Vec<MarkedPoint>,
    /// Parts of logs.
    pub logs: Vec<LogRange>,
    /// Packs, by the hexadecimal digits of their names.
    pub packs: Vec<String>,
}

impl Removal {
    /// Whether there is nothing to delete.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty() && self.logs.is_empty() && self.packs.is_empty()
    }

    fn pack_ids(&self) -> impl Iterator<Item = [u8; 32]> {
        self.packs.iter().filter_map(|id| pack_id(id))
    }

    /// The keys of its packs.
    pub fn pack_keys(&self) -> impl Iterator<Item = String> {
        self.pack_ids().map(|id| pack_key(&id))
    }
}

/// A mark that stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its name: the time at which it was made, and eight digits.
    pub name: String,
    /// When it was made, by the clock of whoever made it. For people.
    pub made_at: Timestamp,
    /// What will go.
    pub removal: Removal,
    /// Whether deleting has begun: then it can't be taken back.
    pub has_begun: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    made_at: Timestamp,
    #[serde(flatten)]
    removal: Removal,
}

fn mark_key(name: &str) -> String {
    format!("{PREFIX}{name}/mark")
}

fn begun_key(name: &str) -> String {
    format!("{PREFIX}{name}/begun")
}

/// The packs that nothing may build on any more.
pub(crate) fn doomed_by(marks: &[Mark]) -> HashSet<[u8; 32]> {
    marks.iter().flat_map(|mark| mark.removal.pack_ids()).collect()
}

/// What marks cover, to be asked about keys.
#[derive(Debug, Default)]
pub(crate) struct Covered {
    keys: HashSet<String>,
    prefixes: HashSet<String>,
    logs: Vec<LogRange>,
}

impl Covered {
    pub(crate) fn by(marks: &[Mark]) -> Self {
        let mut covered = Self::default();
        marks.iter().for_each(|mark| covered.add(&mark.removal));
        covered
    }

    fn add(&mut self, removal: &Removal) {
        for marked in &removal.points {
            let key = key_of(&marked.workload, &marked.point);
            self.keys.extend(receipt::key_for(&key));
            self.keys.insert(key);
            self.prefixes.insert(format!("verifications/{}/{}/", marked.workload, marked.point));
        }
        self.keys.extend(removal.pack_keys());
        self.logs.extend(removal.logs.iter().cloned());
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        let in_log = || {
            let (workload, entry) = gone::log_of(key)?;
            self.logs.iter().any(|range| range.covers(workload, &entry)).then_some(())
        };
        let in_prefix = || key.rfind('/').is_some_and(|end| self.prefixes.contains(&key[..=end]));
        self.keys.contains(key) || in_prefix() || in_log().is_some()
    }
}

impl Repository {
    /// Every mark that stands, in whichever location, oldest first. A location that doesn't answer is an error, and so is a mark that
    /// can't be read anywhere: what it covers can't be told.
    pub async fn marks(&self) -> Result<Vec<Mark>> {
        self.marks_of(false).await
    }

    /// `only_begun`: only those of which deleting has begun; then none of the others need be readable.
    async fn marks_of(&self, only_begun: bool) -> Result<Vec<Mark>> {
        let ask = async |replica: Replica| Ok(replica.location.list(PREFIX).await?);
        let mut holders: BTreeMap<String, Vec<&Replica>> = BTreeMap::new();
        let mut begun = BTreeSet::new();
        for (replica, answer) in self.replicas.iter().zip(ask_all(&self.replicas, self.limits.patience, ask).await) {
            for entry in answer? {
                match entry.key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) {
                    Some((name, "mark")) => holders.entry(name.into()).or_default().push(replica),
                    Some((name, "begun")) => _ = begun.insert(name.to_owned()),
                    _ => {}
                }
            }
        }
        let mut marks = Vec::new();
        for (name, holders) in holders {
            let has_begun = begun.contains(&name);
            if only_begun && !has_begun {
                continue;
            }
            let Some(Document { made_at, removal }) = self.read_mark(&name, &holders).await? else { continue };
            marks.push(Mark { name, made_at, removal, has_begun });
        }
        Ok(marks)
    }

    /// None when nobody has it any more: it was listed a moment ago, and has been carried out or taken back since.
    async fn read_mark(&self, name: &str, holders: &[&Replica]) -> Result<Option<Document>> {
        let key = mark_key(name);
        let mut failure = None;
        for replica in holders {
            let bytes = match replica.location.get(&key).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => {
                    failure = Some(error.into());
                    continue;
                }
            };
            let read = self.unseal(ContainerKind::Document, &key, &bytes).and_then(|json| {
                serde_json::from_slice(&json).map_err(|error| Error::corrupt(&key, error.to_string()))
            });
            match read {
                Ok(document) => return Ok(Some(document)),
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(None), Err)
    }

    /// Every point, as every location lists it: an error when one doesn't answer. A point that is in one location only would
    /// be overlooked without it, and what it needs given up.
    pub async fn points_everywhere(&self, workload: Option<&str>) -> Result<Vec<MarkedPoint>> {
        self.all_must_answer()?;
        let mut points = BTreeSet::new();
        for replica in &self.replicas {
            let listed = self.only(&replica.name)?.list_points(workload).await?;
            points.extend(listed.into_iter().map(|header| MarkedPoint { workload: header.workload, point: header.id }));
        }
        Ok(points.into_iter().collect())
    }

    /// The keys of the packs that the points of this repository need. What those of `avoided` hold counts where else it is.
    pub(crate) async fn packs_needed(self: &Arc<Self>, avoided: &HashSet<[u8; 32]>) -> Result<HashSet<String>> {
        let mut reader = ChunkReader::open(self.clone()).await?;
        reader.prefer_others(avoided);
        let needed = reach::packs_needed(self, &reader, |_| true).await?;
        Ok(needed.iter().map(pack_key).collect())
    }

    /// What could go beside these points and files: the packs that nothing else needs, older than `grace` by their
    /// store's clock (a younger one may belong to a session that is under way).
    pub async fn plan_removal(
        self: &Arc<Self>,
        points: Vec<MarkedPoint>,
        logs: Vec<LogRange>,
        grace: Duration,
    ) -> Result<Removal> {
        self.plan_removal_after(points, logs, grace, &BTreeSet::new()).await
    }

    /// The same after packs (by the digits of their names) were rewritten: what they hold counts where else it is.
    pub async fn plan_removal_after(
        self: &Arc<Self>,
        points: Vec<MarkedPoint>,
        logs: Vec<LogRange>,
        grace: Duration,
        rewritten: &BTreeSet<String>,
    ) -> Result<Removal> {
        let mut reader = ChunkReader::open(self.clone()).await?;
        reader.prefer_others(&rewritten.iter().filter_map(|id| pack_id(id)).collect());
        let going: BTreeSet<&MarkedPoint> = points.iter().collect();
        let needed = reach::packs_needed(self, &reader, |marked| !going.contains(marked)).await?;
        let marked: HashSet<String> = self.marks().await?.into_iter().flat_map(|mark| mark.removal.packs).collect();
        let mut packs = BTreeSet::new();
        for replica in &self.replicas {
            let now = clock_of(replica).await?;
            for entry in replica.location.list("packs/").await? {
                let Some(id) = pack_id(&entry.key) else { continue };
                let is_old = now.duration_since(entry.modified).unwrap_or_default() >= grace;
                if is_old && !needed.contains(&id) && !marked.contains(&hex::encode(id)) {
                    packs.insert(hex::encode(id));
                }
            }
        }
        Ok(Removal { points, logs, packs: packs.into_iter().collect() })
    }

    /// Marks what is to go, in every location of this repository; an error when one doesn't take it. Returns the name of the mark.
    pub async fn mark(&self, removal: Removal) -> Result<String> {
        self.all_must_answer()?;
        let made_at = Timestamp::now();
        let suffix: [u8; 4] = random()?;
        let name = format!("{}-{}", made_at.strftime("%Y%m%dT%H%M%SZ"), hex::encode(suffix));
        let sealed = self.seal(ContainerKind::Document, &Document { made_at, removal })?;
        self.put_everywhere(&mark_key(&name), &sealed).await?;
        Ok(name)
    }

    /// Takes a mark back. Refused once deleting has begun.
    pub async fn cancel_removal(&self, mark: &Mark) -> Result<()> {
        if mark.has_begun {
            return Err(Error::Conflict { name: format!("removal {}: deleting has begun", mark.name) });
        }
        for replica in &self.replicas {
            replica.location.delete(&mark_key(&mark.name)).await?;
        }
        Ok(())
    }

    pub(crate) fn all_must_answer(&self) -> Result<()> {
        let away: Vec<String> = self.unavailable.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
        match away.is_empty() {
            true => Ok(()),
            false => Err(Error::AllLocationsFailed { reasons: away, temporary: true }),
        }
    }

    async fn put_everywhere(&self, key: &str, bytes: &Bytes) -> Result<()> {
        for replica in &self.replicas {
            replica.location.put_new(key, bytes.clone()).await?;
        }
        Ok(())
    }
}

/// The time by the store's own clock: that of an object that was written just now.
async fn clock_of(replica: &Replica) -> Result<SystemTime> {
    let suffix: [u8; 8] = random()?;
    let key = format!("{PREFIX}clock/{}", hex::encode(suffix));
    replica.location.put_new(&key, Bytes::from_static(b"what time is it")).await?;
    let entry = replica.location.head(&key).await?;
    replica.location.delete(&key).await?;
    let entry = entry.ok_or_else(|| Error::NotFound { what: format!("{}/{key}", replica.location.address()) })?;
    Ok(entry.modified)
}
