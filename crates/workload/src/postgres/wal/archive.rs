//! Where each file of the log lies in the repository, and whose archive it is.
//!
//! A file keeps the name that PostgreSQL gave it. Segments and what hangs on them lie in the group
//! `<system id>/<timeline>/<log>`, so that one listing of a name's prefix finds the segment, its `.partial` and its
//! tails; histories lie in `<system id>/history`. A *tail* `<segment>.<from>.<to>` holds the bytes of a segment from
//! one offset up to another: what a receiver has flushed while the segment was not full yet.
//!
//! An archive belongs to one cluster. The first file that comes records whose it is, in `cluster/identity`; because
//! that name cannot be stored with two contents, two clusters can't share an archive by mistake. When that record is gone,
//! the log itself says whose it is (`owner.rs`), and the next backup writes it again.

use super::error::{Result, WalError};
use super::owner;
use lifeboat_postgres::wal_file::{Segment, SegmentName, SegmentSize, WalFileError, WalFileName};
use lifeboat_postgres::{Lsn, SystemId};
use lifeboat_repository::{Error as RepositoryError, LogEntry, Repository};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

const IDENTITY_GROUP: &str = "cluster";
const IDENTITY_NAME: &str = "identity";

/// Whose archive it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClusterIdentity {
    /// The number that `initdb` gave it.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
}

#[derive(Debug, Serialize, Deserialize)]
struct IdentityDocument {
    system_id: SystemId,
    segment_bytes: u64,
}

/// The log of one cluster in a repository.
#[derive(Debug, Clone)]
pub struct WalArchive {
    /// Where it is stored.
    pub repository: Arc<Repository>,
    /// The workload's name.
    pub workload: String,
    /// Which cluster it is.
    pub system_id: SystemId,
    /// The size of its segments.
    pub segment_size: SegmentSize,
}

/// A part of a segment: the bytes from one offset up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TailName {
    /// Of which segment.
    pub segment: SegmentName,
    /// Offset of its first byte.
    pub from: u32,
    /// Offset after its last byte.
    pub to: u32,
}

/// What is stored under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchivedName {
    /// A file as PostgreSQL names it.
    File(WalFileName),
    /// A part of a segment.
    Tail(TailName),
}

impl fmt::Display for TailName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:08X}.{:08X}", self.segment, self.from, self.to)
    }
}

impl FromStr for TailName {
    type Err = WalFileError;

    fn from_str(text: &str) -> std::result::Result<Self, WalFileError> {
        let offset = |digits: &str| {
            let plain = digits.len() == 8 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'));
            plain.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
        };
        let parts = || {
            let mut parts = text.splitn(3, '.');
            let segment = parts.next()?.parse().ok()?;
            let (from, to) = (offset(parts.next()?)?, offset(parts.next()?)?);
            (from < to).then_some(Self { segment, from, to })
        };
        parts().ok_or_else(|| WalFileError::Name { name: text.chars().take(80).collect() })
    }
}

impl fmt::Display for ArchivedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => name.fmt(f),
            Self::Tail(name) => name.fmt(f),
        }
    }
}

impl FromStr for ArchivedName {
    type Err = WalFileError;

    fn from_str(text: &str) -> std::result::Result<Self, WalFileError> {
        text.parse().map(Self::File).or_else(|error| text.parse().map(Self::Tail).map_err(|_| error))
    }
}

/// The group of a segment and of everything that begins with its name.
pub fn segment_group(system_id: SystemId, name: SegmentName) -> String {
    format!("{system_id}/{:08X}/{:08X}", name.timeline.0, name.log)
}

/// The group of the histories.
pub fn history_group(system_id: SystemId) -> String {
    format!("{system_id}/history")
}

/// The group in which a file of that name lies.
pub fn group_of(system_id: SystemId, name: ArchivedName) -> String {
    match name {
        ArchivedName::File(WalFileName::History(_)) => history_group(system_id),
        ArchivedName::File(
            WalFileName::Segment(segment) | WalFileName::Partial(segment) | WalFileName::Backup { segment, .. },
        )
        | ArchivedName::Tail(TailName { segment, .. }) => segment_group(system_id, segment),
    }
}

impl WalArchive {
    /// The archive of a cluster that is known.
    pub fn new(repository: Arc<Repository>, workload: impl Into<String>, cluster: ClusterIdentity) -> Self {
        let ClusterIdentity { system_id, segment_size } = cluster;
        Self { repository, workload: workload.into(), system_id, segment_size }
    }

    /// The archive that the workload has; `None` when nothing was ever stored in a reachable location.
    ///
    /// # Errors
    /// When the record of whose it is can't be read, or is gone and the log doesn't tell either.
    pub async fn of_workload(repository: Arc<Repository>, workload: &str) -> Result<Option<Self>> {
        Self::of_workload_or(repository, workload, None).await
    }

    /// The same for a cluster in recovery, which knows itself: when nothing is recorded, it is taken at its word.
    pub async fn of_workload_or(
        repository: Arc<Repository>,
        workload: &str,
        recovering: Option<ClusterIdentity>,
    ) -> Result<Option<Self>> {
        let cluster = match recorded_identity(&repository, workload).await?.or(recovering) {
            Some(cluster) => Some(cluster),
            None => owner::told_by_log(&repository, workload).await?,
        };
        Ok(cluster.map(|cluster| Self::new(repository, workload, cluster)))
    }

