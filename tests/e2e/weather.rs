//! A location that is slow, fails, hangs, is away or damaged while an instant restore runs from it: who reads gets what is right, or an error;
//! never anything else. It goes on by itself when the location is back, and where another one has it all, that one takes over.

use crate::bucket::Bucket;
use crate::served::as_ourselves;
use crate::serving::Served;
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use lifeboat_components::postgres::Shutdown;
use lifeboat_components::servers::Mode;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ROWS: i64 = 20000;
/// Of any answer that isn't one of these, data is wrong.
const SUM: &str = "select count(*) || ' ' || md5(string_agg(t, '' order by n)) from orders where n between $1 and $2";

/// A shop that was lost, in a directory and in a bucket behind a proxy.
struct Shop {
    world: World,
    bucket: Bucket,
    to: PathBuf,
    /// What is right: for each span of rows.
    expected: Vec<String>,
}

async fn ask(world: &World, span: i64) -> Result<String> {
    let client = world.cluster.connect().await?;
    let (from, to) = ((span * 1000 + 1) as i32, ((span + 1) * 1000) as i32);
    let row = client.query_one(SUM, &[&from, &to]).await?;
    Ok(row.get(0))
}

async fn shop() -> Result<Shop> {
    shop_of(15).await
}

async fn shop_of(major: u16) -> Result<Shop> {
    let mut world = Plan::new(major).start()?;
    let make = format!(
        "create table orders as select g as n, (select string_agg(md5((g * 31 + part)::text), '') from generate_series(1, 30) part) as t \
            from generate_series(1, {ROWS}) g; alter table orders add primary key (n)"
    );
    world.cluster.sql(&make).await?;
    let mut expected = Vec::new();
    for span in 0..ROWS / 1000 {
        expected.push(ask(&world, span).await?);
    }
    world.backup("full")?;
    world.archive_all().await?;
    world.cluster.stop(Shutdown::Fast)?;
    let bucket = Bucket::new(2)?;
    bucket.configure(&world, "instant.toml", "locations = [\"bucket\", \"local\"]")?;
    bucket.fill(&world, "instant.toml")?;
    let to = world.make_directory("instant")?;
    Ok(Shop { world, bucket, to, expected })
}

impl Shop {
    /// Served so slowly that nearly everything is still to come.
    async fn served(&self, from: &[&str]) -> Result<Served> {
        let mut served = Served::start_with(&self.world, "instant.toml", &self.to, &[&["--start"], from].concat())?;
        served.until_it_says("the first query was answered").await?;
        Ok(served)
    }

    /// Reads everything. Returns how many spans were right; all others must have been refused.
    async fn look(&self) -> Result<usize> {
        let mut right = 0;
        for (span, expected) in (0i64..).zip(&self.expected) {
            match ask(&self.world, span).await {
                Ok(answer) => {
                    ensure!(answer == *expected, "WRONG DATA in span {span}: {answer}, not {expected}");
                    right += 1;
                }
                Err(error) => {
                    let told = format!("{error:#}");
                    let is_io = told.contains("db error") || told.contains("closed") || told.contains("connect");
                    ensure!(is_io, "{told}");
                }
            }
        }
        Ok(right)
    }

    fn status(&self) -> Result<serde_json::Value> {
        let there = self.to.display().to_string();
        let told = as_ourselves(&self.world, "instant.toml", &["restore", "status", &there, "--json"])?;
        Ok(told.json()?["restores"][0]["status"].clone())
    }

    /// What was wrong is right again: everything comes, and it is right.
    async fn goes_on(&self, mut served: Served) -> Result<()> {
        served.until_it_says("everything is here").await?;
        ensure!(self.look().await? == self.expected.len(), "something is still refused");
        ensure!(self.status()?["problem"].is_null(), "{}", self.status()?);
        drop(served);
        ensure!(self.to.join("global/pg_control").exists() && !self.to.join(".lifeboat-mount").exists());
        Ok(())
    }
}

