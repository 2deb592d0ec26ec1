//! Where the lease lives: one register that can be compared and swapped.
//!
//! Promise: an operation ends within its time limit, and says whether it was carried out only if that is certain. Nothing is tried twice
//! here: who writes again after an answer was lost may lose against himself, and only who knows what he wrote can tell.
//!
//! Not here: what is written ([`lifeboat_failover::Lease`]), and what follows from it.

mod content;
mod etcd;
mod register;

pub use content::{CONTENT_BYTES_MAX, ContentError, decode, encode};
pub use etcd::{Etcd, EtcdSettings, Secret};
pub use register::Register;

use async_trait::async_trait;
use bytes::Bytes;
pub use lifeboat_failover::Version;
use std::fmt;
use std::time::Duration;

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// Our content is there, under this version.
    Applied(Version),
    /// Something else is there.
    Lost,
    /// It may have been carried out, or may still be. Only a read tells.
    Unknown(String),
}

/// Why a store can't be read, or can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It doesn't answer, or answers that it can't.
    #[error("{store} doesn't answer: {why}")]
    Unavailable { store: String, why: String },
    /// It takes a write that it must refuse: two could hold the lease.
    #[error("{store} can't hold a lease: {why}")]
    Unsafe { store: String, why: String },
    /// Its address, or our right, is wrong.
    #[error("{store} refuses us: {why}")]
    Refused { store: String, why: String },
}

/// A store of one register.
#[async_trait]
pub trait LeaseStore: Send + Sync + fmt::Debug {
    /// The address for people, without secrets.
    fn address(&self) -> String;

    /// What is there, and its version; `None` when nothing was ever written. Linearizable: it shows every write that was acknowledged before.
    async fn read(&self) -> Result<Option<(Bytes, Version)>, StoreError>;

    /// Writes if the register is still at `expected` (`None`: never written).
    async fn swap(&self, expected: Option<&Version>, content: Bytes) -> Swapped;

    /// Tries out, beside the lease, whether stale writes are refused.
    ///
    /// # Errors
    /// [`StoreError::Unsafe`] when one isn't.
    async fn probe(&self) -> Result<(), StoreError>;
}

/// `work`, or that it took too long.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(limit, work).await.map_err(|_| format!("no answer within {limit:?}"))
}
