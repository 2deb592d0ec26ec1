//! How far a standby is behind its primary, and what only the primary can say or do.
//!
//! The time of the last transaction that a standby replayed says little by itself: on an idle primary it grows old
//! while nothing is missing. So two things are compared: where the primary's log ended at a moment, and whether the
//! standby has replayed that much.

use super::observation::{column, lsn, one};
use crate::connection::Result;
use crate::{Lsn, SystemId};
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::Client;

/// A primary at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrimaryState {
    pub system_id: SystemId,
    /// It is no primary.
    pub in_recovery: bool,
    /// The end of its log.
    pub position: Option<Lsn>,
    pub full_page_writes: bool,
    pub may_switch_wal: bool,
    /// Who we are there.
    pub role: String,
    /// Its clock, by which transactions are dated.
    pub now: Option<Timestamp>,
}

/// A standby at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayState {
    pub system_id: SystemId,
    /// `false`: it has been promoted, or never was a standby.
    pub in_recovery: bool,
    /// Everything before is replayed.
    pub replayed: Option<Lsn>,
    /// When the last transaction that it replayed was committed, by the primary's clock.
    pub last_commit: Option<Timestamp>,
    /// Somebody has told it to stop replaying.
    pub is_paused: bool,
}

/// What follows from a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lag {
    /// No more than is allowed.
    Within,
    /// It isn't there yet; looking again may tell more. `at_most` is an upper bound, where one is known.
    Behind { at_most: Option<Duration> },
}

/// Compares a standby with where its primary was **before** the standby was asked. Pure.
pub fn lag(primary: &PrimaryState, standby: &ReplayState, allowed: Duration) -> Lag {
    if let (Some(position), Some(replayed)) = (primary.position, standby.replayed)
        && replayed >= position
    {
        return Lag::Within;
    }
    // Everything committed up to then is there: what is missing can't be older.
    let at_most = primary
        .now
        .zip(standby.last_commit)
        .map(|(now, commit)| Duration::try_from(now.duration_since(commit)).unwrap_or(Duration::ZERO));
    if at_most.is_some_and(|at_most| at_most <= allowed) { Lag::Within } else { Lag::Behind { at_most } }
}

/// Asks a primary.
///
/// # Errors
/// As [`super::observe`].
pub async fn observe_primary(client: &Client) -> Result<PrimaryState> {
    let query = "select s.system_identifier as system_id, pg_is_in_recovery() as recovery, \
        case when not pg_is_in_recovery() then pg_current_wal_lsn() end::text as lsn, \
        current_setting('full_page_writes') = 'on' as pages, current_user::text as role, \
        has_function_privilege('pg_catalog.pg_switch_wal()', 'execute') as switch, \
        (extract(epoch from clock_timestamp()) * 1000000)::int8 as now from pg_control_system() s";
    let row = one(client, query).await?;
    Ok(PrimaryState {
        system_id: SystemId(column::<i64>(&row, "system_id")?.cast_unsigned()),
        in_recovery: column(&row, "recovery")?,
        position: lsn(&row, "lsn")?,
        full_page_writes: column(&row, "pages")?,
        may_switch_wal: column(&row, "switch")?,
        role: column(&row, "role")?,
        now: Timestamp::from_microsecond(column(&row, "now")?).ok(),
    })
}

/// Asks a standby, or what was one.
///
/// # Errors
/// As [`super::observe`].
pub async fn observe_replay(client: &Client) -> Result<ReplayState> {
    let query = "select s.system_identifier as system_id, pg_is_in_recovery() as recovery, \
        pg_last_wal_replay_lsn()::text as lsn, \
        case when pg_is_in_recovery() then pg_is_wal_replay_paused() else false end as paused, \
        (extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::int8 as commit from pg_control_system() s";
    let row = one(client, query).await?;
    Ok(ReplayState {
        system_id: SystemId(column::<i64>(&row, "system_id")?.cast_unsigned()),
        in_recovery: column(&row, "recovery")?,
        replayed: lsn(&row, "lsn")?,
        last_commit: column::<Option<i64>>(&row, "commit")?.and_then(|at| Timestamp::from_microsecond(at).ok()),
        is_paused: column(&row, "paused")?,
    })
}

/// Closes the segment that a primary writes, so that it gets archived. Where nothing was written since the last one was
/// closed, nothing happens.
///
/// # Errors
/// [`crate::connection::ErrorKind::Denied`] without the privilege on `pg_switch_wal`.
pub async fn close_segment(client: &Client) -> Result<()> {
    one(client, "select pg_switch_wal()::text as lsn").await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_primary_makes_no_lag_and_a_standby_that_stopped_does() {
        let at = |seconds: i64| Timestamp::from_second(seconds).ok();
        let primary = |position| PrimaryState {
            system_id: SystemId(1),
            in_recovery: false,
            position: Some(Lsn(position)),
            full_page_writes: true,
            may_switch_wal: true,
            role: "lifeboat".into(),
            now: at(10_000),
        };
        let standby = |replayed, commit: Option<i64>| ReplayState {
            system_id: SystemId(1),
            in_recovery: true,
            replayed: Some(Lsn(replayed)),
            last_commit: commit.and_then(at),
            is_paused: false,
        };
        let allowed = Duration::from_secs(300);
        let old = Lag::Behind { at_most: Some(Duration::from_secs(9_000)) };
        for (position, replayed, commit, expected) in [
            (100, 100, Some(1_000), Lag::Within),
            (100, 200, None, Lag::Within),
            (100, 99, Some(9_800), Lag::Within),
            (100, 99, Some(1_000), old),
            (100, 99, None, Lag::Behind { at_most: None }),
            // Clocks may differ by a little.
            (100, 99, Some(10_001), Lag::Within),
        ] {
            assert_eq!(lag(&primary(position), &standby(replayed, commit), allowed), expected, "{replayed} {commit:?}");
        }
    }
}
