//! A scenario, as values: what breaks, how it is brought back, how that is measured, and how the place is left.
//!
//! Not here: doing any of it.

mod parse;
mod steps;
pub mod tolerance;
mod toml_table;

pub use parse::{ALWAYS_THERE, Problem, Problems, duration, in_configuration, parse};
pub use tolerance::Tolerance;

use lifeboat_plan::model::{Disruption, OnFailure};
use lifeboat_plan::run::Phase;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Phases in the order in which they come.
pub const PHASES: [(Phase, &str); 6] = [
    (Phase::Prepare, "prepare"),
    (Phase::Before, "before"),
    (Phase::Fault, "fault"),
    (Phase::Recovery, "recovery"),
    (Phase::After, "after"),
    (Phase::Cleanup, "cleanup"),
];

/// A rehearsal that can be carried out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scenario {
    /// As it is typed: `dropped-table`.
    pub name: String,
    /// In one sentence.
    pub title: String,
    /// Which kind of disruption it rehearses.
    pub disruption: Option<Disruption>,
    /// Of what.
    pub target: TargetKind,
    /// What it asks for, by name.
    pub parameters: BTreeMap<String, Parameter>,
    /// Whether it must be shown that production can't be reached.
    pub isolated: bool,
    /// For all of it, cleanup not counted.
    pub time_limit: Duration,
    /// How it is seen that the application works again. None: the workload's own checks, on the server `restored`.
    pub health: Option<Health>,
    /// Steps in order.
    pub phases: BTreeMap<Phase, Vec<Step>>,
    /// Asked all the time from the fault on; the run ends when one of them doesn't hold.
    pub abort_unless: Vec<Step>,
    /// What nobody may conclude from it.
    pub does_not_show: Vec<String>,
    /// The text it was read from.
    #[serde(skip)]
    pub text: String,
}

impl Scenario {
    /// Whether it needs hosts.
    pub fn has_cluster(&self) -> bool {
        self.phases.values().flatten().any(|step| matches!(step.action, Action::Cluster(_)))
    }

    /// Whether production is asked, at the fault, where its log ends.
    pub fn counts_loss(&self) -> bool {
        self.phases.values().flatten().any(|step| matches!(step.action, Action::Loss(_)))
    }
}

/// Of what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// One workload.
    Workload,
    /// A protection group, or several workloads.
    Group,
    /// Nothing that is protected: of people, say.
    Nothing,
}

/// What a scenario asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Parameter {
    /// In words.
    pub title: String,
    /// None: it must be given.
    pub default: Option<String>,
}

/// The application's own question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The server that is asked.
    pub server: String,
    /// Each must return true. Empty: the workload's own checks.
    pub queries: Vec<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// What it is called.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Which exit code is right, for commands. None: 0.
    pub exit_code: Option<i32>,
    /// Which part of what was seen is looked at: `$.findings[0].xid`.
    pub path: Option<String>,
    /// What it must be. None: that it was done suffices.
    pub tolerance: Option<Tolerance>,
    /// How long it may take.
    pub time_limit: Duration,
    /// It is done again and again until it holds, within its time limit.
    pub until: bool,
    /// What follows when it doesn't hold.
    pub on_failure: OnFailure,
    /// The next step doesn't wait for it. It is ended at the cleanup.
    pub background: bool,
    /// Whether the verdict depends on it.
    pub counts: bool,
    /// Whether it is what shows that the alarm came.
    pub alert: bool,
    /// Once for each workload of the target, in the order of recovery.
    pub each: bool,
    /// Parts of what was seen that later steps may use, by name.
    pub keeps: BTreeMap<String, String>,
    /// Parts of what was seen that go into the record as figures, by name with the unit last.
    pub measures: BTreeMap<String, String>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A command of ours, without the program's name.
    Lifeboat {
        /// What is typed.
        words: Vec<String>,
        /// With which configuration.
        with: With,
    },
    /// Program and arguments; no shell.
    Command(Vec<String>),
    /// A statement on a server of the place.
    Sql {
        /// Which.
        server: String,
        /// Which database; the workload's when nothing is said.
        database: Option<String>,
        /// What is asked.
        query: String,
    },
    /// A statement that a server of the place must not carry out: it says so, or doesn't answer, or isn't there.
    Refused {
        /// Which.
        server: String,
        /// What is asked.
        query: String,
    },
    /// A request.
    Http {
        /// `GET`.
        method: String,
        /// Where.
        url: String,
        /// Sent as it is.
        body: Option<String>,
        /// By name.
        headers: BTreeMap<String, String>,
    },
    /// Whether somebody listens at `HOST:PORT`.
    Tcp(String),
    /// Starts the server of that name in the place.
    Start(String),
    /// Stops it.
    Stop(String),
    /// A cluster of three members, each on a host of its own, is made of this running server.
    Cluster(String),
    /// The canary begins to write there.
    Canary(String),
    /// What the canary was promised is looked for there.
    Count(String),
    /// What production had committed when it was taken as lost, and this server of the place lacks, is counted.
    Loss(String),
    /// Waits until a person says that it is done, or agrees.
    Ask {
        /// What is asked.
        question: String,
        /// A person or a role of the plan.
        of: Option<String>,
    },
    /// Calls the people behind a role until one answers.
    Page(String),
    /// One of our own ways to break something.
    Fault {
        /// Which.
        name: String,
        /// On which server, or location, of the place.
        on: String,
    },
    /// A step of another system, from the plan.
    VendorStep(String),
    /// The runbook is followed from a location's own copy.
    Paper {
        /// How far.
        step: PaperStep,
        /// Which location's. Empty: the first one of the workload.
        on: String,
    },
}

/// How somebody goes on who has nothing but the runbook in a location, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaperStep {
    /// Finds and reads it.
    Read,
    /// Writes down its configuration for a bare machine.
    Configure,
    /// Types its command that shows what is there.
    Points,
    /// Types the one that brings it back.
    Restore,
}

/// Which configuration a command gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum With {
    /// That of the place, which names only what is in it.
    Place,
    /// The real one. Only for commands that read.
    Production,
    /// The real one, with the passphrase that was given instead of the host's. Only for commands that read.
    Escrow,
    /// The one out of the runbook in a location: see [`PaperStep::Configure`].
    Copy,
    /// That of the place's cluster, on the host of operators and clients.
    Cluster,
}

/// Commands that may be run with the real configuration: they read repositories, and write only where they are told to.
pub const READING: [&str; 5] = ["points", "restore", "when", "verify", "check"];
