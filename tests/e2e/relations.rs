//! Traps for incremental copies: relations that look unchanged and aren't, that come and go, that are too many or too big.
//!
//! In each test the change lies wholly before the incremental point begins, and that point is brought back as it is
//! (`--immediate`): replay can't repair what the copy missed.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// Brings a point back as it was, and compares everything with the original, which stands still.
async fn same_at_point(world: &World, point: &Value) -> Result<TestCluster> {
    let expected = Contents::of(&world.cluster).await?;
    let id = point["point"].as_str().context("id of the point")?;
    let mut copy = world.restore(&["--immediate", "--point", id]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    must_be_sound(&mut copy).await?;
    Ok(copy)
}

/// Where a relation's file is.
async fn file_of(cluster: &TestCluster, relation: &str) -> Result<PathBuf> {
    let path = cluster.sql(&format!("select pg_relation_filepath('{relation}')")).await?;
    Ok(cluster.data_dir().join(path.context("path of a relation")?))
}

/// Guards: a block is unchanged only when its *content* is; neither the file's size and time nor the position of a page
/// in the log says so. Also that what was cut off doesn't come back.
#[tokio::test(flavor = "multi_thread")]
async fn truncated_by_vacuum_and_regrown_by_copy() -> Result<()> {
    let world = Plan::new(15).start()?;
    let fill =
        |letter: &str| format!("copy t from program 'seq 1 20000 | sed s/$/,{}/' (format csv)", letter.repeat(100));
    world.cluster.sql(&format!("create table t (a int, b text); {}", fill("x"))).await?;
    let file = file_of(&world.cluster, "t").await?;
    world.backup("full")?;
    let size = || fs::metadata(&file).map(|found| found.len());
    let before = size()?;
    world.cluster.sql("delete from t where a > 100").await?;
    world.cluster.sql("vacuum (truncate) t").await?;
    ensure!(size()? < before, "vacuum didn't truncate");
    let cut = world.backup("incr")?;
    same_at_point(&world, &cut).await?;
    world.cluster.sql(&fill("y")).await?;
    ensure!(size()? >= before, "copy didn't grow it to its old size");
    let point = world.backup("incr")?;
    same_at_point(&world, &point).await?;
    Ok(())
}

/// Guards: files that no log record describes (they are copied by the file system) are found by looking.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_copied_file_by_file() -> Result<()> {
    let world = Plan::new(18).start()?;
    world.cluster.sql("create database source").await?;
    let inside = format!("{} dbname=source", world.cluster.connection_string());
    let (client, connection) = tokio_postgres::connect(&inside, tokio_postgres::NoTls).await?;
    let task = tokio::spawn(connection);
    client.batch_execute("create table t as select g, md5(g::text) from generate_series(1, 20000) g").await?;
    drop(client);
    task.await??;
    world.backup("full")?;
    world.cluster.sql("create database copied template source strategy file_copy").await?;
    let point = world.backup("incr")?;
    drop(same_at_point(&world, &point).await?);
    // And one that is copied after the point: replay makes it from the template, which must be whole for that.
    world.cluster.sql("create database later template source strategy file_copy").await?;
    world.archive_all().await?;
    let expected = Contents::of(&world.cluster).await?;
    let copy = world.restore(&[]).await?;
    Contents::of(&copy).await?.must_be(&expected)
}

