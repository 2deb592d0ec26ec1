//! Promised against measured, by process, by group and over time.

use super::ReportInput;
use crate::input::{Evidence, as_days};
use crate::words::{duration, seconds};
use lifeboat_document::{Bar, Document, Line, LinePoint, NoticeKind, Picture, Text};
use lifeboat_plan::model::{Process, Tier};

/// Runs that brought back a whole group, oldest first.
pub(super) fn of_group<'a>(input: &'a ReportInput, group: &str) -> Vec<&'a Evidence> {
    let Some(of_plan) = input.plan.groups.get(group) else { return Vec::new() };
    input.shown_runs().into_iter().filter(|run| run.is_of_all(group, &of_plan.workloads)).collect()
}

fn tier_of<'a>(input: &'a ReportInput, process: &Process) -> Option<(&'a str, &'a Tier)> {
    let name = process.tier.as_deref()?;
    input.plan.tiers.get_key_value(name).map(|(name, tier)| (name.as_str(), tier))
}

/// The slowest of its groups decides when a process is back; with one that was never measured nothing is known.
fn slowest<'a>(
    input: &'a ReportInput,
    process: &Process,
    figure: impl Fn(&Evidence) -> Option<f64>,
) -> Option<(f64, &'a Evidence)> {
    let mut slowest: Option<(f64, &Evidence)> = None;
    for group in &process.groups {
        let last = of_group(input, group).into_iter().rev().find_map(|run| Some((figure(run)?, run)))?;
        if slowest.is_none_or(|(most, _)| last.0 > most) {
            slowest = Some(last);
        }
    }
    slowest
}

fn rta(run: &Evidence) -> Option<f64> {
    run.run.measured.fault_to_healthy_seconds
}

fn rpa(run: &Evidence) -> Option<f64> {
    run.run.measured.loss_seconds
}

pub(super) fn in_short(input: &ReportInput) -> Vec<Text> {
    let total = input.plan.processes.len();
    let judged: Vec<Option<bool>> = input
        .plan
        .processes
        .values()
        .map(|process| {
            let (_, tier) = tier_of(input, process)?;
            let (rta, _) = slowest(input, process, rta)?;
            let (rpa, _) = slowest(input, process, rpa)?;
            Some(rta <= tier.objective.rto.as_secs_f64() && rpa <= tier.objective.rpo.as_secs_f64())
        })
        .collect();
    let count = |wanted: Option<bool>| judged.iter().filter(|found| **found == wanted).count();
    let today = input.today();
    let open: Vec<_> = input.findings.iter().filter(|finding| finding.closed.is_none()).collect();
    let late = open.iter().filter(|finding| finding.due.is_some_and(|due| due.to_string() < today)).count();
    let runs = input.shown_runs();
    let passed = runs.iter().filter(|run| run.passed()).count();
    vec![
        Text::new()
            .strong(format!("{} of {total} processes", count(Some(true))))
            .plain(" were brought back within both promises in their last drills; ")
            .strong(count(Some(false)).to_string())
            .plain(" were not; of ")
            .strong(count(None).to_string())
            .plain(" it was not measured, or nothing is promised. Source: the table below."),
        Text::new().strong(format!("{passed} of {} runs", runs.len())).plain(" passed (entries of the kind drill)."),
        Text::new()
            .strong(format!("{} findings", open.len()))
            .plain(" are open, ")
            .strong(late.to_string())
            .plain(" of them late (entries of the kinds drill and learnt)."),
        Text::from(super::coverage::in_short(input)),
    ]
}

