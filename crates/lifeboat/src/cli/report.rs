//! What can be typed about reports.

use clap::Args;

#[derive(Debug, Args)]
pub struct ReportArguments {}
