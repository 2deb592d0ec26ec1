//! From the plan and the ledger's records to what the checks of governance ask: pure, so that it can be tested as a table.

use super::observed::{GroupSeen, OpenFinding, Rehearsed};
use super::{Limit, Limits, Proof, Stamp};
use crate::model::{Drill, Plan};
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
fn newest_first(runs: &[Run], is_meant: impl Fn(&Run) -> bool) -> Vec<&Run> {
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
        failover: proof(newest_first(runs, Run::has_taken_over)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Disruption, Group};
    use crate::readiness::Seen;
    use crate::run::{Measured, Outcome, Phase, Promised, Step};
    use jiff::SignedDuration;

    fn at(hours: i64) -> Timestamp {
        "2026-11-22T12:00:00Z".parse::<Timestamp>().unwrap() - SignedDuration::from_hours(hours)
    }

    /// A run that passed, so many hours ago.
    fn run(id: &str, hours: i64) -> Run {
        let step = Step {
            phase: Phase::After,
            name: "asked".into(),
            did: String::new(),
            started_at: None,
            ended_at: None,
            outcome: Outcome::Held,
            counts: true,
            seen: None,
            output_hash: None,
            by: None,
        };
        Run {
            id: id.into(),
            scenario: "dropped-table".into(),
            scenario_hash: String::new(),
            drill: None,
            disruption: None,
            workloads: vec!["shop".into()],
            group: None,
            requested_by: "root".into(),
            approved_by: None,
            participants: vec![],
            started_at: at(hours),
            ended_at: at(hours),
            promised: Promised { tier: None, rto_seconds: None, rpo_seconds: None },
            configuration_hash: "c1".into(),
            versions: [(PROGRAM.to_owned(), "1.0".to_owned())].into(),
            host: String::new(),
            point: None,
            location: Some("far".into()),
            isolation: vec![],
            steps: vec![step],
            measured: Measured { restore_seconds: Some(hours as f64), ..Measured::default() },
            alert_seen: None,
            aborted: None,
            refused: None,
            verdict: Verdict::Passed,
            learnt: vec![],
            does_not_show: vec![],
        }
    }

    #[test]
    fn a_verdict_that_does_not_follow_is_no_pass_and_a_run_that_never_began_is_none() {
        let mut wrong = run("a", 1);
        wrong.measured.fault_to_healthy_seconds = Some(9.0);
        wrong.promised.rto_seconds = Some(8.0);
        assert!(!Rehearsed::from(&wrong).passed, "{:?}", wrong.entailed());
        let mut refused = run("b", 0);
        (refused.verdict, refused.refused) = (Verdict::Refused, Some("not isolated".into()));
        let runs = [run("c", 5), refused];
        let plan = plan(&["shop"]);
        let drills = group_drills(&plan, &runs);
        assert_eq!(drills[0].2.iter().map(|run| run.id.as_str()).collect::<Vec<_>>(), ["c"]);
        assert!(drills[0].2[0].passed);
        assert_eq!(drills[0].2[0].stamp.version.as_deref(), Some("1.0"));
    }

    fn plan(workloads: &[&str]) -> Plan {
        let group = Group {
            title: None,
            tier: None,
            workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
            vendor_steps: [].into(),
            after: [].into(),
            health: [].into(),
        };
        Plan { groups: [("all".to_owned(), group)].into(), ..Plan::default() }
    }

    #[test]
    fn a_group_is_rehearsed_by_a_run_of_it_or_of_all_that_it_holds() {
        let runs = [run("a", 3)];
        for (workloads, count) in [(&["shop"][..], 1), (&["shop", "stock"], 0), (&["stock"], 0)] {
            assert_eq!(group_drills(&plan(workloads), &runs)[0].2.len(), count, "{workloads:?}");
        }
        let mut named = run("b", 2);
        named.group = Some("all".into());
        assert_eq!(group_drills(&plan(&["shop", "stock"]), &[named])[0].2.len(), 1);
    }

    fn held(did: &str) -> Step {
        Step {
            phase: Phase::Recovery,
            name: "it".into(),
            did: did.into(),
            started_at: None,
            ended_at: None,
            outcome: Outcome::Held,
            counts: true,
            seen: None,
            output_hash: None,
            by: None,
        }
    }

    #[test]
    fn what_runs_say_of_key_alarm_failover_and_restores() {
        let mut key = run("key", 9);
        key.scenario = "lost-key".into();
        let mut alarm = run("alarm", 4);
        alarm.alert_seen = Some(true);
        let mut primary = run("primary", 7);
        primary.disruption = Some(Disruption::Instance);
        let mut restore = primary.clone();
        restore.ended_at = at(2);
        primary.steps = vec![held(&format!("{}primary", Run::CLUSTER_MADE))];
        restore.steps = vec![held("lifeboat restore shop --to /restored")];
        let found = governance(&[run("old", 30), key, alarm, primary, restore], "lost-key");
        assert_eq!(found.escrow.unwrap().passed_at, Some(at(9)));
        assert_eq!(found.alarm, Some((at(4), true)));
        assert_eq!(found.failover.unwrap().newest_at, at(7), "a restore is no takeover");
        assert_eq!(found.restored[&("shop".to_owned(), "far".to_owned())], (at(2), 7.0));
        assert_eq!(governance(&[], "lost-key"), FromRuns::default());
    }

    #[test]
    fn findings_stay_open_until_they_are_closed() {
        let learnt = |what: &str, due: Option<&str>| Learnt {
            what: what.into(),
            owner: None,
            due: due.map(|due| due.parse().unwrap()),
        };
        let (mut early, mut late) = (run("a", 9), run("b", 2));
        early.learnt = vec![learnt("slow", Some("2026-10-01")), learnt("mended", None)];
        late.learnt = vec![learnt("slow", Some("2027-01-01"))];
        let open = findings_open(&[late, early], &["mended".to_owned()]);
        assert_eq!(open.len(), 1);
        assert_eq!(open[0].due, Some("2026-10-01".parse().unwrap()), "learnt again is no new time");
    }

    #[test]
    fn runs_that_could_not_be_read_leave_every_group_unknown() {
        let seen = groups_seen(group_drills(&plan(&["shop"]), &[]), |_| Seen::unknown("away", "the ledger"));
        assert!(seen.iter().all(|group| matches!(group.runs, Seen::Unknown { .. })));
    }
}
