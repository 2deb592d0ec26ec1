//! Starting and stopping by the product's own room.

use lifeboat_components::TestCluster;
use lifeboat_components::postgres::find;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::{Account, Cluster, ClusterError, Programs, RunState, StartOptions, StopMode, WaitFor};
use lifeboat_postgres::connection::{Secret, connect};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

/// A directory that belongs to the account that servers run as.
fn home() -> (TempDir, Option<Account>) {
    let home = tempfile::Builder::new().prefix("lifeboat-cluster-").tempdir_in("/tmp").unwrap();
    let account = lifeboat_components::Account::for_servers().unwrap();
    if let Some(account) = account {
        std::os::unix::fs::chown(home.path(), Some(account.uid), Some(account.gid)).unwrap();
    }
    (home, account.map(|account| Account { uid: account.uid, gid: account.gid }))
}

fn programs(major: u16) -> Programs {
    let installed = lifeboat_components::postgres::install(major).unwrap();
    Programs::find(major.try_into().unwrap(), Some(&installed.programs), &[]).unwrap()
}

async fn a_cluster_lives_and_ends(major: u16) {
    let (home, account) = home();
    let arguments = ["-U", "postgres", "-A", "trust", "--no-sync"];
    let cluster = Cluster::initialize(&home.path().join("data"), programs(major), account, &arguments).await.unwrap();
    assert_eq!(cluster, Cluster::open(&cluster.data_dir, programs(major)).unwrap());
    assert_eq!(cluster.state().unwrap(), RunState::Stopped);

    let options = StartOptions::private(home.path().join("log"), home.path()).setting("port", "5999");
    let running = cluster.start(&options).await.unwrap();
    assert!(running.is_ready);
    assert_eq!((running.port, running.socket_dir.as_deref()), (5999, Some(home.path())));
    assert!(matches!(cluster.start(&options).await, Err(ClusterError::AlreadyRunning { .. })));
    let client =
        connect(&format!("host={} port=5999 user=postgres", home.path().display()), &Secret::None).await.unwrap();
    let addresses: String = client.query_one("show listen_addresses", &[]).await.unwrap().get(0);
    assert_eq!(addresses, "");

    cluster.stop(StopMode::Fast, PATIENCE).await.unwrap();
    assert_eq!(cluster.state().unwrap(), RunState::Stopped);
    assert!(matches!(cluster.stop(StopMode::Fast, PATIENCE).await, Err(ClusterError::NotRunning { .. })));
}

#[tokio::test]
async fn life_14() {
    a_cluster_lives_and_ends(14).await;
}

#[tokio::test]
async fn life_15() {
    a_cluster_lives_and_ends(15).await;
}

#[tokio::test]
async fn life_16() {
    a_cluster_lives_and_ends(16).await;
}

#[tokio::test]
async fn life_17() {
    a_cluster_lives_and_ends(17).await;
}

#[tokio::test]
async fn life_18() {
    a_cluster_lives_and_ends(18).await;
}

#[tokio::test]
async fn a_failed_start_repeats_the_log() {
    let stopped = TestCluster::builder(15).create().unwrap();
    let cluster = Cluster::open(&stopped.data_dir(), programs(15)).unwrap();
    let log = stopped.directory().join("other-log");
    std::fs::write(&log, "an old line\n").unwrap();
    let options = StartOptions::private(&log, stopped.directory()).setting("shared_buffers", "nonsense");
    let error = cluster.start(&options).await.unwrap_err().to_string();
    assert!(error.contains("shared_buffers") && !error.contains("an old line"), "{error}");
}

#[tokio::test]
async fn a_killed_server_is_stale_and_starts_again() {
    let mut killed = TestCluster::builder(16).start().unwrap();
    let process_id = killed.process_id().unwrap();
    killed.kill().unwrap();
    let cluster = Cluster::open(&killed.data_dir(), programs(16)).unwrap();
    assert_eq!(cluster.state().unwrap(), RunState::Stale { process_id });
    let options = StartOptions::private(killed.directory().join("log"), killed.directory());
    cluster.start(&options.wait_for(WaitFor::Primary, PATIENCE)).await.unwrap();
    cluster.stop(StopMode::Immediate, PATIENCE).await.unwrap();
}

#[tokio::test]
async fn recovery_is_waited_for() {
    let primary = TestCluster::builder(15).start().unwrap();
    let standby = primary.standby(|builder| builder).await.unwrap();
    let cluster = Cluster::open(&standby.data_dir(), programs(15)).unwrap();
    let options = StartOptions::private(standby.directory().join("log"), standby.directory());
    let brief = options.clone().wait_for(WaitFor::Primary, Duration::from_secs(2));
    let error = cluster.start(&brief).await.unwrap_err();
    assert!(matches!(error, ClusterError::TimedOut { what: "end recovery", .. }), "{error}");
    cluster.promote(PATIENCE).await.unwrap();
    cluster.stop(StopMode::Fast, PATIENCE).await.unwrap();
    cluster.start(&options.wait_for(WaitFor::RecoveryEndOrPause, PATIENCE)).await.unwrap();
    cluster.stop(StopMode::Immediate, PATIENCE).await.unwrap();
}

#[test]
fn programs_are_found_by_version() {
    let (v15, v18) = (find(15).unwrap().programs, find(18).unwrap().programs);
    let search = [v18.clone(), v15.clone()];
    assert_eq!(Programs::find(MajorVersion::V15, None, &search).unwrap().directory(), v15);
    let error = Programs::find(MajorVersion::V15, Some(&v18), &[]).unwrap_err();
    assert!(matches!(error, ClusterError::WrongVersion { .. }), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Programs::in_directory(empty.path()), Err(ClusterError::NoPrograms { .. })));
    let fake = empty.path().join("postgres");
    for name in ["initdb", "pg_ctl", "postgres"] {
        std::fs::write(empty.path().join(name), "#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.1'\n").unwrap();
        std::fs::set_permissions(empty.path().join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    assert!(fake.exists() && Programs::in_directory(Path::new(empty.path())).is_err());
}
