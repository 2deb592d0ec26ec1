//! A cluster's server as a process: where the programs are, start, stop, is it running, initdb.
//!
//! The programs always get everything on the command line; the environment of the caller reaches them only as far as
//! programs need one (`PATH`, locale). When we are root, they run as the account that owns the data directory,
//! because PostgreSQL refuses root.
//!
//! Not here: what is in the data directory, connections, packages to install.

mod ending;
mod pid_file;
mod programs;
mod start;

pub use ending::{end_at_once, wait_for_the_ended};
pub use pid_file::{PidFile, RunState};
pub use programs::{Account, Programs};
pub use start::{StartOptions, WaitFor};

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// Shorthand of this room.
pub type Result<T> = std::result::Result<T, ClusterError>;

/// How many lines of a log an error repeats.
const LOG_LINES: usize = 12;
/// How often a state is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why a server could not be found, started or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("no PostgreSQL programs found: looked for initdb, pg_ctl and postgres in {}", shown(.looked_in))]
    NoPrograms { looked_in: Vec<PathBuf> },
    #[error("{program} is not among the PostgreSQL programs in {}", .directory.display())]
    ProgramMissing { program: String, directory: PathBuf },
    #[error("the programs in {} are PostgreSQL {found}, the data directory is PostgreSQL {wanted}", .directory.display())]
    WrongVersion { directory: PathBuf, found: String, wanted: String },
    #[error("{what} {}", .path.display())]
    File {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("run {program}")]
    Run {
        program: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed: {said}")]
    Failed { program: String, said: String },
    #[error("a server runs already in {} (process {process_id})", .data_dir.display())]
    AlreadyRunning { data_dir: PathBuf, process_id: u32 },
    #[error("no server runs in {}", .data_dir.display())]
    NotRunning { data_dir: PathBuf },
    #[error("the server in {} ended while it started; its log ends:\n{log}", .data_dir.display())]
    EndedEarly { data_dir: PathBuf, log: String },
    #[error("the server in {} did not {what} within {} s; its log ends:\n{log}", .data_dir.display(), .after.as_secs())]
    TimedOut { data_dir: PathBuf, what: &'static str, after: Duration, log: String },
    #[error("the socket directory {} is too long: its path must have less than 90 bytes", .path.display())]
    SocketPathTooLong { path: PathBuf },
}

fn shown(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

impl ClusterError {
    /// What to type or look at next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoPrograms { .. } => Some("install PostgreSQL's server, or say where its programs are".into()),
            Self::WrongVersion { wanted, .. } => Some(format!("install PostgreSQL {wanted}")),
            Self::AlreadyRunning { data_dir, .. } => Some(format!("pg_ctl stop -D {}", data_dir.display())),
            Self::EndedEarly { data_dir, log } => {
                let (other, there) = (taken_port(log)?.checked_add(1)?, data_dir.display());
                Some(format!(
                    "another server has its port: give it one of its own while nothing is mounted there: \
                     `echo \"port = {other}\" >> {there}/postgresql.conf`"
                ))
            }
            _ => None,
        }
    }
}

/// The port that a server could not have, by what it said when it ended: of the lock beside its socket, in any language, or of an address.
fn taken_port(log: &str) -> Option<u16> {
    let after = |line: &str, words: &str| {
        let rest = line.split_once(words)?.1;
        rest[..rest.find(|letter: char| !letter.is_ascii_digit())?].parse().ok()
    };
    log.lines()
        .find_map(|line| after(line, "/.s.PGSQL.").filter(|_| line.contains(".lock\"")))
        .or_else(|| log.lines().find_map(|line| after(line, "already running on port ")))
}

/// How a server is told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Waits until every session has ended.
    Smart,
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

impl StopMode {
    fn name(self) -> &'static str {
        match self {
            Self::Smart => "smart",
            Self::Fast => "fast",
            Self::Immediate => "immediate",
        }
    }
}

/// A data directory, and the programs for it. Holds no process: the server outlives this value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    pub data_dir: PathBuf,
    pub programs: Programs,
    /// Whom the programs run as; `None` is ourselves.
    pub run_as: Option<Account>,
}

