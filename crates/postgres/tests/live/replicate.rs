//! The replication client against real servers.

use crate::connect::encrypted_cluster;
use jiff::Timestamp;
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use lifeboat_postgres::connection::{ErrorKind, Secret};
use lifeboat_postgres::replication::{ReplicationClient, StatusUpdate, StreamEvent, WalStream};
use lifeboat_postgres::{Lsn, TimelineId};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SEGMENT_BYTES: u64 = 1 << 20;

async fn client(cluster: &TestCluster) -> ReplicationClient {
    ReplicationClient::connect_to(&cluster.connection_string(), &Secret::None).await.unwrap()
}

async fn lsn(cluster: &TestCluster, query: &str) -> Lsn {
    cluster.sql(query).await.unwrap().unwrap().parse().unwrap()
}

async fn event(stream: &mut WalStream) -> StreamEvent {
    tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("nothing arrives").unwrap()
}

/// WAL up to `end` at least, from `start`, confirmed as it comes.
async fn receive(stream: &mut WalStream, start: Lsn, end: Lsn) -> Vec<u8> {
    let mut wal = Vec::new();
    loop {
        let position = start.saturating_add(wal.len() as u64);
        if position >= end {
            return wal;
        }
        match event(stream).await {
            StreamEvent::Data { start, bytes, .. } => {
                assert_eq!(start, position);
                wal.extend_from_slice(&bytes);
            }
            StreamEvent::Keepalive { .. } => confirm(stream, position).await,
            other => panic!("{other:?}"),
        }
    }
}

async fn confirm(stream: &mut WalStream, position: Lsn) {
    let status = StatusUpdate { written: position, flushed: position, applied: Lsn(0), reply_requested: false };
    stream.send_status(&status, Timestamp::now()).await.unwrap();
}

fn segment_start(position: Lsn) -> Lsn {
    Lsn(position.0 / SEGMENT_BYTES * SEGMENT_BYTES)
}

async fn wal_arrives_as_it_is(major: u16) {
    let cluster = TestCluster::builder(major).wal_segment_size_mib(1).start().unwrap();
    let mut client = client(&cluster).await;
    assert_eq!(client.version().unwrap().number(), major);
    let identity = client.identify_system().await.unwrap();
    let system_id = cluster.sql("select system_identifier from pg_control_system()").await.unwrap().unwrap();
    assert_eq!((identity.system_id.to_string(), identity.timeline), (system_id, TimelineId(1)));
    assert_eq!(client.show("wal_segment_size").await.unwrap(), "1MB");
    assert!(client.create_slot_if_missing("lifeboat_a").await.unwrap());
    assert!(!client.create_slot_if_missing("lifeboat_a").await.unwrap());
    if major > 14 {
        assert!(client.read_slot("lifeboat_a").await.unwrap().unwrap().restart_lsn.is_some());
        assert_eq!(client.read_slot("lifeboat_b").await.unwrap(), None);
    }

    let start = segment_start(identity.flush_lsn);
    let mut stream = client.start_streaming(Some("lifeboat_a"), start, TimelineId(1)).await.unwrap();
    let rival = self::client(&cluster).await.start_streaming(Some("lifeboat_a"), start, TimelineId(1)).await;
    assert_eq!(rival.unwrap_err().kind(), ErrorKind::Busy);

    cluster.sql("create table filled as select g, repeat('x', 200) from generate_series(1, 20000) g").await.unwrap();
    let end = lsn(&cluster, "select pg_switch_wal()").await;
    let wal = receive(&mut stream, start, end).await;
    assert!(wal.len() as u64 > 3 * SEGMENT_BYTES);
    for (number, segment) in wal.chunks_exact(SEGMENT_BYTES as usize).enumerate() {
        let position = start.saturating_add(number as u64 * SEGMENT_BYTES);
        let query = format!("select pg_walfile_name('{position}'::pg_lsn + 1)");
        let name = cluster.sql(&query).await.unwrap().unwrap();
        assert!(std::fs::read(cluster.data_dir().join("pg_wal").join(&name)).unwrap() == segment, "{name} differs");
    }

    confirm(&mut stream, end).await;
    let mut client = stream.finish().await.unwrap();
    assert_eq!(lsn(&cluster, "select restart_lsn from pg_replication_slots").await, end);
    client.drop_slot("lifeboat_a").await.unwrap();
    assert_eq!(client.drop_slot("lifeboat_a").await.unwrap_err().kind(), ErrorKind::SlotMissing);
    client.identify_system().await.unwrap(); // a refusal doesn't end the session
    client.close().await;
}

