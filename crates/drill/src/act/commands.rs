//! Commands: ours, as somebody would type them, and others'.

use crate::cluster::clients_config;
use crate::engine::{Planned, Rehearsal, Seen};
use crate::hosts::CLIENTS;
use crate::process::{Ended, Network, Processes, Who, began_at, run, which};
use crate::scenario::With;
use jiff::Timestamp;
use lifeboat_plan::model::VendorAction;
use lifeboat_plan::run::Run;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// Those that mount something: where we are root, only root may.
const MOUNTING: [&str; 3] = ["rescue", "open", "close"];

impl Rehearsal<'_> {
    /// A command of ours.
    pub(super) async fn lifeboat(&mut self, planned: &Planned, words: &[String], with: With, limit: Duration) -> Seen {
        let verb = words.first().map(String::as_str).unwrap_or_default();
        let mut words = words.to_vec();
        if verb == "restore" {
            match self.tablespaces_aside(&words, with, limit).await {
                Ok(more) => words.extend(more),
                Err(seen) => return seen,
            }
        }
        let mut command = self.our_command(&words, with);
        if planned.step.background {
            return self.leave_running(planned, command);
        }
        command.args(["--json", "--quiet"]);
        let ended = match self.run_to_end(command, limit).await {
            Ok(ended) => ended,
            Err(seen) => return seen,
        };
        let seen = judged(planned, &ended);
        if seen.wrong.is_none() && verb == "restore" {
            note_restore(self.run(), &seen.value, with);
        }
        seen
    }

    pub(super) fn our_command(&self, words: &[String], with: With) -> Command {
        let verb = words.first().map(String::as_str).unwrap_or_default();
        let config = match with {
            With::Place => self.place.config(),
            With::Production => self.around.config.clone(),
            With::Escrow => self.place.path("escrow.toml"),
            With::Copy => self.place.path("from-copy.toml"),
            With::Cluster => clients_config(&self.place),
        };
        if with == With::Cluster {
            let mut command = self.in_host(CLIENTS, &self.around.program);
            command.arg("--config").arg(config).args(words);
            return command;
        }
        let who = match with {
            With::Place if !MOUNTING.contains(&verb) => Who::Servers,
            _ => Who::Ourselves,
        };
        // A mount made by somebody without rights needs a helper that a network of one's own would take away.
        let is_helped = MOUNTING.contains(&verb) && self.processes.network == Network::OwnAsUser;
        let is_apart = match with {
            With::Place => !is_helped,
            // Whoever has only the paper has no network of ours either, unless the location is there.
            With::Copy => self.paper.as_ref().is_some_and(|paper| !paper.is_remote),
            With::Production | With::Escrow | With::Cluster => false,
        };
        let processes = if is_apart { self.processes } else { self.shared() };
        let mut command = processes.command(&self.around.program, who);
        command.arg("--config").arg(config).args(words);
        command
    }

    pub(super) fn shared(&self) -> Processes {
        Processes { network: Network::Shared, ..self.processes }
    }

    /// Tablespaces go where they were unless it is said where else; in production they are.
    async fn tablespaces_aside(&mut self, words: &[String], with: With, limit: Duration) -> Result<Vec<String>, Seen> {
        let mut command = self.our_command(words, with);
        command.args(["--dry-run", "--json", "--quiet"]);
        let ended = self.run_to_end(command, limit).await?;
        if ended.code != Some(0) {
            // The real one says why, and whether that is right.
            return Ok(Vec::new());
        }
        let document = ended.value();
        let steps = document["steps"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let oids =
            steps.filter_map(|step| step.strip_prefix("write tablespace ")?.split(' ').next()?.parse::<u32>().ok());
        self.count += 1;
        let number = self.count;
        let place = self.place.path("tablespaces");
        Ok(oids
            .flat_map(|oid| ["--tablespace".to_owned(), format!("{oid}={}/{number}-{oid}", place.display())])
            .collect())
    }

    /// Somebody else's program.
    pub(super) async fn command(&mut self, planned: &Planned, words: &[String], limit: Duration) -> Seen {
        let processes = if self.scenario.isolated { self.processes } else { self.shared() };
        let Some((program, arguments)) = words.split_first() else { return Seen::wrong("there is no program") };
        let mut command = processes.command(Path::new(program), Who::Servers);
        command.args(arguments);
        if planned.step.background {
            return self.leave_running(planned, command);
        }
        match self.run_to_end(command, limit).await {
            Ok(ended) => judged(planned, &ended),
            Err(seen) => seen,
        }
    }

    pub(super) async fn run_to_end(&mut self, command: Command, limit: Duration) -> Result<Ended, Seen> {
        self.count += 1;
        let name = format!("{:03}", self.count);
        run(&self.place, command, &name, limit).await.map_err(|error| Seen::wrong(error.to_string()))
    }

    /// It goes on until the cleanup.
    fn leave_running(&mut self, planned: &Planned, mut command: Command) -> Seen {
        let spawned = self
            .place
            .log(&log_name(planned))
            .and_then(|(_, log)| command.stdout(log.try_clone()?).stderr(log).spawn());
        match spawned {
            Ok(child) => {
                let id = child.id().unwrap_or_default();
                self.journal.background.extend(began_at(id).map(|began| (id, began)));
                self.background.push((planned.clone(), Timestamp::now(), child));
                Seen::default()
            }
            Err(error) => Seen::wrong(error.to_string()),
        }
    }

    /// The end of what something in the background said.
    pub(crate) fn last_words(&self, planned: &Planned) -> String {
        let path = self.place.path("logs").join(log_name(planned));
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        crate::scenario::tolerance::brief(&lines[lines.len().saturating_sub(3)..].join("; "))
    }

    /// A step that another system does.
    pub(super) async fn vendor_step(&mut self, planned: &Planned, name: &str, limit: Duration) -> Seen {
        if self.scenario.isolated {
            return Seen::wrong("it acts outside the place, and the scenario is isolated");
        }
        let Some(step) = self.around.plan.vendor_steps.get(name) else {
            return Seen::wrong(format!("the plan has no vendor step {name}"));
        };
        let (action, undo, limit) = (step.action.clone(), step.undo.clone(), step.time_limit.min(limit));
        let seen = match &action {
            VendorAction::Command(words) => self.command(planned, words, limit).await,
            VendorAction::Http { method, url, body, headers, expected_status } => {
                let seen = super::network::http(method, url, body.as_deref(), headers, limit).await;
                let is_right = seen.value["status"] == *expected_status;
                let wrong = (!is_right).then(|| format!("status {}; expected {expected_status}", seen.value["status"]));
                Seen { wrong: seen.wrong.clone().or(wrong), ..seen }
            }
        };
        match undo {
            Some(VendorAction::Command(words)) => self.journal.undo.push(words),
            Some(VendorAction::Http { method, url, .. }) => {
                let curl = which("curl", &self.around.search_path).unwrap_or_else(|| PathBuf::from("curl"));
                let words =
                    [&curl.display().to_string(), "-fsS", "-X", &method, &url].map(|word: &str| word.to_owned());
                self.journal.undo.push(words.into());
            }
            None => {}
        }
        self.write_journal();
        seen
    }
}

fn log_name(planned: &Planned) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    format!("background-{}-{}.log", planned.workload, planned.step.name.chars().map(plain).collect::<String>())
}

fn judged(planned: &Planned, ended: &Ended) -> Seen {
    let wanted = planned.step.exit_code.unwrap_or(0);
    let wrong = match ended.code {
        _ if ended.is_late => Some("it was still running".to_owned()),
        Some(code) if code == wanted => None,
        Some(code) => Some(format!("exit code {code}; expected {wanted}: {}", ended.said())),
        None => Some("a signal ended it".to_owned()),
    };
    Seen { value: ended.value(), wrong, hash: Some(ended.hash.clone()), by: None, is_late: ended.is_late }
}

/// Where it came from, and how much.
fn note_restore(run: &mut Run, document: &Value, with: With) {
    let text = |key: &str| document[key].as_str().map(str::to_owned);
    if with != With::Place || run.point.is_none() {
        run.point = text("point").or(run.point.take());
        run.location = text("location").or(run.location.take());
    }
    let measured = &mut run.measured;
    measured.restore_seconds = document["seconds"].as_f64().or(measured.restore_seconds);
    measured.bytes = document["bytes"].as_u64().or(measured.bytes);
}
