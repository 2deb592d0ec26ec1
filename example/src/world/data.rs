//! The same new database in both regions that have one, the second as a standby.

use super::member::Member;
use super::text;
use anyhow::{Context, Result, ensure};
use lifeboat_components::Account;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

/// Small, because both lie in memory.
const SETTINGS: &str = "listen_addresses = '*'\nwal_log_hints = on\nwal_keep_size = 64MB\nmax_wal_senders = 10\n\
     max_wal_size = 128MB\nmin_wal_size = 32MB\nshared_buffers = 16MB\nlog_line_prefix = '%m [%p] '\n";

pub fn lay(members: &[Member], bin_dir: &Path, addresses: &str) -> Result<()> {
    let account = Account::for_servers()?;
    let members: Vec<&Member> = members.iter().filter(|member| member.has_database()).collect();
    for (member, account) in members.iter().filter_map(|member| Some((member, account?))) {
        chown(&member.directory, Some(account.uid), Some(account.gid)).context("give away a directory")?;
    }
    let first = members[0];
    let data = text(&first.data_dir());
    let arguments = ["-D", &data, "-U", "postgres", "-E", "UTF8", "--no-locale", "--no-sync", "--data-checksums"];
    let arguments = [&arguments[..], &["-A", "trust", "--wal-segsize=4"]].concat();
    first.host.run_as_server(&bin_dir.join("initdb"), &arguments)?;
    let hba = format!("local all all trust\nhost all all {addresses} trust\nhost replication all {addresses} trust\n");
    fs::write(first.data_dir().join("pg_hba.conf"), hba).context("write pg_hba.conf")?;
    let configuration = first.data_dir().join("postgresql.conf");
    let common = fs::read_to_string(&configuration).context("read postgresql.conf")? + SETTINGS;
    for member in &members[1..] {
        let copied = Command::new("cp").arg("-a").arg(first.data_dir()).arg(member.data_dir()).status();
        ensure!(copied.context("run cp")?.success(), "cp of a data directory");
        fs::write(member.data_dir().join("standby.signal"), "").context("write standby.signal")?;
    }
    for member in members {
        let own = format!("{common}unix_socket_directories = '{}'\n", member.directory.display());
        fs::write(member.data_dir().join("postgresql.conf"), own).context("write postgresql.conf")?;
    }
    Ok(())
}
