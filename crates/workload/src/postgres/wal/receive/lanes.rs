//! The places that store what comes, each at its own pace, and what may be acknowledged on the strength of them.
//!
//! Promise: [`Lanes::acknowledged`] is never beyond what as many places hold durably as were asked for, byte for byte. A
//! place that is slow or dead holds up nobody as long as enough others are there; one that lags by more than the memory
//! lets go of what the others have, and is completed by a copy later.

use super::super::archive::WalArchive;
use super::super::error::{Result, WalError, describe};
use super::course::{Course, Habit, Job, What};
use super::pending::Pending;
use super::storing::{self, Place, Resting, Stored};
use super::{RETRY_MAX, RETRY_MIN, ReceiveProgress, is_final};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::{PartPut, Repository};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// So many are removed at once.
const REMOVED_AT_ONCE: usize = 8;

/// A place, and how far it is.
#[derive(Debug)]
pub(crate) struct Lane {
    pub name: String,
    pub place: Place,
    pub habit: Habit,
    pub course: Course,
    /// Whether what it holds counts for acknowledging.
    pub counts: bool,
    storing_part: bool,
    storing_whole: bool,
    retry_at: Instant,
    retry_pause: Duration,
    /// Parts that are needed, with the position of their first byte.
    live: Vec<(Lsn, PartPut)>,
    /// Parts that aren't, since when.
    retired: VecDeque<(Instant, PartPut)>,
    is_removing: bool,
}

impl Lane {
    pub(crate) fn new(name: String, place: Place, habit: Habit, course: Course, counts: bool) -> Self {
        Self {
            name,
            place,
            habit,
            course,
            counts,
            storing_part: false,
            storing_whole: false,
            retry_at: Instant::now(),
            retry_pause: RETRY_MIN,
            live: Vec::new(),
            retired: VecDeque::new(),
            is_removing: false,
        }
    }

    fn is_idle(&self) -> bool {
        !self.storing_part && !self.storing_whole
    }
}

/// What became of something that was under way.
#[derive(Debug)]
pub(crate) enum Done {
    Stored { lane: usize, job: Job, result: Result<Stored> },
    Removed { lane: usize },
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Lanes {
    pub pending: Pending,
    pub lanes: Vec<Lane>,
    /// So many places must hold a byte before it is acknowledged.
    needed: usize,
    running: JoinSet<Done>,
}

impl Lanes {
    pub(crate) fn new(pending: Pending, lanes: Vec<Lane>, needed: usize) -> Self {
        Self { pending, lanes, needed, running: JoinSet::new() }
    }

    pub(crate) fn timeline(&self) -> TimelineId {
        self.pending.timeline()
    }

    /// Everything before is durable in enough places; `None` when there aren't enough.
    pub(crate) fn acknowledged(&self) -> Option<Lsn> {
        let counting = self.lanes.iter().filter(|lane| lane.counts);
        highest_in(counting.map(|lane| lane.course.stored()).collect(), self.needed)
    }

    /// Whether everything that has come may be acknowledged, and nothing is under way.
    pub(crate) fn is_drained(&self) -> bool {
        let is_behind = self.acknowledged().is_none_or(|acknowledged| acknowledged < self.pending.received());
        !is_behind && self.lanes.iter().all(|lane| lane.is_idle() && !lane.course.has_whole(&self.pending))
    }

    /// Whether more may be received. What enough places hold whole doesn't wait in memory for the others.
    pub(crate) fn make_room(&mut self, progress: &dyn ReceiveProgress) -> bool {
        let all = self.lanes.iter().map(|lane| lane.course.needs_from()).min();
        self.pending.forget_before(all.unwrap_or(self.pending.start()));
        while !self.pending.has_room() {
            let counting = self.lanes.iter().filter(|lane| lane.counts);
            let enough = highest_in(counting.map(|lane| lane.course.needs_from()).collect(), self.needed);
            let end = self.pending.start().saturating_add(self.pending.size().bytes());
            if enough.is_none_or(|enough| enough < end) {
                return false;
            }
            for lane in self.lanes.iter_mut().filter(|lane| lane.course.needs_from() < end) {
                lane.course.skip_to(end);
                let name = &lane.name;
                progress
                    .problem(&format!("location {name} is too far behind; `lifeboat copy --to {name}` completes it"));
            }
            self.pending.forget_before(end);
        }
        true
    }

    /// Begins everything that can be begun. `part_is_due` is for those that store parts sparingly.
    pub(crate) fn begin(&mut self, part_is_due: bool, resting: &Resting) {
        let (now, timeline) = (Instant::now(), self.pending.timeline());
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let is_free = |busy: bool, lane: &Lane| now >= lane.retry_at && !busy;
            let whole = is_free(lane.storing_whole || lane.habit == Habit::Sparing && lane.storing_part, lane);
            if whole && let Some(job) = lane.course.next_whole(&self.pending) {
                lane.storing_whole = true;
                spawn(&mut self.running, number, lane.place.clone(), timeline, job, resting.names(now));
            }
            let part = is_free(lane.storing_part || lane.habit == Habit::Sparing && lane.storing_whole, lane);
            if part && let Some(job) = lane.course.next_part(&self.pending, part_is_due) {
                lane.storing_part = true;
                spawn(&mut self.running, number, lane.place.clone(), timeline, job, resting.names(now));
            }
        }
    }