/// Guards: pages that changed in different backups lie in different packs, beside pages from elsewhere; each comes back to its place.
#[tokio::test(flavor = "multi_thread")]
async fn pages_from_many_backups_come_together() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world
        .cluster
        .sql(
            "create table pieces (g int, b text) with (fillfactor = 50); \
             insert into pieces select g, repeat(md5(g::text), 8) from generate_series(1, 60000) g; checkpoint",
        )
        .await?;
    world.backup("full")?;
    let mut last = None;
    for round in 0..4 {
        // Some pages here and there, which stay where they are: there is room in each.
        let change = format!("update pieces set b = '{round}' || b where g / 16 % 5 = {round}; checkpoint");
        world.cluster.sql(&change).await?;
        last = Some(world.backup("incr")?);
    }
    let point = last.context("a point")?;
    same_at_point(&world, &point).await?;
    // Over what is there only some of them are written.
    let expected = Contents::of(&world.cluster).await?;
    world.cluster.sql("update pieces set b = 'gone' where g % 40 = 0; checkpoint").await?;
    world.cluster.stop(Shutdown::Fast)?;
    let (to, id) = (world.cluster.data_dir().display().to_string(), point["point"].as_str().context("id")?);
    world.done(&["restore", "shop", "--to", &to, "--immediate", "--point", id])?;
    crate::world::start_to_the_end(&mut world.cluster).await?;
    Contents::of(&world.cluster).await?.must_be(&expected)?;
    must_be_sound(&mut world.cluster).await
}

/// Guards: relations are known by where they are, not by name or oid; a new file is copied whole, one that is gone is
/// not in the point.
#[tokio::test(flavor = "multi_thread")]
async fn dropped_made_again_rewritten_and_swapped() -> Result<()> {
    let world = Plan::new(15).start()?;
    let table = |name: &str, salt: u32| {
        format!("create table {name} as select g, md5((g + {salt})::text) from generate_series(1, 5000) g;")
    };
    world
        .cluster
        .sql(&(table("again", 0) + &table("gone", 1) + &table("full_vacuum", 2) + &table("truncated", 3)))
        .await?;
    world.cluster.sql("create index on full_vacuum (g)").await?;
    let old = file_of(&world.cluster, "gone").await?;
    world.backup("full")?;
    world.cluster.sql(&format!("drop table again; drop table gone; {}", table("again", 9))).await?;
    world.cluster.sql("delete from full_vacuum where g % 2 = 0").await?;
    world.cluster.sql("vacuum full full_vacuum").await?;
    world.cluster.sql("truncate truncated; insert into truncated values (7, 'seven')").await?;
    // The first file of a dropped table stays, empty, until a checkpoint.
    world.cluster.sql("checkpoint").await?;
    let point = world.backup("incr")?;
    let copy = same_at_point(&world, &point).await?;
    let relative = old.strip_prefix(world.cluster.data_dir())?;
    ensure!(!copy.data_dir().join(relative).exists(), "the file of a dropped table came back");
    Ok(())
}

/// Guards: of an unlogged relation only its init fork is copied, which the server needs to make it empty.
#[tokio::test(flavor = "multi_thread")]
async fn unlogged_tables_come_back_empty_and_usable() -> Result<()> {
    let world = Plan::new(15).start()?;
    world
        .cluster
        .sql("create unlogged table u (a serial primary key, b text); insert into u (b) select repeat('u', 200) from generate_series(1, 20000)")
        .await?;
    world.cluster.sql("create table kept as select 1 as x").await?;
    world.cluster.sql("checkpoint").await?;
    let file = file_of(&world.cluster, "u").await?;
    let relative = file.strip_prefix(world.cluster.data_dir())?.to_path_buf();
    world.backup("full")?;
    let point = world.backup("incr")?;
    let id = point["point"].as_str().context("id")?;
    let mut copy = world.restore_stopped(&["--immediate", "--point", id])?;
    let restored = copy.data_dir().join(&relative);
    ensure!(!restored.exists(), "{} was copied though it is unlogged", relative.display());
    let init = restored.with_file_name(format!("{}_init", relative.file_name().unwrap_or_default().to_string_lossy()));
    ensure!(init.exists(), "the init fork of an unlogged table is missing");
    crate::world::start_to_the_end(&mut copy).await?;
    let counted = copy.sql("insert into u (b) values ('new'); select count(*)::text from u").await?;
    ensure!(counted.as_deref() == Some("1"), "an unlogged table has {counted:?} rows");
    ensure!(copy.sql("select x::text from kept").await?.as_deref() == Some("1"), "the logged table is gone");
    must_be_sound(&mut copy).await
}

