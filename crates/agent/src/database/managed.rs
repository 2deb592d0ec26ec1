//! The settings that the agent owns: at the end of `postgresql.auto.conf`, where they win over every other file.
//!
//! Everything else in that file is left as it is. Who changes one of ours with `ALTER SYSTEM` finds it changed back.

use super::{Address, DatabaseSettings};
use lifeboat_failover::{Lineage, MemberName, Quorum};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::path::Path;

pub const PRIMARY_CONNINFO: &str = "primary_conninfo";
pub const SYNCHRONOUS_STANDBY_NAMES: &str = "synchronous_standby_names";
const PRIMARY_SLOT_NAME: &str = "primary_slot_name";
const RESTORE_COMMAND: &str = "restore_command";
/// The largest file that is read.
const BYTES_MAX: u64 = 1 << 20;
const FILE: &str = "postgresql.auto.conf";

/// Those that say from whom it receives.
const UPSTREAM: &[&str] = &[PRIMARY_CONNINFO, PRIMARY_SLOT_NAME, RESTORE_COMMAND];

/// All that are owned. What is in force is compared by these names.
pub const NAMES: &[&str] = &[
    PRIMARY_CONNINFO,
    PRIMARY_SLOT_NAME,
    RESTORE_COMMAND,
    SYNCHRONOUS_STANDBY_NAMES,
    "wal_receiver_status_interval",
    "wal_retrieve_retry_interval",
];

/// Names and values.
pub type Managed = BTreeMap<String, String>;

/// What is to be in force for a member that receives from `follow`, or from nobody, and whose commits wait for `quorum`. `lineage`: of the one that
/// is followed, or of the primary itself.
pub fn managed(
    settings: &DatabaseSettings,
    follow: Option<&MemberName>,
    quorum: &Quorum,
    lineage: Option<Lineage>,
) -> Managed {
    let upstream = follow.and_then(|name| settings.addresses.get(name));
    // Who is cut off gets nothing by way of the archive either.
    let restore_command = upstream.and(settings.restore_command.clone()).unwrap_or_default();
    let values = [
        (PRIMARY_CONNINFO, upstream.map(|address| conninfo(settings, address, lineage)).unwrap_or_default()),
        (PRIMARY_SLOT_NAME, upstream.map(|_| slot_name(&settings.name)).unwrap_or_default()),
        (RESTORE_COMMAND, restore_command),
        (SYNCHRONOUS_STANDBY_NAMES, standby_names(quorum, lineage)),
        // A standby says twice as often as anybody minds that it is there, and comes back at once when its primary does.
        ("wal_receiver_status_interval", "1s".to_owned()),
        ("wal_retrieve_retry_interval", "100ms".to_owned()),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The same for who gets from the server that it follows nothing at all: what that has removed is read from the archive. Unchanged where there
/// is none, or another one is configured, or nobody knows the lineage to go to.
pub fn with_archive(settings: &DatabaseSettings, mut managed: Managed, lineage: Option<Lineage>) -> Managed {
    let has_own = managed.get(RESTORE_COMMAND).is_some_and(|command| !command.is_empty());
    if let (Some(archive), Some(lineage), false) = (&settings.archive, lineage, has_own) {
        managed.insert(RESTORE_COMMAND.to_owned(), format!("{archive} --follows {}", lineage.0));
        // Each attempt is a process, and asks a repository.
        managed.insert("wal_retrieve_retry_interval".to_owned(), "1s".to_owned());
    }
    managed
}

/// How we ask another member ourselves: in the words that we and libpq both know.
pub fn question(settings: &DatabaseSettings, to: &Address) -> String {
    let host = to.host.replace('\\', r"\\").replace('\'', r"\'");
    format!("host='{host}' port={} connect_timeout=3 {}", to.port, settings.replication)
}

/// The same settings, and receives from nobody.
pub fn apart(managed: &Managed) -> Managed {
    let mut apart = managed.clone();
    apart.extend(UPSTREAM.iter().map(|name| ((*name).to_owned(), String::new())));
    apart
}

/// Whether both receive from the same.
pub fn same_upstream(one: &Managed, other: &Managed) -> bool {
    UPSTREAM.iter().all(|name| one.get(*name) == other.get(*name))
}

/// The name of a member to whom it receives from, as long as that one is on `lineage`. A primary counts only those of its own lineage: who
/// found its way back to a former primary, and hasn't been asked whether it fits, confirms nothing there.
pub fn name_on(member: &MemberName, lineage: Option<Lineage>) -> String {
    format!("{member}:{}", lineage.unwrap_or_default().0)
}

/// The member, and the lineage that it believes in.
pub fn from_name(name: &str) -> Option<(MemberName, Lineage)> {
    let (member, lineage) = name.rsplit_once(':')?;
    Some((member.into(), Lineage(lineage.parse().ok()?)))
}

/// How this member connects to another to receive its log.
pub fn conninfo(settings: &DatabaseSettings, to: &Address, lineage: Option<Lineage>) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
    let (host, name) = (quoted(&to.host), quoted(&name_on(&settings.name, lineage)));
    format!(
        "host={host} port={} application_name={name} connect_timeout=3 keepalives_idle=5 keepalives_interval=2 keepalives_count=3 {}",
        to.port, settings.replication
    )
    .trim_end()
    .to_owned()
}

/// The slot that keeps the log for a member: letters, digits and `_` are all that PostgreSQL allows.
pub fn slot_name(member: &MemberName) -> String {
    let plain = |letter: char| {
        let lower = letter.to_ascii_lowercase();
        if lower.is_ascii_lowercase() || lower.is_ascii_digit() { lower } else { '_' }
    };
    format!("lifeboat_{}", member.as_str().chars().map(plain).take(50).collect::<String>())
}

/// `ANY 1 ("ohio:3", "oregon:3")`; nothing when nobody is waited for.
pub fn standby_names(quorum: &Quorum, lineage: Option<Lineage>) -> String {
    if quorum.is_asynchronous() {
        return String::new();
    }
    let names: Vec<_> =
        quorum.voters.iter().map(|name| format!("\"{}\"", name_on(name, lineage).replace('"', "\"\""))).collect();
    format!("ANY {} ({})", quorum.needed, names.join(", "))
}

/// What the file says of ours; of several lines the last counts.
pub fn read(data_dir: &Path) -> io::Result<Managed> {
    let text = read_text(data_dir)?;
    Ok(text.lines().filter_map(ours).collect())
}

/// Writes ours in place of whatever the file says of them, durably.
pub fn write(data_dir: &Path, managed: &Managed, owner: Option<lifeboat_postgres::cluster::Account>) -> io::Result<()> {
    let mut text: String =
        read_text(data_dir)?.lines().filter(|line| ours(line).is_none()).fold(String::new(), |mut text, line| {
            text.push_str(line);
            text.push('\n');
            text
        });
    for (name, value) in managed {
        text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
    }
    let aside = data_dir.join("postgresql.auto.conf.lifeboat");
    let mut file = std::fs::File::options().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    if let Some(account) = owner {
        fchown(&file, Some(account.uid), Some(account.gid))?;
    }
    file.sync_all()?;
    std::fs::rename(&aside, data_dir.join(FILE))?;
    std::fs::File::open(data_dir)?.sync_all()
}

fn read_text(data_dir: &Path) -> io::Result<String> {
    let path = data_dir.join(FILE);
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
        Ok(data) if data.len() > BYTES_MAX => Err(io::Error::other(format!("{FILE} is too large"))),
        Ok(_) => std::fs::read_to_string(&path),
    }
}

