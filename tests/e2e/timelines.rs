//! Promotions: history branches, and every moment of every branch stays within reach.

use crate::exactness::more_rows;
use crate::ledger::{Clients, Ledger, Moment, now, time_text};
use crate::random::Random;
use crate::world::{Plan, World, archive_all, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;

/// A standby that streams, archives what it writes once it is promoted, and has caught up.
pub async fn standby_of(world: &World) -> Result<TestCluster> {
    let mut standby = world.cluster.standby(|builder| builder).await?;
    standby.start()?;
    caught_up(world, &standby).await?;
    Ok(standby)
}

async fn caught_up(world: &World, standby: &TestCluster) -> Result<()> {
    let there = world.cluster.sql("select pg_current_wal_insert_lsn()").await?.context("position")?;
    let ask = format!("select coalesce(pg_last_wal_replay_lsn() >= '{there}', false)::text");
    until("the standby has caught up", || async { Ok(standby.sql(&ask).await?.as_deref() == Some("true")) }).await
}

/// Some rows, and the ledger about them.
async fn write_on(cluster: &TestCluster, rows: i64) -> Result<Ledger> {
    let clients = Clients::start(cluster, 2).await?;
    more_rows(cluster, rows).await?;
    clients.stop().await
}

/// Guards: the path over two timelines: which history file is read, where it branches, and that the log before the
/// branch is looked for on the parent.
async fn over_a_planned_promotion(major: u16, moments_each: usize) -> Result<()> {
    let mut random = Random::new();
    let mut world = Plan::new(major).start()?;
    write_on(&world.cluster, 50).await?;
    world.backup("full")?;
    let earliest = now();
    let mut standby = standby_of(&world).await?;
    let mut ledger = write_on(&world.cluster, 200).await?;
    // A clean stop: the standby gets every byte.
    world.cluster.stop(Shutdown::Fast)?;
    standby.promote()?;
    let switched = now();
    let later = write_on(&standby, 200).await?;
    let last = later.last();
    ledger.extend(later);
    archive_all(&standby).await?;

    let mut moments: Vec<u64> = (0..moments_each).map(|_| random.between(earliest, switched)).collect();
    moments.extend((0..moments_each).map(|_| random.between(switched + 1, last.at)));
    for time in moments {
        let copy = world.restore(&["--at", &time_text(time)]).await?;
        ledger.judge(&copy, Moment::Time(time)).await?;
    }
    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await?;
    drop(copy);

    // The new primary is protected under the same name, and goes on from the same points.
    world.configure("lifeboat.toml", |text| {
        text.replace(&world.cluster.data_dir().display().to_string(), &standby.data_dir().display().to_string())
            .replace(&world.cluster.connection_string(), &standby.connection_string())
    })?;
    let point = world.backup("incr")?;
    ensure!(point["type"] == "incr" && point["timeline"] == 2, "{point}");
    ledger.extend(write_on(&standby, 50).await?);
    archive_all(&standby).await?;
    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await?;
    drop(copy);
    // And back before the promotion, past the newer point.
    let time = random.between(earliest, switched);
    let copy = world.restore(&["--at", &time_text(time)]).await?;
    ledger.judge(&copy, Moment::Time(time)).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn before_and_after_a_promotion_on_15() -> Result<()> {
    over_a_planned_promotion(15, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_before_and_after_a_promotion_on_all() -> Result<()> {
    for major in 14..=18 {
        over_a_planned_promotion(major, 4).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: `recovery_target_timeline` is never PostgreSQL's own `latest`, and a restore stays on the line on which work
/// went on. A test server that somebody promoted archives into the same place, under a higher number.
#[tokio::test(flavor = "multi_thread")]
async fn an_accidental_promotion_doesnt_take_over() -> Result<()> {
    let mut random = Random::new();
    let world = Plan::new(18).start()?;
    let mut main = write_on(&world.cluster, 50).await?;
    world.backup("full")?;
    main.extend(write_on(&world.cluster, 100).await?);
    let mut standby = standby_of(&world).await?;
    standby.promote()?;
    let promoted = now();
    // Rows with the same numbers on both lines: only the text tells whose they are.
    world.cluster.sql("create table line as select 'main' as name").await?;
    standby.sql("create table line as select 'stray' as name").await?;
    let stray = write_on(&standby, 100).await?;
    archive_all(&standby).await?;
    main.extend(write_on(&world.cluster, 150).await?);
    world.archive_all().await?;
    let last = main.last();

    let copy = world.restore(&[]).await?;
    ensure!(copy.sql("select name from line").await?.as_deref() == Some("main"), "the stray line took over");
    main.judge(&copy, Moment::End).await?;
    drop(copy);
    let time = random.between(promoted, last.at);
    let copy = world.restore(&["--at", &time_text(time)]).await?;
    main.judge(&copy, Moment::Time(time)).await?;
    drop(copy);
    let copy = world.restore(&["--timeline", "2"]).await?;
    ensure!(copy.sql("select name from line").await?.as_deref() == Some("stray"), "--timeline 2 is not the stray line");
    stray.judge(&copy, Moment::End).await?;
    drop(copy);

    // And the next point of the main line is an ordinary one.
    world.backup("incr")?;
    main.extend(write_on(&world.cluster, 50).await?);
    world.archive_all().await?;
    let copy = world.restore(&[]).await?;
    main.judge(&copy, Moment::End).await.map(drop)
}
