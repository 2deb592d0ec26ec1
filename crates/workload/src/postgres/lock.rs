//! One backup of a workload at a time on this machine. The lock is the kernel's and dies with the process.

use crate::postgres::BackupError;
use crate::postgres::scan::with_path;
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Held until dropped.
#[derive(Debug)]
pub struct WorkloadLock {
    _file: File,
}

impl WorkloadLock {
    /// Takes the lock of `workload` in `state_dir`, which is created when missing. Never waits.
    pub fn take(state_dir: &Path, workload: &str) -> Result<Self, BackupError> {
        let path = state_dir.join(format!("{workload}.backup.lock"));
        let failed = |error| BackupError::state(with_path(error, &path));
        DirBuilder::new().recursive(true).mode(0o700).create(state_dir).map_err(failed)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Only to tell a person who it is; an empty answer is fine.
            let _ = file.read_to_string(&mut holder);
            let holder =
                if holder.trim().is_empty() { "on this machine".to_string() } else { holder.trim().to_string() };
            return Err(BackupError::Busy { workload: workload.into(), holder });
        }
        file.set_len(0).map_err(failed)?;
        file.rewind().map_err(failed)?;
        writeln!(file, "process {} on this machine", std::process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}
