//! Backup sessions: what they hold, and that nothing outlives them.

use lifeboat_components::TestCluster;
use lifeboat_postgres::backup_session::{BackupSession, Request};
use lifeboat_postgres::connection::{ErrorKind, Secret, connect};
use lifeboat_postgres::inspection::role_statements;
use lifeboat_postgres::{MajorVersion, TimelineId};
use std::time::{Duration, Instant};

const REQUEST: Request<'static> = Request { workload: "shop", label: "lifeboat test", fast_checkpoint: true };

async fn session(cluster: &TestCluster) -> BackupSession {
    let client = connect(&cluster.connection_string(), &Secret::None).await.unwrap();
    BackupSession::start(client, &REQUEST).await.unwrap()
}

/// With the least privileged role, on every version.
async fn a_backup_is_started_and_stopped(major: u16) {
    let cluster = TestCluster::builder(major).start().unwrap();
    let version = MajorVersion::try_from(major).unwrap();
    cluster.sql(&role_statements(version, "life\"boat").join("\n")).await.unwrap();
    let outside = tempfile::tempdir_in("/tmp").unwrap();
    cluster.give_to_server(outside.path()).unwrap();
    cluster.sql(&format!("create tablespace apart location '{}'", outside.path().display())).await.unwrap();
    let conninfo = cluster.connection_string().replace("user=postgres", "user='life\"boat'");

    let client = connect(&conninfo, &Secret::None).await.unwrap();
    let backup = BackupSession::start(client, &REQUEST).await.unwrap();
    let start = backup.started().clone();
    assert_eq!(start.timeline, TimelineId(1));
    assert!(!start.on_standby);

    let rival = connect(&conninfo, &Secret::None).await.unwrap();
    let refused = BackupSession::start(rival, &REQUEST).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy);
    let pid: i32 = backup.client().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    assert!(refused.to_string().contains(&format!("lifeboat from this host, server process {pid}")), "{refused}");
    let neighbour = connect(&conninfo, &Secret::None).await.unwrap();
    BackupSession::start(neighbour, &Request { workload: "other", ..REQUEST }).await.unwrap();

    cluster.sql("create table written as select generate_series(1, 1000)").await.unwrap();
    backup.check().await.unwrap();
    let stop = backup.stop().await.unwrap();
    assert!(stop.stop_lsn > start.start_lsn);
    assert!(stop.stopped_at >= start.started_at);
    let label = String::from_utf8(stop.backup_label).unwrap();
    assert!(label.starts_with(&format!("START WAL LOCATION: {} (file ", start.start_lsn)), "{label}");
    assert!(label.contains("\nLABEL: lifeboat test\n") && label.contains("\nSTART TIMELINE: 1\n"), "{label}");
    let map = String::from_utf8(stop.tablespace_map.unwrap()).unwrap();
    assert!(map.ends_with(&format!(" {}\n", outside.path().display())), "{map}");
}

#[tokio::test]
async fn a_backup_14() {
    a_backup_is_started_and_stopped(14).await;
}

#[tokio::test]
async fn a_backup_15() {
    a_backup_is_started_and_stopped(15).await;
}

#[tokio::test]
async fn a_backup_16() {
    a_backup_is_started_and_stopped(16).await;
}

#[tokio::test]
async fn a_backup_17() {
    a_backup_is_started_and_stopped(17).await;
}

#[tokio::test]
async fn a_backup_18() {
    a_backup_is_started_and_stopped(18).await;
}

#[tokio::test]
async fn a_dropped_session_leaves_neither_backup_mode_nor_lock() {
    let cluster = TestCluster::builder(15).start().unwrap();
    let backup = session(&cluster).await;
    let pid: i32 = backup.client().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    drop(backup);
    gone(&cluster, pid).await;
    session(&cluster).await.stop().await.unwrap();
    // In backup mode a fast shutdown would wait, or leave a label behind.
    let mut cluster = cluster;
    cluster.restart().unwrap();
    assert!(!cluster.data_dir().join("backup_label").exists());
}

#[tokio::test]
async fn a_session_that_was_lost_is_noticed_before_success() {
    let cluster = TestCluster::builder(17).start().unwrap();
    let backup = session(&cluster).await;
    let pid: i32 = backup.client().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    cluster.sql(&format!("select pg_terminate_backend({pid})")).await.unwrap();
    gone(&cluster, pid).await;
    let error = backup.stop().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
    session(&cluster).await.stop().await.unwrap();
}

async fn gone(cluster: &TestCluster, pid: i32) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let query = format!("select count(*) from pg_stat_activity where pid = {pid}");
    while cluster.sql(&query).await.unwrap().as_deref() != Some("0") {
        assert!(Instant::now() < deadline, "server process {pid} is still there");
    }
}

#[tokio::test]
async fn without_privileges_the_grants_are_named() {
    let cluster = TestCluster::builder(16).start().unwrap();
    cluster.sql("create role nobody_special login").await.unwrap();
    let conninfo = cluster.connection_string().replace("user=postgres", "user=nobody_special");
    let client = connect(&conninfo, &Secret::None).await.unwrap();
    let error = BackupSession::start(client, &REQUEST).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
    assert!(error.hint().unwrap().contains("grant execute on function pg_catalog.pg_backup_start"), "{error:?}");
}

#[tokio::test]
async fn a_standby_can_be_backed_up_until_it_is_promoted() {
    let primary = TestCluster::builder(18).start().unwrap();
    let mut standby = primary.standby(|builder| builder).await.unwrap();
    standby.start().unwrap();
    let backup = session(&standby).await;
    assert!(backup.started().on_standby);
    let stop = backup.stop().await.unwrap();
    assert!(String::from_utf8(stop.backup_label).unwrap().contains("BACKUP FROM: standby"));

    let backup = session(&standby).await;
    backup.check().await.unwrap();
    standby.promote().unwrap();
    assert_eq!(backup.check().await.unwrap_err().kind(), ErrorKind::Changed);
    let error = backup.stop().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Changed, "{error:?}");
}
