//! Bringing locations up to date: what one has and another lacks is copied as it is.
//!
//! Objects are the same everywhere, so a copy changes nothing; each is checked on the way, because damage must not
//! spread. Order: keys and packs, then the index, then logs, then points and their receipts, so that a point is never
//! there before what it needs. Evidence comes last: no data waits for it.

use crate::error::{Error, Result};
use crate::index::{PackEntry, encode_fragment, fragments_of};
use crate::open::{Replica, Repository, describe};
use crate::part;
use crate::patience::{ask_all, within};
use crate::reader::{open_fragment, pack_id};
use crate::removal::{Covered, Gone};
use bytes::Bytes;
use futures::StreamExt;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// In the order in which they are copied.
pub(crate) const PREFIXES: [&str; 10] =
    ["keys/", "packs/", "index/", "wal/", "plan/", "syncs/", "points/", "receipts/", "verifications/", "ledger/"];
const COPIES_AT_ONCE: usize = 4;
/// Of evidence, one: no location gets an entry before those that it follows.
const ENTRIES_AT_ONCE: usize = 1;

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
    let is_due = |key: &str| !to.contains_key(key) && !lacks.has(key) && !leaves.has(key);
    let mut packs = from.range("packs/".to_owned()..).take_while(|(key, _)| key.starts_with("packs/"));
    let brings_packs = packs.any(|(key, _)| is_due(key));
    let missing = |prefix: &&str| {
        let of_prefix = from.range(prefix.to_string()..).take_while(|(key, _)| key.starts_with(*prefix));
        of_prefix
            .filter(|(key, _)| {
                // With packs comes what lists them, also where it made room once.
                let lists_them = brings_packs && key.starts_with("index/") && !to.contains_key(*key);
                (is_due(key) || lists_them)
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
        let mut covered = self.covered_at(to).await?;
        let is_new = |key: &&String| key.starts_with("points/") && !here.contains_key(*key) && !covered.has(key);
        let points: BTreeSet<&str> =
            others.iter().flat_map(|there| there.keys()).filter(is_new).map(String::as_str).collect();
        if points.is_empty() || !covered.has_packs() {
            return Ok(covered);
        }
        let points: Vec<String> = points.into_iter().map(str::to_owned).collect();
        let each = self.packs_of_each(&points).await.unwrap_or_else(|_| vec![None; points.len()]);
        covered.except(&each.iter().flatten().flatten().cloned().collect());
        // What such a point needs can't be told: it waits, lest it come without its packs.
        let waiting = points.iter().zip(&each).filter(|(_, packs)| packs.is_none());
        covered.add_points(waiting.map(|(point, _)| point.as_str()));
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
        // Before and after the points: a sweep may be under way, and may have looked before they came.
        if ["points/", "receipts/"].contains(&prefix)
            && let Err(failure) = bring_what_points_need(repository, from, to, objects).await
        {
            let (Failure::Source(error) | Failure::Target(error)) = &failure;
            report.failure = Some(describe(error));
            target_failed = matches!(failure, Failure::Target(_));
            break;
        }
        let of_prefix: Vec<(String, u64)> =
            objects.iter().filter(|(key, _)| key.starts_with(prefix)).cloned().collect();
        let holds = match prefix == "index/" && !of_prefix.is_empty() {
            true => Some(packs_of(to).await),
            false => None,
        };
        let holds = &holds.transpose().unwrap_or_default();
        let copies = of_prefix.into_iter().map(|(key, size)| async move {
            match holds {
                Some(holds) => copy_fragment(repository, from, to, (&key, size), holds).await,
                None => copy_one(repository, from, to, &key, size).await,
            }
        });
        let at_once = if prefix == "ledger/" { ENTRIES_AT_ONCE } else { COPIES_AT_ONCE };
        let mut results = futures::stream::iter(copies).buffer_unordered(at_once);
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

/// Packs that were there when it was looked what is missing, and that a sweep has taken since: what the points that come with this copy
/// need of them is brought again.
async fn bring_what_points_need(
    repository: &Repository,
    from: &Replica,
    to: &Replica,
    objects: &[(String, u64)],
) -> std::result::Result<(), Failure> {
    let points: Vec<&str> =
        objects.iter().map(|(key, _)| key.as_str()).filter(|key| key.starts_with("points/")).collect();
    // What can't be told may cover anything.
    if points.is_empty() || repository.covered_at(to).await.is_ok_and(|covered| !covered.has_packs()) {
        return Ok(());
    }
    let there = repository.among(vec![from.clone()]);
    let needed = there.packs_of_points(&points).await.map_err(Failure::Source)?;
    let (limit, mut back) = (repository.limits.listing(), HashSet::new());
    let here = within(to, limit, to.location.list("packs/")).await.map_err(Failure::Target)?;
    let here: HashSet<String> = here.into_iter().map(|entry| entry.key).collect();
    let there = within(from, limit, from.location.list("packs/")).await.map_err(Failure::Source)?;
    for pack in there.into_iter().filter(|pack| needed.contains(&pack.key) && !here.contains(&pack.key)) {
        copy_one(repository, from, to, &pack.key, pack.size).await?;
        back.insert(pack.key);
    }
    repository.is_back(to, &back).await.map_err(Failure::Target)
}

async fn copy_one(
    repository: &Repository,
    from: &Replica,
    to: &Replica,
    key: &str,
    size: u64,
) -> std::result::Result<u64, Failure> {
    let Some(bytes) = checked(repository, from, key, size).await.map_err(Failure::Source)? else { return Ok(0) };
    put(repository, to, key, bytes).await
}

/// An object, checked. None: a receiver removes a part when something whole takes its place; a copy of it is worth nothing then.
async fn checked(repository: &Repository, from: &Replica, key: &str, size: u64) -> Result<Option<Bytes>> {
    let limit = repository.limits.time_for(size * COPIES_AT_ONCE as u64);
    let bytes = match within(from, limit, from.location.get(key)).await {
        Ok(bytes) => bytes,
        Err(error) if part::is_gone(key, &error) => return Ok(None),
        Err(error) => return Err(error),
    };
    let object = format!("{}/{key}", from.location.address());
    crate::verify::check_copy(repository, key, &bytes)
        .map_err(|error| Error::corrupt(object, format!("so it is not copied: {error}")))?;
    Ok(Some(bytes))
}

async fn put(repository: &Repository, to: &Replica, key: &str, bytes: Bytes) -> std::result::Result<u64, Failure> {
    let length = bytes.len() as u64;
    let limit = repository.limits.time_for(length * COPIES_AT_ONCE as u64);
    within(to, limit, to.location.put_new(key, bytes)).await.map_err(Failure::Target)?;
    Ok(length)
}

/// The packs that a location has.
async fn packs_of(replica: &Replica) -> Result<HashSet<[u8; 32]>> {
    Ok(replica.location.list("packs/").await?.iter().filter_map(|entry| pack_id(&entry.key)).collect())
}

/// Copies a fragment of the index. When it lists packs that the other location doesn't have (they were given up, or are being deleted),
/// one takes its place that lists the rest: whoever has a fragment without its packs would miss them for ever.
async fn copy_fragment(
    repository: &Repository,
    from: &Replica,
    to: &Replica,
    (key, size): (&str, u64),
    holds: &HashSet<[u8; 32]>,
) -> std::result::Result<u64, Failure> {
    let Some(bytes) = checked(repository, from, key, size).await.map_err(Failure::Source)? else { return Ok(0) };
    // One that can't be opened lists nothing, and is for `verify` to tell of.
    let packs = open_fragment(&repository.keys, key, &bytes).unwrap_or_default();
    let mut there: Vec<PackEntry> = packs.iter().filter(|pack| holds.contains(&pack.id)).cloned().collect();
    if there.len() == packs.len() {
        return put(repository, to, key, bytes).await;
    }
    let wanted: HashSet<[u8; 32]> = there.iter().map(|pack| pack.id).collect();
    let listing = repository.fragments_with(to, &wanted).await.map_err(Failure::Target)?;
    let listed: HashSet<[u8; 32]> = listing.iter().flat_map(|(_, packs)| packs).map(|pack| pack.id).collect();
    there.retain(|pack| !listed.contains(&pack.id));
    let mut length = 0;
    for part in fragments_of(&there).into_iter().filter(|part| !part.is_empty()) {
        let (name, bytes) = repository.fragment_once(&encode_fragment(part)).map_err(Failure::Source)?;
        length += put(repository, to, &format!("index/{name}"), bytes).await?;
    }
    let gone = Gone { index: vec![key.to_owned()], ..Gone::default() };
    repository.note_gone(to, gone).await.map_err(Failure::Target)?;
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
