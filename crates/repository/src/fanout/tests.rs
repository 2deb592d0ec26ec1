//! The lanes by themselves, with locations that are slow, hang, lose answers or go away.

use super::*;
use lifeboat_location::{Fault, Faulty, Memory, Operation};
use std::sync::atomic::{AtomicBool, Ordering};

fn limits() -> Limits {
    Limits { patience: Duration::from_millis(300), bytes_per_second_min: 1 << 40, ..Limits::default() }
}

type Lanes = (Arc<Fanout>, [Arc<Faulty<Memory>>; 2]);

fn two_lanes(limits: Limits) -> Lanes {
    let locations = ["a", "b"].map(|name| Arc::new(Faulty::new(Memory::new(name))));
    let lane =
        |location: &Arc<Faulty<Memory>>, name: &str| (Replica { name: name.into(), location: location.clone() }, None);
    let lanes = vec![lane(&locations[0], "a"), lane(&locations[1], "b")];
    (Arc::new(Fanout::new(lanes, Handle::current(), limits)), locations)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// A slow lane always has something on its way while others hand over: it moves, so it is not out, and whoever settles
/// waits for what was handed over before, not for what comes after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settling_while_others_hand_over_ends_and_drops_nobody() {
    // Long enough for a busy machine, and shorter than what is handed over takes all together.
    let patience = Duration::from_millis(1500);
    let (fanout, locations) = two_lanes(Limits { budget_bytes: 200, patience, ..limits() });
    locations[1].always(Operation::Put, "", Fault::Slow(Duration::from_millis(100)));
    let stop = Arc::new(AtomicBool::new(false));
    let (busy, until) = (fanout.clone(), stop.clone());
    let others = tokio::task::spawn_blocking(move || {
        let (mut number, deadline) = (0u64, Instant::now() + Duration::from_secs(15));
        while !until.load(Ordering::SeqCst) && Instant::now() < deadline {
            number += 1;
            busy.submit(&format!("busy/{number}"), Bytes::from_static(&[0; 10])).unwrap();
        }
        until.load(Ordering::SeqCst)
    });
    let settling = fanout.clone();
    let reports = blocking(move || {
        let mut reports = Vec::new();
        for round in 0..3 {
            settling.submit(&format!("mine/{round}"), Bytes::from_static(b"x")).unwrap();
            reports.extend(settling.settle().unwrap());
        }
        reports
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    assert!(others.await.unwrap(), "settling waited until nobody handed anything over any more");
    assert!(reports.iter().all(|lane| lane.failure.is_none()), "{reports:?}");
    for location in &locations {
        use lifeboat_location::Location;
        assert_eq!(location.list("mine/").await.unwrap().len(), 3);
    }
}

#[tokio::test]
async fn a_lane_that_stands_still_is_out_and_its_memory_comes_back() {
    let (fanout, locations) = two_lanes(Limits { budget_bytes: 100, ..limits() });
    locations[0].always(Operation::Put, "", Fault::Hang);
    let handing = fanout.clone();
    let reports = blocking(move || {
        for number in 0..50 {
            handing.submit(&format!("{number}"), Bytes::from_static(&[0; 60])).unwrap();
        }
        handing.settle().unwrap()
    })
    .await;
    assert!(reports[0].failure.as_ref().unwrap().contains("too slow"), "{reports:?}");
    assert_eq!(reports[1].failure, None);
    let shared = fanout.shared.clone();
    let deadline = Instant::now() + Duration::from_secs(10);
    while shared.lock().in_flight_bytes > 0 {
        assert!(Instant::now() < deadline, "the budget of the lane that is out never came back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lane_whose_answers_are_lost_is_out() {
    let (fanout, locations) = two_lanes(limits());
    locations[0].times(Operation::Put, "", 1, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    let reports = blocking(move || {
        for number in 0..4 {
            fanout.submit(&format!("{number}"), Bytes::from_static(b"x")).unwrap();
            fanout.settle().unwrap();
        }
        fanout.settle().unwrap()
    })
    .await;
    assert!(reports[0].failure.as_ref().unwrap().contains("not reachable"), "{reports:?}");
}

/// Nobody waits for uploads of a runtime that is gone.
#[test]
fn when_the_runtime_ends_handing_over_fails() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (fanout, locations) = runtime.block_on(async { two_lanes(limits()) });
    locations.iter().for_each(|location| location.always(Operation::Put, "", Fault::Hang));
    fanout.submit("one", Bytes::from_static(b"x")).unwrap();
    runtime.shutdown_timeout(Duration::from_secs(5));
    let error = fanout.settle().unwrap_err();
    assert!(error.to_string().contains("ended without an answer"), "{error}");
    assert!(fanout.submit("two", Bytes::from_static(b"x")).is_err());
}
