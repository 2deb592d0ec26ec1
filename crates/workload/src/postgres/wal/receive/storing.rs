//! Storing what was received, in whatever locations work now.

use super::super::archive::{ArchivedName, WalArchive};
use super::super::error::Result;
use super::super::facts;
use super::pending::Job;
use lifeboat_postgres::wal_file::WalFileName;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const REST_MIN: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(960);

/// Locations that failed: how long they rest, so that a dead one doesn't slow down the others again and again.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    until: BTreeMap<String, (Instant, Duration)>,
}

impl Resting {
    /// Who is left alone now.
    pub(crate) fn names(&self, now: Instant) -> Vec<String> {
        self.until.iter().filter(|(_, (end, _))| *end > now).map(|(name, _)| name.clone()).collect()
    }

    /// Learns from an attempt. Each failure in a row doubles the rest.
    pub(crate) fn learn(&mut self, stored: &Stored, now: Instant) {
        for name in &stored.stored_in {
            self.until.remove(name);
        }
        for (name, _) in &stored.failures {
            let rest = self.until.get(name).map_or(REST_MIN, |(_, rest)| (*rest * 2).min(REST_MAX));
            self.until.insert(name.clone(), (now + rest, rest));
        }
    }
}

/// Where something was stored and where not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub stored_in: Vec<String>,
    pub failures: Vec<(String, String)>,
}

/// A job under way.
#[derive(Debug)]
pub(crate) struct Running {
    pub job: Job,
    pub handle: JoinHandle<Result<Stored>>,
}

/// Begins to store, on a task of its own: receiving goes on meanwhile.
pub(crate) fn begin(archive: &WalArchive, job: Job, resting: &[String]) -> Running {
    let archive = WalArchive { repository: archive.repository.without(resting).into(), ..archive.clone() };
    let (resting, running) = (resting.to_vec(), job.clone());
    let handle = tokio::spawn(async move {
        let (name, bytes, annex) = match running {
            Job::Segment(name, bytes) => {
                let annex = facts::annex_of(&bytes);
                (ArchivedName::File(WalFileName::Segment(name)), bytes, annex)
            }
            Job::Tail(name, bytes) => (ArchivedName::Tail(name), bytes, Vec::new()),
        };
        let group = archive.group_of(name);
        let put = archive.repository.put_log(&archive.workload, &group, &name.to_string(), &bytes, &annex).await?;
        let failures = put.failures.into_iter().filter(|(name, _)| !resting.contains(name)).collect();
        Ok(Stored { stored_in: put.stored_in, failures })
    });
    Running { job, handle }
}
