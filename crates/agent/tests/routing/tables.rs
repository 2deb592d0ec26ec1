//! Tables as agents would say them, and waiting for what must come.

use lifeboat_agent::routing::{Endpoint, RouteTable};
use lifeboat_failover::Epoch;
use std::time::{Duration, Instant};

/// Two busy cores: much more than anything here should take.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What the agent of `by` says of the cluster `shop`: `primary` is a name, a host and a port.
pub fn table(by: &str, epoch: u64, version: u64, primary: Option<(&str, &str, u16)>) -> RouteTable {
    let primary = primary.map(|(name, host, port)| Endpoint { name: name.into(), host: host.into(), port });
    RouteTable { epoch: Epoch(epoch), version, primary, ..RouteTable::nowhere("shop", by.into()) }
}

/// Waits until `look` gives something, and tells what it said last if it never does.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "{what} doesn't happen; last seen: {seen}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
