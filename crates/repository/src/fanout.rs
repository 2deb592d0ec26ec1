//! One read, many locations: an object is handed over once and stored everywhere at the same time.
//!
//! Each location has a lane of its own. A lane that fails is out for the rest of the session and the others go on. A
//! lane that is merely slow may fall behind by the budget; when it alone holds everybody up for longer than the
//! patience, it is out too: `copy` brings it up to date later. Memory is bounded by the budget.

use crate::error::{Error, Result};
use crate::open::{Replica, describe};
use bytes::Bytes;
use lifeboat_location::{ErrorKind, PutOutcome};
use serde::Serialize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// Bytes that may be on their way at once, over all locations.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// Uploads at once per location.
const UPLOADS_PER_LANE: usize = 4;
/// How long one lane may hold up the others.
const PATIENCE: Duration = Duration::from_secs(30);

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
    in_flight: usize,
}

#[derive(Debug)]
struct State {
    lanes: Vec<LaneState>,
    in_flight_bytes: usize,
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
}

/// The lanes of a session.
#[derive(Debug)]
pub struct Fanout {
    lanes: Vec<Lane>,
    shared: Arc<Shared>,
    handle: Handle,
    patience: Duration,
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
    pub fn new(replicas: Vec<(Replica, Option<String>)>, handle: Handle) -> Self {
        let (mut lanes, mut states) = (Vec::new(), Vec::new());
        for (replica, failure) in replicas {
            let (sender, out) = watch::channel(failure.is_some());
            lanes.push(Lane { replica, permits: Arc::new(Semaphore::new(UPLOADS_PER_LANE)), out });
            states.push(LaneState { failure, out: sender, temporary: true, in_flight: 0 });
        }
        let state = Mutex::new(State { lanes: states, in_flight_bytes: 0 });
        Self { lanes, shared: Arc::new(Shared { state, changed: Condvar::new() }), handle, patience: PATIENCE }
    }

    /// Hands an object over. Waits while the budget is used up; returns an error when no location is left.
    pub fn submit(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.wait_for_room()?;
        let mut state = self.shared.lock();
        state.in_flight_bytes += bytes.len();
        let share = Arc::new(Share { shared: self.shared.clone(), bytes: bytes.len() });
        for (number, lane) in self.lanes.iter().enumerate() {
            if state.lanes[number].failure.is_some() {
                continue;
            }
            state.lanes[number].in_flight += 1;
            let upload = Upload {
                lane: lane.clone(),
                shared: self.shared.clone(),
                number,
                key: key.to_string(),
                bytes: bytes.clone(),
                _share: share.clone(),
            };
            self.handle.spawn(upload.run());
        }
        drop(state);
        Ok(())
    }

    fn wait_for_room(&self) -> Result<()> {
        let started = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if state.lanes.iter().all(|lane| lane.failure.is_some()) {
                return Err(all_failed(&self.lanes, &state));
            }
            if state.in_flight_bytes < BUDGET_BYTES {
                return Ok(());
            }
            if started.elapsed() > self.patience {
                drop_laggards(&mut state);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Waits until everything handed over is stored, or its lane is out. An error when no location is left.
    ///
    /// Once some lane is done, the others get the patience and not more.
    pub fn settle(&self) -> Result<Vec<LaneReport>> {
        let mut state = self.shared.lock();
        let mut first_done: Option<Instant> = None;
        while state.lanes.iter().any(|lane| lane.failure.is_none() && lane.in_flight > 0) {
            if first_done.is_none() && state.lanes.iter().any(|lane| lane.failure.is_none() && lane.in_flight == 0) {
                first_done = Some(Instant::now());
            }
            if first_done.is_some_and(|since| since.elapsed() > self.patience) {
                drop_laggards(&mut state);
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, Duration::from_millis(200))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
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

/// Puts the lanes out that hold up others which have nothing left to do.
fn drop_laggards(state: &mut State) {
    let idle = state.lanes.iter().any(|lane| lane.failure.is_none() && lane.in_flight == 0);
    if !idle {
        return;
    }
    for lane in state.lanes.iter_mut().filter(|lane| lane.in_flight > 0 && lane.failure.is_none()) {
        lane.fail(format!("too slow: {} objects behind the others", lane.in_flight), true);
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
    key: String,
    bytes: Bytes,
    _share: Arc<Share>,
}

impl Upload {
    async fn run(self) {
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
        let mut state = self.shared.lock();
        let lane = &mut state.lanes[self.number];
        lane.in_flight -= 1;
        if let Err(error) = result
            && lane.failure.is_none()
        {
            let temporary = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::ClockSkew);
            lane.fail(describe(&error), temporary);
        }
        drop(state);
        self.shared.changed.notify_all();
    }
}
