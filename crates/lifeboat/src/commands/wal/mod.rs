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

pub fn run(global: &Global, command: &WalCommand, output: &Output) -> Result<(), Failure> {
    match command {
        WalCommand::Push { path, of } => push::run(global, path, of, output),
        WalCommand::Fetch { name, path, of, from, no_prefetch, incomplete_of } => {
            let request = fetch::Request {
                name,
                path,
                of,
                from: from.as_deref(),
                prefetches: !no_prefetch,
                incomplete_of: *incomplete_of,
            };
            fetch::run(global, &request, output)
        }
        WalCommand::Prefetch { name, of, from } => prefetch::run(global, name, of, from.as_deref(), output),
        WalCommand::Receive { workload, sync, accept_gap, ship_only } => {
            let request = receive::Request { workload, accept_gap: *accept_gap, sync: *sync, ship_only: *ship_only };
            receive::run(global, &request, output)
        }
    }
}
