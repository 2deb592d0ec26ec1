//! What follows from the facts. Pure: facts in, findings out.

use super::{RoleFacts, ServerFacts};
use crate::MajorVersion;
use serde::Serialize;
use std::path::Path;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A backup would fail, or be worth nothing.
    Refusal,
    /// Something will be missing or slow when it is needed.
    Warning,
}

/// One thing that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub severity: Severity,
    /// A word that stays the same, for scripts: `wal-level`.
    pub name: &'static str,
    /// What is wrong.
    pub what: String,
    /// What to type.
    pub hint: String,
}

/// How the files of a cluster are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Means {
    /// As files of this machine.
    #[default]
    Files,
    /// The server sends them.
    Replication,
}

/// The findings that stop a backup by these means.
pub fn refusals(facts: &ServerFacts, means: Means) -> Vec<Finding> {
    findings(facts, means).into_iter().filter(|finding| finding.severity == Severity::Refusal).collect()
}

/// Everything that isn't as it should be, refusals first.
pub fn findings(facts: &ServerFacts, means: Means) -> Vec<Finding> {
    let mut found = Vec::new();
    server(facts, &mut found);
    match means {
        Means::Files => role(facts, &mut found),
        Means::Replication => replicating_role(facts, &mut found),
    }
    files(facts, &mut found);
    wal(facts, &mut found);
    found.sort_by_key(|finding| finding.severity == Severity::Warning);
    found
}

fn refusal(name: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { severity: Severity::Refusal, name, what: what.into(), hint: hint.into() }
}

