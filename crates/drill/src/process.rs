//! Processes of a rehearsal: as which account, in which network, and what became of them.

use crate::place::Place;
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};

/// Of what a process says, so much is looked at. All of it goes into the hash.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;
/// How long one that was told to end may take.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// The network that processes of the place see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// That of this machine.
    Shared,
    /// One of their own in which there is nothing, made by root.
    Own,
    /// The same, made by an account without rights.
    OwnAsUser,
}

/// As whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// We.
    Ourselves,
    /// The account of the servers; we, when we aren't root.
    Servers,
}

/// How processes of one place are started.
#[derive(Debug, Clone, Copy)]
pub struct Processes {
    /// What they see.
    pub network: Network,
    /// Whom servers run as when we are root.
    pub account: Option<(u32, u32)>,
}

/// What a process left.
#[derive(Debug, Clone)]
pub struct Ended {
    /// None: a signal ended it, or we did.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
    /// BLAKE3 of both, in hexadecimal.
    pub hash: String,
    /// It was still running when its time was over.
    pub is_late: bool,
}

impl Ended {
    /// What it printed, as a value: JSON where it is that.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| Value::from(self.stdout.trim_end()))
    }

    /// Why it went wrong, in one line.
    pub fn said(&self) -> String {
        let document = self.value();
        let error = &document["error"];
        if let Some(message) = error["message"].as_str() {
            let causes = error["causes"].as_array().into_iter().flatten().filter_map(Value::as_str);
            return causes.fold(message.to_owned(), |said, cause| format!("{said}: {cause}"));
        }
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        crate::scenario::tolerance::brief(said)
    }
}

/// Ends a process with all that it started, when it is dropped.
#[derive(Debug)]
pub struct Group(Option<u32>);

impl Group {
    /// Of a process that leads one.
    pub fn of(child: Option<&Child>) -> Self {
        Self(child.and_then(Child::id))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Processes {
    /// Which network can be had: asked by starting `true` in it.
    pub async fn look(wanted: bool, account: Option<(u32, u32)>) -> Self {
        let is_root = rustix::process::geteuid().is_root();
        let network = if is_root { Network::Own } else { Network::OwnAsUser };
        let own = Self { network, account };
        if wanted {
            let mut command = own.command(Path::new("true"), Who::Servers);
            let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await;
            if ended.is_ok_and(|status| status.success()) {
                return own;
            }
        }
        Self { network: Network::Shared, account }
    }

    /// A program, ready for its arguments.
    pub fn command(&self, program: &Path, who: Who) -> Command {
        let words: Vec<String> = match self.network {
            Network::Shared => Vec::new(),
            Network::Own => ["unshare", "--net", "--"].map(str::to_owned).into(),
            Network::OwnAsUser => ["unshare", "--user", "--map-current-user", "--net", "--"].map(str::to_owned).into(),
        };
        self.command_behind(words, program, who)
    }

    /// The same in the network of a host, which only root may enter.
    pub fn command_in(&self, host: &Path, program: &Path, who: Who) -> Command {
        self.command_behind(vec!["nsenter".into(), format!("--net={}", host.display()), "--".into()], program, who)
    }

    fn command_behind(&self, mut words: Vec<String>, program: &Path, who: Who) -> Command {
        let account = self.account.filter(|_| who == Who::Servers);
        if let Some((uid, gid)) = account {
            let ids = [format!("--reuid={uid}"), format!("--regid={gid}")];
            words.extend(
                ["setpriv".to_owned()].into_iter().chain(ids).chain(["--clear-groups", "--"].map(str::to_owned)),
            );
        }
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).current_dir("/").process_group(0);
        for name in ["PGDATA", "PGHOST", "PGPORT", "PGUSER", "PGOPTIONS", "PGPASSWORD", "PGSERVICE", "LIFEBOAT_CONFIG"]
        {
            command.env_remove(name);
        }
        command
    }
}

/// Runs a command to its end, or for so long. What it says goes to files of the place, because what it leaves running may hold them.
///
/// # Errors
/// When it can't be started.
pub async fn run(place: &Place, mut command: Command, name: &str, limit: Duration) -> io::Result<Ended> {
    let ((out_path, out), (err_path, err)) = (place.log(&format!("{name}.out"))?, place.log(&format!("{name}.err"))?);
    let starts = (out.metadata()?.len(), err.metadata()?.len());
    let mut child = command.stdout(out).stderr(err).spawn()?;
    let mut group = Group(child.id());
    let waited = tokio::time::timeout(limit, child.wait()).await;
    let (status, is_late) = match waited {
        Ok(status) => (Some(status?), false),
        Err(_) => (None, true),
    };
    if is_late {
        drop(group);
        let _ = child.wait().await;
    } else {
        // What it left in the background is meant to stay.
        group.0 = None;
    }
    ended(status, is_late, (&out_path, starts.0), (&err_path, starts.1))
}

fn ended(status: Option<ExitStatus>, is_late: bool, out: (&Path, u64), err: (&Path, u64)) -> io::Result<Ended> {
    let mut hasher = blake3::Hasher::new();
    let (stdout, stderr) = (read(out, &mut hasher)?, read(err, &mut hasher)?);
    let hash = hasher.finalize().to_hex().to_string();
    Ok(Ended { code: status.and_then(|status| status.code()), stdout, stderr, hash, is_late })
}

fn read((path, start): (&Path, u64), hasher: &mut blake3::Hasher) -> io::Result<String> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    hasher.update_reader(&file)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// When a process began, in clock ticks since boot. None when there is no such process: numbers are used again.
pub fn began_at(process: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    (!rest.trim_start().starts_with('Z')).then_some(())?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Ends a process that is ours and what it started: asks first.
pub async fn end(mut child: Child) -> io::Result<()> {
    let group = Group(child.id());
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let ended = tokio::time::timeout(END_PATIENCE, child.wait()).await;
    drop(group);
    if ended.is_err() {
        child.wait().await?;
    }
    Ok(())
}

/// Ends a process of a run that is over, if it is still the same.
pub fn end_the_left((process, began): (u32, u64)) {
    if began_at(process) == Some(began)
        && let Some(pid) = Pid::from_raw(process.cast_signed())
    {
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Where a program of this name is.
pub fn which(name: &str, search_path: &[PathBuf]) -> Option<PathBuf> {
    search_path.iter().map(|directory| directory.join(name)).find(|path| path.is_file())
}
