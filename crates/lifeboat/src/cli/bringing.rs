//! What can be typed to bring something back, or to look at it.

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use lifeboat_postgres::Lsn;
use std::path::{Path, PathBuf};

#[derive(Debug, Args)]
pub struct WhenArguments {
    /// Whose log
    pub workload: String,
    #[command(flatten)]
    pub deed: DeedArguments,
    /// Only in this database [default: all; with --sql the one that the workload's connection names]
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only transactions that ended at this time or later; less log is read [default: the oldest recovery point]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub since: Option<String>,
    /// Only transactions that ended at this time or before [default: the end of the log]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub until: Option<String>,
    /// Follow this timeline [default: the line of the newest recovery point, to its end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline: Option<u32>,
    /// Read from this location [default: all]
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
}

/// What happened. TABLE is `table` or `schema.table`, written as in SQL.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct DeedArguments {
    /// This table was dropped, by itself, with its schema or with its database
    #[arg(long, value_name = "TABLE")]
    pub dropped: Option<String>,
    /// Rows of this table were deleted
    #[arg(long, value_name = "TABLE")]
    pub deleted_from: Option<String>,
    /// This table was truncated
    #[arg(long, value_name = "TABLE")]
    pub truncated: Option<String>,
    /// The answer to this changed: an SQL expression that is true or false. Servers of moments between are asked, which are
    /// thrown away
    #[arg(long, value_name = "CONDITION", allow_hyphen_values = true)]
    pub sql: Option<String>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct RestoreArguments {
    /// What to bring back
    #[arg(required = true)]
    workload: Option<String>,
    /// Where to: empty, not there yet, or an older copy of the same cluster
    #[arg(long, required = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    to: Option<PathBuf>,
    /// Begin from this recovery point [default: the best for the target]
    #[arg(long, value_name = "ID")]
    pub point: Option<String>,
    /// Follow this timeline [default: the line of the newest recovery point, to its end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline: Option<u32>,
    /// Read from this location [default: the nearest that is complete]
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
    /// Show what would be done, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Put a tablespace elsewhere; can be given several times
    #[arg(long = "tablespace", value_name = "OID=DIR")]
    pub tablespaces: Vec<String>,
    /// What the server does when it has reached the target
    #[arg(long, value_name = "ACTION", default_value = "promote")]
    pub action: TargetAction,
    /// It takes the place of the original: leave its archiving on
    #[arg(long)]
    pub as_primary: bool,
    /// Stop just before the target, not just after
    #[arg(long)]
    pub exclusive: bool,
    /// Let it be used at once: what is read comes first, and the rest in the background. Serves until all is here
    #[arg(long, conflicts_with = "dry_run")]
    pub instant: bool,
    /// Start the server on it, and say when it answered
    #[arg(long, requires = "instant")]
    pub start: bool,
    /// When everything is here, stop the server and start it again on the ordinary directory
    #[arg(long, requires = "start")]
    pub finish: bool,
    /// Return when it is served (with --start: when it answered), and let another process serve on
    #[arg(long, requires = "instant")]
    pub detach: bool,
    #[arg(long, hide = true, requires = "instant", conflicts_with = "detach")]
    pub detached: bool,
    /// Where nothing can be mounted, copy everything first
    #[arg(long, requires = "instant")]
    pub or_copy: bool,
    #[command(subcommand)]
    pub command: Option<RestoreSubcommand>,
    // Last: its heading would otherwise also stand over what follows it.
    #[command(flatten)]
    pub target: TargetArguments,
}

impl RestoreArguments {
    /// What to bring back. Nothing where a command follows.
    pub fn workload(&self) -> &str {
        self.workload.as_deref().unwrap_or_default()
    }

    /// Where to. Nothing where a command follows.
    pub fn to(&self) -> &Path {
        self.to.as_deref().unwrap_or(Path::new(""))
    }
}

/// Which moment, and from where, for what is looked at and thrown away.
#[derive(Debug, Clone, Args)]
pub struct MomentArguments {
    /// Begin from this recovery point [default: the best for the target]
    #[arg(long, value_name = "ID")]
    pub point: Option<String>,
    /// Follow this timeline [default: the line of the newest recovery point, to its end]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline: Option<u32>,
    /// Read from this location [default: the nearest that is complete]
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
    /// Stop just before the target, not just after
    #[arg(long)]
    pub exclusive: bool,
    // Last: its heading would otherwise also stand over what follows it.
    #[command(flatten)]
    pub target: TargetArguments,
}

