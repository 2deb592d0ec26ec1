//! Which transaction lost the table: found in the archived log by `lifeboat when`, and the line that it gives brings the table back.

use crate::load::{Load, prepare};
use crate::timelines::standby_of;
use crate::world::{Plan, World, archive_all};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use serde_json::Value;
use std::path::Path;

/// Runs it as one transaction, and says which.
async fn transaction(cluster: &TestCluster, database: &str, statements: &str) -> Result<u64> {
    in_database(cluster, database, &format!("begin; {statements}; select pg_current_xact_id()::text; commit")).await
}

/// Runs several statements, and reads the number in the last row.
async fn in_database(cluster: &TestCluster, database: &str, statements: &str) -> Result<u64> {
    let settings = cluster.connection_string().replace("dbname=postgres", &format!("dbname={database}"));
    let (client, connection) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let answers = client.simple_query(statements).await.with_context(|| statements.to_owned())?;
    drop(client);
    connection.await??;
    let rows = answers.iter().filter_map(|answer| match answer {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    Ok(rows.last().context("an answer")?.parse()?)
}

/// What `lifeboat when` finds.
fn when(world: &World, arguments: &[&str]) -> Result<Vec<Value>> {
    let mut all = vec!["when", "shop", "--json"];
    all.extend(arguments);
    let document = world.done(&all)?.json()?;
    Ok(document["findings"].as_array().context("findings")?.clone())
}

/// It finds this one transaction, which did that.
fn finds(world: &World, arguments: &[&str], xid: u64, what: &str) -> Result<Value> {
    let found = when(world, arguments)?;
    ensure!(found.len() == 1, "{arguments:?} found {found:?}, not only transaction {xid}");
    let one = found.into_iter().next().context("a finding")?;
    ensure!(one["xid"] == xid && one["what"] == what, "{arguments:?} found {one}, not {what} by {xid}");
    ensure!(one["committed"] == true && one["at"].is_string(), "{one}");
    Ok(one)
}

/// Restores with the line that was given, into a copy that is started.
async fn restored(world: &World, finding: &Value) -> Result<TestCluster> {
    let line = finding["restore"].as_str().with_context(|| format!("no line to restore: {finding}"))?;
    let rest = line.strip_prefix("lifeboat restore shop --to DIR ").with_context(|| line.to_owned())?;
    world.restore(&rest.split(' ').collect::<Vec<_>>()).await
}

/// It ends with that code, and says these words.
fn refused(world: &World, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let mut all = vec!["when", "shop"];
    all.extend(arguments);
    let output = world.lifeboat(&all)?;
    ensure!(output.code == Some(code), "{arguments:?} gave {output:?}");
    for word in words.iter().chain(&["hint:"]) {
        ensure!(output.stderr.contains(word), "{arguments:?} doesn't say {word:?}: {output:?}");
    }
    Ok(())
}

const TABLES: &str = "create schema archive; create table archive.orders as select 1 as id;
    create table orders as select n as id, 'x' || n as what from generate_series(1, 1000) n;
    create table customers as select n as id from generate_series(1, 500) n;
    create table emptied as select n as id from generate_series(1, 700) n;
    create table rewritten as select n as id from generate_series(1, 300) n;
    create table \"Odd Name\" as select 1 as id";

async fn disasters(major: u16) -> Result<()> {
    let world = Plan::new(major).start()?;
    let cluster = &world.cluster;
    prepare(cluster, 1)?;
    cluster.sql(TABLES).await?;
    cluster.sql("vacuum analyze").await?;
    cluster.sql("create database app").await?;
    in_database(cluster, "app", "create table orders as select 7 as id; select 1").await?;
    let load = Load::start(cluster)?;
    world.backup("full")?;
    // What is no loss: rolled back, written anew, locked, renamed back.
    cluster.sql("begin; drop table orders; rollback").await?;
    cluster.sql("begin; savepoint a; truncate customers; rollback to a; commit").await?;
    cluster.sql("vacuum full rewritten").await?;
    cluster.sql("alter table orders add column more int default 5").await?;
    let some = transaction(cluster, "postgres", "delete from customers where id <= 3").await?;
    // A second point, and a table that is younger than it.
    world.backup("incr")?;
    cluster.sql("vacuum full pg_namespace").await?;
    cluster.sql("create schema young; create table young.late as select n as id from generate_series(1, 50) n").await?;
    cluster.sql("vacuum full young.late").await?;
    let late = transaction(cluster, "postgres", "drop table young.late").await?;
    let deletes = "savepoint a; delete from customers where id % 2 = 0; release a;
        savepoint b; delete from customers where id > 400; rollback to b; delete from customers where id <= 400";
    let deleted = transaction(cluster, "postgres", deletes).await?;
    let truncated = transaction(cluster, "postgres", "truncate emptied").await?;
    cluster.sql("vacuum full rewritten").await?;
    let rewritten = transaction(cluster, "postgres", "drop table rewritten").await?;
    let dropped = "insert into archive.orders values (2); savepoint a; drop table public.orders; release a";
    let dropped = transaction(cluster, "postgres", dropped).await?;
    let odd = transaction(cluster, "postgres", "drop table \"Odd Name\"").await?;
    load.stop()?;
    world.archive_all().await?;

    let orders = finds(&world, &["--dropped", "public.orders", "--database", "postgres"], dropped, "dropped")?;
    ensure!(orders["rows_estimated"] == 1000, "{orders}");
    finds(&world, &["--dropped", "late"], late, "dropped")?;
    finds(&world, &["--dropped", "REWRITTEN"], rewritten, "dropped")?;
    finds(&world, &["--dropped", "\"Odd Name\""], odd, "dropped")?;
    let emptied = finds(&world, &["--truncated", "emptied"], truncated, "truncated")?;
    let all = when(&world, &["--deleted-from", "customers"])?;
    // 250 of the first, 200 odd ones up to 400, less two that were gone: 2 is even.
    let rows: Vec<(u64, u64)> =
        all.iter().filter_map(|one| Some((one["xid"].as_u64()?, one["rows"].as_u64()?))).collect();
    ensure!(rows == [(deleted, 249 + 198)], "{rows:?}, and not {deleted}; {some} deleted less than a hundredth");

    let copy = restored(&world, &orders).await?;
    ensure!(copy.sql("select count(*)::text from public.orders").await?.as_deref() == Some("1000"));
    ensure!(copy.sql("select count(*)::text from emptied").await?.as_deref() == Some("0"), "not the moment before");
    ensure!(copy.sql("select count(*)::text from archive.orders").await?.as_deref() == Some("1"));
    drop(copy);
    let copy = restored(&world, &emptied).await?;
    ensure!(copy.sql("select count(*)::text from emptied").await?.as_deref() == Some("700"));
    drop(copy);
    told(&world, dropped)
}

/// What a person reads, and what can't be answered.
fn told(world: &World, dropped: u64) -> Result<()> {
    let output = world.done(&["when", "shop", "--dropped", "public.orders", "--database", "postgres"])?;
    for words in ["public.orders in database postgres", "about 1000", "--exclusive", &format!("  {dropped}: lifeboat")]
    {
        ensure!(output.stdout.contains(words), "no {words:?} in {output:?}");
    }
    refused(world, &["--dropped", "orders"], 2, &["could be any of 3 tables", "archive.orders", "database app"])?;
    refused(world, &["--dropped", "public.orders"], 2, &["could be any of 2 tables", "--database"])?;
    refused(world, &["--dropped", "custommers"], 3, &["no table of shop", "did you mean public.customers"])?;
    refused(world, &["--dropped", "orders", "--database", "ap"], 3, &["no database \"ap\"", "app"])?;
    refused(
        world,
        &["--dropped", "customers"],
        3,
        &["no transaction that dropped public.customers", "deleted 447 rows"],
    )?;
    refused(world, &["--truncated", "customers"], 3, &["and was rolled back"])?;
    refused(world, &["--dropped", "customers", "--until", "2 hours ago"], 3, &["later than --until"])?;
    refused(world, &["--dropped", "customers", "--since", "2099-01-01 00:00 UTC"], 3, &["earlier than --since"])?;
    refused(world, &["--dropped", "a.b.c"], 2, &["not a table's name"])?;
    refused(world, &["--dropped", "customers", "--since", "yesterday"], 2, &["--since"])?;
    let other = world.lifeboat(&["when", "shopp", "--dropped", "t"])?;
    ensure!(other.code == Some(3) && other.stderr.contains("did you mean shop?"), "{other:?}");
    Ok(())
}

/// A table is made, its entry goes to the log as a compressed page, and it is dropped.
async fn under_compression(world: &World, compression: &str) -> Result<(String, u64)> {
    let cluster = &world.cluster;
    cluster.sql(&format!("alter system set wal_compression = {compression}")).await?;
    cluster.sql("select pg_reload_conf()").await?;
    let table = format!("packed_{compression}");
    // Sessions that begin now have the setting.
    transaction(cluster, "postgres", &format!("create table {table} as select n as id from generate_series(1, 9) n"))
        .await?;
    cluster.sql("checkpoint").await?;
    let dropped = transaction(cluster, "postgres", &format!("drop table {table}")).await?;
    Ok((table, dropped))
}

/// Databases that come and go, prepared transactions, compressed pages, `pg_class` written anew, and a hole in the log.
async fn oddities(major: u16) -> Result<()> {
    let world = Plan::new(major).cluster(|builder| builder.setting("max_prepared_transactions", 5)).start()?;
    let cluster = &world.cluster;
    cluster.sql("create table prepared as select 1 as id; create table lost as select 1 as id; create table last as select 1 as id").await?;
    world.backup("full")?;

    let prepared = "begin; drop table prepared; select pg_current_xact_id()::text; prepare transaction 'p'";
    let prepared = in_database(cluster, "postgres", prepared).await?;
    cluster.sql("commit prepared 'p'").await?;
    let has_all =
        cluster.sql("select (enumvals @> '{pglz,lz4,zstd}')::text from pg_settings where name = 'wal_compression'");
    let kinds: &[&str] = match has_all.await?.as_deref() {
        Some("true") => &["pglz", "lz4", "zstd"],
        _ => &["on"],
    };
    let mut packed = Vec::new();
    for kind in kinds {
        packed.push(under_compression(&world, kind).await?);
    }
    cluster.sql("alter system reset wal_compression").await?;
    cluster.sql("select pg_reload_conf()").await?;
    // A database that no recovery point has: its files are in the log, but in 14, which copies them beside it.
    cluster.sql("create database unseen").await?;
    in_database(cluster, "unseen", "create table brief as select 1 as id; select 1").await?;
    let brief = transaction(cluster, "unseen", "drop table brief").await?;
    cluster.sql("create database doomed").await?;
    in_database(cluster, "doomed", "create table inside as select 41 + 1 as id; select 1").await?;
    world.backup("incr")?;
    cluster.sql("drop database doomed").await?;
    // Where the entries lie after this, nobody knew when they were logged.
    cluster.sql("vacuum full pg_class").await?;
    let lost = transaction(cluster, "postgres", "drop table lost").await?;
    world.archive_all().await?;

    finds(&world, &["--dropped", "prepared"], prepared, "dropped")?;
    for (table, dropped) in &packed {
        finds(&world, &["--dropped", table], *dropped, "dropped")?;
    }
    if major >= 15 {
        finds(&world, &["--dropped", "brief", "--database", "unseen"], brief, "dropped")?;
    }
    finds(&world, &["--dropped", "lost"], lost, "file_gone")?;
    let doomed = when(&world, &["--dropped", "inside"])?;
    ensure!(doomed.len() == 1 && doomed[0]["what"] == "dropped_with_database", "{doomed:?}");
    let copy = restored(&world, &doomed[0]).await?;
    ensure!(in_database(&copy, "doomed", "select id::text from inside").await? == 42);
    drop(copy);
    hole(&world).await
}

/// What lies behind a hole, and behind the next recovery point, is found, and the hole is told.
async fn hole(world: &World) -> Result<()> {
    let cluster = &world.cluster;
    let missing = cluster.sql("select pg_walfile_name(pg_current_wal_lsn())").await?.context("a segment")?;
    cluster.sql("create table in_the_hole as select 1 as id").await?;
    world.archive_all().await?;
    cluster.sql("create table behind as select 1 as id").await?;
    world.archive_all().await?;
    world.backup("incr")?;
    let behind = transaction(cluster, "postgres", "drop table behind").await?;
    let younger = transaction(cluster, "postgres", "drop table in_the_hole").await?;
    let last = transaction(cluster, "postgres", "drop table last").await?;
    world.archive_all().await?;
    lose(&world.path("repository-local"), &missing)?;
    finds(world, &["--dropped", "behind"], behind, "dropped")?;
    finds(world, &["--dropped", "last"], last, "dropped")?;
    let output = world.done(&["when", "shop", "--dropped", "in_the_hole"])?;
    ensure!(
        output.stdout.contains(&younger.to_string()) && output.stderr.contains("log is missing from"),
        "{output:?}"
    );
    Ok(())
}

/// Removes what is stored under that name.
fn lose(directory: &Path, name: &str) -> Result<()> {
    let mut waiting = vec![directory.to_owned()];
    let mut lost = 0;
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|found| found.to_string_lossy().contains(name)) {
                std::fs::remove_file(&path)?;
                lost += 1;
            }
        }
    }
    ensure!(lost > 0, "{name} isn't stored at all");
    Ok(())
}

