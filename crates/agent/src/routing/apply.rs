//! Brings every route to the newest table, each by itself: one that is away holds up no other.
//!
//! Promise: a route is never given an older epoch after a newer one. While it fails it is tried again, with pauses, and always with the newest table.

use super::{Applied, RouteError, RouteTable, RouteTarget};
use lifeboat_failover::Epoch;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A route that fails is tried again after this, then twice as long, up to the most.
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How a route is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteState {
    pub name: String,
    /// The newest epoch that it is known to have.
    pub epoch: Option<Epoch>,
    /// Since when.
    pub since: Option<SystemTime>,
    /// How long that took, from when the table was heard, with all attempts.
    pub took: Option<Duration>,
    /// Attempts that failed since it last had the newest.
    pub failures: u64,
    /// Why it hasn't the newest, if so.
    pub error: Option<RouteError>,
}

/// Follows until dropped.
#[derive(Debug)]
pub struct Routes {
    states: Arc<Mutex<Vec<RouteState>>>,
    _tasks: JoinSet<()>,
}

impl Routes {
    /// Begins to apply what `tables` says to each of `targets`. Needs a tokio runtime.
    pub fn start(targets: Vec<Arc<dyn RouteTarget>>, tables: &watch::Receiver<RouteTable>) -> Self {
        let unknown = |target: &Arc<dyn RouteTarget>| RouteState {
            name: target.name(),
            epoch: None,
            since: None,
            took: None,
            failures: 0,
            error: None,
        };
        let states = Arc::new(Mutex::new(targets.iter().map(unknown).collect()));
        let mut tasks = JoinSet::new();
        for (number, target) in targets.into_iter().enumerate() {
            let state = State { states: states.clone(), number };
            tasks.spawn(follow(target, tables.clone(), state));
        }
        Self { states, _tasks: tasks }
    }

    /// Each route, in the order in which they were given.
    pub fn states(&self) -> Vec<RouteState> {
        lock(&self.states).clone()
    }
}

struct State {
    states: Arc<Mutex<Vec<RouteState>>>,
    number: usize,
}

impl State {
    fn change(&self, change: impl FnOnce(&mut RouteState)) {
        change(&mut lock(&self.states)[self.number]);
    }
}

/// The part of a table that routes are about.
fn wanted(table: &RouteTable) -> Option<RouteTable> {
    table.primary.is_some().then(|| RouteTable { standbys: Vec::new(), version: 0, ..table.clone() })
}

/// A newer epoch, or in the same one another address of the primary.
fn replaces(now: &RouteTable, before: &RouteTable) -> bool {
    now.epoch > before.epoch || (now.epoch == before.epoch && now.primary != before.primary)
}

async fn follow(target: Arc<dyn RouteTarget>, mut tables: watch::Receiver<RouteTable>, state: State) {
    // The newest that was given to it, whether or not it has it.
    let mut newest: Option<RouteTable> = None;
    loop {
        let table = wanted(&tables.borrow_and_update());
        let is_new = table.as_ref().is_some_and(|table| newest.as_ref().is_none_or(|newest| replaces(table, newest)));
        if let Some(table) = table.filter(|_| is_new) {
            newest = Some(table.clone());
            bring(&*target, &table, &mut tables, &state).await;
        } else if tables.changed().await.is_err() {
            return;
        }
    }
}

/// Applies `table` until the route has it, or can't have it any more, or there is another.
async fn bring(target: &dyn RouteTarget, table: &RouteTable, tables: &mut watch::Receiver<RouteTable>, state: &State) {
    let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
    loop {
        let error = match target.apply(table).await {
            Ok(Applied::Changed | Applied::Already | Applied::Nothing) => {
                return state.change(|state| {
                    (state.epoch, state.since) = (Some(table.epoch), Some(SystemTime::now()));
                    (state.took, state.failures, state.error) = (Some(begun.elapsed()), 0, None);
                });
            }
            Err(error) => error,
        };
        let late = matches!(error, RouteError::Superseded { .. });
        state.change(|state| {
            state.failures += 1;
            state.error = Some(error);
        });
        if late {
            return;
        }
        let replaced = async { tables.wait_for(|now| now.primary.is_some() && replaces(now, table)).await.is_ok() };
        tokio::select! {
            replaced = replaced => {
                if replaced {
                    return;
                }
                // Nobody will say anything newer: this one is tried for ever.
                tokio::time::sleep(pause).await;
            }
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
