//! Bringing locations up to date: what one has and another lacks is copied as it is.
//!
//! Objects are the same everywhere, so a copy needs no key and no decision. Order: keys and packs, then the index,
//! then logs, and points last, so that a point is never there before what it needs.

use crate::error::{Error, Result};
use crate::open::{Replica, Repository, describe};
use crate::reader::pack_id;
use futures::StreamExt;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// In the order in which they are copied.
const PREFIXES: [&str; 8] = ["keys/", "packs/", "index/", "wal/", "ledger/", "plan/", "points/", "verifications/"];
const COPIES_AT_ONCE: usize = 4;

/// What would be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyPlan {
    /// From this location.
    pub from: String,
    /// To this one.
    pub to: String,
    /// Keys and sizes in bytes, in order.
    pub objects: Vec<(String, u64)>,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct CopyReport {
    /// To this location.
    pub to: String,
    /// Number of objects.
    pub objects: u64,
    /// Their size in bytes.
    pub bytes: u64,
    /// Why it stopped, if it did.
    pub failure: Option<String>,
}

impl fmt::Display for CopyReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} objects, {} bytes", self.to, self.objects, self.bytes)?;
        self.failure.as_ref().map_or(Ok(()), |reason| write!(f, ", then stopped: {reason}"))
    }
}

async fn listing(replica: &Replica) -> Result<Vec<BTreeMap<String, u64>>> {
    let mut all = Vec::new();
    for prefix in PREFIXES {
        let entries = replica.location.list(prefix).await?;
        all.push(entries.into_iter().map(|entry| (entry.key, entry.size)).collect());
    }
    Ok(all)
}

fn difference(from: &[BTreeMap<String, u64>], to: &[BTreeMap<String, u64>]) -> Vec<(String, u64)> {
    let missing = |(have, lack): (&BTreeMap<String, u64>, &BTreeMap<String, u64>)| {
        have.iter()
            .filter(|(key, _)| !lack.contains_key(*key))
            .map(|(key, size)| (key.clone(), *size))
            .collect::<Vec<_>>()
    };
    from.iter().zip(to).flat_map(missing).collect()
}

impl Repository {
    fn replica(&self, name: &str) -> Result<&Replica> {
        if let Some((_, reason)) = self.unavailable.iter().find(|(other, _)| other == name) {
            return Err(Error::NotFound { what: format!("location {name} ({reason})") });
        }
        let found = self.replicas.iter().find(|replica| replica.name == name);
        found.ok_or_else(|| Error::NotFound { what: format!("location {name}") })
    }

    /// What `to` lacks of what `from` has.
    pub async fn plan_copy(&self, from: &str, to: &str) -> Result<CopyPlan> {
        let objects = difference(&listing(self.replica(from)?).await?, &listing(self.replica(to)?).await?);
        Ok(CopyPlan { from: from.into(), to: to.into(), objects })
    }

    /// Carries a plan out. `copied` is told the size of each object, in bytes.
    pub async fn apply_copy(&self, plan: &CopyPlan, copied: &(dyn Fn(u64) + Sync)) -> Result<CopyReport> {
        let (from, to) = (self.replica(&plan.from)?, self.replica(&plan.to)?);
        Ok(copy_objects(from, to, &plan.objects, copied).await)
    }
}

async fn copy_objects(
    from: &Replica,
    to: &Replica,
    objects: &[(String, u64)],
    copied: &(dyn Fn(u64) + Sync),
) -> CopyReport {
    let mut report = CopyReport { to: to.name.clone(), ..CopyReport::default() };
    for prefix in PREFIXES {
        let keys: Vec<String> =
            objects.iter().map(|(key, _)| key).filter(|key| key.starts_with(prefix)).cloned().collect();
        let copies = keys.into_iter().map(|key| async move { copy_one(from, to, &key).await });
        let mut results = futures::stream::iter(copies).buffer_unordered(COPIES_AT_ONCE);
        while let Some(result) = results.next().await {
            match result {
                Ok(bytes) => {
                    report.objects += 1;
                    report.bytes += bytes;
                    copied(bytes);
                }
                Err(error) => report.failure = Some(describe(&error)),
            }
        }
        // What comes later depends on what came before: a location never gets a point without its packs.
        if report.failure.is_some() {
            break;
        }
    }
    report
}

/// Objects whose names are hashes are checked on the way: damage must not spread.
async fn copy_one(from: &Replica, to: &Replica, key: &str) -> Result<u64> {
    let bytes = from.location.get(key).await?;
    let object = format!("{}/{key}", from.location.address());
    if (key.starts_with("packs/") || key.starts_with("index/"))
        && pack_id(key) != Some(*blake3::hash(&bytes).as_bytes())
    {
        return Err(Error::corrupt(object, "its name is not the hash of its bytes, so it is not copied"));
    }
    if !key.starts_with("keys/") {
        crate::container::parse(&object, &bytes)?;
    }
    let length = bytes.len() as u64;
    to.location.put_new(key, bytes).await?;
    Ok(length)
}

/// Copies between all reachable locations until each has what any has. Returns, for every location that lacked
/// something, from where it came and what was done. Failures are part of the reports: nobody waits for a dead location.
pub(crate) async fn heal(repository: &Repository) -> Vec<(String, CopyReport)> {
    let mut listings = Vec::new();
    for replica in &repository.replicas {
        if let Ok(listing) = listing(replica).await {
            listings.push((replica, listing));
        }
    }
    let mut reports = Vec::new();
    for to in 0..listings.len() {
        for from in (0..listings.len()).filter(|&from| from != to) {
            let missing = difference(&listings[from].1, &listings[to].1);
            if missing.is_empty() {
                continue;
            }
            let report = copy_objects(listings[from].0, listings[to].0, &missing, &|_| {}).await;
            if report.failure.is_none() {
                for ((key, size), place) in
                    missing.into_iter().filter_map(|object| place_of(&object.0).map(|place| (object, place)))
                {
                    listings[to].1[place].insert(key, size);
                }
            }
            reports.push((listings[from].0.name.clone(), report));
        }
    }
    reports
}

fn place_of(key: &str) -> Option<usize> {
    PREFIXES.iter().position(|prefix| key.starts_with(prefix))
}
