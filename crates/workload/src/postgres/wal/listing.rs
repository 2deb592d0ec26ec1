//! Asking every location at once, without mistaking silence for "not there".

use super::archive::WalArchive;
use super::error::{Result, describe};
use lifeboat_repository::LogEntry;
use std::collections::BTreeMap;

/// What the locations say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Every object, with the locations that have it.
    pub entries: Vec<LogEntry>,
    /// Locations that didn't answer, and why. Their objects may be missing from `entries`.
    pub silent: Vec<(String, String)>,
}

impl WalArchive {
    /// Everything of this cluster's log whose `<group>/<name>`, after the system id, begins with `prefix`.
    /// An error only when no location answers.
    pub async fn list(&self, prefix: &str) -> Result<Listing> {
        let prefix = format!("{}/{prefix}", self.system_id);
        let listings = self.repository.replicas().iter().map(|replica| {
            let prefix = prefix.as_str();
            async move {
                let listed = match self.repository.only(&replica.name) {
                    Ok(alone) => alone.list_logs(&self.workload, prefix).await,
                    Err(error) => Err(error),
                };
                (replica.name.clone(), listed)
            }
        });
        let mut silent = self.repository.unavailable().to_vec();
        let mut found: BTreeMap<(String, String, String), LogEntry> = BTreeMap::new();
        let (mut answered, mut failure) = (false, None);
        for (location, listed) in futures::future::join_all(listings).await {
            match listed {
                Ok(entries) => {
                    answered = true;
                    for entry in entries {
                        let key = (entry.group.clone(), entry.name.clone(), entry.content_id.clone());
                        match found.entry(key) {
                            std::collections::btree_map::Entry::Occupied(mut known) => {
                                known.get_mut().locations.extend(entry.locations);
                            }
                            std::collections::btree_map::Entry::Vacant(place) => {
                                place.insert(entry);
                            }
                        }
                    }
                }
                Err(error) => {
                    silent.push((location, describe(&error)));
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if !answered => Err(error.into()),
            _ => Ok(Listing { entries: found.into_values().collect(), silent }),
        }
    }
}
