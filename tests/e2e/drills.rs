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
    shop_of(Plan::new(15)).await
}

pub async fn shop_of(plan: Plan) -> Result<Shop> {
    let world = plan.workload("check = [\"select count(*) = 20000 from orders\"]").start()?;
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

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_were_deleted_come_back() -> Result<()> {
    let shop = shop().await?;
    shop.passes(&["delete-without-where"])?;
    shop.passes(&["delete-without-where", "--with", "table=orders"]).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_pages_are_told_of_and_healed() -> Result<()> {
    let run = shop().await?.passes(&["corrupted-pages"])?;
    ensure!(run["alert_seen"] == true, "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_host_can_reach_is_destroyed_and_what_it_cannot_brings_it_back() -> Result<()> {
    let run = shop().await?.passes(&["ransomware"])?;
    let others = &run["measured"]["others"];
    ensure!(
        others["files_encrypted"].as_f64() > Some(100.0) && others["files_destroyed"].as_f64() > Some(3.0),
        "{others}"
    );
    ensure!(measured(&run, "loss_seconds")? < 10.0, "{:#}", run["measured"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_location_suffices() -> Result<()> {
    let run = shop().await?.passes(&["lost-location"])?;
    ensure!(measured(&run, "loss_seconds")? < 10.0, "{:#}", run["measured"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_location_is_whole_again_when_there_is_room() -> Result<()> {
    shop().await?.passes(&["full-disk"]).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_together_is_brought_back() -> Result<()> {
    shop().await?.passes(&["restore-group"]).map(drop)
}

/// A scenario of its own, in a file.
pub fn scenario(shop: &Shop, text: &str) -> Result<String> {
    let path = shop.world.path("own.toml");
    fs::write(&path, text)?;
    Ok(path.display().to_string())
}

pub const START: &str = "title = \"t\"\n[[prepare]]\nname = \"copy\"\nlifeboat = [\"restore\", \"{workload}\", \"--to\", \"{restored_dir}\"]\n\
    with = \"production\"\n[[prepare]]\nname = \"start\"\nstart = \"restored\"\n[[fault]]\nname = \"nothing\"\nfault = \"assumed-loss\"\n\
    [[after]]\nname = \"one\"\nsql = { server = \"restored\", query = \"select 1\" }\nequals = 1\n";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_isolated_is_refused_before_it_begins() -> Result<()> {
    let shop = shop().await?;
    let port = shop.world.cluster.port();
    let tcp = format!("connection = \"{}\"", shop.world.cluster.connection_string_tcp());
    let local = format!("connection = \"{}\"", shop.world.cluster.connection_string());
    shop.world.configure("lifeboat.toml", |text| text.replace(&local, &tcp))?;
    // In a network of its own nobody answers there; in ours somebody does.
    let run = shop.passes(&["restore-database"])?;
    let proofs = run["isolation"].to_string();
    ensure!(proofs.contains(&format!(":{port}")), "{proofs}");
    let refused = shop.ends(&["restore-database", "--in-this-network"], "refused", "somebody answered")?;
    ensure!(
        refused["steps"].as_array().is_some_and(|steps| steps.iter().all(|step| step["phase"] == "cleanup")),
        "{refused:#}"
    );
    // A place in the middle of a location is none.
    let inside = shop.world.path("repository-local").display().to_string();
    let output =
        as_ourselves(&shop.world, "lifeboat.toml", &["drill", "run", "restore-database", "--in", &inside, "--json"])?;
    ensure!(
        output.code == Some(4) && output.json()?["run"]["refused"].to_string().contains("not isolated"),
        "{output:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cleanup_that_fails_and_an_alarm_that_does_not_come_do_not_pass() -> Result<()> {
    let shop = shop().await?;
    let own = scenario(&shop, &format!("{START}[[cleanup]]\nname = \"give it back\"\ncommand = [\"false\"]\n"))?;
    shop.ends(&[&own], "cleanup_failed", "give it back")?;
    let own = scenario(
        &shop,
        &format!("{START}alert = true\ncounts = true\n[[after]]\nname = \"two\"\ncommand = [\"true\"]\n")
            .replace("equals = 1\nalert", "equals = 2\nalert"),
    )?;
    let run = shop.ends(&[&own], "failed", "the alarm that should have come did not")?;
    ensure!(run["alert_seen"] == false);
    let slow = scenario(
        &shop,
        &format!("time_limit = \"6s\"\n{START}[[after]]\nname = \"slow\"\ncommand = [\"sleep\", \"100\"]\n"),
    )?;
    shop.ends(&[&slow], "aborted", "longer than")?;
    let abort = scenario(
        &shop,
        &format!(
            "{START}[[after]]\nname = \"wait\"\ncommand = [\"sleep\", \"2\"]\n[[after]]\nname = \"never\"\ncommand = [\"false\"]\n\
        [[abort_unless]]\nname = \"guard\"\ncommand = [\"false\"]\n"
        ),
    )?;
    shop.ends(&[&abort], "aborted", "guard")?;
    let unsteady = scenario(&shop, &format!("{START}[[before]]\nname = \"steady\"\ncommand = [\"false\"]\n"))?;
    shop.ends(&[&unsteady], "refused", "not steady before")?;
    Ok(())
}

/// Waits until the text is there.
pub fn wait_for_text(path: &std::path::Path, word: &str) -> Result<String> {
    let begun = std::time::Instant::now();
    loop {
        let text = fs::read_to_string(path).unwrap_or_default();
        if text.contains(word) {
            return Ok(text);
        }
        ensure!(begun.elapsed() < std::time::Duration::from_secs(120), "{word} never came: {text}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_run_left_is_removed_by_the_next_command() -> Result<()> {
    let shop = shop().await?;
    let own = scenario(&shop, &format!("{START}[[after]]\nname = \"long\"\ncommand = [\"sleep\", \"1000\"]\n"))?;
    let (scratch, log) = (shop.scratch()?.display().to_string(), shop.world.path("killed.log"));
    let mut command = std::process::Command::new(shop.world.path("lifeboat"));
    command.arg("--config").arg(shop.world.path("lifeboat.toml")).args(["drill", "run", &own, "--in", &scratch]);
    let mut child = command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log)?).spawn()?;
    wait_for_text(&log, "sleep 1000")?;
    // While it runs, nobody takes it away.
    let busy = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "cleanup", "--json"])?;
    ensure!(busy.code == Some(5) && busy.stdout.contains("still running"), "{busy:?}");
    child.kill()?;
    child.wait()?;
    ensure!(shop.nothing_is_left().is_err(), "it left something");
    let cleaned = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "cleanup", "--json"])?;
    let run = &cleaned.json()?["runs"][0]["run"];
    ensure!(cleaned.code == Some(0) && run["verdict"] == "aborted", "{cleaned:?}");
    shop.nothing_is_left()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_waits_for_a_person() -> Result<()> {
    let shop = shop().await?;
    let own = scenario(&shop, &format!("{START}[[after]]\nname = \"agree\"\nask = \"is it right?\"\n"))?;
    let run = shop.passes(&[&own, "--approve-as", "anna"])?;
    ensure!(run["approved_by"] == "anna" && run["participants"][0] == "anna", "{run:#}");
    for (more, code) in [(None, 0), (Some("--no"), 4)] {
        let (scratch, log) = (shop.scratch()?.display().to_string(), shop.world.path("asked.log"));
        let mut command = std::process::Command::new(shop.world.path("lifeboat"));
        command.arg("--config").arg(shop.world.path("lifeboat.toml")).args(["drill", "run", &own, "--in", &scratch]);
        let mut child = command.stdout(std::process::Stdio::null()).stderr(fs::File::create(&log)?).spawn()?;
        let text = wait_for_text(&log, "drill approve ")?;
        let id = text.split("drill approve ").nth(1).and_then(|rest| rest.split(' ').next()).context("an id")?;
        let all: Vec<&str> = ["drill", "approve", id, "--as", "ben"].into_iter().chain(more).collect();
        let said = as_ourselves(&shop.world, "lifeboat.toml", &all)?;
        ensure!(said.code == Some(0), "{said:?}");
        ensure!(child.wait()?.code() == Some(code), "{}", fs::read_to_string(&log)?);
        shop.nothing_is_left()?;
    }
    Ok(())
}
