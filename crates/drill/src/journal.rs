//! What is being made, on disk before it is made: so that whoever comes after a killed process can take it all away.

use crate::hosts::Hosts;
use crate::place::PREFIX;
use crate::process::{began_at, end_the_left};
use jiff::Timestamp;
use lifeboat_plan::run::{Outcome, Phase, Run, Step};
use lifeboat_postgres::cluster::end_at_once;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long what still writes in a place may go on.
const REMOVE_PATIENCE: Duration = Duration::from_secs(30);
/// Files of journals.
const ENDING: &str = "run.json";

/// What one run made, or is about to make.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    /// The run.
    pub id: String,
    /// Its place.
    pub place: PathBuf,
    /// Who carries it out: number, and when it began.
    pub process: (u32, u64),
    /// From then on it is taken away even when its process lives.
    pub expires_at: Timestamp,
    /// Processes that it started in the background.
    pub background: Vec<(u32, u64)>,
    /// Commands that take back what was done outside the place, last first.
    pub undo: Vec<Vec<String>>,
    /// The record so far.
    pub run: Run,
}

/// What became of one that was left.
#[derive(Debug, Clone, PartialEq)]
pub struct Cleaned {
    /// Which.
    pub id: String,
    /// The record, as broken off. None: its process lives, or it could not be removed.
    pub run: Option<Run>,
    /// What was done or not, in one sentence.
    pub said: String,
    /// Nothing of it is left.
    pub is_gone: bool,
}

impl Journal {
    /// Writes it, durably, in one step.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, directory: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(directory)?;
        let path = self.path(directory);
        let new = path.with_extension("new");
        let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&new, &path)?;
        std::fs::File::open(directory)?.sync_all()
    }

    /// Nothing is left of the run.
    ///
    /// # Errors
    /// Of the file system.
    pub fn remove(&self, directory: &Path) -> io::Result<()> {
        match std::fs::remove_file(self.path(directory)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn path(&self, directory: &Path) -> PathBuf {
        directory.join(format!("{}.{ENDING}", self.id))
    }

    /// Whether its process lives.
    pub fn is_running(&self) -> bool {
        began_at(self.process.0) == Some(self.process.1)
    }
}

/// Every journal of a directory. One that can't be read is told of.
pub fn all(directory: &Path) -> Vec<Result<Journal, String>> {
    let Ok(listing) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = listing.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(ENDING)));
    paths.sort();
    let read = |path: PathBuf| {
        let said = |error: String| format!("{}: {error}", path.display());
        let bytes = std::fs::read(&path).map_err(|error| said(error.to_string()))?;
        serde_json::from_slice(&bytes).map_err(|error| said(error.to_string()))
    };
    paths.into_iter().map(read).collect()
}

/// Takes away what runs have left whose process is gone, or whose time is over. Blocks.
pub fn clean(directory: &Path, now: Timestamp) -> Vec<Cleaned> {
    all(directory)
        .into_iter()
        .map(|journal| match journal {
            Ok(journal) => clean_one(directory, journal, now),
            Err(said) => Cleaned { id: String::new(), run: None, said, is_gone: false },
        })
        .collect()
}

fn clean_one(directory: &Path, mut journal: Journal, now: Timestamp) -> Cleaned {
    let id = journal.id.clone();
    if journal.is_running() {
        if now < journal.expires_at {
            let said = format!("it is still running, until {} at most", journal.expires_at);
            return Cleaned { id, run: None, said, is_gone: false };
        }
        // Its time is over, and it didn't notice.
        if let Some(pid) = Pid::from_raw(journal.process.0.cast_signed()) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    journal.background.iter().copied().for_each(end_the_left);
    let undone = undo(&journal.undo).and(Hosts::new(&journal.id).remove());
    let removed = remove_place(&journal.place).map_err(|error| format!("remove {}: {error}", journal.place.display()));
    match undone.and(removed) {
        Ok(()) => {
            let run = broken_off(&mut journal.run, now);
            let gone = journal.remove(directory);
            let said = gone.as_ref().err().map_or_else(|| "removed".to_owned(), ToString::to_string);
            Cleaned { id, run: Some(run), said, is_gone: gone.is_ok() }
        }
        Err(said) => Cleaned { id, run: None, said, is_gone: false },
    }
}

/// Runs what takes back what was done outside. All of it is tried.
pub fn undo(commands: &[Vec<String>]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for words in commands.iter().rev() {
        let Some((program, arguments)) = words.split_first() else { continue };
        let status = std::process::Command::new(program).args(arguments).stdin(std::process::Stdio::null()).status();
        match status {
            Ok(status) if status.success() => {}
            Ok(status) => wrong.push(format!("`{program}` ended with {status}")),
            Err(error) => wrong.push(format!("run `{program}`: {error}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// The record of a run whose process ended in the middle of it.
fn broken_off(run: &mut Run, now: Timestamp) -> Run {
    run.steps.push(Step {
        phase: Phase::Cleanup,
        name: "remove what the broken-off run left".into(),
        did: "lifeboat drill cleanup".into(),
        started_at: Some(now),
        ended_at: Some(now),
        outcome: Outcome::Held,
        counts: true,
        seen: None,
        output_hash: None,
        by: None,
    });
    run.ended_at = now;
    run.aborted.get_or_insert_with(|| "its process ended in the middle".into());
    run.verdict = run.entailed().0;
    run.clone()
}

/// Ends every server of a place, takes mounts away, and removes it. Blocks.
///
/// # Errors
/// When something stays.
pub fn remove_place(place: &Path) -> io::Result<()> {
    let is_ours = place.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
    if !is_ours {
        return Err(io::Error::other("this is no place of a rehearsal"));
    }
    let servers = std::fs::read_dir(place.join("servers")).into_iter().flatten();
    for data_dir in servers.filter_map(|entry| Some(entry.ok()?.path())) {
        end_at_once(&data_dir)?;
    }
    let deadline = Instant::now() + REMOVE_PATIENCE;
    loop {
        for mounted in mounts_below(place) {
            unmount(&mounted, UnmountFlags::DETACH)?;
        }
        match std::fs::remove_dir_all(place) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            // What has just been ended may still have written a file.
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Whatever is mounted in a place, the innermost first.
fn mounts_below(place: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let all = text.lines().filter_map(|line| line.split(' ').nth(1));
    let mut found: Vec<PathBuf> = all.map(PathBuf::from).filter(|path| path.starts_with(place)).collect();
    found.reverse();
    found
}