async fn fails(major: u16, mode: Mode) -> Result<()> {
    let shop = shop_of(major).await?;
    shop.bucket.proxy.set(Mode::Slow(100));
    let served = shop.served(&["--from", "bucket"]).await?;
    shop.bucket.proxy.set(mode);
    let right = shop.look().await?;
    let status = shop.status()?;
    eprintln!(
        "{mode:?}: {right} of {} spans were right meanwhile, {} B to come",
        shop.expected.len(),
        status["bytes_to_come"]
    );
    if right < shop.expected.len() {
        ensure!(shop.bucket.proxy.failed() > 0 && status["problem"].is_string(), "{status}");
        let checked = as_ourselves(&shop.world, "instant.toml", &["check", "--quiet"])?;
        ensure!(checked.stdout.contains("nothing comes"), "{checked:?}");
    }
    shop.bucket.proxy.set(Mode::Pass);
    shop.goes_on(served).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_answers_500_gives_errors_and_no_wrong_data() -> Result<()> {
    fails(15, Mode::Status(500)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_hangs_gives_errors_and_no_wrong_data() -> Result<()> {
    fails(15, Mode::Hang).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cuts_connections_gives_errors_and_no_wrong_data() -> Result<()> {
    fails(15, Mode::Reset).await
}

/// Slow is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_bucket_gives_everything() -> Result<()> {
    let shop = shop().await?;
    shop.bucket.proxy.set(Mode::Slow(300));
    let served = shop.served(&["--from", "bucket"]).await?;
    ensure!(shop.look().await? == shop.expected.len());
    shop.goes_on(served).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_location_takes_over_in_the_middle() -> Result<()> {
    another_takes_over(15).await
}

async fn another_takes_over(major: u16) -> Result<()> {
    let shop = shop_of(major).await?;
    for mode in [Mode::Reset, Mode::Hang] {
        shop.bucket.proxy.set(Mode::Slow(100));
        let served = shop.served(&[]).await?;
        shop.bucket.proxy.set(mode);
        let begun = Instant::now();
        ensure!(shop.look().await? == shop.expected.len(), "{mode:?}: the directory has it all");
        eprintln!("{mode:?}: all was read after {:?}, {} requests failed", begun.elapsed(), shop.bucket.proxy.failed());
        shop.goes_on(served).await?;
        fs::remove_dir_all(&shop.to)?;
        shop.world.make_directory("instant")?;
    }
    Ok(())
}

/// A bit of every pack is not as it was: that part is refused, until it is right again.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_gives_errors_and_no_wrong_data() -> Result<()> {
    damaged(15).await
}

async fn damaged(major: u16) -> Result<()> {
    let shop = shop_of(major).await?;
    // What a server needs to start comes from the bucket, slowly, and hardly anything else: then it starts sooner than the rest comes.
    shop.bucket.proxy.set(Mode::Slow(300));
    drop(shop.served(&["--from", "bucket"]).await?);
    let served = shop.served(&["--from", "local"]).await?;
    let packs = files(&shop.world.path("repository-local/packs"))?;
    let flip = || -> Result<()> {
        for path in &packs {
            let mut bytes = fs::read(path)?;
            // Here and there: in some frames, and not in others.
            let length = bytes.len();
            (1..8).for_each(|part| bytes[length * part / 8] ^= 1);
            fs::write(path, bytes)?;
        }
        Ok(())
    };
    flip()?;
    let right = shop.look().await?;
    let status = shop.status()?;
    eprintln!(
        "damaged: {right} of {} spans were right meanwhile, {} B to come",
        shop.expected.len(),
        status["bytes_to_come"]
    );
    ensure!(right < shop.expected.len() && status["problem"].is_string(), "{right} {status}");
    flip()?;
    shop.goes_on(served).await
}

fn files(top: &std::path::Path) -> Result<Vec<PathBuf>> {
    let (mut all, mut left) = (Vec::new(), vec![top.to_path_buf()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() { left.push(path) } else { all.push(path) }
        }
    }
    Ok(all)
}

/// Somebody must know within a minute or so, also of what only a reader met.
#[tokio::test(flavor = "multi_thread")]
async fn long_the_alarm_is_raised_and_is_over() -> Result<()> {
    let shop = shop().await?;
    let before = fs::read_to_string(shop.world.path("instant.toml"))?;
    let told = shop.world.path("told");
    let tell = format!(
        "alarm = {{ command = [\"sh\", \"-c\", \"echo $LIFEBOAT_ALARM $LIFEBOAT_ALARM_KIND >> {}\"] }}\n",
        told.display()
    );
    fs::write(shop.world.path("instant.toml"), before + &tell)?;
    shop.bucket.proxy.set(Mode::Slow(100));
    let served = shop.served(&["--from", "bucket"]).await?;
    shop.bucket.proxy.set(Mode::Status(500));
    let begun = Instant::now();
    shop.look().await?;
    let said = || fs::read_to_string(&told).unwrap_or_default();
    while !said().contains("raised instant_restore") {
        ensure!(begun.elapsed() < Duration::from_secs(100), "nobody was told: {}", served.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("raised after {:?}: {}", begun.elapsed(), said());
    ensure!(begun.elapsed() > Duration::from_secs(55), "too soon");
    // So that the rest takes long, and what somebody was refused doesn't wait for it.
    shop.bucket.proxy.set(Mode::Slow(700));
    let begun = Instant::now();
    while !said().contains("over instant_restore") {
        ensure!(begun.elapsed() < Duration::from_secs(300), "it is not over: {}", served.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let to_come = shop.status()?["bytes_to_come"].as_u64().context("a number")?;
    eprintln!("over after {:?}, {to_come} B to come", begun.elapsed());
    ensure!(to_come > 20_000_000, "it is over only when all came: {to_come}");
    // A part of a file fails many times a second.
    let lines = served.said().lines().filter(|line| line.contains("can't be had yet")).count();
    ensure!((1..50).contains(&lines), "{lines} lines of what can't be had");
    shop.bucket.proxy.set(Mode::Pass);
    shop.goes_on(served).await
}

/// What was away when it began comes back, and then what it began with goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_was_away_at_the_beginning_is_used_when_it_is_back() -> Result<()> {
    let shop = shop().await?;
    let (local, aside) = (shop.world.path("repository-local"), shop.world.path("repository-aside"));
    fs::rename(&local, &aside)?;
    shop.bucket.proxy.set(Mode::Slow(500));
    let mut served = shop.served(&[]).await?;
    ensure!(served.said().contains("location local is left out"), "{}", served.said());
    shop.bucket.proxy.set(Mode::Reset);
    let right = shop.look().await?;
    ensure!(right < shop.expected.len(), "all came before it was taken away");
    fs::rename(&aside, &local)?;
    let begun = Instant::now();
    served.until_it_says("location local is back").await?;
    eprintln!("{right} spans were right meanwhile; it was found after {:?}", begun.elapsed());
    ensure!(shop.look().await? == shop.expected.len(), "the directory has it all");
    shop.goes_on(served).await?;
    let points = as_ourselves(&shop.world, "instant.toml", &["points", "--from", "local", "--json"])?;
    ensure!(!points.stdout.contains("instant"), "what was held there meanwhile is let go of: {points:?}");
    Ok(())
}

/// Its directory gets another name in the middle: nothing of it is there any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_location_that_is_taken_away_whole_is_made_up_for_by_another_one() -> Result<()> {
    let shop = shop().await?;
    // It replays with both: whether there is more log, nobody can tell without one of them. Hardly anything else comes.
    shop.bucket.proxy.set(Mode::Slow(300));
    drop(shop.served(&["--from", "bucket"]).await?);
    shop.bucket.proxy.set(Mode::Slow(100));
    let path = shop.world.path("instant.toml");
    let before = fs::read_to_string(&path)?;
    fs::write(&path, before.replace("[\"bucket\", \"local\"]", "[\"local\", \"bucket\"]"))?;
    let (local, aside) = (shop.world.path("repository-local"), shop.world.path("repository-aside"));
    let mut served = Served::start_with(&shop.world, "instant.toml", &shop.to, &["--start"])?;
    served.until_it_says("is served since").await?;
    fs::rename(&local, &aside)?;
    let to_come = shop.status()?["bytes_to_come"].as_u64().context("a number")?;
    ensure!(to_come > 1_000_000, "it was taken away too late: {to_come}");
    served.until_it_says("the first query was answered").await?;
    ensure!(shop.look().await? == shop.expected.len(), "the bucket has it all");
    eprintln!("{to_come} B came without the directory");
    fs::rename(&aside, &local)?;
    shop.goes_on(served).await
}

/// It answers always, and so slowly that nothing is ever had of it.
#[tokio::test(flavor = "multi_thread")]
async fn long_a_bucket_that_hardly_trickles_is_passed_over() -> Result<()> {
    let shop = shop().await?;
    shop.bucket.proxy.set(Mode::Slow(100));
    let served = shop.served(&[]).await?;
    shop.bucket.proxy.set(Mode::Trickle(40));
    let begun = Instant::now();
    ensure!(shop.look().await? == shop.expected.len(), "the directory has it all");
    eprintln!("all was read after {:?}", begun.elapsed());
    shop.goes_on(served).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trickling_bucket_gives_everything() -> Result<()> {
    let shop = shop().await?;
    shop.bucket.proxy.set(Mode::Trickle(100_000));
    let served = shop.served(&["--from", "bucket"]).await?;
    ensure!(shop.look().await? == shop.expected.len());
    shop.goes_on(served).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_the_same_weather_on_18() -> Result<()> {
    for mode in [Mode::Status(500), Mode::Hang, Mode::Reset] {
        fails(18, mode).await.with_context(|| format!("{mode:?}"))?;
    }
    another_takes_over(18).await?;
    damaged(18).await
}
