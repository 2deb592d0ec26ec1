//! A data directory that follows a running server: from a recovery point, or copied from that server.
//!
//! Promise: what can't become a standby of that server is refused before the first byte. Until the last step the directory can't be
//! started. Started, it follows and does nothing else: no target of an older recovery is left in it, and it has all that a standby must not
//! have less of than the server it follows.
//!
//! Not here: the slot on the other server, starting the result.

mod choose;
mod copy;
mod settings;

pub use choose::{StandbyRefusal, plan_standby, stray_timeline};
pub use copy::{ClusterCopy, copy_steps};
pub use settings::{Following, conninfo_named, standby_settings};

use crate::destination::Destination;
use crate::error::{RecoveryError, Result};
use crate::plan::RestorePlan;
use crate::quoting::configuration_string;
use crate::restore::{RestoreDone, RestoreTo, bring, give_to};
use lifeboat_postgres::control::ControlFile;
use lifeboat_postgres::standbys::upstream::Limits;
use lifeboat_repository::{ChunkReader, Point, Progress};
use lifeboat_workload::postgres::restore::{CONTROL_FILE, Leaves, write_control_last, write_small};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Where PostgreSQL reads settings last.
const SETTINGS_FILE: &str = "postgresql.auto.conf";
const STANDBY_SIGNAL: &str = "standby.signal";
const RECOVERY_SIGNAL: &str = "recovery.signal";

/// Writes the point of a plan by [`plan_standby`]. `destination` is what was seen at the place. Call from a thread that may block, within a
/// runtime.
pub fn apply_standby(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    limits: Limits,
    destination: Destination,
    to: &RestoreTo,
    progress: &dyn Progress,
) -> Result<RestoreDone> {
    let begun = Instant::now();
    let mut brought = bring(reader, point, plan, destination, to, Leaves::Nothing, progress)?;
    follow_for_ever(to)?;
    // The point may be of a time when the server had more of them, and so its log.
    if let Ok(control) = ControlFile::parse(&brought.report.control) {
        raise(&to.destination.join(SETTINGS_FILE), limits, limits.at_least(&control.settings))?;
    }
    give(to, &to.destination.join(SETTINGS_FILE))?;
    write_control_last(&to.destination, &brought.report.control)?;
    brought.finish(to, &to.destination.join(CONTROL_FILE))?;
    Ok(brought.done(begun))
}

/// A standby, and not a recovery that ends.
fn follow_for_ever(to: &RestoreTo) -> Result<()> {
    let signal = to.destination.join(STANDBY_SIGNAL);
    write_small(&signal, b"")?;
    give(to, &signal)?;
    let other = to.destination.join(RECOVERY_SIGNAL);
    match std::fs::remove_file(&other) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RecoveryError::file("remove", &other, error)),
        _ => Ok(()),
    }
}

/// Adds those settings of which `needed` has more than `written`, which are in the file already.
fn raise(path: &Path, written: Limits, needed: Limits) -> Result<()> {
    let pairs = written.named().into_iter().zip(needed.named());
    let higher: Vec<_> = pairs.filter(|((_, written), (_, needed))| needed > written).collect();
    if higher.is_empty() {
        return Ok(());
    }
    let mut file = std::fs::read(path).map_err(|error| RecoveryError::file("read", path, error))?;
    for (_, (name, value)) in higher {
        let value = configuration_string(&value.to_string())
            .map_err(|error| RecoveryError::file("write", path, io::Error::other(error)))?;
        file.extend_from_slice(format!("{name} = {value}\n").as_bytes());
    }
    Ok(write_small(path, &file)?)
}

fn give(to: &RestoreTo, path: &Path) -> Result<()> {
    let Some(owner) = to.owner else { return Ok(()) };
    give_to(owner, path).map_err(|error| RecoveryError::file("give away", path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_point_has_more_of_comes_last_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SETTINGS_FILE);
        std::fs::write(&path, "max_connections = '100'\n").unwrap();
        let limits = |max_connections, max_wal_senders| Limits {
            max_connections,
            max_worker_processes: 8,
            max_wal_senders,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
        };
        raise(&path, limits(100, 10), limits(100, 10)).unwrap();
        raise(&path, limits(100, 10), limits(300, 9)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "max_connections = '100'\nmax_connections = '300'\n");
    }
}
