//! Ending servers that don't end: all processes of a data directory, at once.

use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;

/// Kills (SIGKILL) the first process of every server of a data directory, and its children. The first process is held (SIGSTOP) while its children
/// are counted, so that it makes no more. Returns how many were killed. Works without the programs, and where `postmaster.pid` is gone.
pub fn kill_servers(data_dir: &Path) -> usize {
    let Ok(data_dir) = std::fs::canonicalize(data_dir) else { return 0 };
    let processes = processes();
    let firsts: Vec<i32> = processes
        .iter()
        .filter(|process| process.works_in.as_deref() == Some(&data_dir) && process.is_postgres)
        .map(|process| process.number)
        .collect();
    for first in &firsts {
        signal(*first, Signal::STOP);
    }
    // Everything that works in the data directory and is PostgreSQL's, looked at again: between the first look and the halt some may have come.
    let mut all: std::collections::BTreeSet<i32> = firsts.iter().copied().collect();
    all.extend(self::processes().into_iter().filter_map(|process| {
        let ours = process.works_in.as_deref() == Some(&data_dir) && process.is_postgres;
        (ours || firsts.contains(&process.parent)).then_some(process.number)
    }));
    for process in &all {
        signal(*process, Signal::KILL);
    }
    all.len()
}

/// Whether anything of a server of that data directory is left: its first process may be dead, and others of it still write.
pub fn anything_runs(data_dir: &Path) -> bool {
    let Ok(data_dir) = std::fs::canonicalize(data_dir) else { return false };
    processes().iter().any(|process| process.is_postgres && process.works_in.as_deref() == Some(&data_dir))
}

/// Signals the first process of the server that `postmaster.pid` names.
pub fn signal(number: i32, signal: Signal) {
    if let Some(process) = Pid::from_raw(number).filter(|_| number > 1) {
        // One that has ended needs no signal.
        let _ = kill_process(process, signal);
    }
}

struct Process {
    number: i32,
    parent: i32,
    works_in: Option<std::path::PathBuf>,
    is_postgres: bool,
}

fn processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may hold anything, blanks and parentheses too.
            let (before, after) = stat.rsplit_once(')')?;
            let name = before.split_once('(')?.1;
            let mut fields = after.split_whitespace();
            let state = fields.next()?;
            let parent = fields.next()?.parse().ok()?;
            (state != "Z").then(|| Process {
                number,
                parent,
                works_in: std::fs::read_link(entry.path().join("cwd")).ok(),
                is_postgres: name == "postgres",
            })
        })
        .collect()
}
