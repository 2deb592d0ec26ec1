//! Is it all there, and is it what was written?
//!
//! Structure: every location lists every object that its points need, with the right sizes. Data: every object of every
//! location is read, its name, its seals and the id of every frame are checked. Each location is judged by itself; then
//! locations are compared with each other, and receipts with points, to find what is gone without a trace. A location that doesn't
//! answer isn't damaged: it was not looked at.

mod absent;
mod follow;
mod only;

pub(crate) use absent::workload_of;
pub use only::Only;

use crate::container::{CONTAINER_BYTES_MIN, Container, ContainerKind, FrameOpener};
use crate::error::{Error, Result};
use crate::index::{FRAGMENT_BYTES_MAX, parse_fragment};
use crate::log::LOG_BYTES_MAX;
use crate::open::{DOCUMENT_BYTES_MAX, Replica, Repository, describe};
use crate::pack::PACK_BYTES_MAX;
use crate::patience::ask_all;
use crate::progress::Progress;
use crate::reader::pack_id;
use crate::removal;
use crate::root::{ROOT_KEY, check_root};
use crate::{point, receipt};
use futures::StreamExt;
use lifeboat_location::Entry;
use only::Scope;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const READS_AT_ONCE: usize = 3;

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, PartialOrd, Ord)]
pub struct Damage {
    /// The location's name.
    pub location: String,
    /// The object's key, or what it stands for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// Whether only reading every byte shows it.
    #[serde(skip)]
    pub is_inside: bool,
}

impl Damage {
    /// Something that names and sizes show.
    pub fn new(location: impl Into<String>, object: impl Into<String>, what: impl Into<String>) -> Self {
        Self { location: location.into(), object: object.into(), what: what.into(), is_inside: false }
    }
}

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Default)]
pub struct VerifyReport {
    /// Number of objects looked at.
    pub objects: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Number of points whose files were all followed to their packs.
    pub points: u64,
    /// Everything that is wrong.
    pub bad: Vec<Damage>,
    /// Locations that could not be looked at, or not to the end, and why.
    #[serde(skip)]
    pub away: Vec<(String, String)>,
    /// Locations that were looked at to the end.
    #[serde(skip)]
    pub looked_at: Vec<String>,
    /// Keys of the files of logs that each location lacks and another one got a moment ago.
    pub arriving: BTreeMap<String, BTreeSet<String>>,
    /// What a location lacks and another one has: it was away, or lost it. A copy completes it.
    pub behind: Vec<Damage>,
    /// Holes in logs that were known before, and behind which there are points: nothing to be done about them.
    pub gaps: Vec<Damage>,
}

impl VerifyReport {
    fn add(&mut self, replica: &Replica, object: impl Into<String>, error: &dyn std::error::Error) {
        self.push(Damage::new(&replica.name, object, describe(error)));
    }

    /// A location of which nothing can be told: what it holds may be lost, or whole.
    fn not_reached(&mut self, replica: &Replica, error: &Error) {
        match error.is_loss() {
            true => self.add(replica, "location", error),
            false => self.away.push((replica.name.clone(), describe(error))),
        }
    }

    fn push(&mut self, damage: Damage) {
        if !self.bad.contains(&damage) {
            self.bad.push(damage);
        }
    }
}

/// Whether a location (first) is meant to hold a workload (second).
pub type IsHome<'a> = &'a (dyn Fn(&str, &str) -> bool + Sync);

impl Repository {
    /// Checks every location; each is meant to hold everything. `data` reads every byte; otherwise only names, sizes,
    /// points and trees are followed.
    pub async fn verify(
        self: &Arc<Self>,
        workload: Option<&str>,
        data: bool,
        progress: &dyn Progress,
    ) -> Result<VerifyReport> {
        self.verify_homes(workload, None, data, &|_, _| true, progress).await
    }

