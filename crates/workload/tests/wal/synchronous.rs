//! Commits that wait for the receiver: what lets them go on, what doesn't, and who hears of it.

use crate::receive::{
    Receiver, cluster, flushed, inventory, load, promotion_is_followed, restarts_leave_no_gap, same_as_the_server,
};
use crate::world::{World, until};
use lifeboat_components::TestCluster;
use lifeboat_location::{ErrorKind, Fault, Location, Operation};
use lifeboat_postgres::TimelineId;
use lifeboat_workload::postgres::wal::{AlarmKind, Keeping, ReceiveOptions, Synchronous, WalErrorKind, ship};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(2);

fn options(keeping: Keeping) -> ReceiveOptions {
    let synchronous = Some(Synchronous { keeping, patience: PATIENCE });
    ReceiveOptions { synchronous, stop_patience: Duration::from_secs(2), ..ReceiveOptions::default() }
}

fn both() -> Keeping {
    Keeping::Named(vec!["near".into(), "far".into()])
}

async fn commits_wait(cluster: &TestCluster) {
    cluster.sql("create table if not exists load (n bigserial, text text)").await.unwrap();
    cluster.sql("alter system set synchronous_standby_names = 'lifeboat'").await.unwrap();
    cluster.sql("select pg_reload_conf()").await.unwrap();
    let state = "select coalesce(bool_or(sync_state = 'sync'), false)::text from pg_stat_replication";
    until("commits wait", || async { cluster.sql(state).await.unwrap().as_deref() == Some("true") }).await;
}

/// A commit that waits, beside the test.
fn commit(cluster: &TestCluster) -> tokio::task::JoinHandle<()> {
    let connection = cluster.connection_string();
    tokio::spawn(async move {
        let target = lifeboat_postgres::connection::connect(&connection, &lifeboat_postgres::connection::Secret::None);
        target.await.unwrap().simple_query("insert into load (text) values ('promised')").await.unwrap();
    })
}

