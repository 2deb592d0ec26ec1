//! `archive_command`, with the files of real servers.

use crate::world::{ALONE, WORKLOAD, World, fill_segments, name_of, ready, waiting};
use lifeboat_location::{ErrorKind, Fault, Operation};
use lifeboat_postgres::TimelineId;
use lifeboat_postgres::wal::segment_facts;
use lifeboat_workload::postgres::wal::{
    AheadSeat, FetchOptions, FetchOutcome, PushOptions, StoredFacts, WalError, WalErrorKind, already_pushed,
    await_storing, facts_of, fetch, is_worth_a_process, locations_to_use, observe, observe_span, push, push_waiting,
};
use std::path::Path;
use std::time::{Duration, SystemTime};

async fn put(world: &World, path: &Path) -> Result<lifeboat_workload::postgres::wal::PushOutcome, WalError> {
    push(world.repository.clone(), WORKLOAD, path, &world.spool, ALONE).await
}

async fn every_file_comes_back(major: u16, segment_mib: u32) {
    let world = World::new().await;
    let primary = waiting(major, segment_mib).start().unwrap();
    let mut standby = primary.standby(|builder| builder.setting("archive_mode", "always")).await.unwrap();
    standby.start().unwrap();
    fill_segments(&primary, 2).await;
    primary.sql("begin; select pg_create_restore_point('before the fall'); commit").await.unwrap();
    fill_segments(&primary, 1).await;
    primary.sql("insert into filled (at) values (now())").await.unwrap();
    let end: String = primary.sql("select pg_current_wal_flush_lsn()").await.unwrap().unwrap();
    let replayed = format!("select pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
    crate::world::until("the standby follows", || async {
        standby.sql(&replayed).await.unwrap().as_deref() == Some("t")
    })
    .await;
    standby.promote().unwrap();
    fill_segments(&standby, 1).await;

    let mut files = ready(&primary);
    let known: Vec<String> = files.iter().map(|path| name_of(path)).collect();
    files.extend(ready(&standby).into_iter().filter(|path| !known.contains(&name_of(path))));
    let names: Vec<String> = files.iter().map(|path| name_of(path)).collect();
    for kind in [".history", ".partial", ".backup"] {
        assert!(names.iter().any(|name| name.ends_with(kind)), "no {kind} in {names:?}");
    }
    for again in [false, true] {
        for path in &files {
            let outcome = put(&world, path).await.unwrap();
            assert_eq!((outcome.created, outcome.stored_in.len()), (!again, 2), "{path:?}");
        }
    }
    let archive = world.archive().await;
    let destination = world.path("RECOVERYXLOG");
    for path in &files {
        let expected = std::fs::read(path).unwrap();
        let outcome = fetch(&archive, &name_of(path), &destination, FetchOptions::default()).await.unwrap();
        assert_eq!(outcome, FetchOutcome::Found { bytes: expected.len() as u64, valid_to: None });
        assert!(std::fs::read(&destination).unwrap() == expected, "{path:?} differs");
    }

    let inventory = observe(&archive).await.unwrap();
    assert_eq!((inventory.timelines.len(), inventory.histories.len()), (2, 1));
    assert!(inventory.conflicts.is_empty() && inventory.strangers.is_empty() && inventory.silent.is_empty());
    let run = inventory.runs(TimelineId(1))[0];
    let part = observe_span(&archive, TimelineId(1), run).await.unwrap();
    assert_eq!((part.runs(TimelineId(1)), part.timelines.len()), (inventory.runs(TimelineId(1)), 1));
    let (mut commits, mut points) = (0, Vec::new());
    for entry in inventory.timelines.values().flat_map(|log| log.segments.values()) {
        let facts = facts_of(&archive, entry).await.unwrap();
        commits += facts.commits;
        points.extend(facts.restore_points.into_iter().map(|point| point.name));
        assert!(facts.complete, "{}", entry.name);
    }
    assert!(commits >= 4, "{commits} commits");
    assert_eq!(points, ["before the fall"]);
}

#[tokio::test]
async fn files_14() {
    every_file_comes_back(14, 1).await;
}

#[tokio::test]
async fn files_15() {
    every_file_comes_back(15, 1).await;
}

#[tokio::test]
async fn files_16() {
    every_file_comes_back(16, 1).await;
}

#[tokio::test]
async fn files_17() {
    every_file_comes_back(17, 16).await;
}

#[tokio::test]
async fn files_18_in_large_segments() {
    every_file_comes_back(18, 64).await;
}

#[tokio::test]
async fn other_content_under_a_known_name_is_refused() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = ready(&cluster).remove(0);
    put(&world, &path).await.unwrap();
    let original = std::fs::read(&path).unwrap();
    let mut changed = original.clone();
    let last = changed.len() - 1;
    changed[last] ^= 1;
    let other = world.path(&name_of(&path));
    std::fs::write(&other, changed).unwrap();

    let error = put(&world, &other).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Conflict, "{error}");
    assert!(error.hint().is_some());
    let destination = world.path("RECOVERYXLOG");
    fetch(&world.archive().await, &name_of(&path), &destination, FetchOptions::default()).await.unwrap();
    assert!(std::fs::read(&destination).unwrap() == original);
}

