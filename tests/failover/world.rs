//! Three hosts with a member each, one with etcd, one with a proxy, and this machine as the place of the clients.

use crate::checks::Rows;
use crate::clients::{self, Addresses, Clients, Way};
use crate::history::Operation;
use crate::member::{Member, NAMES, Shared};
use crate::past::{Archive, Note};
use crate::program;
use anyhow::{Context, Result, bail};
use lifeboat_components::hosts::{Host, Network, certificates, etcd_member, small_disk};
use lifeboat_components::{Account, postgres};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Until something has happened that must: two busy cores, and others who use them.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// Between two looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Of a member: its data, and log for a while.
const DISK_BYTES: u64 = 640 << 20;
/// What the settings of [`Mode::Asynchronous`] say.
pub const LOSS_MAX_BYTES: u64 = 16 << 20;
const SETTINGS: &str = "listen_addresses = '*'\nfsync = off\nwal_log_hints = on\nwal_keep_size = 64MB\nmax_wal_senders = 10\n\
     max_wal_size = 128MB\nmin_wal_size = 32MB\nshared_buffers = 16MB\nautovacuum_naptime = 1h\nlog_line_prefix = '%m [%p] '\n";

/// What commits wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// One standby of the two.
    Synchronous,
    /// Nobody: what the winner hadn't received is lost, and told.
    Asynchronous,
}

impl Mode {
    fn words(self) -> &'static str {
        match self {
            Self::Synchronous => "mode = \"synchronous\"\nneeded = 1\nwhen_alone = \"wait\"",
            Self::Asynchronous => "mode = \"asynchronous\"\nloss_max = \"16MiB\"",
        }
    }
}

/// What a world is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub mode: Mode,
    /// Into one location, from every member.
    pub archives: bool,
}

/// See the module. Members before the network: it takes the hosts away.
pub struct World {
    pub members: Vec<Member>,
    pub etcd: Host,
    pub begun: Instant,
    pub mode: Mode,
    pub archive: Option<Archive>,
    /// Everything that was ever asked for.
    pub history: Vec<Operation>,
    clients: i32,
    _store: Child,
    proxy: Host,
    _proxy: Child,
    network: Network,
}

impl World {
    pub async fn new(major: u16, kind: Kind) -> Result<Self> {
        let network = Network::new(&[NAMES[0], NAMES[1], NAMES[2], "etcd", "proxy"])?;
        let scratch = network.directory();
        fs::create_dir_all(&scratch).context("make a directory")?;
        fs::write(scratch.join("token"), "a token for tests only").context("write a token")?;
        certificates(&scratch, network.hosts())?;
        let bin_dir = postgres::install(major)?.programs;
        let [etcd, proxy] = [3, 4].map(|place: usize| network.hosts()[place].clone());
        let store = etcd_member(0, std::slice::from_ref(&etcd), &scratch)?;
        let program = program::path()?;
        let archive = kind.archives.then(|| Archive::new(&scratch, &program)).transpose()?;
        let shared = Shared {
            scratch: &scratch,
            hosts: &network.hosts()[..NAMES.len()],
            etcd: etcd.etcd_url(),
            proxy: proxy.address(),
            mode: kind.mode.words(),
            bin_dir: &bin_dir,
            program,
        };
        let members: Vec<Member> = (0..NAMES.len()).map(|place| Member::new(place, &shared)).collect::<Result<_>>()?;
        lay_data(&members, &bin_dir, &network, archive.as_ref())?;
        let leads = start_proxy(&proxy, &members[0])?;
        let mut world = Self {
            members,
            etcd,
            mode: kind.mode,
            archive,
            begun: Instant::now(),
            history: Vec::new(),
            clients: 0,
            _store: store,
            proxy,
            _proxy: leads,
            network,
        };
        world.bootstrap(&bin_dir).await?;
        Ok(world)
    }

