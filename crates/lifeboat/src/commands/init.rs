//! `lifeboat init`: create the repository in every location of the configuration.

use super::load_config;
use crate::cli::Global;
use crate::config::UnknownKeys;
use crate::failure::Failure;
use crate::output::Output;
use crate::rooms;
use lifeboat_repository::{InitOutcome, Repository};
use serde_json::json;

pub fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::Refuse, output)?;
    for location in config.locations.values() {
        lifeboat_location::create_container(&rooms::location_settings(location)?)
            .map_err(|error| Failure::from(lifeboat_repository::Error::from(error)))?;
    }
    let replicas = rooms::replicas(&config, &rooms::all_locations(&config))?;
    let passphrase = rooms::passphrase(&config)?;
    let (id, fingerprint, outcomes) = rooms::runtime()?.block_on(async {
        for replica in &replicas {
            warn_of_weak_store(replica, output).await;
        }
        Repository::init(&replicas, &passphrase).await
    })?;
    if output.is_json() {
        let locations: Vec<_> =
            outcomes.iter().map(|(name, outcome)| json!({ "name": name, "state": outcome })).collect();
        return output.document(&json!({ "repository": id, "key_fingerprint": fingerprint, "locations": locations }));
    }
    for (name, outcome) in &outcomes {
        let word = match outcome {
            InitOutcome::Created => "created",
            InitOutcome::Present => "already there",
        };
        output.text(&format!("{name}: {word}"))?;
    }
    output.text(&format!("repository {id}, key {}", fingerprint.0))?;
    output.text(
        "Keep the passphrase where a fire here does not reach it, with the key's fingerprint beside it.\n\
         Without the passphrase nobody can read the backups, and nobody can help.",
    )?;
    output.hint("`lifeboat check` finds out whether everything is ready for the first backup");
    Ok(())
}

/// A store that ignores conditions still holds data safely (names carry hashes), but can't hold a lease.
async fn warn_of_weak_store(replica: &lifeboat_repository::Replica, output: &Output) {
    match replica.location.probe().await {
        Ok(capabilities) if !capabilities.conditional_create => output.warn(&format!(
            "location {}: the store accepts conditional writes and ignores them; backups are safe there, leases are not",
            replica.name
        )),
        // What can't be asked will fail with its reason in a moment.
        Ok(_) | Err(_) => {}
    }
}
