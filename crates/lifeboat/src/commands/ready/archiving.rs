//! How the log leaves a server: by archive_command, or because somebody receives it.

use crate::commands::wal::slot_of;
use crate::config::WorkloadConfig;
use crate::failure::Failure;
use crate::output::human;
use lifeboat_plan::readiness::observed::Archiving;
use lifeboat_postgres::connection::{Client, Error};
use lifeboat_postgres::inspection::ServerFacts;
use std::time::Duration;

/// Ages are by the server's own clock.
pub const QUERY: &str = "select last_archived_wal, extract(epoch from clock_timestamp() - last_archived_time)::float8, \
    last_failed_wal, failed_count, coalesce(last_failed_time > coalesce(last_archived_time, '-infinity'), false), \
    (select setting::float8 from pg_settings where name = 'archive_timeout') from pg_stat_archiver";

/// Of the one who receives it on this slot.
const RECEIVER: &str = "select case when r.flush_lsn >= pg_current_wal_flush_lsn() then 0 else \
    coalesce(extract(epoch from r.flush_lag), extract(epoch from clock_timestamp() - r.reply_time)) end::float8 \
    from pg_stat_replication r join pg_replication_slots s on s.active_pid = r.pid where s.slot_name = $1";

/// Segments that wait to be archived. Needs pg_monitor; who may not ask knows less.
const WAITING: &str = "select count(*) from pg_ls_archive_statusdir() where name like '%.ready'";

/// Asks.
pub async fn look(
    client: &Client,
    facts: &ServerFacts,
    section: &WorkloadConfig,
    name: &str,
) -> Result<Archiving, Failure> {
    let failed = |error| Failure::from(Error::from_driver("ask how the log leaves", error));
    let slot = slot_of(name, section);
    let received = match facts.in_recovery {
        true => None,
        false => client.query_opt(RECEIVER, &[&slot]).await.map_err(failed)?,
    };
    if let Some(row) = received {
        let age: Option<f64> = row.get(0);
        let told = match age {
            Some(age) => format!("`wal receive` has what was written {} ago", spoken(age)),
            None => "how late the receiver is can't be seen by this role".to_owned(),
        };
        return Ok(Archiving {
            way: "wal receive".into(),
            age_seconds: age.map(|age| age.max(0.0)),
            told,
            failures: 0,
            failed: None,
        });
    }
    let row = client.query_one(QUERY, &[]).await.map_err(failed)?;
    let waiting = client.query_one(WAITING, &[]).await.ok().map(|row| row.get::<_, i64>(0));
    Ok(archived(&Archiver {
        mode: facts.archive_mode.clone(),
        last: row.get(0),
        age_seconds: row.get(1),
        failed: row.get(2),
        failures: row.get(3),
        is_failing: row.get(4),
        timeout_seconds: row.get(5),
        waiting,
    }))
}

/// What the server says of its archiver.
struct Archiver {
    mode: String,
    last: Option<String>,
    age_seconds: Option<f64>,
    failed: Option<String>,
    failures: i64,
    is_failing: bool,
    timeout_seconds: Option<f64>,
    waiting: Option<i64>,
}

/// What hasn't left is as old as the last segment that did; but where `archive_timeout` is set and no segment waits, a server that wrote
/// something has closed its segment since: then only an idle one has an old last segment.
fn archived(seen: &Archiver) -> Archiving {
    let timeout = seen.timeout_seconds.filter(|timeout| *timeout > 0.0);
    let bounded = match (seen.age_seconds, timeout, seen.waiting) {
        (Some(age), Some(timeout), Some(0)) if !seen.is_failing => Some(age.min(timeout)),
        (age, _, _) => age,
    };
    let last = seen.last.clone().unwrap_or_default();
    let told = match (seen.age_seconds, bounded) {
        _ if seen.mode == "off" => "archive_mode is off, and nobody receives the log".to_owned(),
        (None, _) => "no segment was archived yet".to_owned(),
        (Some(age), Some(least)) if least < age => format!(
            "{last} was archived {} ago, and nothing waits: what was written since is younger than archive_timeout ({})",
            spoken(age),
            spoken(least)
        ),
        (Some(age), _) => format!("{last} was archived {} ago", spoken(age)),
    };
    Archiving {
        way: "archive_command".into(),
        age_seconds: bounded.filter(|_| seen.mode != "off").map(|age| age.max(0.0)),
        told,
        failures: if seen.is_failing { u64::try_from(seen.failures).unwrap_or_default().max(1) } else { 0 },
        failed: seen.failed.clone().filter(|_| seen.is_failing),
    }
}

fn spoken(seconds: f64) -> String {
    human::duration(Duration::from_secs_f64(seconds.clamp(0.0, 1e9)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_old_what_has_not_left_may_be() {
        // Mode, age of the last segment, archive_timeout, segments that wait, whether it fails; the age that counts.
        for (mode, age, timeout, waiting, is_failing, expected) in [
            ("on", Some(900.0), 60.0, Some(0), false, Some(60.0)),
            ("on", Some(30.0), 60.0, Some(0), false, Some(30.0)),
            ("on", Some(900.0), 60.0, Some(1), false, Some(900.0)),
            ("on", Some(900.0), 60.0, Some(0), true, Some(900.0)),
            ("on", Some(900.0), 60.0, None, false, Some(900.0)),
            ("on", Some(900.0), 0.0, Some(0), false, Some(900.0)),
            ("on", None, 60.0, Some(0), false, None),
            ("off", Some(10.0), 60.0, Some(0), false, None),
        ] {
            let seen = Archiver {
                mode: mode.into(),
                last: Some("A".into()),
                age_seconds: age,
                failed: Some("B".into()),
                failures: 7,
                is_failing,
                timeout_seconds: Some(timeout),
                waiting,
            };
            let found = archived(&seen);
            assert_eq!(found.age_seconds, expected, "{mode} {age:?} {timeout} {waiting:?} {is_failing}");
            assert_eq!(found.failures, if is_failing { 7 } else { 0 });
            assert_eq!(found.failed.is_some(), is_failing);
        }
    }
}
