//! What went, what goes and what stays, for people and for programs.

use super::Outcome;
use super::look::{Judged, due_at};
use super::rewrite::Repacked;
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;

pub fn tell(
    config: &Config,
    outcomes: &[Outcome],
    repacked: &Repacked,
    dry_run: bool,
    output: &Output,
) -> Result<(), Failure> {
    if output.is_json() {
        let locations: Vec<Value> = outcomes.iter().map(|outcome| document(config, outcome)).collect();
        output.document(&json!({ "dry_run": dry_run, "locations": locations, "rewritten": rewritten(repacked) }))?;
    } else {
        for outcome in outcomes {
            output.text(&format!("{}:", output.paint(&outcome.location, Tone::Warning)))?;
            table(outcome, output)?;
            sentences(config, outcome, dry_run, output)?;
        }
        tell_rewritten(repacked, dry_run, output)?;
        tell_held(outcomes, output);
        match dry_run {
            true => output.hint("nothing was done; leave out --dry-run to do it"),
            false if outcomes.iter().any(|outcome| !outcome.going.is_empty()) => {
                output.hint("until then `lifeboat prune --cancel` takes it back, and the points can be restored");
            }
            false => {}
        }
    }
    let failures: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.swept.failures).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let message = format!("{} objects could not be deleted, the first: {}", failures.len(), failures[0]);
    Err(Failure::new(FailureKind::Unavailable, message)
        .with_hint("nothing that is needed was touched; the next `lifeboat prune` goes on")
        .after_its_document())
}

fn rewritten(repacked: &Repacked) -> Value {
    json!({
        "packs": repacked.plan.packs(),
        "bytes": repacked.plan.bytes,
        "live_bytes": repacked.plan.live_bytes,
        "new_packs": repacked.report.packs,
        "new_bytes": repacked.report.bytes,
        "left": repacked.report.left,
    })
}

fn tell_rewritten(repacked: &Repacked, dry_run: bool, output: &Output) -> Result<(), Failure> {
    let plan = &repacked.plan;
    if plan.packs() == 0 {
        return Ok(());
    }
    output.text(&format!(
        "{}: {} packs of {} that are mostly dead, {} of them needed; {} gained where they go",
        if dry_run { "would be rewritten" } else { "rewritten" },
        plan.packs(),
        human::size(plan.bytes),
        human::size(plan.live_bytes),
        human::size(plan.bytes.saturating_sub(plan.live_bytes)),
    ))
}

/// What to do about points that the policy would give up, when whoever holds them is gone.
fn tell_held(outcomes: &[Outcome], output: &Output) {
    let judged = outcomes.iter().flat_map(|outcome| &outcome.judged);
    let held: BTreeSet<&str> =
        judged.filter(|judged| judged.verdict.is_only_held()).map(|judged| judged.point.id.0.as_str()).collect();
    if let Some(first) = held.first() {
        output.hint(&format!(
            "{} because somebody still reads from there; who is gone for good is let go of by `lifeboat prune --release {first}`",
            if held.len() == 1 { "a point stays only".to_owned() } else { format!("{} points stay only", held.len()) },
        ));
    }
}

fn document(config: &Config, outcome: &Outcome) -> Value {
    let points: Vec<Value> = outcome
        .judged
        .iter()
        .map(|judged| {
            let reasons: Vec<String> = judged.verdict.kept.iter().map(ToString::to_string).collect();
            json!({
                "workload": judged.point.workload,
                "point": judged.point.id,
                "time": judged.point.finished_at,
                "good": judged.is_good,
                "kept": judged.verdict.is_kept(),
                "reasons": reasons,
                "only_held": judged.verdict.is_only_held(),
            })
        })
        .collect();
    let standing: Vec<Value> = outcome
        .standing
        .iter()
        .map(|mark| {
            json!({
                "name": mark.name,
                "points": mark.removal.points,
                "packs": mark.removal.packs.len(),
                "due_at": due_at(mark.made_at, config.prune_after),
                "begun": mark.has_begun,
            })
        })
        .collect();
    json!({
        "location": outcome.location,
        "points": points,
        "marked": {
            "points": outcome.going.points,
            "log_files": outcome.going_logs,
            "packs": outcome.going.packs.len(),
            "bytes": outcome.going_bytes,
            "due_at": due_at(Timestamp::now(), config.prune_after),
        },
        "standing": standing,
        "deleted": {
            "points": outcome.swept.points,
            "spared": outcome.swept.spared,
            "log_files": outcome.swept.logs,
            "packs": outcome.swept.packs,
            "bytes": outcome.swept.bytes,
            "failures": outcome.swept.failures,
        },
    })
}

fn table(outcome: &Outcome, output: &Output) -> Result<(), Failure> {
    if outcome.judged.is_empty() {
        return output.text("no recovery points");
    }
    let now = Timestamp::now();
    let row = |judged: &Judged| {
        let reasons: Vec<String> = judged.verdict.kept.iter().map(ToString::to_string).collect();
        let fate = match judged.verdict.is_kept() {
            true => output.paint("stays", Tone::Good),
            false => output.paint("goes", Tone::Bad),
        };
        vec![
            judged.point.workload.clone(),
            judged.point.id.to_string(),
            human::age(judged.point.finished_at, now),
            fate,
            reasons.join(", "),
        ]
    };
    let columns = [
        Column::Left("workload"),
        Column::Left("point"),
        Column::Left("finished"),
        Column::Left(""),
        Column::Left("because"),
    ];
    output.text(&render(&columns, &outcome.judged.iter().map(row).collect::<Vec<_>>(), terminal_width()))
}

fn sentences(config: &Config, outcome: &Outcome, dry_run: bool, output: &Output) -> Result<(), Failure> {
    let swept = &outcome.swept;
    if swept.points.len() as u64 + swept.logs + swept.packs > 0 {
        output.text(&format!(
            "deleted: {} points, {} files of the log, {} packs: {}",
            swept.points.len(),
            swept.logs,
            swept.packs,
            human::size(swept.bytes)
        ))?;
    }
    for spared in &swept.spared {
        output.text(&format!("spared, because it is kept now: {} of {}", spared.point, spared.workload))?;
    }
    let now = Timestamp::now();
    for mark in &outcome.standing {
        let due = due_at(mark.made_at, config.prune_after);
        let when = if due > now { human::age(due, now) } else { "by the next run".into() };
        output.text(&format!(
            "marked {}: {} points, {} packs; deleted {when}",
            human::age(mark.made_at, now),
            mark.removal.points.len(),
            mark.removal.packs.len(),
        ))?;
    }
    if outcome.going.is_empty() {
        return output.text("nothing more to give up");
    }
    output.text(&format!(
        "{}: {} points, {} files of the log, {} packs: {}, deleted by the first run after {}",
        if dry_run { "would be marked" } else { "marked" },
        outcome.going.points.len(),
        outcome.going_logs,
        outcome.going.packs.len(),
        human::size(outcome.going_bytes),
        human::duration(config.prune_after),
    ))
}
