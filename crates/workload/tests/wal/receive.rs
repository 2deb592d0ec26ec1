//! Following real servers through what happens to them.

use crate::world::{ALONE, WORKLOAD, World, name_of, ready, until};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::{Builder, Shutdown};
use lifeboat_location::{ErrorKind, Fault, Operation};
use lifeboat_postgres::connection::{Secret, Target};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_workload::postgres::wal::{
    Alarm, AlarmKind, FetchOptions, FetchOutcome, Inventory, ReceiveOptions, ReceiveProgress, ReceiveReport,
    ReceiveStatus, WalArchive, WalError, WalErrorKind, fetch, observe, push, receive,
};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

#[derive(Default)]
pub struct Seen {
    status: Mutex<Option<ReceiveStatus>>,
    problems: Mutex<Vec<String>>,
    is_connected: AtomicBool,
    alarms: Mutex<Vec<String>>,
    raised: Mutex<Vec<AlarmKind>>,
}

impl ReceiveProgress for Seen {
    fn status(&self, status: &ReceiveStatus) {
        *self.status.lock().unwrap() = Some(*status);
    }

    fn problem(&self, what: &str) {
        self.problems.lock().unwrap().push(what.to_owned());
    }

    fn connected(&self, _: TimelineId, _: Lsn) {
        self.is_connected.store(true, Ordering::SeqCst);
    }

    fn alarm(&self, alarm: &Alarm) {
        self.alarms.lock().unwrap().push(alarm.what.clone());
        self.raised.lock().unwrap().push(alarm.kind);
    }

    fn alarm_over(&self, kind: AlarmKind) {
        self.raised.lock().unwrap().retain(|raised| *raised != kind);
    }
}

/// A receiver at work.
pub struct Receiver {
    seen: Arc<Seen>,
    stop: watch::Sender<bool>,
    pub task: JoinHandle<Result<ReceiveReport, WalError>>,
}

impl Receiver {
    pub fn of(world: &World, cluster: &TestCluster) -> Self {
        Self::with(world, cluster, ReceiveOptions::default())
    }

    pub fn with(world: &World, cluster: &TestCluster, options: ReceiveOptions) -> Self {
        let target = Target::parse(&cluster.connection_string(), &Secret::None).unwrap();
        let (repository, spool) = (world.repository.clone(), world.spool.clone());
        let (stop, stopped) = watch::channel(false);
        let seen = Arc::new(Seen::default());
        let told = seen.clone();
        let task = tokio::spawn(async move {
            let repositories = watch::channel(repository).1;
            receive(repositories, WORKLOAD, &target, &spool, &options, &*told, stopped).await
        });
        Self { seen, stop, task }
    }

    /// Waits until it streams.
    pub async fn connected(&self) {
        until("it streams", || async {
            assert!(!self.task.is_finished(), "the receiver ended: {:?}", self.seen.problems.lock().unwrap());
            self.seen.is_connected.load(Ordering::SeqCst)
        })
        .await;
    }

    /// What was ever raised.
    pub fn alarms(&self) -> Vec<String> {
        self.seen.alarms.lock().unwrap().clone()
    }

    /// What is raised now.
    pub fn raised(&self) -> Vec<AlarmKind> {
        self.seen.raised.lock().unwrap().clone()
    }

    /// Waits until everything that the server has flushed is stored, and gives that position.
    pub async fn caught_up(&self, cluster: &TestCluster) -> Lsn {
        let end = flushed(cluster).await;
        until("everything is stored", || async {
            assert!(!self.task.is_finished(), "the receiver ended: {:?}", self.seen.problems.lock().unwrap());
            self.seen.status.lock().unwrap().is_some_and(|status| status.stored >= end)
        })
        .await;
        end
    }

    pub async fn stop(self) -> ReceiveReport {
        self.stop.send(true).unwrap();
        self.task.await.unwrap().unwrap()
    }

    /// As kill -9 would.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub fn cluster(major: u16, segment_mib: u32) -> Builder {
    TestCluster::builder(major)
        .wal_segment_size_mib(segment_mib)
        .setting("min_wal_size", format!("{}MB", 2 * segment_mib))
        .setting("wal_keep_size", "0")
}

