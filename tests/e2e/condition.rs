//! When the answer to a condition changed: found by `lifeboat when --sql` in servers of the past, to the transaction.

use crate::served::as_ourselves;
use crate::world::{Output, Plan, World};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// So many segments of 32 MiB, mostly empty: more log than is listed at once.
const SEGMENTS: usize = 3;
const MANY: &str = "(select count(*) from orders) > 100";

/// A shop of which not everything is in the log of the last minutes.
struct Shop {
    world: World,
    /// The transaction with the row that was one too many.
    crossed: u64,
    /// The one that made a table.
    made: u64,
    /// When the shop had some orders, and not too many.
    early: String,
    /// When it had too many, and the table wasn't made yet.
    late: String,
}

/// Runs a statement in a transaction of its own, and tells its number.
async fn transaction(world: &World, statement: &str) -> Result<u64> {
    let xid = world
        .cluster
        .sql(&format!("with done as ({statement} returning 1) select pg_current_xact_id()::text from done limit 1"))
        .await?;
    Ok(xid.context("a transaction's number")?.parse()?)
}

async fn segments(world: &World) -> Result<()> {
    for _ in 0..SEGMENTS {
        world.cluster.sql("insert into noise values (1)").await?;
        world.cluster.sql("select pg_switch_wal()").await?;
    }
    Ok(())
}

async fn shop() -> Result<Shop> {
    let world = Plan::new(15).cluster(|builder| builder.wal_segment_size_mib(32)).start()?;
    let insert = "insert into orders values (default)";
    world.cluster.sql("create table noise (n int); create sequence tickets; create table orders (id serial)").await?;
    world.cluster.sql("insert into orders select from generate_series(1, 90)").await?;
    world.backup("full")?;
    segments(&world).await?;
    for _ in 0..10 {
        transaction(&world, insert).await?;
    }
    let early = now(&world).await?;
    // Rolled back, it crosses no bound.
    world.cluster.sql("begin; insert into orders select from generate_series(1, 50); rollback").await?;
    let crossed = transaction(&world, insert).await?;
    for _ in 0..5 {
        transaction(&world, insert).await?;
        transaction(&world, "insert into noise values (1)").await?;
    }
    let late = now(&world).await?;
    // It makes a table: the only statement of its transaction that has a number.
    let make = "do $$ begin create table late as select pg_current_xact_id()::text as made; end $$";
    world.cluster.sql(make).await?;
    let made = world.cluster.sql("select made from late").await?.context("a transaction's number")?.parse()?;
    world.cluster.sql("select setval('tickets', 5000)").await?;
    world.archive_all().await?;
    let programs = world.cluster.programs().display().to_string();
    // With a machine's key, which is quicker: each server of the past fetches its log anew.
    let key = world.path("key").display().to_string();
    world.done(&["key", "add", "--machine", &key, "--label", "test"])?;
    world.configure("lifeboat.toml", |text| {
        format!("{}bin_dir = \"{programs}\"\n", text.replace("/passphrase\"", "/key\""))
    })?;
    Ok(Shop { world, crossed, made, early, late })
}

/// The server's clock.
async fn now(world: &World) -> Result<String> {
    let at = "select to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD HH24:MI:SS.US') || ' UTC'";
    world.cluster.sql(at).await?.context("a time")
}

fn when(world: &World, arguments: &[&str]) -> Result<Output> {
    as_ourselves(world, "lifeboat.toml", &[&["when", "shop"], arguments].concat())
}

/// The one finding, and the whole document.
fn finds(world: &World, arguments: &[&str]) -> Result<(Value, Value)> {
    let output = when(world, &[arguments, &["--json"]].concat())?;
    ensure!(output.code == Some(0), "{arguments:?} gave {output:?}");
    let document = output.json()?;
    let findings = document["findings"].as_array().context("findings")?;
    ensure!(findings.len() == 1, "{document}");
    Ok((findings[0].clone(), document))
}

