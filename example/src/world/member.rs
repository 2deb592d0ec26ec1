//! One region: a host with an agent, a member of the lease store, and, but for the witness, a data directory.

use crate::script::{DATABASES, NAMES};
use anyhow::{Context, Result};
use lifeboat_components::hosts::{Host, Process, etcd_member};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

pub const DATABASE_PORT: u16 = 5432;
pub const AGENT_PORT: u16 = 7432;

/// See the module.
pub struct Member {
    pub place: usize,
    pub host: Host,
    /// Data directory, socket, the agent's state and words.
    pub directory: PathBuf,
    agent: Option<Child>,
    store: Option<Child>,
}

/// What all configurations have in common.
pub struct Shared<'a> {
    pub scratch: &'a Path,
    pub hosts: &'a [Host],
    pub bin_dir: &'a Path,
}

impl Shared<'_> {
    /// The cluster, as every configuration tells it.
    fn members(&self) -> String {
        let member = |place: usize| {
            let (name, address) = (NAMES[place], self.hosts[place].address());
            let database = format!("database = \"{address}:{DATABASE_PORT}\"\n");
            let database = if place < DATABASES { database } else { String::new() };
            format!(
                "[cluster.shop.member.{name}]\nagent = \"https://{address}:{AGENT_PORT}\"\n{database}region = \"{name}\"\n"
            )
        };
        (0..NAMES.len()).map(member).collect()
    }

    /// Everything but who this is.
    fn common(&self) -> String {
        let scratch = self.scratch.display();
        let stores: Vec<String> = self.hosts.iter().map(|host| format!("\"{}\"", host.etcd_url())).collect();
        format!(
            "lease = {{ etcd = [{}] }}\nmode = \"synchronous\"\nneeded = 1\nwhen_alone = \"continue\"\n\
             token = {{ file = \"{scratch}/token\" }}\n\
             tls = {{ certificate = \"{scratch}/member.pem\", key = \"{scratch}/member.key\", authority = \"{scratch}/ca.pem\" }}\n",
            stores.join(", ")
        )
    }

    /// For the proxy, and for commands.
    pub fn client_configuration(&self, ports: [u16; 2]) -> String {
        let [primary, read_only] = ports;
        let proxy = format!("proxy = {{ primary = \"127.0.0.1:{primary}\", read_only = \"127.0.0.1:{read_only}\" }}\n");
        format!("[cluster.shop]\n{}{proxy}{}", self.common(), self.members())
    }
}

impl Member {
    /// Writes its configuration; its data is laid there by somebody else.
    pub fn new(place: usize, shared: &Shared<'_>) -> Result<Self> {
        let directory = shared.scratch.join(NAMES[place]);
        fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let host = shared.hosts[place].clone();
        let member = Self { place, host, directory, agent: None, store: None };
        fs::write(member.config(), member.configuration(shared)).context("write a configuration")?;
        Ok(member)
    }

    fn configuration(&self, shared: &Shared<'_>) -> String {
        let (address, state) = (self.host.address(), self.state_dir());
        let mut text = format!(
            "[cluster.shop]\nthis_member = \"{}\"\nlisten = \"{address}:{AGENT_PORT}\"\nstate_dir = \"{}\"\n{}",
            NAMES[self.place],
            state.display(),
            shared.common()
        );
        if self.has_database() {
            text += &format!(
                "data_dir = \"{}\"\nbin_dir = \"{}\"\nreplication = \"user=postgres\"\n\
                 connection = \"host={} port={DATABASE_PORT} user=postgres dbname=postgres\"\n",
                self.data_dir().display(),
                shared.bin_dir.display(),
                self.directory.display()
            );
        }
        text + &shared.members()
    }

    pub fn has_database(&self) -> bool {
        self.place < DATABASES
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.directory.join("state")
    }

    fn config(&self) -> PathBuf {
        self.directory.join("lifeboat.toml")
    }

    /// Starts the agent, as its service would, unless it runs.
    pub fn start_agent(&mut self, program: &Path) -> Result<()> {
        if runs(&mut self.agent) {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(self.directory.join("agent.log"));
        let log = log.context("open a log")?;
        let mut command = self.host.command(program);
        command.arg("--config").arg(self.config()).arg("agent").process_group(0);
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
        self.agent = Some(command.spawn().context("start an agent")?);
        Ok(())
    }

    /// Starts its member of the lease store, unless it runs.
    pub fn start_store(&mut self, hosts: &[Host], scratch: &Path) -> Result<()> {
        if !runs(&mut self.store) {
            self.store = Some(etcd_member(self.place, hosts, scratch)?);
        }
        Ok(())
    }

    /// Everything that runs there, without a last word.
    pub fn kill_host(&mut self) {
        self.host.kill_all();
        for child in [&mut self.agent, &mut self.store] {
            end(child);
        }
    }

    pub fn kill_store(&mut self) {
        end(&mut self.store);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill_host();
    }
}

fn runs(child: &mut Option<Child>) -> bool {
    child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
}

/// Kills it, if it runs, and waits for it.
fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        // It may have ended by itself.
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub fn is_agent(process: &Process) -> bool {
    process.line.contains(" --config ") && process.line.ends_with(" agent")
}

pub fn is_store(process: &Process) -> bool {
    process.line.split(' ').next().is_some_and(|program| program.ends_with("/etcd"))
}
