//! The plan: what the business promises, what it fears, who is called, and what is done. The nouns of the field, as values.
//!
//! Promise: a value here is well formed (names are names, durations positive, probabilities within bounds). Whether it makes sense as a
//! whole is asked elsewhere (`plan check`).
//!
//! Not here: reading a file; secrets; figures of what recovery took, which are only ever measured ([`crate::run`]).

use crate::money::Money;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Everything that was decided.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Plan {
    /// Whose plan it is, for the cover of documents.
    pub organisation: Option<String>,
    /// What amounts are counted in: `EUR`. Only a word to us.
    pub currency: Option<String>,
    /// How long a review stays good.
    pub review_within: Option<Duration>,
    /// What the business does.
    pub processes: BTreeMap<String, Process>,
    /// Classes of objectives.
    pub tiers: BTreeMap<String, Tier>,
    /// What is recovered together.
    pub groups: BTreeMap<String, Group>,
    /// What may happen.
    pub risks: BTreeMap<String, Risk>,
    /// Who is called.
    pub people: BTreeMap<String, Person>,
    /// In which function.
    pub roles: BTreeMap<String, Role>,
    /// What other systems do.
    pub vendor_steps: BTreeMap<String, VendorStep>,
    /// What is rehearsed, and how often.
    pub drills: BTreeMap<String, Drill>,
}

/// What kind of thing went wrong. Objectives and losses differ by it: a standby helps when a site burns, and repeats a `DELETE` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disruption {
    /// Rows or tables are gone or wrong, and every replica has it, too.
    Corruption,
    /// Somebody encrypts or deletes what they can reach, copies included.
    Ransomware,
    /// One machine or server is gone.
    Instance,
    /// One site or region is gone.
    Site,
    /// Parts can't reach each other.
    Network,
    /// A supplier, a key or a person is missing.
    Dependency,
}

impl Disruption {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Corruption, Self::Ransomware, Self::Instance, Self::Site, Self::Network, Self::Dependency];
}

/// How recovery is prepared, from the cheapest to the dearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Copies only.
    BackupRestore,
    /// Copies, and the log as it is written.
    PointInTime,
    /// Data is live elsewhere, servers are off.
    PilotLight,
    /// A smaller one runs elsewhere, fed all the time.
    WarmStandby,
    /// One of full size runs elsewhere and takes over by itself.
    HotStandby,
    /// Several are written to.
    ActiveActive,
}

impl Strategy {
    /// All of them, cheapest first.
    pub const ALL: [Self; 6] = [
        Self::BackupRestore,
        Self::PointInTime,
        Self::PilotLight,
        Self::WarmStandby,
        Self::HotStandby,
        Self::ActiveActive,
    ];
}

/// A business process, and what an hour without it costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Process {
    /// In words: "Orders are taken".
    pub title: String,
    /// A [`Person`].
    pub owner: Option<String>,
    /// A [`Person`], another one than the owner.
    pub approver: Option<String>,
    /// When the two last looked at it.
    pub reviewed: Option<Date>,
    /// A [`Tier`].
    pub tier: Option<String>,
    /// People who can't work, or customers who are turned away.
    pub users: Option<u64>,
    /// When it matters most, in words: "Fridays, 16:00 to 20:00".
    pub peaks: Vec<String>,
    /// Lost for each hour without it.
    pub cost_per_hour: Option<Money>,
    /// What it has cost in all after so long, and what that means. By growing time; beside or instead of `cost_per_hour`.
    pub impacts: Vec<Impact>,
    /// Lost for each hour of data that doesn't come back.
    pub data_loss_cost_per_hour: Option<Money>,
    /// Paid once for each recovery, however long.
    pub recovery_cost: Option<Money>,
    /// After that the business doesn't come back to what it was (ISO 22301 calls it MTPD).
    pub maximum_tolerable_downtime: Option<Duration>,
    /// The groups that must run for it.
    pub groups: BTreeSet<String>,
    /// The processes that must run for it.
    pub depends_on: BTreeSet<String>,
    /// What people do meanwhile, in words.
    pub workaround: Option<String>,
}

/// What it means to be without a process for so long.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Impact {
    /// From the beginning.
    pub after: Duration,
    /// All that it has cost until then.
    pub cost: Option<Money>,
    /// "First customers go elsewhere".
    pub words: Option<String>,
}

/// What is promised: down for so long at most, and so much lost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// Recovery time objective.
    pub rto: Duration,
    /// Recovery point objective. Nought: nothing that was acknowledged.
    pub rpo: Duration,
}

