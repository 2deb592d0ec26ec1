//! Before it begins: the place, and the proofs that nothing outside it can be reached.

use super::{Rehearsal, Tell, server_names};
use crate::cluster;
use crate::hosts::Hosts;
use crate::isolation;
use crate::journal::Journal;
use crate::place::{Place, random_text};
use crate::process::{Processes, began_at};
use crate::scenario::{Action, Scenario, Step, With};
use crate::surroundings::Surroundings;
use crate::words::Meanings;
use jiff::{SignedDuration, Timestamp};
use lifeboat_plan::run::{Measured, Run, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch::Receiver;

/// Added to the time limit: from then on anybody may take the place away.
const CLEANUP_PATIENCE_MINUTES: i64 = 15;
/// Characters of the id that come from chance.
const CHANCE_LENGTH: usize = 6;

impl<'a> Rehearsal<'a> {
    pub(super) async fn new(
        scenario: &'a Scenario,
        parameters: &BTreeMap<String, String>,
        around: &'a Surroundings,
        tell: Tell<'a>,
        interrupt: Receiver<bool>,
    ) -> Self {
        let now = Timestamp::now();
        let chance: String = random_text().unwrap_or_default().chars().take(CHANCE_LENGTH).collect();
        let id = format!("{}-{chance}", now.strftime("%Y%m%d%H%M%S"));
        let place = Place::new(&around.scratch_dir, &id, around.account);
        let limit = SignedDuration::try_from(scenario.time_limit).unwrap_or(SignedDuration::from_hours(24));
        let expires_at = now
            .saturating_add(limit)
            .and_then(|at| at.saturating_add(SignedDuration::from_mins(CLEANUP_PATIENCE_MINUTES)));
        let process = std::process::id();
        let journal = Journal {
            id: id.clone(),
            place: place.directory().to_path_buf(),
            process: (process, began_at(process).unwrap_or_default()),
            expires_at: expires_at.unwrap_or(Timestamp::MAX),
            background: Vec::new(),
            undo: Vec::new(),
            run: empty_run(scenario, around, id, now),
        };
        let processes = Processes::look(around.own_network && scenario.isolated, around.account).await;
        let meanings = meanings(scenario, parameters, around, &place, &journal.id);
        let hosts = Hosts::new(&journal.id);
        Self {
            scenario,
            around,
            tell,
            place,
            processes,
            journal,
            meanings,
            current: None,
            count: 0,
            servers: BTreeMap::new(),
            hosts,
            in_hosts: Vec::new(),
            background: Vec::new(),
            canary: None,
            writes: Vec::new(),
            health: None,
            fault_at: None,
            ends: BTreeMap::new(),
            losses: BTreeMap::new(),
            counting: Duration::ZERO,
            called: Vec::new(),
            paper: None,
            interrupt,
        }
    }

    /// Everything that must hold before anything breaks.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) async fn begin(&mut self, parameters: &BTreeMap<String, String>) -> Result<(), String> {
        if let Some(unknown) = parameters.keys().find(|name| !self.scenario.parameters.contains_key(*name)) {
            let known: Vec<&str> = self.scenario.parameters.keys().map(String::as_str).collect();
            return Err(format!("the scenario asks for nothing called {unknown}; it asks for: {}", known.join(", ")));
        }
        let missing = self.scenario.parameters.iter().find(|(name, _)| !self.meanings.contains_key(*name));
        if let Some((name, parameter)) = missing {
            return Err(format!("{name} is not given: {}", parameter.title));
        }
        if self.scenario.has_cluster() {
            cluster::needed(&self.around.search_path, self.around.own_network)?;
        }
        if self.scenario.isolated {
            let proofs = isolation::paths(self.place.directory(), &self.around.production);
            self.run().isolation.extend(proofs);
            self.refuse_unless_isolated()?;
        }
        self.agree().await?;
        self.make_place()?;
        if self.scenario.has_cluster() {
            self.hosts.make().map_err(|why| format!("hosts can't be made: {why}"))?;
        }
        if self.scenario.isolated {
            let mut proofs = isolation::addresses(&self.place, &self.processes, self.around).await;
            if self.scenario.has_cluster() {
                proofs.extend(isolation::hosts(&self.place, &self.processes, &self.hosts, self.around).await);
            }
            proofs.push(isolation::configuration(&self.place));
            self.run().isolation.extend(proofs);
            self.refuse_unless_isolated()?;
            let count = self.run().isolation.len();
            (self.tell)(&format!("isolated: {count} proofs"));
        }
        Ok(())
    }

    fn refuse_unless_isolated(&mut self) -> Result<(), String> {
        let not = self.run().isolation.iter().find(|proof| !proof.holds);
        not.map_or(Ok(()), |proof| Err(format!("it is not isolated: {}: {}", proof.tried, proof.seen)))
    }

    /// Whoever must agree has agreed.
    async fn agree(&mut self) -> Result<(), String> {
        let Some(approver) = self.around.approver.clone() else { return Ok(()) };
        let question = format!("may {} be rehearsed now?", self.scenario.name);
        let limit = self.scenario.time_limit;
        let begun = std::time::Instant::now();
        let by = tokio::time::timeout(limit, self.ask(&question, Some(&approver))).await;
        let by = by.map_err(|_| format!("{approver} did not agree in time"))??;
        self.run().measured.approval_seconds = Some(begun.elapsed().as_secs_f64());
        self.run().approved_by = Some(by);
        Ok(())
    }

    fn make_place(&mut self) -> Result<(), String> {
        let directory = &self.around.journal_dir;
        self.journal
            .write(directory)
            .map_err(|error| format!("write the journal in {}: {error}", directory.display()))?;
        let count = self.around.workloads.len();
        let server_of = |protected: &_| {
            let [copy, _] = server_names(protected, count);
            copy
        };
        let made = self.place.make(&self.around.workloads, server_of);
        made.map_err(|error| format!("make {}: {error}", self.place.directory().display()))?;
        let Some(file) = self.meanings.get("escrow_file").cloned() else { return Ok(()) };
        self.give_escrow(&file)
    }

    /// The real configuration, with another passphrase.
    fn give_escrow(&self, file: &str) -> Result<(), String> {
        let secret =
            std::fs::read_to_string(file).map_err(|error| format!("read the escrowed passphrase {file}: {error}"))?;
        let written = self.place.write("escrow", &secret, 0o600);
        written.map_err(|error| format!("write the escrowed passphrase: {error}"))?;
        let is_escrow = |step: &Step| matches!(step.action, Action::Lifeboat { with: With::Escrow, .. });
        if !self.scenario.phases.values().flatten().any(is_escrow) {
            return Ok(());
        }
        let text =
            std::fs::read_to_string(&self.around.config).map_err(|error| format!("read the configuration: {error}"))?;
        let mut table: toml::Table =
            toml::from_str(&text).map_err(|error| format!("read the configuration: {error}"))?;
        let path = toml::Value::from(self.place.path("escrow").display().to_string());
        let passphrase: toml::Table = [("file".to_owned(), path)].into_iter().collect();
        let encryption: toml::Table = [("passphrase".to_owned(), passphrase.into())].into_iter().collect();
        table.insert("encryption".into(), encryption.into());
        // A restore needs no plan, and what is named beside the real file isn't beside this one.
        table.remove("include");
        // Nothing of this machine's: no state, no passphrase.
        table.insert("state_dir".into(), self.place.path("escrow-state").display().to_string().into());
        let text = toml::to_string(&table).map_err(|error| format!("write the configuration: {error}"))?;
        self.place.write("escrow.toml", &text, 0o600).map_err(|error| format!("write the configuration: {error}"))
    }
}

