//! What changed since the parent point, by the log: so that an incremental backup reads that and not everything.
//!
//! The log from the start of the parent to the start of this backup names every page that was changed between them; what
//! is changed later, replay repairs. Promise: an answer is given only when the log was read without a gap, every record
//! intact, in the history of this very cluster. Whatever is in doubt, the answer is the reason for which everything is
//! read instead:
//!
//! - another timeline than the parent's (a promotion, a recovery), other page checksums, a start before the parent's end;
//! - a segment that is missing, damaged, or that differs between `pg_wal` and the archive: somebody went back to an old
//!   copy of the disk, and the archive tells of a history that is no longer this cluster's;
//! - more log than reading it would save;
//! - [`SCRUB_AFTER_NS`] have passed since every page was last read. Disks change what nobody wrote.

use super::BackupRequest;
use super::observe::Observed;
use crate::postgres::PostgresDetails;
use crate::postgres::appearance::SCRUB_AFTER_NS;
use crate::postgres::wal::{ClusterIdentity, Inventory, Span, WalArchive, observe_span};
use lifeboat_postgres::backup_session::BackupStart;
use lifeboat_postgres::wal::{ChangedBlocks, DecoderSettings, Keep, RecordDecoder};
use lifeboat_postgres::wal_file::Segment;
use lifeboat_repository::{Point, Repository};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Reading log costs about as much as reading files; below this it isn't worth a thought.
const LOG_BYTES_ALWAYS: u64 = 256 << 20;
/// Segments that are brought while one is read.
const AHEAD_BYTES: u64 = 48 << 20;
/// The references of a record to pages fit many times.
const KEPT_BYTES: usize = 8192;

/// What changed from `parent` to the start of this backup, or why that can't be said.
pub(super) async fn observe(
    repository: &Arc<Repository>,
    request: &BackupRequest,
    observed: &Observed,
    parent: &Point,
    started: &BackupStart,
) -> Result<ChangedBlocks, String> {
    let details = PostgresDetails::of(parent).map_err(|error| error.to_string())?;
    let span = stretch(parent, &details, observed, started, jiff::Timestamp::now())?;
    let segment_size = observed.control.wal_segment_size;
    let cluster = ClusterIdentity { system_id: observed.control.system_id, segment_size };
    let archive = WalArchive::new(repository.clone(), request.workload.clone(), cluster);
    let inventory = observe_span(&archive, started.timeline, span).await.map_err(|error| error.to_string())?;
    let source = Arc::new(Log { archive, inventory, pg_wal: request.data_dir.join("pg_wal"), span });
    source.changes(observed, started).await
}

/// The stretch of log to read, if it can tell.
fn stretch(
    parent: &Point,
    details: &PostgresDetails,
    observed: &Observed,
    started: &BackupStart,
    now: jiff::Timestamp,
) -> Result<Span, String> {
    if details.timeline != started.timeline {
        return Err(format!("the parent is of timeline {}, the cluster now of {}", details.timeline, started.timeline));
    }
    if details.major != observed.major || details.data_checksums != observed.control.has_page_checksums() {
        return Err("page checksums were turned on or off since the parent".into());
    }
    if started.start_lsn < details.lsn_stop {
        return Err(format!(
            "the backup starts at {}, before the parent's end {}",
            started.start_lsn, details.lsn_stop
        ));
    }
    let read_at = details.read_whole_at.unwrap_or(parent.started_at);
    let age_ns = now.as_nanosecond() - read_at.as_nanosecond();
    if !(0..i128::from(SCRUB_AFTER_NS)).contains(&age_ns) {
        return Err("it is time to read every page again".into());
    }
    let span = Span { from: details.lsn_start, to: started.start_lsn };
    let log_bytes = span.to.bytes_since(span.from);
    if log_bytes > LOG_BYTES_ALWAYS.max(parent.bytes / 2) {
        return Err("there is more log since the parent than reading it would save".into());
    }
    Ok(span)
}

