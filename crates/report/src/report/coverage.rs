//! What was rehearsed, and what never.

use super::ReportInput;
use super::promised::of_group;
use crate::words::disruption;
use lifeboat_document::{Document, Text};
use lifeboat_plan::model::Disruption;

fn never_groups(input: &ReportInput) -> Vec<&str> {
    let groups = input.plan.groups.keys().map(String::as_str);
    groups.filter(|group| !of_group(input, group).iter().any(|run| run.passed())).collect()
}

fn never_disruptions(input: &ReportInput) -> Vec<Disruption> {
    let runs = input.shown_runs();
    Disruption::ALL
        .into_iter()
        .filter(|kind| !runs.iter().any(|run| run.passed() && run.run.disruption == Some(*kind)))
        .collect()
}

pub(super) fn in_short(input: &ReportInput) -> String {
    let groups = never_groups(input);
    format!(
        "{} of {} groups, and {} of {} kinds of disruption, have no passed drill in this time (Coverage).",
        groups.len(),
        input.plan.groups.len(),
        never_disruptions(input).len(),
        Disruption::ALL.len()
    )
}

pub(super) fn add(document: &mut Document, input: &ReportInput) {
    document.chapter("Coverage", "coverage");
    let runs = input.shown_runs();
    let never = || Text::new().strong("never passed");
    let rows = input.plan.groups.keys().map(|group| {
        let of_it = of_group(input, group);
        let last = of_it.iter().rev().find(|run| run.passed());
        vec![
            Text::new().strong(group.clone()),
            input.plan.processes_of(group).join(", ").into(),
            of_it.len().to_string().into(),
            last.map_or_else(never, |run| format!("{}, entry {}", run.day(), run.source()).into()),
        ]
    });
    document.table(&["Group", "Processes", ">Runs", "Last that passed"], rows.collect(), "No group is in the plan.");
    let rows = Disruption::ALL.into_iter().map(|kind| {
        let risks: Vec<&str> =
            input.plan.risks.values().filter(|risk| risk.disruption == kind).map(|risk| risk.threat.as_str()).collect();
        let of_it: Vec<_> = runs.iter().filter(|run| run.run.disruption == Some(kind)).collect();
        let last = of_it.iter().rev().find(|run| run.passed());
        vec![
            disruption(kind).into(),
            risks.join("; ").into(),
            of_it.len().to_string().into(),
            last.map_or_else(never, |run| format!("{}, entry {}", run.day(), run.source()).into()),
        ]
    });
    document.table(&["When", "Risks of the plan", ">Runs", "Last that passed"], rows.collect(), "");
    let in_groups = |name: &&String| input.plan.groups_of(name).is_empty();
    let alone: Vec<&str> = input.surroundings.workloads.keys().filter(in_groups).map(String::as_str).collect();
    if !alone.is_empty() {
        document.paragraph(
            Text::new()
                .plain("Workloads in no group, of which nothing is promised: ")
                .strong(alone.join(", "))
                .plain(" (configuration)."),
        );
    }
}
