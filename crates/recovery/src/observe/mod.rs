//! What is there: points and log, read from the repository, as the values that planning works with.
//!
//! Not here: opinions.

mod coverage;
mod places;

pub(crate) use coverage::content;

use crate::error::Result;
use crate::path::{Path, PointSummary};
use crate::planner::{Known, Wanted, line_wanted};
use crate::target::Target;
use futures::StreamExt;
use lifeboat_postgres::wal_file::SegmentSize;
use lifeboat_postgres::{Lsn, SystemId};
use lifeboat_repository::{Error, Point, PointHeader, PointId, Progress, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::{ClusterIdentity, WalArchive, observe as observe_wal};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Points read side by side.
const READS_AT_ONCE: usize = 8;

/// What is there.
#[derive(Debug)]
pub struct Observed {
    /// For planning.
    pub known: Known,
    /// Every point that could be read.
    pub points: BTreeMap<PointId, (Point, PostgresDetails)>,
    /// Every point that is listed and could not be read, and why.
    pub unread: Vec<(PointId, Error)>,
    /// What could not be read, and what was wrong in one location although another helped.
    pub notes: Vec<String>,
}

/// Reads the points and the log of a workload, from whichever locations `repository` sees. When a transaction or a name is
/// `wanted`, searches the log for it: that reads segments, the newest first.
pub async fn observe(
    repository: &Arc<Repository>,
    workload: &str,
    wanted: Option<&Wanted>,
    progress: &dyn Progress,
) -> Result<Observed> {
    let mut notes = Vec::new();
    let headers = repository.list_points(Some(workload)).await?;
    let read = futures::stream::iter(headers.into_iter().map(|header| read_point(repository, header)));
    let read: Vec<_> = read.buffered(READS_AT_ONCE).collect().await;
    let mut points = BTreeMap::new();
    let (mut summaries, mut unread) = (Vec::new(), Vec::new());
    let mut clusters: BTreeMap<SystemId, SegmentSize> = BTreeMap::new();
    for (header, result, reading) in read {
        notes.extend(reading);
        let (point, details, size) = match result {
            Ok(found) => found,
            Err(error) => {
                notes.push(format!("recovery point {} is passed over: {error}", header.id));
                unread.push((header.id, error));
                continue;
            }
        };
        clusters.insert(details.system_id, size);
        summaries.push(summary(&header, &point, &details));
        points.insert(header.id, (point, details));
    }
    let mut known = Known {
        workload: workload.to_owned(),
        points: summaries,
        logs: Vec::new(),
        places: Vec::new(),
        places_from: Lsn(0),
        silent: repository.unavailable().iter().map(|(name, _)| name.clone()).collect(),
    };
    let mut archives = Vec::new();
    for (system_id, segment_size) in clusters {
        let identity = ClusterIdentity { system_id, segment_size };
        let archive = WalArchive::new(repository.clone(), workload, identity);
        let inventory = observe_wal(&archive).await?;
        notes.extend(inventory.silent.iter().map(|(what, why)| format!("{what}: {why}")));
        let doubtful = |name| format!("{name} is stored with two different contents and can't be used");
        notes.extend(inventory.conflicts.iter().map(doubtful));
        let silent = inventory.silent.iter().map(|(name, _)| name);
        let replicas = repository.replicas();
        known.silent.extend(silent.filter(|name| replicas.iter().any(|replica| replica.name == **name)).cloned());
        known.logs.push(coverage::coverage(&archive, &inventory, &mut notes).await?);
        archives.push((archive, inventory));
    }
    if let Some(wanted) = wanted.filter(|wanted| matches!(wanted.target, Target::Xid(_) | Target::Name(_)))
        && let Some((system_id, timeline)) = line_wanted(&known, wanted)
        && let Some((archive, inventory)) = archives.iter().find(|(archive, _)| archive.system_id == system_id)
        && let Some(coverage) = known.logs.iter().find(|log| log.system_id == system_id)
    {
        let path = Path::to(timeline, coverage);
        let found = places::search(archive, inventory, &path, &known.points, &wanted.target, progress).await?;
        (known.places, known.places_from) = (found.places, found.looked_from);
    }
    known.silent.sort();
    known.silent.dedup();
    Ok(Observed { known, points, unread, notes })
}

type ReadPoint = (PointHeader, std::result::Result<(Point, PostgresDetails, SegmentSize), Error>, Vec<String>);

async fn read_point(repository: &Repository, header: PointHeader) -> ReadPoint {
    let mut notes = Vec::new();
    let read = async {
        let point = repository.read_point(&header.workload, &header.id, &mut notes).await?;
        let details = PostgresDetails::of(&point)?;
        let object = || format!("recovery point {}", header.id);
        let size = SegmentSize::new(details.wal_segment_bytes).map_err(|e| Error::corrupt(object(), e.to_string()))?;
        Ok((point, details, size))
    };
    let result = read.await;
    (header, result, notes)
}

fn summary(header: &PointHeader, point: &Point, details: &PostgresDetails) -> PointSummary {
    PointSummary {
        id: header.id.clone(),
        system_id: details.system_id,
        timeline: details.timeline,
        lsn_start: details.lsn_start,
        lsn_stop: details.lsn_stop,
        stopped_at: details.stopped_at,
        complete_to: details.complete_to.unwrap_or(details.stopped_at),
        // A point is stored last, and only where everything before it arrived.
        locations: header.locations.clone(),
        bytes: point.bytes,
        files: point.files,
    }
}
