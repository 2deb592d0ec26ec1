//! What can be typed. Help texts are read at three in the morning: short, with examples.

mod bringing;
mod cluster;
mod cost;
mod drill;
mod incident;
mod ledger;
mod plan;
mod ready;
mod report;
mod standby;

pub use bringing::*;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
pub use cluster::*;
pub use cost::*;
pub use drill::*;
pub use incident::*;
pub use ledger::*;
use lifeboat_postgres::Lsn;
pub use plan::*;
pub use ready::*;
pub use report::*;
pub use standby::*;
use std::path::PathBuf;

/// Disaster recovery that has been rehearsed: backs up PostgreSQL, brings any moment of it back, and proves that it can.
#[derive(Debug, Parser)]
#[command(name = "lifeboat", version, arg_required_else_help = true, max_term_width = 110)]
#[command(
    after_help = "Exit codes: 0 done, 1 internal error, 2 usage or configuration, 3 not found or not reachable,\n\
4 a check said no, 5 unavailable (try again), 6 corrupt, 7 fenced or locked out."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Every command")]
pub struct Global {
    /// The configuration [default: ./lifeboat.toml, else /etc/lifeboat/lifeboat.toml]
    #[arg(long, global = true, value_name = "FILE", env = "LIFEBOAT_CONFIG", hide_env_values = true)]
    #[arg(value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Print one JSON document on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more on standard error; twice for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// No progress and no hints; only results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to color: on a terminal unless NO_COLOR is set, always, never
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: Color,
}

