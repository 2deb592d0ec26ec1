//! `lifeboat key`: who can open the repositories. Here too: the file of a machine's key, which is durable before the
//! repositories know of it.

use super::load_config;
use crate::cli::{Global, KeyAddArguments, KeyCommand};
use crate::config::{SecretSource, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use crate::{removable, rooms};
use lifeboat_repository::{Error, Passphrase};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub fn run(global: &Global, command: &KeyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::List => list(global, output),
        KeyCommand::Add(arguments) => add(global, arguments, output),
        KeyCommand::Remove { id } => remove(global, id, output),
    }
}

fn add(global: &Global, arguments: &KeyAddArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    let key = match (&arguments.machine, &arguments.passphrase_file) {
        (Some(_), _) => Passphrase::of_machine()?,
        (None, Some(path)) => new_passphrase(path)?,
        (None, None) => return Err(Failure::new(FailureKind::Usage, "--machine or --passphrase-file is needed")),
    };
    let id = rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(&config, &rooms::all_locations(&config), output).await?;
        if let Some(path) = &arguments.machine {
            write_key(path, &key)?;
        }
        let added = repository.add_key(&key, &arguments.label).await;
        if let (Err(_), Some(path)) = (&added, &arguments.machine) {
            let _ = std::fs::remove_file(path);
        }
        Ok::<_, Failure>(added?)
    })?;
    if output.is_json() {
        return output.document(&json!({ "id": id, "label": arguments.label }));
    }
    output.text(&format!("key {id} opens the repositories now"))?;
    match &arguments.machine {
        Some(path) => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            output.text(&format!("use it on this machine: passphrase = {{ file = \"{}\" }}", path.display()))
        }
        None => Ok(()),
    }
}

fn new_passphrase(path: &Path) -> Result<Passphrase, Failure> {
    let text = SecretSource::File(path.to_owned()).resolve()?;
    if text.expose().trim().is_empty() {
        return Err(Failure::new(FailureKind::Usage, format!("{} holds no passphrase", path.display())));
    }
    Ok(Passphrase::new(text.expose().to_owned()))
}

/// Writes a new file that only its owner can read, durably.
fn write_key(path: &Path, key: &Passphrase) -> Result<(), Failure> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(key.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent)?.sync_all()
    };
    written().map_err(|error: std::io::Error| {
        let message = format!("write {}: {error}", path.display());
        Failure::new(FailureKind::Usage, message)
            .with_hint("name a file that doesn't exist yet, in a directory that does")
    })
}

fn remove(global: &Global, id: &str, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    // From a disk in a drawer it would come back to all others with the next backup.
    if let Some(disk) = removable::attached(&config, &rooms::all_locations(&config)).1.first() {
        let message = format!("location {disk} is not attached, and key {id} would come back from it");
        return Err(Failure::new(FailureKind::Unavailable, message).with_hint(format!(
            "attach the disk, then `lifeboat key remove {id}`; or take it out of the configuration"
        )));
    }
    let own = rooms::passphrase(&config)?;
    rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(&config, &rooms::all_locations(&config), output).await?;
        repository.remove_key(id, &own).await.map_err(|error| match error {
            Error::NotFound { .. } => Failure::from(error).with_hint("`lifeboat key list` shows the ids"),
            other => other.into(),
        })
    })?;
    if output.is_json() {
        return output.document(&json!({ "removed": id }));
    }
    output.text(&format!("key {id} opens the repositories no more"))
}

fn list(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    let (fingerprint, records) = rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(&config, &rooms::all_locations(&config), output).await?;
        Ok::<_, Failure>((repository.key_fingerprint()?, repository.key_records().await?))
    })?;
    if output.is_json() {
        let keys: Vec<_> = records
            .iter()
            .map(|(id, record)| json!({ "id": id, "kind": record.kind, "label": record.label, "created_at": record.created_at }))
            .collect();
        return output.document(&json!({ "key_fingerprint": fingerprint, "keys": keys }));
    }
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|(id, record)| vec![id.clone(), record.kind.clone(), record.label.clone(), record.created_at.to_string()])
        .collect();
    let columns = [Column::Left("id"), Column::Left("kind"), Column::Left("label"), Column::Left("created at")];
    output.text(&render(&columns, &rows, terminal_width()))?;
    output.text(&format!("repository key {}", fingerprint.0))
}
