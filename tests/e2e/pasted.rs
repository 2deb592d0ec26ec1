//! What was typed wrong is refused before anything is started; and what is printed to be typed next can be pasted as it is.

use crate::past::programs;
use crate::served::{as_ourselves, ends_with};
use crate::world::{Output, Plan, World};
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};

fn rescue(world: &World, arguments: &[&str]) -> Result<Output> {
    as_ourselves(world, "lifeboat.toml", &[&["rescue", "shop"], arguments].concat())
}

/// Runs a line as a shell does that it was pasted into. Another command may follow its own words.
fn pasted(world: &World, line: &str, more: &str) -> Result<Output> {
    let rest = line.strip_prefix("lifeboat ").with_context(|| line.to_owned())?;
    let program = format!("{} --config {}", world.path("lifeboat").display(), world.path("lifeboat.toml").display());
    let output = Command::new("sh").args(["-c", &format!("{program} {rest} {more}")]).stdin(Stdio::null()).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

fn configured(world: &World) -> Result<()> {
    let programs = programs(world)?.display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_wrong_is_refused_before_anything_is_started() -> Result<()> {
    let world = Plan::new(15).start()?;
    let make = "create table orders as select g as id, g % 100 as customer from generate_series(1, 1000) g; \
        create table orders_all as select 1 as id; create view seen as select 1 as id";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.archive_all().await?;
    configured(&world)?;
    let (here, aside) = (world.path("repository-local"), world.path("repository-aside"));
    // Whoever is not refused now, asks the location, and fails of that.
    std::fs::rename(&here, &aside)?;
    let (file, directory) = (world.path("lifeboat.toml").display().to_string(), world.path("").display().to_string());
    let (below, absent) = (format!("{file}/in.sql"), world.path("absent/in.sql").display().to_string());
    for (more, code, words) in [
        (&["--table", "a.b.c"][..], 2, "is not a table's name"),
        (&["--table", "\"orders"], 2, "is not a table's name"),
        (&["--table", "orders,"], 2, "is not a table's name"),
        (&["--table", "orders", "--where", "customer ="], 2, "--where"),
        (&["--table", "orders", "--where", "customer = 7; drop table orders"], 2, "--where"),
        (&["--table", "orders", "--where", " "], 2, "--where"),
        (&["--table", "orders", "--to", &file], 2, "exists already"),
        (&["--table", "orders", "--to", &directory], 2, "is a directory"),
        (&["--table", "orders", "--to", &below], 2, "make the directory first"),
        (&["--table", "orders", "--to", &absent], 2, "make the directory first"),
        (&["--table", "orders", "--suffix", "; drop"], 2, "--suffix"),
        (&["--table", "orders", "--suffix", "_all"], 7, "orders_all is there already"),
        (&["--table", "seen,public.orders", "--suffix", "_all"], 7, "public.orders_all is there already"),
        (&["--table", "orders", "--where", "customer = 7"], 3, "repository-local"),
    ] {
        let refused = ends_with(rescue(&world, more)?, code).with_context(|| format!("{more:?}"))?;
        ensure!(refused.stderr.contains(words), "{more:?} does not say {words:?}: {refused:?}");
    }
    std::fs::rename(&aside, &here)?;
    // What only the past can tell.
    let to = world.path("orders.sql").display().to_string();
    for (more, words) in [
        (&["--table", "orders", "--where", "nonsense = 1", "--to", &to][..], "nonsense"),
        (&["--table", "orders", "--where", "customer = 'seven'", "--to", &to], "seven"),
        (&["--table", "orders", "--where", "customer =", "--to", &to], "--where"),
        (&["--table", "seen"], "was no table"),
    ] {
        let refused = ends_with(rescue(&world, more)?, 2).with_context(|| format!("{more:?}"))?;
        ensure!(refused.stderr.contains(words), "{more:?} does not say {words:?}: {refused:?}");
    }
    ensure!(!world.path("orders.sql").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_to_be_typed_can_be_pasted() -> Result<()> {
    let world = Plan::new(15).start()?;
    world.cluster.sql("create table \"Orders\" as select 1 as id").await?;
    world.cluster.sql("create database \"my app\"").await?;
    configured(&world)?;
    let psql = |sql: &str| -> Result<String> {
        let mut command = Command::new(world.cluster.programs().join("psql"));
        command.arg(format!("{} dbname='my app'", world.cluster.connection_string())).args(["-AtXc", sql]);
        let output = command.stdin(Stdio::null()).output()?;
        ensure!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    psql("create schema \"My Schema\"")?;
    psql("create table \"My Schema\".\"Or,ders.it's\" as select g as id from generate_series(1, 70) g")?;
    world.backup("full")?;
    psql("drop table \"My Schema\".\"Or,ders.it's\"")?;
    world.archive_all().await?;

    let when = ["when", "shop", "--dropped", "\"My Schema\".\"Or,ders.it's\""];
    let told = ends_with(as_ourselves(&world, "lifeboat.toml", &when)?, 0)?;
    let line = |word: &str| -> Result<String> {
        let lines = told.stdout.lines().filter_map(|line| line.find("lifeboat ").map(|at| &line[at..]));
        let line = lines.into_iter().find(|line| line.starts_with(&format!("lifeboat {word} ")));
        Ok(line.with_context(|| format!("no line for {word}: {told:?}"))?.to_owned())
    };
    let rescue_line = line("rescue")?;
    ensure!(rescue_line.contains("--database 'my app'"), "{rescue_line}");
    ends_with(pasted(&world, &rescue_line, "--suffix _back")?, 0)?;
    ensure!(psql("select count(*) from \"My Schema\".\"Or,ders.it's_back\"")? == "70");
    let name = format!("pasted-{}", std::process::id());
    ends_with(pasted(&world, &line("open")?, &format!("--as {name}"))?, 0)?;
    ends_with(as_ourselves(&world, "lifeboat.toml", &["close", &name])?, 0)?;
    let to = world.path("moment").display().to_string();
    ends_with(pasted(&world, &line("restore")?.replace("--to DIR", &format!("--to {to}")), "--dry-run")?, 0)?;

    let moment = rescue_line.split_once(" --lsn ").context("a position")?.1;
    let listed = ends_with(pasted(&world, &format!("lifeboat rescue shop --list --lsn {moment}"), "")?, 0)?;
    for (name, table, database) in [
        ("'public.\"Orders\"'", "Orders", ""),
        ("'\"My Schema\".\"Or,ders.it'\\''s\"'", "Or,ders.it's", "--database 'my app'"),
    ] {
        ensure!(listed.stdout.contains(name), "no {name}: {listed:?}");
        let file = world.path(&format!("{}.sql", table.len())).display().to_string();
        let line = format!("lifeboat rescue shop --table {name} {database} --to {file} --lsn {moment}");
        ends_with(pasted(&world, &line, "")?, 0)?;
        ensure!(std::fs::read_to_string(&file)?.contains(&format!("\"{table}\"")), "{file}");
    }
    // Without a shell; and without quotes, where only one is called so.
    for (number, name) in ["'public.\"Orders\"'", "public.Orders", "Orders"].into_iter().enumerate() {
        let file = world.path(&format!("bare-{number}.sql")).display().to_string();
        let words = [&["--table", name, "--to", &file, "--lsn"][..], &moment.split(' ').collect::<Vec<_>>()].concat();
        ends_with(rescue(&world, &words)?, 0)?;
        ensure!(std::fs::read_to_string(&file)?.contains("\"Orders\""), "{file}");
    }
    let words =
        [&["--table", "\"Or,ders.its\"", "--database", "my app", "--lsn"][..], &moment.split(' ').collect::<Vec<_>>()];
    let near = ends_with(rescue(&world, &words.concat())?, 3)?;
    let line = near.stderr.split('`').find(|part| part.contains("--table")).with_context(|| format!("{near:?}"))?;
    ends_with(pasted(&world, line, "--suffix _near")?, 0)?;
    ensure!(psql("select count(*) from \"My Schema\".\"Or,ders.it's_near\"")? == "70");
    Ok(())
}
