//! Each location by itself: does it answer, does the repository in it open, and what is in it of each workload.

use super::observe::{follows, known, within};
use super::server::ServerFacts;
use super::stamp;
use crate::commands::check::{judge_workload, proof};
use crate::commands::verify::log::holes;
use crate::config::{Config, Media, WorkloadConfig};
use crate::failure::Failure;
use crate::freshness::{Newest, believed_until};
use crate::{damage, removable, rooms};
use jiff::{SignedDuration, Timestamp};
use lifeboat_plan::copies::Judgement;
use lifeboat_plan::readiness::observed::{Disk, Log, Place, Point, Restored, Space};
use lifeboat_plan::readiness::{Proof, Seen};
use lifeboat_postgres::wal_file::SegmentName;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_recovery::{observe, windows};
use lifeboat_repository::{MarkedPoint, Replica, Repository, Silent, SyncRecord};
use lifeboat_workload::postgres::wal::segment_group;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How fast a location grows is told from the points of this time.
const GROWTH_OVER: SignedDuration = SignedDuration::from_hours(30 * 24);
/// From fewer hours than this nothing can be told.
const GROWTH_HOURS_MIN: f64 = 24.0;

/// What a location said.
#[derive(Debug, Clone)]
pub struct PlaceFacts {
    pub place: Place,
    /// By workload.
    held: BTreeMap<String, Seen<Held>>,
    records: BTreeMap<String, SyncRecord>,
}

/// What it has of a workload.
#[derive(Debug, Clone)]
pub struct Held {
    points: Vec<Point>,
    marked: Vec<MarkedPoint>,
    newest: Option<Timestamp>,
    stored_bytes_per_day: Option<f64>,
    gaps: u64,
    reach: Option<(Timestamp, Timestamp)>,
    /// Whose log, on which timeline, up to where.
    ends: Vec<(SystemId, TimelineId, Lsn)>,
    /// The segments of the newest stretch of each.
    segments: Vec<String>,
    /// By level, and where the last test restore came from.
    proofs: BTreeMap<String, Proof>,
    restored: Option<(String, Restored)>,
}

/// Asks one location.
pub async fn look(config: &Config, name: &str, workloads: &[String], patience: Duration) -> PlaceFacts {
    let section = &config.locations[name];
    if removable::is_absent(section) {
        return away(name);
    }
    let replica =
        rooms::replicas(config, std::slice::from_ref(&name.to_owned())).map(|replicas| replicas.into_iter().next());
    let replica = match replica {
        Ok(Some(replica)) => replica,
        Ok(None) => return unusable(name, "the configuration doesn't say where it is"),
        Err(failure) => return unusable(name, &failure.sentence()),
    };
    let asked = [format!("probe {}", replica.location.address()), format!("open the repository in {name}")];
    let probed = within(patience, &asked[0], async {
        Ok(replica
            .location
            .probe()
            .await
            .map_err(|error| Failure::from(lifeboat_repository::Error::from(error)).sentence()))
    });
    let space = within(patience, "free space", async {
        Ok(replica.location.free_space().await.map_err(lifeboat_repository::Error::from)?)
    });
    let opened = within(patience, &asked[1], open(config, &replica));
    let (probed, space, opened) = futures::join!(probed, space, opened);
    let held = match opened.known() {
        Some(Ok(repository)) => {
            let each =
                workloads.iter().filter(|workload| config.workloads[*workload].locations.iter().any(|one| one == name));
            let asked = each.map(async |workload| {
                let asked = format!("points, log and results of {workload} in {name}");
                (workload.clone(), within(patience, &asked, held(&repository.0, workload)).await)
            });
            futures::future::join_all(asked).await.into_iter().collect()
        }
        _ => BTreeMap::new(),
    };
    facts(config, name, Answers { probed, space, opened, held }, patience).await
}

type Probed = Seen<Result<lifeboat_location::Capabilities, String>>;

struct Answers {
    probed: Probed,
    space: Seen<Option<u64>>,
    opened: Seen<Result<Opened, String>>,
    held: BTreeMap<String, Seen<Held>>,
}