    async fn bootstrap(&mut self, bin_dir: &Path) -> Result<()> {
        let first = &self.members[0];
        let (data, log) = (text(&first.data_dir()), text(&first.directory.join("first.log")));
        first.host.run_as_server(&bin_dir.join("pg_ctl"), &["-D", &data, "-w", "start", "-l", &log])?;
        for member in &mut self.members {
            member.start_agent()?;
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (done, said) = self.lifeboat(0, &["cluster", "bootstrap"]).await?;
            if done {
                break;
            }
            if Instant::now() > deadline {
                bail!("the first primary isn't made: {said}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        self.settle().await?;
        let session = clients::open(&clients::config(self.members[0].host.address())).await?;
        session.batch_execute(clients::TABLE).await.context("make the table")?;
        if let Some(archive) = &self.archive {
            // Whole segments come and go with each fault.
            session.batch_execute(clients::MUCH).await.context("make rows large")?;
            archive.lifeboat(NAMES[0], &["backup", "shop"])?;
        }
        Ok(())
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn scratch(&self) -> PathBuf {
        self.network.directory()
    }

    fn addresses(&self) -> Addresses {
        let members = self.members.iter().map(|member| member.host.address().to_owned()).collect();
        Addresses { members, proxy: self.proxy.address().to_owned() }
    }

    /// Three that are led, one at each server, and three at the proxy.
    pub fn clients(&mut self) -> Clients {
        let led = [Way::Led, Way::Led, Way::Led, Way::Direct(0), Way::Direct(1), Way::Direct(2)];
        let ways = [&led[..], &[Way::Proxied, Way::ProxiedAnew, Way::ProxiedAnew]].concat();
        let first = self.clients;
        self.clients += i32::try_from(ways.len()).expect("a few");
        Clients::begin(&ways, first, &self.addresses(), self.begun)
    }

    /// Runs a command of the program beside the hosts. Whether it went well, and what it said.
    pub async fn lifeboat(&self, place: usize, arguments: &[&str]) -> Result<(bool, String)> {
        let mut command = self.members[place].lifeboat(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await?.context("run lifeboat")?;
        let said = [output.stdout, output.stderr].concat();
        Ok((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
    }

    /// Waits until one is the primary, the others follow it, and commits wait for them. Gives the primary's place.
    pub async fn settle(&mut self) -> Result<usize> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.nobody_has_ended()?;
            let (_, said) = self.lifeboat(0, &["--json", "cluster", "status"]).await?;
            if let Some(place) = settled(&said)
                && self.is_writable(place).await
            {
                return Ok(place);
            }
            if Instant::now() > deadline {
                bail!("it doesn't come to rest within {PATIENCE:?}:\n{said}");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// An agent that ends without being told to is a finding.
    fn nobody_has_ended(&mut self) -> Result<()> {
        for member in &mut self.members {
            if let Some(status) = member.ended() {
                let log = fs::read_to_string(&member.log).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                bail!("the agent of {} ended by itself ({status}): {last:?}", member.name);
            }
        }
        Ok(())
    }

    async fn is_writable(&self, place: usize) -> bool {
        let ask = async {
            let session = clients::open(&clients::config(self.members[place].host.address())).await.ok()?;
            let row = session.query_one("select not pg_is_in_recovery()", &[]).await.ok()?;
            row.get::<_, Option<bool>>(0)
        };
        matches!(tokio::time::timeout(Duration::from_secs(2), ask).await, Ok(Some(true)))
    }

    /// All rows of one member.
    pub async fn rows(&self, place: usize) -> Result<Rows> {
        let ask = async {
            let session = clients::open(&clients::config(self.members[place].host.address())).await?;
            let rows = session.query("select client, number from ledger", &[]).await?;
            anyhow::Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
        };
        let name = self.members[place].name;
        tokio::time::timeout(PATIENCE, ask).await.with_context(|| format!("{name} doesn't answer"))?
    }

    /// The timeline that the primary writes on, and the text of its history, which the first timeline has not.
    pub async fn timeline(&self, place: usize) -> Result<(u32, String)> {
        let session = clients::open(&clients::config(self.members[place].host.address())).await?;
        let row = session.query_one("select left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)", &[]).await?;
        let name: String = row.get(0);
        let timeline = u32::from_str_radix(&name, 16).context("a timeline")?;
        let path = self.members[place].data_dir().join("pg_wal").join(format!("{name}.history"));
        let history =
            if timeline == 1 { String::new() } else { fs::read_to_string(&path).context("read a history")? };
        Ok((timeline, history))
    }

    /// Notes this moment for a restore. Without clients the rows are noted too.
    pub async fn note(&mut self, about: String, place: usize, nobody_writes: bool) -> Result<()> {
        if self.archive.is_none() {
            return Ok(());
        }
        let session = clients::open(&clients::config(self.members[place].host.address())).await?;
        let begun = self.now();
        // What the furthest standby has is on every later timeline, and all that was acknowledged is before it.
        let row = session.query_one(clients::MOMENT, &[]).await?;
        let between = (begun, self.now());
        let (timeline, _) = self.timeline(place).await?;
        let exactly = if nobody_writes { Some(self.rows(place).await?) } else { None };
        let note = Note { about, time: row.get(0), position: row.get(1), timeline, between, exactly };
        self.archive.iter_mut().for_each(|archive| archive.notes.push(note.clone()));
        Ok(())
    }

    /// Closes the segment that is being written, and waits until the primary has archived everything.
    pub async fn archived(&self, place: usize) -> Result<()> {
        let session = clients::open(&clients::config(self.members[place].host.address())).await?;
        // A moment after the last commit is no target for PostgreSQL: one more, that writes nothing.
        session.batch_execute("select pg_current_xact_id()").await?;
        session.batch_execute("checkpoint; select pg_switch_wal()").await?;
        let directory = self.members[place].data_dir().join("pg_wal/archive_status");
        let deadline = Instant::now() + PATIENCE;
        loop {
            let entries = fs::read_dir(&directory).context("read what is to be archived")?.flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            let waiting: Vec<String> = names.filter(|name| name.ends_with(".ready")).collect();
            if waiting.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} doesn't archive: {waiting:?} wait", self.members[place].name);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps everything for somebody who looks later; the hosts are dead after it.
    pub fn keep(&mut self, into: &Path) {
        for member in &mut self.members {
            member.kill_host();
        }
        let _ = fs::remove_dir_all(into);
        let history: Vec<String> = self.history.iter().map(|operation| format!("{operation:?}")).collect();
        let _ = fs::write(self.scratch().join("history"), history.join("\n"));
        let _ = Command::new("cp").arg("-a").arg(self.scratch()).arg(into).status();
    }
}

/// The place of the primary, when everything is as it should be by what all agents say.
fn settled(said: &str) -> Option<usize> {
    let document: Value =
        serde_json::from_str(said.lines().next().filter(|line| line.ends_with('}')).unwrap_or(said)).ok()?;
    let members = document["members"].as_array()?;
    let states: Vec<&str> = members.iter().filter_map(|member| member["status"]["state"].as_str()).collect();
    let count = |state: &str| states.iter().filter(|found| **found == state).count();
    let right = document["healthy"] == true
        && count("primary") == 1
        && count("standby") == NAMES.len() - 1
        && document["lease"]["state"] == "held";
    let holder = document["lease"]["holder"].as_str()?;
    right.then(|| NAMES.iter().position(|name| *name == holder)).flatten()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// `lifeboat proxy` beside the clients. It asks all agents, and begins before there are any.
fn start_proxy(host: &Host, of: &Member) -> Result<Child> {
    let log = File::create(of.config.with_file_name("proxy.log")).context("create a log")?;
    let mut command = host.command(&of.program);
    command.arg("--config").arg(&of.config).arg("proxy");
    command.stdin(Stdio::null()).stdout(log.try_clone().context("share a log")?).stderr(log);
    command.spawn().context("start a proxy")
}

/// The same new cluster three times, the second and third as standbys.
fn lay_data(members: &[Member], bin_dir: &Path, network: &Network, archive: Option<&Archive>) -> Result<()> {
    let account = Account::for_servers()?;
    for member in members {
        small_disk(&member.directory, DISK_BYTES)?;
        if let Some(account) = account {
            chown(&member.directory, Some(account.uid), Some(account.gid)).context("give away a directory")?;
        }
    }
    let first = &members[0];
    let data = text(&first.data_dir());
    let arguments = ["-D", &data, "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "--data-checksums"];
    let segment = if archive.is_some() { "--wal-segsize=1" } else { "--wal-segsize=4" };
    let arguments = [&arguments[..], &["-A", "trust", segment]].concat();
    first.host.run_as_server(&bin_dir.join("initdb"), &arguments)?;
    let hba =
        format!("local all all trust\nhost all all {0} trust\nhost replication all {0} trust\n", network.addresses());
    fs::write(first.data_dir().join("pg_hba.conf"), hba).context("write pg_hba.conf")?;
    let configuration = first.data_dir().join("postgresql.conf");
    let common = fs::read_to_string(&configuration).context("read postgresql.conf")? + SETTINGS;
    for member in members {
        if member.name != first.name {
            let copied = Command::new("cp").arg("-a").arg(first.data_dir()).arg(member.data_dir()).status();
            anyhow::ensure!(copied.context("run cp")?.success(), "cp of a data directory");
            fs::write(member.data_dir().join("standby.signal"), "").context("write standby.signal")?;
        }
    }
    for member in members {
        let mut own = format!("{common}unix_socket_directories = '{}'\n", member.directory.display());
        if let Some(archive) = archive {
            archive.configure(member.name, &member.data_dir(), &member.directory)?;
            let command = archive.command_of(member.name);
            own += &format!("archive_mode = on\narchive_command = '{command}'\n");
        }
        fs::write(member.data_dir().join("postgresql.conf"), own).context("write postgresql.conf")?;
    }
    archive.map(|archive| archive.lifeboat(members[0].name, &["init"])).transpose().map(|_| ())
}
