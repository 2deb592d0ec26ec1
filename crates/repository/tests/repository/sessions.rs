//! Sessions that are interrupted, and locations that fail, hang, fill up or come back.

use crate::bench::*;
use crate::place::{Fault, Place};
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn state<'a>(point: &'a Point, name: &str) -> &'a str {
    &point.locations.iter().find(|state| state.name == name).unwrap().state
}

/// Waits for what happens in the background.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::task::yield_now().await;
    }
}

/// Writes the chunks of `files` and goes away before the commit. Waits until `packs` packs are stored.
async fn interrupted(repository: &Arc<Repository>, places: &[Arc<Place>], files: &Files, packs: usize) {
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let files = files.clone();
    tokio::task::spawn_blocking(move || write_files(&session, &files).map(|_| ())).await.unwrap().unwrap();
    for place in places {
        eventually("the packs arrive", || place.keys("packs/").len() >= packs).await;
    }
}

#[tokio::test]
async fn an_interrupted_session_leaves_no_point_and_its_chunks_are_used() {
    let (places, repository) = create(2).await;
    let files = some_files(1);
    interrupted(&repository, &places, &files, 4).await;
    assert_eq!(repository.list_points(None).await.unwrap(), []);
    assert_eq!(places[0].keys("index/"), Vec::<String>::new());
    assert_eq!(verify(&repository, true).await, vec![], "packs that nothing refers to are no damage");
    let packs = places[0].keys("packs/");

    let (point, _) = backup(&repository, &files).await;
    assert_eq!(point.bytes_new, 0);
    assert_eq!(places[0].keys("packs/"), packs);
    assert_eq!(places[0].keys("index/").len(), 1, "the packs found are listed now");
    assert_reads_back(&repository, &point.id, &files).await;
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_lost_fragment_of_the_index_costs_nothing_but_time() {
    let (places, repository) = create(1).await;
    let files = some_files(1);
    let (point, _) = backup(&repository, &files).await;
    let fragment = places[0].keys("index/").remove(0);
    places[0].remove(&fragment);
    assert_reads_back(&repository, &point.id, &files).await;
    let bad = verify(&repository, false).await;
    assert!(!bad.is_empty() && bad.iter().all(|damage| damage.what.contains("no fragment of the index")), "{bad:?}");

    let (again, _) = backup(&repository, &files).await;
    assert_eq!(again.bytes_new, 0);
    assert_eq!(places[0].keys("index/").len(), 1);
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_location_that_fails_midway_is_named_and_healed_by_the_next_session() {
    for (prefix, count) in [("packs/", 2), ("index/", 0), ("points/", 0)] {
        let (places, repository) = create(2).await;
        let files = some_files(1);
        places[1].break_writes(prefix, count, Fault::Fail(ErrorKind::Unavailable));
        let (point, _) = backup(&repository, &files).await;
        assert_eq!(state(&point, "north"), "complete");
        assert!(state(&point, "south").contains("not reachable"), "{:?}", point.locations);
        assert_eq!(places[1].keys("points/"), Vec::<String>::new(), "a point is never there before what it needs");
        assert_reads_back(&Arc::new(repository.only("north").unwrap()), &point.id, &files).await;
        let bad = verify(&repository, false).await;
        assert!(bad.iter().any(|damage| damage.location == "south"), "not whole, and nobody says so: {bad:?}");

        places[1].repair();
        let mut notes = Vec::new();
        WriteSession::begin(repository.clone(), &mut notes).await.unwrap();
        assert!(notes.iter().any(|note| note.contains("brought up to date from north: south")), "{notes:?}");
        assert_eq!(places[0].objects(), places[1].objects());
        assert_eq!(verify(&repository, true).await, vec![]);
        assert_reads_back(&Arc::new(repository.only("south").unwrap()), &point.id, &files).await;
    }
}

/// The index is in memory once, except when a location that may hold more doesn't take part in the session.
#[tokio::test]
async fn the_reader_of_a_session_is_its_own_unless_a_location_is_out() {
    let (places, repository) = create(2).await;
    let (point, _) = backup(&repository, &few_files(1)).await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    assert!(Arc::ptr_eq(&session.reader().await.unwrap(), &session.reader().await.unwrap()));

    places[0].break_reads("packs/", Fault::Fail(ErrorKind::Unavailable));
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    places[0].repair();
    let reader = session.reader().await.unwrap();
    for key in places[1].keys("packs/") {
        places[1].remove(&key);
    }
    assert!(!reader.read_all(&point.tree).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_location_that_hangs_for_ever_holds_nobody_up() {
    for prefix in ["packs/", "index/", "points/", "receipts/"] {
        let (places, repository) = create(2).await;
        places[0].break_writes(prefix, 0, Fault::Hang);
        let files = some_files(1);
        let (point, _) = backup(&repository, &files).await;
        assert_eq!(state(&point, "south"), "complete");
        if prefix != "receipts/" {
            assert!(state(&point, "north").contains("too slow"), "{:?}", point.locations);
        }
        assert_reads_back(&Arc::new(repository.only("south").unwrap()), &point.id, &files).await;
    }
}

#[tokio::test]
async fn a_location_that_does_not_answer_at_all_holds_nobody_up() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    places[0].break_reads("", Fault::Hang);
    places[0].break_writes("", 0, Fault::Hang);
    // Neither a session, nor a restore, nor a listing, nor opening.
    let (second, _) = backup(&repository, &some_files(2)).await;
    assert_eq!(state(&second, "south"), "complete");
    assert!(state(&second, "north").contains("not reachable"), "{:?}", second.locations);
    let (found, notes) = read_back(&repository, &first.id).await.unwrap();
    assert!(found == files && !notes.is_empty());
    assert_eq!(repository.list_points(None).await.unwrap().len(), 2);
    let reopened = open(&places).await;
    assert_eq!(reopened.unavailable()[0].0, "north");
    let report = repository.verify(None, false, &Silent).await.unwrap();
    assert!(report.away.len() == 1 && report.away[0].0 == "north", "{:?}", report.away);
    assert_eq!((report.bad, report.looked_at), (vec![], vec!["south".to_owned()]), "what isn't reached isn't damaged");
}

#[tokio::test]
async fn who_runs_on_is_joined_by_locations_that_come_back() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    places[0].break_reads("", Fault::Fail(ErrorKind::Unavailable));
    let alone = open(&places).await;
    let order = ["north", "south", "stranger"].map(str::to_owned);
    let (strangers, _) = create(1).await;
    let stranger = Replica { name: "stranger".into(), location: strangers[0].clone() };
    let others = || {
        let mut all = replicas(&places.iter().collect::<Vec<_>>());
        all.push(stranger.clone());
        all
    };
    let names = |repository: &Repository| -> Vec<String> {
        repository.replicas().iter().map(|replica| replica.name.clone()).collect()
    };
    let still = alone.joined_by(others(), &order).await;
    assert_eq!((names(&still), still.unavailable().len()), (vec!["south".to_owned()], 1));
    places[0].repair();
    let both = still.joined_by(others(), &order).await;
    // In its place, and nobody else's repository with it.
    assert_eq!((names(&both), both.unavailable()), (vec!["north".to_owned(), "south".to_owned()], &[][..]));
    assert_reads_back(&Arc::new(both.only("north").unwrap()), &point.id, &files).await;
}

#[tokio::test]
async fn a_healing_that_hangs_holds_nobody_up_and_nothing_is_stored_twice() {
    let (places, repository) = create(2).await;
    places[1].break_writes("packs/", 0, Fault::Fail(ErrorKind::Unavailable));
    let files = some_files(1);
    backup(&repository, &files).await;
    places[1].break_writes("packs/", 0, Fault::Hang);
    let packs = places[0].keys("packs/");
    let (point, _) = backup(&repository, &files).await;
    assert!(state(&point, "south").contains("could not be brought up to date"), "{:?}", point.locations);
    assert_eq!(places[0].keys("packs/"), packs, "what one location lacks is not stored again in the other");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_while_a_location_hangs() {
    let places = [Place::new("a"), Place::new("b")];
    let all = replicas(&[&places[0], &places[1]]);
    Repository::init(&all, &passphrase()).await.unwrap();
    let budget_bytes = 20 * 1024 * 1024;
    let limits = Limits { budget_bytes, ..quick() };
    let repository = Arc::new(Repository::open_with(all, &passphrase(), 1, limits).await.unwrap());
    places[1].break_writes("packs/", 0, Fault::Hang);
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let report = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let session = &session;
                scope.spawn(move || {
                    let mut writer = session.writer().unwrap();
                    for number in 0..90 {
                        writer.put(&noise(thread << 32 | number, CHUNK_BYTES_MAX)).unwrap();
                    }
                    writer.finish().unwrap();
                });
            }
        });
        session.settle().unwrap()
    })
    .await
    .unwrap();
    assert!(report.lanes[1].failure.as_ref().unwrap().contains("too slow"), "{report:?}");
    assert_eq!(report.lanes[0].failure, None);
    let held = places[1].held_bytes_max();
    // One object may exceed the budget: a pack of 16 MiB and a frame.
    assert!(held <= budget_bytes + 17 * 1024 * 1024, "{held} bytes were in memory for a place that hangs");
    assert!(places[0].keys("packs/").len() >= 5);
}

