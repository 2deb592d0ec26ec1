//! Hosts, as far as networks and processes go: each a network namespace with an address of its own, on one bridge.
//!
//! What runs in a host is a process like any other of this machine, sees its files, and is told from others by its namespace. A network has a
//! number, held by a lock on a file as long as its value lives: two tests never have the same, and whatever earlier, killed runs left is
//! taken away first. Everything goes on drop.
//!
//! Not here: slow and lossy lines (`servers::Proxy` has them).

mod certificates;
mod cuts;
mod processes;
mod store;

pub use certificates::certificates;
pub use cuts::Cut;
pub use processes::Process;
pub use rustix::process::Signal;
pub use store::etcd_member;

use crate::command::run;
use crate::place::{Components, lock};
use crate::{Account, Component, install};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Networks that there may be at once on one machine.
const NETWORKS_MAX: u8 = 64;
/// A host's address ends in this and the numbers after it; the bridge's ends in 1.
const FIRST_ADDRESS: u8 = 11;

/// A bridge with its hosts. This machine itself is on it too, as the clients' place.
#[derive(Debug)]
pub struct Network {
    number: u8,
    hosts: Vec<Host>,
    _lock: File,
}

/// One host of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    namespace: String,
    address: String,
}

impl Network {
    /// As many hosts as there are names, each a lowercase letter or a few.
    ///
    /// # Errors
    /// Without root, `ip` and `nft`: they are not done without.
    pub fn new(names: &[&str]) -> Result<Self> {
        install(Component::Namespaces)?;
        if !rustix::process::geteuid().is_root() {
            bail!("hosts as network namespaces need root; run it as root, such as: sudo -E cargo ..");
        }
        let (number, lock) = free_number()?;
        remove(number);
        remove_abandoned();
        // From here on whatever was made is taken away again, also when the next step fails.
        let mut network = Self { number, hosts: Vec::new(), _lock: lock };
        let bridge = bridge(number);
        let address = format!("{}/24", network.address());
        ip(&["link", "add", &bridge, "type", "bridge"])
            .context("make a bridge (is this kernel without them, or a container without NET_ADMIN and SYS_ADMIN?)")?;
        ip(&["address", "add", &address, "dev", &bridge])?;
        ip(&["link", "set", &bridge, "up"])?;
        for (place, name) in (0..).zip(names) {
            network.add(place, name).with_context(|| format!("make host {name}"))?;
        }
        Ok(network)
    }

    fn add(&mut self, place: u8, name: &str) -> Result<()> {
        let number = self.number;
        let host = Host {
            namespace: format!("{}{name}", prefix(number)),
            address: format!("10.213.{number}.{}", FIRST_ADDRESS + place),
        };
        let (near, namespace) = (format!("{}v{place}", bridge(number)), host.namespace.as_str());
        ip(&["netns", "add", namespace])?;
        self.hosts.push(host.clone());
        ip(&["link", "add", &near, "type", "veth", "peer", "name", "eth0", "netns", namespace])?;
        ip(&["link", "set", &near, "master", &bridge(number), "up"])?;
        ip(&["-n", namespace, "address", "add", &format!("{}/24", host.address), "dev", "eth0"])?;
        ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        Ok(())
    }

    /// Where this machine itself is on the network: in the same place as no host.
    pub fn address(&self) -> String {
        format!("10.213.{}.1", self.number)
    }

    /// All addresses, as PostgreSQL and certificates write them.
    pub fn addresses(&self) -> String {
        format!("10.213.{}.0/24", self.number)
    }

    /// In the order of their names.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A directory that is this network's alone, for what must not survive a killed run; made anew, not yet there.
    pub fn directory(&self) -> PathBuf {
        directory(self.number)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove(self.number);
    }
}

impl Host {
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A command that runs in this host.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace_file().display())).arg("--").arg(program);
        command
    }

    /// Runs a program of PostgreSQL's, as the account of servers, to its end. A server that it leaves behind needs a log of its own.
    ///
    /// # Errors
    /// With what it said, when it doesn't succeed.
    pub fn run_as_server(&self, program: &Path, arguments: &[&str]) -> Result<()> {
        let mut command = match Account::for_servers()? {
            None => self.command(program),
            Some(account) => {
                let mut command = self.command(Path::new("setpriv"));
                command.args([format!("--reuid={}", account.uid), format!("--regid={}", account.gid)]);
                command.args(["--clear-groups", "--"]).arg(program);
                command
            }
        };
        run(command.args(arguments).current_dir("/")).map(drop)
    }

    fn namespace_file(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.namespace)
    }
}

fn free_number() -> Result<(u8, File)> {
    // Only to have the directory.
    drop(lock(&Components::root(), "networks")?);
    for number in 1..=NETWORKS_MAX {
        if let Some(held) = held(number)? {
            return Ok((number, held));
        }
    }
    bail!("{NETWORKS_MAX} networks are in use on this machine")
}

/// The lock of a number, if nobody else has it.
fn held(number: u8) -> Result<Option<File>> {
    let path = Components::root().join(format!(".network-{number}"));
    let file = File::options().create(true).append(true).open(&path);
    let file = file.with_context(|| format!("open {}", path.display()))?;
    Ok(file.try_lock().is_ok().then_some(file))
}

/// What killed runs left under other numbers, and nobody has taken since.
fn remove_abandoned() {
    let abandoned = (1..=NETWORKS_MAX)
        .filter(|number| directory(*number).exists() || Path::new("/sys/class/net").join(bridge(*number)).exists());
    for number in abandoned {
        // Whoever wants it meanwhile takes the next.
        if let Ok(Some(_held)) = held(number) {
            remove(number);
        }
    }
}

fn prefix(number: u8) -> String {
    format!("lifeboat-{number}-")
}

fn bridge(number: u8) -> String {
    format!("lifeboat{number}")
}

fn directory(number: u8) -> PathBuf {
    PathBuf::from(format!("/tmp/lifeboat-network-{number}"))
}

fn ip(arguments: &[&str]) -> Result<String> {
    run(Command::new("ip").args(arguments))
}

/// Whatever there is under this number.
fn remove(number: u8) {
    // With its namespace a line goes too, but some time later, and its name would still be taken.
    let lines = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let lines = lines.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for line in lines.filter(|name| name.starts_with(&format!("{}v", bridge(number)))) {
        let _ = ip(&["link", "delete", &line]);
    }
    let namespaces = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let ours = namespaces.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let ours: Vec<String> = ours.filter(|name| name.starts_with(&prefix(number))).collect();
    for namespace in ours {
        let host = Host { namespace: namespace.clone(), address: String::new() };
        host.kill_all();
        let _ = ip(&["netns", "delete", &namespace]);
    }
    let _ = ip(&["link", "delete", &bridge(number)]);
    unmount_below(&directory(number));
    let _ = fs::remove_dir_all(directory(number));
}

/// A small disk: a file system in memory, of so many bytes, that can be filled. Goes with the network whose directory it lies in.
///
/// # Errors
/// When it can't be mounted.
pub fn small_disk(directory: &Path, size_bytes: u64) -> Result<()> {
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let options = format!("size={size_bytes},mode=755");
    run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "lifeboat"]).arg(directory))?;
    Ok(())
}

fn unmount_below(directory: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for point in points.filter(|point| point.starts_with(directory)) {
        let _ = run(Command::new("umount").args(["-l"]).arg(point));
    }
}
