//! `lifeboat key`: who can open the repositories.

use super::load_config;
use crate::cli::{Global, KeyCommand};
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use crate::rooms;
use serde_json::json;

pub fn run(global: &Global, command: &KeyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        KeyCommand::List => list(global, output),
    }
}

fn list(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Refuse, output)?;
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
