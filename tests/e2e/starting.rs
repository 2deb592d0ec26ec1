//! A server that does not come up as one would like: it lets us not in, or its replay takes too long and somebody wants it no more.

use crate::served::{as_ourselves, ends_with, stop_server};
use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A small cluster in its repository, stopped; its user has a password.
async fn stopped() -> Result<World> {
    let mut world = running().await?;
    world.cluster.stop(Shutdown::Fast)?;
    Ok(world)
}

/// The same, and it still has its socket.
async fn running() -> Result<World> {
    let world = Plan::new(15).start()?;
    world.cluster.sql("create table orders as select g as n from generate_series(1, 1000) g").await?;
    world.cluster.sql("alter role postgres password 'open sesame'").await?;
    let rules = world.cluster.data_dir().join("pg_hba.conf");
    // The server goes on with what it read when it started.
    fs::write(&rules, fs::read_to_string(&rules)?.replace("trust", "scram-sha-256"))?;
    world.backup("full")?;
    world.archive_all().await?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    Ok(world)
}

/// Whose users are let in is not ours to say: a server that refuses us is there for others.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_us_not_in_runs_for_others() -> Result<()> {
    let world = stopped().await?;
    let password = world.path("password");
    fs::write(&password, "open sesame\n")?;
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600))?;
    let knows = format!("password = {{ file = \"{}\" }}\n", password.display());
    world.configure("knows.toml", |text| format!("{text}{knows}"))?;
    for (configuration, is_let_in) in [("lifeboat.toml", false), ("knows.toml", true)] {
        let to = world.path(configuration).with_extension("data");
        let there = to.display().to_string();
        let restore = ["restore", "shop", "--instant", "--start", "--finish", "--json", "--to", &there];
        let served = ends_with(as_ourselves(&world, configuration, &restore)?, 0)?;
        let told = served.json()?;
        ensure!(told["is_whole"] == true, "what comes does not wait for us to be let in: {served:?}");
        ensure!(told["first_query_seconds"].is_number() == is_let_in, "{served:?}");
        ensure!(served.stderr.contains("does not let us ask it") != is_let_in, "{served:?}");
        ensure!(!served.stderr.contains("sesame") && !served.stdout.contains("sesame"));
        stop_server(&world, &to)?;
    }
    Ok(())
}

/// Replay waits for its log, and the user no longer does.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_still_replays_can_be_ended() -> Result<()> {
    let world = stopped().await?;
    let hold = hold_the_log(&world)?;
    let to = world.path("there");
    let mut command = std::process::Command::new(world.path("lifeboat"));
    command.arg("--config").arg(world.path("lifeboat.toml")).stdin(Stdio::null());
    command.args(["restore", "shop", "--instant", "--start", "--to"]).arg(&to);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    asks_for_its_log(&to).await?;
    until("all of it comes while its server still replays", || async {
        let told = as_ourselves(&world, "lifeboat.toml", &["restore", "status", &to.display().to_string(), "--json"])?;
        Ok(told.json()?["restores"][0]["status"]["bytes_to_come"] == 0)
    })
    .await?;
    let ended = interrupt(child)?;
    ensure!(ended.code == Some(0) && ended.stdout.contains("everything is here"), "{ended:?}");
    ensure!(!server_runs(&to)?, "its server is left, or was started again");
    ensure!(!is_mounted(&to)?, "its mount is left");

    let name = format!("e2e-held-{}", std::process::id());
    let mut opening = std::process::Command::new(world.path("lifeboat"));
    opening.arg("--config").arg(world.path("lifeboat.toml")).args(["open", "shop", "--as", &name]);
    let mut opening = opening.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let account = rustix::process::geteuid().as_raw();
    let seat = Path::new("/var/tmp").join(format!("lifeboat-{account}")).join(&name);
    asks_for_its_log(&seat.join("data")).await?;
    ends_with(as_ourselves(&world, "lifeboat.toml", &["close", &name])?, 0)?;
    ensure!(!seat.exists() && !server_runs(&seat.join("data"))?, "something is left of it");
    opening.wait()?;
    fs::remove_file(hold)?;
    Ok(())
}

