//! Log of which nothing records whose it is: the record `cluster/identity` is gone from every location that was looked at.
//!
//! The log itself still tells, so no point is lost by it; but nothing keeps another cluster out any more.

use crate::failure::{Failure, FailureKind};
use lifeboat_repository::{Damage, Repository};
use lifeboat_workload::postgres::wal::WalArchive;
use std::collections::BTreeSet;
use std::sync::Arc;

const RECORD: &str = "cluster/identity";

/// One for each location that has log of such a workload. What only some locations lack is told as any other object is.
pub async fn missing(repository: &Arc<Repository>, workload: Option<&str>) -> Result<Vec<Damage>, Failure> {
    let mut missing = Vec::new();
    let headers = repository.list_points(workload).await?;
    let workloads: BTreeSet<String> = headers.into_iter().map(|header| header.workload).collect();
    for name in workloads {
        // Where that can't be told, nothing is said to be missing.
        if !WalArchive::is_unclaimed(repository, &name).await.unwrap_or(false) {
            continue;
        }
        for replica in repository.replicas() {
            let alone = repository.only(&replica.name)?;
            if WalArchive::is_unclaimed(&alone, &name).await.unwrap_or(false) {
                let what =
                    format!("nothing records which cluster the log is of; `lifeboat backup {name}` writes it again");
                missing.push(Damage::new(&replica.name, format!("wal/{name}/{RECORD}"), what));
            }
        }
    }
    Ok(missing)
}

/// Whether damage is such a record.
pub fn is_about_owner(damage: &Damage) -> bool {
    damage.object.starts_with("wal/") && damage.object.ends_with(&format!("/{RECORD}"))
}

/// How a verification ends that found nothing else.
pub fn failure() -> Failure {
    let message = "what is there is whole, but nothing records any more which cluster the log is of";
    Failure::new(FailureKind::CheckFailed, message)
        .with_hint("the next `lifeboat backup` writes it again; a restore does without")
        .after_its_document()
}
