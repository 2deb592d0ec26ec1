//! Asking the past, and bringing one table back from it.

use crate::served::{as_ourselves, ends_with};
use crate::world::{Plan, World, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::any_postgres;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Orders of which all are there, then half, then none.
struct Shop {
    world: World,
    /// With all of them.
    whole: String,
    /// Just before the table was dropped.
    dropped: String,
}

async fn shop(major: u16) -> Result<Shop> {
    let world = Plan::new(major).start()?;
    let make = "create table customers (n int primary key, name text); \
        insert into customers select g, md5(g::text) from generate_series(1, 100) g; \
        create table orders (id serial primary key, customer int references customers, t text, \
            twice int generated always as (customer * 2) stored); \
        create index on orders (customer); create statistics of_orders on id, customer from orders; \
        insert into orders (customer, t) select g % 100 + 1, md5(g::text) from generate_series(1, 20000) g; \
        create table large as select g, repeat(md5(g::text), 20) from generate_series(1, 30000) g";
    world.cluster.sql(make).await?;
    world.cluster.sql("checkpoint").await?;
    world.backup("full")?;
    let xid = "select pg_current_xact_id()::text";
    let transaction = |what: &str| {
        format!("do $$ begin perform pg_current_xact_id(); {what}; create table told as {xid} as xid; end $$")
    };
    world.cluster.sql(&transaction("delete from orders where id % 2 = 0")).await?;
    let whole = world.cluster.sql("select xid from told").await?.context("a transaction")?;
    world.cluster.sql(&format!("drop table told; {}", transaction("drop table orders"))).await?;
    let dropped = world.cluster.sql("select xid from told").await?.context("a transaction")?;
    world.archive_all().await?;
    let programs = programs(&world)?.display().to_string();
    world.configure("lifeboat.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    Ok(Shop { world, whole, dropped })
}

/// PostgreSQL's programs with those for clients: where a version was installed without them, a newer one's.
pub fn programs(world: &World) -> Result<PathBuf> {
    let real = world.cluster.programs();
    if real.join("pg_dump").exists() {
        return Ok(real.to_path_buf());
    }
    let newer = any_postgres()?.programs;
    let (debian, directory) = (Path::new("/usr/lib/postgresql/15/bin"), world.path("programs"));
    let clients = if world.cluster.major() == 14 && debian.join("pg_dump").exists() { debian } else { &newer };
    std::fs::create_dir(&directory)?;
    let write = |name: &str, line: String| -> Result<()> {
        std::fs::write(directory.join(name), format!("#!/bin/bash\nset -o pipefail\n{line}\n"))?;
        Ok(std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755))?)
    };
    for name in ["initdb", "pg_ctl", "postgres"] {
        write(name, format!("exec {} \"$@\"", real.join(name).display()))?;
    }
    write("psql", format!("exec {} \"$@\"", clients.join("psql").display()))?;
    // It says so for every server, and only 17 and later know it.
    let unknown = "sed -u '/^SET transaction_timeout = 0;$/d'";
    write("pg_dump", format!("{} \"$@\" | {unknown}", clients.join("pg_dump").display()))?;
    Ok(directory)
}

async fn one(world: &World, sql: &str) -> Result<String> {
    world.cluster.sql(sql).await?.with_context(|| format!("an answer to {sql}"))
}

