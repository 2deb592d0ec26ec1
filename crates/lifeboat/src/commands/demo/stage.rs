//! The place where the demo happens: a private directory with a configuration, and our own program to run in it.

use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use lifeboat_postgres::cluster::{Cluster, Programs, StartOptions, StopMode, WaitFor};
use lifeboat_postgres::connection::{Secret, Target};
use std::fs::DirBuilder;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const START_TIME_LIMIT: Duration = Duration::from_secs(60);
const STOP_TIME_LIMIT: Duration = Duration::from_secs(20);
/// Sockets are private to the directory, so any number will do.
const PORT: u16 = 5432;

/// What is promised: by nobody, to nobody, for as long as the demo lasts.
const PLAN: &str = r#"
[plan]
organisation = "A demonstration"
currency = "EUR"

[tier.gold]
rto = "5m"
rpo = "1m"
drill_every = "30d"
strategy = "point_in_time"

[process.ordering]
title = "Orders are taken"
owner = "ada"
approver = "grace"
tier = "gold"
cost_per_hour = 1_000_000
maximum_tolerable_downtime = "4h"
groups = ["shop"]

[group.shop]
workloads = ["shop"]

[person.ada]
name = "Ada Example"
email = "ada@example.org"
deputy = "grace"

[person.grace]
name = "Grace Example"
email = "grace@example.org"

[role.decides]
title = "decides"
people = ["ada", "grace"]
escalate_after = "15m"

[drill.restore]
scenario = "restore-database"
target = "shop"
owner = "ada"

[drill.table]
scenario = "dropped-table"
target = "shop"
owner = "ada"
with = { table = "orders" }
"#;

/// Where everything is.
pub struct Stage {
    directory: PathBuf,
    program: PathBuf,
    programs: Programs,
    output: Output,
}

/// A new private directory in `parent`, with a name that nobody can guess before.
pub fn make_directory(parent: &Path, name: &str) -> std::io::Result<PathBuf> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let path = parent.join(format!("{name}-{}-{:x}", std::process::id(), now.as_nanos()));
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

