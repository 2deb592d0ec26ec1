//! Where clients are sent, as this member knows it.

use super::Agent;
use crate::api::Status;
use crate::database::Seen;
use crate::routing::{Endpoint, RouteTable, StandbyEndpoint};
use lifeboat_failover::{MemberName, StateKind};
use std::time::Duration;

/// Lag is told to proxies in steps of this.
const LAG_STEP_BYTES: u64 = 1 << 20;

impl Agent {
    /// Where clients go, as far as this member knows: its own say when it is the primary, the lease otherwise.
    pub(super) fn table(&mut self, status: &Status, seen: Option<&Seen>, state: StateKind) -> RouteTable {
        let lease = status.lease.as_ref();
        let ours = self.route.as_ref().filter(|route| lease.is_none_or(|lease| route.epoch.0 >= lease.epoch));
        let holds =
            matches!(state, StateKind::Primary | StateKind::Draining | StateKind::Promoting | StateKind::Demoting);
        let primary = match (ours, lease) {
            (Some(route), _) if holds => route.primary.clone(),
            // Another's: where it says that it holds, and has said so for a while, is told by its own agent.
            _ => None,
        };
        let endpoint = |name: &MemberName| {
            let address = self.settings.places.get(name)?.database.as_ref()?;
            Some(Endpoint { name: name.clone(), host: address.host.clone(), port: address.port })
        };
        let told = seen.and_then(|seen| seen.told.as_ref());
        let standbys = told.filter(|told| !told.in_recovery).map(|told| {
            let standbys = told.confirmed.keys().filter_map(|name| {
                let (bytes, lag) = told.behind.get(name).copied().unwrap_or_default();
                // In steps, so that not every moment makes a new table.
                let lag_bytes = bytes - bytes % LAG_STEP_BYTES;
                let lag = Duration::from_millis(u64::try_from(lag.as_millis() / 100 * 100).unwrap_or(u64::MAX));
                Some(StandbyEndpoint { endpoint: endpoint(name)?, lag_bytes, lag, streaming: true })
            });
            standbys.collect()
        });
        match standbys {
            Some(standbys) => self.standbys = standbys,
            // Our server hangs, perhaps. The others read on.
            None if state == StateKind::Primary => {}
            None => self.standbys.clear(),
        }
        RouteTable {
            cluster: self.settings.failover.cluster.clone(),
            by: self.settings.failover.name.clone(),
            epoch: lifeboat_failover::Epoch(
                ours.map(|route| route.epoch.0).into_iter().chain(lease.map(|lease| lease.epoch)).max().unwrap_or(0),
            ),
            version: 0,
            primary: primary.as_ref().and_then(endpoint),
            standbys: self.standbys.clone(),
        }
    }
}