#[tokio::test]
async fn wal_14() {
    wal_arrives_as_it_is(14).await;
}

#[tokio::test]
async fn wal_15() {
    wal_arrives_as_it_is(15).await;
}

#[tokio::test]
async fn wal_16() {
    wal_arrives_as_it_is(16).await;
}

#[tokio::test]
async fn wal_17() {
    wal_arrives_as_it_is(17).await;
}

#[tokio::test]
async fn wal_18() {
    wal_arrives_as_it_is(18).await;
}

async fn a_promotion_is_followed(major: u16) {
    let primary = TestCluster::builder(major).wal_segment_size_mib(1).start().unwrap();
    let mut standby = primary.standby(|builder| builder).await.unwrap();
    standby.start().unwrap();
    let mut client = client(&standby).await;
    let start = segment_start(client.identify_system().await.unwrap().flush_lsn);
    let mut stream = client.start_streaming(None, start, TimelineId(1)).await.unwrap();
    primary.sql("create table before (x int)").await.unwrap();
    let mut primary = primary;
    primary.stop(Shutdown::Fast).unwrap();
    standby.promote().unwrap();

    let mut position = start;
    let (next_timeline, switched_at) = loop {
        match event(&mut stream).await {
            StreamEvent::Data { bytes, .. } => position = position.saturating_add(bytes.len() as u64),
            StreamEvent::Keepalive { .. } => confirm(&mut stream, position).await,
            StreamEvent::TimelineEnded { next_timeline, switched_at } => break (next_timeline, switched_at),
        }
    };
    assert_eq!((next_timeline, switched_at), (TimelineId(2), position));
    let mut client = stream.into_client().unwrap();
    let history = client.timeline_history(next_timeline).await.unwrap();
    assert_eq!(history.file_name, "00000002.history");
    assert_eq!(history.content, std::fs::read(standby.data_dir().join("pg_wal/00000002.history")).unwrap());
    assert!(String::from_utf8(history.content).unwrap().starts_with(&format!("1\t{switched_at}\t")));

    // Asking for what the old timeline doesn't have: no stream, only the answer that it ended.
    let mut ended = client.start_streaming(None, switched_at, TimelineId(1)).await.unwrap();
    assert_eq!(event(&mut ended).await, StreamEvent::TimelineEnded { next_timeline, switched_at });

    standby.sql("create table after (x int)").await.unwrap();
    let end = lsn(&standby, "select pg_current_wal_flush_lsn()").await;
    let client = ended.into_client().unwrap();
    let start = segment_start(switched_at);
    let mut stream = client.start_streaming(None, start, next_timeline).await.unwrap();
    receive(&mut stream, start, end).await;
    stream.finish().await.unwrap();
}

#[tokio::test]
async fn promotion_15() {
    a_promotion_is_followed(15).await;
}

#[tokio::test]
async fn promotion_18() {
    a_promotion_is_followed(18).await;
}