    /// Like [`Self::verify`], where not every location is meant to hold every workload, and perhaps one point only is looked at.
    pub async fn verify_homes(
        self: &Arc<Self>,
        workload: Option<&str>,
        only: Option<Only<'_>>,
        data: bool,
        is_home: IsHome<'_>,
        progress: &dyn Progress,
    ) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        // When it can't be told what the point needs, everything is looked at.
        let scope = match Scope::of(self, only).await {
            Ok(scope) => scope,
            Err(_) => Scope::of(self, None).await?,
        };
        let listings = self.listings_of(&scope, &mut report).await;
        report.bad.extend(self.roots_lost(&listings, data));
        let (mut covered, mut leaving) = (Vec::new(), Vec::new());
        for (replica, _) in &listings {
            let lacks = self.covered_at(replica).await.unwrap_or_else(|error| {
                report.add(replica, "removals", &error);
                Default::default()
            });
            leaving.push(self.leaving(replica).await.unwrap_or_default());
            covered.push(lacks);
        }
        let sets: Vec<(&str, BTreeSet<&str>)> = listings
            .iter()
            .zip(&leaving)
            .map(|((replica, entries), leaving)| {
                // What is under `removals/` is about the location that it is in.
                let is_staying = |key: &&str| !leaving.has(key) && !key.starts_with(removal::PREFIX);
                let staying = entries.iter().map(|entry| entry.key.as_str()).filter(is_staying);
                (replica.name.as_str(), staying.collect())
            })
            .collect();
        let lacks = |location: &str, key: &str| {
            let number = listings.iter().position(|(replica, _)| replica.name == location);
            number.and_then(|number| covered.get(number)).is_some_and(|covered| covered.has(key))
        };
        let new = new_in(&listings);
        let is_new = |location: &str, key: &str| new.contains(&(location, key));
        let arriving = absent::what_others_have(&sets, is_home, &lacks, &is_new, &mut report.behind);
        let owned = |keys: BTreeSet<&str>| keys.into_iter().map(str::to_owned).collect();
        report.arriving = arriving.into_iter().map(|(name, keys)| (name.to_owned(), owned(keys))).collect();
        let mut pointless = Vec::new();
        absent::what_receipts_say(&sets, &lacks, &mut pointless);
        for (replica, entries) in &listings {
            for damage in pointless.iter().filter(|damage| damage.location == replica.name) {
                report.bad.extend(still_missing(replica, &damage.object).await.then(|| damage.clone()));
            }
            let alone = Arc::new(self.only(&replica.name)?);
            let sound = of_sane_size(replica, entries, &mut report);
            if data {
                verify_bytes(&alone, replica, &sound, &mut report, progress).await;
            }
            match verify_points_at_rest(self, replica, workload, &scope, &mut report, progress).await {
                Ok(()) => report.looked_at.push(replica.name.clone()),
                Err(error) => report.not_reached(replica, &error),
            }
        }
        report.bad.sort();
        report.bad.dedup();
        Ok(report)
    }

    /// Where `lifeboat.json` is not what was written. One that is read anyway speaks for itself.
    fn roots_lost(&self, listings: &[(&Replica, Vec<Entry>)], data: bool) -> Vec<Damage> {
        let is_read = |location: &str| {
            let mut here =
                listings.iter().filter(|(replica, _)| replica.name == location).flat_map(|(_, entries)| entries);
            data && here.any(|entry| entry.key == ROOT_KEY)
        };
        let lost = self.rootless.iter().filter(|(location, _)| !is_read(location));
        lost.map(|(location, why)| Damage::new(location, ROOT_KEY, why)).collect()
    }

    /// What each location lists of what is looked at. Those that don't answer are told of.
    async fn listings_of(&self, scope: &Scope<'_>, report: &mut VerifyReport) -> Vec<(&Replica, Vec<Entry>)> {
        for (name, reason) in &self.unavailable {
            match self.spoiled.contains(name) {
                true => report.bad.push(Damage::new(name, "location", reason)),
                false => report.away.push((name.clone(), reason.clone())),
            }
        }
        let ask = async |replica: Replica| Ok(replica.location.list("").await?);
        let mut listings: Vec<(&Replica, Vec<Entry>)> = Vec::new();
        for (replica, answer) in self.replicas.iter().zip(ask_all(&self.replicas, self.limits.listing(), ask).await) {
            match answer {
                Ok(entries) => {
                    listings.push((replica, entries.into_iter().filter(|entry| scope.has(&entry.key)).collect()));
                }
                Err(error) => report.not_reached(replica, &error),
            }
        }
        listings
    }
}

/// What was stored a moment ago: the location, and the key.
fn new_in<'a>(listings: &'a [(&Replica, Vec<Entry>)]) -> HashSet<(&'a str, &'a str)> {
    let now = SystemTime::now();
    let of_location = |(replica, entries): &'a (&Replica, Vec<Entry>)| {
        let new = entries.iter().filter(move |entry| is_new(entry, now));
        new.map(|entry| (replica.name.as_str(), entry.key.as_str()))
    };
    listings.iter().flat_map(of_location).collect()
}

