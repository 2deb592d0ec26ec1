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
use jiff::Timestamp;
use lifeboat_postgres::backup_session::BackupStart;
use lifeboat_postgres::wal::{ChangedBlocks, DecoderSettings, Keep, RecordDecoder};
use lifeboat_postgres::wal_file::Segment;
use lifeboat_postgres::{Lsn, MajorVersion, TimelineId};
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
    directory: &Path,
    observed: &Observed,
    parent: &Point,
    started: &BackupStart,
) -> Result<ChangedBlocks, String> {
    let details = PostgresDetails::of(parent).map_err(|error| error.to_string())?;
    let begun = Begun {
        timeline: started.timeline,
        start_lsn: started.start_lsn,
        major: observed.major,
        has_page_checksums: observed.control.has_page_checksums(),
        at: Timestamp::now(),
    };
    let span = stretch(parent, &details, &begun)?;
    let segment_size = observed.control.wal_segment_size;
    let cluster = ClusterIdentity { system_id: observed.control.system_id, segment_size };
    let archive = WalArchive::new(repository.clone(), request.workload.clone(), cluster);
    let inventory = observe_span(&archive, started.timeline, span).await.map_err(|error| error.to_string())?;
    let source = Arc::new(Log { archive, inventory, pg_wal: directory.join("pg_wal"), span });
    source.changes(observed, started).await
}

/// The cluster as this backup found it.
struct Begun {
    timeline: TimelineId,
    start_lsn: Lsn,
    major: MajorVersion,
    has_page_checksums: bool,
    at: Timestamp,
}

/// The stretch of log to read, if it can tell.
fn stretch(parent: &Point, details: &PostgresDetails, begun: &Begun) -> Result<Span, String> {
    if details.timeline != begun.timeline {
        return Err(format!("the parent is of timeline {}, the cluster now of {}", details.timeline, begun.timeline));
    }
    if details.major != begun.major || details.data_checksums != begun.has_page_checksums {
        return Err("page checksums were turned on or off since the parent".into());
    }
    if begun.start_lsn < details.lsn_stop {
        return Err(format!("the backup starts at {}, before the parent's end {}", begun.start_lsn, details.lsn_stop));
    }
    let read_at = details.read_whole_at.unwrap_or(parent.started_at);
    let age_ns = begun.at.as_nanosecond() - read_at.as_nanosecond();
    if !(0..i128::from(SCRUB_AFTER_NS)).contains(&age_ns) {
        return Err("it is time to read every page again".into());
    }
    let span = Span { from: details.lsn_start, to: begun.start_lsn };
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

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::SystemId;
    use lifeboat_repository::PointId;

    const DAY_SECONDS: i64 = 24 * 3600;
    const GIB: u64 = 1 << 30;

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn details() -> PostgresDetails {
        PostgresDetails {
            version: 1,
            system_id: SystemId(7),
            major: MajorVersion::V15,
            server_version_num: 150_000,
            catalog_version: 1,
            timeline: TimelineId(3),
            lsn_start: Lsn(GIB),
            lsn_stop: Lsn(GIB + 100),
            stopped_at: seconds(10),
            wal_segment_bytes: 16 << 20,
            data_checksums: true,
            from_standby: false,
            backup_label: String::new(),
            tablespace_map: String::new(),
            tablespaces: Vec::new(),
            data_dir: "/".into(),
            outside_files: Vec::new(),
            bad_pages: Vec::new(),
            read_whole_at: None,
            complete_to: None,
        }
    }

    fn parent() -> Point {
        Point {
            id: PointId("p".into()),
            workload: "shop".into(),
            kind: "postgres".into(),
            backup_type: "full".into(),
            parent: None,
            started_at: seconds(0),
            finished_at: seconds(10),
            tree: Vec::new(),
            files: 1,
            bytes: 10 * GIB,
            bytes_read: 0,
            bytes_new: 0,
            bytes_stored: 0,
            locations: Vec::new(),
            details: serde_json::Value::Null,
        }
    }

    fn begun() -> Begun {
        Begun {
            timeline: TimelineId(3),
            start_lsn: Lsn(2 * GIB),
            major: MajorVersion::V15,
            has_page_checksums: true,
            at: seconds(DAY_SECONDS),
        }
    }

    #[test]
    fn the_log_from_start_to_start_is_asked() {
        let span = stretch(&parent(), &details(), &begun()).unwrap();
        assert_eq!((span.from, span.to), (Lsn(GIB), Lsn(2 * GIB)));
        assert!(stretch(&parent(), &details(), &Begun { start_lsn: Lsn(GIB + 100), ..begun() }).is_ok());
        assert!(stretch(&parent(), &details(), &Begun { start_lsn: Lsn(6 * GIB), ..begun() }).is_ok());
    }

    #[test]
    fn in_doubt_everything_is_read() {
        for (change, why) in [
            (Begun { timeline: TimelineId(4), ..begun() }, "of timeline 3, the cluster now of 4"),
            (Begun { has_page_checksums: false, ..begun() }, "checksums"),
            (Begun { start_lsn: Lsn(GIB + 99), ..begun() }, "before the parent's end"),
            (Begun { start_lsn: Lsn(6 * GIB + 1), ..begun() }, "more log"),
            (Begun { at: seconds(7 * DAY_SECONDS), ..begun() }, "time to read every page"),
            (Begun { at: seconds(-1), ..begun() }, "time to read every page"),
        ] {
            let reason = stretch(&parent(), &details(), &change).unwrap_err();
            assert!(reason.contains(why), "{reason}");
        }
    }

    /// A chain of points that left pages unread doesn't put the scrub off.
    #[test]
    fn the_scrub_counts_from_when_every_page_was_read() {
        let read_at = |days: i64| PostgresDetails { read_whole_at: Some(seconds(days * DAY_SECONDS)), ..details() };
        let now = Begun { at: seconds(9 * DAY_SECONDS), ..begun() };
        let young = Point { started_at: seconds(8 * DAY_SECONDS), ..parent() };
        assert!(stretch(&young, &read_at(1), &now).is_err());
        assert!(stretch(&young, &read_at(3), &now).is_ok());
        assert!(stretch(&young, &details(), &now).is_ok());
    }
}
