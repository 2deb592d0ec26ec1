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
            Some(Process { id, line })
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

    /// Halts or continues those that are meant.
    pub fn signal(&self, signal: Signal, meant: impl Fn(&Process) -> bool) {
        for process in self.processes().into_iter().filter(meant) {
            // It may have ended by itself.
            let _ = kill_process(process.id, signal);
        }
    }
}
