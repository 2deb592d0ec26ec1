//! What a program that served a directory and is gone left there: a server that lost its files, and mounts in which everything is an error.

use crate::failure::{Failure, FailureKind};
use lifeboat_mount::mount::{State, state_of, take_stale_away};
use lifeboat_postgres::cluster::{end_at_once, wait_for_the_ended};
use std::path::{Path, PathBuf};

/// What was there, and is not any more.
#[derive(Debug, Default)]
pub struct Ended {
    pub server: bool,
    pub mounts: Vec<PathBuf>,
}

/// Ends and takes away what was left of `data_dir` and its tablespaces. What came and was acknowledged stays. Blocks.
pub fn end_what_is_left(data_dir: &Path) -> Result<Ended, Failure> {
    // First, or it would write to what lies below.
    let mut ended =
        Ended { server: end_at_once(data_dir).map_err(|error| failed("end its server", error))?, ..Ended::default() };
    take_away(data_dir, &mut ended)?;
    let links = std::fs::read_dir(data_dir.join("pg_tblspc")).into_iter().flatten().flatten();
    for place in links.filter_map(|entry| std::fs::read_link(entry.path()).ok()) {
        take_away(&place, &mut ended)?;
    }
    wait_for_the_ended(data_dir).map_err(|error| failed("wait for its server", error))?;
    Ok(ended)
}

fn take_away(place: &Path, ended: &mut Ended) -> Result<(), Failure> {
    if state_of(place) != State::Stale {
        return Ok(());
    }
    let hint = || format!("run it as root, or as who began it; by hand: `umount -l {}`", place.display());
    take_stale_away(place).map_err(|error| failed("take away what is mounted there", error).with_hint(hint()))?;
    ended.mounts.push(place.to_path_buf());
    Ok(())
}

fn failed(what: &str, error: std::io::Error) -> Failure {
    Failure::from_error(FailureKind::Unavailable, &error).while_doing(what)
}

impl Ended {
    /// Whether there was anything.
    pub fn is_any(&self) -> bool {
        self.server || !self.mounts.is_empty()
    }

    /// What was done, in words.
    pub fn spoken(&self) -> String {
        let mut all = Vec::new();
        if self.server {
            all.push("the server that was left without its files was ended");
        }
        if !self.mounts.is_empty() {
            all.push("what the program that is gone had mounted was taken away");
        }
        all.join(", and ")
    }
}