/// It ends with that code, and says these words.
fn refused(world: &World, arguments: &[&str], code: i32, words: &[&str]) -> Result<Output> {
    let output = when(world, arguments)?;
    ensure!(output.code == Some(code), "{arguments:?} gave {output:?}");
    for word in words.iter().chain(&["hint:"]) {
        ensure!(output.stderr.contains(word), "{arguments:?} doesn't say {word:?}: {output:?}");
    }
    Ok(output)
}

fn steps(output: &Output) -> usize {
    output.stderr.lines().filter(|line| line.starts_with("step ")).count()
}

/// What the server of the moment that the line opens says.
fn opened(world: &World, line: &Value, sql: &str) -> Result<String> {
    let line = line.as_str().with_context(|| format!("a line to type: {line}"))?;
    let name = format!("when-{}", std::process::id());
    let words = line.strip_prefix("lifeboat ").with_context(|| line.to_owned())?.split(' ');
    let words: Vec<&str> = words.chain(["--as", &name, "--json"]).collect();
    let output = as_ourselves(world, "lifeboat.toml", &words)?;
    ensure!(output.code == Some(0), "{line}: {output:?}");
    let psql = output.json()?["status"]["psql"].as_str().context("what to type")?.to_owned();
    let mut command = std::process::Command::new(world.cluster.programs().join("psql"));
    command.args(psql.split(' ').skip(1)).args(["-Atc", sql]).stdin(std::process::Stdio::null());
    let said = command.output()?;
    let closed = as_ourselves(world, "lifeboat.toml", &["close", &name])?;
    ensure!(closed.code == Some(0), "{closed:?}");
    Ok(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// No place below which a server of this world's past lives or lived, and no hold.
fn nothing_is_left(world: &World) -> Result<()> {
    let points = world.done(&["points", "--json"])?;
    ensure!(!points.stdout.contains("a look at the past"), "a point is held still: {points:?}");
    let root = world.path("").display().to_string();
    let account = rustix::process::geteuid().as_raw();
    for seat in std::fs::read_dir(format!("/var/tmp/lifeboat-{account}"))? {
        // It says how the server got its log: by this world's program.
        let settings = seat?.path().join("data/postgresql.auto.conf");
        let text = std::fs::read_to_string(&settings).unwrap_or_default();
        ensure!(!text.contains(&root), "{} is left", settings.display());
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_that_changed_an_answer_is_found() -> Result<()> {
    let Shop { world, crossed, made, early, late } = shop().await?;
    // A count that crossed a bound, among many commits that changed it, too.
    let (found, document) = finds(&world, &["--sql", MANY])?;
    ensure!(
        found["xid"] == crossed && found["committed"] == true && found["at"].is_string(),
        "not {crossed}: {document}"
    );
    ensure!(found["before"]["answer"] == "false" && found["after"]["answer"] == "true", "{found}");
    let probes = document["probes"].as_array().context("probes")?.len();
    // Two ends, one or two halves of some 100 MiB, and one of some fifty moments.
    ensure!((6..=12).contains(&probes), "{probes} probes: {document}");
    ensure!(opened(&world, &found["open"], "select count(*) from orders")? == "100", "{found}");

    // What a person reads, of a part of the log.
    let told = when(&world, &["--sql", MANY, "--since", &early, "--until", &late])?;
    ensure!(
        told.code == Some(0) && told.stdout.contains(&format!("open shop --xid {crossed} --exclusive")),
        "{told:?}"
    );
    ensure!(
        told.stdout.contains("rescue shop --table TABLE") && told.stderr.contains("this is one change"),
        "{told:?}"
    );
    ensure!(steps(&told) > 3 && steps(&told) < probes && told.stderr.contains("step 1 of about"), "{told:?}");

    // A table that wasn't there.
    let (found, _) = finds(&world, &["--sql", "exists (select from late) -- is it?", "--since", &late])?;
    ensure!(found["xid"] == made && found["before"]["answer"] == "no_answer", "not {made}: {found}");
    ensure!(found["before"]["why"].as_str().is_some_and(|why| why.contains("late")), "{found}");

    // A sequence is no transaction's: what is known is told.
    let (found, document) = finds(&world, &["--sql", "(select last_value from tickets) > 1000", "--since", &late])?;
    ensure!(found["xid"].is_null() && found["committed"] == false, "{document}");
    let (before, after) = (&found["before"], &found["after"]);
    ensure!(before["answer"] == "false" && after["answer"] == "true" && before["lsn"] != after["lsn"], "{document}");
    nothing_is_left(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_question_is_refused_and_what_has_one_answer_is_told() -> Result<()> {
    let Shop { world, early, .. } = shop().await?;
    let same =
        refused(&world, &["--sql", "(select count(*) from orders) > 50"], 3, &["the same at both ends", ": true"])?;
    ensure!(steps(&same) == 2 && same.stderr.matches(": true").count() >= 2, "{same:?}");
    refused(&world, &["--sql", "exists (select from nowhere)"], 3, &["the same at both ends", "nowhere"])?;
    refused(&world, &["--sql", "true", "--database", "nowhere"], 3, &["the same at both ends", "no database"])?;
    let same = refused(&world, &["--sql", MANY, "--until", &early], 3, &["the same at both ends", ": false"])?;
    ensure!(steps(&same) == 2, "{same:?}");
    // After the first server, and before another.
    for (wrong, words) in [
        ("(select count(*) from orders", "syntax error"),
        ("true); drop table orders; select (true", "multiple commands"),
        ("(select count(*) from orders)", "of type int8"),
        ("true, false", "of type record"),
        ("nextval('tickets') > 0", "read-only"),
    ] {
        let output = refused(&world, &["--sql", wrong], 2, &["--sql", words])?;
        ensure!(steps(&output) == 0, "{output:?}");
    }
    // Before any server.
    refused(&world, &["--sql", " "], 2, &["--sql is empty"])?;
    let late = "2099-01-01 00:00 UTC";
    refused(&world, &["--sql", MANY, "--since", late, "--until", &early], 2, &["--since is later than --until"])?;
    let output = refused(&world, &["--sql", MANY, "--until", late], 3, &["cannot be restored"])?;
    ensure!(steps(&output) == 0, "{output:?}");
    refused(&world, &["--sql", MANY, "--since", "2001-01-01 00:00 UTC"], 3, &["oldest recovery point"])?;
    let both = when(&world, &["--sql", MANY, "--dropped", "orders"])?;
    ensure!(both.code == Some(2) && both.stderr.contains("cannot be used with"), "{both:?}");
    nothing_is_left(&world)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_interrupted_leaves_nothing() -> Result<()> {
    use std::io::{BufRead, BufReader, Read};
    let Shop { world, .. } = shop().await?;
    let mut command = std::process::Command::new(world.path("lifeboat"));
    command.arg("--config").arg(world.path("lifeboat.toml")).args(["when", "shop", "--sql"]);
    // It thinks long about the other end.
    command.arg("exists (select from orders where id > 95 and pg_sleep(600) is not null)");
    let pipe = std::process::Stdio::piped;
    let mut child = command.stdin(std::process::Stdio::null()).stdout(pipe()).stderr(pipe()).spawn()?;
    let mut stderr = BufReader::new(child.stderr.take().context("stderr")?);
    let mut line = String::new();
    while !line.starts_with("step 1 ") {
        line.clear();
        ensure!(stderr.read_line(&mut line)? > 0, "it ended by itself");
    }
    let process = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(process, rustix::process::Signal::INT)?;
    let mut rest = String::new();
    stderr.read_to_string(&mut rest)?;
    ensure!(child.wait()?.code() == Some(5) && rest.contains("interrupted"), "{rest}");
    nothing_is_left(&world)
}
