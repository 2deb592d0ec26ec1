//! `postmaster.pid`: who runs here. A file can outlive its server; the process it names is looked at.

use super::{ClusterError, Result};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Eight short lines; a socket directory may be long.
const BYTES_MAX: u64 = 16 * 1024;

/// What the file says (`src/include/utils/pidfile.h`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PidFile {
    pub process_id: u32,
    pub data_dir: PathBuf,
    pub port: u16,
    /// `None` while the server starts, or when it has no socket.
    pub socket_dir: Option<PathBuf>,
    /// The server accepts sessions: as a primary, or as a hot standby.
    pub is_ready: bool,
}

/// Whether a server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// There is no file.
    Stopped,
    /// There is a file, but its server is dead: the machine or the server crashed.
    Stale { process_id: u32 },
    /// The server is there.
    Running(PidFile),
}

pub(super) fn state(data_dir: &Path) -> Result<RunState> {
    let path = data_dir.join("postmaster.pid");
    let unreadable = |source| ClusterError::File { what: "read", path: path.clone(), source };
    let text = match std::fs::metadata(&path).and_then(|data| match data.len() {
        0..=BYTES_MAX => std::fs::read_to_string(&path),
        _ => Err(std::io::Error::new(ErrorKind::InvalidData, "too long for a postmaster.pid")),
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(RunState::Stopped),
        Err(error) => return Err(unreadable(error)),
    };
    let Some(file) = parse(&text) else {
        return Err(unreadable(std::io::Error::new(ErrorKind::InvalidData, "not a postmaster.pid")));
    };
    if is_postmaster(file.process_id, data_dir) {
        Ok(RunState::Running(file))
    } else {
        Ok(RunState::Stale { process_id: file.process_id })
    }
}

fn parse(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    // A server in single-user mode writes its number with a minus.
    let process_id = lines.first()?.trim_start_matches('-').parse().ok().filter(|&id: &u32| id > 1)?;
    Some(PidFile {
        process_id,
        data_dir: lines.get(1)?.into(),
        port: lines.get(3).and_then(|port| port.parse().ok()).unwrap_or_default(),
        socket_dir: lines.get(4).filter(|path| !path.is_empty()).map(Into::into),
        is_ready: lines.get(7).is_some_and(|state| matches!(*state, "ready" | "standby")),
    })
}

/// Process numbers are used again, at a boot soonest: a live process counts only when it works in the data directory,
/// as every server does. Where we may not see that, it counts: better to refuse than to start a second server.
fn is_postmaster(process_id: u32, data_dir: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{process_id}"));
    let Ok(stat) = std::fs::read_to_string(process.join("stat")) else { return false };
    let is_zombie = stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'));
    if is_zombie {
        return false; // ended; only its parent hasn't asked yet
    }
    match (std::fs::read_link(process.join("cwd")), std::fs::canonicalize(data_dir)) {
        (Ok(works_in), Ok(data_dir)) => works_in == data_dir,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_at_every_stage_of_a_start() {
        let full = "4711\n/data\n1700000000\n5433\n/run/pg\nlocalhost\n  1234 5678\nready   \n";
        let file = parse(full).unwrap();
        assert_eq!((file.process_id, file.port, file.is_ready), (4711, 5433, true));
        assert_eq!(file.socket_dir.as_deref(), Some(Path::new("/run/pg")));
        assert!(!parse("4711\n/data\n1700000000\n5433\n").unwrap().is_ready);
        assert!(!parse(&full.replace("ready   ", "starting")).unwrap().is_ready);
        for text in ["", "0\n/data", "1\n/data", "x\n/data", "4711"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_number_of_another_process_is_stale() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(state(directory.path()).unwrap(), RunState::Stopped);
        let ours = std::process::id();
        std::fs::write(directory.path().join("postmaster.pid"), format!("{ours}\n/data\n1\n5432\n\n\n\nready\n"))
            .unwrap();
        assert_eq!(state(directory.path()).unwrap(), RunState::Stale { process_id: ours });
    }
}
