//! What a removable location holds, written down where it can be read while the disk lies in its drawer.
//!
//! `syncs/<location>/<time>-<id>` is stored in every location that is there when a disk was brought up to date. The newest one
//! counts. It is a note, not a promise: the disk itself says what it holds once it is back.

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::key::random;
use crate::open::{Replica, Repository};
use crate::patience::ask_all;
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
        let suffix: [u8; 4] = random()?;
        let time = record.synced_at.strftime("%Y%m%dT%H%M%SZ");
        let key = format!("{PREFIX}{}/{time}-{}", record.location, hex::encode(suffix));
        let sealed = self.seal(ContainerKind::Document, record)?;
        for replica in &self.replicas {
            replica.location.put_new(&key, sealed.clone()).await?;
        }
        Ok(())
    }

    /// The newest record of each location that has one, from whichever locations answer. One that can't be read is passed over.
    pub async fn sync_records(&self) -> Result<BTreeMap<String, SyncRecord>> {
        let ask = async |replica: Replica| Ok(replica.location.list(PREFIX).await?);
        let mut keys: BTreeMap<String, Vec<&Replica>> = BTreeMap::new();
        for (replica, answer) in self.replicas.iter().zip(ask_all(&self.replicas, self.limits.patience, ask).await) {
            for entry in answer.unwrap_or_default() {
                keys.entry(entry.key).or_default().push(replica);
            }
        }
        let mut records: BTreeMap<String, SyncRecord> = BTreeMap::new();
        // The newest name of a location comes last in order, and so first here.
        for (key, holders) in keys.iter().rev() {
            let Some((location, _)) = key.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/')) else { continue };
            if records.contains_key(location) {
                continue;
            }
            for replica in holders {
                let read = async {
                    let json = self.unseal(ContainerKind::Document, key, &replica.location.get(key).await?)?;
                    serde_json::from_slice(&json).map_err(|error| Error::corrupt(key, error.to_string()))
                };
                if let Ok(record) = read.await {
                    records.insert(location.to_owned(), record);
                    break;
                }
            }
        }
        Ok(records)
    }
}
