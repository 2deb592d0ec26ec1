//! Which rehearsals of the plan are due.

use jiff::{SignedDuration, Timestamp};
use lifeboat_plan::model::Plan;
use lifeboat_plan::run::{Run, Verdict};
use serde::Serialize;
use std::time::Duration;

/// One rehearsal of the plan, and when it is due.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Due {
    /// Its name in the plan.
    pub drill: String,
    /// The scenario.
    pub scenario: String,
    /// What it is done with.
    pub target: Option<String>,
    /// How often, in seconds. None: nobody said.
    pub every_seconds: Option<u64>,
    /// When it was last begun.
    pub last_at: Option<Timestamp>,
    /// With what verdict.
    pub last_verdict: Option<Verdict>,
    /// When it last passed.
    pub passed_at: Option<Timestamp>,
    /// When it must have passed again. None: it never did, or nobody said how often.
    pub due_at: Option<Timestamp>,
    /// Whether that is over.
    pub is_due: bool,
}

/// All of the plan's, by what was rehearsed. Only one that passed counts.
pub fn due(plan: &Plan, runs: &[Run], now: Timestamp) -> Vec<Due> {
    let one = |(name, drill): (&String, &lifeboat_plan::model::Drill)| {
        let every = drill.every.or_else(|| cadence(plan, drill.target.as_deref()));
        let of_it = || runs.iter().filter(|run| run.drill.as_ref() == Some(name));
        let last = of_it().max_by_key(|run| run.started_at);
        let passed_at = of_it().filter(|run| run.verdict == Verdict::Passed).map(|run| run.started_at).max();
        let due_at =
            passed_at.zip(every).and_then(|(at, every)| at.checked_add(SignedDuration::try_from(every).ok()?).ok());
        Due {
            drill: name.clone(),
            scenario: drill.scenario.clone(),
            target: drill.target.clone(),
            every_seconds: every.map(|every| every.as_secs()),
            last_at: last.map(|run| run.started_at),
            last_verdict: last.map(|run| run.verdict),
            passed_at,
            due_at,
            is_due: passed_at.is_none() || due_at.is_some_and(|due| due <= now),
        }
    };
    plan.drills.iter().map(one).collect()
}

/// How often the tier of a target asks for a rehearsal.
fn cadence(plan: &Plan, target: Option<&str>) -> Option<Duration> {
    let target = target?;
    let tier =
        if plan.groups.contains_key(target) { plan.tier_of_group(target) } else { plan.tier_of_workload(target) };
    tier.and_then(|(_, tier)| tier.drill_every)
}