fn warning(name: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Finding {
    Finding { severity: Severity::Warning, name, what: what.into(), hint: hint.into() }
}

fn server(facts: &ServerFacts, found: &mut Vec<Finding>) {
    if let Err(unsupported) = MajorVersion::from_server_version_num(facts.version_number) {
        found.push(refusal("version", unsupported.to_string(), "upgrade PostgreSQL, or Lifeboat"));
    }
    if facts.wal_level == "minimal" {
        let what = "wal_level is minimal: the write-ahead log lacks what recovery needs";
        found.push(refusal("wal-level", what, "alter system set wal_level = replica; then restart the server"));
    }
    if facts.block_size_bytes != 8192 {
        let what =
            format!("the server was built with pages of {} bytes; only 8192 are supported", facts.block_size_bytes);
        found.push(refusal("page-size", what, "move the data to a server with 8192-byte pages"));
    }
    if facts.in_recovery && !facts.full_page_writes {
        let what = "full_page_writes is off: a backup from a standby may hold torn pages that nothing repairs";
        found.push(refusal("full-page-writes", what, "alter system set full_page_writes = on; on the primary too"));
    } else if !facts.full_page_writes {
        let what = "full_page_writes is off: a crash of this machine can corrupt the database";
        found.push(warning("full-page-writes", what, "alter system set full_page_writes = on;"));
    }
    if !facts.data_checksums {
        let what = "data checksums are off: damage on the disk stays unnoticed and gets into the backups";
        found.push(warning("data-checksums", what, "stop the server and run pg_checksums --enable"));
    }
}

fn role(facts: &ServerFacts, found: &mut Vec<Finding>) {
    let RoleFacts { name, .. } = &facts.role;
    let Ok(major) = MajorVersion::from_server_version_num(facts.version_number) else { return };
    let grants = || role_statements(major, name)[1..].join(" ");
    if !facts.role.may_back_up {
        found.push(refusal("privileges", format!("role {name} may not start and stop a backup"), grants()));
    }
    if !facts.role.may_read_settings {
        found.push(refusal("settings", format!("role {name} may not read where the data directory is"), grants()));
    }
    if !facts.role.may_switch_wal || !facts.role.may_create_restore_point {
        let what = format!("role {name} may not switch WAL files and name restore points");
        found.push(warning("wal-functions", what, grants()));
    }
    if !facts.role.may_replicate {
        let what = format!("role {name} may not stream WAL");
        found.push(warning("replication", what, format!("alter role {} replication;", quoted(name))));
    }
}

/// What is sent needs no function of the server's, only the right to ask for it.
fn replicating_role(facts: &ServerFacts, found: &mut Vec<Finding>) {
    let RoleFacts { name, .. } = &facts.role;
    let grants = || format!("grant pg_read_all_settings to {};", quoted(name));
    if !facts.role.may_replicate && !facts.role.is_superuser {
        let what = format!("role {name} may not replicate, and without data_dir the server must send its files");
        found.push(refusal("replication", what, format!("alter role {} replication;", quoted(name))));
    }
    if !facts.role.may_read_settings {
        let what = format!("role {name} may not read how the server archives");
        found.push(refusal("settings", what, grants()));
    }
    if facts.max_wal_senders == 0 {
        let what = "max_wal_senders is 0: the server can't send its files";
        found.push(refusal("wal-senders", what, "alter system set max_wal_senders = 10; then restart the server"));
    }
}

fn files(facts: &ServerFacts, found: &mut Vec<Finding>) {
    let Some(data) = &facts.data_directory else { return };
    let outside = |path: &&Path| !path.starts_with(data);
    let all = [&facts.config_file, &facts.hba_file, &facts.ident_file];
    let away: Vec<String> = all
        .into_iter()
        .flatten()
        .map(|path| path.as_path())
        .filter(outside)
        .map(|path| path.display().to_string())
        .collect();
    if !away.is_empty() {
        let what = format!("outside the data directory, and so not in its backups: {}", away.join(", "));
        found.push(warning("config-files", what, "protect them with a workload of kind \"files\""));
    }
    for tablespace in facts.tablespaces.iter().filter(|tablespace| tablespace.path.starts_with(data)) {
        let what = format!("tablespace {} lies inside the data directory", tablespace.oid);
        found.push(warning(
            "tablespace",
            what,
            "move it elsewhere: create tablespace, alter database .. set tablespace",
        ));
    }
}

fn wal(facts: &ServerFacts, found: &mut Vec<Finding>) {
    let archives = facts.archive_mode != "off"
        && (!facts.archive_command.is_empty() && facts.archive_command != "(disabled)"
            || !facts.archive_library.is_empty());
    let streams = facts.slots.iter().any(|slot| slot.is_physical && slot.is_active);
    if !archives && !streams {
        let what = "nothing keeps the WAL: no archive_command, and no receiver on a replication slot";
        let hint = "alter system set archive_mode = on; alter system set archive_command = 'lifeboat wal push %p'; \
                    then restart the server";
        found.push(warning("archiving", what, hint));
    }
    if let Some(archiver) = &facts.archiver
        && archiver.last_failed_at.is_some()
        && archiver.last_failed_at > archiver.last_archived_at
    {
        let file = archiver.last_failed.as_deref().unwrap_or("a file");
        let what = format!("archiving fails: {file} was refused last, {} failures", archiver.failed);
        found.push(warning("archiver", what, "look for archive command failures in the server's log"));
    }
    for slot in facts.slots.iter().filter(|slot| slot.wal_status.as_deref() == Some("lost")) {
        let what = format!("replication slot {} is lost: WAL that it should have kept is gone", slot.name);
        let hint = format!("select pg_drop_replication_slot('{}');", slot.name.replace('\'', "''"));
        found.push(warning("slot-lost", what, hint));
    }
    if facts.max_wal_senders == 0 && found.iter().all(|finding| finding.name != "wal-senders") {
        let what = "max_wal_senders is 0: WAL can't be streamed";
        found.push(warning("wal-senders", what, "alter system set max_wal_senders = 10; then restart the server"));
    }
}

/// The statements that make a role which may do what Lifeboat does and nothing else. A superuser runs them in the
/// database that Lifeboat connects to: privileges on functions belong to one database.
///
/// It can't read tables, and not files through SQL: the data directory is read as a file, by a process of the account
/// that owns it.
pub fn role_statements(major: MajorVersion, role: &str) -> Vec<String> {
    let role = quoted(role);
    let [start, stop] = backup_functions(u32::from(major.number()) * 10_000);
    let mut statements = vec![format!("create role {role} login replication;")];
    for function in [start, stop, "pg_switch_wal()", "pg_create_restore_point(text)"] {
        statements.push(format!("grant execute on function pg_catalog.{function} to {role};"));
    }
    statements.push(format!("grant pg_read_all_settings, pg_read_all_stats to {role};"));
    statements
}

/// The same for a server that sends its files: fewer. `pg_switch_wal` is for a primary whose standby is backed up.
pub fn replicating_role_statements(role: &str) -> Vec<String> {
    let role = quoted(role);
    vec![
        format!("create role {role} login replication;"),
        format!("grant pg_read_all_settings to {role};"),
        format!("grant execute on function pg_catalog.pg_switch_wal() to {role};"),
    ]
}

/// Renamed in 15, when the exclusive mode went away.
pub(super) fn backup_functions(version_number: u32) -> [&'static str; 2] {
    if version_number < 150_000 {
        ["pg_start_backup(text, boolean, boolean)", "pg_stop_backup(boolean, boolean)"]
    } else {
        ["pg_backup_start(text, boolean)", "pg_backup_stop(boolean)"]
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
