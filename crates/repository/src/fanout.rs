//! One read, many locations: an object is handed over once and stored everywhere at the same time.
//!
//! Each location has a lane of its own. A lane that fails is out for the rest of the session and the others go on. A
//! lane that is merely slow sets the pace, as long as it moves; when it alone holds everybody up and finishes nothing
//! for longer than the patience, it is out too: `copy` brings it up to date later. Memory is bounded by the budget.
//!
//! Everything here blocks: it is called from threads, never from a task of the runtime that does the uploads.

use crate::error::{Error, Result};
use crate::open::{Replica, describe};
use crate::patience::Limits;
use bytes::Bytes;
use lifeboat_location::{ErrorKind, PutOutcome};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Uploads at once per location.
const UPLOADS_PER_LANE: usize = 4;
/// How often a waiting thread looks whether somebody's patience is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How a location fared in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneReport {
    /// The location's name.
    pub name: String,
    /// Why it is out, or `None` when everything handed over was stored.
    pub failure: Option<String>,
}

/// A location, its uploads, and the signal that ends them when the lane is out.
#[derive(Debug, Clone)]
struct Lane {
    replica: Replica,
    permits: Arc<Semaphore>,
    out: watch::Receiver<bool>,
}

#[derive(Debug)]
struct LaneState {
    failure: Option<String>,
    out: watch::Sender<bool>,
    temporary: bool,
    /// Size in bytes of what is on its way, by the number under which it was handed over.
    outstanding: BTreeMap<u64, u64>,
    /// When an upload was last over, or the first of several was handed over.
    moved_at: Instant,
}

#[derive(Debug)]
struct State {
    lanes: Vec<LaneState>,
    in_flight_bytes: usize,
    /// Objects handed over so far.
    submitted: u64,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, LOOK_EVERY).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The lanes of a session.
#[derive(Debug)]
pub struct Fanout {
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
    handle: Handle,
    limits: Limits,
}

/// Gives an object's share of the budget back when its last upload is over, however it ended.
struct Share {
    shared: Arc<Shared>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shared.lock().in_flight_bytes -= self.bytes;
        self.shared.changed.notify_all();
    }
}

impl Fanout {
    /// Lanes to `replicas`; those with a failure are out from the beginning.
    pub fn new(replicas: Vec<(Replica, Option<String>)>, handle: Handle, limits: Limits) -> Self {
        let (mut lanes, mut states) = (Vec::new(), Vec::new());
        for (replica, failure) in replicas {
            let (sender, out) = watch::channel(failure.is_some());
            lanes.push(Lane { replica, permits: Arc::new(Semaphore::new(UPLOADS_PER_LANE)), out });
            let outstanding = BTreeMap::new();
            states.push(LaneState { failure, out: sender, temporary: true, outstanding, moved_at: Instant::now() });
        }
        let state = Mutex::new(State { lanes: states, in_flight_bytes: 0, submitted: 0 });
        Self { lanes, shared: Arc::new(Shared { state, changed: Condvar::new() }), handle, limits }
    }

