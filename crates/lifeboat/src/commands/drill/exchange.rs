//! Scenarios from and for the Chaos Toolkit.

use super::scenarios;
use crate::cli::Global;
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use lifeboat_drill::chaos;
use serde_json::json;
use std::path::Path;

/// An experiment is a page; a wrong path to a large file stops here.
const FILE_BYTES_MAX: u64 = 4 << 20;

pub fn import(file: &Path, to: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::from_error(FailureKind::Usage, &error).while_doing(format!("read {}", file.display()))
    };
    if std::fs::metadata(file).map_err(failed)?.len() > FILE_BYTES_MAX {
        return Err(Failure::new(FailureKind::Usage, format!("{} is larger than 4 MiB", file.display())));
    }
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let path = std::path::absolute(file).map_err(failed)?;
    let imported = chaos::import(&name, &text, &path).map_err(|problems| {
        let mut failure = Failure::new(FailureKind::Usage, format!("{} can't be imported", file.display()));
        failure.details = problems;
        failure
    })?;
    imported.notes.iter().for_each(|note| output.warn(note));
    if let Some(to) = to {
        std::fs::write(to, &imported.text).map_err(|error| {
            Failure::from_error(FailureKind::Unavailable, &error).while_doing(format!("write {}", to.display()))
        })?;
        output.hint(&format!("`lifeboat drill run {}` carries it out", to.display()));
    }
    match (output.is_json(), to) {
        (true, _) => output.document(&json!({"scenario": imported.text, "notes": imported.notes, "to": to})),
        (false, None) => output.bytes(imported.text.as_bytes()),
        (false, Some(_)) => Ok(()),
    }
}

pub fn export(
    global: &Global,
    name: &str,
    workload: Option<&str>,
    group: Option<&str>,
    output: &Output,
) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let scenario = scenarios::find(name, &config)?;
    let config_path = std::path::absolute(config_path).unwrap_or_default();
    output.document(&chaos::export(&scenario, &config_path, workload, group))
}
