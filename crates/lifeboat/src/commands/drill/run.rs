//! `lifeboat drill run`.

use super::{around, scenarios};
use crate::cli::{DrillRunArguments, Global};
use crate::commands::load_config;
use crate::config::{Config, SecretSource, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human};
use crate::{evidence, interrupt, rooms};
use lifeboat_drill::engine::{Planned, Rehearsed, plan, rehearse};
use lifeboat_drill::scenario::Scenario;
use lifeboat_drill::surroundings::Surroundings;
use lifeboat_drill::words::spoken;
use lifeboat_plan::run::{LossMethod, Measured, Phase, Run, Verdict};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Carries it out and shows what came of it.
pub fn run(global: &Global, arguments: &DrillRunArguments, output: &Output) -> Result<(), Failure> {
    run_and(global, arguments, output, show)
}

/// The same for one of several, of which whoever asked makes one document: nothing goes to standard output.
pub fn unshown(global: &Global, arguments: &DrillRunArguments, output: &Output) -> Result<(), Failure> {
    run_and(global, arguments, output, |rehearsed, _, _| judged(&rehearsed.run))
}

fn run_and(
    global: &Global,
    arguments: &DrillRunArguments,
    output: &Output,
    show: impl Fn(&Rehearsed, &Path, &Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let scenario = scenarios::find(&arguments.scenario, &config)?;
    let around = around::surroundings(arguments, &scenario, (&config_path, &config))?;
    let parameters = around::parameters(&arguments.with)?;
    if arguments.dry_run {
        return show_steps(&scenario, &around, output);
    }
    let rehearsed = rooms::runtime()?.block_on(async {
        let interrupted = interrupt::signal();
        let tell = |text: &str| output.tell(text);
        rehearse(&scenario, &parameters, &around, &tell, interrupted).await
    });
    let kept = keep(&config, &parameters, &rehearsed, output);
    let shown = show(&rehearsed, &config_path, output);
    // What came of it is told in any case; that nobody will find it in the ledger, too.
    match (shown, kept) {
        (Ok(()), Err(failure)) => Err(failure.after_its_document()),
        (Err(shown), Err(failure)) => {
            output.warn(&failure.sentence());
            Err(shown)
        }
        (shown, Ok(())) => shown,
    }
}

/// The record of it, and of everybody who was called.
fn keep(
    config: &Config,
    with: &BTreeMap<String, String>,
    rehearsed: &Rehearsed,
    output: &Output,
) -> Result<(), Failure> {
    let config = &with_a_key(config, with);
    let runtime = rooms::runtime()?;
    for called in &rehearsed.called {
        let mut body = json!(called);
        body["run"] = json!(rehearsed.run.id);
        runtime.block_on(evidence::keep(config, "page", body, output))?;
    }
    runtime.block_on(evidence::keep(config, "drill", json!(rehearsed.run), output)).map(drop).map_err(|failure| {
        failure.while_doing(format!("keep the record of {}, which {}", rehearsed.run.id, word(rehearsed.run.verdict)))
    })
}

/// Where the host's passphrase is gone, as when that is rehearsed for real, the escrowed one opens the ledger, too.
fn with_a_key(config: &Config, with: &BTreeMap<String, String>) -> Config {
    let mut config = config.clone();
    if let Some(escrow) = with.get("escrow_file")
        && config.encryption.passphrase.resolve().is_err()
    {
        config.encryption.passphrase = SecretSource::File(escrow.into());
    }
    config
}

fn show_steps(scenario: &Scenario, around: &Surroundings, output: &Output) -> Result<(), Failure> {
    let steps = plan(scenario, around.workloads.len());
    if output.is_json() {
        let one = |planned: &Planned| {
            json!({"phase": planned.phase, "name": planned.step.name, "does": spoken(&planned.step.action),
                "workload": around.workloads.get(planned.workload).map(|one| &one.name)})
        };
        return output.document(&json!({
            "dry_run": true,
            "scenario": scenario,
            "steps": steps.iter().map(one).collect::<Vec<_>>(),
            "production": around.production.addresses.iter().map(|one| format!("{}:{}", one.host, one.port)).collect::<Vec<_>>(),
        }));
    }
    output.text(&format!("{}: {}", scenario.name, scenario.title))?;
    let mut phase = None;
    for planned in &steps {
        if phase != Some(planned.phase) {
            output.text(heading(planned.phase))?;
            phase = Some(planned.phase);
        }
        output.text(&format!("  {}\n    {}", planned.step.name, spoken(&planned.step.action)))?;
    }
    output.text("always, at the end\n  end the servers and remove the place")?;
    for step in &around.left_out {
        output.text(&format!("left out: vendor step {step}, which acts outside the place"))?;
    }
    output.hint("nothing was done; leave out --dry-run to do it");
    Ok(())
}

fn heading(phase: Phase) -> &'static str {
    match phase {
        Phase::Prepare => "first",
        Phase::Before => "before",
        Phase::Fault => "what breaks",
        Phase::Recovery => "how it is brought back",
        Phase::After => "what is asked afterwards",
        Phase::Cleanup => "cleanup",
    }
}