#[derive(Clone)]
struct Opened(Arc<Repository>);

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "repository {}", self.0.id())
    }
}

async fn open(config: &Config, replica: &Replica) -> Result<Result<Opened, String>, Failure> {
    let passphrase = rooms::passphrase(config)?;
    let opened = Repository::open(vec![replica.clone()], &passphrase, config.compression_level).await;
    Ok(opened.map(|repository| Opened(Arc::new(repository))).map_err(|error| Failure::from(error).sentence()))
}

async fn facts(config: &Config, name: &str, answers: Answers, patience: Duration) -> PlaceFacts {
    let Answers { probed, space, opened, held } = answers;
    let (mut records, mut damage) = (BTreeMap::new(), Seen::unknown("the repository doesn't open", "what is known"));
    if let Some(Ok(Opened(repository))) = opened.known() {
        let asked = async {
            let found = repository.findings().await;
            let spoken = found.values().filter_map(|found| damage::spoken(found, Timestamp::now()));
            Ok((repository.sync_records().await?, spoken.map(|failure| failure.sentence()).collect::<Vec<_>>()))
        };
        let asked = within(patience, "what earlier looks found damaged", asked).await;
        damage = follows(&asked).unwrap_or_else(|| Seen::absent("nothing was asked"));
        if let Seen::Known((found, spoken), evidence) = asked {
            records = found;
            damage = Seen::Known(spoken, evidence);
        }
    }
    let troubles = |result: &Result<(), &String>| result.err().cloned().into_iter().collect::<Vec<String>>();
    let reachable = map(&probed, |probed| troubles(&probed.as_ref().map(|_| ())));
    let clock = match probed.known() {
        Some(Ok(capabilities)) => match capabilities.clock_skew_seconds {
            Some(skew) => map(&probed, |_| skew),
            None => Seen::absent("the store doesn't tell its time, or is on this machine"),
        },
        Some(Err(why)) => Seen::unknown(why.clone(), "the store's time"),
        None => map(&probed, |_| 0.0),
    };
    // Where the place doesn't even answer, nothing is known of the passphrase.
    let opens = match probed.known() {
        Some(Err(why)) => Seen::unknown(why.clone(), format!("open the repository in {name}")),
        _ => map(&opened, |opened| troubles(&opened.as_ref().map(|_| ()))),
    };
    let section = &config.locations[name];
    let (disk, space) = (disk(section, name, &records, &held), room(&space, &held));
    let place = Place {
        name: name.to_owned(),
        reachable,
        opens,
        clock_ahead_seconds: clock,
        space,
        immutable: Seen::absent("it isn't said to be immutable"),
        damage,
        disk,
    };
    PlaceFacts { place, held, records }
}

fn map<T, U>(seen: &Seen<T>, of: impl FnOnce(&T) -> U) -> Seen<U> {
    match seen {
        Seen::Known(value, evidence) => Seen::Known(of(value), evidence.clone()),
        Seen::Unknown { why, asked } => Seen::unknown(why.clone(), asked.clone()),
        Seen::Absent { why } => Seen::absent(why.clone()),
    }
}

fn room(space: &Seen<Option<u64>>, held: &BTreeMap<String, Seen<Held>>) -> Seen<Space> {
    match space.known() {
        Some(None) => Seen::absent("the store has no end that it tells of"),
        Some(Some(free)) => map(space, |_| {
            let held: Vec<&Held> = held.values().filter_map(|held| held.known()).collect();
            // Of each workload by its points, as long as there are too few of them by the size of a whole one.
            let each = |held: &&Held| held.stored_bytes_per_day.or(Some(held.points.first()?.bytes as f64));
            let growth: Vec<f64> = held.iter().filter_map(each).collect();
            Space {
                free_bytes: *free,
                growth_bytes_per_day: (!growth.is_empty()).then(|| growth.iter().sum()),
                is_assumed: held.iter().any(|held| held.stored_bytes_per_day.is_none()),
            }
        }),
        None => map(space, |_| Space { free_bytes: 0, growth_bytes_per_day: None, is_assumed: true }),
    }
}