#[tokio::test]
async fn a_foreign_cluster_is_refused() {
    let world = World::new().await;
    let (ours, theirs) = (waiting(15, 1).start().unwrap(), waiting(16, 1).start().unwrap());
    fill_segments(&ours, 1).await;
    fill_segments(&theirs, 3).await;
    put(&world, &ready(&ours)[0]).await.unwrap();
    let foreign = ready(&theirs).pop().unwrap();
    let stranger = lifeboat_workload::postgres::wal::Spool::new(&world.path("elsewhere"), WORKLOAD, "here");
    for spool in [&world.spool, &stranger] {
        let error = push(world.repository.clone(), WORKLOAD, &foreign, spool, ALONE).await.unwrap_err();
        assert!(matches!(error, WalError::ForeignCluster { .. }), "{error}");
        assert_eq!(error.kind(), WalErrorKind::Conflict);
    }
    push(world.repository.clone(), "another", &foreign, &stranger, ALONE).await.unwrap();
}

#[tokio::test]
async fn what_is_not_what_its_name_says_is_refused() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = ready(&cluster).remove(0);
    let whole = std::fs::read(&path).unwrap();
    let name = name_of(&path);
    for (name, content, says) in [
        ("passwd", whole.clone(), "is not the name"),
        ("00000001000000000000000A", whole.clone(), "refuse 00000001000000000000000A"),
        ("000000010000000000001001", whole.clone(), "is not the name"),
        ("000000010000000000000100", whole.clone(), "refuse 000000010000000000000100"),
        (name.as_str(), whole[..whole.len() / 2].to_vec(), "has 524288 bytes"),
        (name.as_str(), vec![0; whole.len()], "refuse"),
        (name.as_str(), Vec::new(), "refuse"),
        ("00000002.history", b"nonsense\n".to_vec(), "nothing beside"),
    ] {
        let file = world.path(name);
        std::fs::write(&file, content).unwrap();
        let error = put(&world, &file).await.unwrap_err();
        assert!(error.to_string().contains(says), "{name}: {error}");
        std::fs::remove_file(&file).unwrap();
    }
    assert!(put(&world, &world.path(&name)).await.is_err());
    let wrote = world.near.calls().into_iter().filter(|(what, key)| *what == Operation::Put && key.contains("wal/"));
    assert_eq!(wrote.count(), 0);
}

#[tokio::test]
async fn two_at_once_are_one() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = ready(&cluster).remove(0);
    let elsewhere = lifeboat_workload::postgres::wal::Spool::new(&world.path("elsewhere"), WORKLOAD, "here");
    let (one, other) = tokio::join!(
        push(world.repository.clone(), WORKLOAD, &path, &world.spool, ALONE),
        push(world.repository.clone(), WORKLOAD, &path, &elsewhere, ALONE)
    );
    assert_eq!((one.unwrap().stored_in.len(), other.unwrap().stored_in.len()), (2, 2));
    let listed = world.archive().await.list("").await.unwrap().entries;
    assert_eq!(listed.len(), 1);
}

#[tokio::test]
async fn files_that_wait_are_stored_ahead_and_a_mark_is_about_one_file_as_it_was() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 6).await;
    let waiting = ready(&cluster);
    let first =
        push(world.repository.clone(), WORKLOAD, &waiting[0], &world.spool, PushOptions::default()).await.unwrap();
    assert!(first.created && !first.was_ahead);
    assert_eq!(first.ahead, waiting[1..].iter().map(|path| name_of(path)).collect::<Vec<_>>());
    assert_eq!(ready(&cluster), waiting, "PostgreSQL's own marks are its own");
    for path in &waiting {
        assert_is_stored_whole(&world, path).await;
    }

    let calls = world.near.calls().len();
    for path in &waiting[1..4] {
        assert!(already_pushed(path, &world.spool).unwrap().unwrap().was_ahead, "{path:?}");
        assert_eq!(already_pushed(path, &world.spool).unwrap(), None, "a mark serves once");
    }
    assert_eq!(world.near.calls().len(), calls, "nobody was asked");

    // Touched, with its time put back: nobody knows what was done to it.
    let touched = std::fs::File::options().write(true).open(&waiting[4]).unwrap();
    touched.set_modified(touched.metadata().unwrap().modified().unwrap()).unwrap();
    assert_eq!(already_pushed(&waiting[4], &world.spool).unwrap(), None);

    let mut changed = std::fs::read(&waiting[4]).unwrap();
    changed[9000] ^= 1;
    let other = world.path(&name_of(&waiting[4]));
    std::fs::write(&other, changed).unwrap();
    assert_eq!(already_pushed(&other, &world.spool).unwrap(), None);
    assert_eq!(put(&world, &other).await.unwrap_err().kind(), WalErrorKind::Conflict);

    let elsewhere =
        lifeboat_workload::postgres::wal::Spool::new(world.directory.path(), WORKLOAD, "another repository");
    assert_eq!(already_pushed(&waiting[5], &elsewhere).unwrap(), None);
    assert!(!put(&world, &waiting[5]).await.unwrap().created);
}

