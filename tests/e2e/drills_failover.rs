//! Rehearsals of a cluster: each built-in scenario passes where all is well, and says so where it isn't.

use crate::drills::{Ran, Shop, shop, wait_for_text};
use crate::served::as_ourselves;
use anyhow::{Context, Result, ensure};
use lifeboat_components::{Component, install};
use std::fs;
use std::process::{Command, Stdio};

/// Runs a scenario with etcd on `PATH`, as on a machine where it is installed.
fn drill(shop: &Shop, scenario: &str) -> Result<Ran> {
    drill_with(shop, scenario, &path_with_etcd()?)
}

fn path_with_etcd() -> Result<String> {
    install(Component::Namespaces)?;
    Ok(format!("{}:{}", install(Component::Etcd)?.display(), std::env::var("PATH")?))
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
    nothing_is_left(shop, run["id"].as_str().context("an id")?)?;
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
    nothing_is_left(shop, run["id"].as_str().context("an id")?)
}

/// What is left of a run's hosts.
fn networks(id: &str) -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name.contains(id)).collect()
}

/// No file, no host, no process.
fn nothing_is_left(shop: &Shop, id: &str) -> Result<()> {
    shop.nothing_is_left()?;
    ensure!(networks(id).is_empty(), "{:?} are left", networks(id));
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

/// Standbys whose agents are dead have everything, and nobody who decides.
#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_can_take_over_the_rehearsal_fails() -> Result<()> {
    let shop = shop().await?;
    let both = broken(&shop, "loss-of-primary", &[dead_agent("b"), dead_agent("c")].concat())?;
    let quick = fs::read_to_string(&both)?.replacen(
        "time_limit = \"60s\"\n\n[[recovery]]",
        "time_limit = \"8s\"\n\n[[recovery]]",
        1,
    );
    fs::write(&both, quick)?;
    let run = fails(
        &shop,
        &both,
        "failed",
        "another member is the primary, and one can write to it through the proxy took too long",
    )?;
    ensure!(run["measured"]["fault_to_healthy_seconds"].is_null() && run["alert_seen"] == false, "{run:#}");
    Ok(())
}

/// Whose agent is dead.
fn dead_agent(member: &str) -> String {
    format!("[[before]]\nname = \"the agent of {member} is dead\"\nfault = \"kill-agent\"\non = \"{member}\"\n")
}

/// Standbys that are behind, and can't let go of what they were receiving: nobody may take over, because nobody may have everything.
#[tokio::test(flavor = "multi_thread")]
async fn standbys_that_are_behind_do_not_take_over() -> Result<()> {
    let shop = shop().await?;
    let place = shop.scratch()?.display().to_string();
    let halt = format!(
        "for p in $(pgrep -f walreceiver); do case $(readlink /proc/$p/cwd) in {place}/*) kill -STOP $p;; esac; done; sleep 1"
    );
    let step = format!("[[before]]\nname = \"the standbys receive no more\"\ncommand = [\"sh\", \"-c\", \"{halt}\"]\n");
    let behind = broken(&shop, "loss-of-primary", &step)?;
    let text = fs::read_to_string(&behind)?;
    let short = text.replacen("time_limit = \"60s\"\n\n[[recovery]]", "time_limit = \"12s\"\n\n[[recovery]]", 1);
    fs::write(&behind, short)?;
    let why = "another member is the primary, and one can write to it through the proxy took too long";
    let run = fails(&shop, &behind, "failed", why)?;
    ensure!(run["measured"]["fault_to_healthy_seconds"].is_null() && run["alert_seen"] == false, "{run:#}");
    Ok(())
}

/// With a second host the lease store loses its majority: nobody may take over.
#[tokio::test(flavor = "multi_thread")]
async fn a_region_that_takes_the_majority_along_is_not_survived() -> Result<()> {
    let shop = shop().await?;
    let with = "[[before]]\nname = \"another host is dead already\"\nfault = \"kill-host\"\non = \"c\"\n";
    let both = broken(&shop, "loss-of-region", with)?;
    let text = fs::read_to_string(&both)?;
    fs::write(&both, text.replacen("time_limit = \"60s\"\n\n[[recovery]]", "time_limit = \"12s\"\n\n[[recovery]]", 1))?;
    let why = "another member is the primary, and one can write to it through the proxy took too long";
    let run = fails(&shop, &both, "failed", why)?;
    ensure!(run["measured"]["fault_to_healthy_seconds"].is_null() && run["alert_seen"] == false, "{run:#}");
    Ok(())
}

