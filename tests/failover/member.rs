//! One member: a host with a data directory, a configuration, and an agent that looks after the server.

use anyhow::{Context, Result, bail};
use lifeboat_components::hosts::{Host, Process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

pub const DATABASE_PORT: u16 = 5432;
pub const AGENT_PORT: u16 = 7432;
pub const PROXY_PORT: u16 = 6432;
pub const NAMES: [&str; 3] = ["a", "b", "c"];

/// See the module.
pub struct Member {
    pub name: &'static str,
    pub host: Host,
    /// A small disk with the data directory and the socket.
    pub directory: PathBuf,
    /// The agent's own: promises, journal, the server's words.
    pub state_dir: PathBuf,
    pub config: PathBuf,
    pub log: PathBuf,
    pub program: PathBuf,
    agent: Option<Child>,
}

/// What the configurations of all members have in common.
pub struct Shared<'a> {
    pub scratch: &'a Path,
    pub hosts: &'a [Host],
    pub etcd: String,
    /// Where the clients' proxy listens.
    pub proxy: &'a str,
    /// `mode = …` and what belongs to it.
    pub mode: &'a str,
    pub bin_dir: &'a Path,
    pub program: PathBuf,
}

impl Member {
    /// Writes its configuration; its data is laid there by somebody else.
    pub fn new(place: usize, shared: &Shared<'_>) -> Result<Self> {
        let name = NAMES[place];
        let member = Self {
            name,
            host: shared.hosts[place].clone(),
            directory: shared.scratch.join(name),
            state_dir: shared.scratch.join(format!("{name}-state")),
            config: shared.scratch.join(format!("{name}.toml")),
            log: shared.scratch.join(format!("{name}.log")),
            program: shared.program.clone(),
            agent: None,
        };
        fs::write(&member.config, member.configuration(shared)).context("write a configuration")?;
        Ok(member)
    }

    fn configuration(&self, shared: &Shared<'_>) -> String {
        let scratch = shared.scratch.display();
        let mut text = format!(
            "[cluster.shop]\nthis_member = \"{}\"\ndata_dir = \"{}\"\n\
             connection = \"host={} port={DATABASE_PORT} user=postgres dbname=postgres\"\nreplication = \"user=postgres\"\n\
             bin_dir = \"{}\"\nlease = {{ etcd = [\"{}\"] }}\n{}\nlisten = \"{}:{AGENT_PORT}\"\n\
             token = {{ file = \"{scratch}/token\" }}\n\
             tls = {{ certificate = \"{scratch}/member.pem\", key = \"{scratch}/member.key\", authority = \"{scratch}/ca.pem\" }}\n\
             state_dir = \"{}\"\nproxy = {{ primary = \"{}:{PROXY_PORT}\" }}\n",
            self.name,
            self.data_dir().display(),
            self.directory.display(),
            shared.bin_dir.display(),
            shared.etcd,
            shared.mode,
            self.host.address(),
            self.state_dir.display(),
            shared.proxy,
        );
        for (name, host) in NAMES.iter().zip(shared.hosts) {
            let address = host.address();
            text += &format!(
                "[cluster.shop.member.{name}]\nagent = \"https://{address}:{AGENT_PORT}\"\n\
                 database = \"{address}:{DATABASE_PORT}\"\nregion = \"region-{name}\"\n"
            );
        }
        text
    }

    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Starts `lifeboat agent`, as its service would.
    pub fn start_agent(&mut self) -> Result<()> {
        if self.agent.is_some() {
            bail!("the agent of {} runs", self.name);
        }
        let log = File::options().create(true).append(true).open(&self.log).context("open a log")?;
        let mut command = self.host.command(&self.program);
        command.arg("--config").arg(&self.config).arg("agent");
        command.env("LIFEBOAT_LOG", "warn,lifeboat_agent=debug");
        command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
        self.agent = Some(command.spawn().context("start an agent")?);
        Ok(())
    }

    /// A command of the program with this member's configuration, run outside all hosts.
    pub fn lifeboat(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).args(arguments).stdin(Stdio::null());
        command
    }

    /// Everything: agent, dead man, server.
    pub fn kill_host(&mut self) {
        self.host.kill_all();
        self.reap();
    }

    /// Every process of the server, and no other.
    pub fn kill_server(&self) {
        self.host.kill_postgres();
    }

    /// The agent alone: its dead man stays.
    pub fn kill_agent(&mut self) {
        self.host.kill(is_agent);
        self.reap();
    }

    fn reap(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            // It was killed before, unless it hadn't entered its host yet.
            let _ = agent.kill();
            let _ = agent.wait();
        }
    }

    /// How the agent ended, if it did so by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.agent.as_mut().and_then(|agent| agent.try_wait().ok().flatten())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill_host();
    }
}

pub fn is_agent(process: &Process) -> bool {
    process.line.contains(" --config ") && process.line.ends_with(" agent")
}

pub fn is_dead_man(process: &Process) -> bool {
    process.line.contains(" dead-man ")
}

pub fn is_archiver(process: &Process) -> bool {
    process.line.starts_with("postgres: archiver")
}