/// When to color.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether to color on something that is, or isn't, a terminal. `NO_COLOR` counts when it isn't empty.
    pub fn wants(self, terminal: bool) -> bool {
        match self {
            Self::Auto => terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create the repositories; show the key's fingerprint and how to keep it safe
    #[command(after_help = "Running it again is safe: what exists is left as it is.")]
    Init,

    /// Find out what is wrong before it matters, and what to do about it
    ///
    /// Configuration, secrets, connections, permissions, space, archiving. Exit code 4 when something is wrong.
    Check(CheckArguments),

    /// Take a recovery point
    #[command(after_help = "Examples:\n  lifeboat backup                    every workload\n  \
        lifeboat backup shop --type full   one, read from the beginning")]
    Backup(BackupArguments),

    /// Show recovery points, and the windows in which every moment can be reached
    Points(PointsArguments),

    /// Find the transaction that dropped a table, emptied it, deleted its rows, or changed what a query answers
    ///
    /// Looks through the archived log, without a server, and says the line that restores the moment just before. Exit code 3
    /// when no such transaction is in the log. Of a partitioned table, ask for its partitions.
    ///
    /// What the log doesn't tell by itself, --sql asks: the condition is put to both ends, then to the middle of what is left, each in
    /// a server of that moment, until one transaction is left that changed the answer. It needs `lifeboat open` to work here, and finds one
    /// change where there were several. Exit code 3 when the answer is the same at both ends. The condition sees the clock of today.
    #[command(after_help = "Examples:\n  lifeboat when shop --dropped orders\n  \
        lifeboat when shop --deleted-from public.orders --database app --since \"2 hours ago\"\n  \
        lifeboat when shop --truncated '\"Orders\"' --since \"2026-11-21 09:00 UTC\" --until \"2026-11-21 17:00 UTC\"\n  \
        lifeboat when shop --sql \"(select count(*) from orders) > 1000\" --since \"2 days ago\"")]
    When(WhenArguments),

    /// Bring one moment of a workload back, into an empty directory or over an older copy
    ///
    /// Without a target: the latest moment that can be reached. What can't be reached is refused before the first
    /// byte is written.
    #[command(after_help = "Examples:\n  \
        lifeboat restore shop --to /srv/shop\n  \
        lifeboat restore shop --to /srv/shop --at \"2026-11-21 14:03:05 Europe/Berlin\"\n  \
        lifeboat restore shop --to /srv/shop --at \"5 minutes ago\" --dry-run\n  \
        lifeboat restore shop --to /srv/shop --lsn 16/B374D848 --from ohio\n  \
        lifeboat restore shop --to /srv/shop --instant --start --detach   answers within seconds\n  \
        lifeboat restore status                                           what still comes, and how fast")]
    Restore(RestoreArguments),

    /// Ask a moment of the past, in a server of its own that answers within seconds and is thrown away afterwards
    ///
    /// Without WORKLOAD: what is open. Only what is asked for is fetched; the original isn't touched.
    #[command(after_help = "Examples:\n  \
        lifeboat open shop --at \"2026-11-21 14:03:05 Europe/Berlin\"\n  \
        lifeboat open shop --at \"5 minutes ago\" --writable\n  \
        lifeboat open                 what is open\n  \
        lifeboat close shop-1")]
    Open(OpenArguments),

    /// Throw away what was opened
    Close(CloseArguments),

    /// Bring one table back from any moment, fetching little more than the table
    ///
    /// Beside the present one, as orders_rescued_1031; over it with --replace; or into a file with --to.
    #[command(after_help = "Examples:\n  \
        lifeboat rescue shop --list --at \"2026-11-21 10:31 Europe/Berlin\"\n  \
        lifeboat rescue shop --table public.orders --at \"2026-11-21 10:31 Europe/Berlin\"\n  \
        lifeboat rescue shop --table orders --where \"customer = 7\" --to orders.sql --at \"10 minutes ago\"\n  \
        lifeboat rescue shop --table orders --replace --xid 4711 --exclusive")]
    Rescue(RescueArguments),

    /// Prove that recovery points can be brought back
    ///
    /// Without options: that everything a point refers to exists. Exit code 4 when something is bad.
    #[command(after_help = "Examples:\n  lifeboat verify               structure, every workload\n  \
        lifeboat verify shop --data   read and decrypt every byte\n  \
        lifeboat verify shop --boot   start it aside, replay, run the checks of the configuration")]
    Verify(VerifyArguments),

    /// Continuous write-ahead log: from PostgreSQL's commands, or by streaming
    #[command(subcommand)]
    Wal(WalCommand),

    /// Complete one location from another
    Copy(CopyArguments),

    /// Put back what is damaged in one location from another that has it whole
    ///
    /// Reads every byte first, and touches nothing that is whole. Exit code 4 when something is lost: no location has it.
    #[command(after_help = "Examples:\n  lifeboat repair --dry-run   what is damaged, and where it is whole\n  \
        lifeboat repair             put it back\n  \
        lifeboat repair --give-up   and delete what no location has whole any more")]
    Repair(RepairArguments),

    /// Bring a removable disk up to date, verify it, and say when it can be unplugged
    ///
    /// Catches up with everything that the disk lacks; interrupted, the next run goes on. A mount point without its disk is
    /// refused, and never written to.
    #[command(after_help = "Examples:\n  lifeboat sync disk-a              catch up, look at the structure\n  \
        lifeboat sync disk-a --data       and read every byte of the disk\n  \
        lifeboat sync disk-a --init-new   set a new disk up first")]
    Sync(SyncArguments),

    /// Give up recovery points by the policy `keep`, and delete what was given up some days ago
    #[command(
        after_help = "What is given up is only marked, and deleted by a later run, `prune_after` (3d) afterwards. Run it daily.\n\nExample:\n  lifeboat prune --dry-run"
    )]
    Prune(PruneArguments),

    /// Ages, windows, measured recovery times and more, in the text format of Prometheus
    #[command(
        after_help = "Example, for node_exporter's textfile collector:\n  lifeboat metrics --output /var/lib/node_exporter/textfile/lifeboat.prom"
    )]
    Metrics(MetricsArguments),

    /// Who can open the repositories
    #[command(subcommand)]
    Key(KeyCommand),

    /// The main job on this machine, with nothing configured: make a database, back it up, lose it, bring it back
    Demo(DemoArguments),

    /// Make a standby, and see who follows and how closely
    #[command(subcommand, arg_required_else_help = true)]
    Standby(StandbyCommand),

    /// Look after one member of a cluster: its server, its lease, who may write
    ///
    /// Runs until it is told to stop, beside each PostgreSQL of the cluster and on each witness. It starts and stops the server itself: no other
    /// service manager may. When it ends, the server goes on; unless an agent is back before its lease ends, the server is stopped then.
    #[command(after_help = "Example:\n  lifeboat agent shop")]
    Agent {
        /// The cluster, when the configuration has several
        cluster: Option<String>,
    },

    /// See a cluster, and move its primary
    #[command(subcommand, arg_required_else_help = true)]
    Cluster(ClusterCommand),

    /// Lead clients to the primary of a cluster, wherever it is
    ///
    /// Connections of an older epoch are cut at once; new ones wait while there is no primary. `proxy = { .. }` of the cluster says where it listens.
    #[command(after_help = "Example:\n  lifeboat proxy shop\n  psql -h 127.0.0.1 -p 5432")]
    Proxy {
        /// The cluster, when the configuration has several
        cluster: Option<String>,
    },

    /// What the business promises: does it hold together, what does it cost, what is done on the day
    #[command(subcommand, arg_required_else_help = true)]
    Plan(PlanCommand),

    /// If it burned now, would we meet the promise? Check by check, measured at this moment
    ///
    /// Exit code 4 when not. What isn't known never counts as good.
    Ready(ReadyArguments),

    /// Rehearse: something breaks in a place apart, is brought back, and what that took is measured
    #[command(subcommand, arg_required_else_help = true)]
    Drill(DrillCommand),

    /// The signed record of what was done and measured
    #[command(subcommand, arg_required_else_help = true)]
    Ledger(LedgerCommand),

    /// What was promised, what was measured, what is missing: for management and auditors
    Report(ReportArguments),

    /// Keep what happened for real: when it began, what was done, when it was over
    #[command(subcommand, arg_required_else_help = true)]
    Incident(IncidentCommand),

    /// The process that ends a database when its lease has ended
    #[command(hide = true)]
    DeadMan { deadline: PathBuf, data_dir: PathBuf, watchdog: Option<PathBuf> },

    /// Print the completions of a shell
    #[command(after_help = "Example:\n  lifeboat completions bash > /etc/bash_completion.d/lifeboat")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },

    /// Print the manual page, or write the pages of all commands to a directory
    Man {
        /// Write lifeboat.1, lifeboat-restore.1, ... here
        #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub struct DemoArguments {
    /// Where PostgreSQL's programs are [default: the newest on this machine]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub bin_dir: Option<PathBuf>,
    /// Leave the demo's files where they are
    #[arg(long)]
    pub keep: bool,
}

