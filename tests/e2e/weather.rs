//! A location that is slow, fails, hangs, is away or damaged while an instant restore runs from it: who reads gets what is right, or an error;
//! never anything else. It goes on by itself when the location is back, and where another one has it all, that one takes over.

use crate::bucket::Bucket;
use crate::served::as_ourselves;
use crate::serving::Served;
use crate::world::{Plan, World};
use anyhow::{Result, ensure};
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
    let mut world = Plan::new(15).start()?;
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

async fn fails(mode: Mode) -> Result<()> {
    let shop = shop().await?;
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
    fails(Mode::Status(500)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_hangs_gives_errors_and_no_wrong_data() -> Result<()> {
    fails(Mode::Hang).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cuts_connections_gives_errors_and_no_wrong_data() -> Result<()> {
    fails(Mode::Reset).await
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
    let shop = shop().await?;
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
    let shop = shop().await?;
    let before = fs::read_to_string(shop.world.path("instant.toml"))?;
    let slowly = before.replace("[location.local]", "[location.local]\nmax_rate = \"1MB\"");
    fs::write(shop.world.path("instant.toml"), slowly)?;
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
    shop.look().await?;
    let begun = Instant::now();
    let said = || fs::read_to_string(&told).unwrap_or_default();
    while !said().contains("raised instant_restore") {
        ensure!(begun.elapsed() < Duration::from_secs(100), "nobody was told: {}", served.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eprintln!("raised after {:?}: {}", begun.elapsed(), said());
    ensure!(begun.elapsed() > Duration::from_secs(45), "too soon");
    shop.bucket.proxy.set(Mode::Pass);
    let begun = Instant::now();
    while !said().contains("over instant_restore") {
        ensure!(begun.elapsed() < Duration::from_secs(300), "it is not over: {}", served.said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    shop.goes_on(served).await
}