/// Its server ends at once, and whose child it is takes note of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_rescue_that_still_replays_can_be_interrupted() -> Result<()> {
    let world = stopped().await?;
    let hold = hold_the_log(&world)?;
    let mut command = std::process::Command::new(world.path("lifeboat"));
    command.arg("--config").arg(world.path("lifeboat.toml")).stdin(Stdio::null());
    command.args(["rescue", "shop", "--table", "orders", "--to"]).arg(world.path("orders.sql"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    until("its server is there", || async { Ok(server_of(child.id())?.is_some()) }).await?;
    let data_dir = server_of(child.id())?.context("its server is there")?;
    asks_for_its_log(&data_dir).await?;
    let begun = Instant::now();
    let ended = interrupt(child)?;
    let took = begun.elapsed();
    ensure!(ended.code == Some(5) && ended.stderr.contains("interrupted"), "{ended:?}");
    ensure!(took < Duration::from_secs(10), "it took {took:?}: {ended:?}");
    ensure!(!server_runs(&data_dir)?, "its server is left");
    ensure!(!is_mounted(&data_dir)? && !data_dir.exists(), "its directory is left");
    fs::remove_file(hold)?;
    Ok(())
}

/// Who asks for another moment than what was begun doesn't get that one without a word.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_goes_on_and_no_other_moment() -> Result<()> {
    let mut world = running().await?;
    slowly(&world).await?;
    world.cluster.stop(Shutdown::Fast)?;
    let to = world.path("there");
    let there = to.display().to_string();
    let restore = |more: &[&str]| {
        let all = [&["restore", "shop", "--instant", "--to", &there], more].concat();
        as_ourselves(&world, "slow.toml", &all)
    };
    let stop = || ends_with(as_ourselves(&world, "slow.toml", &["restore", "stop", &there])?, 0);
    ends_with(restore(&["--detach", "--immediate"])?, 0)?;
    stop()?;
    let others: [&[&str]; 6] = [
        &["--at", "2026-01-01T00:00:00Z"],
        &["--lsn", "0/3000028"],
        &["--xid", "700"],
        &["--name", "before"],
        &["--immediate", "--timeline", "7"],
        &["--point", "20260101T000000Z-00000000"],
    ];
    for other in others {
        for way in [&[][..], &["--detach"], &["--start", "--detach"]] {
            let refused = ends_with(restore(&[other, way].concat())?, 2)?;
            let said = &refused.stderr;
            ensure!(said.contains("immediate") && said.contains("without a target"), "{other:?}: {refused:?}");
            ensure!(!is_mounted(&to)?, "{other:?} was mounted");
        }
    }
    for same in [&["--immediate"][..], &["--immediate", "--timeline", "1"], &[]] {
        let goes_on = ends_with(restore(&[same, &["--detach"]].concat())?, 0)?;
        ensure!(goes_on.stdout.contains("immediate"), "{goes_on:?}");
        stop()?;
    }
    Ok(())
}

/// Whoever went away from the terminal is told as well that there is no server, and what to do.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_socket_is_taken_is_told_of() -> Result<()> {
    let world = running().await?;
    slowly(&world).await?;
    let to = world.path("there");
    let there = to.display().to_string();
    let restore = ["restore", "shop", "--instant", "--start", "--to", &there];
    let detached = [&restore[..], &["--detach"]].concat();
    for way in [&detached[..], &restore] {
        let refused = ends_with(as_ourselves(&world, "slow.toml", way)?, 5)?;
        ensure!(refused.stderr.contains("ended while it started"), "{refused:?}");
        ensure!(refused.stderr.contains(&format!(">> {there}/postgresql.conf")), "{refused:?}");
        ensure!(refused.stdout.is_empty() && !is_mounted(&to)?, "{refused:?}");
    }
    let settings = to.join("postgresql.conf");
    let other = world.cluster.port() + 1;
    fs::write(&settings, format!("{}\nport = {other}\n", fs::read_to_string(&settings)?))?;
    ends_with(as_ourselves(&world, "lifeboat.toml", &detached)?, 0)?;
    ends_with(as_ourselves(&world, "lifeboat.toml", &["restore", "finish", &there])?, 0)?;
    stop_server(&world, &to)
}

/// A configuration with which something is left to come: a table that can't be squeezed to nothing.
async fn slowly(world: &World) -> Result<()> {
    let make = "create table large as select g as n, (select string_agg(md5((g * 16 + part)::text), '') from generate_series(1, 10) part) as t \
        from generate_series(1, 60000) g";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.archive_all().await?;
    world.configure("slow.toml", |text| text.replace("[location.local]", "[location.local]\nmax_rate = \"1MB\""))
}

/// Ctrl-C, and how it ended.
fn interrupt(child: Child) -> Result<Output> {
    let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a process")?;
    kill_process(process, Signal::INT)?;
    let ended = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output { code: ended.status.code(), stdout: text(&ended.stdout), stderr: text(&ended.stderr) })
}

/// Where the server runs that a process started.
fn server_of(parent: u32) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let read = |name: &str| fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let (stat, line) = (read("stat"), read("cmdline"));
        let its_parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
        let mut words = line.split('\0').skip_while(|word| *word != "-D");
        if its_parent == Some(&parent.to_string())
            && line.contains("/postgres\0")
            && let Some(path) = words.nth(1)
        {
            return Ok(Some(path.into()));
        }
    }
    Ok(None)
}

fn is_mounted(path: &Path) -> Result<bool> {
    Ok(fs::read_to_string("/proc/self/mountinfo")?.contains(&format!(" {} ", path.display())))
}

/// Whoever fetches log gets no passphrase while the file is there that this returns.
fn hold_the_log(world: &World) -> Result<std::path::PathBuf> {
    let (hold, script, root) = (world.path("hold"), world.path("secret"), world.path(""));
    fs::write(&hold, "")?;
    let root = root.display();
    let text = format!(
        "#!/bin/sh\nwhile [ -e {root}/hold ] && tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q 'wal fetch'\ndo sleep 0.05; done\ncat {root}/passphrase\n"
    );
    fs::write(&script, text)?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let file = format!("{{ file = \"{}\" }}", world.path("passphrase").display());
    let command = format!("{{ command = [\"{}\"] }}", script.display());
    world.configure("lifeboat.toml", |text| text.replace(&file, &command))?;
    Ok(hold)
}

/// Its server runs, and replay has got as far as it can.
async fn asks_for_its_log(data_dir: &Path) -> Result<()> {
    until("replay waits for its log", || async { Ok(server_runs(data_dir)? && is_somewhere("wal fetch")?) }).await
}

fn server_runs(data_dir: &Path) -> Result<bool> {
    is_somewhere(&format!("postgres -D {}", data_dir.display()))
}

fn is_somewhere(words: &str) -> Result<bool> {
    let lines = fs::read_dir("/proc")?.filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    Ok(lines.into_iter().any(|line| String::from_utf8_lossy(&line).replace('\0', " ").contains(words)))
}