/// It may go on without its store only as long as every member answers: another one could take over elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_and_a_member_the_primary_stops_and_the_rehearsal_says_so() -> Result<()> {
    let shop = shop().await?;
    let path = broken(&shop, "loss-of-lease-store", &dead_agent("c"))?;
    let text = fs::read_to_string(&path)?;
    let text = text.replacen(
        "time_limit = \"30s\"\nalert = true\n",
        "time_limit = \"5s\"\nalert = true\non_failure = \"continue\"\n",
        1,
    );
    let writers = "equals = true\ntime_limit = \"60s\"\n\n[[recovery]]\nname = \"nobody waited";
    ensure!(text.contains(writers), "{text}");
    fs::write(&path, text.replacen(writers, &writers.replace("60s", "20s"), 1))?;
    let run = fails(&shop, &path, "failed", "writers go on for longer than twice the lease's lifetime took too long")?;
    ensure!(run["alert_seen"] == false, "{run:#}");
    Ok(())
}

/// As a primary would that doesn't notice that it is cut off.
#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_goes_on_acknowledging_does_not_pass() -> Result<()> {
    let shop = shop().await?;
    let whole = broken(&shop, "partition", "")?;
    fs::write(&whole, fs::read_to_string(&whole)?.replacen("fault = \"cut-off\"", "fault = \"assumed-loss\"", 1))?;
    let run = fails(&shop, &whole, "failed", "acknowledged to nobody did not hold: it was carried out")?;
    ensure!(run["measured"]["writes_checked"].is_null(), "{run:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_is_gone_and_an_alarm_that_does_not_come_do_not_pass() -> Result<()> {
    let shop = shop().await?;
    let silent = "[[before]]\nname = \"nobody is told\"\ncommand = [\"rm\", \"{place}/alarm\"]\n";
    let path = broken(&shop, "loss-of-primary", silent)?;
    let lose = "[[recovery]]\nname = \"a write is lost\"\nsql = { server = \"proxy\", query = \"delete from lifeboat_drill_canary where id = 5\" }\n";
    let text = fs::read_to_string(&path)?;
    let text = text.replacen(
        "time_limit = \"30s\"\nalert = true\n",
        "time_limit = \"5s\"\nalert = true\non_failure = \"continue\"\n",
        1,
    );
    fs::write(
        &path,
        text.replacen(
            "[[recovery]]\nname = \"writers go on\"",
            &format!("{lose}\n[[recovery]]\nname = \"writers go on\""),
            1,
        ),
    )?;
    let run = fails(&shop, &path, "failed", "every write that was acknowledged is there did not hold: 1; expected 0")?;
    let measured = &run["measured"];
    ensure!(
        run["alert_seen"] == false && measured["writes_lost"] == 1 && measured["loss_seconds"] != 0.0,
        "{measured:#}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_etcd_or_root_it_is_refused_before_it_begins() -> Result<()> {
    let shop = shop().await?;
    let scratch = shop.scratch()?.display().to_string();
    let output = shop.world.lifeboat(&["drill", "run", "partition", "--in", &scratch, "--json"])?;
    let refused = output.json()?["run"]["refused"].to_string();
    ensure!(output.code == Some(4) && refused.contains("hosts of its own need root; run it as root"), "{output:?}");
    let programs = shop.world.path("programs");
    fs::create_dir(&programs)?;
    let all = std::env::var_os("PATH").context("PATH")?;
    for name in ["ip", "nsenter", "openssl", "unshare", "setpriv", "true"] {
        let found = std::env::split_paths(&all).map(|path| path.join(name)).find(|path| path.exists());
        let found = found.with_context(|| name.to_owned())?;
        std::os::unix::fs::symlink(found, programs.join(name))?;
    }
    let ran = drill_with(&shop, "loss-of-primary", &programs.display().to_string())?;
    ended_so(&shop, &ran, "refused", "there is no `etcd` on PATH, which keeps the lease; install it")?;
    ensure!(ran.document["run"]["steps"] == serde_json::json!([]), "{:#}", ran.document["run"]["steps"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_of_a_killed_run_go_with_everything_in_them() -> Result<()> {
    let shop = shop().await?;
    let waits = "[[before]]\nname = \"it is killed here\"\ncommand = [\"sleep\", \"1000\"]\n";
    let path = broken(&shop, "loss-of-primary", waits)?;
    let log = shop.world.path("killed.log");
    let mut command = Command::new(shop.world.path("lifeboat"));
    command.arg("--config").arg(shop.world.path("lifeboat.toml")).args(["drill", "run", &path, "--in"]);
    command.arg(shop.scratch()?).env("PATH", path_with_etcd()?).stdout(Stdio::null());
    let mut child = command.stderr(fs::File::create(&log)?).spawn()?;
    wait_for_text(&log, "sleep 1000")?;
    let place = fs::read_dir(shop.scratch()?)?.flatten().next().context("a place")?;
    let id = place.file_name().to_string_lossy().into_owned();
    child.kill()?;
    child.wait()?;
    ensure!(networks(&id).len() == 5 && nothing_is_left(&shop, &id).is_err(), "{:?}", networks(&id));
    let cleaned = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "cleanup", "--json"])?;
    ensure!(cleaned.code == Some(0) && cleaned.json()?["runs"][0]["run"]["verdict"] == "aborted", "{cleaned:?}");
    nothing_is_left(&shop, &id)
}
