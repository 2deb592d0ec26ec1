//! `lifeboat ready` with real servers and real locations: each thing is broken, is told of, and is mended again.

use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs;

/// What was thought of a check, for its first target or the one that is named.
fn answer<'d>(document: &'d Value, id: &str, target: &str) -> Result<&'d Value> {
    let answers = document["answers"].as_array().context("answers")?;
    let found = answers.iter().find(|answer| answer["id"] == id && (target.is_empty() || answer["target"] == target));
    found.with_context(|| format!("no answer of {id} for {target:?}"))
}

fn asked(world: &World, more: &[&str]) -> Result<(Output, Value)> {
    let mut arguments = vec!["ready", "--json"];
    arguments.extend(more);
    let output = world.lifeboat(&arguments)?;
    let document = output.json()?;
    ensure!(output.code == Some(if document["ready"] == true { 0 } else { 4 }), "{output:?}");
    Ok((output, document))
}

/// Asks, and each of these must be so.
fn must_be(world: &World, expected: &[(&str, &str, &str)]) -> Result<Value> {
    let (_, document) = asked(world, &[])?;
    for (id, target, status) in expected {
        let found = answer(&document, id, target)?;
        ensure!(found["status"] == *status, "{id} of {target:?} should be {status}: {found:#}");
        let is_seen = *status == "ready" || *status == "skipped";
        ensure!(found["advice"].is_null() == is_seen, "{found:#}");
    }
    Ok(document)
}