fn failed(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Failure {
    let what = what.into();
    move |error| Failure::from_error(FailureKind::Unavailable, &error).while_doing(what)
}

impl Stage {
    /// Makes the directory and the configuration.
    pub fn set(programs: Programs, output: &Output) -> Result<Self, Failure> {
        let directory = make_directory(&std::env::temp_dir(), "lifeboat-demo").map_err(failed("make a directory"))?;
        let program = std::env::current_exe().map_err(failed("find this program"))?;
        // A copy: the archiver must find it for as long as the demo lasts.
        let own = directory.join("lifeboat");
        std::fs::copy(&program, &own).map_err(failed("copy this program"))?;
        let stage = Self { directory, program: own, programs, output: output.clone() };
        stage.write_private("passphrase", &random_passphrase().map_err(failed("read randomness"))?)?;
        stage.write_private("lifeboat.toml", &stage.configuration("shop"))?;
        Ok(stage)
    }

    /// `data`: the name of the directory that is protected.
    fn configuration(&self, data: &str) -> String {
        let place = self.directory.display();
        let bin_dir = self.programs.directory().display();
        format!(
            "state_dir = \"{place}/state\"\n\n\
             [location.vault]\nurl = \"file://{place}/vault\"\n\n\
             [encryption]\npassphrase = {{ file = \"{place}/passphrase\" }}\n\n\
             [workload.shop]\nkind = \"postgres\"\ndata_dir = \"{place}/{data}\"\nbin_dir = \"{bin_dir}\"\n\
             connection = \"host={place} port={PORT} user=postgres dbname=postgres\"\n\
             check = [\"select count(*) > 0 from orders\"]\n{PLAN}"
        )
    }

    /// From here on that directory is the one that is protected.
    pub fn protect(&self, data: &str) -> Result<(), Failure> {
        let path = self.path("lifeboat.toml");
        std::fs::remove_file(&path).map_err(failed(format!("replace {}", path.display())))?;
        self.write_private("lifeboat.toml", &self.configuration(data))
    }

    /// A directory for what stays when the demo has gone.
    pub fn report_directory(&self) -> Result<PathBuf, Failure> {
        make_directory(&std::env::temp_dir(), "lifeboat-demo-report").map_err(failed("make a directory"))
    }

    fn write_private(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.directory.join(name);
        let write = || {
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())
        };
        write().map_err(failed(format!("write {}", path.display())))
    }

    /// A path on the stage.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Says what happens next.
    pub fn say(&self, text: &str) {
        self.output.tell(text);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.path("lifeboat.toml")).args(arguments).stdin(Stdio::null());
        command
    }

    /// The same for a command whose answer may be no.
    pub fn lifeboat_says(&self, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
        self.run(arguments, &[FailureKind::CheckFailed.exit_code().into()])
    }

    /// Runs one of our commands and returns its document. What is typed is shown.
    pub fn lifeboat(&self, arguments: &[&str]) -> Result<serde_json::Value, Failure> {
        self.run(arguments, &[])
    }

    /// `also_right`: exit codes beside nought.
    fn run(&self, arguments: &[&str], also_right: &[i32]) -> Result<serde_json::Value, Failure> {
        let typed =
            arguments.iter().map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).into() });
        self.say(&format!("   $ lifeboat {}", typed.collect::<Vec<_>>().join(" ")));
        let mut command = self.command(arguments);
        let result = command.args(["--json", "--quiet"]).output().map_err(failed("run lifeboat"))?;
        let document: serde_json::Value = serde_json::from_slice(&result.stdout).unwrap_or_default();
        if result.status.success() || result.status.code().is_some_and(|code| also_right.contains(&code)) {
            return Ok(document);
        }
        let said = document["error"]["message"].as_str().map_or_else(
            || String::from_utf8_lossy(&result.stderr).trim().to_owned(),
            |message| format!("{message} ({})", document["error"]["causes"]),
        );
        Err(Failure::new(FailureKind::CheckFailed, format!("`lifeboat {}` failed: {said}", arguments.join(" "))))
    }

    /// Starts the receiver beside the demo.
    pub fn receive(&self) -> Result<Child, Failure> {
        self.say("   $ lifeboat wal receive shop &");
        let log = std::fs::File::create(self.path("receive.log")).map_err(failed("create receive.log"))?;
        let mut command = self.command(&["wal", "receive", "shop"]);
        command.stdout(Stdio::null()).stderr(log).spawn().map_err(failed("start the receiver"))
    }

    /// Makes the database cluster, archiving to the vault.
    pub async fn make_cluster(&self) -> Result<Cluster, Failure> {
        let data_dir = self.path("shop");
        let arguments = ["-U", "postgres", "-A", "trust", "-k", "-E", "UTF8", "--no-locale", "--no-sync"];
        let cluster = Cluster::initialize(&data_dir, self.programs.clone(), None, &arguments).await?;
        let place = self.directory.display();
        let settings = format!(
            "\nport = {PORT}\nlisten_addresses = ''\nunix_socket_directories = '{place}'\nmax_wal_senders = 4\n\
             wal_level = replica\narchive_mode = on\nshared_buffers = 128MB\nmax_wal_size = 1GB\n\
             archive_command = '{place}/lifeboat --config {place}/lifeboat.toml wal push %p'\n"
        );
        let path = data_dir.join("postgresql.conf");
        let append = || std::fs::OpenOptions::new().append(true).open(&path)?.write_all(settings.as_bytes());
        append().map_err(failed("write postgresql.conf"))?;
        Ok(cluster)
    }

    /// Starts a cluster and waits until it accepts writes.
    pub async fn start(&self, cluster: &Cluster) -> Result<(), Failure> {
        let name = cluster.data_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let options = StartOptions::new(self.path(&format!("{name}.log")))
            .setting("unix_socket_directories", &self.directory.display().to_string())
            .wait_for(WaitFor::Primary, START_TIME_LIMIT);
        let mut options = options;
        options.socket_dir = Some(self.directory.clone());
        cluster.start(&options).await?;
        Ok(())
    }

    /// The restored cluster.
    pub fn open_cluster(&self, name: &str) -> Result<Cluster, Failure> {
        Ok(Cluster::open(&self.path(name), self.programs.clone())?)
    }

    /// How to reach the server that runs now.
    pub fn server(&self) -> Result<Target, Failure> {
        let place = self.directory.display();
        let conninfo = format!("host={place} port={PORT} user=postgres dbname=postgres");
        Ok(Target::parse(&conninfo, &Secret::None)?)
    }

    /// Leaves everything as it is, servers stopped.
    pub fn keep(&self) -> PathBuf {
        for name in ["shop", "recovered"] {
            let stop = || -> Option<()> {
                let cluster = self.open_cluster(name).ok()?;
                let runtime = crate::rooms::runtime().ok()?;
                runtime.block_on(cluster.stop(StopMode::Immediate, STOP_TIME_LIMIT)).ok()
            };
            // Not running is what we want.
            let _ = stop();
        }
        self.directory.clone()
    }

    /// Ends the demo: removes everything unless it is to be kept.
    pub fn clear(self, keep: bool) -> Result<Option<PathBuf>, Failure> {
        let place = self.keep();
        if keep {
            return Ok(Some(place));
        }
        std::fs::remove_dir_all(&place).map_err(failed(format!("remove {}", place.display())))?;
        Ok(None)
    }
}

fn random_passphrase() -> std::io::Result<String> {
    use std::io::Read;
    let mut bytes = [0; 24];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
}
