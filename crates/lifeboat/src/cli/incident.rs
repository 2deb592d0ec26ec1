//! What can be typed about what happened for real.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum IncidentCommand {
    /// Something happened
    #[command(
        after_help = "Examples:\n  lifeboat incident open \"the primary is gone\" --process checkout --began \"10 minutes ago\"\n  \
        lifeboat incident open \"orders is empty\" --disruption corruption --workload shop"
    )]
    Open(IncidentOpenArguments),
    /// Something more is known, or was done
    Note(IncidentNoteArguments),
    /// It is over
    Close(IncidentCloseArguments),
    /// What happened, how long it took, and how long it is between
    List {
        /// Only of this process
        #[arg(long, value_name = "PROCESS")]
        process: Option<String>,
        /// Only what is not over
        #[arg(long)]
        open: bool,
    },
}

#[derive(Debug, Args)]
pub struct IncidentOpenArguments {
    /// In one sentence
    pub what: String,
    /// The process that stands still; more than one can be given
    #[arg(long, value_name = "PROCESS")]
    pub process: Vec<String>,
    /// The protection group that it is about
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// The workload that it is about; more than one can be given
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Vec<String>,
    /// corruption, ransomware, instance, site, network or dependency
    #[arg(long, value_name = "KIND")]
    pub disruption: Option<String>,
    /// When it began, such as "10 minutes ago" or "2026-11-21 14:03 Europe/Berlin" [default: now]
    #[arg(long, value_name = "TIME")]
    pub began: Option<String>,
    /// When somebody or something noticed
    #[arg(long, value_name = "TIME")]
    pub detected: Option<String>,
}

#[derive(Debug, Args)]
pub struct IncidentNoteArguments {
    /// Its id, as `incident list` shows it, or how it begins
    pub id: String,
    /// In one sentence
    pub what: String,
    /// It began then, after all
    #[arg(long, value_name = "TIME")]
    pub began: Option<String>,
    /// Somebody or something noticed it then
    #[arg(long, value_name = "TIME")]
    pub detected: Option<String>,
}

#[derive(Debug, Args)]
pub struct IncidentCloseArguments {
    /// Its id, as `incident list` shows it, or how it begins
    pub id: String,
    /// What it was, in one sentence
    pub what: Option<String>,
    /// When the application worked again [default: now]
    #[arg(long, value_name = "TIME")]
    pub recovered: Option<String>,
    /// Acknowledged writes that are lost. Leave it out when nobody knows; 0 means none
    #[arg(long, value_name = "NUMBER")]
    pub writes_lost: Option<u64>,
}
