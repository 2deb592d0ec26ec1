//! The shell around [`lifeboat_failover`]: where the lease lives today; the agent itself, promotion and routing are to come.
//!
//! Not here: who may write. That is decided by `failover`, which this only carries out.

pub mod lease;
pub mod proxy;
pub mod routing;