#[derive(Debug, Args)]
pub struct OpenArguments {
    /// What to look at [default: list what is open]
    pub workload: Option<String>,
    /// How it is called [default: the workload's name and a number]
    #[arg(long = "as", value_name = "NAME", requires = "workload")]
    pub called: Option<String>,
    /// Let sessions write; what they write is thrown away too
    #[arg(long, requires = "workload")]
    pub writable: bool,
    #[arg(long, hide = true, requires = "called")]
    pub detached: bool,
    #[command(flatten)]
    pub moment: MomentArguments,
}

#[derive(Debug, Args)]
pub struct RescueArguments {
    /// Of what
    pub workload: String,
    /// Which tables, as SQL writes their names, with commas between them: orders,public.items or, for a shell, '"My Schema"."Orders"'
    #[arg(long = "table", value_name = "TABLE", required_unless_present = "list")]
    pub tables: Vec<String>,
    /// Show databases, tables and sizes at that moment, and stop
    #[arg(long, conflicts_with_all = ["tables", "filter", "into", "to", "replace", "called"])]
    pub list: bool,
    /// In this database [default: the one of the workload's connection]
    #[arg(long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only rows for which this is true
    #[arg(long = "where", value_name = "SQL", allow_hyphen_values = true, conflicts_with = "replace")]
    pub filter: Option<String>,
    /// The server that gets it, as libpq writes it [default: the workload's own]
    #[arg(long, value_name = "CONNECTION")]
    pub into: Option<String>,
    /// Write a new file instead: SQL, or pg_dump's own format when it ends in .dump
    #[arg(long, value_name = "FILE", conflicts_with = "into", value_hint = ValueHint::FilePath)]
    pub to: Option<PathBuf>,
    /// Over the table that is there now; under its own name when there is none
    #[arg(long, conflicts_with = "to")]
    pub replace: bool,
    /// What stands behind the name beside the present table [default: _rescued_ and the time of day]
    #[arg(long = "suffix", value_name = "TEXT", conflicts_with = "to")]
    pub called: Option<String>,
    /// Where nothing can be mounted, copy everything first, into /var/tmp
    #[arg(long)]
    pub or_copy: bool,
    #[command(flatten)]
    pub moment: MomentArguments,
}

#[derive(Debug, Args)]
pub struct CloseArguments {
    /// What `lifeboat open` called it
    #[arg(value_name = "NAME", conflicts_with = "all")]
    pub name: Option<String>,
    /// Everything that is open
    #[arg(long)]
    pub all: bool,
}

/// What can be asked of an instant restore that is under way.
#[derive(Debug, Subcommand)]
pub enum RestoreSubcommand {
    /// How an instant restore goes: what is still to come, how fast, what is in the way
    ///
    /// Without DIR: all that are served on this machine, and all that were begun on it with this configuration. Exit code 4 when one was begun and
    /// nobody serves it.
    Status {
        /// The directory that is restored
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: Option<PathBuf>,
    },
    /// When everything is here, leave an ordinary directory, with the server on it that ran before
    ///
    /// Waits until that is done, and says what is in the way. Ctrl-C ends the waiting only, with exit code 5: it finishes by itself.
    Finish {
        /// The directory that is restored
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
    /// Stop the server and the serving. What came is kept, and the same restore goes on from there
    ///
    /// After the end of the process that served it: ends the server that lost its files, and takes away the mount that is left.
    Stop {
        /// The directory that is restored
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        directory: PathBuf,
    },
}

/// What a restored server does at its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetAction {
    /// Becomes a primary on a new timeline
    Promote,
    /// Answers queries and waits: look, then `select pg_wal_replay_resume()`
    Pause,
    /// Stops
    Shutdown,
}

impl From<TargetAction> for lifeboat_recovery::Action {
    fn from(action: TargetAction) -> Self {
        match action {
            TargetAction::Promote => Self::Promote,
            TargetAction::Pause => Self::Pause,
            TargetAction::Shutdown => Self::Shutdown,
        }
    }
}

/// Which moment. At most one; none means the latest.
#[derive(Debug, Clone, Default, Args)]
#[group(multiple = false)]
#[command(next_help_heading = "Which moment (at most one; the latest when none)")]
pub struct TargetArguments {
    /// A time with its zone: "2026-11-21 14:03:05 Europe/Berlin", "2026-11-21T14:03:05+01:00", "5 minutes ago"
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<String>,
    /// A position in the write-ahead log, such as 16/B374D848
    #[arg(long, value_name = "LSN")]
    pub lsn: Option<Lsn>,
    /// Up to and including the commit of this transaction
    #[arg(long, value_name = "XID", value_parser = clap::value_parser!(u32).range(3..))]
    pub xid: Option<u32>,
    /// A point named by pg_create_restore_point()
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The first consistent moment of the recovery point
    #[arg(long)]
    pub immediate: bool,
}
