//! An instant restore that goes on without whoever asked for it: told of, stopped, begun again, finished.

use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What only whoever may mount can do: the tests' own account.
pub fn as_ourselves(world: &World, configuration: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(world.path("lifeboat"));
    command.arg("--config").arg(world.path(configuration)).args(arguments).stdin(Stdio::null());
    let output = command.output().context("start lifeboat")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

pub fn ends_with(output: Output, code: i32) -> Result<Output> {
    ensure!(output.code == Some(code), "not {code}: {output:?}");
    Ok(output)
}

/// Whatever a failed test left.
struct Stop<'a>(&'a World, &'a Path);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        let _ = as_ourselves(self.0, "fast.toml", &["restore", "stop", &self.1.display().to_string()]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_alone_and_is_told_what_to_do() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    // It must not be squeezed to nothing.
    let make = "create table orders as select g as n, (select string_agg(md5((g * 16 + part)::text), '') from generate_series(1, 10) part) as t \
        from generate_series(1, 60000) g";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.cluster.sql("create table ledger as select 0 as n, 'last' as t").await?;
    world.archive_all().await?;
    world.cluster.stop(Shutdown::Fast)?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("fast.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    world.configure("slow.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    // So that there is something left to be told of: a part of the large table can't be had for now.
    let pack = largest(&world.path("repository-local/packs"))?;
    let (whole, mut holed) = (fs::read(&pack)?, fs::read(&pack)?);
    let middle = holed.len() / 2;
    holed[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 1);
    fs::write(&pack, &holed)?;
    let to = world.make_directory("there")?;
    let there = to.display().to_string();
    let restore = ["restore", "shop", "--instant", "--start", "--detach", "--to", &there];
    let nothing = ends_with(as_ourselves(&world, "slow.toml", &["restore", "status", &there])?, 3)?;
    ensure!(nothing.stderr.contains("not being restored instantly"), "{nothing:?}");

    let _stop = Stop(&world, &to);
    let served = ends_with(as_ourselves(&world, "slow.toml", &[&restore[..], &["--json"]].concat())?, 0)?.json()?;
    ensure!(served["status"]["first_query_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{served}");
    let last = "select count(*) from ledger where n = 0 and t = 'last'";
    ensure!(world.cluster.sql(last).await?.as_deref() == Some("1"));
    let told = ends_with(as_ourselves(&world, "slow.toml", &["restore", "status", &there, "--json"])?, 0)?.json()?;
    let status = &told["restores"][0]["status"];
    ensure!(status["bytes_to_come"].as_u64() > Some(0) && status["workload"] == "shop", "{told}");
    // Of others on this machine it may have nothing good to say.
    let all = as_ourselves(&world, "slow.toml", &["restore", "status", "--json"])?.json()?;
    let is_there = |restore: &Value| restore["status"]["to"] == there.clone();
    ensure!(all["restores"].as_array().is_some_and(|all| all.iter().any(is_there)), "{all}");
    let second = ends_with(as_ourselves(&world, "slow.toml", &restore)?, 7)?;
    ensure!(second.stderr.contains("restore status"), "{second:?}");

    let held = || -> Result<usize> {
        Ok(world.done(&["points", "--json"])?.json()?["points"].to_string().matches("instant restore").count())
    };
    ensure!(held()? == 1, "the point stays for as long as something is to come from it");

    ends_with(as_ourselves(&world, "slow.toml", &["restore", "stop", &there])?, 0)?;
    ensure!(held()? == 1);
    ensure!(world.cluster.sql(last).await.is_err(), "the server is stopped too");
    ensure!(!to.join("global/pg_control").exists(), "nobody can start what isn't whole");
    let dead = ends_with(as_ourselves(&world, "slow.toml", &["restore", "status", &there])?, 4)?;
    ensure!(dead.stdout.contains("nobody serves it"), "{dead:?}");

    fs::write(&pack, &whole)?;
    ends_with(as_ourselves(&world, "fast.toml", &restore)?, 0)?;
    world.cluster.sql("insert into orders values (0, 'new')").await?;
    ends_with(as_ourselves(&world, "fast.toml", &["restore", "finish", &there])?, 0)?;
    ensure!(!to.join(".lifeboat-mount").exists() && to.join("global/pg_control").exists());
    until("it answers", || async { Ok(world.cluster.sql(last).await.is_ok()) }).await?;
    ensure!(held()? == 0, "nobody needs the point any more");
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("60001"));
    stop_server(&world, &to)
}

/// The largest file below a directory.
fn largest(directory: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)?.flatten() {
            let size = entry.metadata()?.len();
            if entry.path().is_dir() { directories.push(entry.path()) } else { files.push((size, entry.path())) }
        }
    }
    files.into_iter().max().map(|(_, path)| path).context("no pack")
}

/// Nothing can be mounted without the right to: that is said before anything is made, and copying is offered.
#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_mounted_it_is_copied_if_that_is_wanted() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world.cluster.sql("create table orders as select g as n from generate_series(1, 1000) g").await?;
    world.backup("full")?;
    world.archive_all().await?;
    world.cluster.stop(Shutdown::Fast)?;
    if world.cluster.account().is_none() {
        // Then it could be mounted, or not, as the machine's settings are.
        return Ok(());
    }
    let programs = world.cluster.programs().display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    let to = world.path("there");
    let restore = ["restore", "shop", "--instant", "--start", "--to", &to.display().to_string()];
    // The account of the server may not mount anything.
    let refused = world.lifeboat(&restore)?;
    ensure!(refused.code == Some(5) && refused.stderr.contains("--or-copy"), "{refused:?}");
    ensure!(!to.exists(), "nothing was made");
    let copied = world.done(&[&restore[..], &["--or-copy"]].concat())?;
    ensure!(copied.stderr.contains("everything is copied first"), "{copied:?}");
    ensure!(world.cluster.sql("select count(*) from orders").await?.as_deref() == Some("1000"));
    stop_server(&world, &to)?;

    let file = world.make_directory("rescued")?.join("orders.sql").display().to_string();
    let rescue = ["rescue", "shop", "--table", "orders", "--to", &file];
    let refused = world.lifeboat(&rescue)?;
    ensure!(refused.code == Some(5) && refused.stderr.contains("--or-copy"), "{refused:?}");
    ensure!(!Path::new(&file).exists(), "nothing was made");
    world.done(&[&rescue[..], &["--or-copy"]].concat())?;
    let rows = fs::read_to_string(&file)?.lines().filter(|line| line.parse::<u32>().is_ok()).count();
    ensure!(rows == 1000, "{rows} rows");
    Ok(())
}

pub fn stop_server(world: &World, data_dir: &Path) -> Result<()> {
    let program = world.cluster.programs().join("pg_ctl");
    let mut command = lifeboat_components::Account::command(world.cluster.account(), &program);
    command.args(["stop", "-w", "-D"]).arg(data_dir).current_dir("/").stdin(Stdio::null());
    ensure!(command.status()?.success());
    Ok(())
}
