//! From the plan and the ledger's records to what the checks of governance ask: pure, so that it can be tested as a table.

use super::observed::{GroupSeen, OpenFinding, Rehearsed};
use super::{Limit, Limits, Proof, Stamp};
use crate::model::{Disruption, Drill, Plan};
use crate::run::{Learnt, Run, Verdict};
use jiff::Timestamp;
use jiff::civil::Date;
use std::collections::BTreeMap;

/// The name under which a run notes the version of this program.
pub const PROGRAM: &str = "lifeboat";

impl From<&Run> for Rehearsed {
    fn from(run: &Run) -> Self {
        let configuration_hash = Some(run.configuration_hash.clone()).filter(|hash| !hash.is_empty());
        Self {
            id: run.id.clone(),
            at: run.ended_at,
            // What the record says of itself counts only where the rest of it says so, too.
            passed: run.verdict == Verdict::Passed && run.is_consistent(),
            stamp: Stamp { configuration_hash, version: run.versions.get(PROGRAM).cloned() },
            rta_seconds: run.measured.fault_to_healthy_seconds,
            rpa_seconds: run.measured.loss_seconds,
            alert_seen: run.alert_seen,
        }
    }
}

/// Those that count, newest first. A run that never began says nothing about a recovery.
fn newest_first<'r>(runs: &'r [Run], is_meant: impl Fn(&Run) -> bool) -> Vec<&'r Run> {
    let mut found: Vec<&Run> =
        runs.iter().filter(|run| run.verdict != Verdict::Refused).filter(|run| is_meant(run)).collect();
    found.sort_by_key(|run| std::cmp::Reverse(run.ended_at));
    found
}

/// Each group and each drill of the plan, with its runs. A group that holds a run's only workloads was rehearsed by it.
pub fn group_drills(plan: &Plan, runs: &[Run]) -> Vec<(String, Limits, Vec<Rehearsed>)> {
    let seen = |found: Vec<&Run>| found.into_iter().map(Rehearsed::from).collect::<Vec<_>>();
    let groups = plan.groups.iter().map(|(name, group)| {
        let is_meant = |run: &Run| {
            let is_whole =
                !run.workloads.is_empty() && group.workloads.iter().all(|workload| run.workloads.contains(workload));
            run.group.as_ref() == Some(name) || is_whole
        };
        (format!("group {name}"), Limits::of_group(plan, name), seen(newest_first(runs, is_meant)))
    });
    let drills = plan.drills.iter().map(|(name, drill)| {
        let found = newest_first(runs, |run| run.drill.as_ref() == Some(name));
        (format!("drill {name}"), limits_of_drill(plan, drill), seen(found))
    });
    groups.chain(drills).collect()
}

fn limits_of_drill(plan: &Plan, drill: &Drill) -> Limits {
    let target = drill.target.as_deref().unwrap_or_default();
    let mut limits = match plan.groups.contains_key(target) {
        true => Limits::of_group(plan, target),
        false => Limits::of_workload(plan, target),
    };
    if let Some(every) = drill.every {
        limits.drill_every = Limit { seconds: every.as_secs_f64(), basis: "cadence of the drill".into() };
    }
    limits
}

/// What the ledger says about everything that there is one of.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FromRuns {
    /// The key in the safe.
    pub escrow: Option<Proof>,
    /// The last loss of a primary that was rehearsed.
    pub failover: Option<Proof>,
    /// The newest run that waited for an alarm.
    pub alarm: Option<(Timestamp, bool)>,
    /// By location: the newest time that a restore from there took.
    pub restored: BTreeMap<(String, String), (Timestamp, f64)>,
}

/// Reads the runs. `escrow` is the name of the scenario in which the key from the safe is used.
pub fn governance(runs: &[Run], escrow: &str) -> FromRuns {
    let proof =
        |found: Vec<&Run>| super::of_governance::proof(&found.into_iter().map(Rehearsed::from).collect::<Vec<_>>());
    let is_failover = |run: &Run| matches!(run.disruption, Some(Disruption::Instance | Disruption::Site));
    let with_alarm = newest_first(runs, |run| run.alert_seen.is_some()).into_iter().next();
    let mut restored = BTreeMap::new();
    for run in newest_first(runs, |run| run.verdict == Verdict::Passed) {
        let (Some(location), Some(seconds)) = (&run.location, run.measured.restore_seconds) else { continue };
        for workload in &run.workloads {
            restored.entry((workload.clone(), location.clone())).or_insert((run.ended_at, seconds));
        }
    }
    FromRuns {
        escrow: proof(newest_first(runs, |run| run.scenario == escrow)),
        failover: proof(newest_first(runs, is_failover)),
        alarm: with_alarm.and_then(|run| Some((run.ended_at, run.alert_seen?))),
        restored,
    }
}

/// Findings of runs that nobody has closed. `closed`: their sentences.
pub fn findings_open(runs: &[Run], closed: &[String]) -> Vec<OpenFinding> {
    let mut open: BTreeMap<&str, OpenFinding> = BTreeMap::new();
    let mut in_order: Vec<&Run> = runs.iter().collect();
    in_order.sort_by_key(|run| run.ended_at);
    for run in in_order {
        for Learnt { what, owner, due } in &run.learnt {
            // Learnt again: the first day that was set counts.
            let due: Option<Date> = open.get(what.as_str()).and_then(|known| known.due).or(*due);
            open.insert(what, OpenFinding { what: what.clone(), owner: owner.clone(), due });
        }
    }
    open.into_values().filter(|finding| !closed.contains(&finding.what)).collect()
}

/// With runs that were read, or the reason why they weren't.
pub fn groups_seen(
    drills: Vec<(String, Limits, Vec<Rehearsed>)>,
    seen: impl Fn(Vec<Rehearsed>) -> super::Seen<Vec<Rehearsed>>,
) -> Vec<GroupSeen> {
    drills.into_iter().map(|(name, limits, runs)| GroupSeen { name, limits, runs: seen(runs) }).collect()
}