fn meanings(
    scenario: &Scenario,
    parameters: &BTreeMap<String, String>,
    around: &Surroundings,
    place: &Place,
    id: &str,
) -> Meanings {
    let defaults =
        scenario.parameters.iter().filter_map(|(name, parameter)| Some((name.clone(), parameter.default.clone()?)));
    let mut meanings: Meanings = defaults.collect();
    meanings.extend(parameters.clone());
    let names: Vec<&str> = around.workloads.iter().map(|one| one.name.as_str()).collect();
    let always = [
        ("id", id.to_owned()),
        ("place", place.directory().display().to_string()),
        ("program", around.program.display().to_string()),
        ("workloads", names.join(",")),
        ("vault", place.path("vault").display().to_string()),
        ("second", place.path("second").display().to_string()),
    ];
    meanings.extend(always.map(|(name, value)| (name.to_owned(), value)));
    meanings
}

fn empty_run(scenario: &Scenario, around: &Surroundings, id: String, now: Timestamp) -> Run {
    let mut does_not_show = scenario.does_not_show.clone();
    let left_out = around
        .left_out
        .iter()
        .map(|step| format!("that the vendor step {step} works: it was left out, because it acts outside the place"));
    does_not_show.extend(left_out);
    let expects_alert = scenario.phases.values().flatten().any(|step| step.alert);
    Run {
        id,
        scenario: scenario.name.clone(),
        scenario_hash: blake3::hash(scenario.text.as_bytes()).to_hex().to_string(),
        drill: around.drill.clone(),
        disruption: scenario.disruption,
        workloads: around.workloads.iter().map(|one| one.name.clone()).collect(),
        group: around.group.clone(),
        requested_by: around.requested_by.clone(),
        approved_by: None,
        participants: around.participants.clone(),
        started_at: now,
        ended_at: now,
        promised: around.promised.clone(),
        configuration_hash: around.configuration_hash.clone(),
        versions: around.versions.clone(),
        host: around.host.clone(),
        point: None,
        location: None,
        isolation: Vec::new(),
        steps: Vec::new(),
        measured: Measured::default(),
        alert_seen: expects_alert.then_some(false),
        aborted: None,
        refused: None,
        verdict: Verdict::Refused,
        learnt: Vec::new(),
        does_not_show,
    }
}
