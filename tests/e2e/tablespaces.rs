//! Tablespaces: tables move between them, and a restore puts them elsewhere.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, World, start_to_the_end, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;

async fn make_tablespace(world: &World, name: &str) -> Result<String> {
    let place = world.make_directory(name)?;
    world.cluster.sql(&format!("create tablespace {name} location '{}'", place.display())).await?;
    let oid = world.cluster.sql(&format!("select oid::text from pg_tablespace where spcname = '{name}'")).await?;
    oid.context("oid of the tablespace")
}

/// Restores with the tablespaces mapped to new places called `<name>-<round>`.
async fn restore_mapped(world: &World, round: &str, spaces: &[(&str, &str)], target: &[&str]) -> Result<TestCluster> {
    let maps: Vec<String> = spaces
        .iter()
        .map(|(name, oid)| Ok(format!("{oid}={}", world.make_directory(&format!("{name}-{round}"))?.display())))
        .collect::<Result<_>>()?;
    let mut arguments: Vec<&str> = maps.iter().flat_map(|map| ["--tablespace", map.as_str()]).collect();
    arguments.extend(target);
    let mut copy = world.restore_stopped(&arguments)?;
    start_to_the_end(&mut copy).await?;
    Ok(copy)
}

/// Guards: links below `pg_tblspc` are followed; a table that moved is copied from its new place and gone from the old;
/// `tablespace_map` names the new places, so that the copy never touches the original's.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_moved_between_tablespaces_and_mapped_elsewhere() -> Result<()> {
    let world = Plan::new(15).start()?;
    let (fast, slow) = (make_tablespace(&world, "fast").await?, make_tablespace(&world, "slow").await?);
    let make = "create table t tablespace fast as select g, md5(g::text) from generate_series(1, 5000) g; \
        create table back tablespace slow as select g from generate_series(1, 100) g; create index i on t (g) tablespace slow";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.cluster.sql("alter table t set tablespace slow").await?;
    world.cluster.sql("alter table back set tablespace pg_default").await?;
    world.cluster.sql("update t set md5 = 'moved' where g <= 10; checkpoint").await?;
    let point = world.backup("incr")?;
    let expected = Contents::of(&world.cluster).await?;
    let spaces = [("fast", fast.as_str()), ("slow", slow.as_str())];

    // Where the originals are there is something: refused, and nothing is touched.
    let to = world.path("unmapped").display().to_string();
    let output = world.lifeboat(&["restore", "shop", "--to", &to])?;
    ensure!(output.code.is_some_and(|code| code != 0) && output.stderr.contains("--tablespace"), "{output:?}");
    Contents::of(&world.cluster).await?.must_be(&expected)?;

    let id = point["point"].as_str().context("id")?;
    let mut copy = restore_mapped(&world, "first", &spaces, &["--immediate", "--point", id]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    let ask = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'slow'";
    let place = copy.sql(ask).await?.context("location")?;
    ensure!(place == world.path("slow-first").display().to_string(), "the copy's tablespace is {place}");
    must_be_sound(&mut copy).await?;
    copy.sql("update t set md5 = 'written in the copy'").await?;
    drop(copy);
    Contents::of(&world.cluster).await?.must_be(&expected)?;

    // A move that only the log knows of.
    world.cluster.sql("alter table t set tablespace fast; alter table back set tablespace fast").await?;
    world.archive_all().await?;
    let expected = Contents::of(&world.cluster).await?;
    let copy = restore_mapped(&world, "second", &spaces, &[]).await?;
    Contents::of(&copy).await?.must_be(&expected)
}

/// Guards: configuration that lies outside the data directory isn't in the point, and who restores is told.
#[tokio::test(flavor = "multi_thread")]
async fn configuration_outside_the_data_directory_is_noted() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world.make_directory("etc")?;
    let outside = world.path("etc").join("pg_hba.conf");
    std::fs::copy(world.cluster.data_dir().join("pg_hba.conf"), &outside)?;
    world.cluster.give_to_server(&outside)?;
    let sql = format!("alter system set hba_file = '{}'", outside.display());
    world.cluster.sql(&sql).await?;
    world.cluster.restart()?;
    world.backup("full")?;
    let name = outside.display().to_string();
    let to = world.path("copy").display().to_string();
    let output = world.done(&["restore", "shop", "--to", &to, "--immediate"])?;
    ensure!(output.stderr.contains(&name), "the restore says nothing of {name}: {output:?}");
    Ok(())
}

/// Guards: replay repeats the move from what the backup has of the old place. That may be nothing, and then the database
/// comes back empty: such a point is never kept, and the next one is whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_moves_during_the_backup() -> Result<()> {
    let world = Plan::new(15).workload("max_rate = \"4MB\"").workload("workers = 1").start()?;
    let slow = make_tablespace(&world, "slow").await?;
    let make = "create table filler as select g, repeat(md5(g::text), 20) from generate_series(1, 20000) g";
    world.cluster.sql(make).await?;
    world.cluster.sql("create database d0").await?;
    world.cluster.sql("checkpoint").await?;
    let begun = world.cluster.sql("select redo_lsn::text from pg_control_checkpoint()").await?;
    let mut running = world.spawn("lifeboat.toml", &["backup", "shop"])?;
    until("the backup has begun", || async {
        Ok(world.cluster.sql("select redo_lsn::text from pg_control_checkpoint()").await? != begun)
    })
    .await?;
    world.cluster.sql("alter database d0 set tablespace slow").await?;
    let status = running.child.wait()?;
    ensure!(status.code() == Some(5) && running.log().contains("was moved"), "{status}: {}", running.log());
    world.configure("lifeboat.toml", |text| text.replace("max_rate", "# max_rate"))?;
    world.backup("incr")?;
    world.archive_all().await?;
    let expected = Contents::of(&world.cluster).await?;
    let copy = restore_mapped(&world, "moved", &[("slow", slow.as_str())], &[]).await?;
    Contents::of(&copy).await?.must_be(&expected)
}
