//! `lifeboat drill`: rehearsals.

mod around;
mod ends;
mod exchange;
mod history;
mod run;
mod scenarios;
mod schedule;

use super::{find_named, load_config};
use crate::cli::{DrillCommand, Global};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{evidence, rooms};
use jiff::Timestamp;
use lifeboat_drill::act::{Answer, answer, attack, reach};
use lifeboat_drill::journal::clean;
use serde_json::json;
use std::path::{Path, PathBuf};

pub fn run(global: &Global, command: &DrillCommand, output: &Output) -> Result<(), Failure> {
    match command {
        DrillCommand::List => scenarios::list(global, output),
        DrillCommand::Run(arguments) => run::run(global, arguments, output),
        DrillCommand::History { scenario } => history::history(global, scenario.as_deref(), output),
        DrillCommand::Show { id } => history::show(global, id, output),
        DrillCommand::Cleanup => cleanup(global, output),
        DrillCommand::Schedule { run_due, systemd } => schedule::schedule(global, *run_due, *systemd, output),
        DrillCommand::Approve { id, person, no } => approve(global, id, person, !*no, output),
        DrillCommand::Import { file, to } => exchange::import(file, to.as_deref(), output),
        DrillCommand::Export { scenario, workload, group } => {
            exchange::export(global, scenario, workload.as_deref(), group.as_deref(), output)
        }
        DrillCommand::Reach { host, port } => {
            reach(host, *port).map_err(|why| Failure::new(FailureKind::CheckFailed, why))
        }
        DrillCommand::Door { socket, to } => {
            let served = rooms::runtime()?.block_on(lifeboat_drill::door::serve(socket, to));
            served.map_err(|error| Failure::from_error(FailureKind::Unavailable, &error))
        }
        DrillCommand::Paper { location, to } => paper(global, location, to, output),
        DrillCommand::Ends { workload } => ends::ends(global, workload, output),
        DrillCommand::Lost(arguments) => ends::lost(global, arguments, output),
        DrillCommand::Attack { place, data, repository } => {
            let damage = attack::attack(place, data, repository);
            let damage = damage.map_err(|error| Failure::from_error(FailureKind::Locked, &error))?;
            output.document(&json!(damage))
        }
    }
}

/// What lies below `plan/` of one location, byte by byte.
fn paper(global: &Global, location: &str, to: &Path, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    find_named("location", location, &config.locations)?;
    rooms::runtime()?.block_on(crate::papers::published::fetch(&config, location, to))
}

/// Where it is noted what runs make.
fn journal_dir(config: &Config) -> Result<PathBuf, Failure> {
    Ok(rooms::state_dir(config)?.join("drills"))
}

/// Removes what killed runs left, and keeps the records of those as broken off.
fn cleanup(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let cleaned = clean(&journal_dir(&config)?, Timestamp::now());
    let mut failure = None;
    for one in &cleaned {
        output.text(&format!("{}: {}", one.id, one.said))?;
        if let Some(run) = &one.run {
            let kept = rooms::runtime()?.block_on(evidence::keep(&config, "drill", json!(run), output));
            failure = failure.or(kept.err());
        }
        if !one.is_gone {
            let message = format!("{} is still there: {}", one.id, one.said);
            failure.get_or_insert(Failure::new(FailureKind::Unavailable, message));
        }
    }
    if output.is_json() {
        let document =
            cleaned.iter().map(|one| json!({"id": one.id, "gone": one.is_gone, "said": one.said, "run": one.run}));
        output.document(&json!({ "runs": document.collect::<Vec<_>>() }))?;
    } else if cleaned.is_empty() {
        output.text("nothing is left of any run")?;
    }
    failure.map_or(Ok(()), |failure| Err(failure.after_its_document()))
}

fn approve(global: &Global, id: &str, person: &str, agrees: bool, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let people = &config.plan.plan.people;
    if !people.is_empty() {
        find_named("person", person, people)?;
    }
    let said = Answer { by: person.to_owned(), agrees, at: Timestamp::now() };
    answer(&journal_dir(&config)?, id, &said).map_err(|error| {
        let kind =
            if error.kind() == std::io::ErrorKind::NotFound { FailureKind::NotFound } else { FailureKind::Unavailable };
        Failure::from_error(kind, &error).with_hint("`lifeboat drill run` says the id when it waits for somebody")
    })?;
    output.text(&format!("{person} said {}", if agrees { "yes" } else { "no" }))?;
    if output.is_json() { output.document(&json!(said)) } else { Ok(()) }
}
