//! The primary as a key of etcd, for whoever makes configurations of it (confd, a service mesh, a script).
//!
//! `/lifeboat/CLUSTER/primary` is `{"epoch":7,"name":"ohio","host":"10.0.0.1","port":5432}`. It is replaced by a transaction that compares the revision
//! that was read: who was between wins, and is looked at again.

use super::target::{Mark, refused, superseded, unavailable};
use super::{Applied, RouteError, RouteTable, RouteTarget};
use crate::lease::{Etcd, EtcdSettings, StoreError, Swapped};
use async_trait::async_trait;
use std::time::Duration;

/// Others change it once for each of their epochs; who loses more often than this comes again later.
const TURNS_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub struct EtcdRoute {
    etcd: Etcd,
    key: String,
    name: String,
}

impl EtcdRoute {
    /// The settings' prefix stands before the key; it is `/lifeboat/` if empty. Operations take at most `limit`.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when an address or a certificate can't be understood.
    pub fn new(settings: &EtcdSettings, cluster: &str, limit: Duration) -> Result<Self, StoreError> {
        let prefix = if settings.prefix.is_empty() { "/lifeboat/" } else { &settings.prefix };
        let key = format!("{prefix}{cluster}/primary");
        Ok(Self { etcd: Etcd::new(settings, cluster, limit)?, name: format!("etcd key {key}"), key })
    }

    fn error(&self, error: StoreError) -> RouteError {
        match error {
            StoreError::Refused { why, .. } => refused(&self.name, why),
            StoreError::Unavailable { why, .. } | StoreError::Unsafe { why, .. } => unavailable(&self.name, why),
        }
    }
}

#[async_trait]
impl RouteTarget for EtcdRoute {
    fn name(&self) -> String {
        self.name.clone()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        let Some(wanted) = Mark::of(table) else { return Ok(Applied::Nothing) };
        let mut why = "others change it all the time".to_owned();
        for _ in 0..TURNS_MAX {
            let found = self.etcd.read_key(&self.key).await.map_err(|error| self.error(error))?;
            if let Some((content, _)) = &found {
                let Some(there) = Mark::from_json(content) else {
                    return Err(refused(&self.name, "its value isn't one of ours; delete it if nobody needs it"));
                };
                if there == wanted {
                    return Ok(Applied::Already);
                }
                if there.epoch > wanted.epoch {
                    return Err(superseded(&self.name, wanted.epoch, there.epoch));
                }
            }
            let version = found.as_ref().map(|(_, version)| version);
            match self.etcd.swap_key(&self.key, version, wanted.to_json().as_bytes()).await {
                Swapped::Applied(_) => return Ok(Applied::Changed),
                Swapped::Lost => {}
                // It may be done; the next look tells.
                Swapped::Unknown(unknown) => why = unknown,
            }
        }
        Err(unavailable(&self.name, why))
    }
}
