//! Is there more than one copy, of more than one kind, in more than one place? And are the disks in the drawer fresh?

use super::Finding;
use crate::config::{Config, LocationConfig, Media};
use crate::damage;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use crate::removable::{Currency, currency, is_absent, is_too_old};
use crate::{removable, rooms};
use jiff::Timestamp;
use lifeboat_plan::copies::{Judgement, Medium, Place, judge};
use lifeboat_repository::{Findings, MarkedPoint, SyncRecord};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a look at the copies gives.
pub struct Copies {
    pub findings: Vec<Finding>,
    /// For `--json`.
    pub document: Value,
}

/// The removable locations, then 3-2-1 for each of these workloads.
pub async fn look(config: &Config, workloads: &[String], output: &Output) -> Copies {
    // The locations' own findings say what is wrong with them.
    let attached = removable::attached(config, &rooms::all_locations(config)).0;
    let stored = stored(config, output).await;
    let is_used = |name: &String| stored.as_ref().is_ok_and(|stored| stored.used.contains(name));
    let away: Vec<String> = attached.into_iter().filter(|name| !is_used(name)).collect();
    let Stored { records, points, known, .. } = stored.unwrap_or_default();
    let now = Timestamp::now();
    let mut findings: Vec<Finding> = config
        .locations
        .keys()
        .filter_map(|name| known.get(name).and_then(|known| damage::spoken(known, now)))
        .map(|failure| Finding::new("what is stored", Err(failure)))
        .collect();
    let mut stale = Vec::new();
    for (name, location) in config.locations.iter().filter(|(_, location)| location.media == Media::Removable) {
        let of_location = points.iter().filter(|point| {
            config.workloads.get(&point.workload).is_none_or(|workload| workload.locations.contains(name))
        });
        let currency = currency(records.get(name), of_location);
        if currency == Currency::Never && is_absent(location) || is_too_old(location, &currency, now) {
            stale.push(name.as_str());
        }
        findings.push(freshness(name, location, &currency, now));
    }
    let mut document = serde_json::Map::new();
    for name in workloads {
        let judgement = judge_workload(config, name, &stale, &away);
        document.insert(name.clone(), json!(judgement));
        findings.push(rule(name, &judgement, &away));
    }
    Copies { findings, document: Value::Object(document) }
}

#[derive(Default)]
struct Stored {
    /// Locations that answered and opened.
    used: Vec<String>,
    records: BTreeMap<String, SyncRecord>,
    points: Vec<MarkedPoint>,
    /// What was found wrong in each location.
    known: BTreeMap<String, Findings>,
}

async fn stored(config: &Config, output: &Output) -> Result<Stored, Failure> {
    let repository = rooms::open_attached(config, &rooms::all_locations(config), output).await?;
    let points = repository.list_points(None).await?.into_iter();
    let points = points.map(|header| MarkedPoint { workload: header.workload, point: header.id });
    let known = repository.findings().await;
    let used = repository.replicas().iter().map(|replica| replica.name.clone()).collect();
    Ok(Stored { used, records: repository.sync_records().await?, points: points.collect(), known })
}

/// How old the copy on a removable disk is, in words.
pub fn spoken(currency: &Currency, now: Timestamp) -> String {
    match currency {
        Currency::Never => "never synced".to_owned(),
        Currency::Synced { at, behind: 0 } => format!("last synced {}, nothing behind", human::age(*at, now)),
        Currency::Synced { at, behind: 1 } => format!("last synced {}, 1 point behind", human::age(*at, now)),
        Currency::Synced { at, behind } => format!("last synced {}, {behind} points behind", human::age(*at, now)),
    }
}

fn freshness(name: &str, location: &LocationConfig, currency: &Currency, now: Timestamp) -> Finding {
    let subject = format!("disk {name}");
    let place = if is_absent(location) { "not attached" } else { "attached" };
    let what = format!("{}; {place}", spoken(currency, now));
    let hint = format!("attach the disk and run `lifeboat sync {name}`");
    match (is_too_old(location, currency, now), currency) {
        (true, _) => {
            let most = location.removable.max_age.map(human::duration).unwrap_or_default();
            let message = format!("{what}; it may be {most} old at most");
            Finding::new(subject, Err(Failure::new(FailureKind::CheckFailed, message).with_hint(hint)))
        }
        (false, Currency::Never) => Finding::warning(subject, what, hint),
        (false, _) => Finding::new(subject, Ok(what)),
    }
}

/// By the rule, for one workload: `stale` disks and places that are `away` don't count.
pub fn judge_workload(config: &Config, name: &str, stale: &[&str], away: &[String]) -> Judgement {
    let workload = &config.workloads[name];
    let device = |path: &Path| path.metadata().ok().map(|metadata| metadata.dev());
    let home_device = workload.data_dir.as_deref().and_then(device);
    let locations = workload.locations.iter().filter_map(|name| config.locations.get_key_value(name));
    let places: Vec<Place> = locations
        .map(|(name, location)| Place {
            name: name.clone(),
            region: location.region.clone(),
            medium: match location.media {
                Media::Disk => Medium::Disk,
                Media::Object => Medium::Object,
                Media::Removable => Medium::Removable,
            },
            is_immutable: location.immutable,
            shares_device: !is_absent(location)
                && location.url.directory().and_then(device).is_some_and(|device| Some(device) == home_device),
            is_there: !away.contains(name),
            is_current: !stale.contains(&name.as_str()),
        })
        .collect();
    judge(workload.region.as_deref(), &places)
}

fn rule(name: &str, judgement: &Judgement, away: &[String]) -> Finding {
    let subject = format!("workload {name} 3-2-1");
    let left_out: Vec<String> =
        judgement.not_counted.iter().map(|(name, why)| format!("{name} doesn't count, {why}")).collect();
    let left_out = left_out.iter().map(|text| format!("; {text}")).collect::<String>();
    if judgement.holds() {
        let media: Vec<String> = judgement.media.iter().map(ToString::to_string).collect();
        let seen = format!(
            "{} copies with the database, on {}; elsewhere: {}; nobody can delete: {}{left_out}",
            judgement.copies,
            media.join(" and "),
            judgement.elsewhere.join(", "),
            judgement.guarded.join(", "),
        );
        return Finding::new(subject, Ok(seen));
    }
    let what = format!("{}{left_out}", judgement.missing().join(", "));
    let missed = judgement.not_counted.iter().map(|(name, _)| name).filter(|name| away.contains(name));
    let first = missed.map(|name| format!("bring {name} back"));
    Finding::warning(subject, what, first.chain(judgement.advice()).collect::<Vec<_>>().join("; "))
}
