//! Looks at everything that a recovery would need, side by side, and no longer than it may take.
//!
//! Promise: nothing is changed but a small object that a location is probed with; what doesn't answer in time is unknown.

use super::places::{self, PlaceFacts};
use super::{cluster, people, server, stamp};
use crate::cli::{Global, ReadyArguments};
use crate::config::Config;
use crate::failure::Failure;
use crate::output::Output;
use jiff::{Timestamp, Zoned};
use lifeboat_plan::readiness::observed::{Copied, Workload};
use lifeboat_plan::readiness::{Evidence, Limits, Observed, Seen};
use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

/// Everything.
pub async fn observe(
    global: &Global,
    (path, config): (&Path, &Config),
    arguments: &ReadyArguments,
    output: &Output,
) -> Observed {
    let chosen = |name: &&String| arguments.workloads.is_empty() || arguments.workloads.contains(name);
    let names: Vec<String> = config.workloads.keys().filter(chosen).cloned().collect();
    let patience = arguments.patience;
    let servers = futures::future::join_all(names.iter().map(|name| server::look(config, name, patience)));
    let places =
        futures::future::join_all(config.locations.keys().map(|name| places::look(config, name, &names, patience)));
    let clusters =
        futures::future::join_all(config.clusters.keys().map(|name| cluster::look(global, config, name, patience)));
    let people = people::look((path, config), patience, output);
    let (servers, places, mut clusters, ledger) = futures::join!(servers, places, clusters, people);
    for cluster in &mut clusters {
        cluster.tested = ledger.seen(ledger.from_runs.failover.clone());
    }
    let mut places: BTreeMap<String, PlaceFacts> = config.locations.keys().cloned().zip(places).collect();
    places::remember_disks(config, &mut places);
    let mut workloads = Vec::new();
    let mut copies = Vec::new();
    for (name, seen) in names.iter().zip(servers) {
        copies.extend(copied(config, name, &places, &seen, &ledger));
        workloads.push(workload(config, name, &places, seen, arguments));
    }
    let mut locations: Vec<_> = places.into_values().map(|facts| facts.place).collect();
    for place in &mut locations {
        place.immutable = ledger.immutable(place, config);
    }
    Observed {
        at: Timestamp::now(),
        today: Zoned::now().date(),
        stamp: stamp::now(config),
        workloads,
        copies,
        locations,
        clusters,
        groups: ledger.groups(config),
        governance: ledger.governance(config),
    }
}

fn workload(
    config: &Config,
    name: &str,
    places: &BTreeMap<String, PlaceFacts>,
    seen: server::ServerFacts,
    arguments: &ReadyArguments,
) -> Workload {
    let section = &config.workloads[name];
    let points = places::points(name, section, places);
    let needed = points.known().map(|points| points.first().map(|point| point.bytes));
    let directory = arguments.restore_to.clone();
    Workload {
        name: name.to_owned(),
        limits: Limits::of_workload(&config.plan.plan, name),
        backup_within: section.backup_within,
        verify_within: section.verify_within.levels().map(|(level, within)| (level.to_owned(), within)).collect(),
        room: server::room(section, directory, needed.flatten(), &points),
        reachable: seen.reachable,
        server: seen.server,
        archiving: seen.archiving,
        programs: seen.programs,
        extensions: seen.extensions,
        followers: seen.followers,
        promotion: seen.promotion,
        proofs: places::proofs(name, section, places),
        rule: places::rule(config, name, places),
        points,
        alarms: people::alarms(section),
    }
}

fn copied(
    config: &Config,
    name: &str,
    places: &BTreeMap<String, PlaceFacts>,
    seen: &server::ServerFacts,
    ledger: &people::FromLedger,
) -> Vec<Copied> {
    let section = &config.workloads[name];
    let each = section.locations.iter().filter_map(|location| Some((location, places.get(location)?)));
    each.map(|(location, facts)| {
        let keep = section.keep_in.get(location).copied().unwrap_or(section.keep);
        let window = keep.and_then(|keep| keep.window).and_then(|window| Duration::try_from(window).ok());
        Copied {
            workload: name.to_owned(),
            location: location.clone(),
            limits: Limits::of_workload(&config.plan.plan, name),
            backup_within: section.backup_within,
            window,
            newest_point: facts.newest_point(name),
            log: facts.log(name, seen),
            restored: facts.restored(name, ledger.from_runs.restored.get(&(name.to_owned(), location.clone()))),
        }
    })
    .collect()
}

/// How it is told that there was no answer.
pub const NO_ANSWER: &str = "no answer within";

/// What was seen, with a hash of how it was told.
pub fn known<T: std::fmt::Debug>(value: T, asked: impl Into<String>) -> Seen<T> {
    let answer_hash = Some(blake3::hash(format!("{value:?}").as_bytes()).to_hex().to_string());
    Seen::Known(value, Evidence { asked: asked.into(), answer_hash })
}

/// The answer, or why there is none.
pub async fn within<T: std::fmt::Debug>(
    patience: Duration,
    asked: &str,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Seen<T> {
    match tokio::time::timeout(patience, answer).await {
        Ok(Ok(value)) => known(value, asked),
        Ok(Err(failure)) => Seen::unknown(failure.sentence(), asked),
        Err(_) => Seen::unknown(format!("{NO_ANSWER} {} s", patience.as_secs()), asked),
    }
}

/// The same not known, or not there, of something that follows from it.
pub fn follows<T, U>(of: &Seen<T>) -> Option<Seen<U>> {
    match of {
        Seen::Known(..) => None,
        Seen::Unknown { why, asked } => Some(Seen::unknown(why.clone(), asked.clone())),
        Seen::Absent { why } => Some(Seen::absent(why.clone())),
    }
}
