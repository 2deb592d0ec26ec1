//! What the ledger says of rehearsals and people, and what is written in the plan.

use super::observe::{known, within};
use super::papers;
use crate::config::{Config, WorkloadConfig};
use crate::evidence;
use crate::output::Output;
use jiff::Timestamp;
use lifeboat_plan::model::Disruption;
use lifeboat_plan::readiness::observed::{Governance, GroupSeen, Place};
use lifeboat_plan::readiness::{FromRuns, Seen, findings_open, governance, group_drills, groups_seen};
use lifeboat_plan::run::{Run, Verdict};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// The scenario in which a repository is opened with the key from the safe.
const ESCROW: &str = "lost-key";
/// For so long a drill shows that a location doesn't let go what it has.
const RANSOMWARE_WITHIN_HOURS: i64 = 92 * 24;

/// What the ledger holds.
pub struct FromLedger {
    /// None: it couldn't be read, and why.
    read: Result<(), String>,
    runs: Vec<Run>,
    /// When each person last answered a page.
    answered: BTreeMap<String, Timestamp>,
    /// Findings that were closed, by their sentence.
    closed: Vec<String>,
    pub from_runs: FromRuns,
    contradictions: Seen<Vec<String>>,
    runbook: Seen<Vec<String>>,
    ledger: Seen<Vec<String>>,
}

const ASKED: &str = "the ledger of every location";

/// Reads it.
pub async fn look((path, config): (&Path, &Config), patience: Duration, output: &Output) -> FromLedger {
    let output = output.for_parts();
    let read = within(patience, ASKED, async {
        let runs = evidence::runs(config, &output).await?;
        let entries = evidence::read(config, &["page", "learnt"], &output).await?;
        Ok((runs, entries))
    });
    let (read, runbook, ledger) =
        futures::join!(read, papers::runbook(path, config, patience), papers::ledger(config, patience, &output));
    let (outcome, runs, entries) = match read {
        Seen::Known((runs, entries), _) => (Ok(()), runs.into_iter().map(|(_, run)| run).collect(), entries),
        Seen::Unknown { why, .. } | Seen::Absent { why } => (Err(why), Vec::new(), Vec::new()),
    };
    let mut found = FromLedger {
        read: outcome,
        from_runs: governance(&runs, ESCROW),
        runs,
        answered: BTreeMap::new(),
        closed: Vec::new(),
        contradictions: papers::contradictions(config),
        runbook,
        ledger,
    };
    entries.iter().for_each(|entry| found.note(entry));
    found
}

impl FromLedger {
    fn note(&mut self, entry: &evidence::Kept) {
        let body = &entry.body;
        if entry.kind == "learnt" {
            self.closed.extend(body["what"].as_str().map(str::to_owned));
        }
        if entry.kind == "page"
            && body["acknowledged"].as_bool() == Some(true)
            && let Some(person) = body["person"].as_str()
        {
            let kept = self.answered.entry(person.to_owned()).or_insert(entry.at);
            *kept = entry.at.max(*kept);
        }
    }

    /// Something that follows from the ledger, when it could be read.
    pub fn seen<T: std::fmt::Debug>(&self, value: T) -> Seen<T> {
        match &self.read {
            Ok(()) => known(value, ASKED),
            Err(why) => Seen::unknown(why.clone(), ASKED),
        }
    }

    pub fn groups(&self, config: &Config) -> Vec<GroupSeen> {
        groups_seen(group_drills(&config.plan.plan, &self.runs), |runs| self.seen(runs))
    }

    /// A store isn't asked to delete; a drill of ransomware is what shows that it wouldn't.
    pub fn immutable(&self, place: &Place, config: &Config) -> Seen<Vec<String>> {
        if !config.locations[&place.name].immutable {
            return Seen::absent("it isn't said to be immutable (`immutable = true`)");
        }
        let asked = "drills of ransomware in the ledger";
        let newest = self.runs.iter().filter(|run| run.disruption == Some(Disruption::Ransomware));
        let newest = newest.filter(|run| run.verdict != Verdict::Refused).max_by_key(|run| run.ended_at);
        let young = jiff::SignedDuration::from_hours(RANSOMWARE_WITHIN_HOURS);
        match newest {
            Some(run) if Timestamp::now().duration_since(run.ended_at) > young => {
                Seen::unknown("the last drill of ransomware is older than 92 days", asked)
            }
            Some(run) if run.verdict == Verdict::Passed => known(Vec::new(), format!("run {}", run.id)),
            Some(run) => {
                known(vec![format!("the drill of ransomware {} didn't pass", run.id)], format!("run {}", run.id))
            }
            None => Seen::unknown("no drill has tried to delete there yet, and a store isn't asked to", asked),
        }
    }

    pub fn governance(&self, config: &Config) -> Governance {
        let plan = &config.plan.plan;
        let contacts: BTreeMap<String, Option<Timestamp>> =
            plan.people.keys().map(|name| (name.clone(), self.answered.get(name).copied())).collect();
        let processes = plan.processes.iter().map(|(name, process)| (format!("process {name}"), process.reviewed));
        let risks = plan.risks.iter().map(|(name, risk)| (format!("risk {name}"), risk.reviewed));
        Governance {
            escrow: self.seen(self.from_runs.escrow.clone()),
            contradictions: self.contradictions.clone(),
            reviews: known(processes.chain(risks).collect(), "`reviewed` in the plan"),
            review_within: plan.review_within,
            contacts: self.seen(contacts),
            findings: self.seen(findings_open(&self.runs, &self.closed)),
            runbook: self.runbook.clone(),
            ledger: self.ledger.clone(),
            alarm: self.seen(self.from_runs.alarm),
        }
    }
}

/// Whether somebody would be told.
pub fn alarms(section: &WorkloadConfig) -> Seen<Vec<String>> {
    let asked = "`alarm` of the workload";
    let Some(program) = section.alarm.as_ref().and_then(|words| words.first()) else {
        return known(vec!["no `alarm` is configured: nobody is told".to_owned()], asked);
    };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = match program.contains('/') {
        true => Path::new(program).is_file(),
        false => std::env::split_paths(&path).any(|directory| directory.join(program).is_file()),
    };
    known(if is_there { Vec::new() } else { vec![format!("the alarm's program {program} isn't here")] }, asked)
}