fn disk(
    section: &crate::config::LocationConfig,
    name: &str,
    records: &BTreeMap<String, SyncRecord>,
    held: &BTreeMap<String, Seen<Held>>,
) -> Seen<Disk> {
    if section.media != Media::Removable {
        return Seen::absent("it is no removable disk");
    }
    let points = held.values().filter_map(|held| held.known()).flat_map(|held| &held.marked);
    known(synced(section, records.get(name), points), format!("the sync record of {name}"))
}

fn synced<'p>(
    section: &crate::config::LocationConfig,
    record: Option<&SyncRecord>,
    points: impl Iterator<Item = &'p MarkedPoint>,
) -> Disk {
    let (synced_at, behind) = match removable::currency(record, points) {
        removable::Currency::Never => (None, 0),
        removable::Currency::Synced { at, behind } => (Some(at), behind as u64),
    };
    Disk { synced_at, behind, max_age: section.removable.max_age }
}

/// A disk in a drawer: how fresh it is, another location tells.
fn away(name: &str) -> PlaceFacts {
    let why = "the disk isn't attached";
    let place = Place {
        name: name.to_owned(),
        reachable: Seen::absent(why),
        opens: Seen::absent(why),
        clock_ahead_seconds: Seen::absent(why),
        space: Seen::absent(why),
        immutable: Seen::absent(why),
        damage: Seen::absent(why),
        disk: Seen::unknown("no location has a record of it", format!("the sync record of {name}")),
    };
    PlaceFacts { place, held: BTreeMap::new(), records: BTreeMap::new() }
}

fn unusable(name: &str, why: &str) -> PlaceFacts {
    let mut facts = away(name);
    let asked = format!("settings of location {name}");
    facts.place.reachable = known(vec![why.to_owned()], asked.clone());
    facts.place.opens = Seen::unknown(why, asked.clone());
    facts.place.clock_ahead_seconds = Seen::unknown(why, asked.clone());
    facts.place.space = Seen::unknown(why, asked.clone());
    facts.place.damage = Seen::unknown(why, asked);
    facts
}

async fn held(repository: &Arc<Repository>, workload: &str) -> Result<Held, Failure> {
    let now = Timestamp::now();
    let observed = observe(repository, workload, None, &Silent).await?;
    let verified = repository.verifications_by_level(workload, believed_until(now)).await?;
    let known = &observed.known;
    let spans: Vec<_> = known.logs.iter().flat_map(|log| windows(&known.points, log)).collect();
    let ends: Vec<(SystemId, TimelineId, Lsn)> =
        known.logs.iter().flat_map(|log| log.runs.iter().map(|run| (log.system_id, run.timeline, run.to))).collect();
    let mut points: Vec<Point> = observed
        .points
        .values()
        .map(|(point, details)| Point {
            id: point.id.to_string(),
            finished_at: point.finished_at,
            bytes: point.bytes,
            pages_bad: details.bad_pages.len() as u64,
        })
        .collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.finished_at));
    let marked = observed.points.keys().map(|id| MarkedPoint { workload: workload.to_owned(), point: id.clone() });
    let stored = observed.points.values().map(|(point, _)| (point.finished_at, point.bytes_stored));
    let restored = verified
        .get("boot")
        .and_then(|verified| restored(&verified.passed.as_ref()?.details, verified.passed.as_ref()?.verified_at));
    Ok(Held {
        marked: marked.collect(),
        newest: Newest::of(points.iter().map(|point| point.finished_at), now).at,
        stored_bytes_per_day: growth(stored.collect(), now),
        gaps: known.logs.iter().map(|log| holes(&log.runs).len()).sum::<usize>() as u64,
        reach: spans.iter().map(|span| span.from).min().zip(spans.iter().map(|span| span.to).max()),
        segments: newest_segments(repository, workload, &ends).await?,
        ends,
        points,
        proofs: verified.iter().map(|(level, verified)| (level.clone(), proven(verified))).collect(),
        restored,
    })
}

