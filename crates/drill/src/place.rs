//! The place apart: a directory of its own, in which everything of one rehearsal lies, with a configuration that names nothing outside it.

use crate::surroundings::Protected;
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Every place begins so.
pub const PREFIX: &str = "lifeboat-drill-";

/// Sockets are private, so any number will do.
pub const PORT: u16 = 5432;

/// Where everything of one rehearsal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    directory: PathBuf,
    owner: Option<(u32, u32)>,
}

impl Place {
    /// Of the run of that id. Not made yet.
    pub fn new(scratch_dir: &Path, id: &str, owner: Option<(u32, u32)>) -> Self {
        Self { directory: scratch_dir.join(format!("{PREFIX}{id}")), owner }
    }

    /// All of it.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Whom it belongs to when we are root.
    pub fn owner(&self) -> Option<(u32, u32)> {
        self.owner
    }

    /// The data directory of a server.
    pub fn data_dir(&self, server: &str) -> PathBuf {
        self.directory.join("servers").join(server)
    }

    /// Where it listens.
    pub fn socket_dir(&self, server: &str) -> PathBuf {
        self.directory.join("s").join(server)
    }

    /// Its socket.
    pub fn socket(&self, server: &str) -> PathBuf {
        self.socket_dir(server).join(format!(".s.PGSQL.{PORT}"))
    }

    /// How a server of the place is reached.
    pub fn connection(&self, server: &str, protected: &Protected) -> String {
        format!(
            "host={} port={PORT} user={} dbname={}",
            self.socket_dir(server).display(),
            protected.user,
            protected.database
        )
    }

    /// The configuration of the place.
    pub fn config(&self) -> PathBuf {
        self.path("lifeboat.toml")
    }

    /// Where alarms are noted, each a line.
    pub fn alarms(&self) -> PathBuf {
        self.path("alarms")
    }

    /// Makes it. It must not be there yet.
    ///
    /// # Errors
    /// Of the file system.
    pub fn make(&self, workloads: &[Protected], server_of: impl Fn(&Protected) -> String) -> io::Result<()> {
        self.make_directory(&self.directory)?;
        for name in ["servers", "s", "conf", "logs", "tablespaces"] {
            self.make_directory(&self.path(name))?;
        }
        self.write("passphrase", &random_text()?, 0o600)?;
        self.write("alarms", "", 0o600)?;
        let alarms = self.alarms();
        let script = format!(
            "#!/bin/sh\nprintf '%s %s %s\\n' \"$LIFEBOAT_ALARM\" \"$LIFEBOAT_ALARM_KIND\" \"$1\" >> '{}'\n",
            alarms.display()
        );
        self.write("alarm", &script, 0o700)?;
        self.write("lifeboat.toml", &self.configuration(workloads, server_of), 0o600)
    }

    /// Two locations, both in the place.
    fn configuration(&self, workloads: &[Protected], server_of: impl Fn(&Protected) -> String) -> String {
        let place = self.directory.display();
        let mut text = format!(
            "state_dir = \"{place}/state\"\n\n[location.vault]\nurl = \"file://{place}/vault\"\n\n\
             [location.second]\nurl = \"file://{place}/second\"\n\n\
             [encryption]\npassphrase = {{ file = \"{place}/passphrase\" }}\n"
        );
        for protected in workloads {
            let server = server_of(protected);
            let line = |key: &str, value: &str| format!("{key} = {}\n", toml::Value::from(value));
            text.push_str(&format!("\n[workload.{}]\nkind = \"postgres\"\n", protected.name));
            text.push_str(&line("data_dir", &self.data_dir(&server).display().to_string()));
            text.push_str(&line("connection", &self.connection(&server, protected)));
            if let Some(directory) = &protected.bin_dir {
                text.push_str(&line("bin_dir", &directory.display().to_string()));
            }
            let checks: Vec<toml::Value> = protected.checks.iter().map(|check| check.as_str().into()).collect();
            if !checks.is_empty() {
                text.push_str(&format!("check = {}\n", toml::Value::from(checks)));
            }
            text.push_str(&format!("backup_within = \"1h\"\nalarm = {{ command = [\"{place}/alarm\"] }}\n"));
        }
        text
    }

    /// A directory that only the servers' account, or we, may enter.
    ///
    /// # Errors
    /// Of the file system.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        std::fs::DirBuilder::new().mode(0o700).create(path)?;
        self.give(path)
    }

    /// A private file of that account.
    ///
    /// # Errors
    /// Of the file system.
    pub fn write(&self, name: &str, text: &str, mode: u32) -> io::Result<()> {
        let path = self.path(name);
        let mut opening = std::fs::File::options();
        // The directory is the servers' account's: no link of theirs is followed.
        opening.create(true).write(true).truncate(true).mode(mode);
        opening.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        opening.open(&path)?.write_all(text.as_bytes())?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        self.give(&path)
    }

    /// A file for what a process says.
    ///
    /// # Errors
    /// Of the file system.
    pub fn log(&self, name: &str) -> io::Result<(PathBuf, std::fs::File)> {
        let path = self.path("logs").join(name);
        let mut opening = std::fs::File::options();
        opening.create(true).append(true).read(true).mode(0o600);
        opening.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let file = opening.open(&path)?;
        self.give(&path)?;
        Ok((path, file))
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        let Some((uid, gid)) = self.owner else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
    }
}

/// Thirty-two characters that nobody can guess.
pub fn random_text() -> io::Result<String> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
