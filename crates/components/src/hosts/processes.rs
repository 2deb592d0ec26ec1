//! The processes of a host: told from all others by their network namespace.

use super::Host;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Processes that were killed are gone after so long, or stuck in the kernel.
const PATIENCE: Duration = Duration::from_secs(20);

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    pub id: Pid,
    /// Its command line, with blanks between the words.
    pub line: String,
    /// Stopped by a signal, until another continues it.
    pub is_halted: bool,
}

impl Process {
    /// One of a PostgreSQL server's: the first, or one that it began.
    pub fn is_of_postgres(&self) -> bool {
        let program = self.line.split(' ').next().unwrap_or_default();
        program == "postgres:" || program.ends_with("/postgres")
    }
}

impl Host {
    /// Those that run in it now; what has ended and wasn't waited for is none.
    pub fn processes(&self) -> Vec<Process> {
        let Ok(ours) = fs::metadata(self.namespace_file()) else { return Vec::new() };
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let process = |path: &Path| {
            let id = Pid::from_raw(path.file_name()?.to_str()?.parse().ok()?)?;
            let theirs = fs::metadata(path.join("ns/net")).ok()?;
            let same = (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino());
            let line = same.then(|| fs::read(path.join("cmdline")).ok()).flatten()?;
            let line = String::from_utf8_lossy(&line).replace('\0', " ").trim_end().to_owned();
            // `17 (a name) T 1 …`; a name may hold anything.
            let stat = fs::read_to_string(path.join("stat")).ok()?;
            let is_halted = stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'));
            Some(Process { id, line, is_halted })
        };
        entries.flatten().filter_map(|entry| process(&entry.path())).collect()
    }

    /// Ends all of them, as a host that loses its power does: no last word. Waits until they are gone.
    pub fn kill_all(&self) {
        self.kill(|_| true);
    }

    /// The same for those that are meant.
    pub fn kill(&self, meant: impl Fn(&Process) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left: Vec<Process> = self.processes().into_iter().filter(&meant).collect();
            if left.is_empty() || Instant::now() > deadline {
                return;
            }
            for process in left {
                // It may have ended by itself.
                let _ = kill_process(process.id, Signal::KILL);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Every process of the PostgreSQL server in it, and no other.
    pub fn kill_postgres(&self) {
        // The first process first: it would start the others anew.
        self.kill(|process| process.is_of_postgres() && !process.line.starts_with("postgres:"));
        self.kill(Process::is_of_postgres);
    }

    /// Halts or continues those that are meant.
    pub fn signal(&self, signal: Signal, meant: impl Fn(&Process) -> bool) {
        for process in self.processes().into_iter().filter(meant) {
            // It may have ended by itself.
            let _ = kill_process(process.id, signal);
        }
    }
}
