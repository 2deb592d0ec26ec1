//! The settings that make a restored cluster recover to its target, and to nothing else.
//!
//! They go to the end of `postgresql.auto.conf`, which PostgreSQL reads last. What stood there about recovery is put
//! behind a comment sign. What may stand elsewhere (in `postgresql.conf`, in files it includes, outside the data
//! directory) is overruled: each kind of target that isn't ours is set to nothing *before* ours is set, because
//! PostgreSQL takes each in turn and stops at the second that isn't empty.
//!
//! Not here: writing files. `recovery.signal` is an empty file beside this one.

use crate::plan::{Stop, TimelineSetting};
use crate::quoting::{QuotingError, configuration_string};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A line of configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value, without quotes.
    pub value: String,
}

impl Setting {
    pub(crate) fn new(name: &str, value: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.into() }
    }
}

/// As a line of the file, for people: what can't be written is shown as it is.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match configuration_string(&self.value) {
            Ok(value) => write!(f, "{} = {value}", self.name),
            Err(_) => write!(f, "{} = {:?}", self.name, self.value),
        }
    }
}

/// What happens when the target is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It becomes a primary, on a new timeline.
    #[default]
    Promote,
    /// It answers queries and waits, so that one can look before it is too late.
    Pause,
    /// It stops.
    Shutdown,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Promote => "promote",
            Self::Pause => "pause",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Kinds of target, as PostgreSQL names them.
pub(crate) const TARGETS: [&str; 5] =
    ["recovery_target", "recovery_target_time", "recovery_target_xid", "recovery_target_name", "recovery_target_lsn"];

/// Settings of the cluster's life before that must not act on the copy. The first clean-up commands would remove files
/// from the archive of the original, `primary_conninfo` would connect to it, and a delayed standby would wait.
pub(crate) const CLEARED: [(&str, &str); 5] = [
    ("recovery_end_command", ""),
    ("archive_cleanup_command", ""),
    ("primary_conninfo", ""),
    ("primary_slot_name", ""),
    ("recovery_min_apply_delay", "0"),
];

/// All that is written, in order.
///
/// `archives` leaves archiving as it was, and who synchronous commits wait for: for a cluster that takes the place of the
/// original. A copy beside the original must not: it would push its log into the original's archive.
pub fn recovery_settings(
    restore_command: &str,
    stop: &Stop,
    timeline: TimelineSetting,
    action: Action,
    archives: bool,
) -> Vec<Setting> {
    let mut settings: Vec<Setting> = CLEARED.iter().map(|(name, value)| Setting::new(name, *value)).collect();
    if !archives {
        settings.push(Setting::new("archive_mode", "off"));
        // Nobody receives from the copy: its first commit would wait for ever.
        settings.push(Setting::new("synchronous_standby_names", ""));
    }
    settings.push(Setting::new("restore_command", restore_command));
    settings.push(Setting::new(
        "recovery_target_timeline",
        match timeline {
            TimelineSetting::Current => "current".to_owned(),
            TimelineSetting::Number(number) => number.to_string(),
        },
    ));
    let (target, inclusive) = match stop {
        Stop::EndOfLog => (None, true),
        Stop::Consistent => (Some(("recovery_target", "immediate".to_owned())), true),
        Stop::Time { time, inclusive } => {
            (Some(("recovery_target_time", postgres_time(*time, *inclusive))), *inclusive)
        }
        Stop::Lsn { lsn, inclusive } => (Some(("recovery_target_lsn", lsn.to_string())), *inclusive),
        Stop::Xid { xid, inclusive } => (Some(("recovery_target_xid", xid.to_string())), *inclusive),
        Stop::Name { name } => (Some(("recovery_target_name", name.clone())), true),
    };
    let inclusive = if inclusive { "on" } else { "off" };
    settings.push(Setting::new("recovery_target_inclusive", inclusive));
    settings.push(Setting::new("recovery_target_action", action.name()));
    if action == Action::Pause {
        // Without it, pausing would be shutting down.
        settings.push(Setting::new("hot_standby", "on"));
    }
    let ours = target.as_ref().map(|(name, _)| *name);
    settings.extend(TARGETS.iter().filter(|name| Some(**name) != ours).map(|name| Setting::new(name, "")));
    settings.extend(target.map(|(name, value)| Setting::new(name, value)));
    settings
}

/// In UTC with its offset, in whole microseconds, which is what PostgreSQL keeps. What is finer is rounded so that the
/// same transactions are kept.
fn postgres_time(time: Timestamp, inclusive: bool) -> String {
    let finer = time.subsec_nanosecond().rem_euclid(1000) != 0;
    let microsecond = time.as_nanosecond().div_euclid(1000) + i128::from(finer && !inclusive);
    let whole = i64::try_from(microsecond).ok().and_then(|whole| Timestamp::from_microsecond(whole).ok());
    format!("{}+00", whole.unwrap_or(time).strftime("%Y-%m-%d %H:%M:%S.%6f"))
}

