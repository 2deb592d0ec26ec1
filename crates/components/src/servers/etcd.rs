//! etcd: three members on loopback that keep leases.

use super::START_TIME_MAX;
use crate::command::last_lines;
use crate::{Component, free_port, install};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const MEMBERS: usize = 3;

/// A running cluster. Stops, and forgets everything, on drop.
#[derive(Debug)]
pub struct EtcdCluster {
    members: Vec<Member>,
    scratch: TempDir,
}

#[derive(Debug)]
struct Member {
    port: u16,
    child: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts three members, and waits until they take writes.
pub fn etcd() -> Result<EtcdCluster> {
    let program = install(Component::Etcd)?.join("etcd");
    let scratch = tempfile::Builder::new().prefix("lifeboat-etcd-").tempdir().context("make scratch directory")?;
    let ports = (0..MEMBERS).map(|_| Ok((free_port()?, free_port()?))).collect::<Result<Vec<_>>>()?;
    let peers = ports.iter().enumerate().map(|(number, (_, peer))| format!("m{number}=http://127.0.0.1:{peer}"));
    let peers = peers.collect::<Vec<_>>().join(",");
    let members = ports.iter().enumerate().map(|(number, (client, peer))| {
        let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let log = File::create(scratch.path().join(format!("{number}.log"))).context("create log")?;
        let data = scratch.path().join(number.to_string());
        let child = Command::new(&program)
            .args(["--name", &format!("m{number}"), "--initial-cluster", &peers, "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url])
            .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
            // A test's disk is slow and its processors are busy.
            .args(["--heartbeat-interval", "100", "--election-timeout", "1000"])
            .arg("--data-dir")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share log")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Member { port: *client, child })
    });
    let mut cluster = EtcdCluster { members: members.collect::<Result<Vec<_>>>()?, scratch };
    cluster.wait()?;
    Ok(cluster)
}

impl EtcdCluster {
    /// Where clients ask: one address per member.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("http://127.0.0.1:{}", member.port)).collect()
    }

    /// Ends a member, as a power failure does.
    pub fn kill(&mut self, number: usize) {
        let member = &mut self.members[number];
        let _ = member.child.kill();
        let _ = member.child.wait();
    }

    /// Stops a member where it is: it takes connections, and says nothing.
    pub fn pause(&self, number: usize) {
        self.signal(number, Signal::STOP);
    }

    /// It goes on.
    pub fn resume(&self, number: usize) {
        self.signal(number, Signal::CONT);
    }

    fn signal(&self, number: usize, signal: Signal) {
        let process = i32::try_from(self.members[number].child.id()).ok().and_then(Pid::from_raw);
        process.and_then(|process| kill_process(process, signal).ok()).expect("the member runs");
    }

    fn wait(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIME_MAX;
        for number in 0..self.members.len() {
            while !is_healthy(self.members[number].port) {
                let ended = self.members[number].child.try_wait().context("wait for etcd")?;
                if ended.is_some() || Instant::now() > deadline {
                    let said = fs::read_to_string(self.log(number)).unwrap_or_default();
                    bail!("etcd doesn't become healthy:\n{}", last_lines(&said));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn log(&self, number: usize) -> PathBuf {
        self.scratch.path().join(format!("{number}.log"))
    }
}

/// Whether it has a leader, by its own account.
fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("\"health\":\"true\""))
}
