//! `lifeboat ledger`: the signed record of what was done and measured.

mod show;
mod verify;

pub use verify::is_whole;

use super::load_config;
use crate::cli::{Global, LedgerCommand};
use crate::config::UnknownKeys;
use crate::evidence::Book;
use crate::failure::Failure;
use crate::output::Output;
use crate::{removable, rooms};
use lifeboat_ledger::EntryName;
use serde_json::json;

pub fn run(global: &Global, command: &LedgerCommand, output: &Output) -> Result<(), Failure> {
    match command {
        LedgerCommand::Verify(arguments) => verify::run(global, arguments, output),
        LedgerCommand::List { kind, all } => show::list(global, kind, *all, output),
        LedgerCommand::Show { id } => show::one(global, id, output),
        LedgerCommand::Key => key(global, output),
        LedgerCommand::Sync => sync(global, output),
    }
}

/// `12-5f0c99ab12cd`: enough to find it, short enough for a table.
fn short(name: &EntryName) -> String {
    format!("{}-{}", name.sequence, &name.hash.to_string()[..12])
}

fn key(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    let book = rooms::runtime()?.block_on(Book::open(&config, output))?;
    let public = book.key.public();
    if output.is_json() {
        return output.document(&json!({
            "algorithm": "ed25519",
            "id": public.id().as_str(),
            "public_key": public.to_string(),
            "object": public.object_key(),
        }));
    }
    output.text(&format!("{public}"))?;
    output
        .text(&format!("id {}, Ed25519; made from the repository's key, so that it needs no keeping", public.id()))?;
    output.hint(&format!(
        "keep it outside the locations, and give it to auditors: `lifeboat ledger verify --public-key {public}`"
    ));
    Ok(())
}

fn sync(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    for absent in removable::attached(&config, &rooms::all_locations(&config)).1 {
        output.tell(&format!("note: {absent} is not attached, and left out"));
    }
    let (caught, away) = rooms::runtime()?.block_on(async {
        let book = Book::open(&config, output).await?;
        let (caught, mut away) = book.catch_up().await?;
        away.extend(book.away.iter().cloned());
        Ok::<_, Failure>((caught, away))
    })?;
    if output.is_json() {
        let brought = caught.iter().map(|caught| json!({ "location": caught.place, "entries": caught.entries }));
        let away = away.iter().map(|(place, why)| json!({ "location": place, "why": why }));
        output.document(&json!({ "brought": brought.collect::<Vec<_>>(), "away": away.collect::<Vec<_>>() }))?;
    }
    for caught in &caught {
        let told = match caught.entries.len() {
            0 => "has every entry".to_owned(),
            1 => "got 1 entry that it lacked".to_owned(),
            count => format!("got {count} entries that it lacked"),
        };
        output.text(&format!("{}: {told}", caught.place))?;
    }
    verify::nobody_away(&away)
}
