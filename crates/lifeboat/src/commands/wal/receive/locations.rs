//! The locations of a receiver, which runs for months: one that is down when it starts is taken in when it is back.

use crate::config::{Config, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::{removable, rooms};
use lifeboat_repository::Repository;
use lifeboat_workload::postgres::wal::{Alarm, AlarmKind, ReceiveProgress};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const RETRY: Duration = Duration::from_secs(2);
/// Between two looks whether a location is back that was down at the start.
const REOPEN: Duration = Duration::from_secs(30);

async fn once(config: &Config, workload: &WorkloadConfig) -> Result<Arc<Repository>, Failure> {
    let replicas = rooms::replicas(config, &removable::for_the_log(config, workload))?;
    let opened = Repository::open(replicas, &rooms::passphrase(config)?, config.compression_level).await?;
    Ok(Arc::new(opened))
}

/// Opens the repository, waiting until a location answers; `None` when we were told to stop before. What is given
/// changes when more locations answer.
pub async fn open(
    config: &Config,
    workload: &WorkloadConfig,
    patience: Option<Duration>,
    progress: &dyn ReceiveProgress,
    mut stop: watch::Receiver<bool>,
) -> Result<Option<watch::Receiver<Arc<Repository>>>, Failure> {
    let begun = Instant::now();
    let mut is_raised = false;
    let repository = loop {
        let failure = match once(config, workload).await {
            Ok(repository) => break repository,
            Err(failure) if failure.kind != FailureKind::Unavailable => return Err(failure),
            Err(failure) => failure,
        };
        progress.problem(&format!("no location answers, trying again: {}", failure.message));
        if !is_raised && patience.is_some_and(|patience| begun.elapsed() >= patience) {
            is_raised = true;
            let what = format!("no location has answered for {} s: {}", begun.elapsed().as_secs(), failure.message);
            let hint = failure.hint.unwrap_or_default();
            progress.alarm(&Alarm { kind: AlarmKind::Disconnected, what, hint });
        }
        tokio::select! {
            () = tokio::time::sleep(RETRY) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(None),
        }
    };
    if is_raised {
        progress.alarm_over(AlarmKind::Disconnected);
    }
    for (name, reason) in repository.unavailable() {
        progress.problem(&format!("location {name} is left out until it answers: {reason}"));
    }
    let missing = repository.unavailable().len();
    let (sender, receiver) = watch::channel(repository);
    if missing > 0 {
        tokio::spawn(take_in(config.clone(), workload.clone(), missing, sender));
    }
    Ok(Some(receiver))
}

/// Looks for locations that are back, until none is missing.
async fn take_in(config: Config, workload: WorkloadConfig, mut missing: usize, sender: watch::Sender<Arc<Repository>>) {
    while missing > 0 && !sender.is_closed() {
        tokio::time::sleep(REOPEN).await;
        let Ok(repository) = once(&config, &workload).await else { continue };
        if repository.unavailable().len() < missing {
            missing = repository.unavailable().len();
            sender.send_replace(repository);
        }
    }
}
