//! Rehearsals by the program: damage that no page checksum sees ends with exit code 4 and a name, and what was measured is
//! there for whoever watches.

use crate::served::as_ourselves;
use crate::world::{Plan, until};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::process::{Command, Stdio};

/// Guards: an index that lacks rows makes the rehearsal fail, by name; the same without amcheck passes and says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_index_fails_the_rehearsal_by_name() -> Result<()> {
    let limits = "verify_within = \"7d\"\nbackup_within = \"26h\"";
    let world = Plan::new(15).workload(limits).start()?;
    world.cluster.sql("create table orders (n int); create index orders_n on orders (n)").await?;
    world.backup("full")?;
    let never = world.lifeboat(&["check", "--quiet"])?;
    ensure!(never.code == Some(4) && never.stdout.contains("verification (boot): "), "{never:?}");

    world.cluster.sql("insert into orders select generate_series(1, 100)").await?;
    world.archive_all().await?;
    let proved = world.done(&["verify", "shop", "--boot", "--json", "--quiet"])?.json()?;
    let boot = &proved["boot"];
    ensure!(boot["amcheck"]["result"] == "passed" && boot["reached"]["bytes_short"] == 0, "{boot:#}");
    ensure!(boot["reached"]["bytes_behind"].is_u64(), "the server was asked: {boot:#}");
    // The server's account may mount, or not.
    let because = boot["came"]["because"].to_string();
    let says_why = because.contains("/dev/fuse") || because.contains("fusermount3");
    ensure!(boot["came"]["way"] == "mount" || says_why, "{boot:#}");
    ensure!(boot["host"].as_str().is_some_and(|host| !host.is_empty()), "{boot:#}");
    world.done(&["check", "--quiet"])?;
    let figures = figures(&world.done(&["metrics", "--json", "--quiet"])?.json()?)?;
    let get = |name: &str| figures.iter().find(|(found, _)| found == name).map(|(_, value)| *value);
    ensure!(get("lifeboat_recovery_time_seconds") == boot["seconds"].as_f64(), "{figures:?}");
    ensure!(get("lifeboat_verification_passed") == Some(1.0) && get("lifeboat_log_gaps") == Some(0.0), "{figures:?}");

    let ready = "update pg_index set indisready = $ where indexrelid = 'orders_n'::regclass";
    world.cluster.sql(&ready.replace('$', "false")).await?;
    world.cluster.sql("insert into orders values (0)").await?;
    world.cluster.sql(&ready.replace('$', "true")).await?;
    world.archive_all().await?;
    let failed = world.lifeboat(&["verify", "shop", "--boot"])?;
    ensure!(failed.code == Some(4) && failed.stderr.contains("index public.orders_n in postgres"), "{failed:?}");
    ensure!(failed.stdout.contains("lacks matching index tuple"), "{failed:?}");
    let checked = world.lifeboat(&["check", "--quiet"])?;
    ensure!(checked.code == Some(4) && checked.stdout.contains("failed"), "the last one failed: {checked:?}");
    let without = world.done(&["verify", "shop", "--boot", "--without-amcheck"])?;
    ensure!(without.stdout.contains("not checked: --without-amcheck"), "{without:?}");
    let copied = world.done(&["verify", "shop", "--boot", "--without-amcheck", "--copy"])?;
    ensure!(copied.stdout.contains("every file was written before the start: --copy"), "{copied:?}");
    let figures = world.done(&["metrics", "--quiet"])?.stdout;
    ensure!(figures.contains("lifeboat_recovery_time_seconds{workload=\"shop\",way=\"copy\"}"), "{figures}");
    let served = as_ourselves(&world, "lifeboat.toml", &["verify", "shop", "--boot", "--without-amcheck"])?;
    ensure!(served.code == Some(0) && served.stdout.contains("RTA of an instant restore"), "{served:?}");
    ensure!(served.stdout.contains("files came when they were read: "), "{served:?}");
    let figures = as_ourselves(&world, "lifeboat.toml", &["metrics", "--quiet"])?.stdout;
    ensure!(figures.contains("lifeboat_recovery_time_seconds{workload=\"shop\",way=\"mount\"}"), "{figures}");
    Ok(())
}

fn figures(document: &Value) -> Result<Vec<(String, f64)>> {
    let all = document["metrics"].as_array().context("a list of figures")?;
    let figure = |one: &Value| Some((one["name"].as_str()?.to_owned(), one["value"].as_f64()?));
    all.iter().map(|one| figure(one).with_context(|| one.to_string())).collect()
}

