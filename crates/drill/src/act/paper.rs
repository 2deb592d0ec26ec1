//! Following the runbook from a location's own copy, as somebody does who has nothing else.

use crate::engine::{Planned, Rehearsal, Seen};
use crate::paper::{self, Found, Instructions};
use crate::process::{Network, Who};
use crate::scenario::{PaperStep, With};
use jiff::Timestamp;
use lifeboat_plan::run::{Isolation, Phase};
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// What somebody holds in their hand.
#[derive(Debug, Clone)]
pub(crate) struct Paper {
    pub location: String,
    /// The location is read over a network.
    pub is_remote: bool,
    pub found: Found,
    /// Filled in for the place.
    pub typed: Option<Instructions>,
}

impl Rehearsal<'_> {
    pub(super) async fn paper(&mut self, planned: &Planned, step: PaperStep, on: &str, limit: Duration) -> Seen {
        match step {
            PaperStep::Read => match self.read_paper(on, limit).await {
                Ok(seen) => seen,
                Err(why) => Seen::wrong(why),
            },
            PaperStep::Configure => self.configure_from_paper(planned).unwrap_or_else(Seen::wrong),
            PaperStep::Points | PaperStep::Restore => {
                let typed = self.paper.as_ref().and_then(|paper| paper.typed.clone());
                let Some(typed) = typed else { return Seen::wrong("the runbook's configuration was not written down") };
                let words = if step == PaperStep::Points { typed.points } else { typed.restore };
                self.lifeboat(planned, &words, With::Copy, limit).await
            }
        }
    }

    /// Index, hash, Markdown.
    async fn read_paper(&mut self, on: &str, limit: Duration) -> Result<Seen, String> {
        let copies = &self.around.copies;
        let found = if on.is_empty() { copies.first() } else { copies.iter().find(|(name, _)| name == on) };
        let (location, directory) = found.cloned().ok_or_else(|| match on {
            "" => "the workload has no location".to_owned(),
            on => format!("the workload has no location {on}"),
        })?;
        let is_remote = directory.is_none();
        let directory = match directory {
            Some(directory) => directory,
            None => self.fetch_paper(&location, limit).await?,
        };
        let found = tokio::task::spawn_blocking(move || paper::read(&directory)).await;
        let found = found.map_err(|error| error.to_string())?.map_err(|why| format!("location {location}: {why}"))?;
        if is_remote || self.processes.network == Network::Shared {
            let not = "that it can be done without DNS: the network of this machine was there".to_owned();
            self.run().does_not_show.push(not);
        }
        if found.runbook_hash != self.around.runbook_hash {
            return Err(format!(
                "location {location}: the runbook of {} is of another configuration; `lifeboat plan runbook --publish` brings today's there",
                found.made_at
            ));
        }
        let value = json!({"location": location, "index": found.index, "file": found.file, "made_at": found.made_at});
        self.paper = Some(Paper { location, is_remote, found, typed: None });
        Ok(Seen::of(value))
    }

    /// From where it can't be read as a directory. The address and the credentials are ours; what is read are that location's bytes.
    async fn fetch_paper(&mut self, location: &str, limit: Duration) -> Result<PathBuf, String> {
        let to = self.place.path("paper");
        let mut command = self.shared().command(&self.around.program, Who::Ourselves);
        command
            .arg("--config")
            .arg(&self.around.config)
            .args(["drill", "paper", "--location", location, "--to"])
            .arg(&to);
        let ended = self.run_to_end(command, limit).await.map_err(|seen| seen.wrong.unwrap_or_default())?;
        let not = format!(
            "that the runbook can be fetched from location {location} without this machine: the credentials for that were its own"
        );
        self.run().does_not_show.push(not);
        if ended.code == Some(0) { Ok(to) } else { Err(format!("read location {location}: {}", ended.said())) }
    }

    /// The paper's configuration and commands, filled in for the place. Everything that differs from the paper is written down.
    fn configure_from_paper(&mut self, planned: &Planned) -> Result<Seen, String> {
        let started_at = Timestamp::now();
        let meanings = self.meanings_of(planned.workload);
        let meaning = |name: &str| meanings.get(name).cloned().unwrap_or_default();
        let paper = self.paper.as_ref().ok_or("the runbook was not read")?;
        let (location, text) = (paper.location.clone(), &paper.found.text);
        let said = paper::instructions(text, &location, &meaning("workload"))?;
        let (escrow, state) = (self.place.path("escrow"), self.place.path("from-copy-state"));
        let (configuration, mut changed) = {
            let given = meaning("credentials_dir");
            paper::configuration(&said.configuration, &escrow, &state, &|name| self.credential(&given, name))?
        };
        let (restore, more) = paper::restore_to(&said.restore, &meaning("restored_dir"))?;
        changed.extend(more);
        let written = self.place.write("from-copy.toml", &configuration, 0o600);
        written.map_err(|error| format!("write from-copy.toml: {error}"))?;
        let proof = self.names_nothing_else(&location, &configuration);
        let (seen, holds) = (proof.seen.clone(), proof.holds);
        self.run().isolation.push(proof);
        if !holds {
            return Err(format!("the runbook's configuration names more than its location: {seen}"));
        }
        for (on_paper, here) in changed {
            self.note_own(Phase::Recovery, &format!("on the paper: {on_paper}; here: {here}"), started_at, None);
        }
        let typed = Instructions { configuration, points: said.points, restore };
        for words in [&typed.points, &typed.restore] {
            let name = format!("as the paper says: lifeboat {}", words.join(" "));
            self.note_own(Phase::Recovery, &name, started_at, None);
        }
        if let Some(paper) = &mut self.paper {
            paper.typed = Some(typed);
        }
        Ok(Seen::default())
    }

    /// A file with what opens a store, copied out of the safe into the place, where only the servers' account can read it.
    fn credential(&self, given: &str, name: &str) -> Result<PathBuf, String> {
        if given.is_empty() {
            return Err(format!(
                "the runbook wants {name} of the location's store; give a directory in which it lies as it came out of the safe: --with credentials_dir=DIR"
            ));
        }
        let from = std::path::Path::new(given).join(name);
        let secret = std::fs::read_to_string(&from).map_err(|error| format!("read {}: {error}", from.display()))?;
        let copy = format!("safe-{name}");
        self.place.write(&copy, &secret, 0o600).map_err(|error| format!("write {copy}: {error}"))?;
        Ok(self.place.path(&copy))
    }

    /// That nothing of production is in it but the one location.
    fn names_nothing_else(&self, location: &str, configuration: &str) -> Isolation {
        let own = format!("location {location}");
        let paths = self.around.production.paths.iter().filter(|(what, _)| *what != own);
        let named = paths
            .filter(|(_, path)| configuration.contains(&format!("{}\"", path.display())))
            .map(|(what, _)| what.clone());
        let named: Vec<String> = named.collect();
        Isolation {
            tried: "the configuration out of the runbook, for anything of production but its location".into(),
            seen: if named.is_empty() { "nothing".into() } else { named.join(", ") },
            holds: named.is_empty(),
        }
    }
}
