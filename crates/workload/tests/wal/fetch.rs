//! `restore_command`: what PostgreSQL gets, and what it is told when there is nothing.

use crate::world::{ALONE, WORKLOAD, World, fill_segments, name_of, ready, until, waiting};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use lifeboat_location::{ErrorKind, Fault, Operation};
use lifeboat_postgres::wal_file::SegmentName;
use lifeboat_postgres::{SystemId, TimelineId};
use lifeboat_workload::postgres::wal::{
    FetchOptions, FetchOutcome, PrefetchOutcome, PrefetchSeat, Spool, WalArchive, WalError, WalErrorKind, fetch,
    observe, prefetch, push, take_prefetched,
};
use std::path::Path;

async fn pushed(world: &World, cluster: &TestCluster) -> Vec<std::path::PathBuf> {
    let files = ready(cluster);
    for path in &files {
        push(world.repository.clone(), WORKLOAD, path, &world.spool, ALONE).await.unwrap();
    }
    files
}

async fn ask(archive: &WalArchive, name: &str, destination: &Path) -> Result<FetchOutcome, WalError> {
    fetch(archive, name, destination, FetchOptions::default()).await
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Its primary died before it had archived it. Were it "not there", PostgreSQL would use the number of the timeline again.
#[tokio::test]
async fn a_history_that_nobody_archived_is_told_by_those_of_its_descendants() {
    let world = World::new().await;
    let mut cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    pushed(&world, &cluster).await;
    cluster.stop(Shutdown::Fast).unwrap();
    let archive = world.archive().await;
    let store = async |timeline: u32, text: &str| {
        let path = cluster.data_dir().join(format!("pg_wal/{timeline:08X}.history"));
        std::fs::write(&path, text).unwrap();
        push(world.repository.clone(), WORKLOAD, &path, &world.spool, ALONE).await.unwrap();
    };
    store(2, "1\t0/3000000\tno recovery target specified\n").await;
    store(4, "1\t0/3000000\tno recovery target specified\n\n2\t0/4000000\tx\n\n3\t0/4100000\tx\n").await;
    let destination = world.path("fetched.history");
    assert!(matches!(ask(&archive, "00000003.history", &destination).await.unwrap(), FetchOutcome::Found { .. }));
    let told = std::fs::read_to_string(&destination).unwrap();
    assert_eq!(told, "1\t0/3000000\tno recovery target specified\n2\t0/4000000\tx\n");
    let known = observe(&archive).await.unwrap().histories;
    assert_eq!(known.keys().map(|timeline| timeline.0).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(known[&TimelineId(3)].to_file(), told);
    // The next number that nobody had.
    assert_eq!(ask(&archive, "00000005.history", &destination).await.unwrap(), FetchOutcome::NotThere);
    // Another one that tells it otherwise: then nobody knows.
    store(6, "1\t0/3000000\tx\n3\t0/4100000\tx\n5\t0/5000000\tx\n").await;
    assert_eq!(ask(&archive, "00000003.history", &destination).await.unwrap(), FetchOutcome::NotThere);
    assert!(!observe(&archive).await.unwrap().histories.contains_key(&TimelineId(3)));
}

/// Others archived beside the one that is followed: timelines 3 and 5 left 2 where nobody went on, 4 is the one.
#[tokio::test]
async fn a_standby_is_led_to_the_timeline_that_it_follows_and_to_no_other() {
    let world = World::new().await;
    let mut cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 4).await;
    let names: Vec<String> = pushed(&world, &cluster).await.iter().map(|path| name_of(path)).collect();
    cluster.stop(Shutdown::Fast).unwrap();
    let archive = world.archive().await;
    let store = async |timeline: u32, text: &str| {
        let path = cluster.data_dir().join(format!("pg_wal/{timeline:08X}.history"));
        std::fs::write(&path, text).unwrap();
        push(world.repository.clone(), WORKLOAD, &path, &world.spool, ALONE).await.unwrap();
    };
    let destination = world.path("followed");
    let gives = async |name: &str, follows: u32| {
        let options = FetchOptions { follows: Some(TimelineId(follows)), ..FetchOptions::default() };
        fetch(&archive, name, &destination, options).await.unwrap() != FetchOutcome::NotThere
    };
    let segments: Vec<SegmentName> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let size = lifeboat_postgres::wal_file::SegmentSize::new(1 << 20).unwrap();
    // Inside the second that is archived.
    let fork = segments[1].with_size(size).unwrap().start(size).saturating_add(77);
    for name in &names[..3] {
        assert!(gives(name, 1).await && !gives(name, 2).await, "{name}: of 2 nobody knows yet where it left");
    }
    store(2, &format!("1\t{fork}\tx\n")).await;
    let given = [gives(&names[0], 2).await, gives(&names[1], 2).await, gives(&names[2], 2).await];
    assert_eq!(given, [true, false, false], "what 1 went on with isn't on the way");
    store(3, &format!("1\t{fork}\tx\n2\t{fork}\tx\n")).await;
    assert!(gives("00000002.history", 2).await && !gives("00000003.history", 2).await);
    assert!(!gives("00000003.history", 4).await, "it would stay on 3");
    store(4, &format!("1\t{fork}\tx\n2\t{fork}\tother\n")).await;
    store(5, &format!("1\t{fork}\tx\n2\t{fork}\tx\n")).await;
    for (name, given) in [("00000002", true), ("00000003", true), ("00000004", true), ("00000005", false)] {
        assert_eq!(gives(&format!("{name}.history"), 4).await, given, "{name}");
    }
    // Nobody knows a way from 5 to 7.
    store(7, &format!("1\t{fork}\tx\n2\t{fork}\tx\n")).await;
    assert!(!gives("00000003.history", 7).await && gives("00000002.history", 7).await);
}

#[tokio::test]
async fn a_cluster_recovers_with_what_is_fetched() {
    let world = World::new().await;
    let mut cluster = waiting(15, 1).start().unwrap();
    cluster.stop(Shutdown::Fast).unwrap();
    let before = world.path("before");
    std::fs::create_dir(&before).unwrap();
    copy_tree(&cluster.data_dir(), &before);
    cluster.start().unwrap();
    fill_segments(&cluster, 4).await;
    let rows = cluster.sql("select count(*) from filled").await.unwrap();
    let files = pushed(&world, &cluster).await;

    let archive = world.archive().await;
    let fetched = tempfile::Builder::new().prefix("fetched").tempdir_in("/tmp").unwrap();
    for path in &files {
        let outcome = ask(&archive, &name_of(path), &fetched.path().join(name_of(path))).await.unwrap();
        assert!(matches!(outcome, FetchOutcome::Found { valid_to: None, .. }));
    }
    cluster.give_to_server(fetched.path()).unwrap();
    let command = format!("cp {}/%f %p", fetched.path().display());
    let restored = TestCluster::builder(15).setting("restore_command", command);
    let mut restored = restored
        .adopt(|data| {
            copy_tree(&before, data);
            std::fs::write(data.join("recovery.signal"), "")?;
            Ok(())
        })
        .unwrap();
    restored.start().unwrap();
    until("recovery ends", || async {
        restored.sql("select pg_is_in_recovery()").await.is_ok_and(|answer| answer.as_deref() == Some("f"))
    })
    .await;
    assert_eq!(restored.sql("select count(*) from filled").await.unwrap(), rows);
}

#[tokio::test]
async fn only_every_location_together_says_that_there_is_none() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let name = name_of(&pushed(&world, &cluster).await[0]);
    let missing = "000000010000000000000FFF";
    let archive = world.archive().await;
    let destination = world.path("RECOVERYXLOG");
    for name in [missing, "00000002.history", "000000020000000000000001"] {
        assert_eq!(ask(&archive, name, &destination).await.unwrap(), FetchOutcome::NotThere);
    }
    assert!(!destination.exists());

    world.far.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    let reopened = WalArchive { repository: world.reopened().await, ..archive.clone() };
    for archive in [&archive, &reopened] {
        let error = ask(archive, missing, &destination).await.unwrap_err();
        assert!(matches!(error, WalError::CouldNotAsk { .. }), "{error}");
        assert_eq!(error.kind(), WalErrorKind::Unavailable);
        assert!(matches!(ask(archive, &name, &destination).await.unwrap(), FetchOutcome::Found { .. }));
        let trusting = FetchOptions { trust_reachable: true, ..FetchOptions::default() };
        assert_eq!(fetch(archive, missing, &destination, trusting).await.unwrap(), FetchOutcome::NotThere);
    }
    world.near.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    let trusting = FetchOptions { trust_reachable: true, ..FetchOptions::default() };
    let error = fetch(&archive, missing, &destination, trusting).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Unavailable, "nobody answered: {error}");
}

