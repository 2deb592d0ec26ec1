//! What an instant restore tells when it can't go on, and what becomes of one whose process is gone.

use crate::awkward::Mounted;
use crate::bucket::Bucket;
use crate::served::{as_ourselves, ends_with, stop_server};
use crate::serving::Served;
use crate::world::{Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::servers::Mode;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A shop that was lost, of some forty megabytes that can't be squeezed.
async fn shop() -> Result<World> {
    let mut world = Plan::new(15).cluster(|cluster| cluster.setting("fsync", "on")).start()?;
    let make = "create table orders as select g as n, (select string_agg(md5((g * 16 + part)::text), '') from generate_series(1, 10) part) as t \
        from generate_series(1, 60000) g";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.archive_all().await?;
    world.cluster.stop(Shutdown::Fast)?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("fast.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    Ok(world)
}

/// Its bucket, from which it comes so slowly that nearly everything is still to come.
fn slow_bucket(world: &World) -> Result<Bucket> {
    let bucket = Bucket::new(2)?;
    bucket.configure(world, "bucket.toml", "locations = [\"bucket\", \"local\"]")?;
    bucket.fill(world, "bucket.toml")?;
    bucket.proxy.set(Mode::Slow(300));
    Ok(bucket)
}

/// `restore finish`, and what it says.
struct Finishing<'a> {
    child: Child,
    world: &'a World,
}

impl<'a> Finishing<'a> {
    fn begin(world: &'a World, to: &Path, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(world.path("lifeboat"));
        command.arg("--config").arg(world.path("fast.toml")).args(["restore", "finish"]).arg(to).args(more);
        command.stdin(Stdio::null()).stdout(File::create(world.path("finish.out"))?);
        let child = command.stderr(File::create(world.path("finish.err"))?).spawn()?;
        Ok(Self { child, world })
    }

    fn said(&self) -> String {
        fs::read_to_string(self.world.path("finish.err")).unwrap_or_default()
    }

    async fn until_it_says(&mut self, words: &str) -> Result<()> {
        until(&format!("it says {words:?}"), || async { Ok(self.said().contains(words)) })
            .await
            .with_context(|| self.said())
    }

    /// Ctrl-C, and what it leaves on stdout.
    fn interrupt(mut self) -> Result<String> {
        kill_process(Pid::from_child(&self.child), Signal::INT)?;
        let status = self.child.wait()?;
        ensure!(status.code() == Some(5), "{status}: {}", self.said());
        Ok(fs::read_to_string(self.world.path("finish.out"))?)
    }
}

impl Drop for Finishing<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn status(world: &World, to: &Path, more: &[&str]) -> Result<crate::world::Output> {
    let there = to.display().to_string();
    ends_with(as_ourselves(world, "fast.toml", &[&["restore", "status", &there], more].concat())?, 0)
}

/// What is told while `words` are in the way, by everybody who tells.
async fn is_told(world: &World, to: &Path, words: &str, hint: &str) -> Result<()> {
    until("it is known", || async {
        let told = status(world, to, &["--json"])?.json()?;
        Ok(told["restores"][0]["status"]["problem"].as_str().is_some_and(|problem| problem.contains(words)))
    })
    .await
    .with_context(|| format!("{:?}", status(world, to, &["--json"])))?;
    let mut finishing = Finishing::begin(world, to, &[])?;
    finishing.until_it_says(&format!("{} waits", to.display())).await?;
    finishing.until_it_says(hint).await?;
    ensure!(finishing.said().contains(words) && finishing.said().contains("(since "), "{}", finishing.said());

    let told = status(world, to, &["--json"])?.json()?;
    let told = &told["restores"][0]["status"];
    ensure!(told["bytes_per_second"] == 0 && told["seconds_left"].is_null(), "nothing comes: {told}");
    ensure!(
        told["problem_since"].is_string() && told["problem_hint"].as_str().is_some_and(|it| it.contains(hint)),
        "{told}"
    );
    let told = status(world, to, &[])?.stdout;
    ensure!(!told.contains("B/s") && told.contains("in the way:") && told.contains(hint), "{told}");
    let checked = as_ourselves(world, "fast.toml", &["check", "--quiet"])?.stdout;
    let ours: Vec<&str> = checked.lines().filter(|line| line.contains(&to.display().to_string())).collect();
    ensure!(ours.iter().any(|line| line.contains("nothing comes")) && !ours.concat().contains("B/s"), "{checked}");

    let said = finishing.said();
    finishing.interrupt()?;
    ensure!(!said.contains("interrupted"), "{said}");
    let said = fs::read_to_string(world.path("finish.err"))?;
    ensure!(said.contains("interrupted: it finishes by itself") && said.contains("restore stop"), "{said}");
    let mut finishing = Finishing::begin(world, to, &["--json"])?;
    finishing.until_it_says("waits").await?;
    let document: serde_json::Value = serde_json::from_str(&finishing.interrupt()?)?;
    ensure!(document["is_interrupted"] == true && document["is_whole"] == false, "{document}");
    ensure!(document["problem"].as_str().is_some_and(|problem| problem.contains(words)), "{document}");
    ensure!(document["problem_since"].is_string() && document["problem_hint"].is_string(), "{document}");
    Ok(())
}

/// What was in the way is gone while somebody waits: he is told, and gets what he waited for.
async fn heals(world: &World, to: &Path, heal: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut finishing = Finishing::begin(world, to, &[])?;
    finishing.until_it_says("waits").await?;
    heal()?;
    finishing.until_it_says("it goes on").await?;
    let ended = finishing.child.wait()?;
    ensure!(ended.success(), "{ended}: {}", finishing.said());
    ensure!(to.join("global/pg_control").exists() && !to.join(".lifeboat-mount").exists());
    until("it answers", || async { Ok(world.cluster.sql("select 1").await.is_ok()) }).await?;
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("60000"));
    stop_server(world, to)
}