    /// The end of something that is under way; never, when there is nothing.
    pub(crate) async fn done(&mut self) -> Done {
        loop {
            match self.running.join_next().await {
                Some(Ok(done)) => return done,
                // Only a task that was told to end, or its runtime.
                Some(Err(_)) => {}
                None => return std::future::pending().await,
            }
        }
    }

    /// Takes note of it. Only what waiting doesn't cure is an error. Gives what was stored, in case something was.
    pub(crate) fn note(
        &mut self,
        done: Done,
        resting: &mut Resting,
        progress: &dyn ReceiveProgress,
    ) -> Result<Option<What>> {
        let (number, job, result) = match done {
            Done::Stored { lane, job, result } => (lane, job, result),
            Done::Removed { lane } => {
                if let Some(lane) = self.lanes.get_mut(lane) {
                    lane.is_removing = false;
                }
                return Ok(None);
            }
        };
        let Some(lane) = self.lanes.get_mut(number) else { return Ok(None) };
        match job.what {
            What::Segment => lane.storing_whole = false,
            What::Part | What::Bytes => lane.storing_part = false,
        }
        match result {
            Ok(stored) => {
                for (location, why) in &stored.failures {
                    progress.problem(&format!("{location}: {why}"));
                }
                resting.learn(&stored, Instant::now());
                lane.course.done(&job, self.pending.size());
                lane.retry_pause = RETRY_MIN;
                lane.retire(&job, stored.part);
                Ok(Some(job.what))
            }
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                progress.problem(&match lane.place {
                    Place::One(_) => format!("{}: {}", lane.name, describe(&error)),
                    _ => describe(&error),
                });
                lane.retry_at = Instant::now() + lane.retry_pause;
                lane.retry_pause = (lane.retry_pause * 2).min(RETRY_MAX);
                Ok(None)
            }
        }
    }

    /// Begins to remove parts whose place something else took so long ago.
    pub(crate) fn sweep(&mut self, grace: Duration) {
        let now = Instant::now();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let Place::One(location) = &lane.place else { continue };
            let is_due = |(since, _): &(Instant, PartPut)| now >= *since + grace;
            if lane.is_removing || !lane.retired.front().is_some_and(is_due) {
                continue;
            }
            let count = lane.retired.iter().take_while(|part| is_due(part)).count();
            let parts: Vec<PartPut> = lane.retired.drain(..count).map(|(_, part)| part).collect();
            lane.is_removing = true;
            let repository = location.archive.repository.clone();
            self.running.spawn(async move {
                remove(repository, parts).await;
                Done::Removed { lane: number }
            });
        }
    }
}

impl Lane {
    /// What a job made needless waits for its removal.
    fn retire(&mut self, job: &Job, part: Option<PartPut>) {
        let now = Instant::now();
        let is_covered = |from: Lsn| match job.what {
            What::Segment => from >= job.from && from < job.to,
            What::Part => from >= job.from,
            What::Bytes => false,
        };
        let (covered, live) = std::mem::take(&mut self.live).into_iter().partition(|(from, _)| is_covered(*from));
        self.live = live;
        let covered: Vec<(Lsn, PartPut)> = covered;
        // The same bytes again have the same name: that one stays.
        let others = covered.into_iter().filter(|(_, old)| part.as_ref() != Some(old));
        self.retired.extend(others.map(|(_, old)| (now, old)));
        self.live.extend(part.map(|part| (job.from, part)));
    }
}

/// A part that stays is no harm: `prune` takes it with the log around it.
async fn remove(repository: Arc<Repository>, parts: Vec<PartPut>) {
    for some in parts.chunks(REMOVED_AT_ONCE) {
        let mut removals = Vec::with_capacity(REMOVED_AT_ONCE);
        for part in some {
            removals.push(repository.remove_part(part));
        }
        if let Err(error) = futures::future::try_join_all(removals).await {
            tracing::debug!(error = describe(&error), "a part stays that is not needed");
            return;
        }
    }
}

fn spawn(running: &mut JoinSet<Done>, lane: usize, place: Place, timeline: TimelineId, job: Job, resting: Vec<String>) {
    running.spawn(async move {
        let work = tokio::spawn(storing::store(place, timeline, job.clone(), resting));
        let result = work.await;
        let result = result.unwrap_or_else(|error| Err(WalError::Internal(format!("storing failed: {error}"))));
        Done::Stored { lane, job, result }
    });
}

/// The highest position that `needed` of them have reached.
pub(crate) fn highest_in(mut positions: Vec<Lsn>, needed: usize) -> Option<Lsn> {
    positions.sort_unstable_by(|a, b| b.cmp(a));
    positions.get(needed.checked_sub(1)?).copied()
}

/// The archive of one location.
pub(crate) fn alone(archive: &WalArchive, location: &str) -> Result<WalArchive> {
    Ok(WalArchive { repository: Arc::new(archive.repository.only(location)?), ..archive.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_enough_places_have() {
        let of = |needed, positions: &[u64]| highest_in(positions.iter().copied().map(Lsn).collect(), needed);
        assert_eq!(of(1, &[5, 9, 7]), Some(Lsn(9)));
        assert_eq!(of(2, &[5, 9, 7]), Some(Lsn(7)));
        assert_eq!(of(3, &[5, 9, 7]), Some(Lsn(5)));
        assert_eq!(of(4, &[5, 9, 7]), None, "a place that isn't there acknowledges nothing");
        assert_eq!(of(0, &[5]), None);
    }
}
