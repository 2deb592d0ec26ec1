//! Servers of the place, and what they are asked.

use crate::canary::{Canary, said};
use crate::engine::{Rehearsal, Seen};
use crate::process::{Group, Network, Processes};
use crate::server;
use lifeboat_postgres::cluster::end_at_once;
use lifeboat_postgres::connection::{Client, SimpleQueryMessage};
use serde_json::Value;
use std::time::Duration;

/// A server that must not do something has had its chance after so long.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(3);

impl Rehearsal<'_> {
    /// Starts it, and shows that it can't reach anybody.
    pub(super) async fn start(&mut self, name: &str, limit: Duration) -> Seen {
        let Some(protected) = self.protected_of(name).cloned() else { return Seen::wrong("there is no workload") };
        // What it replays may still have to be fetched from production, over a network: the socket is private all the same.
        let fetches = self.paper.as_ref().map_or(self.around.production.is_remote, |paper| paper.is_remote);
        let network = if fetches { Network::Shared } else { self.processes.network };
        let processes = Processes { network, ..self.processes };
        let begun = std::time::Instant::now();
        let started = server::start(&self.place, &processes, (name, &protected), &self.around.search_path, limit).await;
        match started {
            Ok(child) => drop(self.servers.insert(name.to_owned(), child)),
            Err(error) => return Seen::wrong(error.to_string()),
        }
        let seconds = begun.elapsed().as_secs_f64();
        let client = match self.session(name, None).await {
            Ok(client) => client,
            Err(why) => return Seen::wrong(why),
        };
        let proofs = server::proofs(&client, name).await;
        let broken = proofs.iter().find(|proof| !proof.holds).map(|proof| format!("{}: {}", proof.tried, proof.seen));
        self.run().isolation.extend(proofs);
        if let Some(broken) = broken.filter(|_| self.scenario.isolated) {
            self.run().aborted = Some(format!("it is not isolated: {broken}"));
        }
        Seen::of(serde_json::json!({ "seconds": seconds }))
    }

    pub(super) async fn stop(&mut self, name: &str) -> Seen {
        let data_dir = self.place.data_dir(name);
        let child = self.servers.remove(name);
        let ended = tokio::task::spawn_blocking(move || end_at_once(&data_dir)).await;
        drop(child);
        match ended {
            Ok(Ok(true)) => Seen::default(),
            Ok(Ok(false)) => Seen::wrong("it does not run"),
            Ok(Err(error)) => Seen::wrong(error.to_string()),
            Err(error) => Seen::wrong(error.to_string()),
        }
    }

    /// A session with a server of the place.
    pub(crate) async fn session(&self, server: &str, database: Option<&str>) -> Result<Client, String> {
        let protected = self.protected_of(server).ok_or("there is no workload")?;
        let target = server::target(&self.place, server, protected).map_err(|error| error.to_string())?;
        let target = match database {
            Some(database) => target.with_database(database),
            None => target,
        };
        target.connect().await.map_err(|error| error.to_string())
    }

    /// What the statement's last row holds in its first column.
    pub(super) async fn sql(&self, server: &str, database: Option<&str>, query: &str) -> Seen {
        let client = match self.session(server, database).await {
            Ok(client) => client,
            Err(why) => return Seen::wrong(why),
        };
        match client.simple_query(query).await {
            Ok(messages) => {
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row.get(0).map_or(Value::Null, Value::from)),
                    _ => None,
                });
                Seen::of(rows.last().unwrap_or(Value::Null))
            }
            Err(error) => Seen::wrong(said(&error)),
        }
    }

    /// It holds when the server says no, doesn't answer, or isn't there.
    pub(super) async fn refused(&self, server: &str, query: &str, limit: Duration) -> Seen {
        let asked = async {
            let client = self.session(server, None).await?;
            client.simple_query(query).await.map_err(|error| said(&error))
        };
        match tokio::time::timeout(REFUSAL_PATIENCE.min(limit), asked).await {
            Ok(Ok(_)) => Seen::wrong("it was carried out"),
            Ok(Err(why)) => Seen::of(why),
            Err(_) => Seen::of("no answer"),
        }
    }

    pub(super) async fn begin_canary(&mut self, server: &str) -> Seen {
        let Some(protected) = self.protected_of(server) else { return Seen::wrong("there is no workload") };
        let target = match server::target(&self.place, server, protected) {
            Ok(target) => target,
            Err(error) => return Seen::wrong(error.to_string()),
        };
        match Canary::begin(&target, self.scenario.has_cluster()).await {
            Ok(canary) => {
                self.canary = Some(canary);
                Seen::default()
            }
            Err(why) => Seen::wrong(why),
        }
    }

    /// As a power failure does it: nobody gets to write anything.
    pub(super) fn kill(&mut self, name: &str) -> Result<(), String> {
        let child = self.servers.remove(name);
        // All of its group: its children would go on for a moment.
        drop(Group::of(child.as_ref()));
        end_at_once(&self.place.data_dir(name)).map(drop).map_err(|error| error.to_string())
    }
}