/// No location answers any more, for as long as it takes.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_that_the_location_is_away() -> Result<()> {
    let world = shop().await?;
    let (to, bucket) = (world.make_directory("there")?, slow_bucket(&world)?);
    let mut served = Served::start_with(&world, "bucket.toml", &to, &["--start", "--from", "bucket"])?;
    served.until_it_says("the first query was answered").await?;
    bucket.proxy.set(Mode::Reset);
    is_told(&world, &to, "base/", "see that a location that has it answers").await?;
    served.until_it_says(" of base/").await?;
    ensure!(!served.said().contains("of file "), "which file is said by its path: {}", served.said());
    heals(&world, &to, || {
        bucket.proxy.set(Mode::Pass);
        Ok(())
    })
    .await
}

/// Takes all room of a file system.
fn fill(path: &Path) -> Result<()> {
    let mut ballast = File::create(path)?;
    for bytes in [1 << 20, 64 << 10, 4096] {
        while ballast.write_all(&vec![7; bytes]).is_ok() {}
    }
    Ok(())
}

/// The disk here is full: that is no location's fault.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_told_that_the_disk_is_full() -> Result<()> {
    let world = shop().await?;
    if world.cluster.account().is_none() {
        // Only root may mount here.
        return Ok(());
    }
    let volume = world.make_directory("volume")?;
    let _volume = Mounted::tmpfs(&volume, "size=140m,mode=755")?;
    let to = world.make_directory("volume/data")?;
    let bucket = slow_bucket(&world)?;
    let mut served = Served::start_with(&world, "bucket.toml", &to, &["--start", "--from", "bucket"])?;
    served.until_it_says("the first query was answered").await?;
    let ballast = volume.join("ballast");
    fill(&ballast)?;
    bucket.proxy.set(Mode::Pass);
    is_told(&world, &to, "No space left on device", "make room on the disk of").await?;
    heals(&world, &to, || Ok(fs::remove_file(&ballast)?)).await
}

