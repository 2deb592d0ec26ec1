//! Whose log it is: recorded in each repository, and told by the log when the record is gone.

use crate::world::{ALONE, WORKLOAD, World, fill_segments, name_of, ready, waiting};
use lifeboat_components::TestCluster;
use lifeboat_location::Location;
use lifeboat_postgres::wal_file::SegmentName;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_workload::postgres::wal::needed::{NeededWal, ensure};
use lifeboat_workload::postgres::wal::{
    ClusterIdentity, FetchOptions, FetchOutcome, PushOptions, Spool, WalArchive, WalErrorKind, already_pushed, fetch,
    push,
};
use std::path::{Path, PathBuf};
use std::time::Duration;

async fn archiving(segments: usize) -> (TestCluster, Vec<PathBuf>) {
    let cluster = waiting(15, 1).start().unwrap();
    fill_segments(&cluster, segments).await;
    let files = ready(&cluster);
    (cluster, files)
}

async fn recorded(world: &World) -> usize {
    world.repository.list_logs(WORKLOAD, "cluster/identity-").await.unwrap().len()
}

async fn lose_the_record(world: &World) {
    for entry in world.repository.list_logs(WORKLOAD, "cluster/identity-").await.unwrap() {
        for location in [&world.near, &world.far] {
            location.delete(&entry.key(WORKLOAD)).await.unwrap();
        }
    }
    assert_eq!(recorded(world).await, 0);
}

async fn comes_back(world: &World, archive: &WalArchive, file: &Path) {
    let destination = world.path("RECOVERYXLOG");
    let outcome = fetch(archive, &name_of(file), &destination, FetchOptions::default()).await.unwrap();
    assert!(matches!(outcome, FetchOutcome::Found { .. }), "{outcome:?}");
    assert!(std::fs::read(&destination).unwrap() == std::fs::read(file).unwrap());
}

/// The same places, the same machine, another repository.
#[tokio::test]
async fn a_repository_made_again_gets_its_own_record() {
    let (first, again) = (World::new().await, World::new().await);
    let (_cluster, files) = archiving(3).await;
    push(first.repository.clone(), WORKLOAD, &files[0], &first.spool, PushOptions::default()).await.unwrap();
    push(again.repository.clone(), WORKLOAD, &files[0], &first.spool, ALONE).await.unwrap();
    assert_eq!(recorded(&again).await, 1);
    assert_eq!(already_pushed(&files[1], &first.spool).unwrap(), None, "that was stored in the first one");
    comes_back(&again, &again.archive().await, &files[0]).await;
}

#[tokio::test]
async fn what_was_noted_without_the_repository_counts_for_nothing() {
    let world = World::new().await;
    let (_cluster, files) = archiving(2).await;
    push(world.repository.clone(), WORKLOAD, &files[0], &world.spool, ALONE).await.unwrap();
    let noted = world.path(WORKLOAD).join("cluster.json");
    let mut document: serde_json::Value = serde_json::from_slice(&std::fs::read(&noted).unwrap()).unwrap();
    document.as_object_mut().unwrap().remove("repository").unwrap();
    std::fs::write(&noted, document.to_string()).unwrap();
    lose_the_record(&world).await;
    push(world.repository.clone(), WORKLOAD, &files[1], &world.spool, ALONE).await.unwrap();
    assert_eq!(recorded(&world).await, 1);
}

#[tokio::test]
async fn the_log_tells_whose_it_is_when_the_record_is_lost() {
    let world = World::new().await;
    assert!(WalArchive::of_workload(world.repository.clone(), WORKLOAD).await.unwrap().is_none());
    let (_cluster, files) = archiving(2).await;
    for file in &files {
        push(world.repository.clone(), WORKLOAD, file, &world.spool, ALONE).await.unwrap();
    }
    let before = world.archive().await.identity();
    assert!(!WalArchive::is_unclaimed(&world.repository, WORKLOAD).await.unwrap());
    lose_the_record(&world).await;
    assert!(WalArchive::is_unclaimed(&world.repository, WORKLOAD).await.unwrap());
    let archive = world.archive().await;
    assert_eq!(archive.identity(), before);
    comes_back(&world, &archive, &files[1]).await;

    // Another cluster is kept out all the same.
    let (_stranger, foreign) = archiving(1).await;
    let elsewhere = Spool::new(&world.path("elsewhere"), WORKLOAD, "here");
    let error = push(world.repository.clone(), WORKLOAD, &foreign[0], &elsewhere, ALONE).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Conflict, "{error}");
    assert_eq!(recorded(&world).await, 0);

    // Of two clusters: only who knows itself is answered.
    let name = "000000010000000000000001";
    world.repository.put_log(WORKLOAD, "7/00000001/00000000", name, b"log", &[]).await.unwrap();
    let error = WalArchive::of_workload(world.repository.clone(), WORKLOAD).await.unwrap_err();
    assert_eq!(error.kind(), WalErrorKind::Conflict, "{error}");
    let known = WalArchive::of_workload_or(world.repository.clone(), WORKLOAD, Some(before)).await.unwrap().unwrap();
    comes_back(&world, &known, &files[1]).await;
}

#[tokio::test]
async fn a_backup_writes_the_record_again() {
    let world = World::new().await;
    let (cluster, files) = archiving(2).await;
    for file in &files {
        push(world.repository.clone(), WORKLOAD, file, &world.spool, ALONE).await.unwrap();
    }
    let ClusterIdentity { system_id, segment_size } = world.archive().await.identity();
    lose_the_record(&world).await;
    let last = name_of(files.last().unwrap()).parse::<SegmentName>().unwrap();
    let from: Lsn = last.with_size(segment_size).unwrap().start(segment_size);
    let needed = NeededWal {
        workload: WORKLOAD.into(),
        system_id,
        timeline: TimelineId(1),
        from,
        to: from.saturating_add(100),
        segment_size,
        data_dir: Some(cluster.data_dir()),
        spool: world.spool.clone(),
        on_standby: false,
    };
    ensure(&world.repository, &needed, Duration::from_secs(30)).await.unwrap();
    assert_eq!(recorded(&world).await, 1);
}