fn protected() -> Result<World> {
    Plan::new(15)
        .cluster(|builder| builder.setting("archive_timeout", "60"))
        .location("far")
        .workload("alarm = { command = [\"/bin/true\"] }")
        .start()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_nothing_to_ready_and_what_a_proof_holds_for() -> Result<()> {
    let world = protected()?;
    must_be(
        &world,
        &[
            ("point-age", "shop in local", "not_ready"),
            ("verified-boot", "shop", "not_ready"),
            ("restore-time", "shop in far", "unknown"),
            ("server-reachable", "shop", "ready"),
            ("location-reachable", "far", "ready"),
            ("cluster-primary", "all", "skipped"),
        ],
    )?;
    world.backup("full")?;
    world.archive_all().await?;
    world.done(&["verify", "shop"])?;
    world.done(&["verify", "shop", "--data"])?;
    world.done(&["verify", "shop", "--boot", "--from", "far"])?;
    let document = must_be(
        &world,
        &[
            ("archive-age", "shop", "ready"),
            ("archive-failures", "shop", "ready"),
            ("archive-settings", "shop", "ready"),
            ("clock-server", "shop", "ready"),
            ("role-least-privilege", "shop", "not_ready"),
            ("restore-programs", "shop", "ready"),
            ("restore-extensions", "shop", "ready"),
            ("restore-space", "shop", "ready"),
            ("wal-gaps", "shop in far", "ready"),
            ("wal-newest", "shop in far", "ready"),
            ("point-age", "shop in far", "ready"),
            ("point-pages", "shop", "ready"),
            ("verified-structure", "shop", "ready"),
            ("verified-data", "shop", "ready"),
            ("verified-boot", "shop", "ready"),
            ("proof-version", "shop", "ready"),
            ("restore-time", "shop in far", "ready"),
            ("repository-opens", "local", "ready"),
            ("repository-damage", "local", "ready"),
            ("alarm-configured", "shop", "ready"),
            ("copies-3-2-1", "shop", "not_ready"),
        ],
    )?;
    ensure!(document["seconds"].as_f64().is_some_and(|seconds| seconds < 20.0), "{document}");
    let boot = answer(&document, "verified-boot", "shop")?;
    ensure!(boot["evidence"]["answer_hash"].as_str().is_some_and(|hash| hash.len() == 64), "{boot:#}");
    let since = boot["since"].clone();
    let again = must_be(&world, &[("verified-boot", "shop", "ready")])?;
    ensure!(answer(&again, "verified-boot", "shop")?["since"] == since, "since when is remembered");
    // Another configuration was proven than the one that there is now.
    world.configure("lifeboat.toml", |text| format!("{text}check = [\"select true\"]\n"))?;
    let document = must_be(&world, &[("verified-boot", "shop", "not_ready"), ("point-age", "shop in far", "ready")])?;
    let why = answer(&document, "verified-boot", "shop")?["why"].to_string();
    ensure!(why.contains("changed since"), "{why}");
    // A comment is no other configuration.
    world
        .configure("lifeboat.toml", |text| format!("# Mended\n{}", text.replace("check = [\"select true\"]\n", "")))?;
    must_be(&world, &[("verified-boot", "shop", "ready")]).map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_is_told() -> Result<()> {
    let world = protected()?;
    world.backup("full")?;
    world.archive_all().await?;

    let before = fs::read_to_string(world.path("passphrase"))?;
    fs::write(world.path("passphrase"), "not this one at all\n")?;
    let broken = [
        ("repository-opens", "local", "not_ready"),
        ("wal-newest", "shop in local", "unknown"),
        ("point-age", "shop in local", "unknown"),
        ("server-reachable", "shop", "ready"),
    ];
    must_be(&world, &broken)?;
    fs::write(world.path("passphrase"), before)?;

    fs::rename(world.path("repository-far"), world.path("taken"))?;
    let broken = [
        ("location-reachable", "far", "not_ready"),
        ("repository-opens", "far", "unknown"),
        ("point-age", "shop in far", "unknown"),
        ("point-age", "shop in local", "ready"),
    ];
    must_be(&world, &broken)?;
    ensure!(!world.path("repository-far").exists(), "asking made a directory");
    fs::rename(world.path("taken"), world.path("repository-far"))?;

    let settings = |lines: &str| {
        let lines = lines.to_owned();
        world.configure("lifeboat.toml", move |text| format!("{text}{lines}"))
    };
    let kept = fs::read_to_string(world.path("lifeboat.toml"))?;
    settings("standbys = [\"ohio\"]\nbin_dir = \"/nowhere\"\n")?;
    world.configure("lifeboat.toml", |text| text.replace("/bin/true", "/bin/no-such-program"))?;
    let broken = [
        ("standby-lag", "shop", "not_ready"),
        ("restore-programs", "shop", "not_ready"),
        ("alarm-configured", "shop", "not_ready"),
    ];
    must_be(&world, &broken)?;
    world.configure("lifeboat.toml", |_| kept)?;

    lose_a_slot(&world).await?;
    must_be(&world, &[("slot-health", "shop", "not_ready")])?;
    world.cluster.sql("select pg_drop_replication_slot('gone')").await?;
    must_be(&world, &[("slot-health", "shop", "skipped")])?;

    world.archive_all().await?;
    take_a_segment(&world)?;
    must_be(&world, &[("wal-gaps", "shop in far", "not_ready"), ("wal-gaps", "shop in local", "ready")])?;

    world.cluster.sql("alter system set archive_command = 'false'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    world.cluster.sql("select pg_create_restore_point('x')").await?;
    world.cluster.sql("select pg_switch_wal()").await?;
    until("archiving fails", || async {
        let failing = "select (last_failed_time > last_archived_time)::text from pg_stat_archiver";
        Ok(world.cluster.sql(failing).await?.as_deref() == Some("true"))
    })
    .await?;
    must_be(&world, &[("archive-failures", "shop", "not_ready")]).map(drop)
}

/// A slot whose log the server gave up.
async fn lose_a_slot(world: &World) -> Result<()> {
    world.cluster.sql("select pg_create_physical_replication_slot('gone', true)").await?;
    world.cluster.sql("alter system set max_slot_wal_keep_size = '1MB'").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    until("the slot is lost", || async {
        for _ in 0..3 {
            world.cluster.sql("select pg_create_restore_point('x')").await?;
            world.cluster.sql("select pg_switch_wal()").await?;
        }
        world.cluster.sql("checkpoint").await?;
        let state = "select wal_status from pg_replication_slots where slot_name = 'gone'";
        Ok(world.cluster.sql(state).await?.as_deref() == Some("lost"))
    })
    .await
}

/// One from the middle of what `far` holds.
fn take_a_segment(world: &World) -> Result<()> {
    let mut segments = Vec::new();
    let mut directories = vec![world.path("repository-far").join("wal")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() {
                directories.push(entry.path());
            } else if name.len() >= 24
                && name[..24].bytes().all(|byte| byte.is_ascii_hexdigit())
                && !name.contains(".backup")
            {
                segments.push(entry.path());
            }
        }
    }
    segments.sort();
    ensure!(segments.len() >= 3, "{segments:?}");
    fs::remove_file(&segments[segments.len() - 2])?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_is_not_ready_and_what_it_would_say_is_unknown() -> Result<()> {
    let mut world = protected()?;
    world.backup("full")?;
    world.cluster.stop(lifeboat_components::postgres::Shutdown::Fast)?;
    let expected = [
        ("server-reachable", "shop", "not_ready"),
        ("archive-age", "shop", "unknown"),
        ("archive-settings", "shop", "unknown"),
        ("data-checksums", "shop", "unknown"),
        ("restore-programs", "shop", "ready"),
        ("point-age", "shop in local", "ready"),
    ];
    must_be(&world, &expected)?;
    let explained = world.lifeboat(&["ready", "--explain", "archive-age"])?;
    ensure!(
        explained.code == Some(4) && explained.stdout.contains("unknown shop: the server doesn't answer"),
        "{explained:?}"
    );
    let typo = world.lifeboat(&["ready", "--explain", "archive-ages"])?;
    ensure!(typo.code == Some(2) && typo.stderr.contains("did you mean archive-age?"), "{typo:?}");
    let (_, locations) = asked(&world, &["--only", "location"])?;
    let groups = locations["answers"].as_array().context("answers")?;
    ensure!(groups.iter().all(|answer| answer["group"] == "location"), "{locations}");
    let page = world.lifeboat(&["ready"])?;
    eprintln!("{}", page.stdout);
    ensure!(
        page.stdout.contains("NOT READY: ") && page.stdout.contains("not ready server-reachable of shop"),
        "{page:?}"
    );
    Ok(())
}
