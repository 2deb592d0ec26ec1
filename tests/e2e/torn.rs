//! A page that is written while it is read.
//!
//! Torn reads are rare by nature, so this one is made: a thread writes the two halves of a page in turns, as fast as it
//! can, during the whole backup. The server has the page's full image in its log (it was changed after the backup began)
//! and the page itself in memory, so the original doesn't suffer.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, until};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

const PAGE_BYTES: usize = 8192;

/// Tears the first page of a file until told to stop; then puts back what was there.
fn tear(path: &Path, stop: Arc<AtomicBool>) -> Result<JoinHandle<Result<u64>>> {
    let file = File::options().read(true).write(true).open(path).context("open the relation")?;
    Ok(std::thread::spawn(move || {
        let mut page = vec![0; PAGE_BYTES];
        file.read_exact_at(&mut page, 0)?;
        let half = PAGE_BYTES as u64 / 2;
        let sound = page[PAGE_BYTES / 2..].to_vec();
        let mut written = 0;
        while !stop.load(Ordering::Relaxed) {
            written += 1;
            // Rows of another time: never what was there, never the same twice running.
            let other: Vec<u8> = sound.iter().map(|byte| byte ^ (1 + (written % 250) as u8)).collect();
            file.write_all_at(&other, half)?;
            std::thread::yield_now();
        }
        file.write_all_at(&sound, half)?;
        Ok(written)
    }))
}

/// Guards: a page whose checksum is wrong is read again before it is called damaged, and one that changed meanwhile is
/// left to replay.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_page_is_no_damage_and_comes_back_whole() -> Result<()> {
    let world = Plan::new(15)
        .cluster(|builder| builder.setting("bgwriter_lru_maxpages", 0).setting("checkpoint_timeout", "1h"))
        .workload("max_rate = \"6MB\"")
        .workload("workers = 1")
        .start()?;
    let make = "create table t (a int, b text) with (fillfactor = 50); \
        insert into t select g, repeat('x', 100) from generate_series(1, 200) g; checkpoint";
    world.cluster.sql(make).await?;
    let path = world.cluster.sql("select pg_relation_filepath('t')").await?.context("path")?;
    let path = world.cluster.data_dir().join(path);
    let ask = "select redo_lsn::text from pg_control_checkpoint()";
    let begun = world.cluster.sql(ask).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut running = world.spawn("lifeboat.toml", &["backup", "shop"])?;
    until("the backup has begun", || async { Ok(world.cluster.sql(ask).await? != begun) }).await?;
    // Into the log whole, as the first change of each page after the checkpoint.
    world.cluster.sql("update t set b = repeat('y', 100)").await?;
    let tearing = tear(&path, stop.clone())?;
    let ended = running.wait();
    stop.store(true, Ordering::Relaxed);
    let torn = tearing.join().map_err(|_| anyhow::anyhow!("the tearing thread failed"))??;
    ended?;
    ensure!(torn > 100, "the page was torn only {torn} times");
    let points = world.done(&["points", "--json"])?.json()?;
    ensure!(points["points"][0]["pages_bad"] == 0, "a torn page is called damaged: {points}");
    let expected = Contents::of(&world.cluster).await?;
    world.archive_all().await?;
    let mut copy = world.restore(&[]).await?;
    Contents::of(&copy).await?.must_be(&expected)?;
    must_be_sound(&mut copy).await
}