fn ours(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    let end = line.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')?;
    let name = line[..end].to_ascii_lowercase();
    if !NAMES.contains(&name.as_str()) {
        return None;
    }
    let rest = line[end..].trim_start();
    let rest = rest.strip_prefix('=').unwrap_or(rest).trim();
    let value = rest.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(rest);
    Some((name, value.replace("''", "'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_lines_stay_and_ours_are_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join(FILE);
        std::fs::write(&file, "# Do not edit\nwork_mem = '8MB'\nPrimary_ConnInfo = 'host=old'\nrestore_command='x'\n")
            .unwrap();
        let ours = Managed::from([
            (PRIMARY_CONNINFO.into(), "host='it''s' port=1".into()),
            (RESTORE_COMMAND.into(), String::new()),
        ]);
        write(directory.path(), &ours, None).unwrap();
        assert_eq!(read(directory.path()).unwrap(), ours);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(
            text,
            "# Do not edit\nwork_mem = '8MB'\nprimary_conninfo = 'host=''it''''s'' port=1'\nrestore_command = ''\n"
        );
        write(directory.path(), &ours, None).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "twice is once");
    }

    #[test]
    fn names_that_sql_would_trip_over_are_quoted() {
        let quorum = Quorum { voters: ["a\"b".into(), "ohio".into()].into(), needed: 1 };
        let lineage = Some(Lineage(3));
        assert_eq!(standby_names(&quorum, lineage), r#"ANY 1 ("a""b:3", "ohio:3")"#);
        assert_eq!(standby_names(&Quorum::asynchronous(), lineage), "");
        assert_eq!(from_name("a:b:3"), Some(("a:b".into(), Lineage(3))));
        assert_eq!(from_name("lifeboat agent"), None);
        assert_eq!(slot_name(&"Ohio-2".into()), "lifeboat_ohio_2");
    }
}