    /// Whether a workload has log, and nothing records whose it is.
    pub async fn is_unclaimed(repository: &Repository, workload: &str) -> Result<bool> {
        let is_recorded = !recorded_entries(repository, workload).await?.is_empty();
        Ok(!is_recorded && !owner::clusters(repository, workload).await?.is_empty())
    }

    /// Makes sure that this is the cluster's archive, recording it with the first file, or again when the record is gone.
    /// Another cluster is refused.
    pub async fn claim(&self) -> Result<()> {
        if let Some(recorded) = recorded_identity(&self.repository, &self.workload).await? {
            return self.same_cluster(recorded);
        }
        // A location that doesn't answer holds up nobody here.
        let clusters = owner::clusters(&self.repository, &self.workload).await.unwrap_or_default();
        if !clusters.is_empty()
            && !clusters.contains(&self.system_id)
            && let Some(found) = owner::told_by_log(&self.repository, &self.workload).await?
        {
            return self.same_cluster(found);
        }
        let document = IdentityDocument { system_id: self.system_id, segment_bytes: self.segment_size.bytes() };
        let json = serde_json::to_vec(&document).map_err(|error| WalError::Internal(error.to_string()))?;
        match self.repository.put_log(&self.workload, IDENTITY_GROUP, IDENTITY_NAME, &json, &[]).await {
            Ok(_) => Ok(()),
            Err(error @ RepositoryError::Conflict { .. }) => {
                match recorded_identity(&self.repository, &self.workload).await? {
                    Some(recorded) => self.same_cluster(recorded),
                    None => Err(error.into()),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn same_cluster(&self, recorded: ClusterIdentity) -> Result<()> {
        if recorded == self.identity() {
            return Ok(());
        }
        Err(WalError::ForeignCluster {
            workload: self.workload.clone(),
            recorded: recorded.system_id,
            recorded_bytes: recorded.segment_size.bytes(),
            found: self.system_id,
            found_bytes: self.segment_size.bytes(),
        })
    }

    /// Whose archive it is.
    pub fn identity(&self) -> ClusterIdentity {
        ClusterIdentity { system_id: self.system_id, segment_size: self.segment_size }
    }

    /// The group in which a file of that name lies.
    pub fn group_of(&self, name: ArchivedName) -> String {
        group_of(self.system_id, name)
    }

    /// The position of a name's first byte; an error when the cluster's segments are of another size.
    pub fn segment(&self, name: SegmentName) -> Result<Segment> {
        Ok(name.with_size(self.segment_size)?)
    }

    /// The name of the part of a segment between two positions, which lie in the same segment.
    pub fn tail_name(&self, segment: Segment, from: Lsn, to: Lsn) -> TailName {
        let start = segment.start(self.segment_size);
        let offset = |lsn: Lsn| u32::try_from(lsn.bytes_since(start)).unwrap_or(u32::MAX);
        TailName { segment: segment.name(self.segment_size), from: offset(from), to: offset(to) }
    }
}

async fn recorded_entries(repository: &Repository, workload: &str) -> Result<Vec<LogEntry>> {
    let mut entries = repository.list_logs(workload, &format!("{IDENTITY_GROUP}/{IDENTITY_NAME}-")).await?;
    entries.retain(|entry| entry.group == IDENTITY_GROUP && entry.name == IDENTITY_NAME);
    Ok(entries)
}

async fn recorded_identity(repository: &Repository, workload: &str) -> Result<Option<ClusterIdentity>> {
    let entries = recorded_entries(repository, workload).await?;
    let name = || format!("{IDENTITY_GROUP}/{IDENTITY_NAME} of workload {workload}");
    let entry = match entries.as_slice() {
        [] => return Ok(None),
        [entry] => entry,
        _ => return Err(WalError::TwoContents { name: name() }),
    };
    let object = repository.get_log(workload, entry, &mut Vec::new()).await?;
    let damaged = |what: String| WalError::Damaged { name: name(), what };
    let document: IdentityDocument =
        serde_json::from_slice(&object.bytes).map_err(|error| damaged(error.to_string()))?;
    let segment_size = SegmentSize::new(document.segment_bytes).map_err(|error| damaged(error.to_string()))?;
    Ok(Some(ClusterIdentity { system_id: document.system_id, segment_size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_group() {
        for (name, group) in [
            ("00000002000000A1000000FF", "71/00000002/000000A1"),
            ("00000002000000A1000000FF.partial", "71/00000002/000000A1"),
            ("00000002000000A1000000FF.00000028.backup", "71/00000002/000000A1"),
            ("00000002000000A1000000FF.00000000.00F00000", "71/00000002/000000A1"),
            ("00000003.history", "71/history"),
        ] {
            let parsed: ArchivedName = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
            assert_eq!(group_of(SystemId(71), parsed), group);
        }
    }

    #[test]
    fn what_is_not_a_tail_is_refused() {
        for name in [
            "00000002000000A1000000FF.00000028.00000028",
            "00000002000000A1000000FF.00000028.0000001",
            "00000002000000A1000000FF.00000028.0000002g",
            "00000002000000A1000000FF.+0000028.00000030",
            "00000002000000A1000000FF.00000028",
            "00000002000000A1000000FF.00000028.00000030.00000040",
            "x",
        ] {
            assert!(name.parse::<ArchivedName>().is_err(), "{name}");
        }
    }
}
