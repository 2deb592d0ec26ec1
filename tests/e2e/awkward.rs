//! Instant restores where they can't be, or where one is, or was: each is refused in words that help, and what is told to be typed works.

use crate::served::{as_ourselves, ends_with};
use crate::serving::Served;
use crate::world::{Plan, World};
use anyhow::{Result, ensure};
use lifeboat_components::postgres::Shutdown;
use std::fs;
use std::path::Path;

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
    shop.must_say(&["check", "--quiet"], 4, &format!("umount -l {path}"))?;
    shop.must_say(&["restore", "status", &path], 4, "its mount is left")?;
    shop.must_say(&["restore", "stop", &path], 3, "nobody serves")?;
    shop.must_say(&["restore", "finish", &path], 3, "nobody serves")?;
    // What is told to be typed, the one and the other.
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