/// The process that served is killed; its server, and its mount, are left.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_program_left_is_stopped_and_goes_on() -> Result<()> {
    let world = shop().await?;
    let to = world.make_directory("there")?;
    let there = to.display().to_string();
    let mut served = Served::start_with(&world, "fast.toml", &to, &["--start"])?;
    served.until_it_says("the first query was answered").await?;
    world.cluster.sql("create table ledger as select 7 as n").await?;
    served.kill_alone()?;
    let servers = || -> Result<usize> {
        let lines = fs::read_dir("/proc")?.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
        Ok(lines.filter(|line| String::from_utf8_lossy(line).contains(&format!("-D\0{there}\0"))).count())
    };
    ensure!(servers()? == 1, "a server without its files is left");
    let stop = |more: &[&str]| as_ourselves(&world, "fast.toml", &[&["restore", "stop", &there], more].concat());
    let stopped = ends_with(stop(&[])?, 0)?;
    ensure!(stopped.stdout.contains("server") && stopped.stdout.contains("mounted"), "{stopped:?}");
    ensure!(servers()? == 0 && !fs::read_to_string("/proc/self/mountinfo")?.contains(&there), "{stopped:?}");
    let again = ends_with(stop(&[])?, 3)?;
    ensure!(again.stderr.contains("nothing is to be stopped"), "{again:?}");

    // Nothing is mounted, and nobody names it: it is told of all the same.
    let all = ends_with(as_ourselves(&world, "fast.toml", &["restore", "status"])?, 4)?;
    ensure!(all.stdout.contains(&format!("{there}: begun, and nobody serves it")), "{all:?}");
    let all = ends_with(as_ourselves(&world, "fast.toml", &["restore", "status", "--json"])?, 4)?.json()?;
    let begun = all["restores"].as_array().context("restores")?.iter().find(|restore| restore["to"] == there.as_str());
    ensure!(begun.is_some_and(|begun| begun["state"] == "begun"), "{all}");

    let copied = ends_with(as_ourselves(&world, "fast.toml", &["restore", "shop", "--to", &there])?, 2)?;
    ensure!(copied.stderr.contains("an instant restore was begun in"), "{copied:?}");

    let mut served = Served::start_with(&world, "fast.toml", &to, &["--start"])?;
    served.until_it_says("the first query was answered").await?;
    ensure!(world.cluster.sql("select n from ledger").await?.as_deref() == Some("7"), "it was acknowledged");
    served.until_it_says("everything is here").await?;
    drop(served);
    for command in ["finish", "stop", "status"] {
        let finished = ends_with(as_ourselves(&world, "fast.toml", &["restore", command, &there])?, 3)?;
        ensure!(finished.stderr.contains("ordinary data directory"), "{finished:?}");
    }
    let all = as_ourselves(&world, "fast.toml", &["restore", "status"])?;
    ensure!(!all.stdout.contains(&there), "it is whole: {all:?}");
    Ok(())
}

/// Whoever opens the past and doesn't want to wait is told that nothing is left of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_open_that_is_interrupted_says_so_and_leaves_nothing() -> Result<()> {
    let world = shop().await?;
    let name = format!("told-{}", std::process::id());
    let mut command = Command::new(world.path("lifeboat"));
    command.arg("--config").arg(world.path("fast.toml")).args(["open", "shop", "--as", &name]);
    let said = world.path("open.err");
    let mut opening = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said)?).spawn()?;
    until("it begins", || async { Ok(fs::read_to_string(&said)?.contains("it goes on without this terminal")) })
        .await?;
    kill_process(Pid::from_child(&opening), Signal::INT)?;
    let ended = opening.wait()?;
    let said = fs::read_to_string(&said)?;
    ensure!(ended.code() == Some(5) && said.contains("interrupted before it answered"), "{ended}: {said}");
    let place = format!("/var/tmp/lifeboat-{}/{name}", rustix::process::geteuid().as_raw());
    ensure!(!Path::new(&place).exists() && !Path::new(&format!("{place}.lock")).exists(), "{place} is left: {said}");
    ensure!(!fs::read_to_string("/proc/self/mountinfo")?.contains(&name), "{said}");
    Ok(())
}
