//! What is served on this machine: directories whose files are still coming, and what a process that is gone left mounted.

use super::Finding;
use crate::commands::served::label;
use crate::commands::served::status::{Phase, Status, ask};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use lifeboat_mount::mount::{State, mounts_of, state_of};
use std::path::Path;

/// A finding for each that was begun with this configuration's state.
pub fn look(config: &Config) -> Vec<Finding> {
    let places = label(config).map(|label| mounts_of(&label)).unwrap_or_default();
    places.iter().filter_map(|path| of(path)).collect()
}

/// None for a tablespace: it is told of with its cluster.
fn of(path: &Path) -> Option<Finding> {
    let subject = format!("served {}", path.display());
    match state_of(path) {
        State::Stale => {
            let failure = Failure::new(FailureKind::CheckFailed, "the program that served it is gone, and all that is read there fails")
                .with_hint(format!(
                    "run the same `lifeboat restore ... --instant` again: it goes on where it stopped; `lifeboat restore stop {}` only ends what is left of it",
                    path.display()
                ));
            Some(Finding::new(subject, Err(failure)))
        }
        _ => ask(path).ok().map(|status| judged(subject, &status)),
    }
}

fn judged(subject: String, status: &Status) -> Finding {
    match &status.problem {
        Some(problem) => {
            let what = match status.bytes_per_second {
                0 => format!("{}, and nothing comes: {problem}", status.left()),
                _ => format!("{}; in the way of who reads or writes: {problem}", status.coming()),
            };
            Finding::warning(subject, what, status.problem_hint.clone().unwrap_or_default())
        }
        None if status.phase == Phase::Whole => Finding::warning(
            subject,
            "everything is here, and its server still runs on the mount",
            format!("`lifeboat restore finish {}` moves it to the ordinary directory", status.to.display()),
        ),
        None => Finding::new(subject, Ok(status.coming())),
    }
}
