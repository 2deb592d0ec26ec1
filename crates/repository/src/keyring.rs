//! Who can open a repository: listing, adding and removing key records.
//!
//! The repository key itself never changes. Removing a record keeps its owner from opening the repository from then on,
//! also from a location that comes back later; what
//! somebody copied before, the removed key still opens. Promise: a person can always open it, and whoever removes a key
//! doesn't lock himself out.

use crate::error::{Error, Result};
use crate::key::{Derivation, KeyRecord, Passphrase};
use crate::open::{Replica, Repository, copy_of_keys, key_name, open_key};
use crate::removal::Gone;
use crate::root::{Root, find_root};
use bytes::Bytes;

/// Whether the record opens with this passphrase. A damaged one doesn't.
async fn opens(replica: &Replica, name: &str, root: &Root, passphrase: &Passphrase) -> Result<bool> {
    match open_key(replica, name, root, passphrase).await {
        Ok(keys) => Ok(keys.is_some()),
        Err(error) if error.is_loss() => Ok(false),
        Err(error) => Err(error),
    }
}

impl Repository {
    /// The key records, without secrets.
    pub async fn key_records(&self) -> Result<Vec<(String, KeyRecord)>> {
        let mut records = Vec::new();
        let Some(first) = self.replicas.first() else { return Ok(records) };
        for (key, bytes) in copy_of_keys(first).await? {
            // One that is damaged opens nothing; `verify` tells of it.
            if let Ok(record) = serde_json::from_slice(&bytes) {
                records.push((key.trim_start_matches("keys/").to_string(), record));
            }
        }
        Ok(records)
    }

    /// Lets `passphrase`, which may be a machine's key, open the repository in every location. Returns the record's id.
    ///
    /// # Errors
    /// When a location is away: a key that opens only some of them would be found out on the wrong day. When it opens the
    /// repository already: whoever removed one of the two records would think it closed.
    pub async fn add_key(&self, passphrase: &Passphrase, label: &str) -> Result<String> {
        self.all_locations("add a key")?;
        if let Some(first) = self.replicas.first() {
            let (root, _) = find_root(first).await?;
            for (id, _) in self.key_records().await? {
                let name = format!("keys/{id}");
                if opens(first, &name, &root, passphrase).await? {
                    // Somebody may have been interrupted before it was everywhere.
                    return if self.spread(first, &name).await? { Ok(id) } else { Err(Error::KeyKnown { id }) };
                }
            }
        }
        let mut record = self.keys.wrap(passphrase, label, Derivation::default())?;
        if let Some(first) = self.replicas.first() {
            record.root = Some(find_root(first).await?.0);
        }
        let json = serde_json::to_vec_pretty(&record).map_err(|error| Error::Internal(error.to_string()))?;
        let id = key_name(&json);
        for replica in &self.replicas {
            replica.location.put_new(&format!("keys/{id}"), Bytes::from(json.clone())).await?;
        }
        Ok(id)
    }

    /// Removes the record with this id from every location. `own` is what the caller opens the repository with.
    ///
    /// # Errors
    /// When there is no such record, when it is the last one for people or the caller's own, when a location is away.
    pub async fn remove_key(&self, id: &str, own: &Passphrase) -> Result<()> {
        self.all_locations("remove a key")?;
        let records = self.key_records().await?;
        let Some((_, record)) = records.iter().find(|(other, _)| other == id) else {
            return Err(Error::NotFound { what: format!("key {id}") });
        };
        let for_people = records.iter().filter(|(_, record)| record.is_for_people()).count();
        if record.is_for_people() && for_people == 1 {
            return Err(Error::KeyNeeded {
                id: id.into(),
                why: "it is the last passphrase, and machines are lost with their keys",
            });
        }
        let name = format!("keys/{id}");
        if let Some(first) = self.replicas.first() {
            let (root, _) = find_root(first).await?;
            if opens(first, &name, &root, own).await? {
                return Err(Error::KeyNeeded { id: id.into(), why: "this configuration opens the repository with it" });
            }
        }
        for replica in &self.replicas {
            // First, so that no copy brings it back, not even from a place that nobody knows of now.
            self.note_gone(replica, Gone { keys: vec![name.clone()], ..Gone::default() }).await?;
            replica.location.delete(&name).await?;
        }
        Ok(())
    }

    /// Brings a record to every location that lacks it. False when none does.
    async fn spread(&self, from: &Replica, name: &str) -> Result<bool> {
        let bytes = from.location.get(name).await?;
        let mut is_new = false;
        for replica in &self.replicas {
            if replica.location.head(name).await?.is_none() {
                replica.location.put_new(name, bytes.clone()).await?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    fn all_locations(&self, purpose: &'static str) -> Result<()> {
        match self.unavailable.first() {
            None => Ok(()),
            Some((name, reason)) => {
                Err(Error::LocationNeeded { purpose, location: name.clone(), reason: reason.clone() })
            }
        }
    }
}
