//! The other kinds of target: a transaction, a named point, the recovery point itself, the latest; and what can't be
//! reached, which is refused before anything is written.

use crate::exactness::{Protected, more_rows, protect};
use crate::ledger::{Clients, Moment, lsn_text, now, parse_lsn, time_text};
use crate::load::must_balance;
use crate::random::Random;
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;

async fn every_kind(major: u16) -> Result<()> {
    let mut random = Random::new();
    let Protected { world, ledger, earliest_lsn, .. } = protect(Plan::new(major)).await?;

    let candidates: Vec<_> = ledger.entries.iter().filter(|entry| entry.sent_lsn > earliest_lsn).collect();
    let chosen = candidates[usize::try_from(random.next())? % candidates.len()];
    let committed = chosen.acknowledged.context("was acknowledged")?.lsn;
    let xid = chosen.xid.to_string();
    let copy = world.restore(&["--xid", &xid]).await?;
    // Up to and including this transaction, whose commit lies between these two.
    ledger.judge(&copy, Moment::Between(chosen.sent_lsn, committed)).await?;
    let ask =
        format!("select count(*)::text from ledger where client = {} and number = {}", chosen.client, chosen.number);
    ensure!(copy.sql(&ask).await?.as_deref() == Some("1"), "transaction {xid} is not in its own copy");
    drop(copy);
    let copy = world.restore(&["--xid", &xid, "--exclusive"]).await?;
    ledger.judge(&copy, Moment::Between(chosen.sent_lsn, committed)).await?;
    ensure!(copy.sql(&ask).await?.as_deref() == Some("0"), "transaction {xid} is in the copy from just before it");
    drop(copy);

    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await?;
    must_balance(&copy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_target_on_15() -> Result<()> {
    every_kind(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_every_kind_of_target_on_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        every_kind(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_point_and_the_recovery_point_itself() -> Result<()> {
    let world = Plan::new(18).start()?;
    let clients = Clients::start(&world.cluster, 2).await?;
    more_rows(&world.cluster, 50).await?;
    let point = world.backup("full")?;
    more_rows(&world.cluster, 50).await?;
    let named = world.cluster.sql("select pg_create_restore_point('before the migration')").await?;
    let named = parse_lsn(&named.context("the position of the restore point")?)?;
    more_rows(&world.cluster, 50).await?;
    let ledger = clients.stop().await?;
    world.archive_all().await?;

    let copy = world.restore(&["--name", "before the migration"]).await?;
    let (_, after) = ledger.judge(&copy, Moment::Lsn(named)).await?;
    ensure!(after > 0, "nothing came after the named point");
    drop(copy);

    let id = point["point"].as_str().context("id")?;
    let copy = world.restore(&["--immediate", "--point", id]).await?;
    let consistent = parse_lsn(point["lsn_stop"].as_str().context("lsn_stop")?)?;
    let (_, after) = ledger.judge(&copy, Moment::Lsn(consistent)).await?;
    ensure!(after > 0, "nothing came after the recovery point");
    Ok(())
}

/// Restores to `target` must fail with `code`, and leave nothing.
fn refused(world: &World, target: &[&str], code: i32) -> Result<()> {
    let to = world.path("refused");
    let to_text = to.display().to_string();
    let mut arguments = vec!["restore", "shop", "--to", &to_text];
    arguments.extend(target);
    let output = world.lifeboat(&arguments)?;
    ensure!(output.code == Some(code), "{target:?} gave {output:?}");
    ensure!(output.stderr.contains("hint:"), "{target:?} is refused without a hint: {output:?}");
    ensure!(!to.exists(), "{target:?} was refused, and yet {to_text} was made");
    Ok(())
}

/// Guards: targets before the first consistent moment or after the end of the log are refused by the plan.
#[tokio::test(flavor = "multi_thread")]
async fn what_cant_be_reached_is_refused_before_anything_is_written() -> Result<()> {
    let world = Plan::new(15).start()?;
    let before = now();
    world.cluster.sql("create table t as select 1 as x").await?;
    let point = world.backup("full")?;
    world.cluster.sql("insert into t values (2)").await?;
    world.archive_all().await?;
    refused(&world, &["--at", &time_text(before)], 3)?;
    refused(&world, &["--at", &time_text(now() + 3_600_000_000)], 3)?;
    refused(&world, &["--lsn", "0/100"], 3)?;
    let end = parse_lsn(point["lsn_stop"].as_str().context("lsn_stop")?)?;
    refused(&world, &["--lsn", &lsn_text(end + (1 << 32))], 3)?;
    refused(&world, &["--xid", "4000000"], 3)?;
    refused(&world, &["--name", "never made"], 3)?;
    refused(&world, &["--timeline", "7"], 3)?;
    refused(&world, &["--point", "20260101T000000Z-00000000"], 3)?;
    refused(&world, &["--at", "2026-11-21 14:03:05"], 2)?;
    let works: TestCluster = world.restore(&[]).await?;
    ensure!(
        works.sql("select count(*)::text from t").await?.as_deref() == Some("2"),
        "the way back doesn't work at all"
    );
    Ok(())
}
