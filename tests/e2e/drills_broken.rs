//! Rehearsals of a system that is really broken: each built-in scenario must say so, and why.
//!
//! What is broken is the system, not the judge: a location, the log, an account's rights, a program that calls people. Where that must happen
//! in the middle of a run, the scenario is the built-in one with one step put in.

use crate::drills::{Shop, shop};
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