pub async fn flushed(cluster: &TestCluster) -> Lsn {
    let query =
        "select case when pg_is_in_recovery() then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end";
    cluster.sql(query).await.unwrap().unwrap().parse().unwrap()
}

/// Several segments of one MiB, in many commits.
pub async fn load(cluster: &TestCluster, commits: usize) {
    cluster.sql("create table if not exists load (n bigserial, text text)").await.unwrap();
    for _ in 0..commits {
        cluster.sql("insert into load (text) select repeat('x', 500) from generate_series(1, 300)").await.unwrap();
    }
}

pub async fn inventory(world: &World) -> Inventory {
    observe(&world.archive().await).await.unwrap()
}

/// The archived log of a timeline from its first stored byte up to `end` is what the server has in its own files.
pub async fn same_as_the_server(world: &World, cluster: &TestCluster, timeline: u32, end: Lsn) {
    let archive: WalArchive = world.archive().await;
    let inventory = inventory(world).await;
    assert!(inventory.conflicts.is_empty() && inventory.strangers.is_empty());
    let timeline = TimelineId(timeline);
    assert!(inventory.gaps(timeline).is_empty(), "{:?}", inventory.runs(timeline));
    let run = inventory.runs(timeline)[0];
    assert!(run.to >= end, "{} is stored, {end} was flushed", run.to);
    let size = archive.segment_size;
    let options = FetchOptions { incomplete_of: Some(timeline), ..FetchOptions::default() };
    let mut segment = lifeboat_postgres::wal_file::Segment::containing(timeline, run.from, size);
    let mut compared = 0;
    while segment.start(size) < end {
        let name = segment.name(size).to_string();
        let destination = world.path("assembled");
        let outcome = fetch(&archive, &name, &destination, options).await.unwrap();
        let FetchOutcome::Found { valid_to, .. } = outcome else { panic!("{name} is not there") };
        let valid = valid_to.unwrap_or(segment.end(size)).bytes_since(segment.start(size)) as usize;
        let ours = std::fs::read(&destination).unwrap();
        // The server may have recycled it.
        if let Ok(theirs) = std::fs::read(cluster.data_dir().join("pg_wal").join(&name)) {
            assert!(ours[..valid] == theirs[..valid], "{name} differs in its first {valid} bytes");
            compared += 1;
        }
        segment = segment.next();
    }
    assert!(compared > 0, "nothing was compared");
}

