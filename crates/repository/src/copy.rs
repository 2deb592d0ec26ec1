//! Bringing locations up to date: what one has and another lacks is copied as it is.
//!
//! Objects are the same everywhere, so a copy changes nothing; each is checked on the way, because damage must not
//! spread. Order: keys and packs, then the index, then logs, then points and their receipts, so that a point is never
//! there before what it needs.

use crate::error::{Error, Result};
use crate::open::{Replica, Repository, describe};
use crate::part;
use crate::patience::{ask_all, within};
use crate::removal::Covered;
use futures::StreamExt;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// In the order in which they are copied.
pub(crate) const PREFIXES: [&str; 10] =
    ["keys/", "packs/", "index/", "wal/", "ledger/", "plan/", "syncs/", "points/", "receipts/", "verifications/"];
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

/// Keys and sizes in bytes of everything in one location that is copied.
type Listing = BTreeMap<String, u64>;

async fn listing(replica: &Replica) -> Result<Listing> {
    let mut all = Listing::new();
    for prefix in PREFIXES {
        all.extend(replica.location.list(prefix).await?.into_iter().map(|entry| (entry.key, entry.size)));
    }
    Ok(all)
}

/// What `to` lacks, less what it lacks on purpose, and what is being deleted where it would come from.
fn difference(from: &Listing, to: &Listing, lacks: &Covered, leaves: &Covered) -> Vec<(String, u64)> {
    let missing = |prefix: &&str| {
        let of_prefix = from.range(prefix.to_string()..).take_while(|(key, _)| key.starts_with(*prefix));
        of_prefix
            .filter(|(key, _)| {
                !to.contains_key(*key)
                    && !lacks.has(key)
                    && !leaves.has(key)
                    && !part::is_needless(key, |start| beginning(from, start))
                    && !part::is_needless(key, |start| beginning(to, start))
            })
            .map(|(key, size)| (key.clone(), *size))
            .collect::<Vec<_>>()
    };
    PREFIXES.iter().flat_map(missing).collect()
}

/// The keys that begin so.
fn beginning<'a>(listing: &'a Listing, start: &str) -> Vec<&'a str> {
    let from = listing.range(start.to_owned()..).map(|(key, _)| key.as_str());
    from.take_while(|key| key.starts_with(start)).collect()
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
        let (source, target) = (self.replica(from)?, self.replica(to)?);
        let (there, here) = (listing(source).await?, listing(target).await?);
        let leaves = self.leaving(source).await?;
        let lacks = self.lacks_on_purpose(target, &here, &[&there]).await?;
        let objects = difference(&there, &here, &lacks, &leaves);
        Ok(CopyPlan { from: from.into(), to: to.into(), objects })
    }

    /// Brings every reachable location up to date with the others. Says what was copied, and what is still behind.
    pub async fn bring_up_to_date(&self) -> Vec<String> {
        if self.replicas.len() < 2 {
            return Vec::new();
        }
        match heal(self).await {
            Ok(Healed { reports, behind }) => {
                let copied = reports.iter().map(|(from, report)| format!("brought up to date from {from}: {report}"));
                let missed = behind.iter().map(|(name, reason)| format!("location {name} is behind: {reason}"));
                copied.chain(missed).collect()
            }
            Err(error) => vec![describe(&error)],
        }
    }

    /// Carries a plan out. `copied` is told the size of each object, in bytes.
    pub async fn apply_copy(&self, plan: &CopyPlan, copied: &(dyn Fn(u64) + Sync)) -> Result<CopyReport> {
        let (from, to) = (self.replica(&plan.from)?, self.replica(&plan.to)?);
        self.forget_removed_keys().await?;
        Ok(copy_objects(self, from, to, &plan.objects, copied).await.0)
    }

    /// What a location lacks and is not to get: less the packs that it gave up and that a point needs which it is to get.
    async fn lacks_on_purpose(&self, to: &Replica, here: &Listing, others: &[&Listing]) -> Result<Covered> {
        let (mut covered, _) = self.covered_at(to).await?;
        let is_new = |key: &&String| key.starts_with("points/") && !here.contains_key(*key) && !covered.has(key);
        let points: BTreeSet<&str> =
            others.iter().flat_map(|there| there.keys()).filter(is_new).map(String::as_str).collect();
        if !points.is_empty() && covered.has_packs() {
            let points: Vec<&str> = points.into_iter().collect();
            covered.except(&self.packs_of_points(&points).await?);
        }
        Ok(covered)
    }
}

/// Why one object was not copied.
enum Failure {
    /// It couldn't be read, or is damaged where it would come from.
    Source(Error),
    /// The other location didn't take it.
    Target(Error),
}

