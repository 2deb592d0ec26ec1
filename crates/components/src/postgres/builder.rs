//! What a test says about the cluster it wants.

use super::cluster::TestCluster;
use super::programs::{Installation, install};
use crate::command::run;
use crate::{Account, free_port};
use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A cluster to be made. Durability is off unless asked for: tests kill processes, not machines.
#[derive(Debug, Clone)]
pub struct Builder {
    major: u16,
    data_checksums: bool,
    wal_segment_size_mib: u32,
    initdb_arguments: Vec<String>,
    settings: Vec<(String, String)>,
    hba: Option<String>,
    pub(super) superuser_password: Option<String>,
}

impl Builder {
    pub(super) fn new(major: u16) -> Self {
        Self {
            major,
            data_checksums: true,
            wal_segment_size_mib: 16,
            initdb_arguments: Vec::new(),
            settings: Vec::new(),
            hba: None,
            superuser_password: None,
        }
    }

    /// Page checksums. On unless said otherwise, whatever the version's own default.
    pub fn data_checksums(mut self, on: bool) -> Self {
        self.data_checksums = on;
        self
    }

    /// A power of two from 1 to 1024; 16 unless said otherwise.
    pub fn wal_segment_size_mib(mut self, size: u32) -> Self {
        self.wal_segment_size_mib = size;
        self
    }

    /// One more argument of `initdb`.
    pub fn initdb_argument(mut self, argument: impl Into<String>) -> Self {
        self.initdb_arguments.push(argument.into());
        self
    }

    /// A line of `postgresql.conf`; the last one about a name wins.
    pub fn setting(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Archives with this command (`%p`, `%f`), run by the account the server runs under.
    pub fn archive_command(self, command: &str) -> Self {
        self.setting("archive_mode", "on").setting("archive_command", command)
    }

    /// The whole of `pg_hba.conf`; without it everybody is let in on the socket and on loopback.
    pub fn hba(mut self, lines: &str) -> Self {
        self.hba = Some(lines.to_owned());
        self
    }

    /// The password of `postgres`, kept as SCRAM-SHA-256.
    pub fn superuser_password(mut self, password: &str) -> Self {
        self.superuser_password = Some(password.to_owned());
        self
    }

    /// Makes the cluster and doesn't start it.
    pub fn create(self) -> Result<TestCluster> {
        let home = Home::new()?;
        let installation = install(self.major)?;
        self.initdb(&installation, &home)?;
        self.finish(installation, home)
    }

    /// Makes the cluster and waits until it answers.
    pub fn start(self) -> Result<TestCluster> {
        let mut cluster = self.create()?;
        cluster.start()?;
        Ok(cluster)
    }

    /// Takes over a data directory that `fill` lays into the given empty directory, such as a restored backup.
    /// Settings of this builder go on top of what is there. Doesn't start it.
    pub fn adopt(self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<TestCluster> {
        let home = Home::new()?;
        let installation = install(self.major)?;
        let data = home.data();
        fs::create_dir(&data).context("create data directory")?;
        fill(&data)?;
        let _ = fs::remove_file(data.join("postmaster.pid"));
        give_to(home.account, &data)?;
        fs::set_permissions(&data, Permissions::from_mode(0o700)).context("close data directory")?;
        self.finish(installation, home)
    }

    fn initdb(&self, installation: &Installation, home: &Home) -> Result<()> {
        let mut command = Account::command(home.account, &installation.programs.join("initdb"));
        command.arg("-D").arg(home.data()).args(["-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync"]);
        command.arg(format!("--wal-segsize={}", self.wal_segment_size_mib));
        match (self.data_checksums, self.major) {
            (true, _) => drop(command.arg("--data-checksums")),
            (false, 18..) => drop(command.arg("--no-data-checksums")),
            (false, _) => {}
        }
        match &self.superuser_password {
            None => drop(command.args(["-A", "trust"])),
            Some(password) => {
                let file = home.directory.path().join("password");
                fs::write(&file, password).context("write password file")?;
                give_to(home.account, &file)?;
                command.args(["-A", "scram-sha-256"]).arg("--pwfile").arg(file);
            }
        }
        run(command.args(&self.initdb_arguments)).context("make cluster")?;
        Ok(())
    }

    fn finish(self, installation: Installation, home: Home) -> Result<TestCluster> {
        let port = free_port()?;
        let mut lines = format!(
            "\n# of the test\nport = {port}\nunix_socket_directories = '{}'\nlisten_addresses = '127.0.0.1'\n\
             fsync = off\nautovacuum_naptime = 1h\nmax_wal_size = 1GB\nshared_buffers = 16MB\nwal_level = replica\n\
             logging_collector = off\nlog_line_prefix = '%m [%p] '\n",
            home.directory.path().display()
        );
        for (name, value) in &self.settings {
            lines.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        let configuration = home.data().join("postgresql.conf");
        let before = fs::read_to_string(&configuration).unwrap_or_default();
        fs::write(&configuration, before + &lines).context("write postgresql.conf")?;
        give_to(home.account, &configuration)?;
        if let Some(hba) = &self.hba {
            fs::write(home.data().join("pg_hba.conf"), hba).context("write pg_hba.conf")?;
        }
        Ok(TestCluster::new(installation, home, port, self.superuser_password))
    }
}

/// The private directory of one cluster: `data`, `log` and the socket. In `/tmp` whatever `TMPDIR` says, because
/// a socket's path has at most 107 bytes and another account must be able to enter.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) directory: TempDir,
    pub(super) account: Option<Account>,
}

impl Home {
    fn new() -> Result<Self> {
        let account = Account::for_servers()?;
        let directory =
            tempfile::Builder::new().prefix("lifeboat-pg-").tempdir_in("/tmp").context("make cluster directory")?;
        give_to(account, directory.path())?;
        Ok(Self { directory, account })
    }

    pub(super) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }
}

/// Makes `path` and everything in it the account's own. Links are given, not what they point to.
pub(super) fn give_to(account: Option<Account>, path: &Path) -> Result<()> {
    let Some(Account { uid, gid }) = account else { return Ok(()) };
    lchown(path, Some(uid), Some(gid)).with_context(|| format!("give away {}", path.display()))?;
    let is_directory = fs::symlink_metadata(path).is_ok_and(|kind| kind.is_dir());
    if is_directory {
        for entry in fs::read_dir(path).with_context(|| format!("list {}", path.display()))? {
            give_to(Some(Account { uid, gid }), &entry?.path())?;
        }
    }
    Ok(())
}
