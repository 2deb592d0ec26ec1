//! BIND: a name server on loopback with one zone, which takes updates that are signed with one key.

use super::START_TIME_MAX;
use crate::command::{last_lines, run};
use crate::{Component, free_port, install};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The zone that it has.
pub const BIND_ZONE: &str = "shop.example";
/// The name of the key that may change it (HMAC-SHA256).
pub const BIND_KEY_NAME: &str = "lifeboat";
/// Not a secret: only tests' servers know it.
pub const BIND_KEY: &str = "bGlmZWJvYXQtdGVzdHMtb25seS0wMTIzNDU2Nzg5YWI=";

/// A running name server. Stops, and forgets everything, on drop.
#[derive(Debug)]
pub struct NameServer {
    port: u16,
    child: Child,
    scratch: TempDir,
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts one, and waits until it answers for its zone.
pub fn bind() -> Result<NameServer> {
    let program = install(Component::Bind)?.join("named");
    let scratch = tempfile::Builder::new().prefix("lifeboat-bind-").tempdir().context("make scratch directory")?;
    let (port, directory) = (free_port()?, scratch.path().display().to_string());
    let configuration = format!(
        "options {{ directory \"{directory}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
           pid-file none; lock-file none; recursion no; dnssec-validation no; notify no; }};
         controls {{ }};
         key \"{BIND_KEY_NAME}\" {{ algorithm hmac-sha256; secret \"{BIND_KEY}\"; }};
         zone \"{BIND_ZONE}\" {{ type primary; file \"zone\"; allow-update {{ key \"{BIND_KEY_NAME}\"; }}; }};\n"
    );
    let zone = format!("$TTL 5\n@ SOA ns.{BIND_ZONE}. root.{BIND_ZONE}. 1 60 60 3600 5\n@ NS ns\nns A 127.0.0.1\n");
    fs::write(scratch.path().join("zone"), zone).context("write zone")?;
    let settings = scratch.path().join("named.conf");
    fs::write(&settings, configuration).context("write named.conf")?;
    let log = File::create(scratch.path().join("log")).context("create log")?;
    let child = Command::new(&program)
        // In the foreground, with its log on standard error, on one thread.
        .args(["-g", "-n", "1", "-c"])
        .arg(&settings)
        .stdin(Stdio::null())
        .stdout(log.try_clone().context("share log")?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    let mut server = NameServer { port, child, scratch };
    server.wait()?;
    Ok(server)
}

impl NameServer {
    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// What it says of a name, as `dig +short` shows it: a line for each record.
    pub fn records(&self, name: &str, kind: &str) -> Result<String> {
        let port = self.port.to_string();
        let question = ["+short", "+tcp", "@127.0.0.1", "-p", &port, name, kind];
        Ok(run(Command::new("dig").args(question))?.trim().to_owned())
    }

    /// Stops it where it is: it takes connections, and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        process.and_then(|process| kill_process(process, signal).ok()).expect("the server runs");
    }

    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        while !self.records(BIND_ZONE, "NS").is_ok_and(|said| said.contains("ns.")) {
            let ended = self.child.try_wait().context("wait for BIND")?;
            if ended.is_some() || Instant::now() > deadline {
                let said = fs::read_to_string(self.log()).unwrap_or_default();
                bail!("BIND doesn't answer:\n{}", last_lines(&said));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn log(&self) -> PathBuf {
        self.scratch.path().join("log")
    }
}
