//! Incremental backups that leave unread what looks unchanged: whatever was done to a file, it is noticed.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// A file must have been left alone for two seconds before a look to count as unchanged afterwards.
const SETTLED: Duration = Duration::from_millis(2500);

async fn settle(world: &World) -> Result<()> {
    world.cluster.sql("checkpoint").await?;
    tokio::time::sleep(SETTLED).await;
    Ok(())
}

fn bytes_read(document: &serde_json::Value) -> Result<u64> {
    document["bytes_read"].as_u64().context("bytes_read")
}

/// Guards: the time of change, size and inode of a file all count; what was written just before a look is read again; and a
/// full backup reads everything.
#[tokio::test(flavor = "multi_thread")]
async fn what_looks_unchanged_is_left_out_and_whatever_was_done_is_noticed() -> Result<()> {
    let world = Plan::new(16).workload("unchanged_files = \"skip\"").start()?;
    let make = "create table still as select g, md5(g::text) as b from generate_series(1, 100000) g; \
        create table cut as select g, md5(g::text) as b from generate_series(1, 50000) g; \
        create table again (n int); insert into again select generate_series(1, 20000); \
        create table one (id int primary key, n int); insert into one select g, 0 from generate_series(1, 50000) g; \
        vacuum freeze";
    for statement in make.split("; ") {
        world.cluster.sql(statement.trim()).await?;
    }
    settle(&world).await?;
    let full = world.backup("full")?;
    settle(&world).await?;
    let first = world.backup("incr")?;
    ensure!(bytes_read(&first)? < bytes_read(&full)? / 4, "{first}\n{full}");

    // Truncated and regrown to the same length; dropped and made again; one page of many; a copy by file.
    let traps = "delete from cut where g > 10000; vacuum cut; insert into cut select g, 'new' from generate_series(1, 40000) g; \
        drop table again; create table again (n int); insert into again select -g from generate_series(1, 20000) g; \
        update one set n = 1 where id = 25000";
    for trap in traps.split("; ") {
        world.cluster.sql(trap.trim()).await?;
    }
    world.cluster.sql("create database twin template template1 strategy file_copy").await?;
    settle(&world).await?;
    let second = world.backup("incr")?;
    let expected = Contents::of(&world.cluster).await?;
    let mut copy = world.restore(&["--immediate"]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    must_be_sound(&mut copy).await?;
    drop(copy);
    ensure!(bytes_read(&second)? < bytes_read(&full)?, "{second}");

    // Written in the same moment as the look: read again next time.
    world.cluster.sql("update still set b = 'x' where g = 5; checkpoint").await?;
    let third = world.backup("incr")?;
    world.cluster.sql("update still set b = 'y' where g = 5; checkpoint").await?;
    world.backup("incr")?;
    let expected = Contents::of(&world.cluster).await?;
    let copy = world.restore(&["--immediate"]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    ensure!(bytes_read(&world.backup("full")?)? > bytes_read(&third)?);
    Ok(())
}
