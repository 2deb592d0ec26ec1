//! Between the program and a server that sends its files: somebody who cuts the line, or changes bytes on it.

use crate::load::{must_balance, prepare};
use crate::remote::{run, without_data_dir};
use crate::world::{Plan, World};
use anyhow::{Context, Result, ensure};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What happens to the bytes that the server sends in answer to a session that replicates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// The line is cut after so many bytes.
    CutAfter(u64),
    /// One byte changes in every so many.
    ChangeEvery(u64),
}

/// Listens as long as the test runs.
struct Line {
    address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
}

impl Line {
    fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let (address, mode) = (listener.local_addr()?, Arc::new(Mutex::new(Mode::Pass)));
        let shared = mode.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mode = *shared.lock().unwrap_or_else(PoisonError::into_inner);
                std::thread::spawn(move || carry(client, port, mode));
            }
        });
        Ok(Self { address, mode })
    }

    fn set(&self, mode: Mode) {
        *self.mode.lock().unwrap_or_else(PoisonError::into_inner) = mode;
    }
}

/// Both ways, until either side ends.
fn carry(mut client: TcpStream, port: u16, mode: Mode) -> std::io::Result<()> {
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    // The first message names the parameters of the session.
    let mut first = vec![0; 4096];
    let mut count = client.read(&mut first)?;
    if count == 8 {
        // It asks for encryption first, and doesn't get any.
        server.write_all(&first[..count])?;
        let mut answer = [0];
        server.read_exact(&mut answer)?;
        client.write_all(&answer)?;
        count = client.read(&mut first)?;
    }
    server.write_all(&first[..count])?;
    let replicates = first.windows(11).any(|word| word == b"replication");
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(std::net::Shutdown::Both)
    });
    let mode = if replicates { mode } else { Mode::Pass };
    let (mut buffer, mut sent) = (vec![0; 64 << 10], 0u64);
    loop {
        let count = server.read(&mut buffer)?;
        if count == 0 {
            return client.shutdown(std::net::Shutdown::Both);
        }
        match mode {
            Mode::Pass => {}
            Mode::CutAfter(limit) if sent + count as u64 > limit => {
                client.write_all(&buffer[..(limit - sent) as usize])?;
                client.shutdown(std::net::Shutdown::Both)?;
                return server.shutdown(std::net::Shutdown::Both);
            }
            Mode::CutAfter(_) => {}
            Mode::ChangeEvery(distance) => {
                let next = (sent / distance + 1) * distance;
                if next < sent + count as u64 {
                    buffer[(next - sent) as usize] ^= 0x20;
                }
            }
        }
        client.write_all(&buffer[..count])?;
        sent += count as u64;
    }
}

async fn world(major: u16, more: &str) -> Result<(World, Line)> {
    let world = Plan::new(major).start()?;
    world.cluster.sql("create role sender login replication; grant pg_read_all_settings to sender").await?;
    prepare(&world.cluster, 1)?;
    let line = Line::to(world.cluster.port())?;
    let own = format!("port={}", world.cluster.port());
    let text = std::fs::read_to_string(world.path("lifeboat.toml"))?;
    let text = without_data_dir(&world, &text, more).replace(&own, &format!("port={}", line.address.port()));
    // The directories of the server's socket have the port in their names only by chance; the line has it for sure.
    ensure!(text.contains(&line.address.port().to_string()), "the connection doesn't lead over the line: {text}");
    world.configure("line.toml", |_| text)?;
    Ok((world, line))
}

fn refused(world: &World, words: &[&str]) -> Result<String> {
    let output = run(world, "line.toml", &["backup", "shop"])?;
    ensure!(output.code.is_some_and(|code| code != 0), "{output:?}");
    ensure!(words.iter().any(|word| output.stderr.contains(word)), "it doesn't say why ({words:?}): {output:?}");
    let points = world.done(&["points", "shop", "--json"])?.json()?;
    ensure!(points["points"].as_array().is_some_and(Vec::is_empty), "it left a point: {points}, {output:?}");
    Ok(output.stderr)
}

/// Guards: nothing that looks like a backup comes of a line that was cut, early, in the middle or just before the end;
/// what isn't what the server read is refused, although every message of the protocol is as it should be.
async fn cut_or_changed(major: u16, more: &str) -> Result<()> {
    let (world, line) = world(major, more).await?;
    for limit in [300, 1000, 100_000, 3_000_000] {
        line.set(Mode::CutAfter(limit));
        refused(&world, &["closed the connection", "connection broke"])
            .with_context(|| format!("cut after {limit}"))?;
    }
    line.set(Mode::ChangeEvery(1 << 20));
    refused(&world, &["read what the server sends", "unexpected answer"])?;
    // So few changes that they fall into the content of files, where nothing but the manifest can tell.
    let mut said = String::new();
    for distance in [11_000_003, 12_000_017, 13_000_027].into_iter().filter(|_| more.is_empty()) {
        line.set(Mode::ChangeEvery(distance));
        said += &refused(&world, &["read what the server sends", "unexpected answer"])?;
    }
    ensure!(!more.is_empty() || said.contains("is not what the server read"), "the manifest told nothing: {said}");
    line.set(Mode::Pass);
    let output = run(&world, "line.toml", &["backup", "shop"])?;
    ensure!(output.code == Some(0), "{output:?}");
    must_balance(&world.restore(&["--immediate"]).await?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_to_15_that_is_cut_or_changes_bytes() -> Result<()> {
    cut_or_changed(15, "server_compression = \"zstd\"\n").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_to_18_that_is_cut_or_changes_bytes() -> Result<()> {
    cut_or_changed(18, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn long_a_line_to_14_that_is_cut_or_changes_bytes() -> Result<()> {
    cut_or_changed(14, "").await
}
