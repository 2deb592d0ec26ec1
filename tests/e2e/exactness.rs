//! Exactness: whatever moment is asked for, all that was acknowledged before it is there, and nothing from after it.

use crate::contents::must_be_sound;
use crate::ledger::{Clients, Ledger, Moment, lsn_text, now, parse_lsn, time_text};
use crate::load::{Load, must_balance, prepare};
use crate::random::Random;
use crate::world::{Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;

/// A cluster with a full and several incremental recovery points, all taken under load, and its ledger.
pub struct Protected {
    pub world: World,
    pub ledger: Ledger,
    /// The earliest that can be brought back.
    pub earliest_at: u64,
    pub earliest_lsn: u64,
}

/// Waits until the clients have written that many more rows.
pub async fn more_rows(cluster: &TestCluster, count: i64) -> Result<()> {
    let ask = "select count(*)::text from ledger";
    let rows = || async { Ok::<i64, anyhow::Error>(cluster.sql(ask).await?.context("a count")?.parse()?) };
    let enough = rows().await? + count;
    until("clients have written", || async { Ok(rows().await? >= enough) }).await
}

/// Works, takes a full point and two incremental ones meanwhile, works on, and archives it all.
pub async fn protect(plan: Plan) -> Result<Protected> {
    let world = plan.start()?;
    prepare(&world.cluster, 1)?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let load = Load::start(&world.cluster)?;
    more_rows(&world.cluster, 50).await?;
    let first = world.backup("full")?;
    let earliest_at = now();
    let earliest_lsn = parse_lsn(first["lsn_stop"].as_str().context("lsn_stop")?)?;
    for kind in ["incr", "incr"] {
        more_rows(&world.cluster, 120).await?;
        world.backup(kind)?;
    }
    more_rows(&world.cluster, 120).await?;
    let ledger = clients.stop().await?;
    load.stop()?;
    world.archive_all().await?;
    Ok(Protected { world, ledger, earliest_at, earliest_lsn })
}

async fn exact(major: u16, times: usize, positions: usize) -> Result<()> {
    let mut random = Random::new();
    let Protected { world, ledger, earliest_at, earliest_lsn } = protect(Plan::new(major)).await?;
    let last = ledger.last();
    let mut moments: Vec<Moment> = Vec::new();
    moments.extend((0..times).map(|_| Moment::Time(random.between(earliest_at, last.at))));
    moments.extend((0..positions).map(|_| Moment::Lsn(random.between(earliest_lsn, last.lsn))));
    let (mut before, mut after) = (0, 0);
    for (number, moment) in moments.into_iter().enumerate() {
        let mut copy = match moment {
            Moment::Time(time) => world.restore(&["--at", &time_text(time)]).await?,
            // A position is between two records; PostgreSQL's own reading also takes the record that begins there.
            Moment::Lsn(lsn) => world.restore(&["--lsn", &lsn_text(lsn), "--exclusive"]).await?,
            Moment::Between(..) | Moment::End => unreachable!("not asked for"),
        };
        let (must, must_not) = ledger.judge(&copy, moment).await?;
        before += must;
        after += must_not;
        must_balance(&copy).await?;
        if number == 0 {
            must_be_sound(&mut copy).await?;
        }
    }
    ensure!(before > 0 && after > 0, "nothing was put to the test: {before} before, {after} after");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_on_14() -> Result<()> {
    exact(14, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_on_15() -> Result<()> {
    exact(15, 2, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_on_16() -> Result<()> {
    exact(16, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_on_17() -> Result<()> {
    exact(17, 1, 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn exact_on_18() -> Result<()> {
    exact(18, 2, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_exact_on_14() -> Result<()> {
    exact(14, 2, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_exact_on_15() -> Result<()> {
    exact(15, 10, 10).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_exact_on_16() -> Result<()> {
    exact(16, 2, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_exact_on_17() -> Result<()> {
    exact(17, 2, 2).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_exact_on_18() -> Result<()> {
    exact(18, 10, 10).await
}
