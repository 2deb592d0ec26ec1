//! Rehearsals of a loss that is only assumed: what production had committed and what had not left it is counted in its own log.

use crate::drills::{Ran, Shop, wait_for_text};
use crate::ledger::Clients;
use crate::served::as_ourselves;
use crate::world::{Background, Plan, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::process::Stdio;

/// A shop whose log is received, with a backup; nobody writes but the test.
async fn received() -> Result<(Shop, Background)> {
    let plan = Plan::new(15).without_archiving().cluster(|builder| builder.setting("autovacuum", "off"));
    let world = plan.workload("check = [\"select count(*) > 0 from orders\"]").start()?;
    let receiver = world.spawn("lifeboat.toml", &["wal", "receive", "shop"])?;
    let ask = "select count(*)::text from pg_replication_slots where active";
    until("the receiver is connected", || async { Ok(world.cluster.sql(ask).await?.as_deref() == Some("1")) })
        .await
        .with_context(|| receiver.log())?;
    world.cluster.sql("create table orders as select 0 as id").await?;
    world.backup("full")?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    let shop = Shop { world };
    all_arrived(&shop).await?;
    Ok((shop, receiver))
}

fn ends(shop: &Shop) -> Result<Value> {
    as_ourselves(&shop.world, "lifeboat.toml", &["drill", "ends", "shop", "--json"])?.json()
}

/// All that was written so far is in the location.
async fn all_arrived(shop: &Shop) -> Result<()> {
    until("all log is in the location", || async {
        let ends = ends(shop)?;
        Ok(ends["archive"]["lsn"].is_string() && ends["archive"]["lsn"] == ends["production"]["lsn"])
    })
    .await
}

async fn orders(shop: &Shop, count: u32) -> Result<()> {
    for id in 1..=count {
        // One transaction each; who only reads leaves no commit in the log.
        shop.world.cluster.sql(&format!("insert into orders values ({id})")).await?;
        shop.world.cluster.sql("select count(*) from orders").await?;
    }
    Ok(())
}

fn signal(receiver: &Background, signal: Signal) -> Result<()> {
    let id = Pid::from_raw(receiver.child.id().cast_signed()).context("the receiver's number")?;
    Ok(kill_process(id, signal)?)
}

/// A rehearsal in whose middle something happens: when the step of this name begins.
fn drill_while(shop: &Shop, step: &str, happens: impl FnOnce() -> Result<()>) -> Result<Ran> {
    let (scratch, log) = (shop.scratch()?.display().to_string(), shop.world.path("drill.log"));
    let mut command = std::process::Command::new(shop.world.path("lifeboat"));
    command.arg("--config").arg(shop.world.path("lifeboat.toml"));
    command.args(["drill", "run", "restore-database", "--in", &scratch, "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?).spawn()?;
    wait_for_text(&log, step)?;
    happens()?;
    let output = child.wait_with_output()?;
    let said = fs::read_to_string(&log)?;
    let document = serde_json::from_slice(&output.stdout).with_context(|| said.clone())?;
    Ok(Ran { code: output.status.code(), document, said })
}

/// What was seen when the loss was counted.
fn seen(run: &Value) -> Result<&str> {
    let mut steps = run["steps"].as_array().into_iter().flatten();
    let step = steps.find(|step| step["name"] == "count what was lost").context("the step that counts")?;
    step["seen"].as_str().with_context(|| format!("it saw nothing: {step:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_arrives_next_to_nothing_is_lost() -> Result<()> {
    let (shop, _receiver) = received().await?;
    let run = shop.passes(&["restore-database"])?;
    let measured = &run["measured"];
    ensure!(measured["loss_seconds"] == 0.0 && measured["writes_lost"] == 0, "nobody wrote: {run:#}");
    ensure!(measured["loss_method"] == "log" && seen(&run)? == "no transaction was lost", "{run:#}");
    let clients = Clients::start(&shop.world.cluster, 2).await?;
    let run = shop.passes(&["restore-database"]);
    let written = clients.stop().await?.entries.len();
    let run = run?;
    let measured = &run["measured"];
    let (seconds, lost) = (measured["loss_seconds"].as_f64(), measured["writes_lost"].as_u64());
    ensure!(seconds.is_some_and(|seconds| seconds < 10.0), "{measured:#}");
    ensure!(lost.is_some_and(|lost| lost < written as u64) && measured["loss_method"] == "log", "{measured:#}");
    ensure!(lost == Some(0) || seconds > Some(0.0), "{measured:#}");
    let told = as_ourselves(&shop.world, "lifeboat.toml", &["drill", "show", run["id"].as_str().context("id")?])?;
    ensure!(told.stdout.contains(" lost of those that production had committed by the fault"), "{told:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_had_not_left_production_is_counted_and_held_against_the_promise() -> Result<()> {
    let (shop, receiver) = received().await?;
    signal(&receiver, Signal::STOP)?;
    orders(&shop, 5).await?;
    let ran = drill_while(&shop, "restore it from a location", || {
        // Its log comes after all, and so the restored server may even have what was written in it.
        signal(&receiver, Signal::CONT)
    })?;
    let run = &ran.document["run"];
    ensure!(run["verdict"] == "passed" && run["measured"]["writes_lost"] == 5, "{run:#}\n{}", ran.said);
    let seconds = run["measured"]["loss_seconds"].as_f64();
    ensure!(seconds > Some(0.0) && run["measured"]["loss_method"] == "log", "{run:#}");
    ensure!(seen(run)?.starts_with("5 transactions lost: "), "{run:#}");

    let promise = "[tier.gold]\nrto = \"1h\"\nrpo = \"1s\"\n[group.shop]\ntier = \"gold\"\nworkloads = [\"shop\"]\n";
    shop.world.configure("lifeboat.toml", |text| format!("{text}{promise}"))?;
    all_arrived(&shop).await?;
    signal(&receiver, Signal::STOP)?;
    shop.world.cluster.sql("select pg_sleep(1.5)").await?;
    orders(&shop, 1).await?;
    let ran = drill_while(&shop, "restore it from a location", || signal(&receiver, Signal::CONT))?;
    let (run, reasons) = (&ran.document["run"], ran.document["reasons"].to_string());
    ensure!(run["verdict"] == "failed" && run["measured"]["writes_lost"] == 1, "{run:#}\n{}", ran.said);
    ensure!(reasons.contains("RPA of") && ran.document["reasons"].as_array().map(Vec::len) == Some(1), "{reasons}");
    shop.nothing_is_left()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loss_that_nobody_can_know_is_not_nought() -> Result<()> {
    let (mut shop, receiver) = received().await?;
    // Nothing leaves production any more.
    drop(receiver);
    orders(&shop, 1).await?;
    let not_measured = |run: &Value, why: &str| -> Result<()> {
        let measured = &run["measured"];
        let all = ["loss_seconds", "writes_lost", "loss_method"];
        ensure!(all.iter().all(|name| measured[name].is_null()), "{measured:#}");
        ensure!(seen(run)?.contains(why), "{:?}", seen(run));
        Ok(())
    };
    let run = shop.passes(&["restore-database"])?;
    not_measured(&run, "not measured: the log up to the fault had not arrived in a location after 30 s")?;
    // The waiting is no part of the recovery.
    let validated = run["measured"]["fault_to_validated_seconds"].as_f64();
    ensure!(validated.is_some_and(|seconds| seconds < 30.0), "{:#}", run["measured"]);

    shop.world.cluster.stop(Shutdown::Fast)?;
    let run = shop.passes(&["restore-database"])?;
    not_measured(&run, "where production's own log ended at the fault is not known")?;
    let (text, connection) = (run.to_string(), shop.world.cluster.connection_string());
    ensure!(!text.contains(&connection), "{run:#}");
    // Nobody needs production where nothing is counted.
    let ends = ends(&shop)?;
    ensure!(ends["production"].is_null() && ends["archive"]["lsn"].is_string(), "{ends:#}");
    ensure!(!ends.to_string().contains(&connection), "{ends:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_lacks_what_was_in_a_location_fails() -> Result<()> {
    let (shop, _receiver) = received().await?;
    orders(&shop, 3).await?;
    all_arrived(&shop).await?;
    let path = format!("{}/../crates/drill/src/builtin/restore-database.toml", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path)?;
    let early = text.replace("\"{restored_dir}\"]", "\"{restored_dir}\", \"--immediate\"]");
    ensure!(early != text, "the restore of {path}");
    let own = crate::drills::scenario(&shop, &early)?;
    let lacks = "count what was lost did not hold: the restored server lacks 3 transactions that were in a location";
    let run = shop.ends(&[&own], "failed", lacks)?;
    ensure!(run["measured"]["writes_lost"] == 3, "{run:#}");
    Ok(())
}
