//! `lifeboat standby status`: what it says of standbys that lag, are gone, or have lost their log.

use crate::following::{create, has_all, streams};
use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;

fn status(world: &World) -> Result<(Output, Value)> {
    let output = world.lifeboat(&["standby", "status", "shop", "--json"])?;
    let document = output.json()?;
    Ok((output, document))
}

fn kinds(document: &Value) -> Vec<&str> {
    document["findings"].as_array().into_iter().flatten().filter_map(|finding| finding["finding"].as_str()).collect()
}

/// Guards: a standby that holds replay back has lost nothing; one that is gone is missed, and its slot is seen to fill the disk until the
/// primary gives it up.
async fn what_status_says(major: u16) -> Result<()> {
    let world = Plan::new(major).workload("standbys = [\"ohio\"]").start()?;
    world.backup("full")?;
    let (mut standby, _) = create(&world, "ohio", &[])?;
    standby.start()?;
    streams(&standby).await?;
    has_all(&standby, &world.cluster).await?;
    // Until its first answer it looks like a receiver, which replays nothing.
    until("the standby has told how far it is", || async {
        Ok(status(&world)?.1["at_risk"]["loss"] != "nobody_follows")
    })
    .await?;
    let (output, document) = status(&world)?;
    ensure!(output.code == Some(0) && kinds(&document).is_empty(), "{output:?}");
    let table = world.done(&["standby", "status"])?.stdout;
    ensure!(
        table.contains("ohio") && table.contains("lifeboat_ohio") && table.contains("nothing would be lost"),
        "{table}"
    );

    lagging(&world, &standby).await?;
    synchronous(&world).await?;

    standby.stop(Shutdown::Fast)?;
    world.cluster.sql("insert into t select g from generate_series(1, 50000) g").await?;
    let (output, document) = status(&world)?;
    ensure!(output.code == Some(4) && kinds(&document) == ["missing", "slot_unused"], "{output:?}");
    ensure!(document["slots"][0]["keeps_bytes"].as_u64() > Some(1_000_000), "{document}");
    ensure!(document["at_risk"]["loss"] == "nobody_follows", "{document}");

    world.cluster.sql("alter system set max_slot_wal_keep_size = '1MB'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    until("the slot is lost", || async {
        world.cluster.sql("create table if not exists u (); drop table u; select pg_switch_wal(); checkpoint").await?;
        let lost = "select (wal_status = 'lost')::text from pg_replication_slots";
        Ok(world.cluster.sql(lost).await?.as_deref() == Some("true"))
    })
    .await?;
    let (output, document) = status(&world)?;
    ensure!(output.code == Some(4) && kinds(&document) == ["slot_lost", "missing"], "{output:?}");
    ensure!(output.stderr.contains("slot lifeboat_ohio is lost"), "{output:?}");
    Ok(())
}

/// It has everything on its disk and replays none of it.
async fn lagging(world: &World, standby: &TestCluster) -> Result<()> {
    standby.sql("alter system set recovery_min_apply_delay = '1h'").await?;
    standby.sql("select pg_reload_conf()").await?;
    let held = "select current_setting('recovery_min_apply_delay')";
    until("replay is held back", || async { Ok(standby.sql(held).await?.as_deref() == Some("1h")) }).await?;
    world.cluster.sql("create table t as select g from generate_series(1, 50000) g").await?;
    until("status sees that all is there and none is replayed", || async {
        let (output, document) = status(world)?;
        ensure!(output.code == Some(0), "{output:?}");
        let ohio = &document["standbys"][0];
        let at_risk = document["at_risk"]["loss"] == "at_most" && document["at_risk"]["bytes"] == 0;
        Ok(ohio["flushed_behind_bytes"] == 0 && ohio["replayed_behind_bytes"].as_u64() > Some(100_000) && at_risk)
    })
    .await
}

async fn synchronous(world: &World) -> Result<()> {
    world.cluster.sql("alter system set synchronous_standby_names = 'ohio'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    until("it is synchronous", || async {
        let (_, document) = status(world)?;
        let is_safe = document["at_risk"]["loss"] == "nothing_acknowledged";
        Ok(is_safe && document["standbys"][0]["sync_state"] == "sync")
    })
    .await?;
    world.cluster.sql("alter system set synchronous_standby_names = ''").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    let names = "select current_setting('synchronous_standby_names')";
    until("it is asynchronous", || async { Ok(world.cluster.sql(names).await?.as_deref() == Some("")) }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn status_sees_who_lags_who_is_gone_and_what_is_lost_15() -> Result<()> {
    what_status_says(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_status_sees_who_lags_who_is_gone_and_what_is_lost_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        what_status_says(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: a role that may only connect is told so, and isn't taken for a primary without standbys.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_see_nothing_is_told() -> Result<()> {
    let world = Plan::new(15).start()?;
    world.cluster.sql("create role guest login").await?;
    let mut standby = world.cluster.standby(|builder| builder).await?;
    standby.start()?;
    streams(&standby).await?;
    world.configure("lifeboat.toml", |text| text.replace("user=postgres", "user=guest"))?;
    let (output, document) = status(&world)?;
    ensure!(output.code == Some(0) && kinds(&document) == ["hidden"], "{output:?}");
    ensure!(document["at_risk"]["loss"] == "hidden", "{document}");
    Ok(())
}
