//! A server over a directory that is still coming: it answers at once, and survives the end of whoever serves it.

use crate::serving::Served;
use crate::world::{Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::Account;
use lifeboat_components::postgres::Shutdown;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Commits until it can't. Returns the numbers whose commits were acknowledged: from one up to another.
async fn commit(connection: String, from: i32) -> (i32, i32) {
    let mut acknowledged = from - 1;
    let Ok((client, driver)) = tokio_postgres::connect(&connection, tokio_postgres::NoTls).await else {
        return (from, acknowledged);
    };
    let driver = tokio::spawn(driver);
    // Anywhere: more pages than the server has room for.
    let change = "update orders set t = md5(t) where n = ($1::int::bigint * 7919) % 30000 + 1";
    loop {
        let next = acknowledged + 1;
        if client.execute("insert into ledger values ($1)", &[&next]).await.is_err() {
            driver.abort();
            return (from, acknowledged);
        }
        acknowledged = next;
        // Whether it is acknowledged doesn't matter.
        let _ = client.execute(change, &[&next]).await;
    }
}

/// Every number that was acknowledged is there.
async fn must_be_there(world: &World, acknowledged: &[(i32, i32)]) -> Result<()> {
    for (from, to) in acknowledged {
        let lost =
            format!("select count(*) from generate_series({from}, {to}) n where n not in (select n from ledger)");
        let lost = world.cluster.sql(&lost).await?.context("a number")?;
        ensure!(lost == "0", "{lost} commits of {from} to {to} were acknowledged and are lost: {acknowledged:?}");
    }
    Ok(())
}

/// The server crashes and recovers, over a mount that goes on. What it wrote before and never synced it takes for durable from then on,
/// and the checkpoint at the end leaves the log of it behind.
async fn crash_alone(world: &World) -> Result<()> {
    let backend =
        world.cluster.sql("select pid from pg_stat_activity where query ~ '(into ledger|update orders)' and pid <> pg_backend_pid() limit 1").await?;
    let backend = rustix::process::Pid::from_raw(backend.context("somebody commits")?.parse()?).context("a process")?;
    rustix::process::kill_process(backend, rustix::process::Signal::KILL)?;
    let recovered =
        "select count(*) from pg_stat_activity where query ~ '(into ledger|update orders)' and pid <> pg_backend_pid()";
    until("it recovered", || async {
        Ok(world.cluster.sql(recovered).await.is_ok_and(|found| found.as_deref() == Some("0")))
    })
    .await?;
    world.cluster.sql("checkpoint").await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_mount_loses_no_commit() -> Result<()> {
    let mut world = Plan::new(15).cluster(|cluster| cluster.setting("fsync", "on")).start()?;
    let make = "create table ledger (n int primary key); create table orders (n int primary key, t text); \
        insert into orders select g, repeat(md5(g::text), 20) from generate_series(1, 30000) g";
    world.cluster.sql(make).await?;
    world.backup("full")?;
    world.cluster.sql("insert into ledger select generate_series(1, 10)").await?;
    world.archive_all().await?;
    world.cluster.stop(Shutdown::Fast)?;
    // The copy's server is where the original's was.
    let connection = world.cluster.connection_string();
    let programs = world.cluster.programs().display().to_string();
    world.configure("instant.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    let to = world.make_directory("instant")?;
    let mut acknowledged = vec![(1, 10)];
    for (round, milliseconds) in [300, 900, 50, 600].into_iter().enumerate() {
        let mut served = Served::start(&world, &to)?;
        served.until_it_says("the first query was answered").await.with_context(|| format!("round {round}"))?;
        must_be_there(&world, &acknowledged).await.with_context(|| format!("round {round}"))?;
        // The next number may be there, and nobody was told.
        let next = acknowledged.iter().map(|(_, to)| to).max().context("a number")? + 2;
        let committing = tokio::spawn(commit(connection.clone(), next));
        // The moment is the fault that is injected: nothing is waited for.
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if round == 1 {
            crash_alone(&world).await?;
        }
        served.kill()?;
        acknowledged.push(committing.await?);
    }
    let mut served = Served::start(&world, &to)?;
    served.until_it_says("everything is here").await?;
    must_be_there(&world, &acknowledged).await?;
    let sound = "select count(*) from orders where length(t) in (32, 640)";
    ensure!(world.cluster.sql(sound).await?.as_deref() == Some("30000"));
    drop(served);
    // An ordinary directory is left.
    ensure!(!to.join(".lifeboat-mount").exists() && to.join("global/pg_control").exists());
    let control = |action: &str| -> Result<bool> {
        let mut command = Account::command(world.cluster.account(), &world.cluster.programs().join("pg_ctl"));
        command.arg(action).arg("-w").arg("-D").arg(&to).arg("-l").arg(world.path("plain.log"));
        Ok(command.current_dir("/").stdin(Stdio::null()).status()?.success())
    };
    ensure!(control("start")?, "{}", fs::read_to_string(world.path("plain.log"))?);
    until("it answers", || async { Ok(world.cluster.sql(sound).await.is_ok()) }).await?;
    must_be_there(&world, &acknowledged).await?;
    let committed: i32 = acknowledged.iter().map(|(from, to)| to - from + 1).sum();
    ensure!(committed > 100, "hardly anything was committed: {acknowledged:?}");
    ensure!(control("stop")?);
    Ok(())
}