/// How a run ended, as a sentence about it ends.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "failed",
        Verdict::CleanupFailed => "was not cleaned up",
        Verdict::Aborted => "was broken off",
        Verdict::Refused => "was refused",
    }
}

fn show(rehearsed: &Rehearsed, config: &Path, output: &Output) -> Result<(), Failure> {
    let run = &rehearsed.run;
    let (_, reasons) = run.entailed();
    if output.is_json() {
        output
            .document(&json!({"run": run, "reasons": reasons, "called": rehearsed.called, "kept": rehearsed.kept}))?;
    } else {
        show_text(run, output)?;
        if let Some(place) = &rehearsed.kept {
            output.text(&format!("it is still there: {}", place.display()))?;
            output.hint(&format!("`lifeboat --config {} drill cleanup` removes it", config.display()));
        }
    }
    judged(run)
}

fn judged(run: &Run) -> Result<(), Failure> {
    let (verdict, reasons) = run.entailed();
    if verdict == Verdict::Passed {
        return Ok(());
    }
    let message = format!("{} {}: {}", run.scenario, word(verdict), reasons.join("; "));
    Err(Failure::new(FailureKind::CheckFailed, message).after_its_document())
}

/// How much of what was counted is gone.
fn lost(measured: &Measured) -> String {
    let lost = measured.writes_lost.unwrap_or_default();
    match measured.loss_method {
        Some(LossMethod::Log) => {
            let transactions = if lost == 1 { "transaction" } else { "transactions" };
            format!("{lost} {transactions} lost of those that production had committed by the fault")
        }
        Some(LossMethod::Canary) | None => {
            let checked = measured.writes_checked.unwrap_or_default();
            format!("{lost} of {checked} acknowledged writes lost")
        }
    }
}

/// The figures of a run.
pub fn show_text(run: &Run, output: &Output) -> Result<(), Failure> {
    let (verdict, _) = run.entailed();
    let tone = if verdict == Verdict::Passed { Tone::Good } else { Tone::Bad };
    output.text(&format!("{} {} ({})", run.scenario, output.paint(word(verdict), tone), run.id))?;
    let seconds = |seconds: f64| human::duration(Duration::from_secs_f64(seconds.max(0.0)));
    let against = |promised: Option<f64>| {
        promised.map_or_else(String::new, |promised| format!(", promised {}", seconds(promised)))
    };
    let measured = &run.measured;
    if let Some(rta) = measured.fault_to_healthy_seconds {
        let text = "from the fault to the application's first right answer";
        output.text(&format!("RTA  {}  {text}{}", seconds(rta), against(run.promised.rto_seconds)))?;
    }
    if let Some(rpa) = measured.loss_seconds {
        let text = lost(measured);
        output.text(&format!("RPA  {}  {text}{}", seconds(rpa), against(run.promised.rpo_seconds)))?;
    }
    if let Some(seen) = run.alert_seen {
        output.text(if seen { "the alarm came" } else { "the alarm did NOT come" })?;
    }
    for nobody in &run.does_not_show {
        output.text(&format!("it does not show {nobody}"))?;
    }
    Ok(())
}
