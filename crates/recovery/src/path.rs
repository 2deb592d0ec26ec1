//! How far replay can go: one timeline's path through history, over the log that is there.
//!
//! Promise: bytes are called reachable only when each of them is in the log of a timeline on the path, without a hole,
//! read as PostgreSQL reads them. The first segment of a child repeats what its parent had written in it, so a hole at
//! the end of the parent is closed by the child.
//!
//! Not here: which path to take, which point to start from.

use crate::planner::Place;
use jiff::Timestamp;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::PointId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What choosing needs to know of a recovery point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointSummary {
    /// Its name.
    pub id: PointId,
    /// Which cluster it is of.
    pub system_id: SystemId,
    /// On which timeline it was taken.
    pub timeline: TimelineId,
    /// Where replay begins.
    pub lsn_start: Lsn,
    /// Where it is consistent.
    pub lsn_stop: Lsn,
    /// When it ended, by the server's clock.
    pub stopped_at: Timestamp,
    /// Transactions that had ended by then are in the log before `lsn_stop`; those that ended later may be behind it.
    pub complete_to: Timestamp,
    /// Locations that have all of it, in the order in which they are asked.
    pub locations: Vec<String>,
    /// What a restore writes, in bytes.
    pub bytes: u64,
    /// Number of files.
    pub files: u64,
}

/// The log of one cluster, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalCoverage {
    /// Which cluster's.
    pub system_id: SystemId,
    /// Stretches without a hole.
    pub runs: Vec<Run>,
    /// Histories of the timelines that have one.
    pub histories: Vec<TimelineHistory>,
}

/// A stretch of one timeline's log without a hole. It begins where a segment begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The timeline that wrote it.
    pub timeline: TimelineId,
    /// The first byte.
    pub from: Lsn,
    /// The end of the last complete record.
    pub to: Lsn,
    /// The end of its bytes: behind `to` is the beginning of a record whose rest another timeline's log may have.
    pub bytes_to: Lsn,
    /// Where the last complete record begins, if known: with it recovery can be told to stop exactly at the end.
    pub last_record: Option<Lsn>,
    /// What follows is archived and will be refused, because it is damaged or has two contents. Recovery must not ask for it.
    pub is_refused_behind: bool,
    /// One for each segment in which a transaction ended, in order, as far as known.
    pub marks: Vec<TransactionMark>,
}

/// The ends of transactions in one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TransactionMark {
    /// The end of the last complete record of the segment.
    pub up_to: Lsn,
    /// The latest time at which a transaction ended in it. Recovery to an earlier time stops here or before.
    pub last_at: Timestamp,
}

/// A part of the path on one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// The timeline.
    pub timeline: TimelineId,
    /// Its first byte that is replayed.
    pub from: Lsn,
    /// The byte after its last.
    pub to: Lsn,
}

/// How far replay comes from some position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reach {
    /// The byte after the last.
    pub end: Lsn,
    /// The latest known end of a transaction before that.
    pub last_at: Option<Timestamp>,
    /// Where the last record before `end` begins.
    pub last_record: Option<Lsn>,
    /// The log that was used goes on past `end`, but on a timeline that the path leaves there.
    pub is_cut: bool,
    /// What comes behind `end` is archived, and fetching it fails.
    pub is_refused: bool,
}

/// A run, as far as a path uses it.
struct Used<'a> {
    run: &'a Run,
    /// The end of its last complete record.
    to: Lsn,
    /// The end of its bytes.
    bytes_to: Lsn,
}

/// The way to one timeline, over all it descends from.
#[derive(Debug, Clone)]
pub(crate) struct Path<'a> {
    pub history: TimelineHistory,
    coverage: &'a WalCoverage,
}

