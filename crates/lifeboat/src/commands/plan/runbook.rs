//! `lifeboat plan runbook`: what is done on the day, as paper, here and in every location.

use crate::cli::{Global, PlanRunbookArguments};
use crate::commands::load_config;
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use crate::papers::gather::{self, Contacts};
use crate::papers::published::{self, Paper, State};
use crate::papers::{Format, files, forms};
use crate::rooms;
use jiff::Timestamp;
use serde_json::json;
use std::path::Path;

pub fn run(global: &Global, arguments: &PlanRunbookArguments, output: &Output) -> Result<(), Failure> {
    let (path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let runtime = rooms::runtime()?;
    match arguments.check {
        true => runtime.block_on(check(&path, &config, output)),
        false => runtime.block_on(write(&path, &config, arguments, output)),
    }
}

async fn write(path: &Path, config: &Config, arguments: &PlanRunbookArguments, output: &Output) -> Result<(), Failure> {
    let contacts = if arguments.without_contacts { Contacts::Without } else { Contacts::With };
    let input = gather::runbook(path, config, contacts, output).await;
    let document = lifeboat_report::runbook(&input);
    let runbook_hash = lifeboat_report::runbook_hash(&input);
    // Published alone, nothing is written here.
    let directory = arguments.to.clone().or_else(|| (!arguments.publish).then(|| ".".into()));
    let written = match &directory {
        Some(directory) => files::write(directory, "runbook", &forms(&document, arguments.format)?)?,
        None => Vec::new(),
    };
    let mut published = Vec::new();
    if arguments.publish {
        let forms = forms(&document, Format::All)?;
        let around = &input.surroundings;
        let paper = Paper {
            runbook_hash: &runbook_hash,
            configuration_hash: &around.configuration_hash,
            plan_hash: &around.plan_hash,
            has_contacts: contacts == Contacts::With,
            at: Timestamp::now(),
            forms: &forms,
        };
        published = published::publish(config, &paper, output).await?;
    }
    let lacking: Vec<String> =
        published.iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.as_ref().err()?))).collect();
    if output.is_json() {
        let locations = published.iter().map(
            |(name, result)| json!({ "location": name, "index": result.as_ref().ok(), "error": result.as_ref().err() }),
        );
        output.document(&json!({
            "runbook_hash": runbook_hash,
            "configuration_hash": input.surroundings.configuration_hash,
            "plan_hash": input.surroundings.plan_hash,
            "runs": input.runs.len(),
            "files": written,
            "published": locations.collect::<Vec<_>>(),
        }))?;
    } else {
        for path in &written {
            output.text(&path.display().to_string())?;
        }
        for (name, key) in published.iter().filter_map(|(name, result)| Some((name, result.as_ref().ok()?))) {
            output.text(&format!("{name}: {key}"))?;
        }
    }
    if input.runs.is_empty() {
        output.hint("no drill is in the ledger, so there is no time in it: `lifeboat drill list`");
    }
    if lacking.is_empty() {
        return Ok(());
    }
    let mut failure = Failure::new(FailureKind::Unavailable, "not every location took the runbook");
    failure.details = lacking;
    Err(failure
        .with_hint("`lifeboat check` says what is wrong with each location; then type it again")
        .after_its_document())
}

async fn check(path: &Path, config: &Config, output: &Output) -> Result<(), Failure> {
    let wanted = lifeboat_report::runbook_hash(&gather::bare_runbook(path, config));
    let states = published::state(config, &wanted).await;
    let is_current = states.iter().any(|(_, state)| *state == State::Current);
    if output.is_json() {
        let locations: Vec<_> = states
            .iter()
            .map(|(name, state)| json!({ "location": name, "current": *state == State::Current, "state": state.words() }))
            .collect();
        output.document(&json!({ "runbook_hash": wanted, "current": is_current, "locations": locations }))?;
    } else {
        let rows: Vec<Vec<String>> = states.iter().map(|(name, state)| vec![name.clone(), state.words()]).collect();
        output.text(&render(&[Column::Left("location"), Column::Left("runbook")], &rows, terminal_width()))?;
    }
    match is_current {
        true => Ok(()),
        false => Err(Failure::new(FailureKind::CheckFailed, "no location has the runbook of this configuration")
            .with_hint("`lifeboat plan runbook --publish`")
            .after_its_document()),
    }
}
