//! A PostgreSQL cluster, a configuration with two locations, and the real program, all in one directory that goes away.
//!
//! The program runs as the account of the server, as it does in life: never as root, so that permissions count.

use lifeboat_components::{Account, TestCluster, postgres};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Much longer than anything here takes on two busy cores.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// What one run left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    /// The whole screen: both streams, and the exit code.
    pub fn screen(&self) -> String {
        let code = format!("[{}]", self.code);
        let parts = [self.stdout.trim_end(), self.stderr.trim_end(), &code];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    /// Fails unless it ended well.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.screen());
        self
    }

    /// The document that `--json` printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.screen()))
    }
}

pub struct World {
    pub runtime: Runtime,
    // Before the directory: its server stops first.
    pub cluster: Option<TestCluster>,
    pub account: Option<Account>,
    /// What stands in the section of the second location; a directory unless changed.
    pub second: String,
    directory: TempDir,
}

impl World {
    /// A directory with the program and no server.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("lifeboat-faults-").tempdir_in("/tmp").expect("a directory");
        let account = Account::for_servers().expect("an account for servers");
        let mut world = Self {
            runtime: Runtime::new().expect("a runtime"),
            cluster: None,
            account,
            second: String::new(),
            directory,
        };
        world.second = format!("url = \"file://{}\"", world.path("second").display());
        fs::copy(built_program(), world.program()).expect("copy the program");
        world.write("passphrase", "correct horse battery staple");
        world.write("lifeboat.toml", world.configuration());
        world.give_away(world.path("."));
        world
    }

    /// The same with a cluster of PostgreSQL 15 that archives through the program; the repositories exist.
    pub fn with_cluster(settings: impl FnOnce(postgres::Builder) -> postgres::Builder) -> Self {
        let mut world = Self::new();
        world.start_cluster(settings);
        world
    }

    /// Makes the cluster and the repositories.
    pub fn start_cluster(&mut self, settings: impl FnOnce(postgres::Builder) -> postgres::Builder) {
        let builder = TestCluster::builder(15).archive_command(&self.archive_command()).wal_segment_size_mib(1);
        let builder = builder.setting("max_wal_size", "64MB").setting("min_wal_size", "2MB");
        // Nothing changes pages but the tests: what was damaged is still in the cluster, for the next backup to store again.
        let builder = builder.setting("autovacuum", "off");
        self.cluster = Some(settings(builder).create().expect("make a cluster"));
        self.write("lifeboat.toml", self.configuration());
        self.run(&["init"]).ok();
        self.cluster_mut().start().expect("start the cluster");
    }

    pub fn archive_command(&self) -> String {
        format!("{} --config {} wal push %p", self.program().display(), self.path("lifeboat.toml").display())
    }

    pub fn cluster(&self) -> &TestCluster {
        self.cluster.as_ref().expect("this world has a cluster")
    }

    pub fn cluster_mut(&mut self) -> &mut TestCluster {
        self.cluster.as_mut().expect("this world has a cluster")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        if name == "." { self.directory.path().to_path_buf() } else { self.directory.path().join(name) }
    }

    pub fn program(&self) -> PathBuf {
        self.path("lifeboat")
    }

    /// Two directories, one workload.
    pub fn configuration(&self) -> String {
        let here = self.path(".").display().to_string();
        let (data, connection) = match &self.cluster {
            Some(cluster) => (cluster.data_dir(), cluster.connection_string()),
            None => (self.path("data"), format!("host={here} port=1 user=postgres")),
        };
        format!(
            "state_dir = \"{here}/state\"\ncompression_level = 1\n\n\
             [location.first]\nurl = \"file://{here}/first\"\n\n\
             [location.second]\n{}\n\n\
             [encryption]\npassphrase = {{ file = \"{here}/passphrase\" }}\n\n\
             [workload.shop]\nkind = \"postgres\"\ndata_dir = \"{}\"\nconnection = \"{connection}\"\n",
            self.second,
            data.display()
        )
    }

    /// Writes a file that belongs to the server's account.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        self.give_away(&path);
        path
    }

    pub fn make_directory(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("make a directory");
        self.give_away(&path);
        path
    }

    pub fn give_away(&self, path: impl AsRef<Path>) {
        let Some(Account { uid, gid }) = self.account else { return };
        std::os::unix::fs::chown(path.as_ref(), Some(uid), Some(gid)).expect("give a file to the server's account");
    }

    /// The program with arguments, in this world's directory and a known environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Account::command(self.account, &self.program());
        command.args(arguments).current_dir(self.path(".")).stdin(Stdio::null());
        command.env_clear().env("TZ", "Europe/Berlin").env("PATH", "/usr/bin:/bin").env("COLUMNS", "100");
        command.env("HOME", self.path("."));
        command
    }

    /// Runs it to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        finish(self.spawn(arguments), arguments)
    }

    /// Starts it, with its output kept.
    pub fn spawn(&self, arguments: &[&str]) -> Started {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        Started { child, at: Instant::now() }
    }

    /// Statements for the server of this world; the first column of the last row.
    #[track_caller]
    pub fn sql(&self, statements: &str) -> Option<String> {
        let answer = self.runtime.block_on(self.cluster().sql(statements));
        answer.unwrap_or_else(|error| panic!("{statements}: {error:#}"))
    }

    /// Waits until a query answers `t`.
    #[track_caller]
    pub fn wait_for_sql(&self, query: &str) {
        wait_until(query, || self.sql(query).as_deref() == Some("t"));
    }
}

/// A run under way.
pub struct Started {
    pub child: Child,
    pub at: Instant,
}

/// Waits for its end, which must come by itself.
pub fn finish(mut started: Started, arguments: &[&str]) -> Ran {
    let drain = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            let _ = stream.map(|mut stream| stream.read_to_string(&mut text));
            text
        })
    };
    let stdout = drain(started.child.stdout.take().map(|stream| Box::new(stream) as _));
    let stderr = drain(started.child.stderr.take().map(|stream| Box::new(stream) as _));
    let status = loop {
        match started.child.try_wait().expect("wait for the program") {
            Some(status) => break status,
            None if started.at.elapsed() > PATIENCE => {
                let _ = started.child.kill();
                break started.child.wait().expect("wait for the program");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let took = started.at.elapsed();
    let (stdout, stderr) = (stdout.join().expect("read its output"), stderr.join().expect("read its errors"));
    let code = status.code().unwrap_or_else(|| panic!("{arguments:?} didn't end within {PATIENCE:?}:\n{stderr}"));
    Ran { code, stdout, stderr, took }
}

/// Looks again and again until the condition holds; fails when it never does.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "this never came true: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program as built for this run of the tests: beside the directory of the test's own program.
fn built_program() -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    let profile = this.parent().and_then(Path::parent).expect("target/<profile>/deps");
    let program = profile.join("lifeboat");
    assert!(program.is_file(), "{} is missing: `cargo build --bin lifeboat` makes it", program.display());
    program
}