fn proven(verified: &lifeboat_repository::Verified) -> Proof {
    let found = proof(verified);
    Proof {
        passed_at: found.passed_at,
        passed_with: verified.passed.as_ref().map(|passed| stamp::of(&passed.details)).unwrap_or_default(),
        newest_passed: found.newest_passed,
        newest_at: found.newest_at,
    }
}

fn restored(details: &serde_json::Value, at: Timestamp) -> Option<(String, Restored)> {
    let way = if details["came"]["way"] == "mount" { "instant restore" } else { "full restore" };
    let seconds = details["seconds"].as_f64()?;
    Some((details["location"].as_str()?.to_owned(), Restored { at, seconds, way: way.to_owned() }))
}

/// Log isn't in it: how much of that comes isn't noted anywhere.
fn growth(mut stored: Vec<(Timestamp, u64)>, now: Timestamp) -> Option<f64> {
    stored.retain(|(at, _)| now.duration_since(*at) < GROWTH_OVER);
    stored.sort_unstable();
    let hours = stored.first().map(|(at, _)| now.duration_since(*at).as_secs_f64() / 3600.0)?;
    // The first one may be all there is.
    let bytes: u64 = stored.iter().skip(1).map(|(_, bytes)| bytes).sum();
    (stored.len() > 1 && hours >= GROWTH_HOURS_MIN).then(|| bytes as f64 / hours * 24.0)
}

/// Names of the segments around the end of each log.
async fn newest_segments(
    repository: &Repository,
    workload: &str,
    ends: &[(SystemId, TimelineId, Lsn)],
) -> Result<Vec<String>, Failure> {
    let Some((system_id, timeline, to)) = ends.iter().max_by_key(|(_, timeline, to)| (*timeline, *to)) else {
        return Ok(Vec::new());
    };
    let log = u32::try_from(to.0 >> 32).unwrap_or(u32::MAX);
    let group = segment_group(*system_id, SegmentName { timeline: *timeline, log, segment: 0 });
    let listed = repository.list_logs(workload, &format!("{group}/")).await?;
    Ok(listed.into_iter().map(|entry| entry.name).collect())
}

impl PlaceFacts {
    fn of<T>(&self, workload: &str, read: impl FnOnce(&Held) -> T) -> Seen<T> {
        match self.held.get(workload) {
            Some(held) => map(held, read),
            None => match follows(&self.place.opens) {
                Some(seen) => seen,
                None => Seen::unknown("the repository there doesn't open", "points and log"),
            },
        }
    }

    pub fn newest_point(&self, workload: &str) -> Seen<Option<Timestamp>> {
        self.of(workload, |held| held.newest)
    }

    /// With what the server says that left it.
    pub fn log(&self, workload: &str, server: &ServerFacts) -> Seen<Log> {
        self.of(workload, |held| {
            let unsent_seconds = server.sent.as_ref().and_then(|sent| {
                let reaches = |(system_id, timeline, to): &(SystemId, TimelineId, Lsn)| {
                    *system_id == sent.system_id && *timeline == sent.timeline && *to >= sent.end
                };
                match held.segments.iter().any(|name| Some(name) == sent.segment.as_ref()) {
                    _ if held.ends.iter().any(reaches) => Some(0.0),
                    true => sent.age_seconds,
                    false => None,
                }
            });
            Log { gaps: held.gaps, reach: held.reach, unsent_seconds }
        })
    }

    /// By the newer one of the last test restore from there and the last drill.
    pub fn restored(&self, workload: &str, drilled: Option<&(Timestamp, f64)>) -> Seen<Option<Restored>> {
        self.of(workload, |held| {
            let verified = held.restored.as_ref().filter(|(location, _)| *location == self.place.name);
            let drilled = drilled.map(|(at, seconds)| Restored { at: *at, seconds: *seconds, way: "drill".to_owned() });
            verified.map(|(_, restored)| restored.clone()).into_iter().chain(drilled).max_by_key(|restored| restored.at)
        })
    }
}

