//! Keeping the point from being given up while files of it are still to come.

use crate::config::{self, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use jiff::Timestamp;
use lifeboat_recovery::instant::Readers;
use lifeboat_repository::{Error, HOLD_RENEWED_EVERY, Hold, PointId, Repository, hold_until};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How soon is tried again what failed.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// Nobody waits longer for a place to be cleared because a location is away.
const RELEASED_WITHIN: Duration = Duration::from_secs(30);

/// A hold that is renewed for as long as this is there. What is dropped without being released stands until it ends.
pub struct Held {
    readers: Arc<Readers>,
    hold: Hold,
    renewing: JoinHandle<()>,
}

/// A hold to be kept with what it is for.
pub fn new(workload: &str, point: &PointId, to: &Path, why: &str) -> Result<Hold, Failure> {
    Ok(Hold::new(workload, point, &holder(to), why, hold_until(Timestamp::now()))?)
}

fn holder(to: &Path) -> String {
    format!("{}:{}", rooms::host_name(), to.display())
}

/// Takes back what a process held for this directory that is gone. `configuration` is what it noted: nothing, when it held nothing.
pub async fn release_left(
    configuration: io::Result<Option<PathBuf>>,
    to: &Path,
    output: &Output,
) -> Result<(), Failure> {
    let Some(path) = configuration.map_err(super::failure_of)? else { return Ok(()) };
    let config = config::load(Some(&path), UnknownKeys::Warn)?.parsed.config;
    let work = async {
        let repository = rooms::open_repository(&config, &rooms::all_locations(&config), output).await?;
        let mut stays: Vec<(String, String)> = repository.unavailable().to_vec();
        for record in repository.holds(None).await? {
            if record.hold.as_ref().is_some_and(|hold| hold.by == holder(to)) {
                stays.extend(repository.remove_hold(&record).await);
            }
        }
        match stays.first() {
            None => Ok(()),
            Some((location, why)) => Err(Failure::new(FailureKind::Unavailable, format!("in {location}: {why}"))),
        }
    };
    let late = || Failure::new(FailureKind::Unavailable, "no location has answered");
    tokio::time::timeout(RELEASED_WITHIN, work).await.unwrap_or_else(|_| Err(late()))
}

/// Makes it stand. Where no location takes it, that is told: reading is allowed to those who may not write.
pub async fn take(repository: &Repository, hold: &Hold, output: &Output) -> Result<(), Failure> {
    match repository.renew(hold, hold_until(Timestamp::now())).await {
        Ok(_) => Ok(()),
        Err(error @ (Error::GoingAway { .. } | Error::NotFound { .. })) => {
            let failure = Failure::from(error);
            Err(failure.with_more_hint("`lifeboat points` lists what stays"))
        }
        Err(error) => {
            output.warn(&format!(
                "the point can't be held against `prune` meanwhile: {}",
                Failure::from(error).sentence()
            ));
            Ok(())
        }
    }
}

impl Held {
    /// Renews it from now on. Call within the runtime.
    pub fn keep(readers: Arc<Readers>, hold: Hold) -> Self {
        let (with, its) = (readers.clone(), hold.clone());
        let renewing = tokio::spawn(async move {
            loop {
                let renewed = with.now().repository().renew(&its, hold_until(Timestamp::now())).await;
                let wait = match renewed {
                    Ok(_) => HOLD_RENEWED_EVERY,
                    Err(error) => {
                        tracing::warn!(%error, "the point is not held against `prune` any longer than before");
                        AGAIN_AFTER
                    }
                };
                tokio::time::sleep(wait).await;
            }
        });
        Self { readers, hold, renewing }
    }

    /// Nobody needs the point any more.
    pub async fn release(mut self) {
        self.renewing.abort();
        // A renewal that is under way would come after the release.
        let _ = (&mut self.renewing).await;
        for (location, reason) in self.readers.now().repository().release(&self.hold).await {
            tracing::info!(location, reason, "a hold stays until it ends");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
