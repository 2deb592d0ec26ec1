//! `lifeboat standby create`: what it makes follows, has everything, and goes over to a new primary.

use crate::contents::Contents;
use crate::ledger::Clients;
use crate::remote::run;
use crate::world::{Output, Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::{TestCluster, free_port};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::path::Path;

/// Has a standby made where the server of a test can be started.
pub fn create(world: &World, name: &str, arguments: &[&str]) -> Result<(TestCluster, Value)> {
    let mut document = Value::Null;
    let standby = TestCluster::builder(world.cluster.major()).adopt(|data| {
        world.cluster.give_to_server(data)?;
        document = world.done(&with(data, name, arguments))?.json()?;
        Ok(())
    })?;
    Ok((standby, document))
}

/// The same with another configuration, and all of the words given.
pub fn create_with(world: &World, configuration: &str, words: &[&str]) -> Result<Value> {
    let output = run(world, configuration, words)?;
    ensure!(output.code == Some(0), "{output:?}");
    output.json()
}

fn with<'a>(to: &'a Path, name: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let to = to.to_str().unwrap_or_default();
    let mut all = vec!["standby", "create", "shop", "--json", "--to", to, "--name", name];
    all.extend(arguments);
    all
}

/// Waits until it receives the log as it is written.
pub async fn streams(standby: &TestCluster) -> Result<()> {
    let ask = "select coalesce(max(status), '') from pg_stat_wal_receiver";
    let streaming = until("the standby streams", || async {
        Ok(standby.sql(ask).await.ok().flatten().is_some_and(|status| status == "streaming"))
    });
    streaming.await.with_context(|| standby.log())
}

/// Waits until it has replayed all that the other has.
pub async fn has_all(standby: &TestCluster, of: &TestCluster) -> Result<()> {
    let end = of.sql("select pg_current_wal_lsn()::text").await?.context("its position")?;
    let ask = format!("select (pg_last_wal_replay_lsn() >= '{end}')::text");
    let replayed = until("the standby has everything", || async {
        Ok(standby.sql(&ask).await?.is_some_and(|answer| answer == "true"))
    });
    replayed.await.with_context(|| standby.log())
}

async fn slots(cluster: &TestCluster) -> Result<String> {
    Ok(cluster
        .sql("select coalesce(string_agg(slot_name, ' ' order by slot_name), '') from pg_replication_slots")
        .await?
        .unwrap_or_default())
}

