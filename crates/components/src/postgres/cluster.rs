//! A PostgreSQL cluster of a test: start, stop, kill, promote, ask. Stops, and is removed, on drop.

use super::builder::{Builder, Home, give_to};
use super::programs::Installation;
use crate::Account;
use crate::command::{last_lines, run};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Two busy cores and a cluster that replays: much more than it should ever take.
const PATIENCE: Duration = Duration::from_secs(90);

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// One cluster with its server, or without when stopped.
#[derive(Debug)]
pub struct TestCluster {
    installation: Installation,
    home: Home,
    port: u16,
    password: Option<String>,
    server: Option<Child>,
}

impl TestCluster {
    /// A cluster of this major version, 14 to 18.
    pub fn builder(major: u16) -> Builder {
        Builder::new(major)
    }

    pub(super) fn new(installation: Installation, home: Home, port: u16, password: Option<String>) -> Self {
        Self { installation, home, port, password, server: None }
    }

    /// Such as 17.
    pub fn major(&self) -> u16 {
        self.installation.major
    }

    /// Where `postgres` is; only 15 and 18 have `psql` and the others there.
    pub fn programs(&self) -> &Path {
        &self.installation.programs
    }

    /// Whom the server runs as; `None` is whoever runs the test.
    pub fn account(&self) -> Option<Account> {
        self.home.account
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.home.data()
    }

    /// The directory of the socket; beside it there is room for files that the server may write.
    pub fn directory(&self) -> &Path {
        self.home.directory.path()
    }

    /// On 127.0.0.1, and the socket's number.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// For libpq and tokio-postgres: the superuser, through the socket.
    pub fn connection_string(&self) -> String {
        self.connection_string_at(&self.directory().display().to_string())
    }

    /// The same over TCP.
    pub fn connection_string_tcp(&self) -> String {
        self.connection_string_at("127.0.0.1")
    }

    fn connection_string_at(&self, host: &str) -> String {
        let password = self.password.iter().map(|secret| format!(" password={secret}")).collect::<String>();
        format!("host={host} port={} user=postgres dbname=postgres{password}", self.port)
    }

