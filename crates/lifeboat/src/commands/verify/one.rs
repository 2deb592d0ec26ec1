//! One point, by its name, and the log without which it isn't consistent.

use crate::failure::{Failure, FailureKind};
use lifeboat_postgres::wal_file::{Segment, SegmentSize};
use lifeboat_repository::{MarkedPoint, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use std::collections::BTreeSet;

/// The point of that name.
pub async fn find(repository: &Repository, workload: Option<&str>, id: &str) -> Result<MarkedPoint, Failure> {
    let headers = repository.list_points(workload).await?;
    let found = headers.into_iter().find(|header| header.id.0 == id);
    let found = found.map(|header| MarkedPoint { workload: header.workload, point: header.id });
    found.ok_or_else(|| {
        Failure::new(FailureKind::NotFound, format!("no recovery point {id}")).with_hint("`lifeboat points` lists them")
    })
}

/// Whether a file of the log, by its key, is needed to make the point consistent. When that can't be told, each is.
pub async fn log_of(repository: &Repository, point: Option<&MarkedPoint>) -> impl Fn(&str) -> bool + Sync + use<> {
    let folder = point.map(|point| format!("wal/{}/", point.workload)).unwrap_or_default();
    let names = match point {
        Some(point) => segments(repository, point).await,
        None => None,
    };
    move |key: &str| {
        let file = key.rsplit('/').next().unwrap_or_default();
        let is_segment = |names: &BTreeSet<String>| file.get(..24).is_some_and(|name| names.contains(name));
        let is_about_all = key.contains("/cluster/") || key.contains("/history/");
        key.starts_with(&folder) && names.as_ref().is_none_or(|names| is_about_all || is_segment(names))
    }
}

/// The names of the segments between the point's start and its end.
async fn segments(repository: &Repository, point: &MarkedPoint) -> Option<BTreeSet<String>> {
    let point = repository.read_point(&point.workload, &point.point, &mut Vec::new()).await.ok()?;
    let details = PostgresDetails::of(&point).ok()?;
    let size = SegmentSize::new(details.wal_segment_bytes).ok()?;
    let last = Segment::ending_at(details.timeline, details.lsn_stop, size);
    let first = Segment::containing(details.timeline, details.lsn_start, size);
    let next = |segment: &Segment| (segment.number < last.number).then(|| segment.next());
    Some(std::iter::successors(Some(first), next).map(|segment| segment.name(size).to_string()).collect())
}
