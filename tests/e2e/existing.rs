//! Restoring to a place where something is already.

use crate::contents::{Contents, must_be_sound};
use crate::world::{Plan, World, start_to_the_end, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Guards: over an older copy only what differs is written, and what doesn't belong is removed; a block is right when
/// its content is.
#[tokio::test(flavor = "multi_thread")]
async fn over_the_same_cluster_only_what_differs_is_written() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    let make = "create table big as select g, md5(g::text) as b from generate_series(1, 200000) g; \
        create table small as select 1 as x";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.cluster.sql("update big set b = 'changed' where g % 50000 = 0; drop table small; checkpoint").await?;
    world.cluster.sql("create table wrong as select g from generate_series(1, 1000) g").await?;
    let point = world.backup("incr")?;
    let expected = Contents::of(&world.cluster).await?;

    // The accident, after the last good point, and on the very machine.
    world.cluster.sql("delete from big where g % 2 = 0; create table accident as select 1 as x; checkpoint").await?;
    let stray = world.cluster.sql("select pg_relation_filepath('accident')").await?.context("path")?;
    let data = world.cluster.data_dir().display().to_string();
    let arguments = ["restore", "shop", "--to", &data, "--immediate", "--json"];
    let output = world.lifeboat(&arguments)?;
    ensure!(output.code.is_some_and(|code| code != 0), "a running server was written over: {output:?}");
    world.cluster.stop(Shutdown::Fast)?;
    let id = point["point"].as_str().context("id")?;
    let report = world.done(&[&arguments[..], &["--point", id]].concat())?.json()?;
    let (all, written) =
        (report["bytes"].as_u64().context("bytes")?, report["bytes_written"].as_u64().context("bytes_written")?);
    ensure!(written > 0 && written < all * 3 / 4, "{written} of {all} bytes were written");
    ensure!(!world.cluster.data_dir().join(&stray).exists(), "the file of a table that the point doesn't have stayed");
    start_to_the_end(&mut world.cluster).await?;
    Contents::of(&world.cluster).await?.must_be(&expected)?;
    must_be_sound(&mut world.cluster).await?;

    // Once more: now nearly all is right.
    world.cluster.stop(Shutdown::Fast)?;
    let report = world.done(&[&arguments[..], &["--point", id]].concat())?.json()?;
    let written = report["bytes_written"].as_u64().context("bytes_written")?;
    ensure!(written < all / 4, "{written} of {all} bytes were written although nothing had happened");
    Ok(())
}

/// Guards: where the point has nothing but zeros, nothing stays of what an older copy has there.
#[tokio::test(flavor = "multi_thread")]
async fn zeros_take_the_place_of_what_is_there() -> Result<()> {
    const PAGE_BYTES: usize = 8192;
    let mut world = Plan::new(15).start()?;
    world.cluster.sql("create table long as select g, md5(g::text) as b from generate_series(1, 40000) g").await?;
    world.cluster.sql("create table short as select g from generate_series(1, 1000) g").await?;
    let mut paths = Vec::new();
    for table in ["long", "short"] {
        let path = world.cluster.sql(&format!("select pg_relation_filepath('{table}')")).await?.context("path")?;
        paths.push(world.cluster.data_dir().join(path));
    }
    world.cluster.stop(Shutdown::Fast)?;
    // As a crash leaves a table: longer by pages that nobody has written.
    let zeros = vec![0; 40 * PAGE_BYTES];
    let change = |with: &dyn Fn(&[u8]) -> Vec<u8>| -> Result<()> {
        for path in &paths {
            let before = fs::read(path)?;
            fs::write(path, with(&before))?;
        }
        Ok(())
    };
    change(&|before| [before, &zeros].concat())?;
    world.cluster.start()?;
    world.backup("full")?;
    let expected = Contents::of(&world.cluster).await?;
    world.cluster.stop(Shutdown::Fast)?;
    // Good pages with rows, where none were.
    change(&|before| [&before[..before.len() - zeros.len()], &before[..PAGE_BYTES].repeat(40)].concat())?;
    world.done(&["restore", "shop", "--to", &world.cluster.data_dir().display().to_string(), "--immediate"])?;
    for path in &paths {
        ensure!(fs::read(path)?.ends_with(&zeros), "something stayed in {}", path.display());
    }
    start_to_the_end(&mut world.cluster).await?;
    Contents::of(&world.cluster).await?.must_be(&expected)?;
    must_be_sound(&mut world.cluster).await
}

