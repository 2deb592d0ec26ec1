//! Deleting what was marked, after another look.

use super::{Gone, LogRange, Mark, MarkedPoint, Removal, begun_key, clock_of, mark_key, reach};
use crate::container::{Builder, ContainerKind};
use crate::error::Result;
use crate::index::{PackEntry, encode_fragment, fragments_of, pack_key};
use crate::log::LogEntry;
use crate::open::{Replica, Repository, describe};
use crate::reader::{ChunkReader, pack_id};
use crate::{point, receipt};
use bytes::Bytes;
use futures::StreamExt;
use lifeboat_location::Entry;
use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

const DELETES_AT_ONCE: usize = 8;

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepReport {
    /// Points that are gone.
    pub points: Vec<MarkedPoint>,
    /// Points that were marked and are needed after all.
    pub spared: Vec<MarkedPoint>,
    /// Number of files of logs that are gone.
    pub logs: u64,
    /// Number of packs that are gone.
    pub packs: u64,
    /// Bytes of everything that was deleted, in all locations together.
    pub bytes: u64,
    /// What could not be deleted, and why. The next sweep tries again.
    pub failures: Vec<String>,
}

/// What the caller wants to be gone today: points, and parts of logs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Going {
    /// Points that the policy gives up.
    pub points: BTreeSet<MarkedPoint>,
    /// Parts of logs that no kept point needs.
    pub logs: Vec<LogRange>,
}

/// What one sweep deletes, and what it leaves.
struct Decided {
    held: BTreeSet<MarkedPoint>,
    points: Vec<MarkedPoint>,
    spared: Vec<MarkedPoint>,
    needed: HashSet<[u8; 32]>,
    doomed: HashSet<[u8; 32]>,
    logs: Vec<LogRange>,
}

