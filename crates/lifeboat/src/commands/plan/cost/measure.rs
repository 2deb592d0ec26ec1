//! What the locations hold, and how it grows. What doesn't answer is told on stderr and unknown.

use crate::config::{Config, LocationConfig, Media, Store as Kind};
use crate::failure::Failure;
use crate::output::Output;
use crate::rooms;
use lifeboat_plan::cost::{PriceBook, Store, WorkloadSize, growth_bytes_per_year};
use lifeboat_repository::{Replica, Repository};
use std::collections::BTreeMap;

/// Growth is told well enough by so many points, the newest.
const POINTS_READ_MAX: usize = 400;

/// Everything that was measured.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub stores: Vec<Store>,
    pub workloads: BTreeMap<String, WorkloadSize>,
}

pub async fn measure(config: &Config, book: &PriceBook, output: &Output) -> Seen {
    let repository = match rooms::open_repository(config, &rooms::all_locations(config), output).await {
        Ok(repository) => Some(repository),
        Err(failure) => {
            output.warn(&format!("storage is not measured: {}", failure.sentence()));
            None
        }
    };
    let mut sizes = BTreeMap::new();
    for replica in repository.iter().flat_map(|repository| repository.replicas()) {
        match size(replica).await {
            Ok(size) => drop(sizes.insert(replica.name.clone(), size)),
            Err(failure) => output.warn(&format!("location {}: {}", replica.name, failure.message)),
        }
    }
    let mut workloads = BTreeMap::new();
    for name in config.workloads.keys() {
        let size = match &repository {
            Some(repository) => grown(repository, name, output).await,
            None => WorkloadSize::default(),
        };
        workloads.insert(name.clone(), size);
    }
    let store = |(name, location): (&String, &LocationConfig)| {
        let holds = |(workload, config): (&String, &crate::config::WorkloadConfig)| {
            config.locations.contains(name).then(|| workload.clone())
        };
        Store {
            name: name.clone(),
            class: book.location.get(name).map_or_else(|| class(location).to_owned(), |place| place.class.clone()),
            objects: sizes.get(name).map(|(objects, _)| *objects),
            bytes: sizes.get(name).map(|(_, bytes)| *bytes),
            workloads: config.workloads.iter().filter_map(holds).collect(),
        }
    };
    Seen { stores: config.locations.iter().map(store).collect(), workloads }
}

/// What its url tells. Somebody else's server that speaks S3 has somebody else's prices.
fn class(location: &LocationConfig) -> &'static str {
    match (location.url.store(), location.media) {
        (Kind::Directory, Media::Removable) => "removable-disk",
        (Kind::Directory, _) => "own-disk",
        (Kind::S3, _) if location.endpoint.is_some() => "s3-compatible",
        (Kind::S3, _) => "s3-standard",
        (Kind::Azure, _) => "azure-blob",
        (Kind::Google, _) => "google-storage",
    }
}

/// Objects and bytes.
async fn size(replica: &Replica) -> Result<(u64, u64), Failure> {
    let entries = replica.location.list("").await.map_err(lifeboat_repository::Error::from)?;
    Ok((entries.len() as u64, entries.iter().map(|entry| entry.size).sum()))
}

async fn grown(repository: &Repository, name: &str, output: &Output) -> WorkloadSize {
    let headers = match repository.list_points(Some(name)).await {
        Ok(headers) => headers,
        Err(error) => {
            output.warn(&format!("the points of {name} are not read: {error}"));
            return WorkloadSize::default();
        }
    };
    let mut points = Vec::new();
    for header in headers.iter().rev().take(POINTS_READ_MAX) {
        match repository.read_point(name, &header.id, &mut Vec::new()).await {
            Ok(point) => points.push(point),
            Err(error) => output.warn(&format!("point {} of {name} is left out: {error}", header.id)),
        }
    }
    let times: Vec<_> = points.iter().map(|point| (point.finished_at, point.bytes_stored)).collect();
    WorkloadSize {
        restore_bytes: points.iter().max_by_key(|point| point.finished_at).map(|point| point.bytes),
        stored_bytes: (!points.is_empty()).then(|| points.iter().map(|point| point.bytes_stored).sum()),
        growth_bytes_per_year: growth_bytes_per_year(&times),
    }
}
