//! The program that serves an instant restore, as a process that can be killed; and the server over what it serves.

use crate::world::World;
use anyhow::{Context, Result, ensure};
use lifeboat_components::Account;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Much longer than anything takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// `lifeboat restore --instant --start`, as whoever may mount: the tests' own account.
pub struct Served {
    child: Child,
    log: PathBuf,
    to: PathBuf,
}

impl Served {
    /// With the configuration `instant.toml`.
    pub fn start(world: &World, to: &Path) -> Result<Self> {
        Self::start_with(world, "instant.toml", to, &["--start"])
    }

    /// With another configuration and other arguments.
    pub fn start_with(world: &World, configuration: &str, to: &Path, more: &[&str]) -> Result<Self> {
        let log = world.path("instant.log");
        let said = fs::File::create(&log)?;
        let mut command = Command::new(world.path("lifeboat"));
        command.arg("--config").arg(world.path(configuration));
        command.args(["restore", "shop", "--instant", "--to"]).arg(to).args(more);
        let child = command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).process_group(0).spawn()?;
        Ok(Self { child, log, to: to.to_path_buf() })
    }

    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub async fn until_it_says(&mut self, words: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.said().contains(words) {
            ensure!(self.child.try_wait()?.is_none(), "it ended before it said {words:?}: {}", self.said());
            ensure!(Instant::now() < deadline, "it did not say {words:?}: {}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits for its own end, which must be a good one.
    pub fn until_it_ends(mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            ensure!(Instant::now() < deadline, "it does not end: {}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let status = self.child.wait()?;
        ensure!(status.success(), "it ended with {status}: {}", self.said());
        Ok(())
    }

    /// `kill -9`, and the server that is left without its files too.
    pub fn kill(self) -> Result<()> {
        let server = processes_of_server(&self.to)?;
        self.kill_alone()?;
        kill_all(&server)
    }

    /// `kill -9`, and whatever becomes of the server.
    pub fn kill_alone(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// The server's processes by `kill -9`; this goes on.
    pub fn kill_server(&self) -> Result<()> {
        kill_all(&processes_of_server(&self.to)?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It stops the server and takes the mount away.
        if let Ok(None) = self.child.try_wait()
            && let Some(process) = Pid::from_raw(self.child.id().cast_signed())
        {
            let _ = kill_process(process, Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// None when no server has got that far.
fn processes_of_server(to: &Path) -> Result<Vec<Pid>> {
    let Ok(file) = fs::read_to_string(to.join("postmaster.pid")) else { return Ok(Vec::new()) };
    let Some(server) = file.lines().next().filter(|line| !line.is_empty()) else { return Ok(Vec::new()) };
    // Of an earlier server, whose number may be anybody's by now.
    let line = fs::read(format!("/proc/{server}/cmdline")).unwrap_or_default();
    if !String::from_utf8_lossy(&line).contains(&to.display().to_string()) {
        return Ok(Vec::new());
    }
    let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
    let all = std::iter::once(server).chain(children.split_whitespace());
    all.map(|process| Pid::from_raw(process.parse()?).context("a process")).collect()
}

fn kill_all(all: &[Pid]) -> Result<()> {
    for process in all {
        // It may have noticed, and ended by itself.
        let _ = kill_process(*process, Signal::KILL);
    }
    let deadline = Instant::now() + PATIENCE;
    // Also until somebody has taken note of its end: as long as it has its number, no other server starts.
    let is_there = |process: &Pid| Path::new(&format!("/proc/{}", process.as_raw_nonzero())).exists();
    while all.iter().any(is_there) {
        ensure!(Instant::now() < deadline, "processes of a killed server are still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// `pg_ctl start` or `stop` by hand, in a directory that is mounted or not.
pub fn control(world: &World, action: &str, to: &Path) -> Result<()> {
    let mut command = Account::command(world.cluster.account(), &world.cluster.programs().join("pg_ctl"));
    command.arg(action).args(["-w", "-t", "90", "-D"]).arg(to).arg("-l").arg(world.path("by-hand.log"));
    let status = command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let log = || fs::read_to_string(world.path("by-hand.log")).unwrap_or_default();
    ensure!(status.success(), "pg_ctl {action}: {}", crate::world::last_lines(&log()));
    Ok(())
}
