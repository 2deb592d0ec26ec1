//! The log of a backup: waited for, or taken from the server where that is safe.

use crate::world::{WORKLOAD, World, fill_segments, until, waiting};
use lifeboat_components::TestCluster;
use lifeboat_postgres::wal_file::SegmentSize;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_workload::postgres::BackupError;
use lifeboat_workload::postgres::wal::needed::{NeededWal, ensure};
use std::time::Duration;

async fn position(cluster: &TestCluster, ask: &str) -> Lsn {
    cluster.sql(ask).await.unwrap().unwrap().parse().unwrap()
}

/// Nobody archives. A primary's finished segments are whole, a standby's newest only looks so: zeros follow what has
/// arrived, and stored under its name it would stand in for the real one for ever.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_archives_is_taken_from_a_primary_and_never_from_a_standby() {
    let world = World::new().await;
    let primary = waiting(16, 1).start().unwrap();
    let mut standby = primary.standby(|builder| builder.setting("archive_mode", "off")).await.unwrap();
    standby.start().unwrap();
    let from = position(&primary, "select pg_current_wal_flush_lsn()").await;
    fill_segments(&primary, 2).await;
    primary.sql("insert into filled (at) values (now())").await.unwrap();
    let to = position(&primary, "select pg_current_wal_flush_lsn()").await;
    until("the standby has it", || async { position(&standby, "select pg_last_wal_receive_lsn()").await >= to }).await;

    let system_id = primary.sql("select system_identifier from pg_control_system()").await.unwrap().unwrap();
    let mut needed = NeededWal {
        workload: WORKLOAD.into(),
        system_id: SystemId(system_id.parse().unwrap()),
        timeline: TimelineId(1),
        from,
        to,
        segment_size: SegmentSize::new(1 << 20).unwrap(),
        data_dir: Some(standby.data_dir()),
        spool: world.spool.clone(),
        on_standby: true,
    };
    let refused = ensure(&world.repository, &needed, Duration::from_secs(3)).await.unwrap_err();
    assert!(matches!(&refused, BackupError::LogAway { hint, .. } if hint.contains("standby")), "{refused:?}");
    let stored = world.repository.list_logs(WORKLOAD, "").await.unwrap();
    assert!(stored.iter().all(|entry| entry.group == "cluster"), "{stored:?}");

    primary.sql("select pg_switch_wal()").await.unwrap();
    needed = NeededWal { data_dir: Some(primary.data_dir()), on_standby: false, ..needed };
    ensure(&world.repository, &needed, Duration::from_secs(30)).await.unwrap();
}