/// The second value is true when the target is to blame for a failure.
async fn copy_objects(
    repository: &Repository,
    from: &Replica,
    to: &Replica,
    objects: &[(String, u64)],
    copied: &(dyn Fn(u64) + Sync),
) -> (CopyReport, bool) {
    let mut report = CopyReport { to: to.name.clone(), ..CopyReport::default() };
    let mut target_failed = false;
    for prefix in PREFIXES {
        let of_prefix: Vec<(String, u64)> =
            objects.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
        let copies =
            of_prefix.into_iter().map(|(key, size)| async move { copy_one(repository, from, to, &key, size).await });
        let mut results = futures::stream::iter(copies).buffer_unordered(COPIES_AT_ONCE);
        while let Some(result) = results.next().await {
            match result {
                Ok(bytes) => {
                    report.objects += 1;
                    report.bytes += bytes;
                    copied(bytes);
                }
                Err(Failure::Source(error)) => report.failure = Some(describe(&error)),
                Err(Failure::Target(error)) => {
                    report.failure = Some(describe(&error));
                    target_failed = true;
                    // It won't take the next one either, and each try may cost the patience.
                    break;
                }
            }
        }
        // What comes later depends on what came before: a location never gets a point without its packs.
        if report.failure.is_some() {
            break;
        }
        let packs: HashSet<String> =
            objects.iter().filter(|(key, _)| key.starts_with("packs/")).map(|(key, _)| key.clone()).collect();
        if prefix == "packs/"
            && !packs.is_empty()
            && let Err(error) = repository.is_back(to, &packs).await
        {
            report.failure = Some(describe(&error));
            break;
        }
    }
    (report, target_failed)
}

async fn copy_one(
    repository: &Repository,
    from: &Replica,
    to: &Replica,
    key: &str,
    size: u64,
) -> std::result::Result<u64, Failure> {
    let limit = repository.limits.time_for(size * COPIES_AT_ONCE as u64);
    let bytes = match within(from, limit, from.location.get(key)).await {
        Ok(bytes) => bytes,
        // A receiver removes a part when something whole takes its place; a copy of it is worth nothing then.
        Err(error) if part::is_gone(key, &error) => return Ok(0),
        Err(error) => return Err(Failure::Source(error)),
    };
    let object = format!("{}/{key}", from.location.address());
    crate::verify::check_copy(repository, key, &bytes)
        .map_err(|error| Failure::Source(Error::corrupt(object, format!("so it is not copied: {error}"))))?;
    let length = bytes.len() as u64;
    within(to, limit, to.location.put_new(key, bytes)).await.map_err(Failure::Target)?;
    Ok(length)
}

/// What [`heal`] did.
#[derive(Debug, Default)]
pub(crate) struct Healed {
    /// From where, and what was done. Only for locations that lacked something.
    pub reports: Vec<(String, CopyReport)>,
    /// Locations that are still behind because they don't answer or didn't take what they lack, and why.
    pub behind: Vec<(String, String)>,
}

/// Copies between all reachable locations until each has what any has, and writes receipts that a crash left out.
///
/// Failures are part of the result: nobody waits for a dead location.
pub(crate) async fn heal(repository: &Repository) -> Result<Healed> {
    let mut healed = Healed::default();
    // What isn't taken away now is by the next one.
    if let Err(error) = repository.forget_removed_keys().await {
        tracing::debug!(%error, "records of removed keys");
    }
    let ask = async |replica: Replica| listing(&replica).await;
    let answers = ask_all(&repository.replicas, repository.limits.listing(), ask).await;
    let mut listings: Vec<(Replica, Listing)> = Vec::new();
    for (replica, answer) in repository.replicas.iter().zip(answers) {
        match answer {
            Ok(listing) => listings.push((replica.clone(), listing)),
            Err(error) => healed.behind.push((replica.name.clone(), describe(&error))),
        }
    }
    let mut leaves = Vec::new();
    for (replica, _) in &listings {
        leaves.push(repository.leaving(replica).await.unwrap_or_default());
    }
    repository.heal_receipts(&mut listings).await?;
    for to in 0..listings.len() {
        let others: Vec<&Listing> =
            listings.iter().enumerate().filter(|(number, _)| *number != to).map(|(_, (_, there))| there).collect();
        // What can't be told is copied: at worst it is deleted a second time.
        let lacks = repository.lacks_on_purpose(&listings[to].0, &listings[to].1, &others).await.unwrap_or_default();
        for from in (0..listings.len()).filter(|&from| from != to) {
            let missing = difference(&listings[from].1, &listings[to].1, &lacks, &leaves[from]);
            if missing.is_empty() {
                continue;
            }
            let (source, target) = (&listings[from].0, &listings[to].0);
            let (report, target_failed) = copy_objects(repository, source, target, &missing, &|_| {}).await;
            if target_failed {
                let reason = report.failure.clone().unwrap_or_default();
                healed.behind.push((target.name.clone(), format!("could not be brought up to date: {reason}")));
            }
            let complete = report.failure.is_none();
            healed.reports.push((source.name.clone(), report));
            if complete {
                listings[to].1.extend(missing);
            }
            if target_failed {
                break;
            }
        }
    }
    Ok(healed)
}
