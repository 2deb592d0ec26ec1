//! What a rehearsal is told about the world: what is protected, what production is, who asks, who agreed.

use lifeboat_plan::model::Plan;
use lifeboat_plan::run::Promised;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything from outside.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Our own program.
    pub program: PathBuf,
    /// The real configuration, by its whole path.
    pub config: PathBuf,
    /// Below it the place is made. Short, because a socket's path must be.
    pub scratch_dir: PathBuf,
    /// Where it is noted what is being made.
    pub journal_dir: PathBuf,
    /// Whom servers run as when we are root.
    pub account: Option<(u32, u32)>,
    /// What is rehearsed, in the order of recovery.
    pub workloads: Vec<Protected>,
    /// The group, if it is one.
    pub group: Option<String>,
    /// What must not be touched.
    pub production: Production,
    /// The locations of what is rehearsed, and where each is as a directory. None: it is read over a network.
    pub copies: Vec<(String, Option<PathBuf>)>,
    /// Of the runbook that the real configuration gives.
    pub runbook_hash: String,
    /// What the business decided.
    pub plan: Plan,
    /// Steps of the group that other systems do, and that a rehearsal apart leaves out.
    pub left_out: Vec<String>,
    /// Whether processes of the place get a network of their own, where that can be had.
    pub own_network: bool,
    /// Whether the place stays.
    pub keep: bool,
    /// Who asked.
    pub requested_by: String,
    /// Who agrees to whatever is asked.
    pub approved_by: Option<String>,
    /// Who must agree before it begins: a person or a role of the plan.
    pub approver: Option<String>,
    /// Who takes part.
    pub participants: Vec<String>,
    /// The drill of the plan that it is.
    pub drill: Option<String>,
    /// The name of this machine.
    pub host: String,
    /// Program by program.
    pub versions: BTreeMap<String, String>,
    /// Of the configuration.
    pub configuration_hash: String,
    /// What was promised.
    pub promised: Promised,
    /// The directories of `PATH`.
    pub search_path: Vec<PathBuf>,
}

/// A workload of the real configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    /// Its name.
    pub name: String,
    /// Queries that return true when it is healthy.
    pub checks: Vec<String>,
    /// Where PostgreSQL's programs are.
    pub bin_dir: Option<PathBuf>,
    /// Who asks.
    pub user: String,
    /// In which database.
    pub database: String,
}

/// What must not be touched.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Production {
    /// Who listens where.
    pub addresses: Vec<Address>,
    /// Data directories, sockets, directories of locations: what it is, and where.
    pub paths: Vec<(String, PathBuf)>,
    /// Whether a location is read over a network.
    pub is_remote: bool,
}

/// One address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// "the server of shop".
    pub what: String,
    /// Name or number.
    pub host: String,
    /// Port.
    pub port: u16,
}
