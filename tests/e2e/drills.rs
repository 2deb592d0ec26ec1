//! Rehearsals: each built-in scenario passes where all is well, and says so where it isn't.

use crate::served::as_ourselves;
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A shop with a backup, its log archived.
pub struct Shop {
    pub world: World,
}

pub async fn shop() -> Result<Shop> {
    let world = Plan::new(15).workload("check = [\"select count(*) = 20000 from orders\"]").start()?;
    let make = "create table orders (id int primary key, t text); \
        insert into orders select g, md5(g::text) from generate_series(1, 20000) g";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.archive_all().await?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    Ok(Shop { world })
}

/// What a run gave.
pub struct Ran {
    pub code: Option<i32>,
    pub document: Value,
    pub said: String,
}

impl Shop {
    /// The directory in which places are made.
    pub fn scratch(&self) -> Result<PathBuf> {
        let path = self.world.path("d");
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(self.world.path(""), fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    pub fn drill(&self, arguments: &[&str]) -> Result<Ran> {
        let scratch = self.scratch()?.display().to_string();
        let all = [&["drill", "run"], arguments, &["--in", &scratch, "--json"]].concat();
        let output = as_ourselves(&self.world, "lifeboat.toml", &all)?;
        let document = output.json().with_context(|| output.stderr.clone())?;
        Ok(Ran { code: output.code, document, said: output.stderr })
    }

    /// It passed, and nothing of it is left.
    pub fn passes(&self, arguments: &[&str]) -> Result<Value> {
        let ran = self.drill(arguments)?;
        let run = &ran.document["run"];
        ensure!(
            ran.code == Some(0) && run["verdict"] == "passed",
            "{}\n{:#}\n{:#}",
            ran.said,
            ran.document["reasons"],
            ran.document["error"]
        );
        self.nothing_is_left()?;
        Ok(run.clone())
    }

    /// It ended so, for this reason, and nothing of it is left.
    pub fn ends(&self, arguments: &[&str], verdict: &str, word: &str) -> Result<Value> {
        let ran = self.drill(arguments)?;
        let run = &ran.document["run"];
        let reasons = ran.document["reasons"].to_string();
        ensure!(
            ran.code == Some(4) && run["verdict"] == verdict,
            "{}\n{:#}\n{:#}",
            ran.said,
            ran.document["reasons"],
            ran.document["error"]
        );
        ensure!(reasons.contains(word), "{reasons} doesn't say {word:?}\n{}", ran.said);
        self.nothing_is_left()?;
        Ok(run.clone())
    }

    pub fn nothing_is_left(&self) -> Result<()> {
        let left: Vec<_> = fs::read_dir(self.scratch()?)?.flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "{left:?}");
        let journals = self.world.path("state/drills");
        let left: Vec<_> = fs::read_dir(journals).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        ensure!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        ensure!(!mounts.contains(&self.scratch()?.display().to_string()), "{mounts}");
        Ok(())
    }
}

/// Every step held, and the figures are there.
fn measured(run: &Value, name: &str) -> Result<f64> {
    run["measured"][name].as_f64().with_context(|| format!("{name} was not measured: {:#}", run["measured"]))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_is_restored_apart_and_what_that_took_is_measured() -> Result<()> {
    let shop = shop().await?;
    let run = shop.passes(&["restore-database"])?;
    let (rta, restore) = (measured(&run, "fault_to_healthy_seconds")?, measured(&run, "restore_seconds")?);
    ensure!(rta > restore && restore > 0.0, "{:#}", run["measured"]);
    ensure!(run["point"].is_string() && run["location"] == "local", "{run:#}");
    ensure!(run["isolation"].as_array().is_some_and(|proofs| proofs.len() > 5), "{:#}", run["isolation"]);
    // The application's own question is asked: one that is answered with no fails it.
    shop.world.configure("lifeboat.toml", |text| text.replace("= 20000", "= 20001"))?;
    shop.ends(&["restore-database"], "failed", "it never was")?;
    // Without a backup nothing comes back.
    shop.world.configure("lifeboat.toml", |text| text.replace("= 20001", "= 20000"))?;
    fs::remove_dir_all(shop.world.path("repository-local/points"))?;
    shop.ends(&["restore-database"], "failed", "restore it from a location did not hold")?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_table_is_found_and_brought_back() -> Result<()> {
    let shop = shop().await?;
    let run = shop.passes(&["dropped-table"])?;
    ensure!(run["measured"]["writes_lost"] == 0 && measured(&run, "writes_checked")? > 10.0, "{:#}", run["measured"]);
    ensure!(measured(&run, "fault_to_healthy_seconds")? > 0.0 && run["measured"]["loss_method"] == "canary");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_escrowed_passphrase_opens_and_a_wrong_one_does_not() -> Result<()> {
    let shop = shop().await?;
    let (right, wrong) = (shop.world.path("safe"), shop.world.path("wrong"));
    fs::write(&right, "correct horse battery staple\n")?;
    fs::write(&wrong, "wrong horse battery staple\n")?;
    let with = |path: &PathBuf| format!("escrow_file={}", path.display());
    // The host's own is really gone.
    let host = fs::read(shop.world.path("passphrase"))?;
    fs::remove_file(shop.world.path("passphrase"))?;
    let run = shop.passes(&["lost-key", "--with", &with(&right)])?;
    ensure!(measured(&run, "fault_to_healthy_seconds")? > 0.0);
    shop.ends(
        &["lost-key", "--with", &with(&wrong)],
        "failed",
        "the escrowed passphrase opens the backups did not hold",
    )?;
    shop.ends(&["lost-key"], "refused", "escrow_file is not given")?;
    fs::write(shop.world.path("passphrase"), host)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_was_never_taken_is_told_of_and_healed() -> Result<()> {
    let shop = shop().await?;
    let run = shop.passes(&["missing-backup"])?;
    ensure!(run["alert_seen"] == true && run["measured"]["writes_lost"] == 0, "{run:#}");
    Ok(())
}
