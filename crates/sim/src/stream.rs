//! What databases say to each other: log, from the one that is followed to the one that follows.

use crate::database::Entry;
use lifeboat_failover::{History, Position};

/// One message of a replication connection. `connection` tells it from those of connections that were cut.
#[derive(Debug, Clone)]
pub(crate) enum Stream {
    /// "Send me what comes after this."
    Connect { connection: u64, position: Position },
    /// "You have what I haven't: take it away first." What is common ends here.
    Diverged { connection: u64, history: History },
    /// Log from this offset; none, to say that the connection lives.
    Log { connection: u64, start: usize, entries: Vec<Entry>, history: History },
    /// "I have it durably up to here."
    Confirm { connection: u64, position: Position },
}
