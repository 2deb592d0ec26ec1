//! Rehearsals of a cluster: each built-in scenario passes where all is well, and says so where it isn't.

use crate::drills::{Ran, Shop, shop};
use anyhow::{Context, Result, ensure};
use lifeboat_components::{Component, install};
use std::fs;
use std::process::{Command, Stdio};

/// Runs a scenario with etcd on `PATH`, as on a machine where it is installed.
fn drill(shop: &Shop, scenario: &str) -> Result<Ran> {
    install(Component::Namespaces)?;
    let etcd = install(Component::Etcd)?;
    let path = format!("{}:{}", etcd.display(), std::env::var("PATH")?);
    drill_with(shop, scenario, &path)
}

fn drill_with(shop: &Shop, scenario: &str, path: &str) -> Result<Ran> {
    let mut command = Command::new(shop.world.path("lifeboat"));
    command.arg("--config").arg(shop.world.path("lifeboat.toml"));
    command.args(["drill", "run", scenario, "--in"]).arg(shop.scratch()?).arg("--json");
    let output = command.env("PATH", path).stdin(Stdio::null()).output().context("start lifeboat")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let document = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    Ok(Ran { code: output.status.code(), document, said })
}

/// It passed, nothing acknowledged was lost, and nothing is left.
fn passes(shop: &Shop, scenario: &str) -> Result<serde_json::Value> {
    let ran = drill(shop, scenario)?;
    let run = &ran.document["run"];
    ensure!(ran.code == Some(0) && run["verdict"] == "passed", "{}\n{:#}", ran.said, ran.document["reasons"]);
    let measured = &run["measured"];
    println!("{scenario}: {measured}");
    ensure!(measured["writes_lost"] == 0 && measured["writes_checked"].as_u64() > Some(100), "{measured:#}");
    ensure!(measured["loss_seconds"] == 0.0 && measured["fault_to_healthy_seconds"].is_number(), "{measured:#}");
    let proofs = run["isolation"].to_string();
    for proof in ["the lines of the hosts' bridge", "a way out of host b", "listen_addresses of the server c"] {
        ensure!(proofs.contains(proof), "{proof} isn't among {proofs}");
    }
    nothing_is_left(shop)?;
    Ok(run.clone())
}

/// It didn't, for this reason, and nothing is left.
fn fails(shop: &Shop, scenario: &str, verdict: &str, word: &str) -> Result<serde_json::Value> {
    let ran = drill(shop, scenario)?;
    ended_so(shop, &ran, verdict, word)?;
    Ok(ran.document["run"].clone())
}

fn ended_so(shop: &Shop, ran: &Ran, verdict: &str, word: &str) -> Result<()> {
    let (run, reasons) = (&ran.document["run"], ran.document["reasons"].to_string());
    ensure!(ran.code == Some(4) && run["verdict"] == verdict, "{}\n{reasons}", ran.said);
    ensure!(reasons.contains(word), "{reasons} doesn't say {word:?}\n{}", ran.said);
    nothing_is_left(shop)
}

fn nothing_is_left(shop: &Shop) -> Result<()> {
    shop.nothing_is_left()?;
    let scratch = shop.scratch()?.display().to_string();
    for entry in fs::read_dir("/proc")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        ensure!(!line.contains(&scratch), "it still runs: {line}");
    }
    Ok(())
}

/// A built-in scenario in which something was broken before: `with` stands before what breaks.
fn broken(shop: &Shop, name: &str, with: &str) -> Result<String> {
    let built_in = format!("{}/../crates/drill/src/builtin/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(built_in)?;
    let path = shop.world.path("broken.toml");
    fs::write(&path, text.replacen("[[fault]]", &format!("{with}\n[[fault]]"), 1))?;
    Ok(path.display().to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_member_takes_over_from_a_dead_host_and_it_comes_back() -> Result<()> {
    let run = passes(&shop().await?, "loss-of-primary")?;
    ensure!(run["alert_seen"] == true && run["measured"]["fault_to_healthy_seconds"].as_f64() < Some(20.0), "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_is_gone_for_good_and_the_others_say_that_a_copy_is_missing() -> Result<()> {
    let run = passes(&shop().await?, "loss-of-region")?;
    ensure!(run["alert_seen"] == true, "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_cut_off_acknowledges_nothing_and_comes_back_as_a_standby() -> Result<()> {
    let run = passes(&shop().await?, "partition")?;
    ensure!(run["alert_seen"] == true, "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_lease_store_the_primary_goes_on_and_nobody_takes_over() -> Result<()> {
    let run = passes(&shop().await?, "loss-of-lease-store")?;
    ensure!(run["alert_seen"] == true && run["measured"]["fault_to_healthy_seconds"].as_f64() < Some(5.0), "{run:#}");
    Ok(())
}

/// No takeover without whoever decides it, no promise of one: the verdict says which step didn't hold.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_take_over_the_rehearsal_fails() -> Result<()> {
    let shop = shop().await?;
    let kill = |member: &str| {
        format!("[[before]]\nname = \"the agent of {member} is dead\"\nfault = \"kill-agent\"\non = \"{member}\"\n")
    };
    let both = broken(&shop, "loss-of-primary", &[kill("b"), kill("c")].concat())?;
    let quick = fs::read_to_string(&both)?.replacen("time_limit = \"60s\"\n\n[[recovery]]", "time_limit = \"8s\"\n\n[[recovery]]", 1);
    fs::write(&both, quick)?;
    let run = fails(&shop, &both, "failed", "another member is the primary, and one can write to it through the proxy did not hold")?;
    ensure!(run["measured"]["fault_to_healthy_seconds"].is_null() && run["alert_seen"] == false, "{run:#}");
    Ok(())
}