#[tokio::test]
async fn passwords_are_proven_and_refusals_named() {
    let hba = "local all postgres trust\nhost replication,all +scram 127.0.0.1/32 scram-sha-256\n\
               host replication +md5 127.0.0.1/32 md5\nhost replication +plain 127.0.0.1/32 password\n";
    let cluster = TestCluster::builder(15).hba(hba).start().unwrap();
    for name in ["scram", "md5", "plain"] {
        let encryption = if name == "md5" { "md5" } else { "scram-sha-256" };
        let create = format!(
            "create role {name}; set password_encryption = '{encryption}'; create role by_{name} login replication in role {name} password 'hunter2'"
        );
        cluster.sql(&create).await.unwrap();
        let conninfo = format!("host=127.0.0.1 port={} user=by_{name}", cluster.port());
        let right = Secret::Password("hunter2".into());
        ReplicationClient::connect_to(&conninfo, &right).await.unwrap().identify_system().await.unwrap();
        for wrong in [Secret::Password("hunter3".into()), Secret::None] {
            let error = ReplicationClient::connect_to(&conninfo, &wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{name}: {error:?}");
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
    }
    cluster.sql("create role weak login in role scram password 'hunter2'").await.unwrap();
    let conninfo = format!("host=127.0.0.1 port={} user=weak password=hunter2", cluster.port());
    let error = ReplicationClient::connect_to(&conninfo, &Secret::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error:?}");
}

#[tokio::test]
async fn encryption_is_used_and_checked() {
    let (cluster, certificate) = encrypted_cluster(15);
    let with = |rest: String| format!("host=localhost port={} user=postgres {rest}", cluster.port());
    let checked = with(format!("sslmode=verify-full sslrootcert={}", certificate.display()));
    let mut client = ReplicationClient::connect_to(&checked, &Secret::None).await.unwrap();
    client.identify_system().await.unwrap();
    let query = "select s.ssl from pg_stat_ssl s join pg_stat_activity a using (pid) where backend_type = 'walsender'";
    assert_eq!(cluster.sql(query).await.unwrap().as_deref(), Some("t"));
    let (_other, foreign) = encrypted_cluster(15);
    let refused = with(format!("sslmode=verify-ca sslrootcert={}", foreign.display()));
    let error = ReplicationClient::connect_to(&refused, &Secret::None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}

/// Until 17 a lost physical slot may be used, and only the WAL is missing.
#[tokio::test]
async fn what_the_server_cannot_give_is_named_17() {
    what_the_server_cannot_give_is_named(17, ErrorKind::WalRemoved).await;
}

#[tokio::test]
async fn what_the_server_cannot_give_is_named_18() {
    what_the_server_cannot_give_is_named(18, ErrorKind::SlotLost).await;
}

async fn what_the_server_cannot_give_is_named(major: u16, lost_slot: ErrorKind) {
    let mut cluster = TestCluster::builder(major)
        .wal_segment_size_mib(1)
        .setting("max_wal_size", "2MB")
        .setting("min_wal_size", "2MB")
        .setting("max_slot_wal_keep_size", "1MB")
        .start()
        .unwrap();
    let mut client = self::client(&cluster).await;
    let first = segment_start(client.identify_system().await.unwrap().flush_lsn);
    client.create_slot_if_missing("left_behind").await.unwrap();
    cluster.sql("create table filled as select g, repeat('x', 200) from generate_series(1, 50000) g").await.unwrap();
    cluster.sql("checkpoint").await.unwrap();
    cluster.sql("select pg_switch_wal()").await.unwrap();
    cluster.sql("checkpoint").await.unwrap();

    let status = cluster.sql("select wal_status from pg_replication_slots").await.unwrap();
    assert_eq!(status.as_deref(), Some("lost"));

    let of = async |slot: Option<&str>, start: Lsn, timeline: u32| {
        let client = self::client(&cluster).await;
        match client.start_streaming(slot, start, TimelineId(timeline)).await {
            Err(error) => error.kind(),
            Ok(mut stream) => stream.next().await.unwrap_err().kind(),
        }
    };
    assert_eq!(of(None, first, 1).await, ErrorKind::WalRemoved);
    assert_eq!(of(Some("left_behind"), first, 1).await, lost_slot);
    assert_eq!(of(Some("never_made"), first, 1).await, ErrorKind::SlotMissing);
    assert_eq!(of(None, first, 7).await, ErrorKind::Changed);
    assert_eq!(of(Some("No Name"), first, 1).await, ErrorKind::Invalid);

    let mut client = self::client(&cluster).await;
    let now = client.identify_system().await.unwrap().flush_lsn;
    let mut stream = client.start_streaming(None, now, TimelineId(1)).await.unwrap();
    cluster.kill().unwrap();
    let error = loop {
        match tokio::time::timeout(Duration::from_secs(60), stream.next()).await.expect("a dead server is noticed") {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Lost, "{error:?}");
}

#[tokio::test]
async fn a_server_that_skips_its_own_proof_is_an_impostor() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let impostor = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut heard = [0; 1024];
        assert!(socket.read(&mut heard).await.unwrap() > 0);
        socket.write_all(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0").await.unwrap();
        assert!(socket.read(&mut heard).await.unwrap() > 0);
        socket.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await.unwrap();
        socket
    };
    let conninfo = format!("host=127.0.0.1 port={port} user=u password=p sslmode=disable");
    let secret = Secret::None;
    let (_socket, outcome) = tokio::join!(impostor, ReplicationClient::connect_to(&conninfo, &secret));
    assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Authentication);
}
