//! Hosts of a place: network namespaces on a bridge that lies in one of its own, so that nothing of this machine's network is touched, and nothing
//! leads out of them.
//!
//! Promise: all of them carry the run's id, so whoever knows that can take them away with everything that runs in them.
//! Not here: what runs in them.

use crate::place::PREFIX;
use lifeboat_plan::run::Isolation;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Hosts with a member of the cluster each.
pub const MEMBERS: [&str; 3] = ["a", "b", "c"];
/// Where clients and operators are.
pub const CLIENTS: &str = "clients";
/// Their addresses: 198.18.0.0/15 is for tests of networks (RFC 2544), and nobody's production.
pub const ADDRESSES: &str = "198.18.0.0/24";
const FIRST_ADDRESS: usize = 11;
/// The bridge's own.
const BRIDGE: &str = "bridge";
const NAMESPACES: &str = "/run/netns";
/// Processes that were killed are gone after so long, or stuck in the kernel.
const KILL_PATIENCE: Duration = Duration::from_secs(20);

/// The hosts of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts {
    prefix: String,
}

impl Hosts {
    /// Of the run of that id. Not made yet.
    pub fn new(id: &str) -> Self {
        Self { prefix: format!("{PREFIX}{id}-") }
    }

    fn namespace(&self, host: &str) -> String {
        format!("{}{host}", self.prefix)
    }

    /// The file by which a host's network is entered.
    pub fn file(&self, host: &str) -> PathBuf {
        Path::new(NAMESPACES).join(self.namespace(host))
    }

    /// Makes them. Blocks.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn make(&self) -> Result<(), String> {
        let bridge = self.namespace(BRIDGE);
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", BRIDGE, "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", BRIDGE, "up"])?;
        for host in all() {
            let own = self.namespace(host);
            let line = line_of(host);
            ip(&["netns", "add", &own])?;
            ip(&["-n", &bridge, "link", "add", &line, "type", "veth", "peer", "name", "eth0", "netns", &own])?;
            ip(&["-n", &bridge, "link", "set", &line, "master", BRIDGE, "up"])?;
            ip(&["-n", &own, "address", "add", &format!("{}/24", address(host)), "dev", "eth0"])?;
            ip(&["-n", &own, "link", "set", "eth0", "up"])?;
            ip(&["-n", &own, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// No packet comes to it or from it any more, and nobody is told.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn cut_off(&self, host: &str) -> Result<(), String> {
        ip(&["-n", &self.namespace(BRIDGE), "link", "set", &line_of(host), "nomaster"]).map(drop)
    }

    /// They come through again.
    ///
    /// # Errors
    /// What `ip` said.
    pub fn heal(&self, host: &str) -> Result<(), String> {
        ip(&["-n", &self.namespace(BRIDGE), "link", "set", &line_of(host), "master", BRIDGE]).map(drop)
    }

    /// Ends what runs in a host and is meant by its command line, without a last word. Blocks until it is gone.
    ///
    /// # Errors
    /// When something stays.
    pub fn kill(&self, host: &str, meant: impl Fn(&str) -> bool) -> Result<(), String> {
        kill_in(&self.file(host), meant)
    }

    /// Takes them away with everything in them; nothing when there are none. Blocks.
    ///
    /// # Errors
    /// What stays.
    pub fn remove(&self) -> Result<(), String> {
        let listing = fs::read_dir(NAMESPACES).into_iter().flatten().flatten();
        let names = listing.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let ours: Vec<String> = names.filter(|name| name.starts_with(&self.prefix)).collect();
        let one = |name: &String| {
            let killed = kill_in(&Path::new(NAMESPACES).join(name), |_| true);
            ip(&["netns", "delete", name]).and(killed).err()
        };
        let wrong: Vec<String> = ours.iter().filter_map(one).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
    }

    /// That no line leads out: of the bridge, and of each host. Blocks.
    pub fn proofs(&self) -> Vec<Isolation> {
        let lines = ip(&["-n", &self.namespace(BRIDGE), "-o", "link", "show"]);
        let lines = lines.map(|text| text.lines().filter_map(name_of_line).collect::<Vec<_>>());
        let ours = |name: &String| ["lo", BRIDGE].contains(&name.as_str()) || all().any(|host| line_of(host) == *name);
        let mut proofs = vec![Isolation {
            tried: "the lines of the hosts' bridge".into(),
            holds: lines.as_ref().is_ok_and(|names| names.iter().all(ours)),
            seen: lines.map_or_else(|error| error, |names| names.join(", ")),
        }];
        for host in all() {
            let ways = ip(&["-n", &self.namespace(host), "route", "show", "default"]);
            let holds = ways.as_ref().is_ok_and(|ways| ways.trim().is_empty());
            let seen =
                ways.map_or_else(|error| error, |ways| if holds { "none".into() } else { ways.trim().to_owned() });
            proofs.push(Isolation { tried: format!("a way out of host {host}"), seen, holds });
        }
        proofs
    }
}

/// Every host.
pub fn all() -> impl Iterator<Item = &'static str> {
    MEMBERS.into_iter().chain([CLIENTS])
}

/// Where a host is.
pub fn address(host: &str) -> String {
    let place = all().position(|one| one == host).unwrap_or_default();
    format!("198.18.0.{}", FIRST_ADDRESS + place)
}

/// The end of its line at the bridge.
fn line_of(host: &str) -> String {
    format!("to-{host}")
}

/// `3: to-a@if2: <BROADCAST …` is of `to-a`.
fn name_of_line(line: &str) -> Option<String> {
    let name = line.split(": ").nth(1)?;
    Some(name.split('@').next().unwrap_or(name).to_owned())
}

fn ip(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("run `ip`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("`ip {}`: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

fn kill_in(namespace: &Path, meant: impl Fn(&str) -> bool) -> Result<(), String> {
    let deadline = Instant::now() + KILL_PATIENCE;
    loop {
        let mut left: Vec<(Pid, String)> = processes(namespace);
        left.retain(|(_, line)| meant(line));
        let Some((_, line)) = left.first() else { return Ok(()) };
        if Instant::now() > deadline {
            return Err(format!("`{line}` can't be ended"));
        }
        for (pid, _) in &left {
            // It may have ended by itself.
            let _ = kill_process(*pid, Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whoever has this network, with its command line. What has ended and wasn't waited for is none.
fn processes(namespace: &Path) -> Vec<(Pid, String)> {
    let Ok(ours) = fs::metadata(namespace) else { return Vec::new() };
    let one = |path: &Path| {
        let id = Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)?;
        let theirs = fs::metadata(path.join("ns/net")).ok()?;
        let is_there = (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino());
        let line = is_there.then(|| fs::read(path.join("cmdline")).ok()).flatten()?;
        Some((id, String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned()))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| one(&entry.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_addresses_and_lines() {
        let hosts = Hosts::new("1-a");
        assert_eq!(hosts.file("b"), Path::new("/run/netns/lifeboat-drill-1-a-b"));
        assert_eq!(
            all().map(address).collect::<Vec<_>>(),
            ["198.18.0.11", "198.18.0.12", "198.18.0.13", "198.18.0.14"]
        );
        // The kernel takes no longer name.
        assert!(all().all(|host| line_of(host).len() < 16));
        assert_eq!(name_of_line("3: to-a@if2: <BROADCAST> mtu 1500").as_deref(), Some("to-a"));
        assert_eq!(name_of_line("1: lo: <LOOPBACK> mtu 65536").as_deref(), Some("lo"));
    }

    #[test]
    fn where_there_are_none_nothing_is_removed() {
        assert_eq!(Hosts::new("of no run").remove(), Ok(()));
    }
}