/// Content and facts, whichever way it went.
async fn assert_is_stored_whole(world: &World, path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    let entries = world.repository.list_logs(WORKLOAD, "").await.unwrap();
    let entry = entries.iter().find(|entry| entry.name == name_of(path)).expect("it is stored");
    let object = world.repository.get_log(WORKLOAD, entry, &mut Vec::new()).await.unwrap();
    assert_eq!(entry.content_id, world.repository.content_id(&bytes));
    assert!(object.bytes == bytes, "{path:?}");
    let facts: StoredFacts = serde_json::from_slice(&object.annex).unwrap();
    assert_eq!(facts, segment_facts(&bytes).unwrap().into(), "{path:?}");
}

#[tokio::test]
async fn many_that_wait_are_stored_in_the_background_until_something_is_wrong() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 12).await;
    let waiting = ready(&cluster);
    let few = waiting.len() - 8;
    assert!(is_worth_a_process(&waiting[0], &world.spool));

    // What a killed process left says that a file is being stored. Nobody waits for nobody, and the next one clears it up.
    std::fs::create_dir_all(world.path(WORKLOAD).join("push")).unwrap();
    let stale = world.path(WORKLOAD).join("push").join(format!("{}.storing", name_of(&waiting[1])));
    std::fs::write(&stale, "").unwrap();
    let asked = std::time::Instant::now();
    await_storing(&waiting[1], &world.spool);
    assert!(asked.elapsed() < Duration::from_secs(10));

    // A file that is refused ends it, and so does a location that takes nothing: PostgreSQL's own call must tell.
    let whole = std::fs::read(&waiting[few]).unwrap();
    std::fs::write(&waiting[few], &whole[..1000]).unwrap();
    let seat = || AheadSeat::take(&world.spool).unwrap().expect("the seat is free");
    let one = seat();
    assert!(AheadSeat::take(&world.spool).unwrap().is_none(), "one at a time");
    let refused = push_waiting(world.repository.clone(), WORKLOAD, &waiting[0], &world.spool, one).await;
    assert!(refused.unwrap_err().to_string().contains("1000 bytes"));
    assert!(!stale.exists());
    std::fs::write(&waiting[few], &whole).unwrap();
    world.far.always(Operation::Put, "", Fault::Error(ErrorKind::Unavailable));
    push_waiting(world.repository.clone(), WORKLOAD, &waiting[0], &world.spool, seat()).await.unwrap();
    let names = ["near".to_owned(), "far".to_owned()];
    assert_eq!(locations_to_use(&world.spool, &names, SystemTime::now()), ["near"], "it rests");

    world.far.heal();
    push_waiting(world.repository.clone(), WORKLOAD, &waiting[0], &world.spool, seat()).await.unwrap();
    assert!(!is_worth_a_process(&waiting[0], &world.spool));
    let listed = world.archive().await.list("").await.unwrap().entries;
    assert_eq!(listed.len(), waiting.len() - 1, "all but the caller's own");
    for path in &waiting[1..] {
        assert!(already_pushed(path, &world.spool).unwrap().is_some_and(|outcome| outcome.was_ahead), "{path:?}");
    }
    assert_eq!(ready(&cluster), waiting, "PostgreSQL's own marks are its own");
}

#[tokio::test]
async fn a_push_that_was_cut_short_is_repeated() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 2).await;
    let waiting = ready(&cluster);
    put(&world, &waiting[0]).await.unwrap();

    let name = name_of(&waiting[1]);
    for location in [&world.near, &world.far] {
        location.always(Operation::Put, &name, Fault::Hang);
    }
    let killed = tokio::time::timeout(Duration::from_millis(300), put(&world, &waiting[1])).await;
    assert!(killed.is_err(), "it must not say yes");
    for location in [&world.near, &world.far] {
        location.heal();
        location.times(Operation::Put, &name, 0, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    }
    let error = put(&world, &waiting[1]).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Unavailable, "{error}");
    let outcome = put(&world, &waiting[1]).await.unwrap();
    assert_eq!((outcome.created, outcome.stored_in.len()), (false, 2), "it had arrived");
}

#[tokio::test]
async fn a_dead_location_is_reported_and_then_left_alone() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = ready(&cluster).remove(0);
    world.far.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    let outcome = put(&world, &path).await.unwrap();
    assert_eq!(outcome.stored_in, ["near"]);
    assert_eq!(outcome.failures[0].0, "far");

    let both = ["near".to_owned(), "far".to_owned()];
    let now = SystemTime::now();
    assert_eq!(locations_to_use(&world.spool, &both, now), ["near"]);
    assert_eq!(locations_to_use(&world.spool, &both, now + Duration::from_secs(120)), both);
    assert_eq!(locations_to_use(&world.spool, &both[1..], now), ["far"]);

    world.near.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    let error = put(&world, &path).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Unavailable);
}
