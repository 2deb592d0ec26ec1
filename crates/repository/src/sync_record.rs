//! What a removable location holds, written down where it can be read while the disk lies in its drawer.
//!
//! `syncs/<location>/<time>-<id>` is stored in every location that is there when a disk was brought up to date. The newest one
//! counts. It is a note, not a promise: the disk itself says what it holds once it is back.

use crate::error::Result;
use crate::open::Repository;
use crate::removal::MarkedPoint;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const PREFIX: &str = "syncs/";

/// A location was brought up to date.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncRecord {
    /// Its name in the configuration of whoever did it.
    pub location: String,
    /// When it was done.
    pub synced_at: jiff::Timestamp,
    /// How much of it was verified afterwards: `structure` or `data`.
    pub verified: String,
    /// The points that it held then.
    pub points: Vec<MarkedPoint>,
}

impl Repository {
    /// Keeps a record in every reachable location; an error when one of them doesn't take it.
    pub async fn put_sync_record(&self, record: &SyncRecord) -> Result<()> {
        let (key, sealed) = self.seal_location_record(PREFIX, &record.location, record.synced_at, record)?;
        for replica in &self.replicas {
            replica.location.put_new(&key, sealed.clone()).await?;
        }
        Ok(())
    }

    /// The newest record of each location that has one, from whichever locations answer. One that can't be read is passed over.
    pub async fn sync_records(&self) -> Result<BTreeMap<String, SyncRecord>> {
        Ok(self.newest_location_records(PREFIX).await)
    }
}