#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Only these workloads [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
}

#[derive(Debug, Args)]
pub struct BackupArguments {
    /// Only these workloads [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// What to compare with
    #[arg(long = "type", value_name = "TYPE", default_value = "incr")]
    pub kind: BackupKind,
    /// Read at most so much a second, such as 100MB [default: `max_rate` of the workload]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub max_rate: Option<u64>,
    /// Outside the workload's `window`, wait until it opens; without this the backup is refused
    #[arg(long)]
    pub wait_for_window: bool,
}

fn rate(text: &str) -> Result<u64, String> {
    crate::config::parse_rate(text).ok_or_else(|| format!("expected {}", crate::config::RATE_EXPECTED))
}

/// What a backup compares with. Each brings back everything by itself: points have no chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackupKind {
    /// Nothing: every byte is read
    #[value(alias = "full")]
    Full,
    /// The last recovery point; a full one when there is none
    #[value(name = "incr", alias = "incremental")]
    Incremental,
    /// The last full recovery point
    #[value(name = "diff", alias = "differential")]
    Differential,
}

#[derive(Debug, Args)]
pub struct PointsArguments {
    /// Only this workload [default: all]
    pub workload: Option<String>,
    /// Look in this location only
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
    /// List every point, also on a terminal [default there: the newest 20]
    #[arg(long)]
    pub all: bool,
}