/// A stretch of log and where to get it.
struct Log {
    archive: WalArchive,
    inventory: Inventory,
    pg_wal: std::path::PathBuf,
    span: Span,
}

impl Log {
    async fn changes(self: Arc<Self>, observed: &Observed, started: &BackupStart) -> Result<ChangedBlocks, String> {
        let size = self.archive.segment_size;
        let settings = DecoderSettings {
            system_id: Some(self.archive.system_id),
            keep: Keep::Everything,
            kept_bytes_max: KEPT_BYTES,
            ..DecoderSettings::new(size)
        };
        let mut decoder = RecordDecoder::new(settings, self.span.from);
        let mut changed = ChangedBlocks::new();
        let mut waiting = self.segments(started).into_iter();
        let mut under_way = VecDeque::new();
        let ahead = usize::try_from(AHEAD_BYTES / size.bytes()).unwrap_or(0).max(1);
        loop {
            while under_way.len() < ahead
                && let Some(segment) = waiting.next()
            {
                let log = self.clone();
                let is_standby = started.on_standby;
                under_way.push_back((segment, tokio::spawn(async move { log.bytes(segment, is_standby).await })));
            }
            let Some((segment, bytes)) = under_way.pop_front() else { break };
            let bytes = bytes.await.map_err(|error| error.to_string())??;
            let start = segment.start(size);
            let from = self.span.from.max(start).bytes_since(start) as usize;
            let to = self.span.to.min(segment.end(size)).bytes_since(start) as usize;
            let mut input = bytes.get(from..to).ok_or_else(|| format!("{} is cut short", segment.name(size)))?;
            tokio::task::block_in_place(|| {
                while let Some(record) = decoder.next(&mut input).map_err(|end| end.to_string())? {
                    changed.add(&record, observed.major);
                }
                Ok::<(), String>(())
            })?;
        }
        // The log was read up to the very byte at which the backup begins: nothing is half read.
        if decoder.position() != self.span.to || decoder.record_under_way().is_some() {
            return Err(format!("no record of the log ends where the backup starts, at {}", self.span.to));
        }
        match changed.distrusted() {
            Some(distrust) => Err(distrust.to_string()),
            None => Ok(changed),
        }
    }

    fn segments(&self, started: &BackupStart) -> Vec<Segment> {
        let size = self.archive.segment_size;
        let last = Segment::ending_at(started.timeline, self.span.to, size);
        let first = Segment::containing(started.timeline, self.span.from, size);
        let next = |segment: &Segment| (segment.number < last.number).then(|| segment.next());
        let is_empty = self.span.to <= self.span.from;
        if is_empty { Vec::new() } else { std::iter::successors(Some(first), next).collect() }
    }

    /// A segment from `pg_wal`, where it must agree with the archive; else from the archive. A standby's own files are
    /// the last resort: their ends are left from earlier uses.
    async fn bytes(&self, segment: Segment, is_standby: bool) -> Result<Vec<u8>, String> {
        let name = segment.name(self.archive.segment_size);
        let text = name.to_string();
        if self.inventory.conflicts.contains(&text) {
            return Err(format!("{text} is archived with two contents"));
        }
        let archived = self.inventory.segment(name);
        let local = match archived {
            Some(_) if is_standby => None,
            _ => read_local(&self.pg_wal.join(&text)).await?,
        };
        match (local, archived) {
            (Some(bytes), Some(entry)) if self.archive.repository.content_id(&bytes) != entry.content_id => {
                Err(format!("{text} in pg_wal is not what the archive holds under that name"))
            }
            (Some(bytes), _) => Ok(bytes),
            (None, Some(entry)) => {
                let object = self.archive.repository.get_log(&self.archive.workload, entry, &mut Vec::new()).await;
                object.map(|object| object.bytes).map_err(|error| error.to_string())
            }
            (None, None) => Err(format!("{text} is neither in pg_wal nor archived")),
        }
    }
}

async fn read_local(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(owned)).await.map_err(|error| error.to_string())?;
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
