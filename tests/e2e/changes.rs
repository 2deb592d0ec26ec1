//! Incremental points that read only what the log says changed: the traps of that, on real servers.
//!
//! In each test the change lies wholly before the incremental point begins, and that point is brought back as it is
//! (`--immediate`): replay can't repair what was left unread. The traps that content comparison knows (`relations`,
//! `segments`, `tablespaces`) run with the log asked too: it is the default.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, World, archive_all, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::fs;
use std::process::Command;

fn increment(world: &World) -> Result<Value> {
    let document = world.backup("incr")?;
    ensure!(document["type"] == "incr", "{document}");
    Ok(document)
}

fn bytes_read(document: &Value) -> Result<u64> {
    document["bytes_read"].as_u64().context("bytes_read")
}

/// The log was asked and could tell.
fn read_little(document: &Value) -> Result<()> {
    ensure!(!document["notes"].to_string().contains("every page is read"), "{document}");
    let all = document["bytes"].as_u64().context("bytes")?;
    ensure!(bytes_read(document)? < all / 2, "{document}");
    Ok(())
}

/// The log couldn't tell, for that reason.
fn read_all(document: &Value, reason: &str) -> Result<()> {
    let notes = document["notes"].to_string();
    ensure!(notes.contains("every page is read") && notes.contains(reason), "{document}");
    let all = document["bytes"].as_u64().context("bytes")?;
    ensure!(bytes_read(document)? > all * 9 / 10, "{document}");
    Ok(())
}

