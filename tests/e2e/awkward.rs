//! Instant restores where they can't be, or where one is, or was: each is refused in words that help, and what is told to be typed works.

use crate::served::{as_ourselves, ends_with};
use crate::serving::Served;
use crate::world::{Plan, World, until};
use anyhow::{Result, ensure};
use lifeboat_components::postgres::Shutdown;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

struct Shop(World);

impl Shop {
    async fn new() -> Result<Self> {
        let mut world = Plan::new(15).workload("keep = { last = 1 }").start()?;
        world
            .cluster
            .sql("create table orders as select g as n, md5(g::text) from generate_series(1, 50000) g")
            .await?;
        world.backup("full")?;
        world.archive_all().await?;
        world.cluster.stop(Shutdown::Fast)?;
        let programs = world.cluster.programs().display().to_string();
        world.configure("instant.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
        Ok(Self(world))
    }

    fn must_say(&self, arguments: &[&str], code: i32, words: &str) -> Result<()> {
        let said = ends_with(as_ourselves(&self.0, "instant.toml", arguments)?, code)?;
        ensure!(said.stderr.contains(words) || said.stdout.contains(words), "not {words:?}: {said:?}");
        Ok(())
    }

    fn restore(&self, to: &Path, more: &[&str], code: i32, words: &str) -> Result<()> {
        let to = to.display().to_string();
        self.must_say(&[&["restore", "shop", "--instant", "--to", &to], more].concat(), code, words)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_the_way_of_an_instant_restore_is_said() -> Result<()> {
    let shop = Shop::new().await?;
    let world = &shop.0;
    let full = world.make_directory("full")?;
    fs::write(full.join("precious"), "mine")?;
    shop.restore(&full, &["--start"], 2, "not empty")?;
    ensure!(fs::read_to_string(full.join("precious"))? == "mine" && fs::read_dir(&full)?.count() == 1);

    let there = world.make_directory("there")?;
    shop.restore(&there, &["--start", "--at", "2020-01-01T00:00:00Z"], 3, "cannot be restored")?;
    ensure!(fs::read_dir(&there)?.count() == 0, "nothing was made");
    for (command, code, words) in
        [("status", 3, "not being restored instantly"), ("finish", 3, "not being"), ("stop", 3, "not being")]
    {
        shop.must_say(&["restore", command, &there.display().to_string()], code, words)?;
    }

    let mut served = Served::start(world, &there)?;
    served.until_it_says("the first query was answered").await?;
    shop.restore(&there, &["--start"], 7, "restore status")?;
    let inside = there.join("inside");
    let nested =
        as_ourselves(world, "instant.toml", &["restore", "shop", "--instant", "--to", &inside.display().to_string()])?;
    ensure!(nested.code != Some(0) && !nested.stderr.contains("panicked"), "inside another one: {nested:?}");
    eprintln!(
        "inside another one: {:?} {}",
        nested.code,
        nested
            .stderr
            .lines()
            .filter(|line| line.contains("error") || line.contains("hint"))
            .collect::<Vec<_>>()
            .join(" | ")
    );
    let second = as_ourselves(world, "instant.toml", &["prune", "--json"])?;
    ensure!(second.code == Some(0), "{second:?}");

    served.kill_alone()?;
    let path = there.display().to_string();
    shop.must_say(&["check", "--quiet"], 4, &format!("lifeboat restore stop {path}"))?;
    shop.must_say(&["restore", "status", &path], 4, "its mount is left")?;
    shop.must_say(&["restore", "finish", &path], 3, "nobody serves")?;
    ensure!(
        std::process::Command::new("umount").arg("-l").arg(&there).status()?.success(),
        "below a server that lost its files"
    );
    // That server is there still, and in nobody's way.
    let mut served = Served::start(world, &there)?;
    served.until_it_says("everything is here").await?;
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("50000"));
    drop(served);
    shop.must_say(&["restore", "status", &path], 3, "not being restored instantly")?;
    shop.restore(&there, &["--start"], 2, "holds a copy of this cluster")
}

/// Takes a file system away that a test mounted.
pub struct Mounted(PathBuf);

impl Mounted {
    pub fn tmpfs(at: &Path, size: &str) -> Result<Self> {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", size, "lifeboat-e2e"]).arg(at).status()?;
        ensure!(status.success(), "mount a tmpfs over {}", at.display());
        Ok(Self(at.to_path_buf()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A volume of its own, empty, as most have it: too small, and large enough.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_volume_takes_an_instant_restore_or_says_that_it_is_full() -> Result<()> {
    let shop = Shop::new().await?;
    let world = &shop.0;
    if world.cluster.account().is_none() {
        // Only root may mount here, and without the right to, that is said: see `served.rs`.
        return Ok(());
    }
    let volume = world.make_directory("volume")?;
    let small = Mounted::tmpfs(&volume, "size=48k,mode=700")?;
    shop.restore(&volume, &["--start"], 5, "No space left on device")?;
    let points = as_ourselves(world, "instant.toml", &["points", "--json"])?;
    ensure!(!points.stdout.contains("instant restore"), "nobody holds the point any more: {points:?}");
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(mounts.matches(&volume.display().to_string()).count() == 1, "only the volume is mounted there: {mounts}");
    drop(small);
    let _large = Mounted::tmpfs(&volume, "size=300m,mode=700")?;
    let mut served = Served::start(world, &volume)?;
    served.until_it_says("everything is here").await?;
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("50000"));
    drop(served);
    ensure!(volume.join("global/pg_control").exists() && !volume.join(".lifeboat-mount").exists());
    Ok(())
}

/// Somebody stands in it: it is not taken away below him, and that is said.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_in_use_is_taken_away_when_nobody_uses_it() -> Result<()> {
    let shop = Shop::new().await?;
    let world = &shop.0;
    let there = world.make_directory("there")?;
    let mut served = Served::start(world, &there)?;
    served.until_it_says("the first query was answered").await?;
    let mut somebody = Command::new("sleep").arg("600").current_dir(&there).spawn()?;
    let path = there.display().to_string();
    let mut stopping = Command::new(world.path("lifeboat"));
    stopping.arg("--config").arg(world.path("instant.toml")).args(["restore", "stop", &path]);
    let told = world.path("stop.err");
    let mut stopping = stopping.stdin(Stdio::null()).stdout(Stdio::null()).stderr(fs::File::create(&told)?).spawn()?;
    let mut said = served.until_it_says("is in use").await;
    if said.is_ok() {
        // Whoever waits for it is told, too.
        let is_told = || async { Ok(fs::read_to_string(&told)?.contains(&format!("{path} is in use"))) };
        said = until("it says for what it waits", is_told).await;
    }
    let waits = fs::read_dir(&there)?.next().is_some();
    somebody.kill()?;
    somebody.wait()?;
    said?;
    ensure!(waits, "it is served on meanwhile");
    ensure!(stopping.wait()?.success());
    served.until_it_says("are still to come").await?;
    shop.must_say(&["restore", "status", &path], 4, "nobody serves it")
}

/// Without the device, or without the right to mount: that is said before anything is made.
#[tokio::test(flavor = "multi_thread")]
async fn where_there_is_no_fuse_that_is_said() -> Result<()> {
    let shop = Shop::new().await?;
    let world = &shop.0;
    if world.cluster.account().is_none() {
        return Ok(());
    }
    let devices = world.make_directory("devices")?;
    let there = world.path("there");
    let program = format!(
        "{} --config {} restore shop --instant --start --to {}",
        world.path("lifeboat").display(),
        world.path("instant.toml").display(),
        there.display()
    );
    // Other devices, of this process only.
    let without_device = format!(
        "mount -t tmpfs none {0} && for name in null zero random urandom tty; do touch {0}/$name && mount --bind /dev/$name {0}/$name; done \
         && mkdir {0}/shm && mount --rbind {0} /dev && exec {program}",
        devices.display()
    );
    let output = Command::new("unshare").args(["-m", "sh", "-c", &without_device]).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(5) && said.contains("there is no /dev/fuse"), "{:?} {said}", output.status);
    ensure!(said.contains("--or-copy") && !there.exists(), "nothing was made: {said}");

    let rights = ["--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "sh", "-c", &program];
    let output = Command::new("setpriv").args(rights).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(5) && said.contains("CAP_SYS_ADMIN"), "{:?} {said}", output.status);
    ensure!(said.contains("--or-copy"), "{said}");
    // What was made is gone on with where it may be mounted.
    let mut served = Served::start(world, &there)?;
    served.until_it_says("everything is here").await?;
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("50000"));
    Ok(())
}
