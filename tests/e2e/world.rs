//! One small world per test: a cluster, a configuration, repositories, and the program, run as the server's account.

use crate::program;
use anyhow::{Context, Result, bail, ensure};
use lifeboat_components::postgres::Builder;
use lifeboat_components::{Account, TestCluster};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Much longer than anything here should take on two busy cores.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a run of the program gave.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The document of `--json`. One, and nothing else.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("not one JSON document: {self:?}"))
    }
}

/// What a test says about its world before there is one.
#[derive(Debug)]
pub struct Plan {
    builder: Builder,
    workload: String,
    archives: bool,
    locations: Vec<&'static str>,
    /// Lines of the workload that name places below the world's root.
    placed: Vec<fn(&str) -> String>,
}

/// A cluster under protection.
#[derive(Debug)]
pub struct World {
    // In this order: the cluster stops before the program and the repository that it archives to are removed.
    pub cluster: TestCluster,
    directory: TempDir,
}

impl Plan {
    /// A cluster that archives with `lifeboat wal push`, protected in one location.
    pub fn new(major: u16) -> Self {
        // Sample more often than once a minute, so that a failed push is tried again soon.
        let builder =
            TestCluster::builder(major).setting("max_wal_senders", 8).setting("wal_retrieve_retry_interval", "200ms");
        Self { builder, workload: String::new(), archives: true, locations: vec!["local"], placed: Vec::new() }
    }

