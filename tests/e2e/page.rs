//! A page that is damaged on disk: told with its relation and block, and no reason to throw the copy away.

use crate::world::Plan;
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use std::fs::File;
use std::os::unix::fs::FileExt;

const PAGE_BYTES: u64 = 8192;
const DAMAGED: u64 = 3;

/// Guards: every page's checksum is looked at while it is copied; damage is told, marked, and kept apart from failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_checksum_is_told_and_the_point_is_kept_and_marked() -> Result<()> {
    let mut world = Plan::new(18).start()?;
    let make = "create table t as select g as a, repeat('x', 500) as b from generate_series(1, 2000) g; \
        create table sound as select 1 as x; checkpoint";
    world.cluster.sql(make).await?;
    let path = world.cluster.sql("select pg_relation_filepath('t')").await?.context("path")?;
    world.cluster.stop(Shutdown::Fast)?;
    let file = File::options().read(true).write(true).open(world.cluster.data_dir().join(&path))?;
    let at = DAMAGED * PAGE_BYTES + 4000;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)?;
    file.write_all_at(&[byte[0] ^ 1], at)?;
    world.cluster.start()?;

    for kind in ["full", "incr"] {
        let output = world.lifeboat(&["backup", "shop", "--type", kind])?;
        ensure!(output.code == Some(4), "{kind}: {output:?}");
        let told = format!("{path}: damaged page, block {DAMAGED}");
        ensure!(output.stderr.contains(&told), "{kind}: nothing of \"{told}\" in {output:?}");
        ensure!(output.stderr.contains("1 damaged page"), "{kind}: other pages are called damaged, too: {output:?}");
    }
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    let points = points["points"].as_array().context("points")?;
    ensure!(points.len() == 2, "the points were not kept: {points:?}");
    ensure!(points.iter().all(|point| point["pages_bad"] == 1), "the points are not marked: {points:?}");

    // A script gets one document, and the same exit code.
    let output = world.lifeboat(&["backup", "shop", "--json"])?;
    ensure!(output.code == Some(4), "{output:?}");
    output.json()?;

    let copy = world.restore(&["--immediate"]).await?;
    ensure!(copy.sql("select x::text from sound").await?.as_deref() == Some("1"), "the sound table is gone");
    let damaged = copy.sql("select count(b) from t").await;
    ensure!(damaged.is_err(), "the damage is not in the copy: something repaired it, or the test damaged nothing");
    Ok(())
}
