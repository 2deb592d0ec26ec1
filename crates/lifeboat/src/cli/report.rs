//! What can be typed about reports.

use crate::papers::Format;
use clap::Args;
use jiff::civil::Date;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct ReportArguments {
    /// Into this directory: report.md, report.html, report.pdf, for their owner only [default: here]
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Without runs before this day, such as 2026-01-01 [default: all]
    #[arg(long, value_name = "DATE")]
    pub since: Option<Date>,
    /// As what
    #[arg(long, value_enum, default_value_t = Format::All)]
    pub format: Format,
}