/// Guards: a rehearsal over a mount that is interrupted leaves nothing, and one that is killed nothing that the next doesn't remove.
#[tokio::test(flavor = "multi_thread")]
async fn an_ended_rehearsal_over_a_mount_leaves_nothing() -> Result<()> {
    let world = Plan::new(15).workload("check = [\"select pg_sleep(60) is null\"]").start()?;
    world.backup("full")?;
    world.configure("fast.toml", |text| text.replace("pg_sleep(60)", "pg_sleep(0)"))?;
    let scratch = world.make_directory("scratch")?;
    let rehearse = |configuration: &str| {
        let mut command = Command::new(world.path("lifeboat"));
        command.arg("--config").arg(world.path(configuration)).args(["verify", "shop", "--boot"]);
        command.env("TMPDIR", &scratch).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let is_mounted = || {
        Ok::<_, anyhow::Error>(fs::read_to_string("/proc/self/mountinfo")?.contains(scratch.to_str().unwrap_or("/")))
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let mut running = rehearse("lifeboat.toml").spawn()?;
        until("its server runs", || async {
            let rooms: Vec<_> = fs::read_dir(&scratch)?.map(|item| Ok(item?.path())).collect::<Result<_>>()?;
            Ok(rooms.iter().any(|room| room.join("data/postmaster.pid").exists()))
        })
        .await?;
        ensure!(is_mounted()?, "it is a copy");
        kill_process(Pid::from_child(&running), signal)?;
        let status = running.wait()?;
        if signal == Signal::TERM {
            ensure!(status.code() == Some(5), "{status}");
        } else {
            let next = rehearse("fast.toml").output()?;
            let said = String::from_utf8_lossy(&next.stderr).into_owned();
            ensure!(said.contains("left by a verification that was killed"), "{said}");
        }
        ensure!(!is_mounted()?, "it is still mounted");
        ensure!(fs::read_dir(&scratch)?.next().is_none(), "something is left in {}", scratch.display());
    }
    Ok(())
}

/// Guards: a location that goes away under a rehearsal over a mount says nothing about the point. Exit code 5, and no result is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_goes_away_under_a_mount_marks_nothing() -> Result<()> {
    let world = Plan::new(15).start()?;
    world
        .cluster
        .sql("create table orders as select g as n, md5(g::text) as t from generate_series(1, 50000) g")
        .await?;
    world.backup("full")?;
    let (go, scratch) = (world.path("go"), world.make_directory("scratch")?);
    // Waits for the file, a minute at most; then reads what nobody has read yet.
    let waits = format!(
        "select count(*) = 1 from (select from generate_series(1, 6000) where pg_sleep(0.01)::text = '' \
         and (pg_stat_file('{}', true)).size is not null limit 1) found",
        go.display()
    );
    let checks = format!("check = [\"{waits}\", \"select count(*) = 50000 from orders\"]\n");
    world.configure("away.toml", |text| format!("{text}{checks}"))?;
    let rehearse = || {
        let mut command = Command::new(world.path("lifeboat"));
        command.arg("--config").arg(world.path("away.toml")).args(["verify", "shop", "--boot"]);
        command.env("TMPDIR", &scratch).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let running = rehearse().spawn()?;
    until("its server is asked", || async {
        let rooms: Vec<_> = fs::read_dir(&scratch)?.map(|item| Ok(item?.path())).collect::<Result<_>>()?;
        let says = |room: &std::path::PathBuf| fs::read_to_string(room.join("log")).unwrap_or_default();
        Ok(rooms.iter().any(|room| says(room).contains("ready to accept connections")))
    })
    .await?;
    let (there, away) = (world.path("repository-local"), world.path("away"));
    fs::rename(&there, &away)?;
    fs::write(&go, "")?;
    let ended = running.wait_with_output()?;
    fs::rename(&away, &there)?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.code() == Some(5), "{}: {said}", ended.status);
    ensure!(!said.contains("did not pass"), "{said}");
    ensure!(fs::read_dir(&scratch)?.next().is_none(), "something is left in {}", scratch.display());
    let verification = || -> Result<Value> {
        Ok(as_ourselves(&world, "away.toml", &["points", "shop", "--json"])?.json()?["points"][0]["verification"]
            .clone())
    };
    let kept = verification()?;
    ensure!(kept["level"] == "structure" && kept["passed"] == true, "{kept:#}");
    // There again, it passes, and what was read most is not for people.
    let again = rehearse().output()?;
    ensure!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let kept = verification()?;
    ensure!(kept["level"] == "boot" && kept["passed"] == true && kept["details"].get("read").is_none(), "{kept:#}");
    Ok(())
}