impl WalCoverage {
    /// Every timeline that anything is known of.
    pub(crate) fn timelines(&self, points: &[PointSummary]) -> BTreeSet<TimelineId> {
        let runs = self.runs.iter().map(|run| run.timeline);
        let histories = self.histories.iter().map(|history| history.timeline);
        let ours = points.iter().filter(|point| point.system_id == self.system_id).map(|point| point.timeline);
        runs.chain(histories).chain(ours).collect()
    }

    pub(crate) fn has_history(&self, timeline: TimelineId) -> bool {
        self.histories.iter().any(|history| history.timeline == timeline)
    }

    pub(crate) fn runs_of(&self, timeline: TimelineId) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.timeline == timeline)
    }
}

impl<'a> Path<'a> {
    pub fn to(timeline: TimelineId, coverage: &'a WalCoverage) -> Self {
        let history = coverage.histories.iter().find(|history| history.timeline == timeline);
        let history = history.cloned().unwrap_or_else(|| TimelineHistory::without_ancestors(timeline));
        Self { history, coverage }
    }

    /// A path that a server told, whose last timelines need not be archived yet.
    pub fn along(history: TimelineHistory, coverage: &'a WalCoverage) -> Self {
        Self { history, coverage }
    }

    /// Does the path lead through all of the point, as PostgreSQL checks it at start?
    pub fn carries(&self, point: &PointSummary) -> bool {
        point.system_id == self.coverage.system_id
            && self.history.contains(point.timeline, point.lsn_start)
            && self.history.contains_end(point.timeline, point.lsn_stop)
    }

    /// Does the path lead over the record that ends there?
    pub fn passes(&self, place: &Place) -> bool {
        // The first segment of a timeline repeats its parent's end: the record is the parent's, and shared.
        let begin = self.history.span(place.timeline).map(|(begin, _)| begin);
        begin.is_some_and(|begin| place.end <= begin || self.history.contains_end(place.timeline, place.end))
    }

    /// Replays, in thought, from `start` until a byte is missing.
    pub fn reach(&self, start: Lsn) -> Reach {
        let used = self.used();
        // Bytes first: a record may begin in a parent's last segment and end in its child's first, which has all that the parent wrote in it.
        let mut held = start;
        while let Some(further) = used.iter().filter(|run| run.run.from <= held).map(|run| run.bytes_to).max()
            && further > held
        {
            held = further;
        }
        let passed = || used.iter().filter(|run| run.run.from <= held && run.to > start);
        let marks =
            passed().flat_map(|run| run.run.marks.iter().filter(|mark| mark.up_to > start && mark.up_to <= run.to));
        let last_at = marks.map(|mark| mark.last_at).max();
        let Some(Used { run, to: end, .. }) = passed().max_by_key(|run| (run.to, run.run.timeline)) else {
            return Reach { end: start, last_at: None, last_record: None, is_cut: false, is_refused: false };
        };
        Reach {
            end: *end,
            last_at,
            last_record: run.last_record.filter(|_| run.to == *end),
            is_cut: run.to > *end,
            is_refused: run.is_refused_behind && run.to == *end,
        }
    }

    /// The log of the path's timelines, each up to where the path leaves it.
    fn used(&self) -> Vec<Used<'a>> {
        let used = self.coverage.runs.iter().filter_map(|run| {
            let (_, span_end) = self.history.span(run.timeline)?;
            let within = |end: Lsn| span_end.map_or(end, |span_end| span_end.min(end));
            Some(Used { run, to: within(run.to), bytes_to: within(run.bytes_to) })
        });
        used.collect()
    }

    /// The way from one position to another, timeline by timeline.
    pub fn legs(&self, from: Lsn, to: Lsn) -> Vec<Leg> {
        let timelines = self.history.ancestors.iter().map(|ancestor| ancestor.timeline).chain([self.history.timeline]);
        let parts = timelines.filter_map(|timeline| {
            let (begin, end) = self.history.span(timeline)?;
            let leg = Leg { timeline, from: begin.max(from), to: end.map_or(to, |end| end.min(to)) };
            (leg.from < leg.to).then_some(leg)
        });
        parts.collect()
    }
}
