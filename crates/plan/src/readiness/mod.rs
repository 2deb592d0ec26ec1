//! Would a recovery succeed, if it had to begin now? A list of checks, each of which compares what was observed with what was promised.
//!
//! Promise: what wasn't seen never passes. A check without a threshold of the plan uses a default and says so. Each check has a test in
//! which it must fail, and there is no check without one.
//!
//! Not here: observing. Somebody else asks servers, stores and the ledger, and brings what they said ([`Observed`]).

mod answer;
mod catalogue;
mod governance;
mod limits;
mod memory;
pub mod observed;
mod of_copies;
mod of_failover;
mod of_governance;
mod of_locations;
mod of_server;
mod overall;
mod proof;

pub use answer::{
    Answer, Aspect, Check, Comparator, Evidence, Figure, Group, Opinion, Reading, Seen, Severity, Status,
};
pub use catalogue::{CHECKS, check};
pub use governance::{FromRuns, PROGRAM, findings_open, governance, group_drills, groups_seen};
pub use limits::{Limit, Limits};
pub use memory::{Memory, Remembered};
pub use observed::Observed;
pub use overall::{Overall, Score, Share, overall};
pub use proof::{Expired, Proof, Stamp};

/// Asks every check of these groups (all when empty), in the order of the catalogue.
pub fn assess(observed: &Observed, groups: &[Group]) -> Vec<Answer> {
    let meant = CHECKS.iter().filter(|check| groups.is_empty() || groups.contains(&check.group));
    meant.flat_map(|check| (check.judge)(observed).into_iter().map(|reading| check.answer(reading))).collect()
}

#[cfg(test)]
mod tests;