async fn many_tables(count: usize) -> Result<()> {
    let world = Plan::new(18).cluster(|builder| builder.setting("max_locks_per_transaction", 256)).start()?;
    for first in (0..count).step_by(100) {
        let make: String = (first..count.min(first + 100))
            .map(|number| format!("create table t{number} as select {number} as a, repeat('{number}', 10) as b;"))
            .collect();
        world.cluster.sql(&make).await?;
    }
    world.backup("full")?;
    for number in (0..count).step_by(7) {
        world.cluster.sql(&format!("insert into t{number} values (-1, 'later')")).await?;
    }
    let point = world.backup("incr")?;
    let expected = Contents::of(&world.cluster).await?;
    ensure!(expected.len() == count, "{} tables, not {count}", expected.len());
    let id = point["point"].as_str().context("id")?;
    let copy = world.restore(&["--immediate", "--point", id]).await?;
    Contents::of(&copy).await?.must_be(&expected)
}

/// Guards: short files share chunks and units of work; none may get another's content.
#[tokio::test(flavor = "multi_thread")]
async fn three_hundred_small_tables() -> Result<()> {
    many_tables(300).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_ten_thousand_small_tables() -> Result<()> {
    many_tables(10_000).await
}

/// Guards: blocks of the second file of a relation are numbered on from the first, in checksums and in reports; a map of
/// many leaves is whole.
#[tokio::test(flavor = "multi_thread")]
async fn long_a_relation_of_more_than_one_gib() -> Result<()> {
    let world = Plan::new(15).cluster(|builder| builder.setting("max_wal_size", "4GB")).start()?;
    world.cluster.sql("create table big (a bigint, b text); alter table big alter b set storage plain").await?;
    let grow = "insert into big select g, repeat(md5(g::text), 240) from generate_series(1, 145000) g";
    world.cluster.sql(grow).await?;
    let file = file_of(&world.cluster, "big").await?;
    let second = PathBuf::from(format!("{}.1", file.display()));
    ensure!(fs::metadata(&second)?.len() > 0, "the relation has one file only");
    // Reading a row for the first time notes on its page that it is committed: that changes every page once.
    world.cluster.sql("vacuum big").await?;
    world.backup("full")?;
    world.cluster.sql("update big set b = 'short' where a % 10000 = 1").await?;
    world
        .cluster
        .sql("insert into big select g, repeat(md5(g::text), 240) from generate_series(145001, 146000) g")
        .await?;
    world.cluster.sql("checkpoint").await?;
    let point = world.backup("incr")?;
    let new = point["bytes_new"].as_u64().context("bytes_new")?;
    ensure!(new < 100 << 20, "an incremental point of 1000 new rows has {new} new bytes");
    same_at_point(&world, &point).await?;
    Ok(())
}

/// Guards: a file that vanishes between being listed and being read is a dropped relation, not an error; what is made
/// meanwhile comes from the log.
#[tokio::test(flavor = "multi_thread")]
async fn relations_come_and_go_during_the_backup() -> Result<()> {
    let world = Plan::new(15).workload("max_rate = \"8MB\"").workload("workers = 1").start()?;
    let table =
        |number: u32| format!("create table t{number} as select g, {number} as n from generate_series(1, 2000) g;");
    world.cluster.sql(&(0..100).map(table).collect::<String>()).await?;
    world.cluster.sql("checkpoint").await?;
    let begun = world.cluster.sql("select redo_lsn::text from pg_control_checkpoint()").await?;
    let mut running = world.spawn("lifeboat.toml", &["backup", "shop"])?;
    until("the backup has begun", || async {
        Ok(world.cluster.sql("select redo_lsn::text from pg_control_checkpoint()").await? != begun)
    })
    .await?;
    let mut churned = 0;
    while running.child.try_wait()?.is_none() {
        let (old, new) = (churned, 100 + churned);
        world.cluster.sql(&format!("drop table t{old}; {} checkpoint", table(new))).await?;
        churned += 1;
    }
    running.wait()?;
    ensure!(churned >= 3, "the backup was over before anything could happen: {churned}");
    let expected = Contents::of(&world.cluster).await?;
    world.archive_all().await?;
    let mut copy = world.restore(&[]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    must_be_sound(&mut copy).await
}
