//! The private directory of one copy, and what is left of copies whose verifier was killed.
//!
//! The name says who made it: process number and when that process began, because numbers are used again.

use crate::error::{RecoveryError, Result};
use crate::private::PrivatePlace;
use lifeboat_mount::mount::{State, state_of, take_stale_away};
use lifeboat_postgres::cluster::end_at_once;
use std::io;
use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const PREFIX: &str = "lifeboat-boot-";
/// How long a server that nobody wants may take to end once told so.
const END_PATIENCE: Duration = Duration::from_secs(30);

/// Rooms of this process so far.
static MADE: AtomicU32 = AtomicU32::new(0);

/// A private directory. Its server is ended and it is removed when dropped.
#[derive(Debug)]
pub struct Room {
    place: PrivatePlace,
    is_removed: bool,
}

impl Deref for Room {
    type Target = PrivatePlace;

    fn deref(&self) -> &PrivatePlace {
        &self.place
    }
}

impl Room {
    /// Makes one that only `owner`, or we, may enter.
    pub fn make(scratch_dir: &Path, owner: Option<(u32, u32)>) -> Result<Self> {
        std::fs::create_dir_all(scratch_dir).map_err(|e| RecoveryError::file("make directory", scratch_dir, e))?;
        // PostgreSQL is started from elsewhere: only a whole path means the same there.
        let scratch_dir =
            std::fs::canonicalize(scratch_dir).map_err(|error| RecoveryError::file("look at", scratch_dir, error))?;
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let began = began_at(process).unwrap_or_default();
        let directory = scratch_dir.join(format!("{PREFIX}{process}-{began}-{number}"));
        let room = Self { place: PrivatePlace::new(directory, owner), is_removed: false };
        room.place.make()?;
        Ok(room)
    }

    /// Ends what runs in it, at once.
    pub fn end_server(&self) -> Result<()> {
        let failed = |error| RecoveryError::file("end the server in", &self.data_dir(), error);
        end_at_once(&self.data_dir()).map(drop).map_err(failed)
    }

    /// Ends what runs in it and removes it.
    pub fn remove(mut self) -> Result<()> {
        self.is_removed = true;
        clear(self.directory()).map_err(|error| RecoveryError::file("remove", self.directory(), error))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if !self.is_removed
            && let Err(error) = clear(self.directory())
        {
            tracing::warn!(%error, directory = %self.directory().display(), "a test restore was not removed");
        }
    }
}

/// Removes what verifiers that are gone have left, ending their servers. Returns what was done, and what couldn't be.
pub fn remove_leftovers(scratch_dir: &Path) -> Vec<String> {
    let Ok(listing) = std::fs::read_dir(scratch_dir) else { return Vec::new() };
    let names = listing.filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()));
    let left = names.filter(|name| maker_is_gone(name)).map(|name| scratch_dir.join(name));
    let removed = left.map(|path| match clear(&path) {
        Ok(()) => format!("removed {}, left by a verification that was killed", path.display()),
        Err(error) => format!("{} was left by a verification that was killed, and stays: {error}", path.display()),
    });
    removed.collect()
}

/// Ends and removes the copies of this very process, which is about to end. What still writes there may need another try.
pub fn remove_own(scratch_dir: &Path) {
    let own = format!("{PREFIX}{}-{}-", std::process::id(), began_at(std::process::id()).unwrap_or_default());
    let Ok(listing) = std::fs::read_dir(scratch_dir) else { return };
    let deadline = Instant::now() + END_PATIENCE;
    for path in listing.filter_map(|entry| Some(entry.ok()?.path())) {
        let is_own = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&own));
        while is_own && path.exists() && Instant::now() < deadline {
            let _ = clear(&path);
        }
    }
}

/// Only names that are wholly ours count.
fn maker_is_gone(name: &str) -> bool {
    let numbers: Option<Vec<u64>> =
        name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').map(|part| part.parse().ok()).collect());
    match numbers.as_deref() {
        Some(&[process, began, _]) => u32::try_from(process).ok().and_then(began_at) != Some(began),
        _ => false,
    }
}

/// When a process began, in clock ticks since boot. None when there is no such process.
fn began_at(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name of the program stands in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Ends the server at once: nobody needs what it holds. A mount goes, whoever served it and whether he lives: removed through it, the files below
/// would stay.
fn clear(directory: &Path) -> io::Result<()> {
    let data = directory.join("data");
    end_at_once(&data)?;
    let below = std::fs::read_dir(directory.join("tablespaces")).into_iter().flatten();
    let tablespaces = below.filter_map(|entry| Some(entry.ok()?.path()));
    for path in std::iter::once(data).chain(tablespaces) {
        if state_of(&path) != State::Nothing {
            take_stale_away(&path)?;
        }
    }
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_is_removed_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let room = Room::make(scratch.path(), None).unwrap();
        let ours = std::process::id();
        let dead = scratch.path().join(format!("{PREFIX}{ours}-1-0"));
        let strange = scratch.path().join("lifeboat-boot-notes");
        for path in [&dead, &strange] {
            std::fs::create_dir_all(path.join("data")).unwrap();
        }
        let said = remove_leftovers(scratch.path());
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(!dead.exists() && strange.exists() && room.directory().exists());
        let directory = room.directory().to_path_buf();
        remove_own(scratch.path());
        assert!(!directory.exists() && strange.exists());
        drop(room);
    }
}
