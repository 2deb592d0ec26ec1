//! Starting a server, and waiting until it is where it should be.

use super::pid_file::{PidFile, RunState};
use super::{Cluster, ClusterError, Result, last_lines, os, pause_until, setting_argument};
use crate::connection::{ErrorKind, Secret, Target};
use crate::control::{self, ClusterState};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::process::Child;

/// A socket's path has at most 107 bytes, with the file's own name in it.
const SOCKET_DIR_BYTES_MAX: usize = 90;
/// How much of the end of a log is looked at.
const LOG_BYTES: u64 = 64 * 1024;

/// What a started server must reach before it counts as started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitFor {
    /// Nothing: the process is there.
    Nothing,
    /// It accepts sessions: as a primary, or as a hot standby, consistent.
    Ready,
    /// Recovery has ended: it is a primary.
    Primary,
    /// Recovery has ended, or has paused at its target.
    RecoveryEndOrPause,
}

/// How to start.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// On top of the configuration files, as `-c name=value`.
    pub settings: Vec<(String, String)>,
    /// Where the socket is; must be writable for the account. `None`: as configured.
    pub socket_dir: Option<PathBuf>,
    /// Listen on no address, only on the socket: nobody can take it for the real server.
    pub is_private: bool,
    /// Where the server's words go, added at the end.
    pub log_file: PathBuf,
    pub wait_for: WaitFor,
    /// How long that may take.
    pub timeout: Duration,
    /// For [`WaitFor::Primary`] and [`WaitFor::RecoveryEndOrPause`]: who asks the server, through the socket.
    pub user: String,
    /// What proves that. One whom the server refuses all the same looks at its files instead.
    pub secret: Secret,
}

impl StartOptions {
    /// Waits until the server accepts sessions, ten minutes at most.
    pub fn new(log_file: impl Into<PathBuf>) -> Self {
        Self {
            settings: Vec::new(),
            socket_dir: None,
            is_private: false,
            log_file: log_file.into(),
            wait_for: WaitFor::Ready,
            timeout: Duration::from_secs(600),
            user: "postgres".to_owned(),
            secret: Secret::None,
        }
    }

    /// For a server that only we talk to: a socket in `socket_dir`, no address, and no archiving, so that it can't
    /// write to the archive of the cluster that it is a copy of.
    pub fn private(log_file: impl Into<PathBuf>, socket_dir: impl Into<PathBuf>) -> Self {
        let no_archiving = [("archive_mode", "off"), ("archive_command", "")];
        Self {
            settings: no_archiving.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            socket_dir: Some(socket_dir.into()),
            is_private: true,
            ..Self::new(log_file)
        }
    }

    /// One more setting.
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What to wait for, and how long.
    pub fn wait_for(mut self, what: WaitFor, timeout: Duration) -> Self {
        (self.wait_for, self.timeout) = (what, timeout);
        self
    }

    fn arguments(&self) -> Result<Vec<String>> {
        let mut settings: Vec<String> = Vec::new();
        if self.is_private {
            settings.push(setting_argument("listen_addresses", ""));
        }
        if let Some(path) = &self.socket_dir {
            if os(path).len() > SOCKET_DIR_BYTES_MAX {
                return Err(ClusterError::SocketPathTooLong { path: path.clone() });
            }
            settings.push(setting_argument("unix_socket_directories", &path.display().to_string()));
        }
        settings.extend(self.settings.iter().map(|(name, value)| setting_argument(name, value)));
        Ok(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]).collect())
    }
}

pub(super) async fn start(cluster: &Cluster, options: &StartOptions) -> Result<PidFile> {
    if let RunState::Running(file) = cluster.state()? {
        return Err(ClusterError::AlreadyRunning { data_dir: cluster.data_dir.clone(), process_id: file.process_id });
    }
    let unwritable = |source| ClusterError::File { what: "write", path: options.log_file.clone(), source };
    // It may quote statements, and whose it is, is the server's.
    let mut opening = File::options();
    // As root, in a directory that is somebody else's: no link of theirs is followed.
    opening.create(true).append(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    let log = opening.open(&options.log_file).map_err(unwritable)?;
    if let Some(account) = &cluster.run_as {
        fchown(&log, Some(account.uid), Some(account.gid)).map_err(unwritable)?;
    }
    let log_start = log.metadata().map_err(unwritable)?.len();
    let mut command = cluster.command("postgres")?;
    command.arg("-D").arg(&cluster.data_dir).args(options.arguments()?);
    command.stdout(log.try_clone().map_err(unwritable)?).stderr(log);
    // In a process group of its own: an interrupt at our terminal is ours, not the server's.
    command.process_group(0);
    let program = cluster.programs.directory().join("postgres");
    let child = command.spawn().map_err(|source| ClusterError::Run { program, source })?;
    let mut starting = Starting { cluster, options, child, log_start, deadline: Instant::now() + options.timeout };
    starting.wait().await
}

struct Starting<'a> {
    cluster: &'a Cluster,
    options: &'a StartOptions,
    child: Child,
    /// Where in the log this start begins.
    log_start: u64,
    deadline: Instant,
}