/// Guards: the slot is there before the files are read, so that nothing is missing between; a point that is older than a raised
/// `max_connections` still follows; without the primary, the archive alone brings the standby over to the next one's timeline.
async fn from_the_repository(major: u16) -> Result<()> {
    let mut world = Plan::new(major).start()?;
    let clients = Clients::start(&world.cluster, 2).await?;
    world.backup("full")?;
    clients.stop().await?;
    world.cluster.sql("alter system set max_connections = 150").await?;
    world.cluster.restart()?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let (mut standby, made) = create(&world, "ohio", &[])?;
    ensure!(made["from"] == "repository" && made["slot"]["name"] == "lifeboat_ohio", "{made}");
    ensure!(made["slot"]["created"] == true && made["cascading"] == false, "{made}");
    ensure!(slots(&world.cluster).await? == "lifeboat_ohio", "the slot");
    standby.start()?;
    streams(&standby).await?;
    clients.stop().await?;
    has_all(&standby, &world.cluster).await?;
    Contents::of(&standby).await?.must_be(&Contents::of(&world.cluster).await?)?;
    let used = "select string_agg(slot_name || ' ' || active || ' ' || r.application_name, ',') from pg_replication_slots \
        join pg_stat_replication r on r.pid = active_pid";
    ensure!(world.cluster.sql(used).await?.as_deref() == Some("lifeboat_ohio true ohio"), "it uses the slot");

    // Another takes over. The archive is all that is left to the first.
    let (mut other, _) = create(&world, "oregon", &[])?;
    other.start()?;
    streams(&other).await?;
    has_all(&other, &world.cluster).await?;
    world.cluster.stop(Shutdown::Fast)?;
    standby.sql("alter system set primary_conninfo = ''").await?;
    standby.sql("select pg_reload_conf()").await?;
    other.promote()?;
    other.sql("create table after_promotion as select g from generate_series(1, 1000) g").await?;
    crate::world::archive_all(&other).await?;
    let ask = "select count(*)::text from pg_class where relname = 'after_promotion'";
    until("the archive brings it over", || async { Ok(standby.sql(ask).await?.as_deref() == Some("1")) })
        .await
        .with_context(|| standby.log())?;
    // And then by streaming.
    let conninfo = other.connection_string().replace('\'', "''");
    standby.sql(&format!("alter system set primary_conninfo = '{conninfo}'")).await?;
    standby.sql("alter system set primary_slot_name = ''").await?;
    standby.sql("select pg_reload_conf()").await?;
    streams(&standby).await?;
    other.sql("insert into after_promotion select g from generate_series(1, 1000) g").await?;
    has_all(&standby, &other).await?;
    Contents::of(&standby).await?.must_be(&Contents::of(&other).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_from_the_repository_follows_over_a_promotion_15() -> Result<()> {
    from_the_repository(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_standby_from_the_repository_follows_over_a_promotion_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        from_the_repository(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// Guards: a tablespace never lands on the primary's own; what was refused leaves nothing, neither files nor a slot; the server's list of
/// files is compared with what came.
async fn from_the_primary(major: u16) -> Result<()> {
    let world = Plan::new(major).start()?;
    let place = world.make_directory("fast")?;
    world.cluster.sql(&format!("create tablespace fast location '{}'", place.display())).await?;
    world
        .cluster
        .sql("create table t tablespace fast as select g, md5(g::text) from generate_series(1, 20000) g")
        .await?;
    let oid = world.cluster.sql("select oid::text from pg_tablespace where spcname = 'fast'").await?.context("oid")?;
    let clients = Clients::start(&world.cluster, 2).await?;

    let to = world.path("unmapped");
    let output = world.lifeboat(&with(&to, "ohio", &["--from", "primary"]))?;
    ensure!(output.code == Some(2) && output.stdout.contains(&format!("--tablespace {oid}=DIR")), "{output:?}");
    ensure!(!to.exists() && slots(&world.cluster).await?.is_empty(), "something is left of what was refused");

    let mapped = world.make_directory("fast-ohio")?;
    let map = format!("{oid}={}", mapped.display());
    // Without any recovery point the primary is the source by itself.
    let (mut standby, made) = create(&world, "ohio", &["--tablespace", &map])?;
    ensure!(made["from"] == "primary" && made["point"].is_null() && made["reads_archive"] == true, "{made}");
    standby.start()?;
    streams(&standby).await?;
    clients.stop().await?;
    has_all(&standby, &world.cluster).await?;
    Contents::of(&standby).await?.must_be(&Contents::of(&world.cluster).await?)?;
    let ask = "select pg_tablespace_location(oid) from pg_tablespace where spcname = 'fast'";
    ensure!(standby.sql(ask).await?.as_deref() == mapped.to_str(), "the tablespace of the standby");

    // In a cascade, from the standby.
    let primary = standby.connection_string();
    let second = world.make_directory("fast-oregon")?;
    let map = format!("{oid}={}", second.display());
    let arguments = ["--from", "primary", "--primary", &primary, "--tablespace", &map];
    let (mut cascaded, made) = create(&world, "oregon", &arguments)?;
    ensure!(made["cascading"] == true, "{made}");
    cascaded.start()?;
    streams(&cascaded).await?;
    world.cluster.sql("insert into t select g, 'more' from generate_series(1, 100) g").await?;
    has_all(&cascaded, &world.cluster).await?;
    Contents::of(&cascaded).await?.must_be(&Contents::of(&world.cluster).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_from_the_primary_with_a_tablespace_15() -> Result<()> {
    from_the_primary(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_standby_from_the_primary_with_a_tablespace_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        from_the_primary(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

/// A server that the program started; ended with the test.
struct Server(Pid);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::QUIT);
    }
}

/// Guards: `--start` returns when it streams, and what it says of that is measured.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_started_and_streams() -> Result<()> {
    let own = tempfile::NamedTempFile::new_in("/tmp")?;
    let include = own.path().display().to_string();
    let world = Plan::new(15).cluster(|builder| builder.setting("include_if_exists", &include)).start()?;
    world.backup("full")?;
    // Both read the same file: the primary has its port already.
    std::fs::write(own.path(), format!("port = {}\n", free_port()?))?;
    world.cluster.give_to_server(own.path())?;
    world.cluster.sql("create table t as select g from generate_series(1, 1000) g").await?;
    let to = world.path("standby");
    let made = world.done(&with(&to, "ohio", &["--start"]))?.json()?;
    let id = made["started"]["process_id"].as_i64().and_then(|id| Pid::from_raw(id.try_into().ok()?));
    let _server = Server(id.context("its process")?);
    let seconds = made["started"]["seconds"].as_f64().context("how long it took")?;
    ensure!(seconds > 0.0 && made["started"]["behind_bytes"].is_u64(), "{made}");
    let ask = "select string_agg(application_name || ' ' || state, ',') from pg_stat_replication";
    ensure!(world.cluster.sql(ask).await?.as_deref() == Some("ohio streaming"), "it doesn't stream when it says so");
    Ok(())
}

fn refused(output: &Output, code: i32, words: &[&str]) -> Result<()> {
    let text = format!("{}{}", output.stdout, output.stderr);
    ensure!(
        output.code == Some(code) && words.iter().all(|word| text.contains(word)),
        "not {code} {words:?}: {output:?}"
    );
    Ok(())
}

/// Guards: each is said before the first byte, with what to do, and leaves neither a directory nor a slot.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_become_a_standby_is_refused() -> Result<()> {
    let hba = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 trust\nhost replication allowed 127.0.0.1/32 trust\n";
    let world = Plan::new(15).cluster(|builder| builder.hba(hba).setting("max_replication_slots", 2)).start()?;
    world.cluster.sql("create role allowed login; create role replicator login replication").await?;
    world.backup("full")?;
    let to = world.path("standby");
    let tcp = |user: &str| world.cluster.connection_string_tcp().replace("user=postgres", &format!("user={user}"));
    let create = |arguments: &[&str]| world.lifeboat(&with(&to, "ohio", arguments));

    refused(
        &create(&["--primary", &tcp("replicator")])?,
        7,
        &["no pg_hba.conf entry", "host replication replicator 127.0.0.1/32"],
    )?;
    refused(&create(&["--primary", &tcp("allowed")])?, 7, &["alter role allowed replication"])?;
    refused(&create(&["--primary", "host=127.0.0.1 password=secret"])?, 2, &["passfile"])?;
    let stranger = TestCluster::builder(15).start()?;
    refused(&create(&["--primary", &stranger.connection_string()])?, 2, &["another cluster"])?;
    let deaf = TestCluster::builder(15).setting("max_wal_senders", 0).start()?;
    refused(&create(&["--primary", &deaf.connection_string()])?, 5, &["raise max_wal_senders"])?;
    drop(deaf);

    let receiver = world.spawn("lifeboat.toml", &["wal", "receive", "shop"])?;
    until("the receiver is there", || async {
        Ok(world.cluster.sql("select count(*)::text from pg_stat_replication").await?.as_deref() == Some("1"))
    })
    .await?;
    refused(&create(&["--slot", "lifeboat_shop"])?, 7, &["used by another receiver"])?;
    drop(receiver);
    world.cluster.sql("select pg_create_physical_replication_slot('a')").await?;
    refused(&create(&[])?, 7, &["all 2 replication slots", "max_replication_slots"])?;
    ensure!(slots(&world.cluster).await? == "a lifeboat_shop", "a slot is left of what was refused");
    world.cluster.sql("select pg_drop_replication_slot('a')").await?;

    ensure!(!to.exists(), "something was written");
    world.make_directory("standby")?;
    std::fs::write(to.join("somebody's"), "data")?;
    refused(&create(&[])?, 2, &["is not empty"])?;
    refused(&create(&["--from", "primary"])?, 2, &["is not empty"])?;
    let held: Vec<_> = std::fs::read_dir(&to)?.collect();
    ensure!(held.len() == 1, "something was written beside what was there");
    let other = TestCluster::builder(14).create()?;
    let line = format!("[workload.shop]\nbin_dir = \"{}\"", other.programs().display());
    world.configure("lifeboat.toml", |text| text.replace("[workload.shop]", &line))?;
    std::fs::remove_file(to.join("somebody's"))?;
    refused(&create(&[])?, 2, &["is PostgreSQL 15, and so must be its standby"])?;
    ensure!(slots(&world.cluster).await? == "lifeboat_shop", "a slot is left of what was refused");
    Ok(())
}

/// Guards: PostgreSQL follows the highest timeline of the archive, which a copy that was promoted by mistake left there.
#[tokio::test(flavor = "multi_thread")]
async fn a_timeline_that_the_primary_never_was_on_leads_nobody_away() -> Result<()> {
    let world = Plan::new(15).start()?;
    world.backup("full")?;
    world.archive_all().await?;
    let stray = world.restore(&["--as-primary"]).await?;
    crate::world::archive_all(&stray).await?;
    drop(stray);
    let to = world.path("standby");
    refused(
        &world.lifeboat(&with(&to, "ohio", &[]))?,
        2,
        &["timeline 2, which the primary, on timeline 1, has never been on"],
    )?;
    ensure!(!to.exists(), "something was written");
    let (mut standby, made) = create(&world, "ohio", &["--from", "primary"])?;
    ensure!(made["reads_archive"] == false, "{made}");
    standby.start()?;
    streams(&standby).await?;
    world.cluster.sql("create table t as select g from generate_series(1, 1000) g").await?;
    has_all(&standby, &world.cluster).await?;
    Contents::of(&standby).await?.must_be(&Contents::of(&world.cluster).await?)
}
