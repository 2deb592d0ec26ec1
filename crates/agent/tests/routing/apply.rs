//! Several routes at once: each comes to the newest table by itself.

use crate::tables::{table, until};
use async_trait::async_trait;
use lifeboat_agent::routing::{Applied, RouteError, RouteState, RouteTable, RouteTarget, Routes};
use lifeboat_failover::Epoch;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, watch};

/// Notes what it is given; fails, hangs or is late as it is told.
#[derive(Debug, Default)]
struct Place {
    name: &'static str,
    given: Mutex<Vec<u64>>,
    fails: AtomicBool,
    late: AtomicBool,
    hangs: AtomicBool,
    goes_on: Notify,
}

#[async_trait]
impl RouteTarget for Place {
    fn name(&self) -> String {
        self.name.into()
    }

    async fn apply(&self, table: &RouteTable) -> Result<Applied, RouteError> {
        self.given.lock().expect("no panic").push(table.epoch.0);
        if self.hangs.load(Ordering::SeqCst) {
            self.goes_on.notified().await;
        }
        if self.fails.load(Ordering::SeqCst) {
            return Err(RouteError::Unavailable { target: self.name(), why: "told to fail".into() });
        }
        if self.late.load(Ordering::SeqCst) {
            return Err(RouteError::Superseded { target: self.name(), ours: table.epoch, theirs: Epoch(99) });
        }
        Ok(Applied::Changed)
    }
}

async fn state_is(routes: &Routes, number: usize, is_so: impl Fn(&RouteState) -> bool) -> RouteState {
    until("the state of a route", async || {
        let state = routes.states()[number].clone();
        if is_so(&state) { Ok(state) } else { Err(format!("{state:?}")) }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_comes_to_the_newest_by_itself() {
    let [steady, shaky, slow] = ["steady", "shaky", "slow"].map(|name| Arc::new(Place { name, ..Place::default() }));
    let targets: [Arc<dyn RouteTarget>; 3] = [steady.clone(), shaky.clone(), slow.clone()];
    let (tables, receiver) = watch::channel(table("a", 0, 0, None));
    let routes = Routes::start(targets.to_vec(), &receiver);
    let to = |epoch| tables.send_replace(table("a", epoch, 1, Some(("a", "10.0.0.1", 5432))));

    shaky.fails.store(true, Ordering::SeqCst);
    slow.hangs.store(true, Ordering::SeqCst);
    to(1);
    state_is(&routes, 0, |state| state.epoch == Some(Epoch(1))).await;
    let failing = state_is(&routes, 1, |state| state.failures >= 2).await;
    assert!(failing.epoch.is_none() && failing.error.is_some_and(|error| error.to_string().contains("told to fail")));
    until("the slow one was asked", async || {
        let given = slow.given.lock().expect("no panic").clone();
        if given == [1] { Ok(()) } else { Err(format!("{given:?}")) }
    })
    .await;

    // What is between isn't worth anything to whoever was busy; a table without a primary is for none.
    to(2);
    tables.send_replace(table("a", 3, 1, None));
    to(4);
    // Nor is an older one, whoever says it.
    to(3);
    shaky.fails.store(false, Ordering::SeqCst);
    slow.hangs.store(false, Ordering::SeqCst);
    slow.goes_on.notify_one();
    to(4);
    for number in 0..3 {
        let state = state_is(&routes, number, |state| state.epoch == Some(Epoch(4))).await;
        assert_eq!((state.failures, state.error), (0, None));
        assert!(state.since.is_some() && state.took.is_some());
    }
    for place in [&steady, &shaky, &slow] {
        let given = place.given.lock().expect("no panic").clone();
        assert!(given.is_sorted() && given.last() == Some(&4), "{} was given {given:?}", place.name);
    }

    // Who is told that it is late doesn't insist, for as long as another tries again and again, until there is something newer.
    steady.late.store(true, Ordering::SeqCst);
    shaky.fails.store(true, Ordering::SeqCst);
    to(5);
    let late = state_is(&routes, 0, |state| state.failures == 1).await;
    assert!(matches!(late.error, Some(RouteError::Superseded { .. })) && late.epoch == Some(Epoch(4)));
    tables.send_replace(RouteTable { version: 77, ..table("a", 5, 1, Some(("a", "10.0.0.1", 5432))) });
    state_is(&routes, 1, |state| state.failures >= 4).await;
    assert_eq!(steady.given.lock().expect("no panic").iter().filter(|epoch| **epoch == 5).count(), 1);
    steady.late.store(false, Ordering::SeqCst);
    shaky.fails.store(false, Ordering::SeqCst);

    // Tables that go back are nobody's, however often they come.
    for epoch in 100..150 {
        to(epoch);
        state_is(&routes, 0, |state| state.epoch == Some(Epoch(epoch))).await;
        to(epoch - 50);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    assert!(steady.given.lock().expect("no panic").is_sorted());
}
