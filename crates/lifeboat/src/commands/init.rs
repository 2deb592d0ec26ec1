//! `lifeboat init`: create the repository in every location of the configuration.

use super::load_config;
use crate::cli::Global;
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{removable, rooms};
use lifeboat_repository::{InitOutcome, Repository};
use serde_json::json;

pub fn run(global: &Global, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    // A mount point without its disk must stay empty.
    let (names, absent) = removable::attached(&config, &rooms::all_locations(&config));
    if names.is_empty() {
        return Err(Failure::new(FailureKind::Usage, "every location is removable, and none is attached").with_hint(
            "add a location that is always there; `lifeboat sync` brings removable disks up to date from it",
        ));
    }
    for name in &absent {
        output.tell(&format!("note: {name} is not attached; `lifeboat sync {name} --init-new` sets the disk up"));
    }
    for location in names.iter().filter_map(|name| config.locations.get(name)) {
        lifeboat_location::create_container(&rooms::location_settings(location)?)
            .map_err(|error| Failure::from(lifeboat_repository::Error::from(error)))?;
    }
    let replicas = rooms::replicas(&config, &names)?;
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
