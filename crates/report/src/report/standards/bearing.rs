//! What bears on a clause: of a drill, whether it does; of the configuration and the rest, the names of what does.

use crate::input::{Evidence, as_days};
use crate::report::{ReportInput, calendar, promised};
use crate::words::duration;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use lifeboat_plan::model::{Disruption, Process};
use lifeboat_plan::run::{Run, Verdict};
use std::collections::BTreeSet;

/// What is done on the same day of each year is done yearly, leap years too.
const YEAR_DAYS: f64 = 366.0;
/// The scenario in which the published runbook is followed.
const BY_RUNBOOK: &str = "runbook-from-copy";

pub(super) fn named(run: &Evidence) -> String {
    format!("entry {} ({})", run.source(), run.day())
}

pub(super) fn is_of_year(input: &ReportInput, run: &Evidence) -> bool {
    as_days(input.now) - as_days(run.run.started_at) <= YEAR_DAYS
}

/// Something was brought back from a backup.
pub(super) fn restored(run: &Run) -> bool {
    run.measured.restore_seconds.is_some()
}

/// And it was proven that it couldn't reach the source.
pub(super) fn isolated(run: &Run) -> bool {
    restored(run) && !run.isolation.is_empty() && run.isolation.iter().all(|proof| proof.holds)
}

/// What came back was counted against what was written.
pub(super) fn counted(run: &Run) -> bool {
    run.measured.writes_checked.is_some_and(|count| count > 0)
}

pub(super) fn exact(run: &Run) -> bool {
    restored(run) && counted(run)
}

pub(super) fn measured(run: &Run) -> bool {
    run.measured.fault_to_healthy_seconds.is_some() && run.measured.loss_seconds.is_some()
}

pub(super) fn with_people(run: &Run) -> bool {
    !run.participants.is_empty()
}

pub(super) fn attacked(run: &Run) -> bool {
    run.disruption == Some(Disruption::Ransomware)
}

/// A drill that took longer than promised did not pass.
pub(super) fn extreme(run: &Run) -> bool {
    matches!(run.disruption, Some(Disruption::Site | Disruption::Ransomware))
        && run.measured.fault_to_healthy_seconds.is_some()
        && run.promised.rto_seconds.is_some()
}

pub(super) fn by_runbook(run: &Run) -> bool {
    run.scenario == BY_RUNBOOK
}

fn processes(input: &ReportInput, wanted: impl Fn(&Process) -> bool) -> Vec<String> {
    let found = input.plan.processes.iter().filter(|(_, process)| wanted(process));
    found.map(|(name, _)| format!("process.{name}")).collect()
}

fn is_priced(process: &Process) -> bool {
    process.cost_per_hour.is_some() || !process.impacts.is_empty()
}

/// What an outage does over time, how long it may last, what is promised.
pub(super) fn impacts(input: &ReportInput) -> Vec<String> {
    let is_whole = |process: &Process| process.maximum_tolerable_downtime.is_some() && process.tier.is_some();
    processes(input, |process| is_whole(process) && is_priced(process))
}

pub(super) fn resources(input: &ReportInput) -> Vec<String> {
    processes(input, |process| !process.groups.is_empty())
}

pub(super) fn workarounds(input: &ReportInput) -> Vec<String> {
    processes(input, |process| process.workaround.is_some())
}

pub(super) fn objectives(input: &ReportInput) -> Vec<String> {
    processes(input, |process| process.tier.as_ref().is_some_and(|tier| input.plan.tiers.contains_key(tier)))
}

/// Each with its tier: tiers have an order.
pub(super) fn priorities(input: &ReportInput) -> Vec<String> {
    let of_tier = |group: &String| Some(format!("group.{group} (tier.{})", input.plan.tier_of_group(group)?.0));
    input.plan.groups.keys().filter_map(of_tier).collect()
}

pub(super) fn strategies(input: &ReportInput) -> Vec<String> {
    let found = input.plan.tiers.iter().filter(|(_, tier)| tier.strategy.is_some());
    found.map(|(name, _)| format!("tier.{name}")).collect()
}

pub(super) fn risks(input: &ReportInput) -> Vec<String> {
    let found = input.plan.risks.iter().filter(|(_, risk)| risk.owner.is_some());
    found.map(|(name, _)| format!("risk.{name}")).collect()
}

pub(super) fn mitigations(input: &ReportInput) -> Vec<String> {
    let found = input.plan.risks.iter().filter(|(_, risk)| risk.mitigation.is_some());
    found.map(|(name, _)| format!("risk.{name}")).collect()
}

pub(super) fn roles(input: &ReportInput) -> Vec<String> {
    let found = input.plan.roles.iter().filter(|(_, role)| !role.people.is_empty());
    found.map(|(name, _)| format!("role.{name}")).collect()
}

