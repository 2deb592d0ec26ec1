//! Which scenarios there are.

use crate::cli::Global;
use crate::commands::load_config;
use crate::config::{Config, LoadError, UnknownKeys, nearest};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use lifeboat_drill::builtin;
use lifeboat_drill::scenario::{Problems, Scenario, in_configuration, parse};
use serde_json::json;
use std::path::Path;

/// The one that is meant: a file, one of the configuration, or a built-in one.
pub fn find(name: &str, config: &Config) -> Result<Scenario, Failure> {
    if name.ends_with(".toml") {
        let read = std::fs::read_to_string(name);
        let text =
            read.map_err(|error| Failure::from_error(FailureKind::Usage, &error).while_doing(format!("read {name}")))?;
        let stem = Path::new(name).file_stem().unwrap_or_default().to_string_lossy();
        return parse(&stem, name, &text).map_err(failure_of);
    }
    let mut own = own(config).into_iter().filter(|(found, _)| found == name);
    if let Some((_, scenario)) = own.next() {
        return scenario.map_err(failure_of);
    }
    builtin::all().into_iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<&str> = builtin::TEXTS.iter().map(|(name, _)| *name).collect();
        let hint = nearest(name, names.iter().copied()).map_or_else(
            || "`lifeboat drill list` shows those that there are".to_owned(),
            |near| format!("did you mean {near}?"),
        );
        Failure::new(FailureKind::NotFound, format!("there is no scenario {name:?}")).with_hint(hint)
    })
}

fn own(config: &Config) -> Vec<(String, Result<Scenario, Problems>)> {
    config.plan.scenario_files.iter().flat_map(|(file, text)| in_configuration(file, text)).collect()
}

pub fn failure_of(problems: Problems) -> Failure {
    let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    let mut failure = match &lines[..] {
        [only] => return Failure::new(FailureKind::Usage, only.clone()),
        _ => Failure::new(FailureKind::Usage, format!("{} problems in the scenario", lines.len())),
    };
    failure.details = lines;
    failure
}

pub fn list(global: &Global, output: &Output) -> Result<(), Failure> {
    let config = match load_config(global, UnknownKeys::Warn, output) {
        Ok((_, config)) => Some(config),
        // The built-in ones can be looked at without any.
        Err(_) if matches!(crate::config::search(None), Err(LoadError::Nowhere)) && global.config.is_none() => None,
        Err(failure) => return Err(failure),
    };
    let mut all = builtin::all();
    for (_, scenario) in config.iter().flat_map(own) {
        all.push(scenario.map_err(failure_of)?);
    }
    if output.is_json() {
        return output.document(&json!({ "scenarios": all }));
    }
    let columns = [Column::Left("scenario"), Column::Left("what happens"), Column::Left("asks for")];
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|scenario| {
            let asks = scenario.parameters.iter().map(|(name, parameter)| match parameter.default {
                None => name.clone(),
                Some(_) => format!("[{name}]"),
            });
            vec![scenario.name.clone(), scenario.title.clone(), asks.collect::<Vec<_>>().join(" ")]
        })
        .collect();
    output.text(&render(&columns, &rows, terminal_width()))?;
    output.hint("`lifeboat drill run SCENARIO --workload NAME --dry-run` shows its steps");
    Ok(())
}
