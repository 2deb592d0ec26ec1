//! Which rehearsals are due.

use super::run;
use crate::cli::{DrillRunArguments, Global};
use crate::commands::load_config;
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, human};
use crate::{evidence, rooms};
use jiff::Timestamp;
use lifeboat_drill::schedule::{Due, due};
use lifeboat_plan::run::Run;
use serde_json::json;
use std::path::Path;
use std::time::Duration;

pub fn schedule(global: &Global, run_due: bool, systemd: bool, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    if systemd {
        return output.text(&units(&std::path::absolute(&config_path).unwrap_or(config_path)));
    }
    let kept = rooms::runtime()?.block_on(evidence::runs(&config, output))?;
    let runs: Vec<Run> = kept.into_iter().map(|(_, run)| run).collect();
    let all = due(&config.plan.plan, &runs, Timestamp::now());
    if run_due {
        return carry_out(global, &config, &all, output);
    }
    if output.is_json() {
        return output.document(&json!({ "drills": all }));
    }
    if all.is_empty() {
        output.text("the plan has no drills")?;
        output.hint("add a section [drill.NAME] with its `scenario` and `target`");
        return Ok(());
    }
    let columns = [
        Column::Left("drill"),
        Column::Left("scenario"),
        Column::Left("of"),
        Column::Left("every"),
        Column::Left("passed"),
        Column::Left("due"),
    ];
    let at = |at: Option<Timestamp>, none: &str| {
        at.map_or_else(|| none.to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
    };
    let row = |one: &Due| {
        let every =
            one.every_seconds.map_or_else(|| "-".to_owned(), |seconds| human::duration(Duration::from_secs(seconds)));
        let due = if one.is_due { "now".to_owned() } else { at(one.due_at, "-") };
        let of = one.target.clone().unwrap_or_default();
        vec![one.drill.clone(), one.scenario.clone(), of, every, at(one.passed_at, "never"), due]
    };
    output.text(&render(&columns, &all.iter().map(row).collect::<Vec<_>>(), terminal_width()))?;
    output.hint("`lifeboat drill schedule --systemd` prints the timer that runs what is due");
    Ok(())
}

/// One after the other; the first failure is told at the end, and keeps none of the others from being tried.
fn carry_out(global: &Global, config: &Config, all: &[Due], output: &Output) -> Result<(), Failure> {
    let mut failures = Vec::new();
    let due: Vec<&Due> = all.iter().filter(|one| one.is_due).collect();
    // One document each would be several.
    let quiet = if output.is_json() { Output::new(false, true, crate::cli::Color::Never) } else { output.clone() };
    for one in &due {
        let drill = &config.plan.plan.drills[&one.drill];
        let is_group = drill.target.as_ref().is_some_and(|target| config.plan.plan.groups.contains_key(target));
        let arguments = DrillRunArguments {
            scenario: drill.scenario.clone(),
            workload: drill.target.clone().filter(|_| !is_group),
            group: drill.target.clone().filter(|_| is_group),
            with: drill.with.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            approve_as: None,
            participant: Vec::new(),
            scratch: None,
            in_this_network: false,
            dry_run: false,
            keep: false,
        };
        let run = if output.is_json() { run::unshown } else { run::run };
        if let Err(failure) = run(global, &arguments, &quiet) {
            quiet.warn(&format!("{}: {}", one.drill, failure.sentence()));
            failures.push(one.drill.clone());
        }
    }
    if output.is_json() {
        output
            .document(&json!({"due": due.iter().map(|one| &one.drill).collect::<Vec<_>>(), "not_passed": failures}))?;
    } else if due.is_empty() {
        output.text("nothing is due")?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::new(FailureKind::CheckFailed, format!("not passed: {}", failures.join(", "))).after_its_document())
}

fn units(config: &Path) -> String {
    format!(
        "# /etc/systemd/system/lifeboat-drill.service\n[Unit]\nDescription=Rehearse the recoveries that are due\n\n[Service]\nType=oneshot\n\
         ExecStart=/usr/bin/lifeboat --config {0} drill schedule --run-due\nExecStopPost=/usr/bin/lifeboat --config {0} drill cleanup\nNice=10\n\n\
         # /etc/systemd/system/lifeboat-drill.timer\n[Unit]\nDescription=Rehearse the recoveries that are due\n\n[Timer]\n\
         OnCalendar=daily\nRandomizedDelaySec=1h\nPersistent=true\n\n[Install]\nWantedBy=timers.target",
        config.display()
    )
}
