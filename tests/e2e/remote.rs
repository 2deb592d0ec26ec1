//! Recovery points of a cluster whose files the program never sees: the server sends them, to a role that may do hardly
//! anything else.

use crate::contents::{Contents, must_be_sound};
use crate::exactness::more_rows;
use crate::ledger::{Clients, Moment, lsn_text, parse_lsn};
use crate::load::{Load, must_balance, prepare};
use crate::random::Random;
use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// All that is granted; `docs/postgresql-role.md` says the same.
const ROLE: &str = "create role sender login replication; grant pg_read_all_settings to sender";
const CONFIGURATION: &str = "remote.toml";

/// Leaves out the data directory, and connects as the role that may do little. On loopback: no file of the server's is
/// looked at, not even its socket.
pub fn without_data_dir(world: &World, text: &str, more: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("data_dir")).map(|line| match line {
        line if line.starts_with("connection") => {
            let connection = world.cluster.connection_string_tcp().replace("user=postgres", "user=sender");
            format!("connection = \"{connection}\"")
        }
        line => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n" + more
}

pub fn run(world: &World, configuration: &str, arguments: &[&str]) -> Result<Output> {
    let output = world.command(configuration).args(arguments).output().context("start lifeboat")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
}

fn sent(world: &World, kind: &str) -> Result<Value> {
    let output = run(world, CONFIGURATION, &["backup", "shop", "--type", kind, "--json"])?;
    ensure!(output.code == Some(0), "{output:?}");
    let document = output.json()?;
    ensure!(document["pages_bad"] == 0, "pages of a sound cluster were called bad: {document}");
    Ok(document)
}

fn number(document: &Value, name: &str) -> Result<u64> {
    document[name].as_u64().with_context(|| format!("{name} in {document}"))
}

async fn world(major: u16, more: &str) -> Result<World> {
    let world = Plan::new(major).start()?;
    world.cluster.sql(ROLE).await?;
    let text = std::fs::read_to_string(world.path("lifeboat.toml"))?;
    let text = without_data_dir(&world, &text, more);
    world.configure(CONFIGURATION, |_| text)?;
    Ok(world)
}

/// Guards: what the server sends under load is an ordinary point. Points of both ways are each other's parents, and only
/// what changed is stored, although everything is sent.
async fn exact(major: u16, more: &str) -> Result<()> {
    let mut random = Random::new();
    let world = world(major, more).await?;
    prepare(&world.cluster, 3)?;
    let space = world.make_directory("space")?;
    world.cluster.sql(&format!("create tablespace space location '{}'", space.display())).await?;
    let make = "create table far tablespace space as select g, md5(g::text) from generate_series(1, 5000) g; \
        create unlogged table fleeting as select g from generate_series(1, 50000) g; create index on far (g)";
    world.cluster.sql(make).await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let load = Load::start(&world.cluster)?;
    more_rows(&world.cluster, 30).await?;
    let full = sent(&world, "full")?;
    let mut others = Vec::new();
    for is_sent in [true, false, true] {
        more_rows(&world.cluster, 60).await?;
        others.push(if is_sent { sent(&world, "incr")? } else { world.backup("incr")? });
    }
    let last = others.last().context("points")?;
    ensure!(number(last, "bytes_read")? > number(&full, "bytes_read")? / 2, "not all was sent: {last}");
    for other in &others {
        let (new, all) = (number(other, "bytes_new")?, number(&full, "bytes_new")?);
        ensure!(new * 2 < all, "what didn't change was stored again: {new} of {all}");
    }
    ensure!(number(&full, "bytes_read")? < number(&full, "bytes")? + 8193, "more was kept than belongs: {full}");
    more_rows(&world.cluster, 60).await?;
    let ledger = clients.stop().await?;
    load.stop()?;
    world.archive_all().await?;
    let oid = world.cluster.sql("select oid::text from pg_tablespace where spcname = 'space'").await?.context("oid")?;
    let expected = Contents::of(&world.cluster).await?;

    let earliest = parse_lsn(full["lsn_stop"].as_str().context("lsn_stop")?)?;
    let lsn = random.between(earliest, ledger.last().lsn);
    let elsewhere = |name: &str| Ok::<_, anyhow::Error>(format!("{oid}={}", world.make_directory(name)?.display()));
    let (first, second) = (elsewhere("space-first")?, elsewhere("space-second")?);
    let target = ["--lsn", &lsn_text(lsn), "--exclusive", "--tablespace", &first];
    let mut copy = world.restore(&target).await?;
    ledger.judge(&copy, Moment::Lsn(lsn)).await?;
    must_balance(&copy).await?;
    must_be_sound(&mut copy).await?;
    drop(copy);
    let copy = world.restore(&["--tablespace", &second]).await?;
    ledger.judge(&copy, Moment::End).await?;
    let fleeting = copy.sql("select count(*)::text from fleeting").await?;
    ensure!(fleeting.as_deref() == Some("0"), "an unlogged table came back with {fleeting:?} rows");
    let table = "postgres.public.fleeting";
    Contents::of(&copy).await?.without(table).must_be(&expected.without(table))?;
    world.done(&["verify", "shop", "--data"])?;
    let check = run(&world, CONFIGURATION, &["check", "--json"])?;
    ensure!(check.code == Some(0), "{check:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_15_is_exact() -> Result<()> {
    exact(15, "server_compression = \"zstd\"\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_by_18_is_exact() -> Result<()> {
    exact(18, "workers = 3\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_what_is_sent_by_all_others_is_exact() -> Result<()> {
    for major in [14, 16, 17] {
        exact(major, "").await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: damage on the server's disk is seen in what is sent, although the server then says that its backup failed.
async fn damage(major: u16) -> Result<()> {
    let mut world = world(major, "").await?;
    let make = "create table t as select g as a, repeat('x', 500) as b from generate_series(1, 2000) g; checkpoint";
    world.cluster.sql(make).await?;
    let path = world.cluster.sql("select pg_relation_filepath('t')").await?.context("path")?;
    world.cluster.stop(Shutdown::Fast)?;
    let file = File::options().read(true).write(true).open(world.cluster.data_dir().join(&path))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5 * 8192 + 4000)?;
    file.write_all_at(&[byte[0] ^ 1], 5 * 8192 + 4000)?;
    world.cluster.start()?;
    for kind in ["full", "incr"] {
        let output = run(&world, CONFIGURATION, &["backup", "shop", "--type", kind])?;
        ensure!(output.code == Some(4), "{kind}: {output:?}");
        let told = format!("{path}: damaged page, block 5");
        ensure!(output.stderr.contains(&told), "{kind}: nothing of \"{told}\" in {output:?}");
        ensure!(output.stderr.contains("1 damaged page"), "{kind}: other pages are called damaged, too: {output:?}");
    }
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    ensure!(points["points"].as_array().is_some_and(|points| points.len() == 2), "{points}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_seen_in_what_is_sent() -> Result<()> {
    damage(18).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_damage_is_seen_in_what_all_others_send() -> Result<()> {
    for major in [14, 15, 16, 17] {
        damage(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: a role without the right to replicate is refused before anything is read, with what to type; what is typed
/// helps; and a program that is killed leaves nothing, neither here nor on the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_program_leaves_nothing_and_a_role_without_rights_is_told() -> Result<()> {
    let world = world(15, "max_rate = \"1MB\"\n").await?;
    world.cluster.sql("alter role sender noreplication").await?;
    for command in [&["backup", "shop"][..], &["check"]] {
        let refused = run(&world, CONFIGURATION, command)?;
        let text = format!("{}{}", refused.stdout, refused.stderr);
        ensure!(refused.code != Some(0) && text.contains("alter role \"sender\" replication;"), "{refused:?}");
    }
    world.cluster.sql("alter role \"sender\" replication;").await?;
    prepare(&world.cluster, 1)?;
    let mut running = world.spawn(CONFIGURATION, &["backup", "shop"])?;
    let sending = "select count(*)::text from pg_stat_progress_basebackup where backup_streamed > 2000000";
    until("the server sends", || async { Ok(world.cluster.sql(sending).await?.as_deref() == Some("1")) }).await?;
    let second = world.lifeboat(&["backup", "shop"])?;
    ensure!(second.code != Some(0) && second.stderr.contains("another backup"), "two at once: {second:?}");
    running.child.kill()?;
    running.child.wait()?;
    let nobody = "select count(*)::text from pg_stat_replication";
    until("the server has noticed", || async { Ok(world.cluster.sql(nobody).await?.as_deref() == Some("0")) }).await?;
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    ensure!(points["points"].as_array().is_some_and(Vec::is_empty), "{points}");
    // And the next one, by whichever way, is whole.
    world.backup("incr")?;
    world.archive_all().await?;
    let copy = world.restore(&[]).await?;
    must_balance(&copy).await
}

/// Guards: with nothing of Lifeboat on the database's host, a receiver elsewhere has the log that a backup needs, and
/// host and disk may both be lost.
#[tokio::test(flavor = "multi_thread")]
async fn with_nothing_on_the_host_of_the_database() -> Result<()> {
    let mut world = Plan::new(17).without_archiving().start()?;
    world.cluster.sql(ROLE).await?;
    let text = std::fs::read_to_string(world.path("lifeboat.toml"))?;
    let text = without_data_dir(&world, &text, "slot = \"remote\"\n");
    world.configure(CONFIGURATION, |_| text)?;
    let refused = run(&world, CONFIGURATION, &["backup", "shop"])?;
    ensure!(refused.code == Some(2) && refused.stderr.contains("nothing keeps the write-ahead log"), "{refused:?}");
    let mut receiver = world.spawn(CONFIGURATION, &["wal", "receive", "shop"])?;
    let ask = "select count(*)::text from pg_replication_slots where active";
    until("the receiver is connected", || async { Ok(world.cluster.sql(ask).await?.as_deref() == Some("1")) })
        .await
        .with_context(|| receiver.log())?;
    let clients = Clients::start(&world.cluster, 1).await?;
    more_rows(&world.cluster, 30).await?;
    for kind in ["full", "incr"] {
        sent(&world, kind)?;
        more_rows(&world.cluster, 30).await?;
    }
    let ledger = clients.stop().await?;
    world.cluster.stop(Shutdown::Fast)?;
    // A server that stops in order sends all it has first; told to stop, the receiver stores what has arrived.
    let id = rustix::process::Pid::from_child(&receiver.child);
    rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
    receiver.wait()?;
    std::fs::rename(world.cluster.data_dir(), world.cluster.directory().join("burnt"))?;
    let copy = world.restore(&[]).await?;
    ledger.judge(&copy, Moment::End).await?;
    Ok(())
}