/// Every file below a directory with its content.
fn snapshot(directory: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(snapshot(&path)?);
        } else {
            found.insert(path.clone(), fs::read(&path)?);
        }
    }
    Ok(found)
}

fn untouched(world: &World, directory: &Path) -> Result<()> {
    let before = snapshot(directory)?;
    let to = directory.display().to_string();
    let output = world.lifeboat(&["restore", "shop", "--to", &to])?;
    ensure!(output.code.is_some_and(|code| code != 0), "{to} was written over: {output:?}");
    ensure!(output.stderr.contains("not empty") && output.stderr.contains("hint:"), "{output:?}");
    ensure!(snapshot(directory)? == before, "refused, and yet something in {to} changed");
    Ok(())
}

/// Guards: a directory that is neither empty nor an older copy of this very cluster is not touched.
#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_directory_is_refused() -> Result<()> {
    let world = Plan::new(15).start()?;
    world.backup("full")?;
    let precious = world.make_directory("precious")?;
    fs::write(precious.join("thesis.txt"), "ten years")?;
    world.cluster.give_to_server(&precious)?;
    untouched(&world, &precious)?;
    // Another cluster of the same version, stopped.
    let other = TestCluster::builder(15).create()?;
    untouched(&world, &other.data_dir())
}

/// Guards: after a new `initdb` under an old name every backup is refused and the log piles up; `check` says so before.
#[tokio::test(flavor = "multi_thread")]
async fn check_tells_that_the_name_belongs_to_another_cluster() -> Result<()> {
    let world = Plan::new(15).start()?;
    world.backup("full")?;
    let program = format!("{0}/lifeboat --config {0}/other.toml wal push %p", world.path("").display());
    let other = TestCluster::builder(15).archive_command(&program).start()?;
    world.configure("other.toml", |text| {
        text.replace(&world.cluster.data_dir().display().to_string(), &other.data_dir().display().to_string())
            .replace(&world.cluster.connection_string(), &other.connection_string())
    })?;
    let output = world.command("other.toml").args(["check", "--json"]).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(4) && said.contains("holds what cluster"), "{output:?}");
    // The first cluster is well.
    world.done(&["check"]).map(drop)
}

/// Guards: whoever interrupts a rehearsal leaves no server and no copy of the data behind.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_rehearsal_leaves_nothing() -> Result<()> {
    let world = Plan::new(15).workload("check = [\"select pg_sleep(60) is null\"]").start()?;
    world.backup("full")?;
    let scratch = world.make_directory("scratch")?;
    let mut command = world.command("lifeboat.toml");
    command.args(["verify", "shop", "--boot", "--json", "--quiet"]).env("TMPDIR", &scratch);
    let mut running = command.stdout(std::process::Stdio::piped()).spawn()?;
    until("its server runs", || async {
        let rooms: Vec<PathBuf> = fs::read_dir(&scratch)?.map(|item| Ok(item?.path())).collect::<Result<_>>()?;
        Ok(rooms.iter().any(|room| room.join("data/postmaster.pid").exists()))
    })
    .await?;
    let id = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    let status = running.wait()?;
    let mut said = String::new();
    std::io::Read::read_to_string(&mut running.stdout.take().context("stdout")?, &mut said)?;
    ensure!(status.code() == Some(5), "{status}: {said}");
    let document: serde_json::Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    ensure!(document.to_string().contains("interrupted"), "{document}");
    ensure!(fs::read_dir(&scratch)?.next().is_none(), "something is left in {}", scratch.display());
    Ok(())
}
