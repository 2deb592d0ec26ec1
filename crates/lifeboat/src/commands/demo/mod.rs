//! `lifeboat demo`: the main job on this machine, for real and with nothing configured.
//!
//! It makes a PostgreSQL of its own, fills it, backs it up, goes on writing, drops a table "by accident" at a known
//! moment, loses the whole data directory, brings back the moment before the accident somewhere else, and counts: every
//! order that was acknowledged before must be there, and none that came after. The times are measured, not known. Then it asks whether that would
//! work again: it rehearses two disasters, asks what is ready, and leaves a report.
//!
//! Every step is the command that a person would type, run as a process of its own.

mod account;
mod ledger;
mod rehearse;
mod stage;
mod story;

use crate::cli::DemoArguments;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human};
use crate::rooms;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::Programs;
use rehearse::Rehearsed;
use serde_json::json;
use stage::Stage;
use std::path::PathBuf;
use std::time::Duration;
use story::Measured;

pub fn run(arguments: &DemoArguments, output: &Output) -> Result<(), Failure> {
    let programs = find_programs(arguments.bin_dir.as_deref())?;
    account::become_somebody_else(&programs, arguments.keep, output)?;
    let stage = Stage::set(programs, output)?;
    account::remove_copy();
    let told = rooms::runtime()?.block_on(story::tell(&stage));
    match told {
        Ok(measured) => {
            let kept = stage.clear(arguments.keep)?;
            show(&measured, kept, output)
        }
        Err(failure) => {
            let place = stage.keep();
            Err(failure.with_hint(format!("what is left of the demo, logs included, is in {}", place.display())))
        }
    }
}

/// The programs that were named, or the newest on this machine.
fn find_programs(named: Option<&std::path::Path>) -> Result<Programs, Failure> {
    if let Some(directory) = named {
        return Programs::in_directory(directory).map_err(|error| Failure::from_error(FailureKind::NotFound, &error));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let search: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = MajorVersion::ALL.iter().rev().find_map(|major| Programs::find(*major, None, &search).ok());
    found.ok_or_else(|| {
        Failure::new(FailureKind::NotFound, "no PostgreSQL 14 to 18 was found on this machine")
            .with_hint("install one, or name its programs with --bin-dir; `cargo xtask demo` in the source does both")
    })
}

fn show_rehearsed(rehearsed: &Rehearsed, output: &Output) -> Result<(), Failure> {
    let seconds = |value: &serde_json::Value| {
        value
            .as_f64()
            .map_or("not measured".to_owned(), |seconds| human::duration(Duration::from_secs_f64(seconds.max(0.0))))
    };
    for run in &rehearsed.runs {
        let (name, verdict) =
            (run["scenario"].as_str().unwrap_or_default(), run["verdict"].as_str().unwrap_or_default());
        let (measured, promised) = (&run["measured"], &run["promised"]);
        output.text(&format!(
            "drill  {name} {verdict}: RTA {} (promised {}), RPA {} (promised {})",
            seconds(&measured["fault_to_healthy_seconds"]),
            seconds(&promised["rto_seconds"]),
            seconds(&measured["loss_seconds"]),
            seconds(&promised["rpo_seconds"]),
        ))?;
    }
    let overall = &rehearsed.ready["overall"];
    let (verdict, why) = match overall["is_ready"] == true {
        true => ("ready", ""),
        false => ("NOT READY", "; one directory on one machine is no place for the only copy"),
    };
    output.text(&format!(
        "ready  {verdict}: {} ready, {} not ready, {} unknown{why}",
        overall["ready"], overall["not_ready"], overall["unknown"],
    ))?;
    output.text(&format!("report {}", rehearsed.report.display()))
}

fn show(measured: &Measured, kept: Option<PathBuf>, output: &Output) -> Result<(), Failure> {
    let passed = measured.missing == 0 && measured.unwanted == 0;
    if output.is_json() {
        output.document(&json!({
            "passed": passed,
            "rows_before_the_accident": measured.expected,
            "rows_missing": measured.missing,
            "rows_from_after": measured.unwanted,
            "rta_seconds": measured.rta.as_secs_f64(),
            "restore_seconds": measured.restore.as_secs_f64(),
            "replay_seconds": measured.replay.as_secs_f64(),
            "rpa_to_the_accident_rows": measured.missing,
            "rpa_of_the_lost_machine_seconds": measured.site_loss.as_secs_f64(),
            "database_bytes": measured.bytes,
            "ready": measured.rehearsed.ready["overall"],
            "drills": measured.rehearsed.runs,
            "report": measured.rehearsed.report,
            "kept": kept,
        }))?;
    } else {
        let verdict = if passed { output.paint("proved", Tone::Good) } else { output.paint("FAILED", Tone::Bad) };
        output.text("")?;
        output.text(&format!(
            "{verdict}: {} orders were acknowledged before the accident; {} of them are missing, {} from after it came back",
            measured.expected, measured.missing, measured.unwanted
        ))?;
        output.text(&format!(
            "RTA  {}  from the loss of the data directory to the first answer ({} restore, {} start and replay) of {}",
            human::duration(measured.rta),
            human::duration(measured.restore),
            human::duration(measured.replay),
            human::size(measured.bytes)
        ))?;
        output.text(&format!(
            "RPA  {} orders lost up to the chosen moment; had we wanted the last moment before the crash: {} of it",
            measured.missing,
            human::duration(measured.site_loss)
        ))?;
        show_rehearsed(&measured.rehearsed, output)?;
        if let Some(place) = kept {
            output.text(&format!("kept in {}", place.display()))?;
        }
    }
    if passed {
        return Ok(());
    }
    Err(Failure::new(FailureKind::CheckFailed, "the recovered database is not the one that was wanted"))
}