#[tokio::test]
async fn damage_is_an_error_unless_another_location_is_sound() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = pushed(&world, &cluster).await.remove(0);
    let name = name_of(&path);
    let archive = world.archive().await;
    let destination = world.path("RECOVERYXLOG");
    std::fs::write(&destination, "what was here before").unwrap();
    world.near.always(Operation::Get, &name, Fault::Flipped(400));
    ask(&archive, &name, &destination).await.unwrap();
    assert!(std::fs::read(&destination).unwrap() == std::fs::read(&path).unwrap());

    std::fs::write(&destination, "what was here before").unwrap();
    world.far.always(Operation::Get, &name, Fault::Truncated(400));
    let error = ask(&archive, &name, &destination).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Corrupt, "{error}");
    assert_eq!(std::fs::read(&destination).unwrap(), b"what was here before");
    let left = std::fs::read_dir(world.directory.path()).unwrap().flatten();
    assert!(!left.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().ends_with("tmp")));
}

#[tokio::test]
async fn two_contents_under_one_name_are_an_error() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 1).await;
    let path = ready(&cluster).remove(0);
    let near = world.repository.only("near").unwrap();
    push(near.into(), WORKLOAD, &path, &world.spool, ALONE).await.unwrap();
    let mut changed = std::fs::read(&path).unwrap();
    changed[9000] ^= 1;
    let other = world.path(&name_of(&path));
    std::fs::write(&other, changed).unwrap();
    let far = world.repository.only("far").unwrap();
    push(far.into(), WORKLOAD, &other, &world.spool, ALONE).await.unwrap();

    let error = ask(&world.archive().await, &name_of(&path), &world.path("RECOVERYXLOG")).await.unwrap_err();
    assert!(matches!(error, WalError::TwoContents { .. }), "{error}");
    assert_eq!(error.kind(), WalErrorKind::Conflict);
}

