//! What clients did: each insert with when it was asked for, when it ended, and how.

use std::time::Duration;

/// How an insert ended, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Acknowledged, by the server that says so and on the timeline that it then had.
    Ok { server: usize, timeline: u32 },
    /// The server refused the statement: it is certainly not there.
    Refused { code: String },
    /// The connection was lost, or nothing came in time: it may be there or not.
    Unknown { why: String },
}

/// One insert. `(client, number)` is its row, and no other has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    pub client: i32,
    pub number: i32,
    /// Since the world's beginning, by one clock for all clients.
    pub asked: Duration,
    pub ended: Duration,
    pub outcome: Outcome,
}

impl Operation {
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok { .. })
    }

    pub fn row(&self) -> (i32, i32) {
        (self.client, self.number)
    }
}
