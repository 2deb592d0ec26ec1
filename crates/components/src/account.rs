//! The unprivileged account that PostgreSQL runs under when we are root: it refuses to run as root.

use anyhow::{Context, Result, bail};
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user and its group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl Account {
    /// Whom a server runs as: nobody special (`None`) when we aren't root, else `postgres`, else `nobody`.
    pub fn for_servers() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
        match ["postgres", "nobody"].iter().find_map(|name| find(&passwd, name)) {
            Some(account) => Ok(Some(account)),
            None => bail!("neither user postgres nor nobody exists; PostgreSQL doesn't run as root"),
        }
    }

    /// A command that runs as `account`, in a directory that everyone may enter.
    pub fn command(account: Option<Self>, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }
}

fn find(passwd: &str, name: &str) -> Option<Account> {
    let fields: Vec<&str> = passwd.lines().map(|line| line.split(':').collect()).find(|f: &Vec<&str>| f[0] == name)?;
    Some(Account { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
}
