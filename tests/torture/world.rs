//! One small world: a cluster, three places that hold copies, and the program, run as the server's account.

use crate::places::Places;
use anyhow::{Context, Result, bail, ensure};
use lifeboat_components::{Account, TestCluster};
use serde_json::Value;
use std::cell::Cell;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Much longer than anything here should take on two busy cores, with two locations that hang.
const PATIENCE: Duration = Duration::from_secs(240);

/// What distinguishes worlds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub major: u16,
    /// The log is streamed to `wal receive`, not archived by the server.
    pub streams: bool,
    /// Pages carry checksums.
    pub checksums: bool,
}

pub struct World {
    // In this order: the cluster stops before the places and the program are gone.
    pub cluster: TestCluster,
    pub places: Places,
    pub shape: Shape,
    pub spaces: Vec<(String, PathBuf)>,
    root: PathBuf,
    runs: Cell<u32>,
    clock: PathBuf,
}

/// A run of the program that has ended, or was killed (no code).
#[derive(Debug)]
pub struct Ran {
    pub shown: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not one JSON document: {self:#?}"))
    }

    /// Fails when the code is none of these.
    pub fn must_end(self, codes: &[i32]) -> Result<Self> {
        ensure!(self.code.is_some_and(|code| codes.contains(&code)), "expected one of {codes:?}: {self:#?}");
        Ok(self)
    }
}

/// Who waits for a process and who kills it agree whether it is still there: its number may be another's afterwards.
struct Alive {
    child: Child,
    status: Option<ExitStatus>,
}

/// A run under way.
pub struct Running {
    child: Arc<Mutex<Alive>>,
    shown: String,
    output: PathBuf,
    begun: Instant,
}

impl World {
    pub fn create(root: &Path, shape: Shape) -> Result<Self> {
        let account = Account::for_servers()?;
        own(account, root)?;
        let built = crate::program::path()?;
        fs::copy(&built, root.join("lifeboat")).with_context(|| format!("copy {}", built.display()))?;
        let places = Places::create(root, account)?;
        let here = root.display();
        // The archiver's command is killed after so many seconds when somebody wrote them down.
        let script = format!(
            "moment=$(cat {here}/kill-after 2>/dev/null)\n\
             if [ -z \"$moment\" ]; then exec {here}/lifeboat --config {here}/lifeboat.toml wal push \"$1\"; fi\n\
             timeout -s KILL \"$moment\" {here}/lifeboat --config {here}/lifeboat.toml wal push \"$1\" || exit 1\n"
        );
        fs::write(root.join("archive"), script)?;
        let mut builder = TestCluster::builder(shape.major)
            .wal_segment_size_mib(1)
            .data_checksums(shape.checksums)
            .setting("max_wal_size", "64MB")
            .setting("min_wal_size", "4MB")
            .setting("max_prepared_transactions", 8)
            .setting("max_wal_senders", 8)
            .setting("wal_retrieve_retry_interval", "100ms")
            .setting("max_connections", 40);
        if !shape.streams {
            builder = builder.archive_command(&format!("sh {here}/archive %p"));
        }
        let cluster = builder.create()?;
        let clock = root.join("clock.so");
        compile_clock(&clock)?;
        let mut world =
            Self { cluster, places, shape, spaces: Vec::new(), root: root.to_path_buf(), runs: Cell::new(0), clock };
        for name in ["out", "scratch", "spaces"] {
            world.make_directory(name)?;
        }
        world.write_private("passphrase", "correct horse battery staple\n")?;
        world.configure("lifeboat.toml", "")?;
        world.run(&["init"])?.must_end(&[0])?;
        world.cluster.start()?;
        Ok(world)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// An empty directory that belongs to the server's account.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        own(self.cluster.account(), &path)?;
        Ok(path)
    }

