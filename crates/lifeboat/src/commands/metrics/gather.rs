//! What is in the locations, looked at one by one: what one has doesn't speak for another.

use crate::commands::check::proof;
use crate::commands::verify::log::holes;
use crate::config::{Config, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::freshness::{Newest, Proof, believed_until};
use crate::output::Output;
use crate::{removable, rooms};
use jiff::Timestamp;
use lifeboat_recovery::{observe, unusable, windows};
use lifeboat_repository::{Replica, Repository, Silent, Verification};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything that was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    pub at: Timestamp,
    /// By name; None: it doesn't answer, or can't be opened.
    pub locations: BTreeMap<String, Option<Size>>,
    pub workloads: BTreeMap<String, Workload>,
}

/// What is stored in a location.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub objects: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone)]
pub struct Workload {
    pub config: WorkloadConfig,
    /// By location; None: points and log could not be read there.
    pub homes: BTreeMap<String, Option<Home>>,
    /// By level.
    pub proofs: BTreeMap<String, Proof>,
    /// The last test restore that passed.
    pub drill: Option<Drill>,
}

/// What a location has of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    pub points: u64,
    pub points_unusable: u64,
    /// Of those that don't claim to be from the future.
    pub newest: Option<Timestamp>,
    /// The oldest and the newest moment that can be reached.
    pub reach: Option<(Timestamp, Timestamp)>,
    pub gaps: u64,
}

/// What a test restore measured. Absent figures: an older record.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drill {
    /// How its files came: what an instant restore takes says nothing about one that copies.
    pub way: &'static str,
    pub recovery_seconds: Option<f64>,
    /// By name of the phase.
    pub phases: [(&'static str, Option<f64>); 4],
    pub behind_seconds: Option<f64>,
    pub behind_bytes: Option<f64>,
}

/// Looks. What doesn't answer is told on stderr and seen as absent.
pub async fn gather(config: &Config, output: &Output) -> Seen {
    let names = removable::standing(config, &rooms::all_locations(config));
    let repository = match rooms::open_repository(config, &names, output).await {
        Ok(repository) => Some(repository),
        Err(failure) => {
            output.warn(&failure.message);
            None
        }
    };
    let mut locations: BTreeMap<String, Option<Size>> = names.into_iter().map(|name| (name, None)).collect();
    let opened = repository.iter().flat_map(|repository| repository.replicas());
    let sizes =
        futures::future::join_all(opened.map(async |replica| (replica.name.clone(), size(replica).await))).await;
    for (name, size) in sizes {
        match size {
            Ok(size) => drop(locations.insert(name, Some(size))),
            Err(failure) => output.warn(&format!("location {name}: {}", failure.message)),
        }
    }
    let mut workloads = BTreeMap::new();
    for name in config.workloads.keys() {
        workloads.insert(name.clone(), look(config, repository.as_ref(), name, output).await);
    }
    Seen { at: Timestamp::now(), locations, workloads }
}

async fn size(replica: &Replica) -> Result<Size, Failure> {
    let entries = replica.location.list("").await.map_err(lifeboat_repository::Error::from)?;
    Ok(Size { objects: entries.len() as u64, bytes: entries.iter().map(|entry| entry.size).sum() })
}

async fn look(config: &Config, repository: Option<&Arc<Repository>>, name: &str, output: &Output) -> Workload {
    let workload = &config.workloads[name];
    let mut seen = Workload { config: workload.clone(), homes: BTreeMap::new(), proofs: BTreeMap::new(), drill: None };
    let mut drilled: Option<Verification> = None;
    for location in removable::standing(config, &workload.locations) {
        let found = async {
            let repository = repository.ok_or_else(|| Failure::new(FailureKind::Unavailable, "no location answers"))?;
            let alone = Arc::new(repository.only(&location)?);
            Ok::<_, Failure>((
                home(&alone, name).await?,
                alone.verifications_by_level(name, believed_until(Timestamp::now())).await?,
            ))
        };
        let verified = match found.await {
            Ok((home, verified)) => {
                seen.homes.insert(location.clone(), Some(home));
                verified
            }
            Err(failure) => {
                output.warn(&format!("{name} in {location}: {}", failure.message));
                seen.homes.insert(location.clone(), None);
                continue;
            }
        };
        for (level, verified) in verified {
            let found = proof(&verified);
            let kept = seen.proofs.entry(level.clone()).or_insert(found);
            kept.passed_at = kept.passed_at.max(found.passed_at);
            if found.newest_at > kept.newest_at {
                (kept.newest_at, kept.newest_passed) = (found.newest_at, found.newest_passed);
            }
            if let Some(passed) = verified.passed.filter(|_| level == "boot")
                && drilled.as_ref().is_none_or(|drilled| drilled.verified_at < passed.verified_at)
            {
                drilled = Some(passed);
            }
        }
    }
    seen.drill = drilled.map(|drilled| drill(&drilled));
    seen
}

async fn home(alone: &Arc<Repository>, name: &str) -> Result<Home, Failure> {
    let observed = observe(alone, name, None, &Silent).await?;
    let known = &observed.known;
    let windows: Vec<_> = known.logs.iter().flat_map(|log| windows(&known.points, log)).collect();
    let from = windows.iter().map(|window| window.from).min();
    Ok(Home {
        points: observed.points.len() as u64,
        points_unusable: known.logs.iter().map(|log| unusable(&known.points, log).len()).sum::<usize>() as u64
            + observed.unread.len() as u64,
        newest: Newest::of(observed.points.values().map(|(point, _)| point.finished_at), Timestamp::now()).at,
        reach: from.zip(windows.iter().map(|window| window.to).max()),
        gaps: known.logs.iter().map(|log| holes(&log.runs).len()).sum::<usize>() as u64,
    })
}

/// Reads the record of `verify --boot`; docs/format/points.md has it.
fn drill(verification: &Verification) -> Drill {
    let details = &verification.details;
    let seconds = |name: &'static str| details[name].as_f64();
    Drill {
        // Older records are of copies.
        way: if details["came"]["way"] == "mount" { "mount" } else { "copy" },
        recovery_seconds: seconds("seconds"),
        phases: [
            ("plan", seconds("plan_seconds")),
            ("restore", seconds("restore_seconds")),
            ("replay", seconds("replay_seconds")),
            ("first_query", seconds("first_query_seconds")),
        ],
        behind_seconds: details["reached"]["seconds_behind"].as_f64(),
        behind_bytes: details["reached"]["bytes_behind"].as_f64(),
    }
}