/// What came of asking for a session.
enum Session {
    Of(tokio_postgres::Client),
    /// It takes sessions, and none of ours.
    Refused,
    NotYet,
}

impl Starting<'_> {
    async fn wait(&mut self) -> Result<PidFile> {
        let file = self.pid_file().await?;
        match self.options.wait_for {
            WaitFor::Nothing | WaitFor::Ready => {}
            WaitFor::Primary => self.recovery(&file, false).await?,
            WaitFor::RecoveryEndOrPause => self.recovery(&file, true).await?,
        }
        Ok(file)
    }

    async fn pid_file(&mut self) -> Result<PidFile> {
        loop {
            self.fail_when_ended()?;
            if let Ok(RunState::Running(file)) = self.cluster.state()
                && Some(file.process_id) == self.child.id()
                && (file.is_ready || self.options.wait_for == WaitFor::Nothing)
            {
                return Ok(file);
            }
            if !pause_until(self.deadline).await {
                return Err(self.timed_out("accept sessions"));
            }
        }
    }

    async fn recovery(&mut self, file: &PidFile, pause_counts: bool) -> Result<()> {
        let query = "select not pg_is_in_recovery(), \
                     case when pg_is_in_recovery() then pg_get_wal_replay_pause_state() = 'paused' else false end";
        loop {
            self.fail_when_ended()?;
            // A connection for each look: at the end of recovery a server may end sessions.
            match self.session(file).await {
                Session::Of(client) => {
                    if let Ok(row) = client.query_one(query, &[]).await {
                        let is_primary = row.try_get::<_, bool>(0).unwrap_or(false);
                        let is_paused = row.try_get::<_, bool>(1).unwrap_or(false);
                        if is_primary || pause_counts && is_paused {
                            return Ok(());
                        }
                    }
                }
                // It refuses us for ever, and others may use it already. Whether it has paused, nobody else tells.
                Session::Refused if pause_counts || self.is_in_production() => return Ok(()),
                Session::Refused | Session::NotYet => {}
            }
            if !pause_until(self.deadline).await {
                return Err(self.timed_out("end recovery"));
            }
        }
    }

    async fn session(&self, file: &PidFile) -> Session {
        let Some(host) = self.options.socket_dir.as_ref().or(file.socket_dir.as_ref()) else { return Session::NotYet };
        let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
        let (host, user) = (quoted(&host.display().to_string()), quoted(&self.options.user));
        let conninfo = format!("host='{host}' port={} user='{user}' dbname=postgres", file.port);
        let Ok(target) = Target::parse(&conninfo, &self.options.secret) else { return Session::NotYet };
        match target.connect().await {
            Ok(client) => Session::Of(client),
            Err(error) if error.kind() == ErrorKind::Authentication => Session::Refused,
            Err(_) => Session::NotYet,
        }
    }

    /// What the server says of itself in its control file.
    fn is_in_production(&self) -> bool {
        control::read(&self.cluster.data_dir).is_ok_and(|control| control.state == ClusterState::InProduction)
    }

    fn fail_when_ended(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) => {
                Err(ClusterError::EndedEarly { data_dir: self.cluster.data_dir.clone(), log: self.log_end() })
            }
            Err(source) => {
                Err(ClusterError::Run { program: self.cluster.programs.directory().join("postgres"), source })
            }
        }
    }

    fn timed_out(&self, what: &'static str) -> ClusterError {
        let (data_dir, after) = (self.cluster.data_dir.clone(), self.options.timeout);
        ClusterError::TimedOut { data_dir, what, after, log: self.log_end() }
    }

    fn log_end(&self) -> String {
        last_lines(&read_end(&self.options.log_file, self.log_start).unwrap_or_default())
    }
}

/// What was written since `start`, the end of it when that is much.
fn read_end(path: &Path, start: u64) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_BYTES))))?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