#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Only this workload [default: all]
    pub workload: Option<String>,
    /// Read, decrypt and compare every byte
    #[arg(long)]
    pub data: bool,
    /// Bring it up aside, start it, replay, check its pages and ask it
    #[arg(long)]
    pub boot: bool,
    /// With --boot: leave out amcheck, which reads every table and index and compares them
    #[arg(long, requires = "boot")]
    pub without_amcheck: bool,
    /// With --boot: write every file before the start, as a plain restore does [default: they come when they are read]
    #[arg(long, requires = "boot")]
    pub copy: bool,
    /// Only this recovery point and what it needs [default: the latest with --boot, else all]
    #[arg(long, value_name = "ID")]
    pub point: Option<String>,
    /// Only in this location [default: all]
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum WalCommand {
    /// Send one segment: archive_command = 'lifeboat wal push %p'
    Push {
        /// The segment, as PostgreSQL's %p names it
        #[arg(value_hint = ValueHint::FilePath)]
        path: PathBuf,
        #[command(flatten)]
        of: WorkloadOption,
    },
    /// Bring one file back: restore_command = 'lifeboat wal fetch %f %p'
    ///
    /// Exit code 3 only when it certainly isn't there. Every other failure has 128 added to its exit code (133 for an
    /// unreachable location), because PostgreSQL takes 1 to 125 for "not there" and would end recovery too early.
    Fetch {
        /// The file's name, as PostgreSQL's %f gives it
        name: String,
        /// Where to put it, as PostgreSQL's %p names it
        #[arg(value_hint = ValueHint::FilePath)]
        path: PathBuf,
        #[command(flatten)]
        of: WorkloadOption,
        /// Read from this location only
        #[arg(long, value_name = "LOCATION")]
        from: Option<String>,
        /// Load nothing ahead: for pg_rewind, which walks backwards
        #[arg(long)]
        no_prefetch: bool,
        /// Also give the last, incomplete segment of this timeline (`lifeboat restore` sets it)
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        incomplete_of: Option<u32>,
        /// What begins here or later is not there: it is damaged, and a restore was planned without it
        #[arg(long, value_name = "LSN", hide = true)]
        ends_at: Option<Lsn>,
        /// For a standby of a server that is on this timeline: only what leads there, and whatever comes in between is "not
        /// there", because a standby asks again (`lifeboat agent` sets it)
        #[arg(long, value_name = "N", hide = true, value_parser = clap::value_parser!(u32).range(1..))]
        follows: Option<u32>,
    },
    /// Store what waits behind PATH (started by `wal push`)
    #[command(hide = true)]
    PushAhead {
        /// The file that is being stored
        path: PathBuf,
        #[command(flatten)]
        of: WorkloadOption,
    },
    /// Load the segments after NAME ahead of recovery (started by `wal fetch`)
    #[command(hide = true)]
    Prefetch {
        /// The segment that was fetched last
        name: String,
        #[command(flatten)]
        of: WorkloadOption,
        /// Read from this location only
        #[arg(long, value_name = "LOCATION")]
        from: Option<String>,
    },
    /// Stream the log of a workload until told to stop
    ///
    /// With --sync and its name (`slot`, lifeboat_WORKLOAD by default) in synchronous_standby_names, a commit returns
    /// when it is durable where `synchronous` says, and nothing that was acknowledged can be lost. An alarm is raised when
    /// commits wait for longer than its `patience`.
    #[command(after_help = "Examples:\n  lifeboat wal receive shop               about a second behind\n  \
        lifeboat wal receive shop --sync        nothing acknowledged is ever lost\n  \
        lifeboat wal receive shop --ship-only   bring home what a lost receiver's spool holds, and end")]
    Receive {
        /// Whose log
        workload: String,
        /// Commits wait for this receiver: store at once, acknowledge only what is durable
        #[arg(long)]
        sync: bool,
        /// Go on past WAL that the server no longer has; a new backup must follow
        #[arg(long)]
        accept_gap: bool,
        /// Send what the spool holds to the locations, without a server, and end
        #[arg(long, conflicts_with_all = ["sync", "accept_gap"])]
        ship_only: bool,
    },
}

