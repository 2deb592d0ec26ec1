//! What can be typed about reports and incidents.

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
pub struct ReportArguments {}

#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Something happened
    Open {
        /// In one sentence
        what: String,
    },
}
