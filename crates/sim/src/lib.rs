//! A world for `failover` in which everything goes wrong on purpose, and the same way each time for the same seed.
//!
//! Members, databases, a lease store, networks, clocks and clients, all made up; only [`lifeboat_failover::Member`] is the real one. One
//! thread, one queue of happenings, one source of random numbers: a failure is replayed by its seed.
//!
//! Checked while it runs ([`Finding`]): a write that was acknowledged is in every later primary's log; nobody acknowledges after a later
//! primary did; an epoch has one holder; logs of one lineage are the same; routes never go back. And at the end: once faults stop,
//! there is a primary that takes writes, soon, and it stays.
//!
//! The checkers are checked too: [`Mutant`]s are shells that break one rule, and each must be found.

mod checkers;
mod client;
mod database;
mod database_work;
mod faults;
mod mutant;
mod mutate;
mod node;
mod random;
mod replication;
mod scenario;
mod store;
mod stream;
mod strike;
mod world;

pub use checkers::Finding;
pub use mutant::Mutant;
pub use scenario::{Outcome, Scenario, run};
