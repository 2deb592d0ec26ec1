//! Which positions of a line of history can be reached, and which transactions committed between two of them.

use super::bisection::Reachable;
use super::segments;
use crate::error::{RecoveryError, Result};
use crate::log::{Piece, Records, pieces};
use crate::observe::observe;
use crate::path::{Path, PointSummary};
use crate::planner::{Known, Wanted, line_wanted, plan};
use crate::refusal::{Reason, Refusal};
use crate::target::{Target, TimelineChoice};
use crate::window::{Window, windows_of_path};
use futures::StreamExt;
use jiff::Timestamp;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::wal::{DecoderSettings, Keep, Outcome, TransactionEnd};
use lifeboat_postgres::wal_file::{SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, MajorVersion, SystemId, TimelineId};
use lifeboat_repository::{Progress, Repository};
use lifeboat_workload::postgres::wal::{ClusterIdentity, WalArchive, WalError, observe as observe_wal};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A transaction that committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Which. None when its record doesn't tell.
    pub xid: Option<u32>,
    /// When, by the server's clock.
    pub at: Option<Timestamp>,
    /// Where its record begins.
    pub start: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// On which timeline.
    pub timeline: TimelineId,
}

/// A line of history, as it was when it was looked at.
#[derive(Debug)]
pub struct Line {
    /// Of which cluster it is.
    pub system_id: SystemId,
    /// Where it leads.
    pub timeline: TimelineId,
    /// The spans of it inside which every moment can be brought back, oldest first; never nothing.
    pub windows: Vec<Window>,
    /// What can be reached on it; never nothing.
    pub reachable: Reachable,
    /// What a person should know.
    pub notes: Vec<String>,
    known: Known,
    archive: WalArchive,
    history: TimelineHistory,
    major: MajorVersion,
}

impl Line {
    /// The one that is wanted; its target is not looked at.
    ///
    /// # Errors
    /// When nothing can be reached on it, too.
    pub async fn find(
        repository: &Arc<Repository>,
        workload: &str,
        wanted: &Wanted,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let observed = observe(repository, workload, None, progress).await?;
        let known = observed.known;
        let nothing =
            || RecoveryError::from(plan(&known, wanted).err().unwrap_or_else(|| no_point(wanted, &known.workload)));
        let (system_id, timeline) = line_wanted(&known, wanted).ok_or_else(nothing)?;
        let coverage = known.logs.iter().find(|log| log.system_id == system_id).ok_or_else(nothing)?;
        let path = Path::to(timeline, coverage);
        let is_there = |point: &&PointSummary| match &wanted.location {
            Some(only) => point.locations.contains(only),
            None => !point.locations.is_empty(),
        };
        let points: Vec<PointSummary> = known.points.iter().filter(is_there).cloned().collect();
        let windows = windows_of_path(&path, &points);
        let reachable = Reachable::new(windows.iter().map(|window| (window.lsn_from, window.lsn_to)));
        let first = windows.first().and_then(|window| observed.points.get(window.points.first()?));
        let (_, details) = first.ok_or_else(nothing)?;
        let size = SegmentSize::new(details.wal_segment_bytes).map_err(WalError::from)?;
        let archive = WalArchive::new(repository.clone(), workload, ClusterIdentity { system_id, segment_size: size });
        let major = details.major;
        let history = path.history;
        Ok(Self { system_id, timeline, windows, reachable, notes: observed.notes, known, archive, history, major })
    }

    /// Refuses a target that can't be reached on it. Reads nothing.
    pub fn check(&self, target: Target, wanted: &Wanted) -> Result<()> {
        let timeline = TimelineChoice::Exactly(self.timeline);
        Ok(plan(&self.known, &Wanted { target, inclusive: true, timeline, ..wanted.clone() }).map(drop)?)
    }

    /// The transactions whose commit's record begins from one position on and before another, in order, as far as the log there can be read.
    pub async fn commits(&self, from: Lsn, to: Lsn, progress: &dyn Progress) -> Result<Vec<Commit>> {
        let size = self.archive.segment_size;
        // As it is now: a tail may have become a segment meanwhile.
        let inventory = observe_wal(&self.archive).await?;
        let mut segments = segments(&self.history, &inventory, SegmentNumber::containing(from, size));
        segments.retain(|(segment, _)| segment.start(size) < to);
        progress.phase("list the commits", Some(segments.len() as u64 * size.bytes()));
        let mut records = Records::new(DecoderSettings { keep: Keep::Transactions, ..DecoderSettings::new(size) });
        let mut commits = Vec::new();
        let mut pieces = std::pin::pin!(pieces(&self.archive, &inventory, segments));
        while let Some(piece) = pieces.next().await {
            let Piece { segment, bytes } = piece?;
            records.read(segment.start(size), &bytes, |record, timeline| {
                if record.start >= to {
                    return ControlFlow::Break(());
                }
                let end = TransactionEnd::of(record, self.major).filter(|end| end.outcome == Outcome::Committed);
                if let Some(TransactionEnd { xid, at, start, end, .. }) = end.filter(|end| end.start >= from) {
                    let timeline = timeline.unwrap_or(segment.timeline).max(TimelineId(1));
                    commits.push(Commit { xid, at, start, end, timeline });
                }
                ControlFlow::Continue(())
            });
            progress.advance(size.bytes());
        }
        Ok(commits)
    }
}

fn no_point(wanted: &Wanted, workload: &str) -> Box<Refusal> {
    let reason = Reason::NoPoints { location: wanted.location.clone() };
    let target = wanted.target.spoken(wanted.zone.as_ref());
    Box::new(Refusal { workload: workload.to_owned(), target, reason, windows: Vec::new() })
}