/// A named class of objectives.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tier {
    /// What holds where nothing else is said.
    pub objective: Objective,
    /// What holds for one kind of disruption.
    pub by_disruption: BTreeMap<Disruption, Objective>,
    /// How old the last passed drill may be.
    pub drill_every: Option<Duration>,
    /// How it is meant to be met.
    pub strategy: Option<Strategy>,
    /// How critical, most first; dependencies may not be in a higher number. Order of the file's `rank`, else by RTO.
    pub rank: Option<u32>,
}

impl Tier {
    /// What is promised for this kind of disruption.
    pub fn objective(&self, disruption: Option<Disruption>) -> Objective {
        disruption.and_then(|kind| self.by_disruption.get(&kind)).copied().unwrap_or(self.objective)
    }
}

/// A protection group: workloads that are recovered together, in an order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// In words.
    pub title: Option<String>,
    /// A [`Tier`]. None: that of the most critical process that needs it.
    pub tier: Option<String>,
    /// Names of workloads of the configuration.
    pub workloads: BTreeSet<String>,
    /// Names of [`VendorStep`]s that belong to its recovery.
    pub vendor_steps: BTreeSet<String>,
    /// For each workload or vendor step, which others of the group come before.
    pub after: BTreeMap<String, BTreeSet<String>>,
    /// Queries, each of which returns true when the workload of that name is healthy again; besides its own `check`.
    pub health: BTreeMap<String, Vec<String>>,
}

/// Something that may happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Risk {
    /// In words: "the data centre burns".
    pub threat: String,
    /// Which kind of disruption it is.
    pub disruption: Disruption,
    /// How often.
    pub per_year: Likelihood,
    /// The processes that stop. Empty: all.
    pub processes: BTreeSet<String>,
    /// What is done against it.
    pub mitigation: Option<String>,
    /// A [`Person`].
    pub owner: Option<String>,
    /// When it was last looked at.
    pub reviewed: Option<Date>,
}

/// Times a year, as it was estimated. `low <= expected <= high`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Likelihood {
    /// At the least.
    pub low: f64,
    /// Most likely.
    pub expected: f64,
    /// At the most.
    pub high: f64,
}

/// Somebody who is called.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Person {
    /// The full name.
    pub name: String,
    /// Where mail arrives.
    pub email: Option<String>,
    /// Where a call arrives.
    pub phone: Option<String>,
    /// Another [`Person`], when this one doesn't answer.
    pub deputy: Option<String>,
    /// Program and arguments that reach them; the message comes on standard input, and the end of the program with success means: acknowledged.
    pub page: Option<Vec<String>>,
}

/// A function in a recovery: who decides, who does, who tells the customers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Role {
    /// In words: "decides whether to fail over".
    pub title: String,
    /// [`Person`]s, in the order in which they are called.
    pub people: Vec<String>,
    /// When nobody answered for so long, the next one is called.
    pub escalate_after: Option<Duration>,
}

/// What another system does: vSphere, Azure Site Recovery, Zerto, a script.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VendorStep {
    /// In words.
    pub title: String,
    /// What is run.
    pub action: VendorAction,
    /// What takes it back.
    pub undo: Option<VendorAction>,
    /// For each of the two.
    pub time_limit: Duration,
    /// What follows when it goes wrong.
    pub on_failure: OnFailure,
}

/// A call of somebody else's program or server.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VendorAction {
    /// Program and arguments; no shell.
    Command(Vec<String>),
    /// A request; which secrets go into its headers, the configuration knows.
    Http {
        /// `POST`.
        method: String,
        /// Without a secret in it.
        url: String,
        /// Sent as it is.
        body: Option<String>,
        /// By name; the values of secret ones are references, here their names.
        headers: BTreeMap<String, String>,
        /// What counts as done.
        expected_status: u16,
    },
}

/// What follows when a step goes wrong. There is no silent default: each step has one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run ends here, and is cleaned up.
    #[default]
    Stop,
    /// It is told, and the next step comes.
    Continue,
    /// What was done so far is taken back, last first.
    Rollback,
}

/// A rehearsal that is meant to take place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Drill {
    /// The scenario, built in or of the configuration.
    pub scenario: String,
    /// What it is done with: a workload, a [`Group`] or a cluster.
    pub target: Option<String>,
    /// None: as its tier says.
    pub every: Option<Duration>,
    /// A [`Person`] or [`Role`].
    pub owner: Option<String>,
    /// Who must agree before it begins; a [`Person`] or [`Role`].
    pub approver: Option<String>,
    /// [`Person`]s and [`Role`]s who take part.
    pub participants: BTreeSet<String>,
    /// What the scenario asks for, by name.
    pub with: BTreeMap<String, String>,
}
