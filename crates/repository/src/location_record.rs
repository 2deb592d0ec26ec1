//! Records about one location that are kept in every location that can be reached: `<folder>/<location>/<time>-<id>`, sealed.
//! The newest one of each location counts. They are notes, not promises: without them nothing is lost but knowledge.

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::key::random;
use crate::open::{Replica, Repository};
use crate::patience::{ask_all, within};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Records of one location that are kept, of those that carry on what the older ones said.
const KEPT: usize = 5;

impl Repository {
    /// The key of a record that is made at this time, and its bytes. `folder` ends with `/`.
    pub(crate) fn seal_location_record(
        &self,
        folder: &str,
        location: &str,
        at: jiff::Timestamp,
        record: &impl Serialize,
    ) -> Result<(String, Bytes)> {
        let suffix: [u8; 4] = random()?;
        let key = format!("{folder}{location}/{}-{}", at.strftime("%Y%m%dT%H%M%S%.3fZ"), hex::encode(suffix));
        Ok((key, self.seal(ContainerKind::Document, record)?))
    }

    /// Keeps something in every location that takes it. An error only when none does.
    pub(crate) async fn put_where_taken(&self, key: &str, sealed: &Bytes) -> Result<()> {
        let (mut failure, mut is_stored) = (None, false);
        for replica in &self.replicas {
            match replica.location.put_new(key, sealed.clone()).await {
                Ok(_) => is_stored = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !is_stored => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Deletes all but the last few records of a location, where that is allowed: only the newest counts, and somebody may be about to
    /// read the one before it.
    pub(crate) async fn forget_older(&self, folder: &str, location: &str) {
        let prefix = format!("{folder}{location}/");
        for replica in &self.replicas {
            let listed = within(replica, self.limits.patience, replica.location.list(&prefix)).await;
            let mut keys: Vec<String> = listed.unwrap_or_default().into_iter().map(|entry| entry.key).collect();
            keys.sort();
            keys.truncate(keys.len().saturating_sub(KEPT));
            for key in keys {
                if replica.location.delete(&key).await.is_err() {
                    break;
                }
            }
        }
    }

    /// The newest record of each location that has one, from whichever locations answer. One that can't be read is passed over.
    pub(crate) async fn newest_location_records<T: DeserializeOwned>(&self, folder: &str) -> BTreeMap<String, T> {
        let ask = async |replica: Replica| Ok(replica.location.list(folder).await?);
        let mut keys: BTreeMap<String, Vec<&Replica>> = BTreeMap::new();
        for (replica, answer) in self.replicas.iter().zip(ask_all(&self.replicas, self.limits.patience, ask).await) {
            for entry in answer.unwrap_or_default() {
                keys.entry(entry.key).or_default().push(replica);
            }
        }
        let mut records: BTreeMap<String, T> = BTreeMap::new();
        // The newest name of a location comes last in order, and so first here.
        for (key, holders) in keys.iter().rev() {
            let Some((location, _)) = key.strip_prefix(folder).and_then(|rest| rest.split_once('/')) else { continue };
            if records.contains_key(location) {
                continue;
            }
            for replica in holders {
                let read = async {
                    let json = self.unseal(ContainerKind::Document, key, &self.get_record(replica, key).await?)?;
                    serde_json::from_slice(&json).map_err(|error| Error::corrupt(key, error.to_string()))
                };
                if let Ok(record) = read.await {
                    records.insert(location.to_owned(), record);
                    break;
                }
            }
        }
        records
    }

    async fn get_record(&self, replica: &Replica, key: &str) -> Result<Bytes> {
        within(replica, self.limits.patience, replica.location.get(key)).await
    }
}