#[derive(Debug, Args)]
pub struct WorkloadOption {
    /// Whose log; needed when more than one workload is configured
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<String>,
}

#[derive(Debug, Args)]
pub struct PruneArguments {
    /// Say what goes, what stays and why; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Rewrite packs of which less than so many percent is still needed; 0 rewrites none
    #[arg(long, value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub repack_below: u8,
    /// Read no faster when rewriting, such as 50MB (a second)
    #[arg(long, value_name = "RATE")]
    pub max_rate: Option<String>,
    /// Take back what is marked and not yet being deleted
    #[arg(long, conflicts_with = "dry_run")]
    pub cancel: bool,
    /// Let go of this recovery point, which somebody held who is gone for good
    #[arg(long, value_name = "POINT", conflicts_with_all = ["dry_run", "cancel"])]
    pub release: Option<String>,
}

#[derive(Debug, Args)]
pub struct MetricsArguments {
    /// Write this file, whole or not at all [default: standard output]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct CopyArguments {
    /// The location to read
    #[arg(long, value_name = "LOCATION")]
    pub from: String,
    /// The location to complete
    #[arg(long, value_name = "LOCATION")]
    pub to: String,
}

#[derive(Debug, Args)]
pub struct RepairArguments {
    /// Say what is damaged, and where it is whole; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Delete damaged points and files of the log that no location has whole. Packs that a point needs stay
    #[arg(long, conflicts_with = "dry_run")]
    pub give_up: bool,
}

#[derive(Debug, Args)]
pub struct SyncArguments {
    /// The removable location
    pub location: String,
    /// Read from this location only [default: all others]
    #[arg(long, value_name = "LOCATION")]
    pub from: Option<String>,
    /// Read, decrypt and compare every byte of the disk afterwards
    #[arg(long)]
    pub data: bool,
    /// The disk is new and empty: make a repository on it
    #[arg(long)]
    pub init_new: bool,
    /// With --init-new: on the file system of /, too
    #[arg(long, requires = "init_new")]
    pub same_device: bool,
    /// Don't run `detach` of the configuration
    #[arg(long)]
    pub stay: bool,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys that open each repository
    List,
    /// Let another passphrase, or a machine's own key, open the repositories
    #[command(
        after_help = "Examples:\n  lifeboat key add --machine /etc/lifeboat/key --label db1\n  lifeboat key add --passphrase-file /etc/lifeboat/new-passphrase --label 2026"
    )]
    Add(KeyAddArguments),
    /// Take a key away: it opens the repositories no more. What was copied before, it still opens
    Remove {
        /// Its id, as `key list` shows it
        id: String,
    },
}

#[derive(Debug, Args)]
pub struct KeyAddArguments {
    /// Make a random key, write it to this new file, private to its owner, and let it open the repositories. It goes where the
    /// passphrase goes: passphrase = { file = "FILE" }
    #[arg(long, value_name = "FILE", required_unless_present = "passphrase_file", conflicts_with = "passphrase_file")]
    pub machine: Option<PathBuf>,

    /// Read the new passphrase from this file
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,

    /// What it is for, in your words
    #[arg(long, value_name = "WORDS", default_value = "")]
    pub label: String,
}
