//! A recovery point taken from a standby, so that the primary has nothing to do with it.

use crate::contents::must_be_sound;
use crate::exactness::more_rows;
use crate::ledger::{Clients, Moment, lsn_text, parse_lsn};
use crate::random::Random;
use crate::world::{Plan, until};
use anyhow::{Context, Result, ensure};

/// Guards: the control file is copied last, and what the log must hold is counted from the standby's own words; a
/// standby can't close a segment, so the primary's archive is waited for.
async fn from_a_standby(major: u16) -> Result<()> {
    let mut random = Random::new();
    let world = Plan::new(major).start()?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let mut standby = world.cluster.standby(|builder| builder.setting("archive_mode", "off")).await?;
    standby.start()?;
    world.configure("standby.toml", |text| {
        text.replace(&world.cluster.data_dir().display().to_string(), &standby.data_dir().display().to_string())
            .replace(&world.cluster.connection_string(), &standby.connection_string())
            .replace("[workload.shop]", "[workload.shop]\nslot = \"unused\"")
    })?;
    for kind in ["full", "incr"] {
        more_rows(&world.cluster, 100).await?;
        let mut running = world.spawn("standby.toml", &["backup", "shop", "--type", kind, "--json"])?;
        // The log goes on on the primary meanwhile, as it would in life, only faster.
        while running.child.try_wait()?.is_none() {
            world.cluster.sql("select pg_switch_wal()").await?;
            more_rows(&world.cluster, 20).await?;
        }
        running.wait()?;
    }
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    ensure!(points["points"].as_array().is_some_and(|points| points.len() == 2), "{points}");
    more_rows(&world.cluster, 100).await?;
    let ledger = clients.stop().await?;
    world.archive_all().await?;
    let all = points["points"].as_array().context("points")?;
    let stops = all.iter().filter_map(|point| point["lsn_stop"].as_str()).map(parse_lsn).collect::<Result<Vec<_>>>()?;
    let earliest = stops.iter().min().context("a point")?;
    let lsn = random.between(*earliest, ledger.last().lsn);
    let mut copy = world.restore(&["--lsn", &lsn_text(lsn), "--exclusive"]).await?;
    ledger.judge(&copy, Moment::Lsn(lsn)).await?;
    must_be_sound(&mut copy).await?;
    drop(copy);
    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await?;
    until("the standby has all of it", || async {
        let ask = "select count(*)::text from ledger";
        Ok(standby.sql(ask).await? == world.cluster.sql(ask).await?)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_from_a_standby_of_15() -> Result<()> {
    from_a_standby(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_point_from_a_standby_of_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        from_a_standby(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}