/// Stores the bytes of a segment as a receiver does, in parts.
async fn store_parts(archive: &WalArchive, segment: &[u8], name: &str, spans: &[(usize, usize)]) {
    let group = format!("{}/{}/{}", archive.system_id, &name[..8], &name[8..16]);
    for (from, to) in spans {
        let part = format!("{name}.{from:08X}.{to:08X}");
        archive.repository.put_log(WORKLOAD, &group, &part, &segment[*from..*to], &[]).await.unwrap();
    }
}

#[tokio::test]
async fn an_incomplete_segment_is_the_end_of_its_own_timeline_only() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 3).await;
    let files = ready(&cluster);
    push(world.repository.clone(), WORKLOAD, &files[0], &world.spool, ALONE).await.unwrap();
    let archive = world.archive().await;
    let (name, content) = (name_of(&files[1]), std::fs::read(&files[1]).unwrap());
    store_parts(&archive, &content, &name, &[(0, 5000), (5000, 70000), (80000, 90000)]).await;
    let destination = world.path("RECOVERYXLOG");

    assert_eq!(ask(&archive, &name, &destination).await.unwrap(), FetchOutcome::NotThere);
    let to = |timeline| FetchOptions { incomplete_of: Some(TimelineId(timeline)), ..FetchOptions::default() };
    assert_eq!(fetch(&archive, &name, &destination, to(2)).await.unwrap(), FetchOutcome::NotThere);
    let FetchOutcome::Found { bytes, valid_to: Some(valid_to) } =
        fetch(&archive, &name, &destination, to(1)).await.unwrap()
    else {
        panic!("not served")
    };
    assert_eq!((bytes, valid_to.0 % (1 << 20)), (1 << 20, 70000));
    let served = std::fs::read(&destination).unwrap();
    assert!(served[..70000] == content[..70000] && served[70000..].iter().all(|byte| *byte == 0));

    // When all of it came in parts, it is whole.
    store_parts(&archive, &content, &name, &[(70000, 80000), (90000, 1 << 20)]).await;
    let outcome = ask(&archive, &name, &destination).await.unwrap();
    assert_eq!(outcome, FetchOutcome::Found { bytes: 1 << 20, valid_to: None });
    assert!(std::fs::read(&destination).unwrap() == content);

    // With something behind it, it is a gap and not an end.
    let (last, content) = (name_of(&files[2]), std::fs::read(&files[2]).unwrap());
    store_parts(&archive, &content, &last, &[(0, 5000)]).await;
    assert!(matches!(fetch(&archive, &last, &destination, to(1)).await.unwrap(), FetchOutcome::Found { .. }));
    let next = archive.segment(last.parse().unwrap()).unwrap().next().name(archive.segment_size).to_string();
    store_parts(&archive, &content, &next, &[(0, 5000)]).await;
    assert_eq!(fetch(&archive, &last, &destination, to(1)).await.unwrap(), FetchOutcome::NotThere);
}

