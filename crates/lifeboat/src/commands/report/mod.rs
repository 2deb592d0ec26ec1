//! `lifeboat report`: promised against measured, for management and auditors.

use crate::cli::{Global, ReportArguments};
use crate::commands::load_config;
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::Output;
use crate::papers::{files, forms, gather};
use crate::rooms;
use serde_json::json;

pub fn run(global: &Global, arguments: &ReportArguments, output: &Output) -> Result<(), Failure> {
    let (path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let input = rooms::runtime()?.block_on(gather::report(&path, &config, arguments.since, output))?;
    let document = lifeboat_report::report(&input);
    let directory = arguments.to.clone().unwrap_or_else(|| ".".into());
    let written = files::write(&directory, "report", &forms(&document, arguments.format)?)?;
    if input.runs.is_empty() {
        output.hint("no drill is in the ledger, so nothing was measured: `lifeboat drill list`");
    }
    if output.is_json() {
        return output.document(&json!({
            "files": written,
            "runs": input.runs.len(),
            "ledger_head": input.ledger_head.map(|(sequence, hash)| json!({ "sequence": sequence, "hash": hash })),
            "findings_open": input.findings.iter().filter(|finding| finding.closed.is_none()).count(),
        }));
    }
    written.iter().try_for_each(|path| output.text(&path.display().to_string()))
}