pub(super) fn add(document: &mut Document, input: &ReportInput) {
    document.chapter("Promised against measured", "promised");
    document.paragraph("A process is back when the slowest of its groups is. Promises are those of its tier in the configuration; measurements are those of the last drill that brought back the whole group.");
    let processes = input.plan.processes.iter();
    let rows = processes.clone().map(|(name, process)| {
        let tier = tier_of(input, process);
        let measured = |found: Option<(f64, &Evidence)>, promised: Option<f64>| match found {
            Some((figure, run)) => {
                let words = format!("{} ({}, entry {})", seconds(figure), run.day(), run.source());
                if promised.is_some_and(|promised| figure > promised) {
                    Text::new().strong(words)
                } else {
                    words.into()
                }
            }
            None => Text::new().strong("not measured"),
        };
        let objective = tier.map(|(_, tier)| tier.objective);
        vec![
            Text::new().strong(process.title.clone()).plain(format!(" (process.{name})")),
            tier.map_or_else(|| "none".into(), |(name, _)| name.into()),
            objective.map_or_else(|| "nothing".into(), |objective| duration(objective.rto).into()),
            measured(slowest(input, process, rta), objective.map(|objective| objective.rto.as_secs_f64())),
            objective.map_or_else(|| "nothing".into(), |objective| duration(objective.rpo).into()),
            measured(slowest(input, process, rpa), objective.map(|objective| objective.rpo.as_secs_f64())),
        ]
    });
    document.table(
        &["Process", "Tier", ">RTO", "RTA", ">RPO", "RPA"],
        rows.collect(),
        "No process is in the plan: nothing was promised to the business.",
    );
    bars(document, input);
    over_time(document, input);
}

fn bars(document: &mut Document, input: &ReportInput) {
    type Figure = fn(&Evidence) -> Option<f64>;
    type Promise = fn(&Tier) -> f64;
    let kinds: [(&str, Figure, Promise); 2] = [
        ("Time to recover (RTA), the line is what was promised (RTO). A bar beyond it is too long.", rta, |tier| {
            tier.objective.rto.as_secs_f64()
        }),
        ("Loss (RPA), the line is what was promised (RPO). A bar beyond it is too much.", rpa, |tier| {
            tier.objective.rpo.as_secs_f64()
        }),
    ];
    for (caption, figure, promise) in kinds {
        let bars: Vec<Bar> = input
            .plan
            .processes
            .values()
            .map(|process| {
                let promised = tier_of(input, process).map(|(_, tier)| promise(tier));
                let found = slowest(input, process, figure);
                Bar {
                    label: process.title.clone(),
                    promised,
                    measured: found.map(|(figure, _)| figure),
                    promised_words: promised.map_or_else(|| "nothing".to_owned(), seconds),
                    measured_words: found.map_or_else(
                        || "not measured".to_owned(),
                        |(figure, run)| format!("{}, entry {}", seconds(figure), run.source()),
                    ),
                }
            })
            .collect();
        if !bars.is_empty() {
            document.picture(caption, Picture::Bars(bars));
        }
    }
}

fn over_time(document: &mut Document, input: &ReportInput) {
    document.section("Over time, by tier and group", "time");
    let mut groups: Vec<&str> = input.plan.groups.keys().map(String::as_str).collect();
    groups.sort_by_key(|name| {
        input.plan.tier_of_group(name).map_or((1, u32::MAX, Default::default()), |(_, tier)| {
            (0, tier.rank.unwrap_or(u32::MAX), tier.objective.rto)
        })
    });
    for group in groups {
        let tier = input.plan.tier_of_group(group);
        let points: Vec<LinePoint> = of_group(input, group)
            .into_iter()
            .filter_map(|run| {
                let value = rta(run)?;
                let (at, at_words) = (as_days(run.run.started_at), run.day());
                Some(LinePoint { at, value, at_words, value_words: seconds(value) })
            })
            .collect();
        if points.is_empty() {
            document.notice(
                NoticeKind::Warning,
                Text::new().strong(group).plain(": the time to recover was never measured."),
            );
            continue;
        }
        let entries: Vec<String> =
            of_group(input, group).into_iter().filter(|run| rta(run).is_some()).map(Evidence::source).collect();
        let promised = tier.map(|(_, tier)| (tier.objective.rto.as_secs_f64(), duration(tier.objective.rto)));
        let label = match tier {
            Some((name, _)) => format!("{group}, tier {name}: RTA"),
            None => format!("{group}: RTA"),
        };
        document.picture(
            format!("Drills of {group}. Entries {}.", entries.join(", ")),
            Picture::Line(Line { label, points, promised }),
        );
    }
}
