//! Rehearsals of a system that is really broken: each built-in scenario must say so, and why.
//!
//! What is broken is the system, not the judge: a location, the log, an account's rights, a program that calls people. Where that must happen
//! in the middle of a run, the scenario is the built-in one with one step put in.

use crate::drills::{Shop, shop, shop_of};
use crate::world::Plan;
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use std::fs;

fn publish(shop: &Shop) -> Result<()> {
    shop.world.done(&["plan", "runbook", "--publish"]).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbook_in_a_location_suffices_and_another_one_does_not() -> Result<()> {
    let mut shop = shop().await?;
    let (right, wrong) = (shop.world.path("safe"), shop.world.path("wrong"));
    fs::write(&right, "correct horse battery staple\n")?;
    fs::write(&wrong, "wrong horse battery staple\n")?;
    let with = |path: &std::path::Path| format!("escrow_file={}", path.display());
    let (right, wrong) = (with(&right), with(&wrong));
    let follow = ["runbook-from-copy", "--with", &right];
    shop.ends(&follow, "failed", "no runbook was published")?;
    publish(&shop)?;

    // The primary site is really away: its server, its data, its passphrase.
    shop.world.cluster.stop(Shutdown::Fast)?;
    let (data, away) = (shop.world.cluster.data_dir().to_path_buf(), shop.world.path("away"));
    fs::rename(&data, &away).or_else(|_| std::process::Command::new("mv").arg(&data).arg(&away).status().map(drop))?;
    let host = fs::read(shop.world.path("passphrase"))?;
    fs::remove_file(shop.world.path("passphrase"))?;
    let run = shop.passes(&follow)?;
    ensure!(
        run["measured"]["fault_to_healthy_seconds"].as_f64() > run["measured"]["restore_seconds"].as_f64(),
        "{run:#}"
    );
    ensure!(run["measured"]["loss_seconds"].is_null(), "nothing was written, so nothing is known: {run:#}");
    let steps = run["steps"].to_string();
    for word in [
        "on the paper: /etc/lifeboat/passphrase; here: ",
        "on the paper: /srv/shop; here: ",
        "as the paper says: lifeboat restore shop --to ",
    ] {
        ensure!(steps.contains(word), "{word}: {:#}", run["steps"]);
    }
    ensure!(run["isolation"].to_string().contains("one of their own, with nothing in it"), "{:#}", run["isolation"]);
    shop.ends(
        &["runbook-from-copy", "--with", &wrong],
        "failed",
        "see what is there, with the runbook's command did not hold",
    )?;
    shop.ends(&["runbook-from-copy", "--with", &right, "--with", "location=nowhere"], "failed", "no location nowhere")?;

    // One of another configuration, one that isn't whole, one whose commands find nothing.
    shop.world.configure("lifeboat.toml", |text| text.replace("= 20000", "> 20000"))?;
    shop.ends(&follow, "failed", "is of another configuration")?;
    shop.world.configure("lifeboat.toml", |text| text.replace("> 20000", "= 20000"))?;
    let points = shop.world.path("repository-local/points");
    fs::rename(&points, shop.world.path("points"))?;
    shop.ends(&follow, "failed", "see what is there, with the runbook's command did not hold")?;
    fs::rename(shop.world.path("points"), points)?;
    let plan = fs::read_dir(shop.world.path("repository-local/plan"))?.flatten().map(|entry| entry.path());
    let markdown =
        plan.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "md")).context("the Markdown")?;
    let text = fs::read_to_string(&markdown)?;
    fs::write(&markdown, text.replace("lifeboat restore", "lifeboat prune"))?;
    shop.ends(&follow, "failed", "is not what its index says")?;
    fs::write(shop.world.path("passphrase"), host)?;
    fs::rename(&away, &data).or_else(|_| std::process::Command::new("mv").arg(&away).arg(&data).status().map(drop))?;
    Ok(())
}

