//! Where clients go: what agents say of it, and everything that has to follow.
//!
//! Promise: nothing here goes back to an older epoch. Where something outside is changed (DNS, a register of services), the change and the
//! check of the epoch are one step, so that an agent that was cut off overwrites nothing.
//!
//! Not here: who the primary is (`lifeboat_failover`), and the connections themselves ([`crate::proxy`]).

mod apply;
mod command;
mod consul;
mod dns;
mod etcd;
mod merge;
pub mod route53;
mod table;
mod target;
mod verify;
mod watch;

pub use apply::{RouteState, Routes};
pub use command::CommandRoute;
pub use consul::{ConsulRoute, ConsulSettings};
pub use dns::{DnsRoute, DnsSettings, KeyAlgorithm};
pub use etcd::EtcdRoute;
pub use merge::{Heard, Merge};
pub use route53::{Route53Route, Route53Settings};
pub use table::{Endpoint, RouteTable, StandbyEndpoint, TABLE_BYTES_MAX, TableError};
pub use target::{Applied, RouteError, RouteTarget};
pub use verify::{Arrived, Verification, Verifier, Way, verify};
pub use watch::{AgentSeen, WatchError, WatchSettings, Watching, follow};
