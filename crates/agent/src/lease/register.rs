//! A lease in a location: an object in a bucket that honours conditional writes, or a locked file for members on one host.

use super::{LeaseStore, StoreError, Swapped, Version, within};
use async_trait::async_trait;
use bytes::Bytes;
use lifeboat_location::{ErrorKind, Location, SwapOutcome};
use std::sync::Arc;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub struct Register {
    location: Arc<dyn Location>,
    key: String,
    limit: Duration,
}

impl Register {
    /// The lease of `cluster` in a location; operations take at most `limit`.
    pub fn new(location: Arc<dyn Location>, cluster: &str, limit: Duration) -> Self {
        Self { location, key: format!("leases/{cluster}"), limit }
    }

    fn error(&self, error: &lifeboat_location::Error) -> StoreError {
        let (store, why) = (self.address(), error.to_string());
        match error.kind() {
            ErrorKind::Denied | ErrorKind::Invalid => StoreError::Refused { store, why },
            _ => StoreError::Unavailable { store, why },
        }
    }

    fn late(&self, why: String) -> StoreError {
        StoreError::Unavailable { store: self.address(), why }
    }
}

#[async_trait]
impl LeaseStore for Register {
    fn address(&self) -> String {
        format!("{}/{}", self.location.address(), self.key)
    }

    async fn read(&self) -> Result<Option<(Bytes, Version)>, StoreError> {
        let found = within(self.limit, self.location.read_register(&self.key)).await;
        let found = found.map_err(|why| self.late(why))?.map_err(|error| self.error(&error))?;
        Ok(found.map(|(content, version)| (content, Version(version.0))))
    }

    async fn swap(&self, expected: Option<&Version>, content: Bytes) -> Swapped {
        let expected = expected.map(|version| lifeboat_location::Version(version.0.clone()));
        let swap = self.location.compare_and_swap(&self.key, expected.as_ref(), content);
        match within(self.limit, swap).await {
            Ok(Ok(SwapOutcome::Applied(version))) => Swapped::Applied(Version(version.0)),
            Ok(Ok(SwapOutcome::Lost)) => Swapped::Lost,
            Ok(Ok(SwapOutcome::Unknown)) => Swapped::Unknown("the answer never came".into()),
            // An error may come after the store has done it.
            Ok(Err(error)) => Swapped::Unknown(error.to_string()),
            Err(why) => Swapped::Unknown(why),
        }
    }

    async fn probe(&self) -> Result<(), StoreError> {
        // Several requests, one after the other.
        let found = within(self.limit * 10, self.location.probe()).await;
        let found = found.map_err(|why| self.late(why))?.map_err(|error| self.error(&error))?;
        if found.conditional_create && found.compare_and_swap {
            return Ok(());
        }
        let why = if found.conditional_create {
            "it replaces an object although somebody else has replaced it meanwhile"
        } else {
            "it takes a second object of the same name for the first (no conditional writes)"
        };
        Err(StoreError::Unsafe { store: self.address(), why: format!("{why}, so two members could hold it at once") })
    }
}