/// Brings a point back as it was, and compares everything with the original, which stands still.
async fn same_at_point(world: &World, point: &Value) -> Result<TestCluster> {
    let expected = Contents::of(&world.cluster).await?;
    let id = point["point"].as_str().context("id of the point")?;
    let mut copy = world.restore(&["--immediate", "--point", id]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    must_be_sound(&mut copy).await?;
    Ok(copy)
}

async fn run(cluster: &TestCluster, statements: &str) -> Result<()> {
    for statement in statements.split("; ") {
        cluster.sql(statement.trim()).await.with_context(|| statement.to_owned())?;
    }
    Ok(())
}

/// Guards: block references of every version, compressed images included, in a chain of points; what wasn't named isn't
/// read; what is named, is.
async fn a_chain_reads_what_changed(major: u16) -> Result<()> {
    let world = Plan::new(major).cluster(|builder| builder.setting("wal_compression", "on")).start()?;
    let fill = "create table t (id int primary key, n int, b text); \
        insert into t select g, 0, md5(g::text) from generate_series(1, 100000) g; \
        create table still as select g, md5(g::text) as b from generate_series(1, 100000) g; \
        create index on still using hash (g); create index on still using gin (to_tsvector('simple', b)); \
        create index on still using brin (g); vacuum";
    run(&world.cluster, fill).await?;
    world.backup("full")?;
    for round in 0..4 {
        let change = format!(
            "update t set n = n + 1 where id % 1000 = {round}; insert into t select {round} - g, 0, 'new' from generate_series(10, 500, 7) g; \
             delete from still where g % 5000 = {round}; insert into still values ({round}, 'x'); checkpoint"
        );
        run(&world.cluster, &change.replace(&format!("{round} - g"), &format!("-{round} * 1000 - g"))).await?;
        let point = increment(&world)?;
        read_little(&point)?;
        if round % 3 == 0 {
            same_at_point(&world, &point).await?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_reads_what_changed_14() -> Result<()> {
    a_chain_reads_what_changed(14).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_reads_what_changed_15() -> Result<()> {
    a_chain_reads_what_changed(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_reads_what_changed_18() -> Result<()> {
    a_chain_reads_what_changed(18).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_chain_reads_what_changed_16_and_17() -> Result<()> {
    a_chain_reads_what_changed(16).await?;
    a_chain_reads_what_changed(17).await
}

/// Guards: pages of zeros that no record names. A relation is cut by vacuum and grows again by a copy that is given up:
/// its new pages are zeros or dead rows, and the old ones must not come back.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_does_not_come_back() -> Result<()> {
    let world = Plan::new(15).start()?;
    let big = "create table apart as select g, repeat('a', 500) as b from generate_series(1, 40000) g";
    world.cluster.sql(big).await?;
    world.cluster.sql("create table t (a int, b text) with (autovacuum_enabled = off)").await?;
    world.cluster.sql("insert into t select g, repeat('x', 100) from generate_series(1, 20000) g").await?;
    world.backup("full")?;
    let size = "select pg_relation_size('t')";
    let before = world.cluster.sql(size).await?;
    run(&world.cluster, "delete from t where a > 100; vacuum (truncate) t").await?;
    // The server dies while the table grows: it stays long, and its transaction never ends.
    let client = world.cluster.connect().await?;
    client.batch_execute("begin; insert into t select g, repeat('y', 100) from generate_series(1, 20000) g").await?;
    ensure!(world.cluster.sql(size).await? >= before, "it didn't grow");
    world.cluster.sql("checkpoint").await?;
    drop(client);
    let point = increment(&world)?;
    read_little(&point)?;
    same_at_point(&world, &point).await?;
    Ok(())
}

/// Guards: the visibility map is never left unread. Without checksums nothing tells when it changes, and a stale one
/// returns deleted rows.
#[tokio::test(flavor = "multi_thread")]
async fn the_visibility_map_is_never_stale() -> Result<()> {
    let world = Plan::new(15).cluster(|builder| builder.data_checksums(false)).start()?;
    world.cluster.sql("create extension pg_visibility").await?;
    let fill = "create table apart as select g, repeat('a', 500) as b from generate_series(1, 40000) g; \
        create table t (a int primary key, b text) with (autovacuum_enabled = off); \
        insert into t select g, repeat('x', 100) from generate_series(1, 50000) g; vacuum freeze t; checkpoint";
    run(&world.cluster, fill).await?;
    world.backup("full")?;
    run(&world.cluster, "delete from t where a % 7 = 0; delete from t where a > 30000; vacuum (truncate) t").await?;
    run(
        &world.cluster,
        "insert into t select g, 'y' from generate_series(60000, 70000) g; delete from t where a % 5 = 0",
    )
    .await?;
    let point = increment(&world)?;
    read_little(&point)?;
    let copy = same_at_point(&world, &point).await?;
    for ask in ["pg_check_visible('t')", "pg_check_frozen('t')"] {
        let wrong = copy.sql(&format!("select count(*) from {ask}")).await?;
        ensure!(wrong.as_deref() == Some("0"), "{ask}: {wrong:?}");
    }
    let counted = copy.sql("set enable_seqscan = off; select count(a) from t").await?;
    ensure!(counted == world.cluster.sql("select count(*) from t").await?, "{counted:?}");
    Ok(())
}

/// Guards: a database made by copying files, one that takes an old one's number of files, one that is removed.
#[tokio::test(flavor = "multi_thread")]
async fn databases_come_and_go() -> Result<()> {
    let world = Plan::new(16).start()?;
    let fill = "create table apart as select g, repeat('a', 500) as b from generate_series(1, 60000) g; vacuum freeze apart; \
        create database gone; create database source";
    run(&world.cluster, fill).await?;
    world.backup("full")?;
    run(&world.cluster, "drop database gone; create database a template source strategy file_copy; create database b template source strategy wal_log").await?;
    let point = increment(&world)?;
    read_little(&point)?;
    same_at_point(&world, &point).await?;
    run(&world.cluster, "drop database a; create database a template postgres strategy file_copy").await?;
    let point = increment(&world)?;
    read_little(&point)?;
    same_at_point(&world, &point).await?;
    Ok(())
}

/// Guards: a time in which changes weren't logged. The log says so, and everything is read.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_without_a_full_log_is_noticed() -> Result<()> {
    let mut world = Plan::new(17).start()?;
    world.cluster.sql("create table t as select g, md5(g::text) as b from generate_series(1, 50000) g").await?;
    world.backup("full")?;
    archive_all(&world.cluster).await?;
    let parameters = world.cluster.data_dir().join("postgresql.auto.conf");
    let usual = fs::read_to_string(&parameters)?;
    let minimal = "wal_level = minimal\nmax_wal_senders = 0\narchive_mode = off\n";
    fs::write(&parameters, format!("{usual}\n{minimal}"))?;
    world.cluster.stop(Shutdown::Fast)?;
    world.cluster.start()?;
    world
        .cluster
        .sql("begin; truncate t; insert into t select g, 'unlogged' from generate_series(1, 50000) g; commit")
        .await?;
    fs::write(&parameters, usual)?;
    world.cluster.stop(Shutdown::Fast)?;
    world.cluster.start()?;
    let point = increment(&world)?;
    read_all(&point, "wal_level was minimal")?;
    same_at_point(&world, &point).await?;
    Ok(())
}

/// Guards: a cluster that was set back to an old copy of its disk. The archive tells of a history that is no longer its
/// own, so nothing may be concluded from it.
#[tokio::test(flavor = "multi_thread")]
async fn another_history_than_the_archives_is_noticed() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    let fill = "create table t as select g, 0 as n from generate_series(1, 50000) g; \
        create table apart as select g, repeat('a', 500) as b from generate_series(1, 20000) g; checkpoint";
    run(&world.cluster, fill).await?;
    world.backup("full")?;
    archive_all(&world.cluster).await?;
    world.cluster.stop(Shutdown::Fast)?;
    let (data, old) = (world.cluster.data_dir().to_owned(), world.path("old"));
    copy_tree(&data, &old)?;
    world.cluster.start()?;
    run(&world.cluster, "update t set n = 1 where g < 30000").await?;
    for _ in 0..3 {
        run(&world.cluster, "insert into t values (0, 0)").await?;
        archive_all(&world.cluster).await?;
    }
    world.cluster.stop(Shutdown::Fast)?;
    fs::remove_dir_all(&data)?;
    copy_tree(&old, &data)?;
    world.cluster.start()?;
    // A different history, which reaches further than what was archived.
    run(&world.cluster, "update t set n = 2 where g > 20000").await?;
    for _ in 0..6 {
        run(&world.cluster, "insert into t values (1, 1); select pg_switch_wal()").await?;
    }
    until("the archiver meets the other history", || async {
        let failed = world.cluster.sql("select failed_count > 0 from pg_stat_archiver").await?;
        Ok(failed.as_deref() == Some("t"))
    })
    .await?;
    let point = increment(&world)?;
    read_all(&point, "is not what the archive holds")?;
    same_at_point(&world, &point).await?;
    Ok(())
}

fn copy_tree(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
    ensure!(done.success(), "cp -a {} {}", from.display(), to.display());
    Ok(())
}

/// Guards: a promotion. The log of one timeline says nothing about another.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_promotion_everything_is_read_once() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world.cluster.sql("create table t as select g, 0 as n from generate_series(1, 50000) g").await?;
    world.backup("full")?;
    let mut standby = world.cluster.standby(|builder| builder).await?;
    standby.start()?;
    world.cluster.sql("update t set n = 1 where g < 1000").await?;
    world.cluster.stop(Shutdown::Fast)?;
    standby.promote()?;
    standby.sql("update t set n = 2 where g > 40000").await?;
    archive_all(&standby).await?;
    world.configure("lifeboat.toml", |text| {
        text.replace(&world.cluster.data_dir().display().to_string(), &standby.data_dir().display().to_string())
            .replace(&world.cluster.connection_string(), &standby.connection_string())
    })?;
    let world = world.with_cluster(standby);
    let point = increment(&world)?;
    read_all(&point, "timeline")?;
    same_at_point(&world, &point).await?;
    run(&world.cluster, "update t set n = 3 where g = 7; checkpoint").await?;
    let point = increment(&world)?;
    read_little(&point)?;
    same_at_point(&world, &point).await?;
    Ok(())
}