/// The line leads over a promotion: found before it and behind it, restored by the line that was given.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_lost_on_either_side_of_a_promotion_is_found() -> Result<()> {
    let mut world = Plan::new(15).start()?;
    world.cluster.sql("create table before as select 1 as id; create table after as select 2 as id").await?;
    world.backup("full")?;
    let mut standby = standby_of(&world).await?;
    let before = transaction(&world.cluster, "postgres", "drop table before").await?;
    // A clean stop: the standby gets every byte.
    world.cluster.stop(Shutdown::Fast)?;
    standby.promote()?;
    let after = transaction(&standby, "postgres", "drop table after").await?;
    archive_all(&standby).await?;
    let found = finds(&world, &["--dropped", "before"], before, "dropped")?;
    ensure!(found["timeline"] == 1, "{found}");
    let copy = restored(&world, &found).await?;
    ensure!(copy.sql("select count(*)::text from before").await?.as_deref() == Some("1"));
    drop(copy);
    let found = finds(&world, &["--dropped", "after"], after, "dropped")?;
    ensure!(found["timeline"] == 2, "{found}");
    let copy = restored(&world, &found).await?;
    ensure!(copy.sql("select id::text from after").await?.as_deref() == Some("2"));
    drop(copy);
    refused(&world, &["--dropped", "after", "--timeline", "1"], 3, &["no transaction that dropped public.after"])
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ways_to_lose_a_table_are_found_on_15() -> Result<()> {
    oddities(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_ways_to_lose_a_table_are_found_on_18() -> Result<()> {
    oddities(18).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_that_lost_a_table_is_found_on_15() -> Result<()> {
    disasters(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_transaction_that_lost_a_table_is_found_on_18() -> Result<()> {
    disasters(18).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_the_transaction_that_lost_a_table_is_found_on_all_others() -> Result<()> {
    for major in [14, 16, 17] {
        disasters(major).await.with_context(|| format!("PostgreSQL {major}"))?;
        oddities(major).await.with_context(|| format!("PostgreSQL {major}, oddities"))?;
    }
    Ok(())
}
