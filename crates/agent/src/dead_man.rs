//! The dead man's handle: a process of its own that ends the database when the lease has ended, even if the agent is stuck.
//!
//! The agent writes the deadline into a file; the process looks at it forty times a second. What is written is valid for this boot of the
//! machine only: after another, no server of before is there.

use crate::clock;
use crate::database::{anything_runs, kill_servers};
use crate::watchdog::Watchdog;
use lifeboat_failover::Moment;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_millis(25);
/// What was killed is gone by then, unless the kernel holds it.
const ENDS_WITHIN: Duration = Duration::from_secs(1);
/// The longest content: a number.
const BYTES_MAX: u64 = 64;

/// The agent's end of it.
#[derive(Debug)]
pub struct DeadMan {
    file: PathBuf,
    child: Option<Child>,
    last: Option<Option<Moment>>,
}

impl DeadMan {
    /// Starts the process, if there is a program for it.
    ///
    /// # Errors
    /// When it can't be started: then nobody may be the primary here.
    pub fn start(
        program: Option<&[OsString]>,
        state_dir: &Path,
        data_dir: &Path,
        watchdog: Option<&Path>,
    ) -> io::Result<Self> {
        let file = state_dir.join("deadline");
        let child = match program.and_then(|words| words.split_first()) {
            None => None,
            Some((program, arguments)) => Some(
                Command::new(program)
                    .args(arguments)
                    .arg(&file)
                    .arg(data_dir)
                    .args(watchdog)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()?,
            ),
        };
        Ok(Self { file, child, last: None })
    }

    /// From `deadline` on no server may run; `None`: nothing ends it.
    ///
    /// # Errors
    /// When it can't be written: the old deadline holds.
    pub fn arm(&mut self, deadline: Option<Moment>) -> io::Result<()> {
        if self.last == Some(deadline) {
            return Ok(());
        }
        let text = deadline.map_or("never".to_owned(), |moment| moment.0.as_nanos().to_string());
        let aside = self.file.with_extension("new");
        std::fs::write(&aside, text)?;
        std::fs::rename(&aside, &self.file)?;
        self.last = Some(deadline);
        Ok(())
    }

    /// Whether the process is there, where one was to be started.
    pub fn is_there(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| matches!(child.try_wait(), Ok(None)))
    }
}

/// The process: ends when the agent has ended, which closes the other end of `agent`, and no deadline is left. Blocks.
pub fn keep_watch(file: &Path, data_dir: &Path, watchdog: Option<PathBuf>, agent: impl Read + Send + 'static) {
    let agent_ended = agent_ends(agent);
    let mut watchdog = Watchdog::new(watchdog);
    loop {
        let (deadline, now) = (read(file), clock::now());
        let over = deadline.filter(|deadline| now >= *deadline);
        let overdue = over.is_some_and(|deadline| now - deadline > ENDS_WITHIN && anything_runs(data_dir));
        watchdog.look(now, deadline.is_some(), overdue);
        if over.is_some() {
            kill_servers(data_dir);
            if agent_ended.load(std::sync::atomic::Ordering::Relaxed) && !anything_runs(data_dir) {
                return watchdog.stop();
            }
        }
        if deadline.is_none() && agent_ended.load(std::sync::atomic::Ordering::Relaxed) {
            return watchdog.stop();
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Turns true when the other end is closed.
fn agent_ends(mut agent: impl Read + Send + 'static) -> std::sync::Arc<std::sync::atomic::AtomicBool> {
    let ended = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let told = ended.clone();
    std::thread::spawn(move || {
        let mut rest = [0; 64];
        while matches!(agent.read(&mut rest), Ok(1..)) {}
        told.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    ended
}

fn read(file: &Path) -> Option<Moment> {
    if std::fs::metadata(file).ok()?.len() > BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(file).ok()?;
    text.trim().parse().ok().map(|nanoseconds| Moment(Duration::from_nanos(nanoseconds)))
}
