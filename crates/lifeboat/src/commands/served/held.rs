//! Keeping the point from being given up while files of it are still to come.

use crate::failure::Failure;
use crate::output::Output;
use crate::rooms;
use jiff::Timestamp;
use lifeboat_repository::{Error, HOLD_RENEWED_EVERY, Hold, PointId, Repository, hold_until};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How soon is tried again what failed.
const AGAIN_AFTER: Duration = Duration::from_secs(3600);

/// A hold that is renewed for as long as this is there. What is dropped without being released stands until it ends.
pub struct Held {
    repository: Arc<Repository>,
    hold: Hold,
    renewing: JoinHandle<()>,
}

/// A hold to be kept with what it is for.
pub fn new(workload: &str, point: &PointId, to: &Path, why: &str) -> Result<Hold, Failure> {
    let by = format!("{}:{}", rooms::host_name(), to.display());
    Ok(Hold::new(workload, point, &by, why, hold_until(Timestamp::now()))?)
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
    pub fn keep(repository: Arc<Repository>, hold: Hold) -> Self {
        let (with, its) = (repository.clone(), hold.clone());
        let renewing = tokio::spawn(async move {
            loop {
                let renewed = with.renew(&its, hold_until(Timestamp::now())).await;
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
        Self { repository, hold, renewing }
    }

    /// Nobody needs the point any more.
    pub async fn release(mut self) {
        self.renewing.abort();
        // A renewal that is under way would come after the release.
        let _ = (&mut self.renewing).await;
        for (location, reason) in self.repository.release(&self.hold).await {
            tracing::info!(location, reason, "a hold stays until it ends");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
