//! `lifeboat wal`: the commands that PostgreSQL calls, and the receiver.

mod fetch;
mod prefetch;
mod push;
mod receive;

pub use fetch::locations;
pub use receive::slot_of;

use crate::cli::{Global, WalCommand};
use crate::failure::Failure;
use crate::output::Output;
use lifeboat_postgres::TimelineId;

pub fn run(global: &Global, command: &WalCommand, output: &Output) -> Result<(), Failure> {
    match command {
        WalCommand::Push { path, of } => push::run(global, path, of, output),
        WalCommand::Fetch { name, path, of, from, no_prefetch, incomplete_of, ends_at, follows } => {
            let request = fetch::Request {
                name,
                path,
                of,
                from: from.as_deref(),
                prefetches: !no_prefetch,
                incomplete_of: *incomplete_of,
                ends_at: *ends_at,
                follows: follows.map(TimelineId),
            };
            fetch::run(global, &request, output)
        }
        WalCommand::PushAhead { path, of } => in_background(push::run_ahead(global, path, of, output)),
        WalCommand::Prefetch { name, of, from } => {
            in_background(prefetch::run(global, name, of, from.as_deref(), output))
        }
        WalCommand::Receive { workload, sync, accept_gap, ship_only } => {
            let request = receive::Request { workload, accept_gap: *accept_gap, sync: *sync, ship_only: *ship_only };
            receive::run(global, &request, output)
        }
    }
}

/// What these meet, PostgreSQL's own next call meets too, and tells. They end with 0 whatever came: a process whose parent
/// has gone becomes a child of the first one, which in a container may be PostgreSQL, and that takes any exit code but 0 and
/// 1 for a crashed backend and restarts the cluster.
fn in_background(ended: Result<(), Failure>) -> Result<(), Failure> {
    if let Err(failure) = ended {
        tracing::debug!("ended in the background: {}", failure.message);
    }
    Ok(())
}
