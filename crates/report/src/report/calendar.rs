//! When what was rehearsed, and when it should be.

use super::ReportInput;
use crate::input::{Evidence, as_days};
use crate::words::{day, duration};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use lifeboat_document::{Calendar, CalendarRow, Document, Mark, MarkKind, Picture, Text};
use lifeboat_plan::model::Drill;
use std::time::Duration;

/// How much of what comes is shown.
const AHEAD_DAYS: f64 = 92.0;
/// And of what was, when nothing else is said.
const BEHIND_DAYS: f64 = 365.0;

pub(super) fn cadence(input: &ReportInput, drill: &Drill) -> Option<Duration> {
    let of_tier = || {
        let target = drill.target.as_deref()?;
        let plan = &input.plan;
        plan.tier_of_group(target).or_else(|| plan.tier_of_workload(target)).and_then(|(_, tier)| tier.drill_every)
    };
    drill.every.or_else(of_tier)
}

pub(super) fn of_drill<'a>(input: &'a ReportInput, name: &str, drill: &Drill) -> Vec<&'a Evidence> {
    let is_of = |run: &&Evidence| match run.run.drill.as_deref() {
        Some(of_plan) => of_plan == name,
        None => {
            let target = drill.target.as_deref();
            let hits = |target: &str| {
                run.run.group.as_deref() == Some(target) || run.run.workloads.iter().any(|name| name == target)
            };
            run.run.scenario == drill.scenario && target.is_none_or(hits)
        }
    };
    input.runs.iter().filter(is_of).collect()
}

pub(super) fn add(document: &mut Document, input: &ReportInput) {
    document.chapter("The drills' calendar", "calendar");
    let today = as_days(input.now);
    let mut rows = Vec::new();
    let mut marks_of = Vec::new();
    for (name, drill) in &input.plan.drills {
        let runs = of_drill(input, name, drill);
        let every = cadence(input, drill);
        let last = runs.iter().rev().find(|run| run.passed());
        let due =
            every.map(|every| last.map_or(today, |run| as_days(run.run.started_at) + every.as_secs_f64() / 86_400.0));
        let (due_words, kind) = match (due, last) {
            (None, _) => ("no cadence is set".to_owned(), None),
            (Some(_), None) => ("now: it never passed".to_owned(), Some(MarkKind::Late)),
            (Some(due), _) => (words_of(due), Some(if due < today { MarkKind::Late } else { MarkKind::Planned })),
        };
        let state = match kind {
            Some(MarkKind::Late) => Text::new().strong(due_words.clone()).strong(", late"),
            _ => due_words.clone().into(),
        };
        rows.push(vec![
            Text::new().strong(name.clone()),
            drill.scenario.as_str().into(),
            every.map_or_else(|| "not said".to_owned(), duration).into(),
            last.map_or_else(
                || Text::new().strong("never"),
                |run| format!("{}, entry {}", run.day(), run.source()).into(),
            ),
            state,
            drill.owner.as_deref().unwrap_or("nobody").into(),
        ]);
        let mark = |run: &&Evidence| Mark {
            at: as_days(run.run.started_at),
            kind: if run.passed() { MarkKind::Passed } else { MarkKind::Failed },
            words: format!("{}, entry {}", run.day(), run.source()),
        };
        let mut marks: Vec<Mark> = runs.iter().map(mark).collect();
        marks.extend(due.zip(kind).map(|(at, kind)| Mark { at: at.min(today + AHEAD_DAYS), kind, words: due_words }));
        marks_of.push(CalendarRow { label: name.clone(), marks });
    }
    let columns = ["Drill", "Scenario", ">Every", "Last passed", "Next", "Owner"];
    document.table(&columns, rows, "No drill is in the plan: nothing is meant to be rehearsed.");
    let since =
        input.since.and_then(|since| since.to_zoned(TimeZone::UTC).ok()).map(|since| as_days(since.timestamp()));
    let from = since.unwrap_or(today - BEHIND_DAYS);
    let to = today + AHEAD_DAYS;
    for row in &mut marks_of {
        row.marks.retain(|mark| mark.at >= from || mark.kind == MarkKind::Late);
    }
    if !marks_of.is_empty() {
        let calendar = Calendar { from, to, ticks: months(from, to), now: Some(today), rows: marks_of };
        document.picture("Drills of the plan. Done: the ledger's entries; planned: cadence of the drill or its tier, from the last that passed.", Picture::Calendar(calendar));
    }
}

fn words_of(days: f64) -> String {
    Timestamp::from_second((days * 86_400.0) as i64).map(day).unwrap_or_default()
}

/// The first days of months; every third when there are many.
fn months(from: f64, to: f64) -> Vec<(f64, String)> {
    let Ok(start) = Timestamp::from_second((from * 86_400.0) as i64) else { return Vec::new() };
    let mut date = start.to_zoned(TimeZone::UTC).date().first_of_month();
    let mut ticks = Vec::new();
    // Ten years of months at most.
    for _ in 0..120 {
        let Ok(zoned) = date.to_zoned(TimeZone::UTC) else { break };
        let at = as_days(zoned.timestamp());
        if at > to {
            break;
        }
        if at >= from {
            ticks.push((at, date.strftime("%b %Y").to_string()));
        }
        let Ok(next) = date.checked_add(1.month()) else { break };
        date = next;
    }
    ticks
}
