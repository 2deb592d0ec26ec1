//! What an instant restore leaves is what an ordinary one leaves: byte by byte when nobody wrote, table by table when somebody did; and every
//! page and every index of it is sound.

use crate::contents::{Contents, sound_by};
use crate::ledger::{Clients, Moment};
use crate::load::{Load, must_balance, prepare};
use crate::served::{as_ourselves, ends_with};
use crate::serving::Served;
use crate::world::{Plan, World, start_to_the_end, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Tables, indexes of every kind, a second database, a tablespace, a table without log, and large values.
async fn shop(major: u16) -> Result<(World, String)> {
    let world = Plan::new(major).cluster(|cluster| cluster.setting("fsync", "on")).start()?;
    let space = world.make_directory("space")?;
    prepare(&world.cluster, 2)?;
    world.cluster.sql(&format!("create tablespace other location '{}'", space.display())).await?;
    world.cluster.sql("create database second").await?;
    let make = "create table orders as select g as n, (select string_agg(md5((g * 7 + part)::text), '') from generate_series(1, 8) part) as t \
            from generate_series(1, 20000) g; \
        create index on orders (n); create index on orders using hash (t); create index on orders using brin (n); \
        create table words tablespace other as select g as n, to_tsvector('simple', md5(g::text)) as t from generate_series(1, 3000) g; \
        create index on words using gin (t) tablespace other; create index on words using gist (t); \
        create table large (n int, t text); alter table large alter t set storage external; \
        insert into large select g, repeat(md5(g::text), 500) from generate_series(1, 300) g; \
        create unlogged table fleeting as select 1 as n; \
        create table holes as select g as n, repeat('x', 500) from generate_series(1, 5000) g; delete from holes where n % 3 = 0";
    world.cluster.sql(make).await?;
    world.cluster.sql("vacuum holes").await?;
    let oid = world.cluster.sql("select oid from pg_tablespace where spcname = 'other'").await?.context("a number")?;
    world.cluster.sql("checkpoint").await?;
    world.backup("full")?;
    world.cluster.sql("update orders set t = 'changed' where n % 50 = 0; insert into words values (0, '')").await?;
    world.archive_all().await?;
    let mut world = world;
    world.cluster.stop(Shutdown::Fast)?;
    let programs = world.cluster.programs().display().to_string();
    world.configure("fast.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    let slowly = |text: String| text.replace("[location.local]", "[location.local]\nmax_rate = \"2MB\"");
    world.configure("instant.toml", |text| slowly(format!("{text}bin_dir = \"{programs}\"\n")))?;
    Ok((world, oid))
}

/// Every file below, with what it holds; and links with where they lead, without the directory itself.
fn files(top: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let (mut all, mut left) = (BTreeMap::new(), vec![top.to_path_buf()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let (path, kind) = {
                let entry = entry?;
                (entry.path(), entry.file_type()?)
            };
            let name = path.strip_prefix(top)?.to_path_buf();
            if kind.is_dir() {
                all.insert(name, b"directory".to_vec());
                left.push(path);
            } else if kind.is_symlink() {
                all.insert(name, b"link".to_vec());
            } else if name == Path::new("tablespace_map") {
                // It says where the tablespaces lie, and that is another place.
                all.insert(name, b"tablespaces".to_vec());
            } else {
                all.insert(name, fs::read(&path)?);
            }
        }
    }
    Ok(all)
}

fn must_be_the_same(one: &Path, other: &Path) -> Result<(usize, usize)> {
    let (one, other) = (files(one)?, files(other)?);
    let names = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
    ensure!(names(&one) == names(&other), "{:?} and {:?}", names(&one), names(&other));
    let differing: Vec<_> = one.iter().filter(|(name, bytes)| other[*name] != **bytes).map(|(name, _)| name).collect();
    ensure!(differing.is_empty(), "these differ: {differing:?}");
    Ok((one.len(), one.values().map(Vec::len).sum()))
}

fn adopted(world: &World, from: &Path) -> Result<TestCluster> {
    TestCluster::builder(world.cluster.major()).adopt(|data| {
        fs::remove_dir(data)?;
        Ok(fs::rename(from, data)?)
    })
}

async fn whole(major: u16) -> Result<()> {
    let (world, oid) = shop(major).await?;
    let restore = |to: &str, more: &[&str]| -> Result<(PathBuf, PathBuf)> {
        let (to, other) = (world.make_directory(to)?, world.make_directory(&format!("{to}-space"))?);
        let mapping = format!("{oid}={}", other.display());
        let shown = to.display().to_string();
        let all = [&["restore", "shop", "--to", &shown, "--tablespace", &mapping][..], more].concat();
        ends_with(as_ourselves(&world, "fast.toml", &all)?, 0)?;
        Ok((to, other))
    };
    let (plain, plain_space) = restore("plain", &[])?;
    let (instant, instant_space) = restore("instant", &["--instant"])?;
    let (count, bytes) = must_be_the_same(&plain, &instant)?;
    let (in_space, _) = must_be_the_same(&plain_space, &instant_space)?;
    eprintln!("PostgreSQL {major}: {count} files of {bytes} bytes, and {in_space} in a tablespace, are the same");
    let mut plain = adopted(&world, &plain)?;
    start_to_the_end(&mut plain).await?;
    let expected = Contents::of(&plain).await?;
    drop(plain);
    fs::remove_dir_all(&plain_space)?;

    let loaded = world.make_directory("loaded")?;
    let mapping = format!("{oid}={}", world.make_directory("loaded-space")?.display());
    let mut served = Served::start_with(&world, "instant.toml", &loaded, &["--start", "--tablespace", &mapping])?;
    served.until_it_says("the first query was answered").await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let load = Load::start(&world.cluster)?;
    // What holds still is compared; here and there it is written, and the same is there afterwards.
    world.cluster.sql("update large set n = n; update orders set n = n where n % 100 = 0").await?;
    served.until_it_says("everything is here").await?;
    load.stop()?;
    let ledger = clients.stop().await?;
    ledger.judge(&world.cluster, Moment::End).await?;
    let there = loaded.display().to_string();
    let finished = ends_with(as_ourselves(&world, "fast.toml", &["restore", "finish", &there])?, 0)?;
    ensure!(finished.stdout.contains("runs on it"), "{finished:?}");
    served.until_it_ends()?;
    until("it answers", || async { Ok(world.cluster.sql("select 1").await.is_ok()) }).await?;
    ledger.judge(&world.cluster, Moment::End).await?;
    crate::serving::control(&world, "stop", &loaded)?;
    let mut copy = adopted(&world, &loaded)?;
    copy.start()?;
    let (acknowledged, _) = ledger.judge(&copy, Moment::End).await?;
    must_balance(&copy).await?;
    let busy = ["accounts", "branches", "tellers", "history"].map(|name| format!("postgres.public.pgbench_{name}"));
    let still = |contents: Contents| {
        busy.iter().fold(contents.without("postgres.public.ledger"), |contents, name| contents.without(name))
    };
    let found = still(Contents::of(&copy).await?);
    ensure!(found.len() >= 4, "{found:?}");
    found.must_be(&still(expected))?;
    let means = sound_by(&mut copy).await?;
    eprintln!(
        "PostgreSQL {major}: under load {acknowledged} acknowledged commits are there, {} other tables are the same; sound by {means}",
        found.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_leaves_is_what_an_ordinary_restore_leaves_on_15() -> Result<()> {
    whole(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_what_it_leaves_is_what_an_ordinary_restore_leaves_on_all_others() -> Result<()> {
    for major in [14, 16, 17, 18] {
        whole(major).await.with_context(|| format!("PostgreSQL {major}"))?;
    }
    Ok(())
}
