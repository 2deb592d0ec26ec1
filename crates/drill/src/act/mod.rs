//! Doing one step: a command, a question, a server, a person, or something that breaks.

mod asking;
pub mod attack;
mod cluster;
mod commands;
mod faults;
mod loss;
mod network;
mod paper;
mod servers;

pub(crate) use paper::Paper;

pub use asking::{Answer, Question, answer, questions};
pub use faults::{ASSUMED_LOSS, FAULTS};
pub use network::reach;

use crate::engine::{Planned, Rehearsal, Seen};
use crate::scenario::Action;
use std::time::Duration;

impl Rehearsal<'_> {
    /// Does it. What goes wrong is in what was seen.
    pub(crate) async fn act(&mut self, planned: &Planned, action: &Action, limit: Duration) -> Seen {
        match action {
            Action::Lifeboat { words, with } => self.lifeboat(planned, words, *with, limit).await,
            Action::Command(words) => self.command(planned, words, limit).await,
            Action::Sql { server, database, query } => {
                let server = self.server_name(server, planned.workload);
                self.sql(&server, database.as_deref(), query).await
            }
            Action::Refused { server, query } => self.refused(server, query, limit).await,
            Action::Http { method, url, body, headers } => {
                network::http(method, url, body.as_deref(), headers, limit).await
            }
            Action::Tcp(address) => network::tcp(address).await,
            Action::Start(server) => {
                let server = self.server_name(server, planned.workload);
                self.start(&server, limit).await
            }
            Action::Stop(server) => {
                let server = self.server_name(server, planned.workload);
                self.stop(&server).await
            }
            Action::Cluster(server) => self.begin_cluster(server, limit).await,
            Action::Canary(server) => {
                let server = self.server_name(server, planned.workload);
                self.begin_canary(&server).await
            }
            Action::Count(server) => {
                let server = self.server_name(server, planned.workload);
                self.count(&server).await
            }
            Action::Loss(server) => {
                let server = self.server_name(server, planned.workload);
                self.count_loss(&server, planned.workload).await
            }
            Action::Ask { question, of } => self.ask_step(question, of.as_deref()).await,
            Action::Page(role) => self.page(role).await,
            Action::Fault { name, on } => self.fault(planned, name, on, limit).await,
            Action::VendorStep(name) => self.vendor_step(planned, name, limit).await,
            Action::Paper { step, on } => self.paper(planned, *step, on, limit).await,
        }
    }

    /// `copy` and `restored` are those of the step's workload.
    fn server_name(&self, text: &str, workload: usize) -> String {
        self.meanings_of(workload)
            .get(text)
            .filter(|_| ["copy", "restored"].contains(&text))
            .cloned()
            .unwrap_or_else(|| text.to_owned())
    }
}
