//! What replay reads is there before it gets there; what it doesn't read isn't fetched.

use crate::served::{as_ourselves, ends_with};
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use lifeboat_components::servers::{self, Mode, Proxy};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;

/// There and back.
const LATENCY_MILLISECONDS: u64 = 20;
const ROWS: u64 = 6000;
/// A row in so many is changed: about every sixtieth page, so that hardly two lie in one chunk.
const APART: u64 = 120;

/// The longest chunk of a relation file.
const CHUNK_BYTES_MAX: u64 = 256 * 1024;
/// Of the two databases, as long as nobody has made much in them.
const CATALOGUES_BYTES_MAX: u64 = 6 << 20;

/// Closes what was opened, however the test ends.
struct Opened<'a>(&'a World, String);

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        let _ = as_ourselves(self.0, "far.toml", &["close", &self.1]);
    }
}

fn make_bucket(url: &str) -> Result<()> {
    let address = url.strip_prefix("http://").context("a plain url")?;
    let mut socket = TcpStream::connect(address)?;
    write!(socket, "PUT /shop HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(answer.contains(" 200 "), "{answer}");
    Ok(())
}

async fn bytes_of(world: &World, table: &str) -> Result<u64> {
    let size = world.cluster.sql(&format!("select pg_relation_size('{table}')")).await?;
    Ok(size.context("a size")?.parse()?)
}

async fn brought(major: u16) -> Result<()> {
    let store = servers::moto()?;
    make_bucket(store.url())?;
    let proxy = Proxy::before(store.url());
    let world = Plan::new(major).cluster(|cluster| cluster.setting("autovacuum", "off")).start()?;
    let url = proxy.url();
    let far = |text: String| {
        let (before, behind) = text.split_once("[location.local]").unwrap_or_default();
        let behind = behind.split_once("[encryption]").unwrap_or_default().1;
        format!(
            "{before}[location.far]\nurl = \"s3://shop/lifeboat\"\nendpoint = \"{url}\"\n\
             access_key_id = {{ command = [\"echo\", \"key\"] }}\nsecret_access_key = {{ command = [\"echo\", \"word\"] }}\n\
             [encryption]{behind}"
        )
    };
    let programs = world.cluster.programs().display().to_string();
    world.configure("lifeboat.toml", far)?;
    world.configure("far.toml", |text| format!("{text}bin_dir = \"{programs}\"\n"))?;
    world.done(&["init"])?;
    // Two rows fill half of a page: what changes stays there. And it can't be squeezed to nothing.
    let table = |name: &str| {
        format!(
            "create table {name} with (fillfactor = 50) as select g as n, (select string_agg(md5((g * 64 + part)::text), '') \
             from generate_series(1, 60) part) as t from generate_series(1, {ROWS}) g; \
             alter table {name} alter t set storage plain; update {name} set t = t; vacuum full {name}"
        )
    };
    for name in ["imaged", "plain"] {
        for statement in table(name).split(';') {
            world.cluster.sql(statement).await?;
        }
    }
    world.backup("full")?;
    let change = |name: &str| format!("update {name} set n = -n where n % {APART} = 0");
    world.cluster.sql(&change("imaged")).await?;
    world.cluster.sql("alter system set full_page_writes = off").await?;
    world.cluster.sql("select pg_reload_conf()").await?;
    // Whoever does it has heard of the setting.
    world.cluster.sql("checkpoint").await?;
    world.cluster.sql(&change("plain")).await?;
    world.archive_all().await?;
    let (imaged, plain) = (bytes_of(&world, "imaged").await?, bytes_of(&world, "plain").await?);
    ensure!(imaged > 16 << 20 && plain > 16 << 20, "{imaged} and {plain} bytes are too few to tell");

    proxy.set(Mode::Slow(LATENCY_MILLISECONDS));
    let name = format!("e2e-ahead-{}-{major}", std::process::id());
    let _opened = Opened(&world, name.clone());
    let opened = ends_with(as_ourselves(&world, "far.toml", &["open", "shop", "--as", &name, "--json"])?, 0)?.json()?;
    let status = &opened["status"];
    let count = |field: &str| -> Result<u64> { status[field].as_u64().with_context(|| format!("{field} in {status}")) };
    let changed = ROWS / APART;
    ensure!(count("bytes_fetched_ahead")? >= changed * 8192, "not all of {changed} pages came ahead: {status}");
    // Hardly one of the pages that were changed, nor of the catalogues, which no log tells of.
    let waited = count("fetches_waited_for")?;
    ensure!(waited < 15, "it was waited for: {status}");
    ensure!(count("bytes_waited_for")? < 8 << 20, "{status}");
    // With each page comes its chunk, and with the table some maps; and what every server reads when it starts.
    let most = (changed + 8) * CHUNK_BYTES_MAX + CATALOGUES_BYTES_MAX;
    ensure!(count("bytes_fetched_ahead")? <= most, "pages of which the log has images were fetched: {status}");
    proxy.set(Mode::Pass);
    let right = "select (select sum(n) from imaged) || ' ' || (select sum(n) from plain)";
    ensure!(Some(ask(&world, &opened, right)?) == world.cluster.sql(right).await?);
    Ok(())
}

/// What the opened server answers.
fn ask(world: &World, opened: &Value, sql: &str) -> Result<String> {
    let line = opened["status"]["psql"].as_str().context("what to type")?.to_owned();
    let mut command = std::process::Command::new(world.cluster.programs().join("psql"));
    command.args(line.split(' ').skip(1)).args(["-Atc", sql]).stdin(std::process::Stdio::null());
    let output = command.output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned() + String::from_utf8_lossy(&output.stderr).trim())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_replay_reads_is_brought_before_it_asks() -> Result<()> {
    brought(15).await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_what_replay_reads_is_brought_on_all_others() -> Result<()> {
    // 14, 16 and 17 come without `psql`, with which the answer is compared.
    brought(18).await
}
