//! Where clients go: what agents say of it, and everything that has to follow.
//!
//! Promise: nothing here goes back to an older epoch. Where something outside is changed (DNS, a register of services), the change and the
//! check of the epoch are one step, so that an agent that was cut off overwrites nothing.
//!
//! Not here: who the primary is (`lifeboat_failover`), and the connections themselves ([`crate::proxy`]).

mod merge;
mod table;
mod watch;

pub use merge::{Heard, Merge};
pub use table::{Endpoint, RouteTable, StandbyEndpoint, TABLE_BYTES_MAX, TableError};
pub use watch::{AgentSeen, WatchError, WatchSettings, Watching, follow};
