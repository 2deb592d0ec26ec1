//! From the configuration and the ledger to what the papers are made from.

use super::{costs, surroundings};
use crate::commands::plan::cost::{Papers, analysis};
use crate::config::Config;
use crate::evidence::{self, Kept};
use crate::failure::Failure;
use crate::output::Output;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lifeboat_plan::incidents::{Event, figures, fold};
use lifeboat_plan::run::Run;
use lifeboat_report::{Evidence, Finding, Incidents, Readiness, ReportInput, RunbookInput};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Names of people without their numbers, or with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contacts {
    With,
    Without,
}

/// Without the ledger: what the runbook of this configuration is, whatever was measured.
pub fn bare_runbook(path: &Path, config: &Config) -> RunbookInput {
    RunbookInput {
        plan: config.plan.plan.clone(),
        surroundings: surroundings::of(path, config),
        runs: Vec::new(),
        made_on: today(Timestamp::now()),
        without_contacts: false,
    }
}

/// With the figures of drills. A ledger that can't be read leaves them out, and is told of: the runbook is wanted all the more then.
pub async fn runbook(path: &Path, config: &Config, contacts: Contacts, output: &Output) -> RunbookInput {
    let runs = match evidence::runs(config, output).await {
        Ok(runs) => runs.into_iter().map(of_run).collect(),
        Err(failure) => {
            output.warn(&format!("no figures of drills: {}", failure.sentence()));
            Vec::new()
        }
    };
    RunbookInput { runs, without_contacts: contacts == Contacts::Without, ..bare_runbook(path, config) }
}

/// All that the ledger has. A report without it would be none.
pub async fn report(
    path: &Path,
    config: &Config,
    since: Option<Date>,
    output: &Output,
) -> Result<ReportInput, Failure> {
    let runs = evidence::runs(config, output).await?;
    let entries = evidence::read(config, &[], output).await?;
    let of_kind = |kind: &'static str| entries.iter().filter(move |entry| entry.kind == kind);
    let mut other: BTreeMap<String, (usize, String)> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.kind != "drill") {
        let kept = other.entry(entry.kind.clone()).or_default();
        *kept = (kept.0 + 1, source(entry));
    }
    let costs = costs(path, config, &runs, output).await;
    let incidents = incidents(of_kind("incident"), &runs, since, Timestamp::now());
    Ok(ReportInput {
        plan: config.plan.plan.clone(),
        surroundings: surroundings::of(path, config),
        findings: findings(&runs, of_kind("learnt")),
        runs: runs.into_iter().map(of_run).collect(),
        since,
        now: Timestamp::now(),
        incidents,
        readiness: of_kind("ready").next_back().map(readiness),
        costs,
        ledger_head: entries.last().map(|entry| (entry.sequence, entry.hash.clone())),
        other_entries: other.into_iter().map(|(kind, (count, newest))| (kind, count, newest)).collect(),
    })
}

/// For so many years, as `plan cost` does it when nothing is said.
const YEARS: u32 = 3;

/// A report is wanted also when somebody's file of prices can't be read: then it has no costs, and that is told.
async fn costs(path: &Path, config: &Config, runs: &[(Kept, Run)], output: &Output) -> Vec<(String, String, String)> {
    let read = match Papers::read(path, config, None, None) {
        Ok(read) => read,
        Err(failure) => {
            output.warn(&format!("the report has no costs: {}", failure.sentence()));
            return Vec::new();
        }
    };
    let runs: Vec<Run> = runs.iter().map(|(_, run)| run.clone()).collect();
    costs::rows(&analysis(config, &read, &runs, YEARS, output).await)
}

/// What happened for real, from the first entry or the day that was asked for. None: nothing was kept.
fn incidents<'a>(
    entries: impl Iterator<Item = &'a Kept>,
    runs: &[(Kept, Run)],
    since: Option<Date>,
    now: Timestamp,
) -> Option<Incidents> {
    let entries: Vec<&Kept> = entries.collect();
    let events = entries.iter().filter_map(|entry| {
        Some((entry.hash.clone(), entry.at, serde_json::from_value::<Event>(entry.body.clone()).ok()?))
    });
    let (incidents, _) = fold(events);
    let began = incidents.iter().map(|incident| incident.opened.began_at).min()?;
    let first = runs.iter().map(|(kept, _)| kept.at).min().map_or(began, |run| run.min(began));
    let asked = since.and_then(|day| day.to_zoned(TimeZone::UTC).ok()).map(|day| day.timestamp());
    let figures = figures(&incidents, &[], asked.unwrap_or(first), now);
    Some(Incidents {
        count: figures.incidents,
        mean_to_recovery_seconds: figures.mttr_seconds,
        mean_between_seconds: figures.mtbf_seconds,
        sources: entries.into_iter().map(source).collect(),
    })
}

fn today(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}

fn of_run((kept, run): (Kept, Run)) -> Evidence {
    Evidence { entry: kept.hash, sequence: kept.sequence, run }
}

/// As the papers name it.
fn source(kept: &Kept) -> String {
    format!("{}-{}", kept.sequence, kept.hash.chars().take(8).collect::<String>())
}

/// What drills taught; an entry `learnt` with the same sentence, later, closes it.
fn findings<'a>(runs: &[(Kept, Run)], closed: impl Iterator<Item = &'a Kept>) -> Vec<Finding> {
    let closed: Vec<(&str, Timestamp)> =
        closed.filter_map(|entry| Some((entry.body["what"].as_str()?, entry.at))).collect();
    let all = runs.iter().flat_map(|(kept, run)| run.learnt.iter().map(move |learnt| (kept, learnt)));
    all.map(|(kept, learnt)| Finding {
        what: learnt.what.clone(),
        owner: learnt.owner.clone(),
        due: learnt.due,
        closed: closed.iter().find(|(what, at)| *what == learnt.what && *at >= kept.at).map(|(_, at)| today(*at)),
        source: source(kept),
    })
    .collect()
}

fn readiness(kept: &Kept) -> Readiness {
    let mut areas: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    let answers = kept.body["answers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for answer in answers {
        let area = answer["aspect"].as_str().or_else(|| answer["group"].as_str()).unwrap_or("all");
        let counts = areas.entry(area.replace('_', " ")).or_default();
        // What is none of our words wasn't ready, and isn't known.
        let column = match answer["status"].as_str() {
            Some("ready") => 0,
            Some("not_ready" | "not ready") => 1,
            Some("skipped") => 3,
            _ => 2,
        };
        counts[column] += 1;
    }
    Readiness {
        at: kept.at,
        is_ready: kept.body["ready"] == Value::Bool(true),
        areas: areas.into_iter().collect(),
        source: source(kept),
    }
}
