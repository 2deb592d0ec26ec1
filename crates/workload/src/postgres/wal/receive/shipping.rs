//! Shipping the journal beside the stream: what a former run left first, then about every second what is new.

use super::super::archive::{ClusterIdentity, WalArchive};
use super::super::error::describe;
use super::super::journal::{self, Journal};
use super::super::ship::Shipper;
use super::alarm::{AlarmKind, Health};
use super::{RETRY_MAX, RETRY_MIN, ReceiveProgress};
use lifeboat_repository::Repository;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// A journal that is being written.
pub(crate) type Open = (Arc<Journal>, ClusterIdentity);

/// What shipping needs.
pub(crate) struct Shipping<'a> {
    pub repositories: watch::Receiver<Arc<Repository>>,
    pub workload: &'a str,
    pub interval: Duration,
    pub stop_patience: Duration,
    pub health: &'a Health,
    pub progress: &'a dyn ReceiveProgress,
    pub shippable: &'a Notify,
}

impl Shipping<'_> {
    /// Ships until the stream has ended, and then all that is left. Needs no server: what a former run left below
    /// `spool` is shipped even when the server never comes back.
    pub(crate) async fn run(self, spool: Option<&Path>, mut opened: watch::Receiver<Option<Open>>) {
        let Some(spool) = spool else { return };
        let mut shippers: BTreeMap<PathBuf, Shipper> = BTreeMap::new();
        let mut pause = RETRY_MIN;
        loop {
            let passed = self.pass(spool, &mut opened, &mut shippers).await;
            let waits_for_more = passed.is_ok();
            match passed {
                Ok(()) => {
                    self.health.right(AlarmKind::Shipping);
                    pause = RETRY_MIN;
                }
                Err(why) => {
                    self.health.wrong(AlarmKind::Shipping, &why);
                    self.progress.problem(&format!("the spool is not shipped: {why}"));
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
            let next = async {
                tokio::time::sleep(self.interval.max(pause)).await;
                if waits_for_more {
                    self.shippable.notified().await;
                }
            };
            tokio::select! {
                () = next => {}
                // Its sender goes with the stream.
                () = ended(&mut opened) => break,
            }
        }
        let last = async {
            while let Err(why) = self.pass(spool, &mut opened, &mut shippers).await {
                self.progress.problem(&format!("the spool is not shipped: {why}"));
                tokio::time::sleep(RETRY_MIN).await;
            }
        };
        let by = Instant::now() + self.stop_patience;
        if tokio::time::timeout_at(by, last).await.is_err() {
            self.progress.problem("what is left in the spool is shipped by the next start");
        }
    }

    async fn pass(
        &self,
        spool: &Path,
        opened: &mut watch::Receiver<Option<Open>>,
        shippers: &mut BTreeMap<PathBuf, Shipper>,
    ) -> Result<(), String> {
        let mut clusters = journal::clusters(spool, self.workload).map_err(|error| describe(&error))?;
        if let Some((journal, cluster)) = &*opened.borrow_and_update()
            && !clusters.contains(cluster)
            && journal.directory().is_dir()
        {
            clusters.push(*cluster);
        }
        let repository = self.repositories.borrow().clone();
        for cluster in clusters {
            let directory = journal::directory(spool, self.workload, cluster.system_id);
            let archive = WalArchive::new(repository.clone(), self.workload, cluster);
            let shipper = shippers.entry(directory.clone()).or_default();
            shipper.pass(&archive, &directory).await.map_err(|error| describe(&error))?;
        }
        Ok(())
    }
}

/// Ends when nobody writes a journal any more.
async fn ended(opened: &mut watch::Receiver<Option<Open>>) {
    while opened.changed().await.is_ok() {}
}