#[tokio::test]
async fn a_full_location_is_out_and_says_so() {
    let (places, repository) = create(2).await;
    places[0].break_writes("packs/", 1, Fault::Fail(ErrorKind::Full));
    let (point, _) = backup(&repository, &some_files(1)).await;
    assert!(state(&point, "north").contains("no space left"), "{:?}", point.locations);
    assert_eq!(state(&point, "south"), "complete");
}

#[tokio::test]
async fn when_all_fail_the_backup_fails_with_every_reason() {
    let (places, repository) = create(2).await;
    places[0].break_writes("packs/", 1, Fault::Fail(ErrorKind::Full));
    places[1].break_writes("packs/", 2, Fault::Fail(ErrorKind::Denied));
    let error = try_backup(&repository, &some_files(1)).await.unwrap_err();
    let Error::AllLocationsFailed { reasons, .. } = &error else { panic!("{error}") };
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("no space left") && reasons[1].contains("access denied"), "{reasons:?}");
    assert_eq!(places[0].keys("points/"), Vec::<String>::new());
}

#[tokio::test]
async fn a_writer_that_was_not_finished_forbids_the_point() {
    let (_, repository) = create(1).await;
    let session = WriteSession::begin(repository, &mut Vec::new()).await.unwrap();
    tokio::task::spawn_blocking(move || {
        let mut writer = session.writer().unwrap();
        let id = writer.put(b"never handed over").unwrap();
        drop(writer);
        let error = session.commit(point(vec![id], &Files::new(), 0)).unwrap_err();
        assert!(matches!(error, Error::Internal(_)), "{error}");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_pack_that_is_gone_is_never_taken_for_stored() {
    let (places, repository) = create(1).await;
    let files = some_files(1);
    let (first, _) = backup(&repository, &files).await;
    let lost: Vec<String> = places[0].keys("packs/");
    lost.iter().for_each(|key| drop(places[0].remove(key)));
    assert!(read_back(&repository, &first.id).await.is_err());

    // The index still lists the lost packs. The next backup stores the chunks again, and both points come back.
    let (second, _) = backup(&repository, &files).await;
    assert!(second.bytes_new > 1_000_000, "{}", second.bytes_new);
    assert_eq!(read_back(&repository, &second.id).await.unwrap().0, files);
    assert_eq!(read_back(&repository, &first.id).await.unwrap().0, files);
}

#[tokio::test]
async fn a_pack_that_is_cut_short_in_one_location_is_stored_anew() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    for key in places[0].keys("packs/") {
        let bytes = places[0].remove(&key);
        places[0].set(&key, bytes.slice(..bytes.len() / 2));
    }
    let (second, _) = backup(&repository, &files).await;
    assert!(second.bytes_new > 0);
    let alone = Arc::new(repository.only("north").unwrap());
    assert_eq!(read_back(&alone, &second.id).await.unwrap().0, files);
    assert_eq!(read_back(&alone, &first.id).await.unwrap().0, files);
}

#[tokio::test]
async fn two_sessions_at_once_both_commit() {
    let (places, repository) = create(2).await;
    let (one, two) = (some_files(1), some_files(50));
    let (first, second) = tokio::join!(backup(&repository, &one), backup(&repository, &two));
    assert_reads_back(&repository, &first.0.id, &one).await;
    assert_reads_back(&repository, &second.0.id, &two).await;
    assert_eq!(verify(&repository, true).await, vec![]);
    assert_eq!(places[0].objects(), places[1].objects());
}

#[tokio::test]
async fn copy_brings_everything_over_and_refuses_damage() {
    let (places, repository) = create(2).await;
    let files = some_files(1);
    places[1].break_writes("packs/", 0, Fault::Fail(ErrorKind::Unavailable));
    let (point, _) = backup(&repository, &files).await;
    places[1].repair();
    let damaged = places[0].keys("points/").remove(0);
    let whole = places[0].remove(&damaged);
    let mut bytes = whole.to_vec();
    bytes[60] ^= 1;
    places[0].set(&damaged, bytes);
    let plan = repository.plan_copy("north", "south").await.unwrap();
    let report = repository.apply_copy(&plan, &|_| {}).await.unwrap();
    assert!(report.failure.as_ref().unwrap().contains("not copied"), "{report:?}");
    assert_eq!(places[1].keys("points/"), Vec::<String>::new(), "damage spread");

    places[0].set(&damaged, whole);
    let plan = repository.plan_copy("north", "south").await.unwrap();
    assert_eq!(repository.apply_copy(&plan, &|_| {}).await.unwrap().failure, None);
    assert_eq!(places[0].objects(), places[1].objects());
    assert_reads_back(&Arc::new(repository.only("south").unwrap()), &point.id, &files).await;
}

/// Healing keeps the order: what comes later is not copied when something before it was not.
#[tokio::test]
async fn an_interrupted_healing_leaves_no_point_without_its_packs() {
    for (prefix, absent) in [("packs/", &["index/", "wal/", "points/", "receipts/"][..]), ("index/", &["points/"])] {
        let (places, repository) = create(2).await;
        places[1].break_writes("", 0, Fault::Fail(ErrorKind::Unavailable));
        backup(&repository, &some_files(1)).await;
        repository.put_log(WORKLOAD, "1", "log", b"log", b"").await.unwrap();
        places[1].break_writes(prefix, if prefix == "packs/" { 1 } else { 0 }, Fault::Fail(ErrorKind::Full));
        let mut notes = Vec::new();
        let _ = WriteSession::begin(repository, &mut notes).await.unwrap();
        assert!(notes.iter().any(|note| note.contains("no space left")), "{notes:?}");
        for prefix in absent {
            assert_eq!(places[1].keys(prefix), Vec::<String>::new());
        }
    }
}

/// A location that was behind and can't be healed because the *other* one is damaged still takes part.
#[tokio::test]
async fn damage_in_one_location_does_not_put_the_other_out() {
    let (places, repository) = create(2).await;
    places[1].break_writes("packs/", 0, Fault::Fail(ErrorKind::Unavailable));
    let files = some_files(1);
    backup(&repository, &files).await;
    places[1].repair();
    let key = places[0].keys("packs/").remove(0);
    let mut bytes = places[0].remove(&key).to_vec();
    bytes[100] ^= 1;
    places[0].set(&key, bytes);
    let (point, notes) = backup(&repository, &files).await;
    assert!(notes.iter().any(|note| note.contains("not copied")), "{notes:?}");
    assert!(point.locations.iter().all(LocationState::is_complete), "{:?}", point.locations);
    let alone = Arc::new(repository.only("south").unwrap());
    assert_eq!(read_back(&alone, &point.id).await.unwrap().0, files);
}
