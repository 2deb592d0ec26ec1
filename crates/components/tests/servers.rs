//! Every component that the tests use is installed, starts, answers and stops.

use lifeboat_components::postgres::Shutdown;
use lifeboat_components::servers::{self, LoopbackServer};
use lifeboat_components::{TestCluster, any_postgres};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

async fn each_version_lives(major: u16) {
    let mut cluster = TestCluster::builder(major).wal_segment_size_mib(4).start().unwrap();
    let version = cluster.sql("select current_setting('server_version_num')::int / 10000").await.unwrap();
    assert_eq!(version, Some(major.to_string()));
    assert_eq!(cluster.sql("show wal_segment_size").await.unwrap().as_deref(), Some("4MB"));
    assert_eq!(cluster.sql("show data_checksums").await.unwrap().as_deref(), Some("on"));

    cluster.sql("create table kept as select 41 + 1 as answer; checkpoint").await.unwrap();
    cluster.kill().unwrap();
    cluster.start().unwrap();
    assert_eq!(cluster.sql("table kept").await.unwrap().as_deref(), Some("42"));

    let mut standby = cluster.standby(|builder| builder).await.unwrap();
    standby.start().unwrap();
    assert_eq!(standby.sql("select pg_is_in_recovery()").await.unwrap().as_deref(), Some("t"));
    standby.promote().unwrap();
    assert_eq!(standby.sql("select pg_is_in_recovery()").await.unwrap().as_deref(), Some("f"));
    assert_eq!(standby.sql("table kept").await.unwrap().as_deref(), Some("42"));

    cluster.stop(Shutdown::Fast).unwrap();
    assert!(!cluster.data_dir().join("postmaster.pid").exists());
}

#[tokio::test]
async fn postgres_14() {
    each_version_lives(14).await;
}

#[tokio::test]
async fn postgres_15() {
    each_version_lives(15).await;
}

#[tokio::test]
async fn postgres_16() {
    each_version_lives(16).await;
}

#[tokio::test]
async fn postgres_17() {
    each_version_lives(17).await;
}

#[tokio::test]
async fn postgres_18() {
    each_version_lives(18).await;
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let error = TestCluster::builder(15).setting("shared_buffers", "nonsense").start().unwrap_err();
    assert!(format!("{error:#}").contains("shared_buffers"), "{error:#}");
}

#[test]
fn dropping_a_cluster_leaves_nothing() {
    let cluster = TestCluster::builder(15).start().unwrap();
    let (directory, process) = (cluster.directory().to_path_buf(), cluster.process_id().unwrap());
    drop(cluster);
    assert!(!directory.exists());
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
}

#[test]
fn some_postgres_with_all_its_programs_is_found() {
    let found = any_postgres().unwrap();
    assert!(found.is_complete(), "{found:?}");
}

#[test]
fn moto_answers() {
    answers(&servers::moto().unwrap());
}

#[test]
fn azurite_answers() {
    answers(&servers::azurite().unwrap());
}

#[test]
fn fake_gcs_answers() {
    answers(&servers::fake_gcs().unwrap());
}

#[test]
fn bind_answers() {
    let server = servers::bind().unwrap();
    assert_eq!(server.records("ns.shop.example", "A").unwrap(), "127.0.0.1");
    assert_eq!(server.records("db.shop.example", "A").unwrap(), "");
}

fn answers(server: &LoopbackServer) {
    let address = server.url().strip_prefix("http://").unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
        let mut answer = [0; 5];
        match socket.read_exact(&mut answer) {
            Ok(()) => return assert_eq!(&answer, b"HTTP/"),
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    }
}
