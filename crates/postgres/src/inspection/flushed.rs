//! Up to where a server has made its log durable: everything that it acknowledged ends before.

use super::observation::{column, lsn, one};
use crate::connection::Result;
use crate::{Lsn, SystemId, TimelineId};
use jiff::Timestamp;
use tokio_postgres::Client;

/// A server at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushedState {
    pub system_id: SystemId,
    /// What it is writing, and up to where it is on its disk. `None` in recovery: then it has no end of its own.
    pub flushed: Option<(TimelineId, Lsn)>,
    /// Its clock, by which transactions are dated.
    pub now: Option<Timestamp>,
}

/// Asks once, and changes nothing.
///
/// # Errors
/// As [`super::observe`].
pub async fn observe_flushed(client: &Client) -> Result<FlushedState> {
    let query = "select s.system_identifier as system_id, \
        case when not pg_is_in_recovery() then pg_current_wal_flush_lsn() end::text as lsn, \
        case when not pg_is_in_recovery() \
        then ('x' || left(pg_walfile_name(pg_current_wal_flush_lsn()), 8))::bit(32)::int4 end as timeline, \
        (extract(epoch from clock_timestamp()) * 1000000)::int8 as now from pg_control_system() s";
    let row = one(client, query).await?;
    let timeline = column::<Option<i32>>(&row, "timeline")?.map(|timeline| TimelineId(timeline.cast_unsigned()));
    Ok(FlushedState {
        system_id: SystemId(column::<i64>(&row, "system_id")?.cast_unsigned()),
        flushed: timeline.zip(lsn(&row, "lsn")?),
        now: Timestamp::from_microsecond(column(&row, "now")?).ok(),
    })
}
