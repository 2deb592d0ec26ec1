//! `wal receive` instead of an archive command: the site burns, and what is in the repository is all there is.

use crate::contents::must_be_sound;
use crate::exactness::more_rows;
use crate::ledger::{Clients, Ledger, Moment, now};
use crate::world::{Background, Plan, World, until};
use anyhow::{Context, Result, ensure};

/// What may be lost: the interval of sending (a second), and once more for the sending itself.
const LOSS_MICROSECONDS: u64 = 2_000_000;

async fn receiving(world: &World) -> Result<Background> {
    let receiver = world.spawn("lifeboat.toml", &["wal", "receive", "shop"])?;
    let ask = "select count(*)::text from pg_replication_slots where active";
    until("the receiver is connected", || async { Ok(world.cluster.sql(ask).await?.as_deref() == Some("1")) })
        .await
        .with_context(|| receiver.log())?;
    Ok(receiver)
}

/// Guards: the unfinished segment is sent about every second, and recovery takes it. Primary and receiver are killed at
/// the same moment, and their disks are gone.
async fn killed_with_its_receiver(major: u16) -> Result<()> {
    let mut world = Plan::new(major).without_archiving().start()?;
    let mut receiver = receiving(&world).await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    more_rows(&world.cluster, 100).await?;
    world.backup("full")?;
    let backed_up = now();
    until("some seconds have passed", || async {
        more_rows(&world.cluster, 50).await?;
        Ok(now() > backed_up + 2 * LOSS_MICROSECONDS)
    })
    .await?;
    world.cluster.kill()?;
    receiver.child.kill()?;
    let killed = now();
    let all = clients.stop().await?;
    // Nothing is left but the repository, the configuration and the passphrase.
    std::fs::rename(world.cluster.data_dir(), world.cluster.directory().join("burnt"))?;
    std::fs::remove_dir_all(world.path("state"))?;

    let mut copy = world.restore(&[]).await?;
    let (old, young): (Vec<_>, Vec<_>) = all
        .entries
        .iter()
        .cloned()
        .partition(|entry| entry.acknowledged.is_some_and(|known| known.at < killed - LOSS_MICROSECONDS));
    let (must, _) = Ledger { entries: old }.judge(&copy, Moment::End).await?;
    ensure!(must > 100 && !young.is_empty(), "nothing was put to the test: {must} old, {} young", young.len());
    must_be_sound(&mut copy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_with_its_receiver_on_15() -> Result<()> {
    killed_with_its_receiver(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_killed_with_its_receiver_on_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        killed_with_its_receiver(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: a receiver that is told to stop stores what it has; the next goes on where it ended, without a gap.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_stopped_and_started_leaves_no_gap() -> Result<()> {
    let world = Plan::new(18).without_archiving().start()?;
    let receiver = receiving(&world).await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    more_rows(&world.cluster, 50).await?;
    world.backup("full")?;
    drop(receiver);
    more_rows(&world.cluster, 200).await?;
    world.cluster.sql("select pg_switch_wal()").await?;
    more_rows(&world.cluster, 200).await?;
    let receiver = receiving(&world).await?;
    more_rows(&world.cluster, 50).await?;
    let ledger = clients.stop().await?;
    let end = world.cluster.sql("select pg_current_wal_insert_lsn()").await?.context("position")?;
    let ask = format!("select coalesce(bool_or(flush_lsn >= '{end}'), false)::text from pg_stat_replication");
    until("the receiver has all", || async { Ok(world.cluster.sql(&ask).await?.as_deref() == Some("true")) })
        .await
        .with_context(|| receiver.log())?;
    drop(receiver);
    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await.map(drop)
}