    /// The server's process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// What the server has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory().join("log")).unwrap_or_default()
    }

    /// Starts the server and waits until it accepts connections: as a primary, or as a hot standby.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.wait_until("accept connections", |cluster| {
            // Line 8 of postmaster.pid is the state: "starting", "ready   ", "standby ".
            let pid_file = fs::read_to_string(cluster.data_dir().join("postmaster.pid")).unwrap_or_default();
            let mut lines = pid_file.lines();
            let ours = lines.next().and_then(|pid| pid.trim().parse().ok()) == cluster.process_id();
            ours && matches!(lines.nth(6).map(str::trim), Some("ready" | "standby"))
        })
    }

    /// Starts the server and doesn't wait: for one that is expected to fail, or to stay in recovery.
    pub fn launch(&mut self) -> Result<()> {
        if self.server.is_some() {
            bail!("the server runs already");
        }
        let log = File::options().create(true).append(true).open(self.directory().join("log")).context("open log")?;
        let child = Account::command(self.home.account, &self.installation.programs.join("postgres"))
            .arg("-D")
            .arg(self.data_dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("share log")?)
            .stderr(log)
            .spawn()
            .context("start postgres")?;
        self.server = Some(child);
        Ok(())
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self, how: Shutdown) -> Result<()> {
        self.signal(if how == Shutdown::Fast { Signal::INT } else { Signal::QUIT })?;
        self.wait_for_end()
    }

    /// Kills the server as a failing machine would: no last word, no clean-up.
    pub fn kill(&mut self) -> Result<()> {
        let children = self.process_id().map(children_of).unwrap_or_default();
        self.signal(Signal::KILL)?;
        self.wait_for_end()?;
        // The children see their parent gone; a start before they end would find shared memory in use.
        for child in &children {
            let _ = kill_process(*child, Signal::KILL);
        }
        let deadline = Instant::now() + PATIENCE;
        while children.iter().any(|child| Path::new(&format!("/proc/{}", child.as_raw_nonzero())).exists()) {
            if Instant::now() > deadline {
                bail!("processes of a killed server are still there");
            }
            pause();
        }
        Ok(())
    }

    /// Stops it fast and starts it again.
    pub fn restart(&mut self) -> Result<()> {
        self.stop(Shutdown::Fast)?;
        self.start()
    }

    /// Makes a standby a primary, and waits until it is one.
    pub fn promote(&mut self) -> Result<()> {
        let mut command = self.command("pg_ctl");
        run(command.arg("promote").arg("-D").arg(self.data_dir()).args(["-w", "-t", "90"])).context("promote")?;
        Ok(())
    }

    /// One of PostgreSQL's programs, as the account of the server.
    pub fn command(&self, program: &str) -> Command {
        Account::command(self.home.account, &self.installation.programs.join(program))
    }

    /// Gives a file or directory that the test made to the account of the server.
    pub fn give_to_server(&self, path: &Path) -> Result<()> {
        give_to(self.home.account, path)
    }

    /// A connection as superuser. Needs a tokio runtime, here and for as long as the client is used.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) =
            tokio_postgres::connect(&self.connection_string(), NoTls).await.context("connect to test cluster")?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Runs statements, and returns the first column of the last row that they gave, as text.
    pub async fn sql(&self, statements: &str) -> Result<Option<String>> {
        let rows = self.connect().await?.simple_query(statements).await.with_context(|| statements.to_owned())?;
        Ok(rows
            .iter()
            .rev()
            .find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row.get(0).map(str::to_owned)),
                _ => None,
            })
            .flatten())
    }

    /// A standby of this running primary, copied under a non-exclusive backup: streams from it when started.
    pub async fn standby(&self, settings: impl FnOnce(Builder) -> Builder) -> Result<Self> {
        let client = self.connect().await?;
        let (start, stop) = match self.major() {
            14 => {
                ("select pg_start_backup('standby', true, false)", "select labelfile from pg_stop_backup(false, false)")
            }
            _ => ("select pg_backup_start('standby', true)", "select labelfile from pg_backup_stop(false)"),
        };
        client.batch_execute(start).await.context("start backup")?;
        let source = self.data_dir();
        let info = self.connection_string();
        let mut standby = settings(Self::builder(self.major()).setting("primary_conninfo", info)).adopt(|data| {
            // Files may vanish while they are copied: cp then fails although all that matters is there.
            let _ = run(Command::new("cp").arg("-a").arg(source.join(".")).arg(data));
            for name in ["postmaster.pid", "postmaster.opts", "backup_label", "tablespace_map"] {
                let _ = fs::remove_file(data.join(name));
            }
            for name in ["pg_wal", "pg_replslot"] {
                empty_but_directories(&data.join(name))?;
            }
            fs::write(data.join("standby.signal"), "").context("write standby.signal")
        })?;
        standby.password.clone_from(&self.password);
        let label: String = client.query_one(stop, &[]).await.context("stop backup")?.get(0);
        let path = standby.data_dir().join("backup_label");
        fs::write(&path, label).context("write backup_label")?;
        give_to(self.home.account, &path)?;
        Ok(standby)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = self.process_id().and_then(|id| Pid::from_raw(id.cast_signed())).context("the server doesn't run")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to the server"))
    }

    fn wait_for_end(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while let Some(child) = &mut self.server {
            if child.try_wait().context("wait for server")?.is_some() {
                self.server = None;
            } else if Instant::now() > deadline {
                bail!("the server doesn't end:\n{}", last_lines(&self.log()));
            } else {
                pause();
            }
        }
        Ok(())
    }

    /// Waits for `condition`; fails with the end of the log when the server ends before, or time runs out.
    pub fn wait_until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if condition(self) {
                return Ok(());
            }
            if let Some(status) = self.server.as_mut().and_then(|child| child.try_wait().transpose()) {
                self.server = None;
                bail!("the server ended ({}) before it could {what}:\n{}", status?, last_lines(&self.log()));
            }
            if Instant::now() > deadline {
                bail!("the server doesn't {what} after {PATIENCE:?}:\n{}", last_lines(&self.log()));
            }
            pause();
        }
    }
}

impl Drop for TestCluster {
    fn drop(&mut self) {
        if self.server.is_some() && self.stop(Shutdown::Immediate).is_err() {
            let _ = self.kill();
        }
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// The processes whose parent is `parent`.
fn children_of(parent: u32) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let child = |entry: fs::DirEntry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        // "123 (postgres: checkpointer) S 100 ..": the name may hold blanks and brackets, what follows it may not.
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent_found: u32 = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()?;
        (parent_found == parent).then(|| Pid::from_raw(pid)).flatten()
    };
    processes.flatten().filter_map(child).collect()
}

fn empty_but_directories(directory: &Path) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        if directory.ends_with("pg_replslot") && path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.is_file() {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
