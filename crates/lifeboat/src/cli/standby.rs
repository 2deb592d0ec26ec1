//! What can be typed about standbys.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum StandbyCommand {
    /// Make a standby of a running primary: from the newest recovery point, or as a copy of the primary
    ///
    /// For a cluster of the configuration: this machine's member, which `lifeboat agent` then starts. What can't work is refused before
    /// the first byte is written. The slot that is made for it on the primary keeps the log until the standby has it.
    #[command(after_help = "Examples:\n  \
        lifeboat standby create shop --to /srv/shop --primary \"host=db1 user=replicator passfile=/etc/lifeboat/pgpass\"\n  \
        lifeboat standby create shop --to /srv/shop --from primary --name ohio --start\n  \
        lifeboat standby create shop               this machine's member of cluster shop")]
    Create(StandbyCreateArguments),
    /// Who follows, how closely, what each slot keeps, and what would be lost if the primary went now
    ///
    /// Exit code 4 when a slot is lost, or a standby that the configuration names is missing.
    #[command(after_help = "Example:\n  lifeboat standby status shop")]
    Status {
        /// The workload or the cluster [default: the only one]
        #[arg(value_name = "WORKLOAD|CLUSTER")]
        name: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct StandbyCreateArguments {
    /// Of what: a workload, or a cluster of which this machine is a member
    #[arg(value_name = "WORKLOAD|CLUSTER")]
    pub of: String,
    /// Where to: empty, or not there yet [default for a member: its data_dir]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub to: Option<PathBuf>,
    /// The server to follow, as the standby will reach it. Holds no password: passfile=FILE [default: the workload's `primary` or
    /// `connection`; for a member, the cluster's primary]
    #[arg(long, value_name = "CONNINFO")]
    pub primary: Option<String>,
    /// Where its files come from [default: the repository if it has recovery points, which costs the primary nothing]
    #[arg(long, value_name = "SOURCE")]
    pub from: Option<StandbySource>,
    /// Read from this location [default: the nearest that is complete]
    #[arg(long, value_name = "LOCATION")]
    pub location: Option<String>,
    /// The name by which the primary knows it [default: this machine's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The slot on the primary that keeps the log for it [default: lifeboat_NAME]
    #[arg(long, value_name = "SLOT", conflicts_with = "no_slot")]
    pub slot: Option<String>,
    /// Nothing on the primary keeps the log for it
    #[arg(long)]
    pub no_slot: bool,
    /// Put a tablespace elsewhere; can be given several times
    #[arg(long = "tablespace", value_name = "OID=DIR")]
    pub tablespaces: Vec<String>,
    /// Start it, wait until it streams, and say how far behind it is
    #[arg(long, conflicts_with = "dry_run")]
    pub start: bool,
    /// Show what would be done, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Of a member, beside its data_dir: its agent exchanges them
    #[arg(long, hide = true, conflicts_with_all = ["to", "primary", "start"])]
    pub beside: Option<PathBuf>,
}

/// Where a standby's files come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StandbySource {
    /// The newest recovery point: no load on the primary
    Repository,
    /// The primary sends them
    Primary,
}
