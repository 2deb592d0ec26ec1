//! `kill -9` of whoever serves an instant restore, of its server, and of both, at random moments under load, while the rest comes: every
//! commit that was acknowledged is there, the books balance, and every page and every index is sound in the end.

use crate::bucket::Bucket;
use crate::contents::sound_by;
use crate::ledger::{Clients, Ledger, Moment};
use crate::load::{Load, must_balance, prepare};
use crate::random::Random;
use crate::serving::{Served, control};
use crate::world::{Plan, World, start_to_the_end, until};
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::servers::Mode;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Kills of one restore. Then it is let come to its end, and looked into.
const KILLS_OF_ONE: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The program that serves. Its server is left without its files, and nobody but the next one who serves ends it.
    Mount,
    /// The server. Whoever serves goes on.
    Server,
    Both,
}

/// One kill: whom, how long after what.
#[derive(Debug, Clone, Copy)]
struct Kill {
    victim: Victim,
    /// Not after the first answer but after the command.
    is_early: bool,
    after: Duration,
}

impl Kill {
    fn any(random: &mut Random) -> Self {
        let victim = [Victim::Mount, Victim::Server, Victim::Both][random.between(0, 3) as usize];
        // A server that isn't there yet can't be killed alone.
        let is_early = victim == Victim::Mount && random.between(0, 3) == 0;
        Self { victim, is_early, after: Duration::from_millis(random.between(0, 800)) }
    }
}

/// The store sends so slowly that most kills come while the rest does.
const SLOW: Mode = Mode::Trickle(100_000);

/// A shop that is lost, and what its clients were told.
struct Shop {
    world: World,
    _bucket: Bucket,
    ledger: Ledger,
}

async fn shop(major: u16) -> Result<Shop> {
    let world = Plan::new(major).cluster(|cluster| cluster.setting("fsync", "on")).start()?;
    prepare(&world.cluster, 2)?;
    // Not to be squeezed to nothing, and of every kind of index.
    let make = "create table orders as select g as n, (select string_agg(md5((g * 7 + part)::text), '') from generate_series(1, 8) part) as t \
            from generate_series(1, 200000) g; \
        create index on orders (n); create index on orders using hash (t); create index on orders using brin (n); \
        create table words as select g as n, to_tsvector('simple', md5(g::text) || ' ' || g % 100) as t from generate_series(1, 5000) g; \
        create index on words using gin (t)";
    world.cluster.sql(make).await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    world.cluster.sql("checkpoint").await?;
    world.backup("full")?;
    let ledger = clients.stop().await?;
    world.archive_all().await?;
    let mut world = world;
    world.cluster.stop(Shutdown::Fast)?;
    let bucket = Bucket::new(30)?;
    bucket.configure(&world, "both.toml", "locations = [\"bucket\", \"local\"]")?;
    bucket.fill(&world, "both.toml")?;
    bucket.configure(&world, "instant.toml", "locations = [\"bucket\"]\nworkers = 1")?;
    bucket.configure(&world, "fast.toml", "locations = [\"local\"]")?;
    bucket.proxy.set(SLOW);
    Ok(Shop { world, _bucket: bucket, ledger })
}

/// What must hold whenever the server answers.
async fn look(world: &World, ledger: &Ledger) -> Result<usize> {
    until("it answers", || async { Ok(world.cluster.sql("select 1").await.is_ok()) }).await?;
    must_balance(&world.cluster).await?;
    Ok(ledger.judge(&world.cluster, Moment::End).await?.0)
}

/// A restore that is killed again and again, then comes to its end. Returns how many of the kills came before it was whole, how many
/// of these when some of it had come and more was to, and how many commits were acknowledged.
async fn one(shop: &Shop, kills: &[Kill], number: usize) -> Result<(usize, usize, usize)> {
    let Shop { world, ledger, .. } = shop;
    let to = world.make_directory(&format!("instant-{number}"))?;
    let mut told = Ledger { entries: ledger.entries.clone() };
    let mut served = Served::start(world, &to)?;
    let mut to_come = Vec::new();
    let mut done = 0;
    for (round, kill) in kills.iter().enumerate() {
        if kill.is_early {
            // The rest came while no server was there: nobody serves it any more.
            if to.join("global/pg_control").exists() && left(world, &to)? == 0 {
                break;
            }
            // The moment is the fault that is injected, here and below: nothing is waited for.
            tokio::time::sleep(kill.after).await;
            served.kill_alone()?;
            served = Served::start(world, &to)?;
        } else {
            let (left, struck) = struck(world, (&to, served), *kill, &mut told)
                .await
                .with_context(|| format!("restore {number}, round {round}, {kill:?}, {kills:?}"))?;
            served = struck;
            if left == 0 {
                break;
            }
            to_come.push(left);
        }
        done += 1;
    }
    if !served.said().contains("the first query was answered") {
        served.until_it_says("the first query was answered").await?;
    }
    look(world, &told).await?;
    drop(served);
    // Unless the rest has come meanwhile: fast from here on.
    if to.join(".lifeboat-mount").exists() {
        let mut served = Served::start_with(world, "fast.toml", &to, &["--start"])?;
        served.until_it_says("everything is here").await?;
        look(world, &told).await?;
        drop(served);
    }
    // One that was started by hand is nobody else's to stop.
    if to.join("postmaster.pid").exists() {
        control(world, "stop", &to)?;
    }
    ensure!(!to.join(".lifeboat-mount").exists() && to.join("global/pg_control").exists(), "an ordinary directory");
    let mut copy = adopted(world, &to)?;
    start_to_the_end(&mut copy).await?;
    let (acknowledged, _) = told.judge(&copy, Moment::End).await?;
    must_balance(&copy).await?;
    ensure!(copy.sql("select count(*) from orders where length(t) = 256").await?.as_deref() == Some("200000"));
    let means = sound_by(&mut copy).await?;
    eprintln!(
        "restore {number}: {done} kills, {acknowledged} acknowledged commits are there, bytes to come at each kill: {to_come:?}; sound by {means}"
    );
    Ok((done, to_come.len(), acknowledged))
}