/// The new content of `postgresql.auto.conf`: what was there, without what acts on recovery or is set anew, then ours.
/// What was there is kept byte for byte; it need not be UTF-8.
pub fn edit_settings_file(before: &[u8], settings: &[Setting]) -> Result<Vec<u8>, QuotingError> {
    let is_displaced = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("recovery_target")
            || name == "restore_command"
            || CLEARED.iter().any(|(cleared, _)| *cleared == name)
            || settings.iter().any(|setting| setting.name == name)
    };
    let mut file = Vec::with_capacity(before.len() + 1024);
    for line in before.split_inclusive(|byte| *byte == b'\n') {
        if setting_name(line).is_some_and(is_displaced) {
            file.extend_from_slice(b"# before the restore: ");
        }
        file.extend_from_slice(line);
    }
    if before.last().is_some_and(|byte| *byte != b'\n') {
        file.push(b'\n');
    }
    file.extend_from_slice(b"\n# for the recovery of this copy, written by lifeboat\n");
    for Setting { name, value } in settings {
        file.extend_from_slice(format!("{name} = {}\n", configuration_string(value)?).as_bytes());
    }
    Ok(file)
}

/// The name that a line sets, if it sets one.
fn setting_name(line: &[u8]) -> Option<&str> {
    let line = line.trim_ascii_start();
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.$".contains(byte);
    let end = line.iter().position(|byte| !belongs(byte)).unwrap_or(line.len());
    std::str::from_utf8(&line[..end]).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::{Lsn, TimelineId};

    fn edit(before: &str, settings: &[Setting]) -> String {
        String::from_utf8(edit_settings_file(before.as_bytes(), settings).unwrap()).unwrap()
    }

    #[test]
    fn a_target_is_the_last_word() {
        let at = "2026-11-21T02:00:00.123456789Z".parse().unwrap();
        let stop = Stop::Time { time: at, inclusive: true };
        let number = TimelineSetting::Number(TimelineId(3));
        let settings = recovery_settings("fetch '%f' \"%p\"", &stop, number, Action::Pause, false);
        insta::assert_snapshot!(edit("", &settings), @r#"

        # for the recovery of this copy, written by lifeboat
        recovery_end_command = ''
        archive_cleanup_command = ''
        primary_conninfo = ''
        primary_slot_name = ''
        recovery_min_apply_delay = '0'
        archive_mode = 'off'
        synchronous_standby_names = ''
        restore_command = 'fetch ''%f'' "%p"'
        recovery_target_timeline = '3'
        recovery_target_inclusive = 'on'
        recovery_target_action = 'pause'
        hot_standby = 'on'
        recovery_target = ''
        recovery_target_xid = ''
        recovery_target_name = ''
        recovery_target_lsn = ''
        recovery_target_time = '2026-11-21 02:00:00.123456+00'
        "#);
    }

    #[test]
    fn every_kind_sets_its_own_target_last_and_all_others_to_nothing() {
        let time = "1999-12-31T23:59:59.9999999Z".parse().unwrap();
        for (stop, name, value, inclusive) in [
            (Stop::Consistent, "recovery_target", "immediate", "on"),
            (Stop::Lsn { lsn: Lsn(0x1_0000_00A0), inclusive: false }, "recovery_target_lsn", "1/A0", "off"),
            (Stop::Xid { xid: 4_000_000_000, inclusive: true }, "recovery_target_xid", "4000000000", "on"),
            (Stop::Name { name: "it's".into() }, "recovery_target_name", "it's", "on"),
            (Stop::Time { time, inclusive: false }, "recovery_target_time", "2000-01-01 00:00:00.000000+00", "off"),
        ] {
            let settings = recovery_settings("c", &stop, TimelineSetting::Current, Action::Promote, true);
            assert_eq!(settings.last(), Some(&Setting::new(name, value)));
            assert!(settings.contains(&Setting::new("recovery_target_inclusive", inclusive)), "{name}");
            let empty = settings.iter().filter(|s| TARGETS.contains(&s.name.as_str()) && s.value.is_empty());
            assert_eq!(empty.count(), TARGETS.len() - 1);
            let kept = ["archive_mode", "synchronous_standby_names"];
            assert!(!settings.iter().any(|setting| kept.contains(&setting.name.as_str())));
        }
        let latest = recovery_settings("c", &Stop::EndOfLog, TimelineSetting::Current, Action::Promote, true);
        assert_eq!(latest.iter().filter(|s| TARGETS.contains(&s.name.as_str())).count(), TARGETS.len());
        assert!(latest.iter().all(|s| !TARGETS.contains(&s.name.as_str()) || s.value.is_empty()));
    }

    #[test]
    fn what_acted_on_recovery_is_put_behind_a_comment_sign() {
        let before = "# Do not edit this file manually!\nwork_mem = '64MB'\nRecovery_Target_Time='2020-01-01'\n\
                      \trestore_command 'cp'\nprimary_conninfo = 'host=a'\narchive_mode = 'on'\n\
                      archive_command = 'push'\n#recovery_target = 'x'\nmy.recovery_target_name = 'y'";
        insta::assert_snapshot!(edit(before, &[]), @r"
        # Do not edit this file manually!
        work_mem = '64MB'
        # before the restore: Recovery_Target_Time='2020-01-01'
        # before the restore: 	restore_command 'cp'
        # before the restore: primary_conninfo = 'host=a'
        archive_mode = 'on'
        archive_command = 'push'
        #recovery_target = 'x'
        my.recovery_target_name = 'y'

        # for the recovery of this copy, written by lifeboat
        ");
        let off = [Setting::new("archive_mode", "off")];
        assert!(edit(before, &off).contains("# before the restore: archive_mode = 'on'"));
        let latin = edit_settings_file(b"search_path = '\xe9'", &[]).unwrap();
        assert!(latin.starts_with(b"search_path = '\xe9'\n"));
    }
}