async fn rescues(major: u16) -> Result<()> {
    let Shop { world, whole, dropped } = shop(major).await?;
    let before = |xid: &str| ["--xid".to_owned(), xid.to_owned(), "--exclusive".to_owned()];
    let rescue = |xid: &str, more: &[&str]| {
        let moment = before(xid);
        let all: Vec<&str> = ["rescue", "shop"]
            .into_iter()
            .chain(more.iter().copied())
            .chain(moment.iter().map(String::as_str))
            .collect();
        as_ourselves(&world, "lifeboat.toml", &all)
    };
    let listed = ends_with(rescue(&dropped, &["--list", "--json"])?, 0)?.json()?;
    let names: Vec<&Value> =
        listed["tables"].as_array().context("tables")?.iter().map(|table| &table["table"]).collect();
    ensure!(names.contains(&&Value::from("orders")) && names.contains(&&Value::from("large")), "{listed}");

    let told = ends_with(rescue(&whole, &["--table", "orders", "--suffix", "_all", "--json"])?, 0)?.json()?;
    ensure!(told["tables"][0]["rows"] == 20000 && told["tables"][0]["to"] == "public.orders_all", "{told}");
    let (fetched, all) =
        (told["bytes_fetched"].as_u64().context("bytes")?, told["bytes_in_cluster"].as_u64().context("bytes")?);
    ensure!(fetched < all / 2, "the large table isn't fetched: {told}");
    ensure!(one(&world, "select count(*) || ' ' || sum(twice) from orders_all").await? == "20000 2020000");
    let again = rescue(&whole, &["--table", "orders", "--suffix", "_all"])?;
    ensure!(again.code == Some(7) && again.stderr.contains("--suffix"), "{again:?}");

    let some = ["--table", "public.orders", "--where", "customer = 8 -- only", "--suffix", "_some"];
    ends_with(rescue(&dropped, &some)?, 0)?;
    ensure!(one(&world, "select count(*) || ' ' || min(customer) from orders_some").await? == "200 8");

    let file = world.path("orders.sql").display().to_string();
    ends_with(rescue(&dropped, &["--table", "orders,customers", "--to", &file])?, 0)?;
    let text = std::fs::read_to_string(&file)?;
    ensure!(
        text.contains("COPY public.orders") && text.contains("COPY public.customers") && text.contains("FOREIGN KEY")
    );
    ensure!(rescue(&dropped, &["--table", "orders", "--to", &file])?.code == Some(2), "nothing is written over");

    // Gone: it comes back under its own name, with all that belongs to it.
    ends_with(rescue(&dropped, &["--table", "orders", "--replace"])?, 0)?;
    ensure!(one(&world, "select count(*) from orders").await? == "10000");
    ensure!(
        one(&world, "select count(*) from pg_constraint where conrelid = 'orders'::regclass and contype = 'f'").await?
            == "1"
    );
    // There: its rows are taken back.
    world.cluster.sql("update orders set t = 'wrong'").await?;
    ends_with(rescue(&whole, &["--table", "orders", "--replace"])?, 0)?;
    ensure!(one(&world, "select count(*) from orders where t = md5(id::text)").await? == "20000");
    // Referred to: nothing happens to it, and the rows stand beside.
    let refused = rescue(&whole, &["--table", "customers", "--replace", "--suffix", "_old"])?;
    ensure!(refused.code == Some(5) && refused.stderr.contains("orders refers to it"), "{refused:?}");
    ensure!(one(&world, "select count(*) from customers_old").await? == "100");

    // What inherits from a table is another one.
    world
        .cluster
        .sql("create table later_orders () inherits (orders); insert into later_orders (customer) values (1)")
        .await?;
    ends_with(rescue(&whole, &["--table", "orders", "--replace", "--suffix", "_more"])?, 0)?;
    ensure!(
        one(&world, "select (select count(*) from only orders) || ' ' || (select count(*) from later_orders)").await?
            == "20000 1"
    );
    let left = std::fs::read_dir(world.path(""))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    ensure!(left.filter(|name| name.contains("unfinished")).count() == 0);

    let points = world.done(&["points", "--json"])?;
    ensure!(!points.stdout.contains("a look at the past"), "no point is held any more: {points:?}");

    let near = rescue(&dropped, &["--table", "order"])?;
    ensure!(near.code == Some(3) && near.stderr.contains("did you mean"), "{near:?}");
    let wrong = rescue(&dropped, &["--table", "orders", "--where", "customer =", "--suffix", "_w"])?;
    ensure!(wrong.code == Some(2) && wrong.stderr.contains("--where"), "{wrong:?}");
    let secret = rescue(&dropped, &["--table", "orders", "--into", "host=x password=secret"])?;
    ensure!(secret.code == Some(2) && !secret.stderr.contains("secret\""), "{secret:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_comes_back() -> Result<()> {
    rescues(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_one_table_comes_back_on_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        rescues(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn several_pasts_are_open_at_once_and_leave_nothing() -> Result<()> {
    let Shop { world, whole, dropped } = shop(15).await?;
    let name = |number: u32| format!("e2e-{}-{number}", std::process::id());
    let (one_name, two_name) = (name(1), name(2));
    let run = |arguments: &[&str]| as_ourselves(&world, "lifeboat.toml", arguments);
    let one =
        ends_with(run(&["open", "shop", "--as", &one_name, "--xid", &whole, "--exclusive", "--json"])?, 0)?.json()?;
    let two = ends_with(
        run(&["open", "shop", "--as", &two_name, "--xid", &dropped, "--exclusive", "--writable", "--json"])?,
        0,
    )?
    .json()?;
    let ask = |opened: &Value, sql: &str| -> Result<String> {
        let line = opened["status"]["psql"].as_str().context("what to type")?.to_owned();
        let mut words = line.split(' ').skip(1);
        let mut command = std::process::Command::new(world.cluster.programs().join("psql"));
        command.args(&mut words).args(["-Atc", sql]).stdin(std::process::Stdio::null());
        let output = command.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim())
    };
    ensure!(ask(&one, "select count(*) from orders")? == "20000");
    ensure!(ask(&two, "select count(*) from orders")? == "10000");
    ensure!(ask(&one, "delete from orders")?.contains("read-only"));
    ensure!(ask(&two, "delete from orders; select count(*) from orders")?.ends_with('0'));
    ensure!(ask(&one, "select count(*) from orders")? == "20000");
    let listed = ends_with(run(&["open", "--json"])?, 0)?.json()?;
    let is_there = |name: &str| listed["open"].as_array().is_some_and(|all| all.iter().any(|it| it["name"] == name));
    ensure!(is_there(&one_name) && is_there(&two_name), "{listed}");
    ensure!(run(&["open", "shop", "--as", &one_name])?.code == Some(7));

    let lock = |name: &str| format!("/var/tmp/lifeboat-{}/{name}.lock", rustix::process::geteuid().as_raw());
    ensure!(std::path::Path::new(&lock(&one_name)).exists(), "whoever lives there holds it");
    ends_with(run(&["close", &one_name])?, 0)?;
    ensure!(!std::path::Path::new(&lock(&one_name)).exists(), "its lock is left");
    ensure!(run(&["close", &one_name])?.code == Some(3));
    // The other one's process is killed: the next look clears what it left.
    let process = two["status"]["process_id"].as_i64().and_then(|id| i32::try_from(id).ok()).context("a process")?;
    let process = rustix::process::Pid::from_raw(process).context("a process")?;
    rustix::process::kill_process(process, rustix::process::Signal::KILL)?;
    while rustix::process::test_kill_process(process).is_ok() && !is_zombie(process) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let left = ends_with(run(&["open"])?, 0)?;
    let place = two["status"]["to"].as_str().context("a directory")?.trim_end_matches("/data").to_owned();
    // Or whoever else looks on this machine just now: then it isn't waited for.
    until("what it left is gone, and nobody holds the point any more", || async {
        let points = world.done(&["points", "--json"])?;
        Ok(!std::path::Path::new(&place).exists() && !points.stdout.contains("a look at the past"))
    })
    .await
    .with_context(|| format!("{left:?}"))?;
    let lines = std::fs::read_dir("/proc")?.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    ensure!(!lines.into_iter().any(|line| String::from_utf8_lossy(&line).contains(&place)), "its server is left");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    ensure!(!mounts.contains(&one_name) && !mounts.contains(&two_name));
    Ok(())
}

fn is_zombie(process: rustix::process::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}