    fn write_private(&self, name: &str, text: &str) -> Result<()> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        own(self.cluster.account(), &path)
    }

    /// Writes a configuration, with more lines in the section of the workload.
    pub fn configure(&self, name: &str, lines: &str) -> Result<()> {
        let root = self.root.display();
        let text = format!(
            "state_dir = \"{root}/state\"\ncompression_level = 1\nprune_after = \"1h\"\n{}\
             [encryption]\npassphrase = {{ file = \"{root}/passphrase\" }}\n\
             [workload.shop]\nkind = \"postgres\"\nbin_dir = \"{}\"\ndata_dir = \"{}\"\nconnection = \"{}\"\n{lines}\n",
            self.places.sections(),
            self.cluster.programs().display(),
            self.cluster.data_dir().display(),
            self.cluster.connection_string(),
        );
        self.write_private(name, &text)
    }

    /// Starts the program. `clock`: seconds by which its clock is ahead.
    pub fn spawn(&self, configuration: &str, arguments: &[&str], clock: Option<u64>) -> Result<Running> {
        self.runs.set(self.runs.get() + 1);
        let output = self.path(&format!("out/{:05}", self.runs.get()));
        let mut command = Account::command(self.cluster.account(), &self.path("lifeboat"));
        command.arg("--config").arg(self.path(configuration)).args(arguments).stdin(Stdio::null());
        command.env("TMPDIR", self.path("scratch"));
        if let Some(seconds) = clock {
            command.env("LD_PRELOAD", &self.clock).env("LIFEBOAT_TORTURE_CLOCK", seconds.to_string());
        }
        let stdout = File::create(output.with_extension("stdout"))?;
        let stderr = File::create(output.with_extension("stderr"))?;
        let child = command.stdout(stdout).stderr(stderr).spawn().context("start lifeboat")?;
        let shown = format!("[{:05}] lifeboat --config {configuration} {}", self.runs.get(), arguments.join(" "));
        let child = Arc::new(Mutex::new(Alive { child, status: None }));
        Ok(Running { child, shown, output, begun: Instant::now() })
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Result<Ran> {
        self.spawn("lifeboat.toml", arguments, None)?.wait()
    }

    pub async fn sql(&self, statement: &str) -> Result<Option<String>> {
        self.cluster.sql(statement).await
    }

    /// Ends servers of rehearsals whose program was killed: they run below the scratch directory.
    pub fn end_orphans(&self) -> Result<()> {
        for room in fs::read_dir(self.path("scratch"))?.flatten() {
            let pid_file = fs::read_to_string(room.path().join("data/postmaster.pid")).unwrap_or_default();
            let pid = pid_file.lines().next().and_then(|line| line.trim().parse().ok());
            let command = pid.map(|pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
            let is_ours = command.is_some_and(|line| String::from_utf8_lossy(&line).contains("postgres"));
            if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw).filter(|_| is_ours) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            }
            let _ = fs::remove_dir_all(room.path());
        }
        Ok(())
    }
}

fn own(account: Option<Account>, path: &Path) -> Result<()> {
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(uid), Some(gid)).with_context(|| format!("give away {}", path.display()))?;
    }
    Ok(())
}

fn compile_clock(library: &Path) -> Result<()> {
    let source = library.with_extension("c");
    fs::write(&source, include_str!("clock.c"))?;
    let mut command = std::process::Command::new("cc");
    let output = command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(library).arg(&source).arg("-ldl").output()?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

impl Alive {
    fn look(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    fn kill(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.look()? {
            return Ok(status);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        self.status = Some(status);
        Ok(status)
    }
}

impl Running {
    fn alive(&self) -> MutexGuard<'_, Alive> {
        self.child.lock().expect("nobody panics with the lock")
    }

    /// `kill -9` at a moment after its start, unless it has ended by itself.
    pub fn kill_at(&self, moment: Duration) {
        let (child, begun) = (self.child.clone(), self.begun);
        // The moment is the fault that is injected: nothing is waited for.
        std::thread::spawn(move || {
            std::thread::sleep(moment.saturating_sub(begun.elapsed()));
            let _ = child.lock().map(|mut alive| alive.kill().map(drop));
        });
    }

    /// What it gave, once it has ended.
    pub fn poll(&mut self) -> Result<Option<Ran>> {
        let ran = self.poll_for_ever()?;
        if ran.is_none() && self.begun.elapsed() > PATIENCE {
            let status = self.alive().kill()?;
            bail!("it doesn't end within {PATIENCE:?}: {:#?}", self.result(status.code()));
        }
        Ok(ran)
    }

    /// The same for one that runs until it is told to stop.
    pub fn poll_for_ever(&mut self) -> Result<Option<Ran>> {
        let status = self.alive().look()?;
        Ok(status.map(|status| self.result(status.code())))
    }

    pub fn wait(mut self) -> Result<Ran> {
        loop {
            if let Some(ran) = self.poll()? {
                return Ok(ran);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// `kill -9` now, unless it has ended by itself.
    pub fn kill(&mut self) -> Result<Ran> {
        let status = self.alive().kill()?;
        Ok(self.result(status.code()))
    }

    fn result(&self, code: Option<i32>) -> Ran {
        let text = |kind| fs::read(self.output.with_extension(kind)).unwrap_or_default();
        let text = |kind| String::from_utf8_lossy(&text(kind)).into_owned();
        Ran { shown: self.shown.clone(), code, stdout: text("stdout"), stderr: text("stderr") }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.lock().map(|mut alive| alive.kill().map(drop));
    }
}

/// Starts a cluster that recovers, and waits until it is a primary.
pub async fn start_to_the_end(copy: &mut TestCluster) -> Result<()> {
    copy.start()?;
    let begun = Instant::now();
    loop {
        // The connection may be refused while the server is still starting, or has just ended.
        match copy.sql("select pg_is_in_recovery()").await {
            Ok(Some(answer)) if answer == "f" => return Ok(()),
            answer if begun.elapsed() > PATIENCE => {
                bail!("recovery doesn't end ({answer:?}):\n{}", end_of(&copy.log()))
            }
            _ => {}
        }
        copy.wait_until("recover", |_| true)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The end of a log.
pub fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
