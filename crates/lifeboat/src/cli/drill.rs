//! What can be typed about rehearsals.

use clap::{Args, Subcommand, ValueHint};
use lifeboat_postgres::Lsn;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum DrillCommand {
    /// The scenarios that there are, and what each asks for
    List,
    /// Carry one out
    ///
    /// It takes place apart: in a directory of its own, without a network, with a repository of its own. It is refused before it begins where that
    /// can't be shown. The record is kept in the ledger, whatever came of it. Exit code 4 when it didn't pass.
    #[command(after_help = "Examples:\n  lifeboat drill run restore-database --workload shop\n  \
        lifeboat drill run dropped-table --workload shop --with table=orders\n  \
        lifeboat drill run lost-key --workload shop --with escrow_file=/mnt/safe/passphrase\n  \
        lifeboat drill run restore-group --group checkout --dry-run")]
    Run(DrillRunArguments),
    /// What was rehearsed, and how it ended
    History {
        /// Only this scenario
        scenario: Option<String>,
    },
    /// One run: steps, figures, proofs
    Show {
        /// Its id, or how it begins
        id: String,
    },
    /// Remove what runs have left that were killed, or whose time is over
    Cleanup,
    /// Which rehearsals of the plan are due, and the systemd timer that runs them
    Schedule {
        /// Carry out what is due, one after the other
        #[arg(long)]
        run_due: bool,
        /// Print a systemd service and timer
        #[arg(long, conflicts_with = "run_due")]
        systemd: bool,
    },
    /// Answer the question that a run waits with
    Approve {
        /// The run
        id: String,
        /// Who answers: a person of the plan
        #[arg(long = "as", value_name = "PERSON")]
        person: String,
        /// The answer is no
        #[arg(long)]
        no: bool,
    },
    /// Make a scenario of an experiment of the Chaos Toolkit
    Import {
        /// The experiment, JSON
        #[arg(value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Write it here [default: standard output]
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        to: Option<PathBuf>,
    },
    /// Make an experiment of the Chaos Toolkit that runs a scenario with this program
    Export {
        /// Which
        scenario: String,
        /// With this workload
        #[arg(long, value_name = "WORKLOAD")]
        workload: Option<String>,
        /// With this group
        #[arg(long, value_name = "GROUP", conflicts_with = "workload")]
        group: Option<String>,
    },
    /// Whether somebody listens there; for the proofs of isolation
    #[command(hide = true)]
    Reach { host: String, port: u16 },
    /// Lead from a socket to an address, until it is killed; for the hosts of a rehearsal
    #[command(hide = true)]
    Door { socket: PathBuf, to: String },
    /// Bring what lies below plan/ of a location here; for the rehearsal of the runbook
    #[command(hide = true)]
    Paper {
        #[arg(long)]
        location: String,
        #[arg(long)]
        to: PathBuf,
    },
    /// Where the log of a workload ends: in its locations, then at its server; for the loss that a rehearsal measures
    #[command(hide = true)]
    Ends { workload: String },
    /// Count the transactions in a part of the log that did not survive; for the loss that a rehearsal measures
    #[command(hide = true)]
    Lost(DrillLostArguments),
    /// Destroy what lies in the place of a rehearsal, as somebody would who has taken over the host
    #[command(hide = true)]
    Attack {
        #[arg(long)]
        place: PathBuf,
        #[arg(long)]
        data: Vec<PathBuf>,
        #[arg(long)]
        repository: Vec<PathBuf>,
    },
}

#[derive(Debug, Clone, Args)]
pub struct DrillLostArguments {
    pub workload: String,
    /// What ends here or before survived
    #[arg(long, value_name = "LSN")]
    pub survived: Lsn,
    /// What ends here or before was in a location [default: what survived]
    #[arg(long, value_name = "LSN")]
    pub stored: Option<Lsn>,
    /// Count up to here
    #[arg(long, value_name = "LSN")]
    pub until: Lsn,
    /// On the line that leads to this timeline [default: the one that a restore takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeline: Option<u32>,
}

#[derive(Debug, Clone, Args)]
pub struct DrillRunArguments {
    /// A built-in scenario, one of the configuration, or a file that ends in .toml
    pub scenario: String,
    /// With this workload [default: the only one]
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// With this group, in its order [default: all workloads, for a scenario of a group]
    #[arg(long, value_name = "GROUP", conflicts_with = "workload")]
    pub group: Option<String>,
    /// What the scenario asks for; can be given several times
    #[arg(long = "with", value_name = "NAME=VALUE")]
    pub with: Vec<String>,
    /// This person agrees to whatever is asked
    #[arg(long, value_name = "PERSON")]
    pub approve_as: Option<String>,
    /// Also takes part; can be given several times
    #[arg(long, value_name = "PERSON")]
    pub participant: Vec<String>,
    /// Where the place is made. Needs room for the database; short, because a socket's path must be [default: the temporary directory]
    #[arg(long = "in", value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub scratch: Option<PathBuf>,
    /// Without a network of its own. Refused where production answers
    #[arg(long)]
    pub in_this_network: bool,
    /// Show the steps, and stop
    #[arg(long)]
    pub dry_run: bool,
    /// Leave the place where it is. The run doesn't pass then
    #[arg(long)]
    pub keep: bool,
}
