//! A place for a copy of which nobody outside takes notice: its own directory, socket and configuration.
//!
//! The copy has no address, archives nothing, connects to nobody (no subscription is applied, no library is preloaded), and lives in a
//! directory that only its account may enter. Of the original's configuration it has what recovery needs, and no more.

use crate::error::{RecoveryError, Result};
use crate::restore::give_to;
use crate::settings::{Setting, edit_settings_file};
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::cluster::StartOptions;
use lifeboat_postgres::control::{ControlFile, ControlSettings};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where everything of one copy is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivatePlace {
    directory: PathBuf,
    owner: Option<(u32, u32)>,
}

impl PrivatePlace {
    /// In this directory, by its whole path: PostgreSQL is started from elsewhere. `owner`: see [`crate::owner_when_root`].
    pub fn new(directory: PathBuf, owner: Option<(u32, u32)>) -> Self {
        Self { directory, owner }
    }

    /// Makes it, so that only `owner`, or we, may enter. It must not be there yet.
    pub fn make(&self) -> Result<()> {
        for path in [&self.directory, &self.socket_dir()] {
            let made = std::fs::DirBuilder::new().mode(0o700).create(path);
            made.and_then(|()| self.give(path)).map_err(|e| RecoveryError::file("make directory", path, e))?;
        }
        Ok(())
    }

    /// All of it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Where a tablespace goes.
    pub fn tablespace(&self, oid: u32) -> PathBuf {
        self.directory.join("tablespaces").join(oid.to_string())
    }

    /// Where the server listens. Short, because a socket's path must be.
    pub fn socket_dir(&self) -> PathBuf {
        self.directory.join("s")
    }

    /// What the server says.
    pub fn log_file(&self) -> PathBuf {
        self.directory.join("log")
    }

    fn configuration(&self) -> PathBuf {
        self.directory.join("postgresql.conf")
    }

    /// How it is started.
    pub fn start_options(&self) -> StartOptions {
        StartOptions::private(self.log_file(), self.socket_dir())
            .setting("config_file", &self.configuration().display().to_string())
    }

    /// Writes the copy's whole configuration. Nothing of the original's is used: a library, a certificate or a log directory that isn't
    /// here would keep it from starting. `recovery` says what it replays.
    pub fn write_configuration(&self, control: &ControlFile, recovery: &[Setting], major: MajorVersion) -> Result<()> {
        let path = |name: &str| self.directory.join(name);
        let quoted = |path: &Path| path.display().to_string().replace('\'', "''");
        let (hba, ident) = (path("pg_hba.conf"), path("pg_ident.conf"));
        let configuration = format!(
            "{}hba_file = '{}'\nident_file = '{}'\n",
            configuration(&control.settings, major),
            quoted(&hba),
            quoted(&ident)
        );
        self.write(&self.configuration(), configuration.as_bytes())?;
        self.write(&hba, b"local all all trust\n")?;
        self.write(&ident, b"")?;
        let auto = self.data_dir().join("postgresql.auto.conf");
        let recovery = edit_settings_file(b"", recovery)
            .map_err(|error| RecoveryError::file("write", &auto, io::Error::other(error)))?;
        self.write(&auto, &recovery)
    }

    /// Writes a file that the copy's account owns.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        // The directory is the server's account's: no link of theirs is followed.
        let mut opening = std::fs::File::options();
        opening.create(true).write(true).truncate(true).mode(0o600);
        opening.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let written = opening.open(path).and_then(|mut file| file.write_all(bytes)).and_then(|()| self.give(path));
        written.map_err(|error| RecoveryError::file("write", path, error))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        self.owner.map_or(Ok(()), |owner| give_to(owner, path))
    }
}

/// Recovery needs at least as much of these as the original had, and says how much that was in the control file.
///
/// Shared memory is taken from files in the directory: in a container `/dev/shm` is small, or isn't there.
fn configuration(settings: &ControlSettings, major: MajorVersion) -> String {
    let ControlSettings { max_connections, max_worker_processes, max_wal_senders, .. } = settings;
    let ControlSettings { max_prepared_transactions, max_locks_per_transaction, .. } = settings;
    let commit_timestamps = if settings.track_commit_timestamp { "on" } else { "off" };
    let mut lines = format!(
        "max_connections = {max_connections}\nmax_worker_processes = {max_worker_processes}\n\
         max_wal_senders = {max_wal_senders}\nmax_prepared_transactions = {max_prepared_transactions}\n\
         max_locks_per_transaction = {max_locks_per_transaction}\ntrack_commit_timestamp = {commit_timestamps}\n\
         wal_level = replica\nhot_standby = on\nunix_socket_permissions = 0700\nautovacuum = off\n\
         max_logical_replication_workers = 0\nlogging_collector = off\nlog_destination = 'stderr'\n\
         restart_after_crash = off\nhuge_pages = off\nssl = off\ndynamic_shared_memory_type = mmap\n"
    );
    if major >= MajorVersion::V17 {
        lines.push_str("summarize_wal = off\nsync_replication_slots = off\n");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::control::WalLevel;

    #[test]
    fn the_copy_has_what_the_original_had() {
        let settings = ControlSettings {
            wal_level: WalLevel::Replica,
            wal_log_hints: false,
            max_connections: 350,
            max_worker_processes: 12,
            max_wal_senders: 7,
            max_prepared_transactions: 3,
            max_locks_per_transaction: 128,
            track_commit_timestamp: true,
        };
        let lines = configuration(&settings, MajorVersion::V15);
        for line in [
            "max_connections = 350",
            "max_worker_processes = 12",
            "max_wal_senders = 7",
            "max_prepared_transactions = 3",
            "max_locks_per_transaction = 128",
            "track_commit_timestamp = on",
        ] {
            assert!(lines.lines().any(|found| found == line), "{line}");
        }
        assert!(!lines.contains("summarize_wal"));
        assert!(configuration(&settings, MajorVersion::V17).contains("summarize_wal = off"));
    }
}