async fn the_log_is_stored_as_it_is_written(major: u16, segment_mib: u32) {
    let world = World::new().await;
    let cluster = cluster(major, segment_mib).start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 20).await;
    let end = receiver.caught_up(&cluster).await;
    same_as_the_server(&world, &cluster, 1, end).await;
    cluster.sql("insert into load (text) values ('one more')").await.unwrap();
    let end = receiver.caught_up(&cluster).await;
    let confirmed = format!("select flush_lsn >= '{end}' and replay_lsn is null from pg_stat_replication");
    until("the server hears of it", || async { cluster.sql(&confirmed).await.unwrap().as_deref() == Some("t") }).await;
    let report = receiver.stop().await;
    assert!(report.complete && report.tails > 0 && report.reconnects == 0, "{report:?}");
    assert_eq!(report.segments > 0, segment_mib == 1, "{report:?}");
    same_as_the_server(&world, &cluster, 1, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_14() {
    the_log_is_stored_as_it_is_written(14, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_15() {
    the_log_is_stored_as_it_is_written(15, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_16() {
    the_log_is_stored_as_it_is_written(16, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_17_in_large_segments() {
    the_log_is_stored_as_it_is_written(17, 64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_18() {
    the_log_is_stored_as_it_is_written(18, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_of_server_and_receiver_leave_no_gap() {
    restarts_leave_no_gap(World::new().await, ReceiveOptions::default()).await;
}

/// Waits until a location has it: what a spool holds comes there a little later.
pub async fn arrived(world: &World, end: Lsn) {
    until("a location has it", || async {
        let archive = WalArchive::of_workload(world.repository.clone(), WORKLOAD).await.unwrap();
        let Some(archive) = archive else { return false };
        observe(&archive).await.unwrap().runs(TimelineId(1)).first().is_some_and(|run| run.to >= end)
    })
    .await;
}

pub async fn restarts_leave_no_gap(world: World, options: ReceiveOptions) {
    let mut cluster = cluster(15, 1).start().unwrap();
    let start = |cluster: &TestCluster| Receiver::with(&world, cluster, options.clone());
    let receiver = start(&cluster);
    load(&cluster, 6).await;
    receiver.caught_up(&cluster).await;
    cluster.restart().unwrap();
    load(&cluster, 6).await;
    receiver.caught_up(&cluster).await;
    cluster.kill().unwrap();
    cluster.start().unwrap();
    load(&cluster, 6).await;
    let end = receiver.caught_up(&cluster).await;
    arrived(&world, end).await;
    same_as_the_server(&world, &cluster, 1, end).await;

    for _ in 0..3 {
        load(&cluster, 3).await;
        let receiver = start(&cluster);
        load(&cluster, 3).await;
        receiver.kill().await;
    }
    receiver.kill().await;
    load(&cluster, 3).await;
    let receiver = start(&cluster);
    let end = receiver.caught_up(&cluster).await;
    assert!(receiver.stop().await.complete);
    same_as_the_server(&world, &cluster, 1, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_before_the_server_died_is_stored() {
    let world = World::new().await;
    let mut cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 2).await;
    receiver.caught_up(&cluster).await;
    cluster.sql("insert into load (text) values ('the last order')").await.unwrap();
    let end = flushed(&cluster).await;
    until("it arrives", || async { receiver.seen.status.lock().unwrap().is_some_and(|status| status.received >= end) })
        .await;
    cluster.kill().unwrap();
    until("it is stored", || async { inventory(&world).await.runs(TimelineId(1))[0].to >= end }).await;
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_is_followed() {
    promotion_is_followed(World::new().await, ReceiveOptions::default()).await;
}

pub async fn promotion_is_followed(world: World, options: ReceiveOptions) {
    let primary = cluster(15, 1).start().unwrap();
    let mut standby = primary.standby(|builder| builder.setting("wal_keep_size", "64MB")).await.unwrap();
    standby.start().unwrap();
    let receiver = Receiver::with(&world, &standby, options);
    load(&primary, 10).await;
    let end = flushed(&primary).await;
    let arrived = format!("select pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
    until("the standby follows", || async { standby.sql(&arrived).await.unwrap().as_deref() == Some("t") }).await;
    receiver.caught_up(&standby).await;
    standby.promote().unwrap();
    load(&standby, 10).await;
    let end = receiver.caught_up(&standby).await;
    let report = receiver.stop().await;
    assert_eq!(report.stored.unwrap().0, TimelineId(2));
    same_as_the_server(&world, &standby, 2, end).await;

    let inventory = inventory(&world).await;
    let history = inventory.histories[&TimelineId(2)].clone();
    let from = inventory.runs(TimelineId(1))[0].from;
    assert!(inventory.covered_along(&history, from) >= end, "the path to the new timeline has no gap");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_with_the_server_that_took_over() {
    let world = World::new().await;
    let mut primary = cluster(15, 1).start().unwrap();
    let mut standby = primary.standby(|builder| builder.setting("wal_keep_size", "64MB")).await.unwrap();
    standby.start().unwrap();
    let receiver = Receiver::of(&world, &primary);
    load(&primary, 6).await;
    receiver.caught_up(&primary).await;
    receiver.stop().await;
    primary.stop(Shutdown::Fast).unwrap();
    standby.promote().unwrap();
    load(&standby, 6).await;
    let receiver = Receiver::of(&world, &standby);
    let end = receiver.caught_up(&standby).await;
    receiver.stop().await;
    let inventory = inventory(&world).await;
    let history = inventory.histories[&TimelineId(2)].clone();
    let from = inventory.runs(TimelineId(1))[0].from;
    assert!(inventory.covered_along(&history, from) >= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_locations_are_waited_out() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 3).await;
    receiver.caught_up(&cluster).await;
    world.far.always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    load(&cluster, 3).await;
    receiver.caught_up(&cluster).await;

    world.near.always(Operation::Any, "", Fault::Error(ErrorKind::Full));
    cluster.sql("insert into load (text) values ('nobody takes it')").await.unwrap();
    let end = flushed(&cluster).await;
    until("it is tried", || async {
        receiver.seen.problems.lock().unwrap().iter().any(|problem| problem.contains("no location could store"))
    })
    .await;
    let confirmed = cluster.sql("select flush_lsn from pg_stat_replication").await.unwrap().unwrap();
    assert!(confirmed.parse::<Lsn>().unwrap() < end, "what nobody stored is not confirmed");
    assert!(receiver.seen.status.lock().unwrap().is_some_and(|status| status.unstored_since.is_some()));
    world.near.heal();
    world.far.heal();
    let end = receiver.caught_up(&cluster).await;
    assert!(receiver.stop().await.complete);
    same_as_the_server(&world, &cluster, 1, end).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_a_gap_that_is_named() {
    let world = World::new().await;
    let cluster = cluster(15, 1).start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 3).await;
    receiver.caught_up(&cluster).await;
    receiver.stop().await;
    cluster.sql("select pg_drop_replication_slot('lifeboat')").await.unwrap();
    load(&cluster, 30).await;
    cluster.sql("checkpoint").await.unwrap();
    load(&cluster, 10).await;
    cluster.sql("checkpoint").await.unwrap();
    let receiver = Receiver::of(&world, &cluster);
    let error = tokio::time::timeout(Duration::from_secs(60), receiver.task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Gap, "{error}");
    assert!(error.hint().unwrap().contains("lifeboat backup"));

    let options = ReceiveOptions { accept_gap: true, ..ReceiveOptions::default() };
    let receiver = Receiver::with(&world, &cluster, options);
    load(&cluster, 3).await;
    let end = receiver.caught_up(&cluster).await;
    receiver.stop().await;
    let inventory = inventory(&world).await;
    assert_eq!(inventory.gaps(TimelineId(1)).len(), 1);
    assert!(inventory.runs(TimelineId(1))[1].to >= end);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_the_server_gave_up_is_made_anew() {
    let world = World::new().await;
    let cluster =
        cluster(15, 1).setting("max_slot_wal_keep_size", "1MB").setting("max_wal_size", "4MB").start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 3).await;
    receiver.caught_up(&cluster).await;
    receiver.stop().await;
    load(&cluster, 60).await;
    cluster.sql("checkpoint").await.unwrap();
    let state = "select wal_status from pg_replication_slots";
    assert_eq!(cluster.sql(state).await.unwrap().as_deref(), Some("lost"));
    let receiver = Receiver::of(&world, &cluster);
    let error = tokio::time::timeout(Duration::from_secs(60), receiver.task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Gap, "{error}");
    assert_eq!(cluster.sql(state).await.unwrap().as_deref(), Some("reserved"), "from now on the log is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn archiver_and_receiver_store_the_same_segments() {
    let world = World::new().await;
    let cluster = cluster(15, 1).setting("archive_mode", "on").archive_command("false").start().unwrap();
    let receiver = Receiver::of(&world, &cluster);
    load(&cluster, 10).await;
    cluster.sql("select pg_switch_wal()").await.unwrap();
    cluster.sql("insert into load (text) values ('after the switch')").await.unwrap();
    receiver.caught_up(&cluster).await;
    let (mut known, mut new) = (0, 0);
    for path in ready(&cluster) {
        let outcome = push(world.repository.clone(), WORKLOAD, &path, &world.spool, ALONE).await.unwrap();
        if outcome.created {
            new += 1
        } else {
            known += 1
        }
        assert!(Path::new(&path).exists(), "{}", name_of(&path));
    }
    assert!(known > 1, "{known} known, {new} new");
    assert!(inventory(&world).await.conflicts.is_empty());
    receiver.stop().await;
}
