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

/// Guards: pages of zeros that no record names. A relation is cut by vacuum; a copy makes it longer by many pages at once
/// and the server dies; it forgets that there is room, and the next copy begins behind them.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_does_not_come_back() -> Result<()> {
    let mut world = Plan::new(17).start()?;
    let copy = |count: u32| format!("copy t from program 'seq 1 {count} | sed s/$/,{}/' (format csv)", "x".repeat(100));
    let make = "create table apart as select g, repeat('a', 500) as b from generate_series(1, 60000) g; \
        create table t (a int, b text) with (autovacuum_enabled = off)";
    run(&world.cluster, make).await?;
    run(&world.cluster, &copy(20_000)).await?;
    run(&world.cluster, "vacuum freeze; checkpoint").await?;
    world.backup("full")?;
    let file = world.cluster.sql("select pg_relation_filepath('t')").await?.context("path of t")?;
    let original = world.cluster.data_dir().join(&file);
    let before = fs::metadata(&original)?.len();
    run(&world.cluster, "delete from t where a > 100; vacuum (freeze, truncate off) t; checkpoint").await?;
    // Deleting and vacuuming name every page: after this point nobody does who doesn't have to.
    increment(&world)?;
    run(&world.cluster, "vacuum (truncate) t").await?;
    for rows in [2_000, 2_700, 3_300, 3_900] {
        run(&world.cluster, &copy(rows)).await?;
        world.cluster.stop(Shutdown::Immediate)?;
        world.cluster.start()?;
    }
    run(&world.cluster, &copy(20_000)).await?;
    let point = increment(&world)?;
    read_little(&point)?;
    let pages = fs::read(&original)?;
    let zeros: Vec<usize> = (0..before as usize / 8192).filter(|page| is_zero(&pages[page * 8192..][..8192])).collect();
    ensure!(pages.len() as u64 >= before && !zeros.is_empty(), "no page was left as it was made");
    let id = point["point"].as_str().context("id of the point")?;
    let copy = world.restore_stopped(&["--immediate", "--point", id])?;
    let restored = fs::read(copy.data_dir().join(&file))?;
    let stale: Vec<&usize> = zeros.iter().filter(|page| !is_zero(&restored[*page * 8192..][..8192])).collect();
    ensure!(stale.is_empty(), "pages {stale:?} of {zeros:?} hold what was cut off");
    drop(copy);
    same_at_point(&world, &point).await?;
    Ok(())
}

fn is_zero(page: &[u8]) -> bool {
    page.iter().all(|byte| *byte == 0)
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
    // Of the table's own pages the first is left alone, so that only the map's change is in the map's first page.
    run(
        &world.cluster,
        "delete from t where a > 30000; vacuum (truncate) t; delete from t where a between 20000 and 21000",
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

/// Guards: databases made by copying files, one of them under the number of an old one, so that its files have old names.
#[tokio::test(flavor = "multi_thread")]
async fn databases_come_and_go() -> Result<()> {
    let world = Plan::new(16).start()?;
    let fill = "create table apart as select g, repeat('a', 500) as b from generate_series(1, 100000) g; vacuum freeze apart; \
        create database source";
    run(&world.cluster, fill).await?;
    let in_source = async |statement: &str| {
        let inside = format!("{} dbname=source", world.cluster.connection_string());
        let (client, connection) = tokio_postgres::connect(&inside, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        client.batch_execute(statement).await.context("in source")
    };
    in_source("create table t as select g, 'old' as b from generate_series(1, 10000) g").await?;
    run(&world.cluster, "create database a oid 77777 template source strategy file_copy").await?;
    world.backup("full")?;
    in_source("update t set b = 'new' where g % 500 = 0").await?;
    run(&world.cluster, "drop database a").await?;
    // The sessions of `source` end when they end.
    until("source can be copied", || async {
        let made = world.cluster.sql("create database a oid 77777 template source strategy file_copy").await;
        Ok(made.is_ok())
    })
    .await?;
    run(&world.cluster, "create database b template source strategy wal_log").await?;
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
