//! `lifeboat wal push`: `archive_command`. Success only when the file is durable in at least one location.

use crate::cli::{Global, WorkloadOption};
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::Output;
use crate::{removable, rooms};
use lifeboat_workload::postgres::wal::{
    AheadSeat, PushOptions, PushOutcome, Spool, already_pushed, await_storing, is_worth_a_process, locations_to_use,
    push, push_waiting,
};
use serde_json::json;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

pub fn run(global: &Global, path: &Path, of: &WorkloadOption, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let name = rooms::workload_name(&config, of.workload.as_deref())?;
    let spool = rooms::spool(&config, &name)?;
    await_storing(path, &spool);
    if let Some(outcome) = already_pushed(path, &spool)? {
        return tell(&outcome, path, output);
    }
    let configured = removable::for_the_log(&config, &config.workloads[&name]);
    let names = locations_to_use(&spool, &configured, SystemTime::now());
    let outcome = rooms::runtime()?.block_on(async {
        let repository = rooms::open_attached(&config, &names, output).await?;
        let options = match go_on_ahead(&config_path, &name, path, &spool) {
            true => PushOptions { ahead_files_max: 0, ..PushOptions::default() },
            false => PushOptions::default(),
        };
        Ok::<_, Failure>(push(repository, &name, path, &spool, options).await?)
    })?;
    tell(&outcome, path, output)
}

/// `lifeboat wal push-ahead`: stores what waits, while PostgreSQL asks for one file after the other.
pub fn run_ahead(global: &Global, path: &Path, of: &WorkloadOption, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let name = rooms::workload_name(&config, of.workload.as_deref())?;
    let spool = rooms::spool(&config, &name)?;
    let Some(seat) = AheadSeat::take(&spool)? else { return Ok(()) };
    let configured = removable::for_the_log(&config, &config.workloads[&name]);
    let names = locations_to_use(&spool, &configured, SystemTime::now());
    rooms::runtime()?.block_on(async {
        let repository = rooms::open_attached(&config, &names, output).await?;
        push_waiting(repository, &name, path, &spool, seat).await?;
        Ok(())
    })
}

/// Starts a process that stores what waits, when that is much. True when one is at work: then this call has only its own file
/// to store.
fn go_on_ahead(config_path: &Path, workload: &str, path: &Path, spool: &Spool) -> bool {
    match AheadSeat::take(spool) {
        Ok(None) => return true,
        Ok(Some(_)) if is_worth_a_process(path, spool) => {}
        _ => return false,
    }
    let Ok(program) = std::env::current_exe() else { return false };
    let mut command = Command::new(program);
    command.arg("--config").arg(config_path).args(["--quiet", "wal", "push-ahead"]).arg(path);
    command.args(["--workload", workload]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().is_ok()
}

/// PostgreSQL puts what we print into its log: nothing when all is well.
fn tell(outcome: &PushOutcome, path: &Path, output: &Output) -> Result<(), Failure> {
    for (location, reason) in &outcome.failures {
        output.warn(&format!("{} is not in location {location} yet: {reason}", path.display()));
    }
    if !output.is_json() {
        return Ok(());
    }
    output.document(&json!({
        "file": path,
        "created": outcome.created,
        "was_ahead": outcome.was_ahead,
        "stored_in": outcome.stored_in,
        "failures": outcome.failures,
        "ahead": outcome.ahead,
    }))
}
