//! The runbook and the report: gathered from the configuration and the ledger, written here, and kept in every location.
//!
//! `ready` asks [`published::state`] whether the published runbook is that of the configuration.

mod costs;
pub mod files;
pub mod gather;
pub mod published;
mod surroundings;

use crate::failure::{Failure, FailureKind};
use lifeboat_document::Document;

/// What a document is written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Markdown
    Md,
    /// One HTML file
    Html,
    /// A4 pages
    Pdf,
    /// All three
    All,
}

/// The forms of a document: ending and bytes.
pub fn forms(document: &Document, format: Format) -> Result<Vec<(&'static str, Vec<u8>)>, Failure> {
    let wants = |one: Format| format == Format::All || format == one;
    let mut forms = Vec::new();
    if wants(Format::Md) {
        forms.push(("md", document.markdown().into_bytes()));
    }
    if wants(Format::Html) {
        forms.push(("html", document.html().into_bytes()));
    }
    if wants(Format::Pdf) {
        let pdf = document.pdf().map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
        forms.push(("pdf", pdf));
    }
    Ok(forms)
}