/// The objects that can be whole by their size; the others are damage.
fn of_sane_size(replica: &Replica, entries: &[Entry], report: &mut VerifyReport) -> Vec<Entry> {
    let mut sound = Vec::new();
    for entry in entries {
        match check_size(&entry.key, entry.size) {
            Ok(()) => sound.push(entry.clone()),
            Err(error) => report.add(replica, &entry.key, &error),
        }
    }
    sound
}

async fn verify_bytes(
    repository: &Arc<Repository>,
    replica: &Replica,
    entries: &[Entry],
    report: &mut VerifyReport,
    progress: &dyn Progress,
) {
    progress.phase(&format!("read {}", replica.name), Some(entries.iter().map(|entry| entry.size).sum()));
    let check = |entry: Entry| {
        let (repository, replica) = (repository.clone(), replica.clone());
        async move {
            let (key, size) = (entry.key.clone(), entry.size);
            let result = async {
                let bytes = replica.location.get(&entry.key).await?;
                if bytes.len() as u64 != entry.size {
                    return Err(Error::corrupt(&entry.key, "the listing gives another size"));
                }
                tokio::task::spawn_blocking(move || verify_object(&repository, &entry.key, &bytes)).await?
            };
            (key, size, result.await)
        }
    };
    let mut checks = futures::stream::iter(entries.iter().cloned().map(check)).buffer_unordered(READS_AT_ONCE);
    let mut unread = Vec::new();
    while let Some((key, size, result)) = checks.next().await {
        report.objects += 1;
        report.bytes += size;
        progress.advance(size);
        if let Err(error) = result {
            // It was listed and is given up by now; whether a point needs it after all is seen by following the points.
            let is_gone = matches!(replica.location.head(&key).await, Ok(None));
            if !is_gone {
                let damage = Damage { is_inside: true, ..Damage::new(&replica.name, key, describe(&error)) };
                match error.is_loss() {
                    true => report.push(damage),
                    false => unread.push(damage),
                }
            }
        }
    }
    // A bad sector is damage. A location that went away meanwhile isn't: following the points says so.
    if !unread.is_empty() && listed(replica).await.is_ok() {
        unread.into_iter().for_each(|damage| report.push(damage));
    }
}

/// A point that wasn't listed though its receipt was: it may have been written, or both given up, between two listings.
pub(crate) async fn still_missing(replica: &Replica, point: &str) -> bool {
    let Some(receipt) = receipt::key_for(point) else { return true };
    let is_there = async |key: &str| replica.location.head(key).await.map(|entry| entry.is_some());
    // In this order: the receipt is written after its point and given up before it.
    let has_receipt = is_there(&receipt).await.unwrap_or(true);
    has_receipt && !is_there(point).await.unwrap_or(false)
}

/// What is found bad while sessions write and sweeps delete is looked at again, so often.
const LOOKS_MAX: usize = 4;

/// Follows the points as they were at one moment: what is found while something is written or given up may be half of it.
async fn verify_points_at_rest(
    repository: &Arc<Repository>,
    replica: &Replica,
    workload: Option<&str>,
    scope: &Scope<'_>,
    report: &mut VerifyReport,
    progress: &dyn Progress,
) -> Result<()> {
    for look in 1.. {
        let before = listed(replica).await?;
        let mut found = VerifyReport::default();
        let covered = repository.covered_at(replica).await?;
        follow::verify_points(repository, replica, (workload, scope), &covered, &mut found, progress).await?;
        if found.bad.is_empty() || look == LOOKS_MAX || listed(replica).await? == before {
            report.objects += found.objects;
            report.points += found.points;
            report.bad.extend(found.bad);
            break;
        }
    }
    Ok(())
}

/// All that points are made of.
async fn listed(replica: &Replica) -> Result<BTreeSet<String>> {
    let mut keys = BTreeSet::new();
    for prefix in ["points/", "index/", "packs/"] {
        keys.extend(replica.location.list(prefix).await?.into_iter().map(|entry| entry.key));
    }
    Ok(keys)
}

/// A file of a log goes to every location by itself: one that failed rests for a minute, and a slow one takes its time.
const ON_ITS_WAY: Duration = Duration::from_secs(180);

/// Whether it is a file of a log that was stored a moment ago, by the store's clock, which may be ahead of ours.
fn is_new(entry: &Entry, now: SystemTime) -> bool {
    entry.key.starts_with("wal/") && now.duration_since(entry.modified).map_or(true, |age| age < ON_ITS_WAY)
}

