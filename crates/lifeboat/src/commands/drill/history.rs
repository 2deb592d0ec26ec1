//! What was rehearsed.

use super::run::{show_text, word};
use crate::cli::Global;
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, human};
use crate::{evidence, rooms};
use lifeboat_plan::run::{Outcome, Run};
use serde_json::json;
use std::time::Duration;

fn runs(global: &Global, output: &Output) -> Result<Vec<Run>, Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let kept = rooms::runtime()?.block_on(evidence::runs(&config, output))?;
    Ok(kept.into_iter().map(|(_, run)| run).collect())
}

fn seconds(seconds: Option<f64>) -> String {
    seconds
        .map_or_else(|| "not measured".to_owned(), |seconds| human::duration(Duration::from_secs_f64(seconds.max(0.0))))
}

pub fn history(global: &Global, scenario: Option<&str>, output: &Output) -> Result<(), Failure> {
    let mut runs = runs(global, output)?;
    runs.retain(|run| scenario.is_none_or(|scenario| run.scenario == scenario));
    if output.is_json() {
        return output.document(&json!({ "runs": runs }));
    }
    if runs.is_empty() {
        output.text("nothing was rehearsed yet")?;
        output.hint("`lifeboat drill list` shows what can be");
        return Ok(());
    }
    let columns = [
        Column::Left("when"),
        Column::Left("scenario"),
        Column::Left("of"),
        Column::Left("verdict"),
        Column::Right("RTA"),
        Column::Right("RPA"),
        Column::Left("id"),
    ];
    let row = |run: &Run| {
        let of = run.group.clone().unwrap_or_else(|| run.workloads.join(","));
        let at = run.started_at.strftime("%Y-%m-%d %H:%M").to_string();
        let (rta, rpa) = (seconds(run.measured.fault_to_healthy_seconds), seconds(run.measured.loss_seconds));
        vec![at, run.scenario.clone(), of, word(run.verdict).to_owned(), rta, rpa, run.id.clone()]
    };
    output.text(&render(&columns, &runs.iter().map(row).collect::<Vec<_>>(), terminal_width()))
}

pub fn show(global: &Global, id: &str, output: &Output) -> Result<(), Failure> {
    let runs = runs(global, output)?;
    let mut found = runs.iter().filter(|run| run.id.starts_with(id));
    let run = found.next().ok_or_else(|| {
        Failure::new(FailureKind::NotFound, format!("no run {id:?} is in the ledger"))
            .with_hint("`lifeboat drill history` lists them")
    })?;
    if let Some(other) = found.next() {
        let message = format!("{id:?} is the beginning of several runs");
        return Err(Failure::new(FailureKind::Usage, message).with_hint(format!("such as {} and {}", run.id, other.id)));
    }
    if output.is_json() {
        return output.document(&json!(run));
    }
    show_text(run, output)?;
    for proof in &run.isolation {
        let sign = if proof.holds { "isolated" } else { "NOT ISOLATED" };
        output.text(&format!("{sign}: {}: {}", proof.tried, proof.seen))?;
    }
    for step in &run.steps {
        let took = step.started_at.zip(step.ended_at).map(|(from, to)| to.duration_since(from).as_secs_f64());
        let outcome = match step.outcome {
            Outcome::Held => "held",
            Outcome::NotHeld => "DID NOT HOLD",
            Outcome::TimedOut => "TOOK TOO LONG",
            Outcome::Skipped => "skipped",
        };
        output.text(&format!("{outcome}: {} ({})\n    {}", step.name, seconds(took), step.did))?;
        if let Some(seen) = &step.seen {
            output.text(&format!("    {seen}"))?;
        }
    }
    Ok(())
}