impl Cluster {
    /// An existing data directory. Runs as its owner when we are root.
    ///
    /// # Errors
    /// When the directory can't be read, or belongs to another major version than the programs.
    pub fn open(data_dir: &Path, programs: Programs) -> Result<Self> {
        let path = data_dir.join("PG_VERSION");
        let version =
            std::fs::read_to_string(&path).map_err(|source| ClusterError::File { what: "read", path, source })?;
        let (found, wanted) = (programs.major().to_string(), version.trim().to_owned());
        if found != wanted {
            return Err(ClusterError::WrongVersion { directory: programs.directory().to_path_buf(), found, wanted });
        }
        let run_as = Account::owner_when_root(data_dir)?;
        Ok(Self { data_dir: data_dir.to_path_buf(), programs, run_as })
    }

    /// Makes a new cluster with `initdb` and further arguments. `data_dir` must not exist, or be empty; when we are
    /// root, `run_as` must be given and own it, or its parent.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what `initdb` said.
    pub async fn initialize(
        data_dir: &Path,
        programs: Programs,
        run_as: Option<Account>,
        arguments: &[&str],
    ) -> Result<Self> {
        let cluster = Self { data_dir: data_dir.to_path_buf(), programs, run_as };
        let mut command = cluster.command("initdb")?;
        command.arg("-D").arg(data_dir).args(arguments);
        run("initdb", command).await?;
        Ok(cluster)
    }

    /// Whether a server runs in the data directory, by `postmaster.pid` and by looking at the process it names.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn state(&self) -> Result<RunState> {
        pid_file::state(&self.data_dir)
    }

    /// Starts the server, and waits as the options say.
    ///
    /// # Errors
    /// [`ClusterError::EndedEarly`] and [`ClusterError::TimedOut`] repeat the end of the log. After a time-out the
    /// server still runs: look at it, or stop it.
    pub async fn start(&self, options: &StartOptions) -> Result<PidFile> {
        start::start(self, options).await
    }

    /// Stops the server and waits for its end, `timeout` at most. A second call may be harsher.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`]; [`ClusterError::Failed`] when it didn't end in time.
    pub async fn stop(&self, mode: StopMode, timeout: Duration) -> Result<()> {
        if let RunState::Stopped | RunState::Stale { .. } = self.state()? {
            return Err(ClusterError::NotRunning { data_dir: self.data_dir.clone() });
        }
        let mut command = self.command("pg_ctl")?;
        command.arg("stop").arg("-D").arg(&self.data_dir).args(["-w", "-s", "-m", mode.name(), "-t"]);
        command.arg(timeout.as_secs().max(1).to_string());
        run("pg_ctl stop", command).await
    }

    /// Makes a standby, or a server that paused at its target, a primary. Waits until it accepts writes.
    ///
    /// # Errors
    /// [`ClusterError::Failed`] with what `pg_ctl` said.
    pub async fn promote(&self, timeout: Duration) -> Result<()> {
        let mut command = self.command("pg_ctl")?;
        command.arg("promote").arg("-D").arg(&self.data_dir).args(["-w", "-s", "-t"]);
        command.arg(timeout.as_secs().max(1).to_string());
        run("pg_ctl promote", command).await
    }

    /// One of the programs, as the right account, with standard input closed.
    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.programs.program(program)?);
        // pg_ctl starts a shell: where it starts, its account must be allowed to be.
        command.current_dir("/").stdin(Stdio::null());
        if let Some(account) = self.run_as {
            command.uid(account.uid).gid(account.gid);
        }
        // A setting of the caller's shell must not change which cluster a program talks to.
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS", "PGPASSWORD", "PGSERVICE"] {
            command.env_remove(name);
        }
        Ok(command)
    }
}

/// Whether a server runs in a data directory. Needs no programs.
///
/// # Errors
/// When `postmaster.pid` is there and can't be read.
pub fn run_state(data_dir: &Path) -> Result<RunState> {
    pid_file::state(data_dir)
}

async fn run(name: &str, mut command: Command) -> Result<()> {
    let program = PathBuf::from(command.as_std().get_program());
    let output = command.output().await.map_err(|source| ClusterError::Run { program, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).join("\n");
    Err(ClusterError::Failed { program: name.to_owned(), said: last_lines(&said) })
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}

fn is_executable_file(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// One argument `-c name=value`.
fn setting_argument(name: &str, value: &str) -> String {
    format!("{name}={value}")
}

async fn pause_until(deadline: Instant) -> bool {
    if Instant::now() >= deadline {
        return false;
    }
    tokio::time::sleep(POLL_INTERVAL).await;
    true
}

fn os(path: &Path) -> &OsStr {
    path.as_os_str()
}
