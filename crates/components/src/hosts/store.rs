//! etcd, a member in each of some hosts: cut one off, and the others go on.

use super::Host;
use crate::{Component, install};
use anyhow::{Context, Result};
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Clients ask here, at a member's address.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

impl Host {
    /// Where a member of etcd in this host takes questions.
    pub fn etcd_url(&self) -> String {
        format!("http://{}:{CLIENT_PORT}", self.address())
    }
}

/// Starts the member of one of these hosts, anew or with what it had. What it keeps and says lies in `directory`.
///
/// # Errors
/// When it can't be started; whether it becomes healthy is for the caller to see.
pub fn etcd_member(place: usize, hosts: &[Host], directory: &Path) -> Result<Child> {
    let program = install(Component::Etcd)?.join("etcd");
    let peer = |host: &Host| format!("http://{}:{PEER_PORT}", host.address());
    let peers: Vec<String> = (0..).zip(hosts).map(|(place, host)| format!("m{place}={}", peer(host))).collect();
    let log = File::options().create(true).append(true).open(directory.join(format!("etcd-{place}.log")));
    let log = log.context("open a log")?;
    let (host, client) = (&hosts[place], hosts[place].etcd_url());
    let mut command: Command = host.command(&program);
    command.args(["--name", &format!("m{place}"), "--initial-cluster", &peers.join(",")]);
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer(host), "--initial-advertise-peer-urls", &peer(host)]);
    // Processes die here, the machine doesn't.
    command.arg("--unsafe-no-fsync").arg("--data-dir").arg(directory.join(format!("etcd-{place}")));
    command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log).process_group(0);
    command.spawn().context("start etcd")
}
