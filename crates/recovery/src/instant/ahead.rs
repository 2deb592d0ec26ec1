//! Bringing what replay is going to read before it does, several pages at once: by itself it asks for one after the other, and each costs the
//! way to the source and back.
//!
//! It is only a help: whatever is wrong here, replay brings for itself. However much log there is, only a little of it is in memory.

use super::needed::{Needed, Needs, Relations, ends_replay};
use crate::error::Result;
use crate::log::{Piece, Records, pieces};
use crate::path::Leg;
use crate::plan::{RestorePlan, Stop};
use futures::StreamExt;
use futures::future::{Either, select};
use lifeboat_mount::lazy::BringError;
use lifeboat_mount::overlay::Overlay;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::control::{ClusterState, ControlFile};
use lifeboat_postgres::wal::{DecoderSettings, Keep};
use lifeboat_postgres::wal_file::{Segment, SegmentNumber, SegmentSize};
use lifeboat_repository::Repository;
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::{ClusterIdentity, Inventory, Span, WalArchive, WalError, observe_span};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// Fetches that are under way at once. With 20 ms to a store and back it is some hundreds in a second.
const FETCHES_AT_ONCE: usize = 16;
/// Log of which all that is needed is sorted and brought together. Replay begins with its first record: more would keep it waiting.
const STRETCH_BYTES: usize = 1 << 20;
/// How often is looked whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The references of a record to pages fit many times.
const KEPT_BYTES: usize = 8192;

/// Which log a server that is started on a restored directory replays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Timeline by timeline, to the furthest that it can be needed.
    pub wal: Vec<Leg>,
    /// Where it is told to stop.
    pub stop: Stop,
}

impl Replay {
    /// As planned.
    pub fn of(plan: &RestorePlan) -> Self {
        Self { wal: plan.wal.clone(), stop: plan.stop.clone() }
    }

    /// What of it is still to come, by what a directory says of itself. None when it is over, or a server recovers by its own log.
    pub(super) fn left(&self, destination: &Path, control: &ControlFile) -> Option<Self> {
        // Read by the server when it begins, and renamed.
        if destination.join("backup_label").exists() {
            return Some(self.clone());
        }
        let is_under_way = matches!(control.state, ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery);
        is_under_way.then(|| self.from(control.latest_checkpoint.redo))
    }

    fn from(&self, lsn: Lsn) -> Self {
        let cut = |leg: &Leg| (leg.to > lsn).then(|| Leg { from: leg.from.max(lsn), ..*leg });
        Self { wal: self.wal.iter().filter_map(cut).collect(), stop: self.stop.clone() }
    }

    /// What to read, in order, each up to where its use ends if that is not its end. The first segment of a timeline begins with its
    /// parent's bytes.
    fn segments(&self, size: SegmentSize) -> Vec<(Segment, Option<Lsn>)> {
        let mut chosen: BTreeMap<SegmentNumber, (Segment, Option<Lsn>)> = BTreeMap::new();
        for leg in &self.wal {
            let last = Segment::ending_at(leg.timeline, leg.to, size);
            let mut segment = Segment::containing(leg.timeline, leg.from, size);
            while segment.number <= last.number {
                chosen.insert(segment.number, (segment, Some(leg.to).filter(|to| *to < segment.end(size))));
                segment = segment.next();
            }
        }
        chosen.into_values().collect()
    }
}

/// What is to be brought ahead of a replay.
pub struct Ahead {
    /// What every server reads when it is started.
    pub(super) first: Vec<Needed>,
    pub(super) replay: Replay,
    pub(super) relations: Relations,
    pub(super) details: PostgresDetails,
    pub(super) workload: String,
}

impl Ahead {
    /// Brings all of it to where it is missing, until it is told to end. What could not be brought is in the answer: one of the reasons.
    pub async fn bring(
        mut self,
        repository: Arc<Repository>,
        overlay: Arc<Overlay>,
        is_to_end: Arc<AtomicBool>,
    ) -> Result<Option<BringError>> {
        let (sender, receiver) = mpsc::channel(FETCHES_AT_ONCE);
        let bringing = bring_each(std::mem::take(&mut self.first), receiver, overlay, is_to_end.clone());
        let reading = async {
            // A location that doesn't answer keeps nobody who wants to end.
            let (read, told) = (pin!(self.read(repository, sender, &is_to_end)), pin!(until_told(&is_to_end)));
            match select(read, told).await {
                Either::Left((read, _)) => read,
                Either::Right(_) => Ok(()),
            }
        };
        let (read, failed) = futures::join!(reading, bringing);
        read.map(|()| failed)
    }

