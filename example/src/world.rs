//! Three regions on one machine: network namespaces with real agents, servers and a lease store; a proxy beside them for the clients.
//!
//! It lies in a file system in memory, and everything goes when the value is dropped. What a killed run left, the next one takes away
//! (`lifeboat_components::hosts`).

mod data;
pub mod faults;
pub mod member;

use crate::script::NAMES;
use anyhow::{Context, Result, bail};
use lifeboat_components::hosts::{Network, certificates, small_disk};
use lifeboat_components::{free_port, postgres};
use member::{Member, Shared};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Both data directories, with log for some hours of a region that is away.
const DISK_BYTES: u64 = 3 << 30;
/// Until something has happened that must, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Told what is done while the world is made; an error ends it.
pub type Told<'a> = &'a dyn Fn(&str) -> Result<()>;

/// See the module. Members before the network: it takes their hosts away.
pub struct World {
    pub members: Vec<Member>,
    /// Which PostgreSQL.
    pub version: String,
    program: PathBuf,
    proxy: Option<Child>,
    /// Of the proxy: for writing, for reading.
    ports: [u16; 2],
    network: Network,
}

/// What those need who only look and write.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub scratch: PathBuf,
    /// Of each place.
    pub hosts: Vec<lifeboat_components::hosts::Host>,
    pub ports: [u16; 2],
    pub version: String,
}

impl World {
    /// # Errors
    /// When something of it can't be started, or `told` says that it isn't wanted any more.
    pub fn new(major: u16, program: &Path, told: Told<'_>) -> Result<Self> {
        told(&format!("PostgreSQL {major}, etcd, ip and nft"))?;
        let found = postgres::install(major)?;
        told("three hosts as network namespaces")?;
        let network = Network::new(&NAMES)?;
        let scratch = network.directory();
        small_disk(&scratch, DISK_BYTES)?;
        fs::write(scratch.join("token"), "a token for one machine only").context("write a token")?;
        certificates(&scratch, network.hosts())?;
        let shared = Shared { scratch: &scratch, hosts: network.hosts(), bin_dir: &found.programs };
        let ports = [free_port()?, free_port()?];
        fs::write(scratch.join("lifeboat.toml"), shared.client_configuration(ports))
            .context("write a configuration")?;
        let members = (0..NAMES.len()).map(|place| Member::new(place, &shared)).collect::<Result<_>>()?;
        let version = major.to_string();
        let mut world = Self { members, version, program: program.into(), proxy: None, ports, network };
        world.begin(&found.programs, told)?;
        Ok(world)
    }

    fn begin(&mut self, bin_dir: &Path, told: Told<'_>) -> Result<()> {
        told("a lease store with a member in each")?;
        self.start_stores()?;
        told("a database in virginia and a copy in ohio")?;
        data::lay(&self.members, bin_dir, &self.network.addresses())?;
        let (first, log) = (&self.members[0], self.members[0].directory.join("first.log"));
        let arguments = ["-D", &text(&first.data_dir()), "-w", "start", "-l", &text(&log)];
        first.host.run_as_server(&bin_dir.join("pg_ctl"), &arguments)?;
        told("an agent in each, and virginia as the first primary")?;
        self.start_agents()?;
        self.until(told, "virginia doesn't become the first primary", |world| {
            world.lifeboat(&["cluster", "bootstrap", "--member", NAMES[0]]).map(drop)
        })?;
        told("a proxy for the clients")?;
        self.start_proxy()?;
        self.until(told, "the cluster doesn't come to rest", |world| world.lifeboat(&["cluster", "status"]).map(drop))
    }

    /// Tries until it works.
    fn until(&self, told: Told<'_>, what: &'static str, attempt: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Err(error) = attempt(self) else { return Ok(()) };
            told("")?;
            if Instant::now() > deadline {
                return Err(error.context(what));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    pub fn addresses(&self) -> Addresses {
        Addresses {
            scratch: self.network.directory(),
            hosts: self.network.hosts().to_vec(),
            ports: self.ports,
            version: self.version.clone(),
        }
    }

    /// Runs a command of the program, as an operator beside the regions would. Gives what it said.
    ///
    /// # Errors
    /// With what it said, when it doesn't succeed.
    pub fn lifeboat(&self, arguments: &[&str]) -> Result<String> {
        let config = self.network.directory().join("lifeboat.toml");
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(config).args(arguments).stdin(Stdio::null()).process_group(0);
        let output = command.output().with_context(|| format!("run {}", self.program.display()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{}", said.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or(said.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn start_agents(&mut self) -> Result<()> {
        let program = self.program.clone();
        self.members.iter_mut().try_for_each(|member| member.start_agent(&program))
    }

    fn start_stores(&mut self) -> Result<()> {
        let (hosts, scratch) = (self.network.hosts(), self.network.directory());
        self.members.iter_mut().try_for_each(|member| member.start_store(hosts, &scratch))
    }

    /// On this machine itself. It ends with the thread that starts it, also when that is killed: no namespace tells the next run of it.
    fn start_proxy(&mut self) -> Result<()> {
        if self.proxy.as_mut().is_some_and(|proxy| matches!(proxy.try_wait(), Ok(None))) {
            return Ok(());
        }
        let scratch = self.network.directory();
        let log = File::options().create(true).append(true).open(scratch.join("proxy.log")).context("open a log")?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(&self.program);
        command.arg("--config").arg(scratch.join("lifeboat.toml")).arg("proxy").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
        self.proxy = Some(command.spawn().context("start a proxy")?);
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut proxy) = self.proxy.take() {
            let _ = proxy.kill();
            let _ = proxy.wait();
        }
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
