//! What a member wrote and the cluster went on without: put aside before it is taken away, so that somebody can look at it.

use super::DatabaseSettings;
use lifeboat_failover::Position;
use lifeboat_postgres::wal_file::{SegmentName, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};
use std::io;
use std::path::PathBuf;

/// Copies the segments of `end`'s lineage from where the cluster left it (`fork`) into a directory of their own, with a note. Returns where.
pub fn put_aside(settings: &DatabaseSettings, fork: u64, end: Position, size: SegmentSize) -> io::Result<PathBuf> {
    let name = format!("lineage-{}-from-{:X}-to-{:X}", end.lineage.0, fork, end.offset);
    let directory = settings.state_dir.join("lost").join(name);
    crate::private::directory(&directory)?;
    let (first, last) = (SegmentNumber::containing(Lsn(fork), size), SegmentNumber::containing(Lsn(end.offset), size));
    for entry in std::fs::read_dir(settings.data_dir.join("pg_wal"))?.flatten() {
        let name = entry.file_name();
        let Some(segment) = name.to_str().and_then(|name| name.parse::<SegmentName>().ok()) else { continue };
        let Ok(segment) = segment.with_size(size) else { continue };
        if segment.timeline == TimelineId(end.lineage.0) && (first..=last).contains(&segment.number) {
            std::fs::copy(entry.path(), directory.join(&name))?;
            std::fs::File::open(directory.join(&name))?.sync_all()?;
        }
    }
    let note = format!(
        "Written on timeline {} from {} to {}, and not part of the cluster: it went on from {} without it.\n\
         pg_waldump -t {} -s {} {}/... shows it.\n",
        end.lineage.0,
        Lsn(fork),
        Lsn(end.offset),
        Lsn(fork),
        end.lineage.0,
        Lsn(fork),
        directory.display()
    );
    std::fs::write(directory.join("README"), note)?;
    std::fs::File::open(&directory)?.sync_all()?;
    Ok(directory)
}
