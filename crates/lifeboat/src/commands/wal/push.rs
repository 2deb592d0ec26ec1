//! `lifeboat wal push`: `archive_command`. Success only when the file is durable in at least one location.

use crate::cli::{Global, WorkloadOption};
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::Output;
use crate::rooms;
use lifeboat_workload::postgres::wal::{PushOptions, PushOutcome, already_pushed, locations_to_use, push};
use serde_json::json;
use std::path::Path;
use std::time::SystemTime;

pub fn run(global: &Global, path: &Path, of: &WorkloadOption, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let name = rooms::workload_name(&config, of.workload.as_deref())?;
    let spool = rooms::spool(&config, &name)?;
    if let Some(outcome) = already_pushed(path, &spool)? {
        return tell(&outcome, path, output);
    }
    let configured = &config.workloads[&name].locations;
    let names = locations_to_use(&spool, configured, SystemTime::now());
    let outcome = rooms::runtime()?.block_on(async {
        let repository = rooms::open_attached(&config, &names, output).await?;
        Ok::<_, Failure>(push(repository, &name, path, &spool, PushOptions::default()).await?)
    })?;
    tell(&outcome, path, output)
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
