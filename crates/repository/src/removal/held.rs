//! Holds, as those see them who give up: which points are held, and whether one that is held now is being deleted.
//!
//! A sweep writes `begun` and then reads the holds; whoever holds a point writes that down and then reads the marks. So one of the
//! two sees the other at least. Where both do, the point stays and the holder is told to try again.

use super::{MarkedPoint, clock_of, doomed_by, reach};
use crate::error::Result;
use crate::hold::{HoldRecord, PREFIX};
use crate::index::PackEntry;
use crate::open::{Replica, Repository};
use crate::point::key_of;
use crate::reader::ChunkReader;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// What becomes of a point in one location, as far as sweeps go that have begun there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// None takes it, or what it needs.
    Stays,
    /// One that has begun names it. Whether it spares it isn't known yet.
    Named,
    /// One takes it, or packs that it needs.
    Goes,
}

impl Repository {
    /// The holds that stand: those of which not both our clock and the store's say that they have ended. Every location must answer.
    pub async fn holds_that_stand(&self) -> Result<Vec<HoldRecord>> {
        let mut standing = Vec::new();
        for replica in &self.replicas {
            standing.extend(self.stand_and_ended(replica).await?.0);
        }
        Ok(standing)
    }

    /// The points that are held in some of these locations.
    pub(super) async fn held_points(&self) -> Result<BTreeSet<MarkedPoint>> {
        Ok(self.holds_that_stand().await?.iter().map(HoldRecord::marked).collect())
    }

    async fn stand_and_ended(&self, replica: &Replica) -> Result<(Vec<HoldRecord>, Vec<HoldRecord>)> {
        let (records, now) = (self.holds_in(replica, PREFIX).await?, Timestamp::now());
        let is_past = |record: &HoldRecord| record.hold.as_ref().is_some_and(|hold| hold.until < now);
        if !records.iter().any(is_past) {
            return Ok((records, Vec::new()));
        }
        let store_now = clock_of(replica).await?;
        let has_ended = |record: &HoldRecord| {
            record.hold.as_ref().is_some_and(|hold| hold.has_ended(record.stored_at, now, store_now))
        };
        Ok(records.into_iter().partition(|record| !has_ended(record)))
    }

    /// Removes the holds that have ended, and those that can't be read of points that aren't there, as far as that is allowed.
    pub async fn forget_ended_holds(&self) -> Result<()> {
        for replica in &self.replicas {
            let (standing, mut over) = self.stand_and_ended(replica).await?;
            for record in standing.into_iter().filter(|record| record.hold.is_none()) {
                if replica.location.head(&key_of(&record.workload, &record.point)).await?.is_none() {
                    over.push(record);
                }
            }
            for record in over {
                // What is locked goes when it may.
                let _ = replica.location.delete(&record.key()).await;
            }
        }
        Ok(())
    }

    /// What becomes of a point in this location. Call after its hold was written.
    pub(crate) async fn fate_in(&self, replica: &Replica, point: &MarkedPoint) -> Result<Fate> {
        let marks = self.among(vec![replica.clone()]).marks_of(true).await?;
        if marks.is_empty() {
            return Ok(Fate::Stays);
        }
        let gone = self.gone_at(replica).await?.removal;
        if marks.iter().any(|mark| mark.removal.points.contains(point)) {
            return Ok(if gone.points.contains(point) { Fate::Goes } else { Fate::Named });
        }
        // What a sweep takes it writes down before, and it takes no pack that a point needs: unless the point came meanwhile.
        let written_down: HashSet<[u8; 32]> = gone.pack_ids().collect();
        let doomed: HashSet<[u8; 32]> = doomed_by(&marks).intersection(&written_down).copied().collect();
        if doomed.is_empty() {
            return Ok(Fate::Stays);
        }
        let everything = Arc::new(self.among(self.replicas.clone()));
        let mut reader = ChunkReader::open(everything.clone()).await?;
        reader.prefer_others(&doomed);
        let needed = reach::packs_of(&everything, &reader, [point].into_iter()).await?;
        Ok(if needed.is_disjoint(&doomed) { Fate::Stays } else { Fate::Goes })
    }

    /// The packs among `doomed` that hold something which a held point needs, be it elsewhere too: whoever reads from the point may have
    /// read the index before it was written there.
    pub(super) async fn packs_read_from(
        self: &Arc<Self>,
        reader: &mut ChunkReader,
        held: &BTreeSet<MarkedPoint>,
        doomed: &HashSet<[u8; 32]>,
    ) -> Result<HashSet<[u8; 32]>> {
        if held.is_empty() || doomed.is_empty() {
            return Ok(HashSet::new());
        }
        let is_other = |pack: &&PackEntry| !doomed.contains(&pack.id);
        let others = reader.index().packs().iter().filter(is_other).map(|pack| pack.id).collect();
        reader.prefer_others(&others);
        let needed = reach::packs_needed(self, reader, |marked| held.contains(marked)).await?;
        Ok(needed.intersection(doomed).copied().collect())
    }
}