/// Folders of which every object is a container, and no index tells its size.
const OF_CONTAINERS: [&str; 8] = ["index", "points", "receipts", "wal", "verifications", "syncs", "findings", "holds"];

/// Nothing is read that is longer than we would have written it, or so short that it can't be whole.
fn check_size(key: &str, size: u64) -> Result<()> {
    let content_max = match key.split('/').next() {
        Some("packs") => PACK_BYTES_MAX,
        Some("index") => FRAGMENT_BYTES_MAX,
        Some("wal") => LOG_BYTES_MAX,
        _ => DOCUMENT_BYTES_MAX,
    };
    let is_container = key.split('/').next().is_some_and(|folder| OF_CONTAINERS.contains(&folder));
    if is_container && size < CONTAINER_BYTES_MIN {
        return Err(Error::corrupt(key, format!("{size} bytes are fewer than any object has")));
    }
    // Seals, tables and annexes come on top.
    let fits = size <= content_max as u64 * 9 / 8 + 1024 * 1024;
    fits.then_some(()).ok_or_else(|| Error::corrupt(key, format!("{size} bytes are more than such an object has")))
}

/// What is copied from one location to another must be whole. Packs and fragments are named by their hash, which is
/// enough; the others are opened.
pub(crate) fn check_copy(repository: &Repository, key: &str, bytes: &[u8]) -> Result<()> {
    match key.split('/').next() {
        Some("packs" | "index") => verify_name(key, bytes),
        _ => verify_object(repository, key, bytes),
    }
}

/// Whether an object is what was written, to the last byte.
pub(crate) fn check_wholly(repository: &Repository, key: &str, bytes: &[u8]) -> Result<()> {
    check_size(key, bytes.len() as u64)?;
    verify_object(repository, key, bytes)
}

/// Checks one object wholly: name, seals, ids of all frames, and that its content can be read as what it is.
pub(crate) fn verify_object(repository: &Repository, key: &str, bytes: &[u8]) -> Result<()> {
    let (folder, name) = key.split_once('/').unwrap_or(("", key));
    let keys = &repository.keys;
    match folder {
        "packs" => {
            verify_name(key, bytes)?;
            let container = Container::open(keys, key, ContainerKind::Pack, bytes)?;
            let mut opener = FrameOpener::new(keys, container.kind, &container.salt)?;
            for (number, frame) in container.frames.iter().enumerate() {
                let range = frame.offset as usize..(frame.offset + frame.stored_bytes) as usize;
                opener.open(keys, key, number as u32, frame, &bytes[range])?;
            }
            let annex = container.annex(keys, key, bytes)?;
            crate::pack::parse_fingerprints(key, &annex, container.frames.len()).map(|_| ())
        }
        "index" => {
            verify_name(key, bytes)?;
            let container = Container::open(keys, key, ContainerKind::Index, bytes)?;
            parse_fragment(key, &container.contents(keys, key, bytes, FRAGMENT_BYTES_MAX)?).map(|_| ())
        }
        "points" => {
            let text = repository.unseal(ContainerKind::Point, key, bytes)?;
            let point = point::parse(key, &text)?;
            let itself = format!("{}/{}", point.workload, point.id) == name;
            itself.then_some(()).ok_or_else(|| Error::corrupt(key, "is another point under this name"))
        }
        "wal" => {
            let (_, content_id) = key.rsplit_once('-').unwrap_or_default();
            repository.open_log(key, content_id, bytes).map(|_| ())
        }
        "receipts" => repository.check_receipt(key, bytes),
        "holds" => repository.check_hold(key, bytes).map(|_| ()),
        "ledger" => repository.unseal(ContainerKind::Ledger, key, bytes).map(|_| ()),
        "removals" if !name.ends_with("/mark") && !name.starts_with("gone/") => Ok(()),
        "plan" => crate::papers::check(key, bytes),
        "verifications" | "removals" | "syncs" | "findings" => {
            repository.unseal(ContainerKind::Document, key, bytes).map(|_| ())
        }
        "keys" => crate::open::check_key_record(key, bytes),
        "" if name == ROOT_KEY => check_root(bytes, &repository.id),
        _ => Ok(()),
    }
}

fn verify_name(key: &str, bytes: &[u8]) -> Result<()> {
    let same = pack_id(key) == Some(*blake3::hash(bytes).as_bytes());
    same.then_some(()).ok_or_else(|| Error::corrupt(key, "its name is not the hash of its bytes"))
}

/// Bounds what is read of a document.
const _: () = assert!(DOCUMENT_BYTES_MAX <= FRAGMENT_BYTES_MAX);
