//! Carries a scenario out: is it isolated, agreed to, steady? Then it breaks, is brought back, is measured; and is cleaned up, whatever came of it.

mod begin;
mod finish;
mod phases;
mod record;
pub(crate) use record::Seen;

use crate::act::Paper;
use crate::canary::{Canary, Write};
use crate::health::Watch;
use crate::hosts::Hosts;
use crate::journal::Journal;
use crate::loss::{Ends, Loss};
use crate::place::Place;
use crate::process::Processes;
use crate::scenario::{Scenario, Step};
use crate::surroundings::{Protected, Surroundings};
use crate::words::Meanings;
use jiff::Timestamp;
use lifeboat_plan::run::{Phase, Run};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::watch::Receiver;

/// Says how far it is, to whoever looks.
pub type Tell<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// A person who was called.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Called {
    /// Whom.
    pub person: String,
    /// When.
    pub called_at: Timestamp,
    /// When they answered. None: they didn't.
    pub answered_at: Option<Timestamp>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Rehearsed {
    /// The record.
    pub run: Run,
    /// Who was called.
    pub called: Vec<Called>,
    /// The place, when it stays.
    pub kept: Option<PathBuf>,
}

/// A step, and of which workload it is.
#[derive(Debug, Clone)]
pub struct Planned {
    /// Where it belongs.
    pub phase: Phase,
    /// What.
    pub step: Step,
    /// The workload, by its number in the order of recovery.
    pub workload: usize,
}

/// A step that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub planned: Planned,
    pub did: String,
    pub started_at: Timestamp,
}

/// Everything about the run that is going on.
pub(crate) struct Rehearsal<'a> {
    pub scenario: &'a Scenario,
    pub around: &'a Surroundings,
    pub tell: Tell<'a>,
    pub place: Place,
    pub processes: Processes,
    pub journal: Journal,
    /// Parameters, what steps kept, and what is always there.
    pub meanings: Meanings,
    pub current: Option<Current>,
    /// Numbers the files of what processes say.
    pub count: u32,
    pub servers: BTreeMap<String, Child>,
    /// Made only where the scenario has a cluster.
    pub hosts: Hosts,
    /// What was started in them and goes on.
    pub in_hosts: Vec<Child>,
    pub background: Vec<(Planned, Timestamp, Child)>,
    pub canary: Option<Canary>,
    pub writes: Vec<Write>,
    pub health: Option<Watch>,
    pub fault_at: Option<(Timestamp, Instant)>,
    /// Where the log of each workload ended when it was taken as lost, by its number.
    pub ends: BTreeMap<usize, Ends>,
    /// What was lost of each, as far as it was counted.
    pub losses: BTreeMap<usize, Loss>,
    /// Spent on counting it, which is no part of the recovery.
    pub counting: Duration,
    pub called: Vec<Called>,
    pub paper: Option<Paper>,
    /// Asked for the end.
    pub interrupt: Receiver<bool>,
}

impl Rehearsal<'_> {
    /// The record.
    pub fn run(&mut self) -> &mut Run {
        &mut self.journal.run
    }

    /// The workload of a server of the place.
    pub fn protected_of(&self, server: &str) -> Option<&Protected> {
        let all = &self.around.workloads;
        let found = all.iter().position(|one| {
            let names = server_names(one, all.len());
            names.iter().any(|name| name == server)
        });
        all.get(found.unwrap_or(0))
    }

    /// What placeholders mean for a step of this workload.
    pub fn meanings_of(&self, workload: usize) -> Meanings {
        let mut meanings = self.meanings.clone();
        let Some(protected) = self.around.workloads.get(workload) else { return meanings };
        let [copy, restored] = server_names(protected, self.around.workloads.len());
        let path = |server: &str| self.place.data_dir(server).display().to_string();
        let own = [
            ("workload", protected.name.clone()),
            ("database", protected.database.clone()),
            ("user", protected.user.clone()),
            ("copy_dir", path(&copy)),
            ("restored_dir", path(&restored)),
            ("copy_connection", self.place.connection(&copy, protected)),
            ("restored_connection", self.place.connection(&restored, protected)),
            ("copy", copy),
            ("restored", restored),
        ];
        meanings.extend(own.map(|(name, value)| (name.to_owned(), value)));
        meanings
    }
}

/// The servers of a workload in the place: a copy of production, and what is restored.
pub fn server_names(protected: &Protected, of: usize) -> [String; 2] {
    if of <= 1 {
        return ["copy".into(), "restored".into()];
    }
    [format!("{}-copy", protected.name), protected.name.clone()]
}

/// The steps in order, those for each workload repeated: together where they stand together.
pub fn plan(scenario: &Scenario, workloads: usize) -> Vec<Planned> {
    let mut planned = Vec::new();
    for (phase, steps) in &scenario.phases {
        let mut rest = &steps[..];
        while let Some(first) = rest.first() {
            let together = rest.iter().take_while(|step| step.each == first.each).count();
            let (block, after) = rest.split_at(together);
            let times = if first.each { workloads } else { 1 };
            for workload in 0..times {
                planned.extend(block.iter().map(|step| Planned { phase: *phase, step: step.clone(), workload }));
            }
            rest = after;
        }
    }
    planned
}

/// Carries it out. Never fails: what went wrong is in the record.
pub async fn rehearse(
    scenario: &Scenario,
    parameters: &BTreeMap<String, String>,
    around: &Surroundings,
    tell: Tell<'_>,
    interrupt: Receiver<bool>,
) -> Rehearsed {
    let mut rehearsal = Rehearsal::new(scenario, parameters, around, tell, interrupt).await;
    match rehearsal.begin(parameters).await {
        Ok(()) => rehearsal.carry_out().await,
        Err(why) => {
            tell(&format!("refused: {why}"));
            rehearsal.run().refused = Some(why);
        }
    }
    rehearsal.finish().await
}