/// Of the locations of a workload, those that could say.
fn each<'p>(
    name: &str,
    section: &WorkloadConfig,
    places: &'p BTreeMap<String, PlaceFacts>,
) -> Result<Vec<&'p Held>, Seen<()>> {
    let all = section.locations.iter().filter_map(|location| places.get(location)?.held.get(name));
    let found: Vec<&Held> = all.filter_map(|held| held.known()).collect();
    if found.is_empty() {
        return Err(Seen::unknown("no location could say", "points, log and results"));
    }
    Ok(found)
}

/// The points of a workload, newest first.
pub fn points(name: &str, section: &WorkloadConfig, places: &BTreeMap<String, PlaceFacts>) -> Seen<Vec<Point>> {
    match each(name, section, places) {
        Err(unknown) => map(&unknown, |()| Vec::new()),
        Ok(found) => {
            let all = found.into_iter().flat_map(|held| &held.points);
            let by_id: BTreeMap<&str, &Point> = all.map(|point| (point.id.as_str(), point)).collect();
            let mut points: Vec<Point> = by_id.into_values().cloned().collect();
            points.sort_by_key(|point| std::cmp::Reverse(point.finished_at));
            known(points, format!("points of {name} in every location"))
        }
    }
}

/// The last results, of whichever location has the newest.
pub fn proofs(
    name: &str,
    section: &WorkloadConfig,
    places: &BTreeMap<String, PlaceFacts>,
) -> Seen<BTreeMap<String, Proof>> {
    match each(name, section, places) {
        Err(unknown) => map(&unknown, |()| BTreeMap::new()),
        Ok(found) => {
            let mut merged: BTreeMap<String, Proof> = BTreeMap::new();
            for (level, proof) in found.into_iter().flat_map(|held| &held.proofs) {
                let kept = merged.entry(level.clone()).or_insert_with(|| proof.clone());
                if proof.passed_at > kept.passed_at {
                    (kept.passed_at, kept.passed_with) = (proof.passed_at, proof.passed_with.clone());
                }
                if proof.newest_at > kept.newest_at {
                    (kept.newest_at, kept.newest_passed) = (proof.newest_at, proof.newest_passed);
                }
            }
            known(merged, format!("results of verifications of {name} in every location"))
        }
    }
}

/// 3-2-1, by what answered.
pub fn rule(config: &Config, name: &str, places: &BTreeMap<String, PlaceFacts>) -> Seen<Judgement> {
    let now = Timestamp::now();
    let is_used = |place: &PlaceFacts| {
        place.place.opens.known().is_some_and(Vec::is_empty) && place.place.reachable.known().is_some_and(Vec::is_empty)
    };
    let (mut away, mut stale) = (Vec::new(), Vec::new());
    for (location, place) in places {
        let section = &config.locations[location];
        let record = places.values().find_map(|place| place.records.get(location));
        let points = places.values().filter_map(|place| place.held.get(name)?.known()).flat_map(|held| &held.marked);
        let currency = removable::currency(record, points);
        if section.media == Media::Removable {
            let never = currency == removable::Currency::Never && removable::is_absent(section);
            if never || removable::is_too_old(section, &currency, now) {
                stale.push(location.as_str());
            }
        }
        if !removable::is_absent(section) && !is_used(place) {
            away.push(location.clone());
        }
    }
    known(judge_workload(config, name, &stale, &away), format!("locations of {name}, as they answered"))
}

/// What other locations know of disks that are in a drawer.
pub fn remember_disks(config: &Config, places: &mut BTreeMap<String, PlaceFacts>) {
    let records: BTreeMap<String, SyncRecord> = places.values().flat_map(|place| place.records.clone()).collect();
    let points: Vec<MarkedPoint> = places
        .values()
        .flat_map(|place| place.held.values().filter_map(|held| held.known()))
        .flat_map(|held| held.marked.clone())
        .collect();
    let any_answered = places.values().any(|place| place.place.opens.known().is_some_and(Vec::is_empty));
    for (name, place) in places {
        let section = &config.locations[name];
        if section.media == Media::Removable && any_answered {
            let disk = synced(section, records.get(name), points.iter());
            place.place.disk = known(disk, format!("the sync record of {name}"));
        }
    }
}