    /// Waits for work in the runtime of the uploads. Call from a thread that may block.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.handle.block_on(work)
    }

    /// Hands an object over. Waits while the budget is used up; returns an error when no location is left.
    pub fn submit(&self, key: &str, bytes: Bytes) -> Result<()> {
        let mut state = self.wait_for_room()?;
        state.in_flight_bytes += bytes.len();
        state.submitted += 1;
        let sequence = state.submitted;
        let share = Arc::new(Share { shared: self.shared.clone(), bytes: bytes.len() });
        let mut uploads = Vec::with_capacity(self.lanes.len());
        for (number, lane) in self.lanes.iter().enumerate() {
            let lane_state = &mut state.lanes[number];
            if lane_state.failure.is_some() {
                continue;
            }
            if lane_state.outstanding.is_empty() {
                lane_state.moved_at = Instant::now();
            }
            lane_state.outstanding.insert(sequence, bytes.len() as u64);
            uploads.push(Upload {
                lane: lane.clone(),
                shared: self.shared.clone(),
                number,
                sequence,
                key: key.to_string(),
                bytes: bytes.clone(),
                answered: false,
                _share: share.clone(),
            });
        }
        // A runtime that is shutting down drops a task at once, and a dropped upload takes the lock.
        drop(state);
        for upload in uploads {
            self.handle.spawn(upload.run());
        }
        Ok(())
    }

    /// The lock is kept, so that two threads don't take the same room.
    fn wait_for_room(&self) -> Result<MutexGuard<'_, State>> {
        let started = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if state.lanes.iter().all(|lane| lane.failure.is_some()) {
                return Err(all_failed(&self.lanes, &state));
            }
            if state.in_flight_bytes < self.limits.budget_bytes {
                return Ok(state);
            }
            drop_laggards(&mut state, u64::MAX, started, &self.limits);
            state = self.shared.wait(state);
        }
    }

    /// Waits until everything handed over so far is stored, or its lane is out. What other threads hand over meanwhile
    /// is not waited for. An error when no location is left.
    ///
    /// Once some lane is done, the others get the patience and not more, unless they move.
    pub fn settle(&self) -> Result<Vec<LaneReport>> {
        let mut state = self.shared.lock();
        let last = state.submitted;
        let mut first_done: Option<Instant> = None;
        while state.lanes.iter().any(|lane| lane.failure.is_none() && lane.owes(last)) {
            if first_done.is_none() && state.lanes.iter().any(|lane| lane.failure.is_none() && !lane.owes(last)) {
                first_done = Some(Instant::now());
            }
            if let Some(since) = first_done {
                drop_laggards(&mut state, last, since, &self.limits);
            }
            state = self.shared.wait(state);
        }
        if state.lanes.iter().all(|lane| lane.failure.is_some()) {
            return Err(all_failed(&self.lanes, &state));
        }
        let report = |(lane, state): (&Lane, &LaneState)| LaneReport {
            name: lane.replica.name.clone(),
            failure: state.failure.clone(),
        };
        Ok(self.lanes.iter().zip(&state.lanes).map(report).collect())
    }
}

/// Puts the lanes out that hold up others which stored everything up to object `last`, and that finished nothing
/// since `since` although there was time for all that they have on their way.
fn drop_laggards(state: &mut State, last: u64, since: Instant, limits: &Limits) {
    if !state.lanes.iter().any(|lane| lane.failure.is_none() && !lane.owes(last)) {
        return;
    }
    for lane in state.lanes.iter_mut().filter(|lane| lane.failure.is_none() && lane.owes(last)) {
        let on_the_way: u64 = lane.outstanding.values().sum();
        if since.max(lane.moved_at).elapsed() > limits.time_for(on_the_way) {
            lane.fail(format!("too slow: {} objects behind the others", lane.outstanding.len()), true);
        }
    }
}

fn all_failed(lanes: &[Lane], state: &State) -> Error {
    let reasons = lanes
        .iter()
        .zip(&state.lanes)
        .map(|(lane, state)| format!("{}: {}", lane.replica.name, state.failure.clone().unwrap_or_default()))
        .collect();
    Error::AllLocationsFailed { reasons, temporary: state.lanes.iter().any(|lane| lane.temporary) }
}

impl LaneState {
    /// Whether an object handed over up to number `last` is still on its way.
    fn owes(&self, last: u64) -> bool {
        self.outstanding.keys().next().is_some_and(|oldest| *oldest <= last)
    }

    fn fail(&mut self, reason: String, temporary: bool) {
        self.failure = Some(reason);
        self.temporary = temporary;
        self.out.send_replace(true);
    }
}

/// One object on its way to one location.
struct Upload {
    lane: Lane,
    shared: Arc<Shared>,
    number: usize,
    sequence: u64,
    key: String,
    bytes: Bytes,
    answered: bool,
    _share: Arc<Share>,
}

impl Upload {
    async fn run(mut self) {
        let mut out = self.lane.out.clone();
        let put = async {
            let _permit = self.lane.permits.acquire().await;
            self.lane.replica.location.put_new(&self.key, self.bytes.clone()).await
        };
        // Names are hashes of the content, so "already there" is the same object from an interrupted run.
        let result = tokio::select! {
            biased;
            _ = out.wait_for(|out| *out) => Ok(PutOutcome::AlreadyExists),
            result = put => result,
        };
        self.answered = true;
        if let Err(error) = result {
            let temporary = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::ClockSkew);
            let mut state = self.shared.lock();
            let lane = &mut state.lanes[self.number];
            if lane.failure.is_none() {
                lane.fail(describe(&error), temporary);
            }
        }
    }
}

impl Drop for Upload {
    /// Also when the upload panicked or its runtime ended: nobody waits for what will never come.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        let lane = &mut state.lanes[self.number];
        lane.outstanding.remove(&self.sequence);
        lane.moved_at = Instant::now();
        if !self.answered && lane.failure.is_none() {
            lane.fail(format!("the upload of {} ended without an answer", self.key), true);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}

#[cfg(test)]
mod tests;
