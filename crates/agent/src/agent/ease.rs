//! Before a handover, while clients still write: most of what a stop would have to write out is written out.
//!
//! A server that stops in good order makes a checkpoint, and nobody can write while it does: minutes, where much of a large memory is dirty.
//! After one that was made just before, it has seconds' worth of pages left.

use super::Agent;
use crate::clock;
use lifeboat_failover::{Command, Event};
use lifeboat_postgres::connection::Target;
use std::time::Duration;

/// A checkpoint that takes longer isn't waited for: what it has written by then needn't be written again.
const CHECKPOINT_WITHIN: Duration = Duration::from_secs(60);

impl Agent {
    /// Hands the command to the member: at once, or after a checkpoint when it will hand over.
    pub(super) fn take_command(&mut self, command: Command) -> Option<Event> {
        let number = self.commands;
        let event = Event::Command { number, command: command.clone() };
        let Command::Switchover { to } = command else { return Some(event) };
        // What it refuses, it refuses before anything is done.
        let refused = self.member.may_hand_over(clock::now(), to.as_ref()).is_err();
        let Some(database) = self.settings.database.as_ref().filter(|_| !refused) else { return Some(event) };
        let (local, events) = (database.local.clone(), self.events.0.clone());
        self.tell("handover", "a checkpoint is made first, while clients write on".to_owned());
        tokio::spawn(async move {
            checkpoint(&local).await;
            // Nobody waits for it when the agent has ended.
            let _ = events.send(event);
        });
        None
    }
}

/// One that fails makes the stop slower, nothing worse.
async fn checkpoint(local: &Target) {
    let made = async {
        let client = local.connect().await.map_err(|error| error.to_string())?;
        client.batch_execute("checkpoint").await.map_err(|error| error.to_string())
    };
    match tokio::time::timeout(CHECKPOINT_WITHIN, made).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "no checkpoint before the handover"),
        Err(_) => {
            tracing::warn!(seconds = CHECKPOINT_WITHIN.as_secs(), "the checkpoint before the handover takes long")
        }
    }
}
