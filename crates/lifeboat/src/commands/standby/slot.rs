//! The slot on the primary: made first, so that nothing is missing later, and taken away when nothing came of it.
//!
//! A slot that nobody uses keeps log until the primary's disk is full.

use crate::output::Output;
use lifeboat_postgres::connection::Target;
use lifeboat_postgres::replication::ReplicationClient;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Taking it away is one short command.
const PATIENCE: Duration = Duration::from_secs(10);

/// A slot that goes again unless it is kept.
#[derive(Clone)]
pub struct SlotHold {
    pub name: String,
    /// It was not there before.
    pub is_new: bool,
    primary: Target,
    /// Nobody takes it away twice.
    is_done: Arc<AtomicBool>,
}

impl SlotHold {
    pub async fn take(
        client: &mut ReplicationClient,
        primary: &Target,
        name: &str,
    ) -> lifeboat_postgres::connection::Result<Self> {
        let is_new = client.create_slot_if_missing(name).await?;
        Ok(Self { name: name.to_owned(), is_new, primary: primary.clone(), is_done: Arc::default() })
    }

    /// The standby is there, and needs it.
    pub fn keep(&self) {
        self.is_done.store(true, Ordering::SeqCst);
    }

    /// Nothing came of it: takes it away, if it is ours.
    pub async fn give_up(&self, output: &Output) {
        if !self.is_new || self.is_done.swap(true, Ordering::SeqCst) {
            return;
        }
        let drop = async {
            let mut client = ReplicationClient::connect(&self.primary).await?;
            client.drop_slot(&self.name).await
        };
        let name = &self.name;
        match tokio::time::timeout(PATIENCE, drop).await {
            Ok(Ok(())) => output.tell(&format!("slot {name}, which was made for it, is gone again")),
            Ok(Err(error)) => output.warn(&still_there(name, &error.to_string())),
            Err(_) => output.warn(&still_there(name, "the primary doesn't answer")),
        }
    }
}

fn still_there(name: &str, why: &str) -> String {
    format!("slot {name} is still on the primary and fills its disk ({why}): select pg_drop_replication_slot('{name}')")
}
