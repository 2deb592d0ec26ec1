//! Whose log a workload has, when the record of it is gone.
//!
//! Every file of the log lies below its cluster's system identifier, and points and segments tell the size of segments. So the
//! log stays readable without the record. PostgreSQL takes "not there" for the end of the log; a lost record must never
//! sound like that: what can't be told is an error.

use super::archive::{ArchivedName, ClusterIdentity, TailName};
use super::error::{Result, WalError, describe};
use crate::postgres::PostgresDetails;
use lifeboat_postgres::SystemId;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::{SegmentSize, WalFileName};
use lifeboat_repository::{LogEntry, Repository};
use std::collections::BTreeMap;

/// What a workload's log says about its cluster. `None` when every location says that it has no log.
///
/// # Errors
/// When a location doesn't answer and no other has log; when there is log of several clusters; when nothing readable says
/// how long its segments are.
pub(super) async fn told_by_log(repository: &Repository, workload: &str) -> Result<Option<ClusterIdentity>> {
    let logs = logs(repository, workload).await?;
    let unclear = |what: String| WalError::UnclearCluster { workload: workload.to_owned(), what };
    let mut found = logs.iter();
    let (system_id, entries) = match (found.next(), found.next()) {
        (None, _) => return Ok(None),
        (Some(only), None) => only,
        _ => {
            let names: Vec<String> = logs.keys().map(ToString::to_string).collect();
            return Err(unclear(format!("there is log of the clusters {}", names.join(", "))));
        }
    };
    let size = match size_of_points(repository, workload, *system_id).await {
        Some(size) => Some(size),
        None => size_of_log(repository, workload, entries).await,
    };
    let identity = |segment_size| ClusterIdentity { system_id: *system_id, segment_size };
    let size = size.ok_or_else(|| unclear("nothing that can be read says how long its segments are".to_owned()))?;
    Ok(Some(identity(size)))
}

/// The clusters that a workload has log of, as all locations together have it.
pub(super) async fn clusters(repository: &Repository, workload: &str) -> Result<Vec<SystemId>> {
    Ok(logs(repository, workload).await?.into_keys().collect())
}

/// The files of each cluster's log. Silence isn't "nothing there".
async fn logs(repository: &Repository, workload: &str) -> Result<BTreeMap<SystemId, Vec<LogEntry>>> {
    let (mut logs, mut reasons) = (BTreeMap::<SystemId, Vec<LogEntry>>::new(), Vec::new());
    for replica in repository.replicas() {
        match repository.only(&replica.name)?.list_logs(workload, "").await {
            Ok(entries) => {
                for entry in entries {
                    let system_id = entry.group.split('/').next().and_then(|group| group.parse().ok());
                    logs.entry(system_id.map_or(SystemId(0), SystemId)).or_default().push(entry);
                }
            }
            Err(error) => reasons.push(format!("{}: {}", replica.name, describe(&error))),
        }
    }
    // The groups that aren't a cluster's.
    logs.remove(&SystemId(0));
    if logs.is_empty() && !reasons.is_empty() {
        return Err(WalError::CouldNotAsk { name: format!("log of workload {workload}"), reasons });
    }
    Ok(logs)
}

/// As the newest point of the cluster that can be read says.
async fn size_of_points(repository: &Repository, workload: &str, system_id: SystemId) -> Option<SegmentSize> {
    for header in repository.list_points(Some(workload)).await.ok()?.into_iter().rev() {
        let Ok(point) = repository.read_point(workload, &header.id, &mut Vec::new()).await else { continue };
        let details = PostgresDetails::of(&point).ok().filter(|details| details.system_id == system_id);
        if let Some(size) = details.and_then(|details| SegmentSize::new(details.wal_segment_bytes).ok()) {
            return Some(size);
        }
    }
    None
}

/// As the first file that has the start of a segment says.
async fn size_of_log(repository: &Repository, workload: &str, entries: &[LogEntry]) -> Option<SegmentSize> {
    let has_start = |entry: &&LogEntry| {
        matches!(
            entry.name.parse(),
            Ok(ArchivedName::File(WalFileName::Segment(_) | WalFileName::Partial(_))
                | ArchivedName::Tail(TailName { from: 0, .. }))
        )
    };
    for entry in entries.iter().filter(has_start) {
        let Ok(object) = repository.get_log(workload, entry, &mut Vec::new()).await else { continue };
        if let Ok(header) = inspect_segment_start(&object.bytes) {
            return Some(header.segment_size);
        }
    }
    None
}
