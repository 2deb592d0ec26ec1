//! `lifeboat ledger list` and `show`.

use super::{load_config, short};
use crate::cli::Global;
use crate::config::UnknownKeys;
use crate::evidence::{Book, DRILL, run_of};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use crate::rooms;
use lifeboat_ledger::{Gathered, Signed};
use serde_json::{Value, json};

/// Without `--all`.
const SHOWN: usize = 20;
/// What a line of the list says of a body.
const WORDS_MAX: usize = 48;

fn gathered(global: &Global, output: &Output) -> Result<Gathered, Failure> {
    let (_, config) = load_config(global, UnknownKeys::Warn, output)?;
    rooms::runtime()?.block_on(async { Book::open(&config, output).await?.gather(output).await })
}

pub fn list(global: &Global, kinds: &[String], all: bool, output: &Output) -> Result<(), Failure> {
    let gathered = gathered(global, output)?;
    let mut entries = gathered.in_order();
    entries.retain(|signed| kinds.is_empty() || kinds.contains(&signed.entry.kind));
    let left_out = if all { 0 } else { entries.len().saturating_sub(SHOWN) };
    let entries = entries.split_off(left_out);
    if output.is_json() {
        let entries: Vec<Value> = entries.iter().map(|signed| document(signed, &gathered)).collect();
        return output.document(&json!({ "entries": entries, "left_out": left_out }));
    }
    if entries.is_empty() {
        return output.text("the ledger has no such entry");
    }
    let columns = [Column::Left("entry"), Column::Left("at"), Column::Left("kind"), Column::Left("what")];
    let row = |signed: &&Signed| {
        let entry = &signed.entry;
        vec![short(&signed.name()), entry.at.strftime("%F %TZ").to_string(), entry.kind.clone(), words(signed)]
    };
    output.text(&render(&columns, &entries.iter().map(row).collect::<Vec<_>>(), terminal_width()))?;
    if left_out > 0 {
        output.hint(&format!("{left_out} older ones are left out; --all shows them"));
    }
    Ok(())
}

/// One line about what an entry says.
fn words(signed: &Signed) -> String {
    let body = &signed.entry.body;
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let told = match signed.entry.kind.as_str() {
        DRILL => {
            let verdict = text("verdict").unwrap_or_default();
            let doubt = if run_of(body).is_ok() { "" } else { " (contradicts its own record)" };
            format!("{}: {verdict}{doubt}", text("scenario").unwrap_or_default())
        }
        "incident" => format!("{}: {}", text("event").unwrap_or_default(), text("what").unwrap_or_default()),
        _ => text("what").or_else(|| text("title")).or_else(|| text("status")).unwrap_or_default(),
    };
    let mut told: String = told.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if told.chars().count() > WORDS_MAX {
        told = told.chars().take(WORDS_MAX - 1).chain(['…']).collect();
    }
    told
}

fn document(signed: &Signed, gathered: &Gathered) -> Value {
    let entry = &signed.entry;
    json!({
        "sequence": entry.sequence,
        "hash": signed.hash,
        "previous": entry.previous,
        "at": entry.at,
        "kind": entry.kind,
        "host": entry.host,
        "software": entry.software,
        "body": entry.body,
        "locations": gathered.holders(&signed.name()),
    })
}

pub fn one(global: &Global, id: &str, output: &Output) -> Result<(), Failure> {
    let gathered = gathered(global, output)?;
    let found = find(&gathered, id)?;
    let document = document(found, &gathered);
    if output.is_json() {
        return output.document(&document);
    }
    let entry = &found.entry;
    let lines = [
        format!("entry      {}", found.name()),
        format!("at         {}", entry.at),
        format!("kind       {}", entry.kind),
        format!("written by {} on {}", entry.software, entry.host),
        format!("follows    {}", entry.previous.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
        format!("stored in  {}", gathered.holders(&found.name()).join(", ")),
    ];
    output.text(&lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>().join("\n"))?;
    output.text(&format!("{:#}", entry.body))
}

/// By number, by hash, or by how the hash begins; as the list and the name show it, too.
fn find<'a>(gathered: &'a Gathered, id: &str) -> Result<&'a Signed, Failure> {
    let id = id.trim_end_matches(".json");
    let fits = |signed: &&Signed| match id.split_once('-') {
        Some((number, hash)) => {
            number.parse() == Ok(signed.entry.sequence) && signed.hash.to_string().starts_with(hash)
        }
        None => id.parse() == Ok(signed.entry.sequence) || id.len() >= 4 && signed.hash.to_string().starts_with(id),
    };
    let found: Vec<&Signed> = gathered.entries.values().filter(fits).collect();
    match &found[..] {
        [only] => Ok(only),
        [] => Err(Failure::new(FailureKind::NotFound, format!("no entry of the ledger is {id}"))
            .with_hint("`lifeboat ledger list --all` shows them")),
        several => {
            let names: Vec<String> = several.iter().map(|signed| short(&signed.name())).collect();
            Err(Failure::new(FailureKind::NotFound, format!("several entries of the ledger are {id}"))
                .with_hint(format!("name one: {}", names.join(", "))))
        }
    }
}
