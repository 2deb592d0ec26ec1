//! Which transaction dropped a table, emptied it, or deleted from it: found in the archived log, without a server.
//!
//! It reads forward from a recovery point, whose catalogs say which file is which table, and follows them through the log. A
//! hole in the log is told, and the next recovery point behind it says anew what the tables are.
//!
//! For what the log doesn't tell by itself: where to ask next, and what committed in a part of it. Asking is the caller's.

mod bisection;
mod catalogs;
mod commits;
mod database;
mod ledger;
mod name;
#[cfg(test)]
mod tests;

pub use bisection::{Bisection, Reachable};
pub use commits::{Commit, Line};
pub use ledger::{Deed, Finding};
pub use name::{NotAName, TableName, WantedTable};

use crate::error::Result;
use crate::log::{Piece, Records, pieces};
use crate::observe::observe;
use crate::path::{Path, PointSummary};
use crate::planner::{Known, Wanted, line_wanted};
use futures::StreamExt;
use jiff::Timestamp;
use ledger::Ledger;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::wal::{DecoderSettings, Keep};
use lifeboat_postgres::wal_file::{Segment, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::{ChunkReader, Inflater, Point, PointId, Progress, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::{ClusterIdentity, Inventory, WalArchive, WalError, observe as observe_wal};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Where to look.
#[derive(Debug, Clone)]
pub struct Search {
    /// For which table.
    pub table: WantedTable,
    /// Transactions that ended from then on.
    pub since: Option<Timestamp>,
    /// Transactions that ended up to then.
    pub until: Option<Timestamp>,
    /// Which line of history; its target is not looked at.
    pub line: Wanted,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// What there is, for planning.
    pub known: Known,
    /// In the order of the log.
    pub findings: Vec<Finding>,
    /// Of transactions that were rolled back; only the last ones.
    pub aborted: Vec<Finding>,
    /// Tables that are meant by what was asked for.
    pub matching: BTreeSet<TableName>,
    /// All tables that are known.
    pub tables: BTreeSet<TableName>,
    /// All databases that are known.
    pub databases: BTreeSet<String>,
    /// The log that was looked at; none when there was none to look at.
    pub looked: Option<Looked>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Which part of the log was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// From here on.
    pub from: Lsn,
    /// Up to here.
    pub to: Lsn,
    /// From when on: the end of the recovery point where it begins.
    pub from_time: Timestamp,
    /// When the last transaction ended in it.
    pub last_at: Option<Timestamp>,
}

type Points = BTreeMap<PointId, (Point, PostgresDetails)>;

/// Looks through the log.
pub async fn find(
    repository: &Arc<Repository>,
    workload: &str,
    search: &Search,
    progress: &dyn Progress,
) -> Result<Found> {
    let observed = observe(repository, workload, None, progress).await?;
    let mut found = Found {
        known: observed.known,
        findings: Vec::new(),
        aborted: Vec::new(),
        matching: BTreeSet::new(),
        tables: BTreeSet::new(),
        databases: BTreeSet::new(),
        looked: None,
        notes: observed.notes,
    };
    let Some((system_id, timeline)) = line_wanted(&found.known, &search.line) else { return Ok(found) };
    let Some(coverage) = found.known.logs.iter().find(|log| log.system_id == system_id) else { return Ok(found) };
    let path = Path::to(timeline, coverage);
    let points: Vec<&PointSummary> = on_line(&found.known.points, &path, search.since);
    let Some((first, details)) = points.first().and_then(|first| Some((*first, &observed.points.get(&first.id)?.1)))
    else {
        return Ok(found);
    };
    let size = SegmentSize::new(details.wal_segment_bytes).map_err(WalError::from)?;
    let archive = WalArchive::new(repository.clone(), workload, ClusterIdentity { system_id, segment_size: size });
    let inventory = observe_wal(&archive).await?;
    let start = SegmentNumber::containing(first.lsn_start, size);
    let mut walk = Walk {
        ledger: Ledger::new(search.table.clone(), details.major, Some(inflate)).within(search.since, search.until),
        reader: ChunkReader::open(repository.clone()).await?,
        waiting: points.iter().rev().map(|point| (*point).clone()).collect(),
        points: &observed.points,
        size,
        records: Records::new(DecoderSettings { keep: Keep::Everything, ..DecoderSettings::new(size) }),
        looked: Looked { from: first.lsn_start, to: start.start(size), from_time: first.stopped_at, last_at: None },
        notes: Vec::new(),
    };
    let segments = segments(&path.history, &inventory, start);
    walk.all(&archive, &inventory, segments, search.until, progress).await?;
    let ledger = &walk.ledger;
    (found.findings, found.aborted) = (ledger.findings().to_vec(), ledger.aborted().to_vec());
    (found.matching, found.tables) = (ledger.matching().clone(), ledger.tables());
    (found.databases, found.looked) = (ledger.databases(), Some(walk.looked));
    found.notes.extend(walk.notes);
    Ok(found)
}

/// The points from which to read on: the last one that had ended by `since`, and those behind it, oldest first.
fn on_line<'a>(points: &'a [PointSummary], path: &Path<'_>, since: Option<Timestamp>) -> Vec<&'a PointSummary> {
    let mut on_line: Vec<&PointSummary> = points.iter().filter(|point| path.carries(point)).collect();
    on_line.sort_by_key(|point| (point.lsn_start, point.stopped_at));
    let early = |point: &&PointSummary| since.is_some_and(|since| point.stopped_at <= since);
    let first = on_line.iter().rposition(early).unwrap_or(0);
    on_line.split_off(first)
}

/// What to read of the log on a line, in order: of each segment the file of the youngest timeline, which begins with its parent's bytes. With
/// where its use ends, if that is not its end.
fn segments(history: &TimelineHistory, inventory: &Inventory, start: SegmentNumber) -> Vec<(Segment, Option<Lsn>)> {
    let size = inventory.segment_size;
    let mut chosen: BTreeMap<SegmentNumber, (Segment, Option<Lsn>)> = BTreeMap::new();
    for (timeline, log) in &inventory.timelines {
        let Some((begin, end)) = history.span(*timeline) else { continue };
        let numbers = log.segments.keys().chain(log.partials.keys()).chain(log.tails.keys());
        for number in numbers.filter(|number| **number >= start.max(SegmentNumber::containing(begin, size))) {
            let segment = Segment { timeline: *timeline, number: *number };
            if end.is_none_or(|end| segment.start(size) < end) {
                let known = chosen.entry(*number).or_insert((segment, end));
                if known.0.timeline < *timeline {
                    *known = (segment, end);
                }
            }
        }
    }
    chosen.into_values().map(|(segment, end)| (segment, end.filter(|end| *end < segment.end(size)))).collect()
}

/// Zstandard has its home in the repository.
fn inflate(stored: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (mut inflater, mut plain, mut rest) = (Inflater::zstd().ok()?, Vec::new(), stored);
    while let Some(piece) = inflater.next_piece(&mut rest).ok()? {
        plain.extend_from_slice(piece);
        if plain.len() > bytes_max {
            return None;
        }
    }
    Some(plain)
}

/// Going through the log.
struct Walk<'a> {
    ledger: Ledger,
    reader: ChunkReader,
    /// Points that were not passed yet, the next one last.
    waiting: Vec<PointSummary>,
    points: &'a Points,
    size: SegmentSize,
    records: Records,
    looked: Looked,
    notes: Vec<String>,
}

impl Walk<'_> {
    async fn all(
        &mut self,
        archive: &WalArchive,
        inventory: &Inventory,
        segments: Vec<(Segment, Option<Lsn>)>,
        until: Option<Timestamp>,
        progress: &dyn Progress,
    ) -> Result<()> {
        progress.phase("search the log", Some(segments.len() as u64 * self.size.bytes()));
        let mut pieces = std::pin::pin!(pieces(archive, inventory, segments));
        while let Some(piece) = pieces.next().await {
            let Piece { segment, bytes } = piece?;
            self.pass_points(segment).await?;
            self.segment(segment, &bytes);
            progress.advance(self.size.bytes());
            let times = self.ledger.take_times();
            self.looked.last_at = self.looked.last_at.max(times.map(|(_, last)| last));
            if times.is_some_and(|(first, _)| until.is_some_and(|until| first > until)) {
                break;
            }
        }
        Ok(())
    }

    /// Recovery points that begin in the segment tell what isn't known, or not any more.
    async fn pass_points(&mut self, segment: Segment) -> Result<()> {
        if !self.records.lead_to(segment.start(self.size)) {
            self.ledger.gap();
        }
        let (end, mut passed) = (segment.end(self.size), Vec::new());
        while let Some(point) = self.waiting.pop_if(|point| point.lsn_start < end) {
            passed.push(point);
        }
        for summary in passed {
            if let Some((point, details)) = self.points.get(&summary.id) {
                catalogs::load(&mut self.ledger, &self.reader, point, details, &mut self.notes).await?;
            }
        }
        self.notes.extend(self.reader.take_notes());
        Ok(())
    }

    fn segment(&mut self, segment: Segment, bytes: &[u8]) {
        let start = segment.start(self.size);
        let Self { ledger, looked, records, notes, .. } = self;
        if !records.lead_to(start) && looked.to < start {
            notes.push(format!("log is missing from {} to {start}: what was done there isn't known", looked.to));
        }
        let reached = records.read(start, bytes, |record, timeline| {
            looked.to = record.end;
            ledger.read(record, timeline.unwrap_or(segment.timeline).max(TimelineId(1)));
            ControlFlow::Continue(())
        });
        if let Some(reached) = reached {
            looked.to = looked.to.max(reached.min(segment.end(self.size)));
        }
    }
}
