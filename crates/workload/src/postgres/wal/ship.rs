//! From a receiver's journal to the locations: whole segments, the part of the one that is being written, histories.
//!
//! A file of the journal is removed when a location has its whole segment, or when the stream has left it behind and a
//! location has all of it. Shipping the same twice does no harm, so a restore ships what it finds without asking whether
//! a receiver is at work; it removes nothing.

use super::archive::{ArchivedName, ClusterIdentity, TailName, WalArchive};
use super::error::{Result, WalError};
use super::facts;
use super::journal::{self, JournalFile};
use super::push;
use lifeboat_postgres::history::HISTORY_BYTES_MAX;
use lifeboat_postgres::wal_file::{Segment, WalFileName};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::Repository;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What was shipped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShipReport {
    /// Whole segments.
    pub segments: u64,
    /// Parts.
    pub parts: u64,
    /// The last position that was found, and its timeline.
    pub end: Option<(TimelineId, Lsn)>,
}

/// Ships what a workload's spool holds, of every cluster that it has log of. Removes nothing.
///
/// # Errors
/// When something in it couldn't be stored or read: then not all that was acknowledged is in a location.
pub async fn ship(repository: &Arc<Repository>, workload: &str, spool: &Path) -> Result<ShipReport> {
    let mut report = ShipReport::default();
    for cluster in journal::clusters(spool, workload)? {
        let archive = WalArchive::new(repository.clone(), workload, cluster);
        let directory = journal::directory(spool, workload, cluster.system_id);
        let shipped = Shipper { keeps: true, ..Shipper::default() }.pass(&archive, &directory).await?;
        report.segments += shipped.segments;
        report.parts += shipped.parts;
        report.end = report.end.max(shipped.end);
    }
    Ok(report)
}

/// Ships again and again, and remembers what it did.
#[derive(Debug, Default)]
pub(crate) struct Shipper {
    /// Files stay where they are.
    pub keeps: bool,
    is_claimed: bool,
    /// How far the part of a segment is shipped.
    shipped: BTreeMap<Segment, Lsn>,
    histories: BTreeSet<TimelineId>,
}

impl Shipper {
    /// Ships what is there now and wasn't before.
    pub(crate) async fn pass(&mut self, archive: &WalArchive, directory: &Path) -> Result<ShipReport> {
        let cluster = archive.identity();
        let mut report = ShipReport::default();
        let segments = in_thread(directory, move |directory| journal::segments(directory, cluster)).await?;
        let histories = in_thread(directory, journal::histories).await?;
        if segments.is_empty() && histories.is_empty() {
            return Ok(report);
        }
        if !self.is_claimed {
            archive.claim().await?;
            self.is_claimed = true;
        }
        // Before anything of its timeline: recovery needs it to get there.
        for timeline in histories.into_iter().filter(|timeline| !self.histories.contains(timeline)).collect::<Vec<_>>()
        {
            let name = WalFileName::History(timeline);
            let path = directory.join(name.to_string());
            let content = std::fs::read(&path).map_err(WalError::file("read", &path))?;
            push::check(archive, name, &content[..content.len().min(HISTORY_BYTES_MAX + 1)])?;
            push::store(archive, name, &content).await?;
            self.histories.insert(timeline);
        }
        for (place, segment) in segments.iter().enumerate() {
            let is_last = place + 1 == segments.len();
            self.ship_one(archive, directory, *segment, is_last, &mut report).await?;
        }
        Ok(report)
    }

    async fn ship_one(
        &mut self,
        archive: &WalArchive,
        directory: &Path,
        segment: Segment,
        is_last: bool,
        report: &mut ShipReport,
    ) -> Result<()> {
        let cluster = archive.identity();
        let read = in_thread(directory, move |directory| journal::read(directory, cluster, segment)).await;
        let file = match read {
            // Whoever ships beside us was quicker, and a location has it.
            Err(WalError::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        let start = segment.start(archive.segment_size);
        let end = start.saturating_add(file.log.len() as u64);
        report.end = Some((segment.timeline, end));
        if end == segment.end(archive.segment_size) {
            let name = WalFileName::Segment(segment.name(archive.segment_size));
            let annex = facts::annex_of(&file.log);
            put(archive, ArchivedName::File(name), &file.log, &annex).await?;
            report.segments += 1;
            self.shipped.remove(&segment);
            return self.forget(directory, cluster, segment);
        }
        let from = self.shipped.get(&segment).copied().unwrap_or(start);
        if end > from {
            let name = part_name(archive, &file, from);
            let offset = usize::try_from(from.bytes_since(start)).unwrap_or_default();
            put(archive, ArchivedName::Tail(name), &file.log[offset..], &[]).await?;
            report.parts += 1;
            self.shipped.insert(segment, end);
        }
        // The stream goes on in a later one: nothing comes to this one any more.
        if is_last { Ok(()) } else { self.forget(directory, cluster, segment) }
    }

    fn forget(&self, directory: &Path, cluster: ClusterIdentity, segment: Segment) -> Result<()> {
        if self.keeps { Ok(()) } else { journal::remove(directory, cluster, segment) }
    }
}

fn part_name(archive: &WalArchive, file: &JournalFile, from: Lsn) -> TailName {
    let start = file.segment.start(archive.segment_size);
    archive.tail_name(file.segment, from, start.saturating_add(file.log.len() as u64))
}

async fn put(archive: &WalArchive, name: ArchivedName, bytes: &[u8], annex: &[u8]) -> Result<()> {
    let group = archive.group_of(name);
    archive.repository.put_log(&archive.workload, &group, &name.to_string(), bytes, annex).await?;
    Ok(())
}

/// Reads files where reading may block.
async fn in_thread<T: Send + 'static>(
    directory: &Path,
    work: impl FnOnce(&Path) -> Result<T> + Send + 'static,
) -> Result<T> {
    let directory = directory.to_path_buf();
    let done = tokio::task::spawn_blocking(move || work(&directory)).await;
    done.unwrap_or_else(|error| Err(WalError::Internal(format!("reading the journal failed: {error}"))))
}
