//! The settings that make a copy of a cluster follow a server, and nothing else.

use crate::settings::{CLEARED, Setting, TARGETS};
use lifeboat_postgres::standbys::upstream::Limits;

/// Whom a standby follows, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Following {
    /// libpq's words for the server, as the standby itself will use them: with its name, without a password.
    pub conninfo: String,
    pub slot: Option<String>,
    /// Where log comes from that the server no longer has.
    pub restore_command: Option<String>,
    /// What the server has; the standby must not have less.
    pub limits: Limits,
}

/// All that is written, in order.
///
/// Archiving stays as it was: a standby doesn't archive, and one that is promoted must.
pub fn standby_settings(following: &Following) -> Vec<Setting> {
    let Following { conninfo, slot, restore_command, limits } = following;
    let mut settings: Vec<Setting> = CLEARED.iter().map(|(name, value)| Setting::new(name, *value)).collect();
    let mut set = |name: &str, value: &str| match settings.iter_mut().find(|setting| setting.name == name) {
        Some(setting) => value.clone_into(&mut setting.value),
        None => settings.push(Setting::new(name, value)),
    };
    set("primary_conninfo", conninfo);
    set("primary_slot_name", slot.as_deref().unwrap_or_default());
    set("restore_command", restore_command.as_deref().unwrap_or_default());
    set("recovery_target_timeline", "latest");
    TARGETS.iter().for_each(|name| set(name, ""));
    set("hot_standby", "on");
    for (name, value) in limits.named() {
        set(name, &value.to_string());
    }
    settings
}

/// A connection string, as words or as a URL, under which the standby is known by its name: the last word counts.
pub fn conninfo_named(conninfo: &str, name: &str) -> String {
    if conninfo.starts_with("postgresql://") || conninfo.starts_with("postgres://") {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let name: String = name
            .bytes()
            .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
            .collect();
        let sign = if conninfo.contains('?') { '&' } else { '?' };
        return format!("{conninfo}{sign}application_name={name}");
    }
    let name = name.replace('\\', r"\\").replace('\'', r"\'");
    format!("{} application_name='{name}'", conninfo.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::edit_settings_file;

    #[test]
    fn a_standby_has_no_target_and_all_that_it_needs() {
        let limits = Limits {
            max_connections: 200,
            max_worker_processes: 8,
            max_wal_senders: 10,
            max_prepared_transactions: 0,
            max_locks_per_transaction: 64,
        };
        let following = Following {
            conninfo: conninfo_named("host=db1 user=replicator", "o'hio"),
            slot: Some("lifeboat_o_hio".into()),
            restore_command: Some("lifeboat wal fetch %f \"%p\" --workload shop".into()),
            limits,
        };
        let before = b"recovery_target_time = '2020-01-01'\nmax_connections = 50\nwork_mem = '8MB'\n";
        let file = edit_settings_file(before, &standby_settings(&following)).unwrap();
        insta::assert_snapshot!(String::from_utf8(file).unwrap(), @r#"
        # before the restore: recovery_target_time = '2020-01-01'
        # before the restore: max_connections = 50
        work_mem = '8MB'

        # for the recovery of this copy, written by lifeboat
        recovery_end_command = ''
        archive_cleanup_command = ''
        primary_conninfo = 'host=db1 user=replicator application_name=''o\\''hio'''
        primary_slot_name = 'lifeboat_o_hio'
        recovery_min_apply_delay = '0'
        restore_command = 'lifeboat wal fetch %f "%p" --workload shop'
        recovery_target_timeline = 'latest'
        recovery_target = ''
        recovery_target_time = ''
        recovery_target_xid = ''
        recovery_target_name = ''
        recovery_target_lsn = ''
        hot_standby = 'on'
        max_connections = '200'
        max_worker_processes = '8'
        max_wal_senders = '10'
        max_prepared_transactions = '0'
        max_locks_per_transaction = '64'
        "#);
    }

    #[test]
    fn a_name_is_added_to_words_and_to_urls() {
        for (conninfo, named) in [
            ("host=a ", "host=a application_name='x y'"),
            ("postgresql://r@a/", "postgresql://r@a/?application_name=x%20y"),
            ("postgres://r@a?sslmode=require", "postgres://r@a?sslmode=require&application_name=x%20y"),
        ] {
            assert_eq!(conninfo_named(conninfo, "x y"), named);
        }
    }
}