#[tokio::test]
async fn parts_of_two_histories_are_not_joined() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 2).await;
    let files = ready(&cluster);
    push(world.repository.clone(), WORKLOAD, &files[0], &world.spool, ALONE).await.unwrap();
    let archive = world.archive().await;
    let (name, mut content) = (name_of(&files[1]), std::fs::read(&files[1]).unwrap());
    store_parts(&archive, &content, &name, &[(0, 5000)]).await;
    content[4500] ^= 1;
    store_parts(&archive, &content, &name, &[(4000, 9000)]).await;
    let options = FetchOptions { incomplete_of: Some(TimelineId(1)), ..FetchOptions::default() };
    let error = fetch(&archive, &name, &world.path("RECOVERYXLOG"), options).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Conflict, "{error}");
}

#[tokio::test]
async fn prefetched_segments_are_given_out_once_and_only_when_sound() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 6).await;
    let files = pushed(&world, &cluster).await;
    let archive = world.archive().await;
    let destination = world.path("RECOVERYXLOG");
    let take = |path: &Path, system_id| take_prefetched(&name_of(path), &destination, &world.spool, system_id).unwrap();
    assert!(!take(&files[1], None));

    let first = name_of(&files[0]).parse().unwrap();
    assert_eq!(ahead(&world, &archive, first, 8).await, PrefetchOutcome::Loaded(files.len() - 1));
    assert_eq!(ahead(&world, &archive, first, 8).await, PrefetchOutcome::Loaded(0));

    let calls = world.near.calls().len();
    assert!(take(&files[1], Some(archive.system_id)));
    assert!(std::fs::read(&destination).unwrap() == std::fs::read(&files[1]).unwrap());
    assert!(!take(&files[1], None), "it was given out");
    assert!(!take(&files[2], Some(SystemId(1))), "of another cluster");
    let elsewhere = Spool::new(world.directory.path(), WORKLOAD, "another repository");
    assert!(!take_prefetched(&name_of(&files[3]), &destination, &elsewhere, None).unwrap());
    let torn = world.path(WORKLOAD).join("fetch").join(name_of(&files[4]));
    let mut content = std::fs::read(&torn).unwrap();
    content[9000] ^= 1;
    std::fs::write(&torn, content).unwrap();
    assert!(!take(&files[4], None), "torn");
    assert_eq!(world.near.calls().len(), calls, "nobody was asked");

    world.near.always(Operation::List, "", Fault::Slow(std::time::Duration::from_secs(2)));
    let (one, other) = tokio::join!(ahead(&world, &archive, first, 8), ahead(&world, &archive, first, 8));
    assert_eq!(other, PrefetchOutcome::Busy);
    assert!(matches!(one, PrefetchOutcome::Loaded(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefetcher_follows_recovery_and_ends_when_it_is_left_alone() {
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 6).await;
    let files = pushed(&world, &cluster).await;
    let archive = world.archive().await;
    let destination = world.path("RECOVERYXLOG");
    let first = name_of(&files[0]).parse().unwrap();
    let recovery = async {
        for path in &files[1..5] {
            let mark = world.path(WORKLOAD).join("fetch").join(format!("{}.mark", name_of(path)));
            until("it is loaded", || async { mark.exists() }).await;
            let room = std::fs::read_dir(world.path(WORKLOAD).join("fetch")).unwrap().flatten();
            let marks = room.filter(|entry| entry.path().extension().is_some_and(|end| end == "mark")).count();
            assert!(marks <= 2, "{marks} wait");
            assert!(take_prefetched(&name_of(path), &destination, &world.spool, None).unwrap());
            assert!(std::fs::read(&destination).unwrap() == std::fs::read(path).unwrap());
        }
    };
    let (outcome, ()) = tokio::join!(ahead(&world, &archive, first, 2), recovery);
    assert!(matches!(outcome, PrefetchOutcome::Loaded(4..)), "{outcome:?}");
    // Nobody is at work: what was being loaded when a prefetcher died is not waited for.
    std::fs::write(world.path(WORKLOAD).join("fetch").join("0000000100000000000000FF.loading"), "").unwrap();
    assert!(!take_prefetched("0000000100000000000000FF", &destination, &world.spool, None).unwrap());
}

async fn ahead(world: &World, archive: &WalArchive, last: SegmentName, count: usize) -> PrefetchOutcome {
    let Some(seat) = PrefetchSeat::take(&world.spool).unwrap() else { return PrefetchOutcome::Busy };
    let archive = std::sync::Arc::new(archive.clone());
    prefetch(archive, seat, last, &world.spool, count, std::time::Duration::from_secs(1)).await.unwrap()
}

/// A part of a segment, as a receiver stores it in both locations.
async fn store_part(archive: &WalArchive, part: lifeboat_workload::postgres::wal::TailName, segment: &[u8]) {
    use lifeboat_workload::postgres::wal::ArchivedName;
    let name = ArchivedName::Tail(part);
    let bytes = &segment[part.from as usize..part.to as usize];
    let group = archive.group_of(name);
    archive.repository.put_log(WORKLOAD, &group, &name.to_string(), bytes, &[]).await.unwrap();
}

/// Guards: an error, or an older end, when a receiver replaces a part between our look at the list and our read.
#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_goes_while_it_is_read_is_looked_for_again() {
    use lifeboat_location::Location;
    use lifeboat_workload::postgres::wal::TailName;
    let world = World::new().await;
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, 2).await;
    let files = ready(&cluster);
    let (last, before) = files.split_last().unwrap();
    for path in before {
        push(world.repository.clone(), WORKLOAD, path, &world.spool, ALONE).await.unwrap();
    }
    let archive = world.archive().await;
    let (name, bytes) = (name_of(last), std::fs::read(last).unwrap());
    let part = |to| TailName { segment: name.parse().unwrap(), from: 0, to };
    let (short, long) = (part(0x8000), part(0x1_0000));
    store_part(&archive, short, &bytes).await;

    // It is listed, and gone before it is read.
    let locations = [&world.near, &world.far];
    for location in locations {
        location.times(Operation::Get, &short.to_string(), 0, 1, Fault::Slow(std::time::Duration::from_secs(3)));
    }
    let (reader, destination) = (archive.clone(), world.path("RECOVERYXLOG"));
    let (asked, to) = (name.clone(), destination.clone());
    let options = FetchOptions { incomplete_of: Some(TimelineId(1)), ..FetchOptions::default() };
    let reading = tokio::spawn(async move { fetch(&reader, &asked, &to, options).await });
    let gets = |key: &str| {
        locations
            .iter()
            .flat_map(|location| location.calls())
            .any(|call| call.0 == Operation::Get && call.1.contains(key))
    };
    until("it is being read", || async { gets(&short.to_string()) }).await;
    store_part(&archive, long, &bytes).await;
    for location in locations {
        for entry in location.inner().list("wal/").await.unwrap() {
            if entry.key.contains(&short.to_string()) {
                location.inner().delete(&entry.key).await.unwrap();
            }
        }
    }
    assert!(!reading.is_finished(), "it was read before it was gone: the test proves nothing");
    let FetchOutcome::Found { valid_to, .. } = reading.await.unwrap().unwrap() else { panic!("not found") };
    let start = archive.segment(name.parse().unwrap()).unwrap().start(archive.segment_size);
    assert_eq!(valid_to, Some(start.saturating_add(0x1_0000)));
    assert!(std::fs::read(&destination).unwrap()[..0x1_0000] == bytes[..0x1_0000]);

    // What is listed and can never be read is an error in the end, not the end of the log.
    for location in locations {
        location.always(Operation::Get, &long.to_string(), Fault::Error(ErrorKind::NotFound));
    }
    let error = fetch(&archive, &name, &destination, options).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Corrupt, "{error}");
}