    /// Reads the log, and asks for what is needed: as fast as it comes.
    async fn read(
        &self,
        repository: Arc<Repository>,
        sender: mpsc::Sender<Needed>,
        is_to_end: &AtomicBool,
    ) -> Result<()> {
        let segment_size = SegmentSize::new(self.details.wal_segment_bytes).map_err(WalError::from)?;
        let identity = ClusterIdentity { system_id: self.details.system_id, segment_size };
        let archive = WalArchive::new(repository, &self.workload, identity);
        let inventory = self.inventory(&archive).await?;
        let mut pieces = pin!(pieces(&archive, &inventory, self.replay.segments(segment_size)));
        let mut reading = Reading::new(self, segment_size);
        while let Some(piece) = pieces.next().await {
            let Piece { segment, bytes } = piece?;
            let mut start = segment.start(segment_size);
            for stretch in bytes.chunks(STRETCH_BYTES) {
                let goes_on = tokio::task::block_in_place(|| reading.read(start, stretch));
                for needed in reading.needs.take() {
                    if is_to_end.load(Ordering::Relaxed) || sender.send(needed).await.is_err() {
                        return Ok(());
                    }
                }
                if !goes_on {
                    return Ok(());
                }
                start = start.saturating_add(stretch.len() as u64);
            }
        }
        Ok(())
    }

    /// What is archived of these legs: not all of the archive, which may have a million objects.
    async fn inventory(&self, archive: &WalArchive) -> Result<Inventory> {
        let mut all = Inventory::build(archive.system_id, archive.segment_size, Vec::new());
        for leg in &self.replay.wal {
            let of_leg = observe_span(archive, leg.timeline, Span { from: leg.from, to: leg.to }).await?;
            all.timelines.extend(of_leg.timelines);
            all.conflicts.extend(of_leg.conflicts);
        }
        Ok(all)
    }
}

async fn until_told(is_to_end: &AtomicBool) {
    while !is_to_end.load(Ordering::Relaxed) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Brings what is known to be needed and what is asked for in turns, several at once, until nothing more is. Returns the first reason for which something could not be brought.
async fn bring_each(
    first: Vec<Needed>,
    receiver: mpsc::Receiver<Needed>,
    overlay: Arc<Overlay>,
    is_to_end: Arc<AtomicBool>,
) -> Option<BringError> {
    let asked = futures::stream::unfold(receiver, |mut receiver| async move {
        let needed = receiver.recv().await?;
        Some((needed, receiver))
    });
    let brought = futures::stream::select(futures::stream::iter(first), asked).map(|Needed { number, bytes }| {
        let (overlay, is_to_end) = (overlay.clone(), is_to_end.clone());
        tokio::task::spawn_blocking(move || match is_to_end.load(Ordering::Relaxed) {
            true => Ok(()),
            false => overlay.bring_ahead(number, bytes),
        })
    });
    let failed = brought.buffer_unordered(FETCHES_AT_ONCE).filter_map(async |brought| brought.ok()?.err());
    failed.fold(None, async |first, error| first.or(Some(error))).await
}

/// How far the log was read.
struct Reading<'a> {
    records: Records,
    needs: Needs<'a>,
    ahead: &'a Ahead,
    from: Lsn,
    to: Lsn,
}

impl<'a> Reading<'a> {
    fn new(ahead: &'a Ahead, segment_size: SegmentSize) -> Self {
        let settings = DecoderSettings {
            system_id: Some(ahead.details.system_id),
            keep: Keep::Everything,
            kept_bytes_max: KEPT_BYTES,
            ..DecoderSettings::new(segment_size)
        };
        let legs = &ahead.replay.wal;
        Self {
            records: Records::new(settings),
            needs: Needs::new(&ahead.relations, ahead.details.major),
            ahead,
            from: legs.first().map(|leg| leg.from).unwrap_or_default(),
            to: legs.last().map(|leg| leg.to).unwrap_or_default(),
        }
    }

    /// Takes in a stretch. False when replay goes no further: at its target, or where the log ends.
    fn read(&mut self, start: Lsn, stretch: &[u8]) -> bool {
        let Self { records, needs, ahead, from, to } = self;
        let reached = records.read(start, stretch, |record, _| {
            if record.start < *from {
                return ControlFlow::Continue(());
            }
            if record.start >= *to || ends_replay(&ahead.replay.stop, record, ahead.details.major) {
                return ControlFlow::Break(());
            }
            needs.read(record);
            ControlFlow::Continue(())
        });
        reached.is_some()
    }
}