async fn waits(cluster: &TestCluster) {
    let ask = "select (count(*) > 0)::text from pg_stat_activity where wait_event = 'SyncRep'";
    until("a commit waits", || async { cluster.sql(ask).await.unwrap().as_deref() == Some("true") }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_locations_is_enough_and_a_dead_one_holds_up_nobody() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Count(1)));
    receiver.connected().await;
    commits_wait(&cluster).await;
    world.far.always(Operation::Any, "", Fault::Hang);
    let begun = Instant::now();
    load(&cluster, 20).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "commits waited for a location that hangs");
    let end = flushed(&cluster).await;
    world.far.heal();
    assert!(receiver.alarms().is_empty(), "{:?}", receiver.alarms());
    receiver.kill().await;
    same_as_the_server(&world, &cluster, 1, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_locations_means_both_and_somebody_hears_when_one_does_not_take_it() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::with(&world, &cluster, options(both()));
    receiver.connected().await;
    commits_wait(&cluster).await;
    load(&cluster, 3).await;
    world.far.always(Operation::Put, "", Fault::Error(ErrorKind::Full));
    let waiting = commit(&cluster);
    waits(&cluster).await;
    until("an alarm is raised", || async { receiver.raised().contains(&AlarmKind::Waiting) }).await;
    assert!(receiver.alarms()[0].contains("no space left"), "{:?}", receiver.alarms());
    assert!(!waiting.is_finished(), "one location has it, two were asked for");
    world.far.heal();
    until("the commit returns", || async { waiting.is_finished() }).await;
    until("the alarm is over", || async { receiver.raised().is_empty() }).await;
    receiver.kill().await;
    let archive = world.archive().await;
    for name in ["near", "far"] {
        let alone = std::sync::Arc::new(world.repository.only(name).unwrap());
        let one = lifeboat_workload::postgres::wal::WalArchive { repository: alone, ..archive.clone() };
        let runs = lifeboat_workload::postgres::wal::observe(&one).await.unwrap().runs(TimelineId(1));
        assert!(runs.last().unwrap().to >= flushed(&cluster).await, "{name}: {runs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spool_is_enough_and_is_shipped_by_whoever_starts_next() {
    let world = World::new().await;
    let mut cluster = cluster(15, 1).start().unwrap();
    let spool = world.path("journal");
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Spool(spool.clone())));
    receiver.connected().await;
    commits_wait(&cluster).await;
    load(&cluster, 3).await;
    until("it is shipped", || async { world.near.list("wal/").await.unwrap().len() > 1 }).await;
    for location in [&world.near, &world.far] {
        location.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    }
    // Several segments, none of which any location takes.
    load(&cluster, 30).await;
    let end = flushed(&cluster).await;
    until("somebody hears that nothing is shipped", || async { receiver.raised().contains(&AlarmKind::Shipping) })
        .await;
    receiver.kill().await;
    cluster.kill().unwrap();
    for location in [&world.near, &world.far] {
        location.heal();
    }
    // The server is gone: only the spool is left.
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Spool(spool.clone())));
    until("all of it is stored", || async { inventory(&world).await.runs(TimelineId(1))[0].to >= end }).await;
    until("somebody hears that there is no server", || async { receiver.raised().contains(&AlarmKind::Disconnected) })
        .await;
    receiver.stop().await;
    same_as_the_server(&world, &cluster, 1, end).await;
    // A restore ships once more what is there, and finds nothing new.
    let shipped = ship(&world.repository, crate::world::WORKLOAD, &spool).await.unwrap();
    assert!(shipped.end.unwrap().1 >= end, "{shipped:?}");
    assert!(inventory(&world).await.conflicts.is_empty());
    // And the server that comes back goes on where the spool ends.
    cluster.start().unwrap();
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Spool(spool)));
    receiver.connected().await;
    load(&cluster, 3).await;
    let end = receiver.caught_up(&cluster).await;
    receiver.stop().await;
    same_as_the_server(&world, &cluster, 1, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_small_commits_leave_few_parts_to_read_and_whole_segments_none() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Count(1)));
    receiver.connected().await;
    commits_wait(&cluster).await;
    for _ in 0..300 {
        cluster.sql("insert into load (text) values ('small')").await.unwrap();
    }
    let end = flushed(&cluster).await;
    same_as_the_server(&world, &cluster, 1, end).await;
    let parts =
        world.near.list("wal/").await.unwrap().iter().filter(|entry| entry.key.matches('.').count() == 2).count();
    assert!(parts > 50, "{parts} parts: commits were not stored one by one");
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn remote_apply_is_refused_and_heard_of_when_it_comes_later() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Count(1)));
    receiver.connected().await;
    commits_wait(&cluster).await;
    cluster.sql("alter system set synchronous_commit = 'remote_apply'").await.unwrap();
    cluster.sql("select pg_reload_conf()").await.unwrap();
    until("an alarm is raised", || async { receiver.raised().contains(&AlarmKind::Server) }).await;
    assert!(receiver.alarms().iter().any(|alarm| alarm.contains("remote_apply")), "{:?}", receiver.alarms());
    receiver.stop().await;
    let receiver = Receiver::with(&world, &cluster, options(Keeping::Count(1)));
    let error = tokio::time::timeout(Duration::from_secs(30), receiver.task).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("wait for ever"), "{error}");
    assert_eq!(error.kind(), WalErrorKind::Invalid);
    assert!(error.hint().unwrap().contains("synchronous_commit"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_receiver_is_refused_and_the_first_goes_on() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let first = Receiver::of(&world, &cluster);
    first.connected().await;
    let second = Receiver::of(&world, &cluster);
    let error = tokio::time::timeout(Duration::from_secs(60), second.task).await.unwrap().unwrap().unwrap_err();
    assert!(error.to_string().contains("another receiver streams on slot lifeboat"), "{error}");
    assert!(error.hint().unwrap().contains("slot"));
    load(&cluster, 3).await;
    first.caught_up(&cluster).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_are_followed_in_each_location() {
    promotion_is_followed(World::new().await, options(both())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promotions_are_followed_in_the_spool() {
    let world = World::new().await;
    let spool = Keeping::Spool(world.path("journal"));
    promotion_is_followed(world, options(spool)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_leave_no_gap_in_locations() {
    restarts_leave_no_gap(World::new().await, options(Keeping::Count(1))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_leave_no_gap_in_the_spool() {
    let world = World::new().await;
    let spool = Keeping::Spool(world.path("journal"));
    restarts_leave_no_gap(world, options(spool)).await;
}

/// Guards: parts that nothing replaced are removed, or none ever is.
#[tokio::test(flavor = "multi_thread")]
async fn parts_go_when_something_took_their_place_and_not_before() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let options = ReceiveOptions { part_grace: Duration::ZERO, ..options(both()) };
    let receiver = Receiver::with(&world, &cluster, options);
    receiver.connected().await;
    commits_wait(&cluster).await;
    load(&cluster, 30).await;
    for _ in 0..40 {
        cluster.sql("insert into load (text) values ('small')").await.unwrap();
    }
    let end = flushed(&cluster).await;
    let parts = async |location: &dyn Location| {
        let is_part = |key: &str| key.rsplit('/').next().is_some_and(|name| name.matches('.').count() == 2);
        location.list("wal/").await.unwrap().iter().filter(|entry| is_part(&entry.key)).count()
    };
    for location in [&world.near, &world.far] {
        // Those of the last segment: fifteen, and so many that cover others.
        until("parts are removed", || async { parts(&**location).await < 40 }).await;
        assert!(parts(&**location).await > 0);
    }
    same_as_the_server(&world, &cluster, 1, end).await;
    receiver.kill().await;
    same_as_the_server(&world, &cluster, 1, end).await;
}