impl Repository {
    /// Whether a mark has stood for `grace` in every location, by the stores' own clocks.
    pub async fn is_due(&self, mark: &Mark, grace: Duration) -> Result<bool> {
        self.all_must_answer()?;
        if mark.has_begun {
            return Ok(true);
        }
        for replica in &self.replicas {
            let Some(entry) = replica.location.head(&mark_key(&mark.name)).await? else {
                // It missed the mark; the next session copies it, and its time begins then.
                return Ok(false);
            };
            if clock_of(replica).await?.duration_since(entry.modified).unwrap_or_default() < grace {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Deletes what `mark` names and `going` still gives up, and what no point needs now. Points that are held stay. Ask
    /// [`Self::is_due`] first.
    ///
    /// Interrupted at any moment, the next sweep finishes. What a location refuses to delete is part of the report.
    pub async fn sweep(self: &Arc<Self>, mark: &Mark, going: &Going) -> Result<SweepReport> {
        self.all_must_answer()?;
        let before = self.point_keys().await?;
        let mut decided = self.decide(mark, going, self.held_points().await?).await?;
        self.put_everywhere(&begun_key(&mark.name), &Bytes::from_static(b"begun")).await?;
        // Who holds a point writes that down, and then looks for `begun`: what was written before that is seen here.
        let held = self.held_points().await?;
        if !held.is_subset(&decided.held) {
            decided = self.decide(mark, going, held).await?;
        }
        let Decided { points, spared, needed, doomed, logs, .. } = decided;
        let mut report = SweepReport { points, spared, ..SweepReport::default() };
        let removal = Removal {
            points: report.points.clone(),
            logs: common(&mark.removal.logs, &logs),
            packs: doomed.iter().map(hex::encode).collect(),
        };
        let spared = mark.removal.pack_ids().filter(|id| !doomed.contains(id)).map(|id| pack_key(&id)).collect();
        for replica in &self.replicas {
            // Before anything is deleted: else the next copy from elsewhere would bring it back.
            self.note_gone(replica, Gone { removal: removal.clone(), ..Gone::default() }).await?;
            // A sweep that was interrupted may have written down what a point needs by now.
            self.is_back(replica, &spared).await?;
        }
        let points: BTreeSet<MarkedPoint> = report.points.iter().cloned().collect();
        let is_going = |workload: &str, entry: &LogEntry| {
            let covers = |ranges: &[LogRange]| ranges.iter().any(|range| range.covers(workload, entry));
            covers(&mark.removal.logs) && covers(&logs)
        };
        for replica in &self.replicas {
            self.delete_points_and_logs(replica, &points, &is_going, &mut report).await?;
        }
        // A point must never be left without its packs: these go when all else is gone everywhere.
        if report.failures.is_empty() {
            self.rewrite_fragments(&doomed, &mut report).await?;
            for replica in &self.replicas {
                self.delete_packs(replica, &needed, &doomed, &mut report).await?;
            }
        }
        // A point that came meanwhile may need what is gone: the next copy brings it back, then.
        if !self.point_keys().await?.is_subset(&before) {
            let gone = doomed.iter().map(pack_key).collect();
            for replica in &self.replicas {
                self.is_back(replica, &gone).await?;
            }
        }
        if report.failures.is_empty() {
            for key in [mark_key(&mark.name), begun_key(&mark.name)] {
                for replica in &self.replicas {
                    replica.location.delete(&key).await?;
                }
            }
        }
        Ok(report)
    }

    /// What goes of a mark while these points are held.
    async fn decide(self: &Arc<Self>, mark: &Mark, going: &Going, held: BTreeSet<MarkedPoint>) -> Result<Decided> {
        let goes = |marked: &MarkedPoint| going.points.contains(marked) && !held.contains(marked);
        let (points, spared): (Vec<MarkedPoint>, Vec<MarkedPoint>) =
            mark.removal.points.iter().cloned().partition(goes);
        let mut reader = ChunkReader::open(self.clone()).await?;
        let marked: HashSet<[u8; 32]> = mark.removal.pack_ids().collect();
        let read_from = self.packs_read_from(&mut reader, &held, &marked).await?;
        // What was written again counts where it is now, not where it was.
        reader.prefer_others(&marked);
        let mut needed = reach::packs_needed(self, &reader, |marked| !points.contains(marked)).await?;
        needed.extend(read_from);
        let doomed = marked.difference(&needed).copied().collect();
        // The caller didn't know yet that such a point stays, nor what it needs of its log.
        let is_news = |workload: &str| going.points.iter().any(|gone| gone.workload == workload && held.contains(gone));
        let logs = going.logs.iter().filter(|range| !is_news(&range.workload)).cloned().collect();
        Ok(Decided { held, points, spared, needed, doomed, logs })
    }

    /// The keys of the points, in whichever location.
    async fn point_keys(&self) -> Result<HashSet<String>> {
        let mut keys = HashSet::new();
        for replica in &self.replicas {
            keys.extend(replica.location.list("points/").await?.into_iter().map(|entry| entry.key));
        }
        Ok(keys)
    }

    async fn delete_points_and_logs(
        &self,
        replica: &Replica,
        points: &BTreeSet<MarkedPoint>,
        is_going: &(dyn Fn(&str, &LogEntry) -> bool + Sync),
        report: &mut SweepReport,
    ) -> Result<()> {
        let listing = replica.location.list("").await?;
        let sized = |wanted: &dyn Fn(&str) -> bool| -> Vec<(String, u64)> {
            listing.iter().filter(|entry| wanted(&entry.key)).map(|entry| (entry.key.clone(), entry.size)).collect()
        };
        let point_keys: HashSet<String> =
            points.iter().map(|marked| point::key_of(&marked.workload, &marked.point)).collect();
        let of_point = |key: &str| {
            let id = key.strip_prefix("verifications/").and_then(|rest| rest.rsplit_once('/')).map(|(id, _)| id);
            id.is_some_and(|id| point_keys.contains(&format!("points/{id}")))
        };
        let of_log = |key: &str| {
            let found = key.strip_prefix("wal/").and_then(|rest| rest.split_once('/'));
            let parsed = found.and_then(|(workload, rest)| Some((workload, crate::log::parse_key(rest, 0)?)));
            parsed.is_some_and(|(workload, entry)| is_going(workload, &entry))
        };
        let receipts = sized(&|key| receipt::point_of(key).is_some_and(|point| point_keys.contains(&point)));
        for keys in [receipts, sized(&|key| point_keys.contains(key)), sized(&of_point)] {
            delete_all(replica, keys, report).await;
            if !report.failures.is_empty() {
                return Ok(());
            }
        }
        let logs = delete_all(replica, sized(&of_log), report).await;
        report.logs = report.logs.max(logs);
        Ok(())
    }

    async fn delete_packs(
        &self,
        replica: &Replica,
        needed: &HashSet<[u8; 32]>,
        doomed: &HashSet<[u8; 32]>,
        report: &mut SweepReport,
    ) -> Result<()> {
        let listing = replica.location.list("packs/").await?;
        let present: HashSet<[u8; 32]> = listing.iter().filter_map(|entry| pack_id(&entry.key)).collect();
        if doomed.is_empty() || !needed.is_subset(&present) {
            if !doomed.is_empty() {
                // Where a pack is missing that a point needs, another one may still serve.
                let what = "lacks packs that points need: nothing more goes there before it is whole";
                report.failures.push(format!("{} {what}", replica.name));
            }
            return Ok(());
        }
        let is_doomed = |key: &str| pack_id(key).is_some_and(|id| doomed.contains(&id));
        let keys = listing.into_iter().filter(|entry| is_doomed(&entry.key)).map(|entry| (entry.key, entry.size));
        let packs = delete_all(replica, keys.collect(), report).await;
        report.packs = report.packs.max(packs);
        Ok(())
    }

    /// The fragments of one location that list some of these packs, and all packs that each lists.
    pub(crate) async fn fragments_with(
        &self,
        replica: &Replica,
        wanted: &HashSet<[u8; 32]>,
    ) -> Result<Vec<(Entry, Vec<PackEntry>)>> {
        let mut found = Vec::new();
        if wanted.is_empty() {
            return Ok(found);
        }
        for entry in replica.location.list("index/").await? {
            // One that is lost was taken by another sweep, or is damaged, which is for `verify` to tell.
            let packs = match crate::reader::load_fragment(self, replica, &entry).await {
                Ok(packs) => packs,
                Err(error) if error.is_loss() => continue,
                Err(error) => return Err(error),
            };
            if packs.iter().any(|pack| wanted.contains(&pack.id)) {
                found.push((entry, packs));
            }
        }
        Ok(found)
    }

    /// Fragments that list packs that go make room for one that doesn't.
    pub(crate) async fn rewrite_fragments(&self, doomed: &HashSet<[u8; 32]>, report: &mut SweepReport) -> Result<()> {
        if doomed.is_empty() {
            return Ok(());
        }
        for replica in &self.replicas {
            let (mut survivors, mut old) = (Vec::new(), Vec::new());
            for (entry, packs) in self.fragments_with(replica, doomed).await? {
                survivors.extend(packs.into_iter().filter(|pack| !doomed.contains(&pack.id)));
                old.push((entry.key, entry.size));
            }
            if old.is_empty() {
                continue;
            }
            if !survivors.is_empty() {
                for part in fragments_of(&survivors) {
                    let (name, bytes) = self.fragment_once(&encode_fragment(part))?;
                    self.put_everywhere(&format!("index/{name}"), &bytes).await?;
                }
            }
            let index: Vec<String> = old.iter().map(|(key, _)| key.clone()).collect();
            for other in &self.replicas {
                self.note_gone(other, Gone { index: index.clone(), ..Gone::default() }).await?;
                delete_all(other, old.clone(), report).await;
            }
        }
        Ok(())
    }
}

impl Repository {
    /// The sealed object of a fragment. The same text gives another object each time (its salt is random): so it is made once, for all
    /// locations that are pruned one after the other.
    pub(crate) fn fragment_once(&self, text: &[u8]) -> Result<(String, Bytes)> {
        let id = *blake3::hash(text).as_bytes();
        let known = self.fragments_made.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(made) = known {
            return Ok(made);
        }
        let sealed = Builder::document(&self.keys, ContainerKind::Index, 3, text, &[])?;
        let made = (sealed.name(), sealed.bytes);
        self.fragments_made.lock().unwrap_or_else(PoisonError::into_inner).insert(id, made.clone());
        Ok(made)
    }
}

/// The parts that both lists cover.
fn common(marked: &[LogRange], going: &[LogRange]) -> Vec<LogRange> {
    let both = |one: &LogRange, other: &LogRange| {
        let (first, last) = (one.first.clone().max(other.first.clone()), one.last.clone().min(other.last.clone()));
        let same = one.workload == other.workload && one.group == other.group && first <= last;
        same.then(|| LogRange { first, last, ..one.clone() })
    };
    marked.iter().flat_map(|one| going.iter().filter_map(move |other| both(one, other))).collect()
}

/// Deletes what it can. Returns how many that were; bytes and failures go to the report.
async fn delete_all(replica: &Replica, keys: Vec<(String, u64)>, report: &mut SweepReport) -> u64 {
    let delete = |(key, size): (String, u64)| async move { (replica.location.delete(&key).await, key, size) };
    let mut deletes = futures::stream::iter(keys.into_iter().map(delete)).buffer_unordered(DELETES_AT_ONCE);
    let mut count = 0;
    while let Some((result, key, size)) = deletes.next().await {
        match result {
            Ok(()) => (count, report.bytes) = (count + 1, report.bytes + size),
            Err(error) => report.failures.push(format!("{}: {key}: {}", replica.name, describe(&error))),
        }
    }
    count
}