pub(super) fn backed_up(input: &ReportInput) -> Vec<String> {
    let found = input.surroundings.workloads.iter().filter(|(_, workload)| !workload.locations.is_empty());
    found.map(|(name, workload)| format!("workload.{name} ({})", workload.locations.join(", "))).collect()
}

/// Where a region isn't said, nobody knows.
pub(super) fn offsite(input: &ReportInput) -> Vec<String> {
    let surroundings = &input.surroundings;
    let region = |location: &String| surroundings.locations.get(location).and_then(|view| view.region.as_deref());
    let found = surroundings.workloads.iter().filter_map(|(name, workload)| {
        let own = workload.region.as_deref()?;
        let is_far = |&location: &&String| region(location).is_some_and(|region| region != own);
        let far: Vec<&str> = workload.locations.iter().filter(is_far).map(String::as_str).collect();
        (!far.is_empty()).then(|| format!("workload.{name} ({})", far.join(", ")))
    });
    found.collect()
}

pub(super) fn alternate_sites(input: &ReportInput) -> Vec<String> {
    let found = input.surroundings.clusters.iter().filter_map(|(name, cluster)| {
        let servers = cluster.members.values().filter(|member| member.database.is_some());
        let regions: BTreeSet<&str> = servers.filter_map(|member| member.region.as_deref()).collect();
        let regions: Vec<&str> = regions.into_iter().collect();
        (regions.len() > 1).then(|| format!("cluster.{name} ({})", regions.join(", ")))
    });
    found.collect()
}

pub(super) fn redundancy(input: &ReportInput) -> Vec<String> {
    let found = input.surroundings.clusters.iter().filter_map(|(name, cluster)| {
        let servers = cluster.members.values().filter(|member| member.database.is_some()).count();
        (servers > 1).then(|| format!("cluster.{name} ({servers} servers)"))
    });
    found.collect()
}

/// Drills of the plan that are meant to come again.
pub(super) fn programme(input: &ReportInput) -> Vec<String> {
    let found = input.plan.drills.iter().filter_map(|(name, drill)| {
        let every = calendar::cadence(input, drill)?;
        Some(format!("drill.{name} (every {})", duration(every)))
    });
    found.collect()
}

/// Those that took place, however they went: a drill that failed was one, and has its record.
pub(super) fn exercises(input: &ReportInput) -> Vec<String> {
    let found = input.plan.drills.iter().filter_map(|(name, drill)| {
        calendar::cadence(input, drill)?;
        let runs = calendar::of_drill(input, name, drill).into_iter().rev();
        let last = runs.filter(|run| input.is_shown(run)).find(|run| run.run.verdict != Verdict::Refused)?;
        Some(format!("drill.{name}: {}", named(last)))
    });
    found.collect()
}

/// Whole groups only: a part of one is no function of the business.
pub(super) fn groups_of_year(input: &ReportInput) -> Vec<String> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for name in input.plan.groups.keys() {
        let newest_first = promised::of_group(input, name).into_iter().rev();
        match newest_first.filter(|run| run.passed()).find(|run| is_of_year(input, run)) {
            Some(run) => found.push(format!("group.{name}: {}", named(run))),
            None => missing.push(name.as_str()),
        }
    }
    if !found.is_empty() && !missing.is_empty() {
        found.push(format!("but not {}", missing.join(", ")));
    }
    found
}

/// Processes and risks that were looked at lately enough.
pub(super) fn reviews(input: &ReportInput) -> Vec<String> {
    let plan = &input.plan;
    let most = plan.review_within.map_or(YEAR_DAYS, |within| within.as_secs_f64() / 86_400.0);
    let is_recent = |reviewed: Option<Date>| {
        let reviewed = reviewed.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
        reviewed.is_some_and(|day| as_days(input.now) - as_days(day.timestamp()) <= most)
    };
    let risks = plan.risks.iter().filter(|(_, risk)| is_recent(risk.reviewed));
    let mut found = processes(input, |process| is_recent(process.reviewed));
    found.extend(risks.map(|(name, _)| format!("risk.{name}")));
    found
}

/// Findings that somebody must see to, until a day.
pub(super) fn findings(input: &ReportInput) -> Vec<String> {
    let owned = input.findings.iter().filter(|finding| finding.owner.is_some() && finding.due.is_some());
    let mut found: Vec<String> = owned.map(|finding| format!("entry {}", finding.source)).collect();
    // One drill teaches several things.
    found.dedup();
    found
}

/// What happened, and what an hour of it costs. Neither alone is a sum.
pub(super) fn losses(input: &ReportInput) -> Vec<String> {
    let Some(incidents) = &input.incidents else { return Vec::new() };
    let mut found = processes(input, is_priced);
    if !found.is_empty() {
        found.push(format!("{} incidents", incidents.count));
    }
    found
}