async fn struck(
    world: &World,
    (to, mut served): (&Path, Served),
    kill: Kill,
    told: &mut Ledger,
) -> Result<(u64, Served)> {
    if !served.said().contains("the first query was answered") {
        served.until_it_says("the first query was answered").await?;
    }
    look(world, told).await?;
    let clients = Clients::start(&world.cluster, 2).await?;
    let load = Load::start(&world.cluster)?;
    tokio::time::sleep(kill.after).await;
    let left = left(world, to)?;
    if left == 0 {
        drop(load);
        told.extend(clients.stop().await?);
        return Ok((0, served));
    }
    let served = match kill.victim {
        Victim::Both => {
            served.kill()?;
            Served::start(world, to)?
        }
        Victim::Mount => {
            served.kill_alone()?;
            Served::start(world, to)?
        }
        Victim::Server => {
            served.kill_server()?;
            control(world, "start", to)?;
            served
        }
    };
    drop(load);
    let mut served = served;
    if kill.victim == Victim::Mount {
        // Until then the old server is there, and who was connected to it waits.
        served.until_it_says("the first query was answered").await?;
    }
    told.extend(clients.stop().await?);
    Ok((left, served))
}

/// How much is still to come, in bytes.
fn left(world: &World, to: &Path) -> Result<u64> {
    let there = to.display().to_string();
    let told = crate::served::as_ourselves(world, "instant.toml", &["restore", "status", &there, "--json"])?;
    // The rest came while no server was there: then an ordinary directory is left.
    if told.code == Some(3) {
        return Ok(0);
    }
    // It isn't served yet.
    if told.code == Some(4) {
        return Ok(u64::MAX);
    }
    told.json()?["restores"][0]["status"]["bytes_to_come"].as_u64().with_context(|| format!("{told:?}"))
}

fn adopted(world: &World, to: &Path) -> Result<TestCluster> {
    TestCluster::builder(world.cluster.major()).adopt(|data| {
        fs::remove_dir(data)?;
        Ok(fs::rename(to, data)?)
    })
}

async fn kills(major: u16, times: usize, random: &mut Random) -> Result<()> {
    let shop = shop(major).await?;
    let all: Vec<Kill> = (0..times).map(|_| Kill::any(random)).collect();
    let (mut acknowledged, mut done, mut while_coming) = (0, 0, 0);
    for number in 0.. {
        let kills = &all[done..times.min(done + KILLS_OF_ONE)];
        if kills.is_empty() {
            break;
        }
        let (came, coming, told) = one(&shop, kills, number).await.with_context(|| format!("PostgreSQL {major}"))?;
        // One that comes before the first kill would come so for ever.
        ensure!(came > 0, "everything is here before the first kill");
        (acknowledged, done, while_coming) = (acknowledged + told, done + came, while_coming + coming);
    }
    eprintln!(
        "PostgreSQL {major}: {done} kills, {while_coming} of them while the rest came, {acknowledged} acknowledged commits, none lost"
    );
    // Of a store that is fast enough nothing would be left to come.
    ensure!(while_coming * 2 > done, "hardly any kill came while the rest did");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_moments_it_loses_nothing() -> Result<()> {
    kills(15, 6, &mut Random::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_killed_100_times_it_loses_nothing() -> Result<()> {
    kills(15, 100, &mut Random::new()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_killed_20_times_it_loses_nothing_on_all_others() -> Result<()> {
    let mut random = Random::new();
    for major in [16, 17, 18, 14] {
        kills(major, 20, &mut random).await?;
    }
    Ok(())
}
