//! What is seen of a server, and what is concluded.

use lifeboat_components::TestCluster;
use lifeboat_postgres::connection::{Secret, connect};
use lifeboat_postgres::inspection::{Means, ServerFacts, findings, observe, refusals, role_statements};
use lifeboat_postgres::{MajorVersion, TimelineId};

async fn facts(conninfo: &str) -> ServerFacts {
    observe(&connect(conninfo, &Secret::None).await.unwrap()).await.unwrap()
}

fn names(facts: &ServerFacts) -> Vec<&'static str> {
    findings(facts, Means::Files).iter().map(|finding| finding.name).collect()
}

async fn a_server_is_seen_as_it_is(major: u16) {
    let cluster = TestCluster::builder(major)
        .wal_segment_size_mib(1)
        .data_checksums(false)
        .archive_command("true")
        .start()
        .unwrap();
    let version = MajorVersion::try_from(major).unwrap();
    cluster.sql(&role_statements(version, "lifeboat").join("\n")).await.unwrap();
    cluster.sql("select pg_create_physical_replication_slot('kept', true)").await.unwrap();
    let system_id = cluster.sql("select system_identifier from pg_control_system()").await.unwrap().unwrap();

    let all = facts(&cluster.connection_string()).await;
    assert!(all.role.is_superuser && refusals(&all, Means::Files).is_empty(), "{:?}", refusals(&all, Means::Files));
    let seen = facts(&cluster.connection_string().replace("user=postgres", "user=lifeboat")).await;
    assert_eq!(MajorVersion::from_server_version_num(seen.version_number).unwrap(), version);
    assert_eq!(seen.system_id.to_string(), system_id);
    assert_eq!(seen.data_directory, Some(cluster.data_dir()));
    assert_eq!(seen.config_file, Some(cluster.data_dir().join("postgresql.conf")));
    assert_eq!((seen.in_recovery, seen.timeline), (false, TimelineId(1)));
    assert_eq!((seen.wal_segment_size_bytes, seen.block_size_bytes), (1 << 20, 8192));
    assert_eq!((seen.data_checksums, seen.full_page_writes), (false, true));
    assert_eq!((seen.archive_mode.as_str(), seen.archive_command.as_str()), ("on", "true"));
    assert_eq!(seen.slots.len(), 1);
    assert!(seen.slots[0].is_physical && seen.slots[0].restart_lsn.is_some());
    assert!(!seen.role.is_superuser && seen.role.may_back_up && seen.role.may_replicate && seen.role.may_read_settings);
    assert!(seen.archiver.is_some());
    assert_eq!(names(&seen), ["data-checksums"]);

    cluster.sql("create role nobody_special login").await.unwrap();
    let blind = facts(&cluster.connection_string().replace("user=postgres", "user=nobody_special")).await;
    assert_eq!(blind.data_directory, None);
    assert_eq!(
        refusals(&blind, Means::Files).iter().map(|finding| finding.name).collect::<Vec<_>>(),
        ["privileges", "settings"]
    );
    cluster.sql(&refusals(&blind, Means::Files)[0].hint).await.unwrap();
    let cured = facts(&cluster.connection_string().replace("user=postgres", "user=nobody_special")).await;
    assert_eq!(refusals(&cured, Means::Files), []);
}

#[tokio::test]
async fn seen_14() {
    a_server_is_seen_as_it_is(14).await;
}

#[tokio::test]
async fn seen_15() {
    a_server_is_seen_as_it_is(15).await;
}

#[tokio::test]
async fn seen_16() {
    a_server_is_seen_as_it_is(16).await;
}

#[tokio::test]
async fn seen_17() {
    a_server_is_seen_as_it_is(17).await;
}

#[tokio::test]
async fn seen_18() {
    a_server_is_seen_as_it_is(18).await;
}

#[tokio::test]
async fn a_minimal_server_is_refused() {
    let cluster = TestCluster::builder(15)
        .setting("wal_level", "minimal")
        .setting("max_wal_senders", 0)
        .setting("full_page_writes", "off")
        .start()
        .unwrap();
    let found = names(&facts(&cluster.connection_string()).await);
    assert_eq!(found, ["wal-level", "full-page-writes", "archiving", "wal-senders"]);
}

#[tokio::test]
async fn a_standby_and_its_promotion_are_seen() {
    let primary = TestCluster::builder(16).start().unwrap();
    let mut standby = primary.standby(|builder| builder).await.unwrap();
    standby.start().unwrap();
    let before = facts(&standby.connection_string()).await;
    assert_eq!((before.in_recovery, before.timeline), (true, TimelineId(1)));
    assert!(before.current_lsn.is_some());
    standby.promote().unwrap();
    let after = facts(&standby.connection_string()).await;
    assert_eq!((after.in_recovery, after.timeline), (false, TimelineId(2)));
}