/// The text of a built-in scenario.
fn builtin(name: &str) -> Result<String> {
    let path = format!("{}/../crates/drill/src/builtin/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).with_context(|| path)
}

/// A built-in scenario with a step put in before the one of that name.
fn before(text: &str, step: &str, put_in: &str) -> Result<String> {
    let at = text.find(&format!("name = \"{step}\"")).with_context(|| format!("no step {step}"))?;
    let at = text[..at].rfind("[[").context("its section")?;
    Ok(format!("{}{put_in}\n{}", &text[..at], &text[at..]))
}

/// The same with other words for some; each must be there.
fn instead(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(text.contains(old), "no {old:?} in {text}");
    Ok(text.replace(old, new))
}

/// A step that somebody's shell does in the place, with the rights of the servers' account.
fn shell(phase: &str, line: &str) -> String {
    format!("[[{phase}]]\nname = \"broken for the test\"\ncommand = [\"sh\", \"-c\", \"{line}\"]\n")
}

const RECEIVER_DIES: &str = "]]\nname = \"the receiver dies, and nobody sees it\"\nfault = \"stop-background\"\n";

/// It fails, and this is why.
fn fails(shop: &Shop, name: &str, text: &str, word: &str) -> Result<()> {
    let path = shop.world.path(&format!("{name}.toml"));
    fs::write(&path, text)?;
    let run = shop.ends(&[&path.display().to_string()], "failed", word).with_context(|| name.to_owned())?;
    ensure!(run["scenario"] == name, "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_log_or_the_point_nothing_is_brought_back_and_that_is_said() -> Result<()> {
    let shop = shop().await?;
    // The transaction never reached a location.
    let name = "delete-without-where";
    let text = before(&builtin(name)?, "somebody forgets the WHERE", &format!("[[fault{RECEIVER_DIES}"))?;
    let text = instead(&text, "time_limit = \"10m\"", "time_limit = \"8s\"")?;
    fails(&shop, name, &text, "find the transaction in the log took too long")?;
    // It did, and then the log was lost everywhere.
    let name = "dropped-table";
    let lost = shell("recovery", "rm -r {vault}/wal {second}/wal");
    let text = before(&builtin(name)?, "bring the table back as it was just before", &lost)?;
    fails(&shop, name, &text, "bring the table back as it was just before did not hold")?;
    // The only point from before the damage is gone.
    let name = "corrupted-pages";
    let lost = shell("recovery", "rm -r {vault}/points/* {second}/points/*");
    let text = before(&builtin(name)?, "the next backup says that pages are damaged", &lost)?;
    fails(&shop, name, &text, "the point before the damage did not hold")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_in_reach_and_a_location_that_lacks_something_do_not_pass() -> Result<()> {
    let shop = shop().await?;
    // Whoever takes over the host reaches both copies.
    let name = "ransomware";
    let text = instead(&builtin(name)?, "fault = \"out-of-reach\"", "fault = \"assumed-loss\"")?;
    fails(&shop, name, &text, "data is encrypted, and what can be reached is destroyed did not hold")?;
    // Without the step that looks at what withstood, the restore shows it all the same.
    let text = instead(&text, "path = \"$.withstood\"\nbetween = [1, 1e15]\n", "")?;
    fails(&shop, name, &text, "every byte of it is whole did not hold")?;

    let name = "lost-location";
    let gone = "[[fault]]\nname = \"and the other one\"\nfault = \"lose-location\"\non = \"second\"\n";
    let text = before(&builtin(name)?, "restore from what is left", gone)?;
    fails(&shop, name, &text, "restore from what is left did not hold")?;
    let lacks = shell("fault", "rm -r {second}/wal");
    let text = before(&builtin(name)?, "the host is lost", &lacks)?;
    fails(&shop, name, &text, "restore from what is left did not hold")?;
    // The log stopped coming seconds before; the promise says one.
    let died = format!("[[before{RECEIVER_DIES}");
    let more =
        "wait_for = { sql = { server = \"copy\", query = \"select count(*) > 400 from lifeboat_drill_canary\" } }";
    let went_on = format!("[[before]]\nname = \"clients go on\"\n{more}\nequals = true\ntime_limit = \"60s\"\n");
    let text = before(&builtin(name)?, "the receiver goes with its host", &format!("{died}\n{went_on}"))?;
    let promise = "[tier.gold]\nrto = \"1h\"\nrpo = \"1s\"\n[group.shop]\ntier = \"gold\"\nworkloads = [\"shop\"]\n";
    shop.world.configure("lifeboat.toml", |text| format!("{text}{promise}"))?;
    fails(&shop, name, &text, "RPA of")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_stays_full_and_a_backup_that_cannot_be_taken_do_not_pass() -> Result<()> {
    let shop = shop().await?;
    let name = "full-disk";
    let text = instead(&builtin(name)?, "fault = \"empty-disk\"", "fault = \"assumed-loss\"")?;
    let text = instead(
        &text,
        "[\"backup\", \"{workload}\"] }\ntime_limit = \"3h\"",
        "[\"backup\", \"{workload}\"] }\ntime_limit = \"8s\"",
    )?;
    fails(&shop, name, &text, "the next backup took too long")?;
    shop.ends(&[name, "--with", "disk_size=1m"], "failed", "its first backup did not hold")?;

    let name = "missing-backup";
    let shut = shell("recovery", "chmod -R a-w {vault} {second}");
    fails(&shop, name, &before(&builtin(name)?, "take the backup", &shut)?, "take the backup did not hold")?;
    let somebody = "[[prepare]]\nname = \"somebody took one after all\"\nlifeboat = [\"backup\", \"{workload}\"]\n";
    let path = shop.world.path("missing-backup.toml");
    fs::write(&path, before(&builtin(name)?, "there is no backup", somebody)?)?;
    shop.ends(&[&path.display().to_string()], "refused", "there is no backup did not hold")?;
    // Nobody said how old a backup may be: then nothing tells anybody.
    let silent = shell("recovery", "sed -i /^backup_within/d {place}/lifeboat.toml");
    let text = before(&builtin(name)?, "the check says that there is none", &silent)?;
    fails(&shop, name, &text, "the alarm that should have come did not")?;

    let people = "[person.anna]\nname = \"Anna\"\ndeputy = \"ben\"\npage = [\"false\"]\n[person.ben]\nname = \"Ben\"\n\
        [role.duty]\ntitle = \"decides\"\npeople = [\"anna\"]\n";
    shop.world.configure("lifeboat.toml", |text| format!("{text}{people}"))?;
    let run = shop.ends(&["nobody-answers", "--with", "role=duty"], "failed", "nobody answered: anna")?;
    ensure!(run["measured"]["others"]["answer_seconds"].is_null(), "nobody answered: {run:#}");
    shop.ends(&["nobody-answers", "--with", "role=night"], "failed", "no person and no role night").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_checksums_rotten_pages_are_not_rehearsed() -> Result<()> {
    let shop = shop_of(Plan::new(15).cluster(|builder| builder.data_checksums(false))).await?;
    shop.ends(&["corrupted-pages"], "failed", "it has checksums did not hold").map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_back_only_when_each_of_it_is() -> Result<()> {
    let shop = shop().await?;
    let data = shop.world.cluster.data_dir().display().to_string();
    let connection = shop.world.cluster.connection_string();
    let programs = shop.world.cluster.programs().display().to_string();
    let books = format!(
        "[workload.books]\nkind = \"postgres\"\ndata_dir = \"{data}\"\nconnection = \"{connection}\"\nbin_dir = \"{programs}\"\n\
        check = [\"select true\"]\n[group.all]\nworkloads = [\"shop\", \"books\"]\nafter = {{ shop = [\"books\"] }}\n"
    );
    let push = |workload: &str| {
        format!(
            "{0}/lifeboat --config {0}/lifeboat.toml wal push --workload {workload} %p",
            shop.world.path("").display()
        )
    };
    let archive = format!("alter system set archive_command = '{} && {}'", push("shop"), push("books"));
    shop.world.configure("lifeboat.toml", |text| format!("{text}{books}"))?;
    shop.world.cluster.sql(&archive).await?;
    shop.world.cluster.sql("select pg_reload_conf()").await?;
    let group = ["restore-group", "--group", "all"];
    shop.ends(&group, "failed", "restore (books) did not hold")?;
    shop.world.done(&["backup", "books", "--type", "full"])?;
    shop.world.archive_all().await?;
    let run = shop.passes(&group)?;
    ensure!(run["workloads"] == serde_json::json!(["books", "shop"]), "{run:#}");
    shop.world
        .configure("lifeboat.toml", |text| text.replace("check = [\"select true\"]", "check = [\"select false\"]"))?;
    shop.ends(&group, "failed", "the application's own question is answered rightly did not hold").map(drop)
}
