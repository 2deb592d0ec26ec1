//! What can be typed about readiness.

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct ReadyArguments {
    /// Only these workloads [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// Only the checks of this group; may be given several times
    #[arg(long, value_enum, value_name = "GROUP")]
    pub only: Vec<GroupName>,
    /// Say what this check asks, what it was answered, and what to do
    #[arg(long, value_name = "CHECK")]
    pub explain: Option<String>,
    /// What doesn't answer within this time is unknown
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = patience)]
    pub patience: Duration,
    /// Ask whether a restore would have room in this directory [default: beside the data directory]
    #[arg(long, value_name = "DIR")]
    pub restore_to: Option<PathBuf>,
    /// Keep the result in the ledger of every location, as evidence
    #[arg(long)]
    pub keep: bool,
}

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum GroupName {
    /// The server, and the machine that a restore would run on
    Postgres,
    /// What is stored
    Repository,
    /// Where it is stored
    Location,
    /// Standbys, clusters, and where clients go
    Failover,
    /// Plan, people, rehearsals, evidence
    Governance,
}

/// From a second to ten minutes.
fn patience(text: &str) -> Result<Duration, String> {
    let bounds = Duration::from_secs(1)..=Duration::from_secs(600);
    let read = crate::config::parse_duration(text).filter(|time| bounds.contains(time));
    read.ok_or_else(|| "expected a time of 1 second to 10 minutes, such as \"10s\"".to_owned())
}