    pub fn cluster(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// A line in the section of the workload.
    pub fn workload(mut self, line: &str) -> Self {
        self.workload.push_str(line);
        self.workload.push('\n');
        self
    }

    /// The same for a line that names a place of this world, whose root it is given.
    pub fn workload_in(mut self, line: fn(&str) -> String) -> Self {
        self.placed.push(line);
        self
    }

    /// One more location, beside `local`.
    pub fn location(mut self, name: &'static str) -> Self {
        self.locations.push(name);
        self
    }

    /// The log is streamed instead.
    pub fn without_archiving(mut self) -> Self {
        self.archives = false;
        self
    }

    /// Makes and starts everything; the repository is initialised.
    pub fn start(self) -> Result<World> {
        let program = program::path()?;
        let account = Account::for_servers()?;
        let directory = tempfile::Builder::new().prefix("lifeboat-e2e-").tempdir_in("/tmp").context("make a world")?;
        let root = directory.path();
        own(account, root)?;
        let ours = root.join("lifeboat");
        fs::hard_link(&program, &ours)
            .or_else(|_| fs::copy(&program, &ours).map(drop))
            .with_context(|| format!("copy {}", program.display()))?;
        let mut builder = self.builder;
        if self.archives {
            let command = format!("{0}/lifeboat --config {0}/lifeboat.toml wal push %p", root.display());
            builder = builder.archive_command(&command);
        }
        let mut cluster = builder.create()?;
        write_private(account, &root.join("passphrase"), "correct horse battery staple\n")?;
        let mut lines = self.workload;
        for line in &self.placed {
            lines.push_str(&format!("{}\n", line(&root.display().to_string())));
        }
        let configuration = configuration(root, &cluster, &lines, &self.locations);
        write_private(account, &root.join("lifeboat.toml"), &configuration)?;
        cluster.start()?;
        let world = World { cluster, directory };
        world.done(&["init"])?;
        Ok(world)
    }
}

fn configuration(root: &Path, cluster: &TestCluster, workload: &str, locations: &[&str]) -> String {
    let root = root.display();
    let mut text = format!("state_dir = \"{root}/state\"\n");
    for name in locations {
        text.push_str(&format!("[location.{name}]\nurl = \"file://{root}/repository-{name}\"\n"));
    }
    text.push_str(&format!("[encryption]\npassphrase = {{ file = \"{root}/passphrase\" }}\n"));
    text.push_str(&format!(
        "[workload.shop]\nkind = \"postgres\"\ndata_dir = \"{}\"\nconnection = \"{}\"\n{workload}",
        cluster.data_dir().display(),
        cluster.connection_string(),
    ));
    text
}

fn own(account: Option<Account>, path: &Path) -> Result<()> {
    if let Some(Account { uid, gid }) = account {
        chown(path, Some(uid), Some(gid)).with_context(|| format!("give away {}", path.display()))?;
    }
    Ok(())
}

fn write_private(account: Option<Account>, path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    own(account, path)
}

impl World {
    /// A place for files that server and program may both write.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An empty directory that belongs to the server's account.
    pub fn make_directory(&self, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o700))?;
        own(self.cluster.account(), &path)?;
        Ok(path)
    }

    /// The same world, protecting another cluster.
    pub fn with_cluster(self, cluster: TestCluster) -> Self {
        Self { cluster, ..self }
    }

    /// The program, ready to be run with more arguments.
    pub fn command(&self, configuration: &str) -> Command {
        let mut command = Account::command(self.cluster.account(), &self.path("lifeboat"));
        command.arg("--config").arg(self.path(configuration)).stdin(Stdio::null());
        command
    }

    /// Runs it to its end.
    pub fn lifeboat(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.command("lifeboat.toml").args(arguments).output().context("start lifeboat")?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Output { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Runs it, and it must succeed.
    pub fn done(&self, arguments: &[&str]) -> Result<Output> {
        let output = self.lifeboat(arguments)?;
        let log = self.cluster.log();
        ensure!(output.code == Some(0), "lifeboat {arguments:?}: {output:?}\nserver: {}", last_lines(&log));
        Ok(output)
    }

    /// Runs it and leaves it running; what it says goes to a file.
    pub fn spawn(&self, configuration: &str, arguments: &[&str]) -> Result<Background> {
        let path = self.path("background.log");
        let log = fs::File::options().create(true).append(true).open(&path)?;
        let mut command = self.command(configuration);
        let child = command.args(arguments).stdout(log.try_clone()?).stderr(log).spawn().context("start lifeboat")?;
        Ok(Background { child, log: path })
    }

    /// Takes a recovery point and returns its document.
    pub fn backup(&self, kind: &str) -> Result<Value> {
        let document = self.done(&["backup", "shop", "--type", kind, "--json"])?.json()?;
        ensure!(document["pages_bad"] == 0, "pages of a sound cluster were called bad: {document}");
        Ok(document)
    }

    /// Changes the configuration: `text` with what is there now.
    pub fn configure(&self, name: &str, change: impl FnOnce(String) -> String) -> Result<()> {
        let before = fs::read_to_string(self.path("lifeboat.toml"))?;
        write_private(self.cluster.account(), &self.path(name), &change(before))
    }

    /// Closes the segment that is being written and waits until everything before is in the repository.
    pub async fn archive_all(&self) -> Result<()> {
        archive_all(&self.cluster).await
    }

    /// Restores beside the original, starts the copy and waits until it has finished its recovery.
    pub async fn restore(&self, target: &[&str]) -> Result<TestCluster> {
        let mut copy = self.restore_stopped(target)?;
        start_to_the_end(&mut copy).await.with_context(|| format!("recover to {target:?}"))?;
        Ok(copy)
    }

    /// Restores beside the original and doesn't start it.
    pub fn restore_stopped(&self, target: &[&str]) -> Result<TestCluster> {
        TestCluster::builder(self.cluster.major()).adopt(|data| {
            self.cluster.give_to_server(data)?;
            fs::set_permissions(data, Permissions::from_mode(0o700))?;
            let to = data.display().to_string();
            let mut arguments = vec!["restore", "shop", "--json", "--to", &to];
            arguments.extend(target);
            self.done(&arguments).map(drop)
        })
    }
}

/// A program in the background; killed when dropped.
#[derive(Debug)]
pub struct Background {
    pub child: Child,
    log: PathBuf,
}

impl Background {
    /// What it said.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<()> {
        let status = self.child.wait()?;
        ensure!(status.success(), "lifeboat ended with {status}: {}", self.log());
        Ok(())
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a restored cluster and waits until it is a primary.
pub async fn start_to_the_end(copy: &mut TestCluster) -> Result<()> {
    copy.start()?;
    let begun = Instant::now();
    loop {
        // The connection may be refused while the server is still starting, or has just ended.
        match copy.sql("select pg_is_in_recovery()").await {
            Ok(Some(answer)) if answer == "f" => return Ok(()),
            answer if begun.elapsed() > PATIENCE => {
                bail!("recovery doesn't end ({answer:?}):\n{}", last_lines(&copy.log()))
            }
            _ => {}
        }
        // Fails when the server has ended meanwhile.
        copy.wait_until("recover", |_| true).and_then(|()| alive(copy))?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn alive(cluster: &TestCluster) -> Result<()> {
    let id = cluster.process_id().context("the server isn't there")?;
    let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let ended = state.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'));
    ensure!(!ended, "the server ended in recovery:\n{}", last_lines(&cluster.log()));
    Ok(())
}

/// Closes the segment that is being written and waits until everything before is archived.
pub async fn archive_all(cluster: &TestCluster) -> Result<()> {
    let switched = "select pg_walfile_name(pg_switch_wal() - 1)";
    let last = cluster.sql(switched).await?.context("the name of the last segment")?;
    until(&format!("{last} is archived"), || async {
        let archived = cluster.sql("select coalesce(max(last_archived_wal), '') from pg_stat_archiver").await?;
        // Of the same timeline, or of a later one: names sort as the log does.
        Ok(archived.is_some_and(|archived| archived.get(..24).is_some_and(|name| name >= last.as_str())))
    })
    .await
    .with_context(|| last_lines(&cluster.log()))
}

/// Waits until `condition` says yes.
pub async fn until<F: Future<Output = Result<bool>>>(what: &str, condition: impl Fn() -> F) -> Result<()> {
    let begun = Instant::now();
    while !condition().await? {
        ensure!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// The end of a log.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}
