//! Who follows a server, how closely, and what its replication slots keep.
//!
//! [`observe`] asks and has no opinion; [`findings`] and [`loss`] judge, purely. What a role may not see is `None`, and that is a finding of
//! its own. A lag in seconds that the server leaves empty means that nothing was written lately: it is no lag of nought.
//!
//! Not here: making a standby. What that needs to know of the server it will follow is in [`upstream`].

mod judgement;
pub mod upstream;

pub use judgement::{Finding, Loss, Severity, findings, loss};

use crate::Lsn;
use crate::connection::{Client, Error, ErrorKind, Result};
use crate::inspection::{column, lsn, many, one};
use serde::Serialize;
use std::time::Duration;

/// A server and those who follow it, at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StandbyFacts {
    /// It is a standby itself.
    pub in_recovery: bool,
    /// The end of its log; on a standby, of what it has received.
    pub end: Lsn,
    /// `synchronous_commit`, as a new session of ours gets it.
    pub synchronous_commit: String,
    /// `synchronous_standby_names`, as it is written.
    pub synchronous_standby_names: String,
    /// `max_slot_wal_keep_size`; `None`: nothing bounds what a slot keeps.
    pub slots_keep_at_most_bytes: Option<u64>,
    pub senders: Vec<Sender>,
    pub slots: Vec<Slot>,
}

/// Somebody who receives the log.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sender {
    /// Its `application_name`.
    pub name: String,
    pub address: Option<String>,
    /// `startup`, `catchup`, `streaming`, `backup`, `stopping`; `None`: we may not see it.
    pub state: Option<String>,
    /// `sync`, `quorum`, `potential`, `async`.
    pub sync_state: Option<String>,
    pub sent: Option<Lsn>,
    pub flushed: Option<Lsn>,
    /// A receiver that only keeps log has none.
    pub replayed: Option<Lsn>,
    /// Between a write here and its being written, flushed, replayed there. `None`: nothing was written lately.
    pub write_lag_seconds: Option<f64>,
    pub flush_lag_seconds: Option<f64>,
    pub replay_lag_seconds: Option<f64>,
    /// The slot that it uses.
    pub slot: Option<String>,
}

/// A replication slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Slot {
    pub name: String,
    pub is_physical: bool,
    pub is_active: bool,
    /// It goes with the session that made it.
    pub is_temporary: bool,
    /// Log is kept from here on.
    pub restart_lsn: Option<Lsn>,
    /// How much log that is.
    pub keeps_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved`, `lost`; `None` when it keeps nothing.
    pub wal_status: Option<String>,
    /// How much may be written until it may be lost; negative: it is over. `None`: nothing bounds it.
    pub safe_bytes: Option<i64>,
    /// Why the server gave it up. Since 17.
    pub invalidation_reason: Option<String>,
}

impl Sender {
    /// It can take over: it replays what it receives.
    pub fn is_standby(&self) -> bool {
        self.replayed.is_some()
    }

    /// It receives the log as it is written, or will soon.
    pub fn follows(&self) -> bool {
        matches!(self.state.as_deref(), Some("streaming" | "catchup"))
    }
}

/// Asks the server.
///
/// # Errors
/// As every query: the session may end meanwhile.
pub async fn observe(client: &Client) -> Result<StandbyFacts> {
    // The end first: who has more by the time he is asked isn't behind.
    let state = "select pg_is_in_recovery() as recovery, case when pg_is_in_recovery() \
        then greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) else pg_current_wal_lsn() end::text as lsn, \
        current_setting('synchronous_commit') as commit, current_setting('synchronous_standby_names') as names, \
        (select setting::int8 from pg_settings where name = 'max_slot_wal_keep_size') as keep";
    let row = one(client, state).await?;
    let end = lsn(&row, "lsn")?.unwrap_or(Lsn(0));
    // In units of a mebibyte; -1 is no bound.
    let keep: Option<i64> = column(&row, "keep")?;
    Ok(StandbyFacts {
        in_recovery: column(&row, "recovery")?,
        end,
        synchronous_commit: column(&row, "commit")?,
        synchronous_standby_names: column(&row, "names")?,
        slots_keep_at_most_bytes: keep.and_then(|keep| u64::try_from(keep).ok()).map(|keep| keep << 20),
        senders: senders(client).await?,
        slots: slots(client, end).await?,
    })
}

async fn senders(client: &Client) -> Result<Vec<Sender>> {
    let query = "select coalesce(r.application_name, '') as name, host(r.client_addr) as address, r.state, r.sync_state, \
        r.sent_lsn::text as sent, r.flush_lsn::text as flushed, r.replay_lsn::text as replayed, \
        extract(epoch from r.write_lag)::float8 as write_lag, extract(epoch from r.flush_lag)::float8 as flush_lag, \
        extract(epoch from r.replay_lag)::float8 as replay_lag, s.slot_name::text as slot \
        from pg_stat_replication r left join pg_replication_slots s on s.active_pid = r.pid order by 1, r.pid limit 1000";
    let sender = |row: &tokio_postgres::Row| {
        Ok(Sender {
            name: column(row, "name")?,
            address: column(row, "address")?,
            state: column(row, "state")?,
            sync_state: column(row, "sync_state")?,
            sent: lsn(row, "sent")?,
            flushed: lsn(row, "flushed")?,
            replayed: lsn(row, "replayed")?,
            write_lag_seconds: column(row, "write_lag")?,
            flush_lag_seconds: column(row, "flush_lag")?,
            replay_lag_seconds: column(row, "replay_lag")?,
            slot: column(row, "slot")?,
        })
    };
    many(client, query).await?.iter().map(sender).collect()
}

async fn slots(client: &Client, end: Lsn) -> Result<Vec<Slot>> {
    // By way of JSON: the column is there since 17.
    let query = "select slot_name::text as name, slot_type = 'physical' as physical, active, temporary, \
        restart_lsn::text as restart, wal_status, safe_wal_size, to_jsonb(s) ->> 'invalidation_reason' as reason \
        from pg_replication_slots s order by 1 limit 10000";
    let slot = |row: &tokio_postgres::Row| {
        let restart_lsn = lsn(row, "restart")?;
        Ok(Slot {
            name: column(row, "name")?,
            is_physical: column(row, "physical")?,
            is_active: column(row, "active")?,
            is_temporary: column(row, "temporary")?,
            restart_lsn,
            keeps_bytes: restart_lsn.map(|restart| end.0.saturating_sub(restart.0)),
            wal_status: column(row, "wal_status")?,
            safe_bytes: column(row, "safe_wal_size")?,
            invalidation_reason: column(row, "reason")?,
        })
    };
    many(client, query).await?.iter().map(slot).collect()
}

/// What a standby says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Receiving {
    /// `streaming` when it receives; `None`: it has no receiver.
    pub status: Option<String>,
    pub received: Option<Lsn>,
    pub replayed: Option<Lsn>,
}

/// Asks a standby how far it is.
///
/// # Errors
/// As [`observe`].
pub async fn receiving(client: &Client) -> Result<Receiving> {
    let query = "select (select status from pg_stat_wal_receiver) as status, pg_last_wal_receive_lsn()::text as received, \
        pg_last_wal_replay_lsn()::text as replayed";
    let row = one(client, query).await?;
    Ok(Receiving {
        status: column(&row, "status")?,
        received: lsn(&row, "received")?,
        replayed: lsn(&row, "replayed")?,
    })
}

/// As [`observe`], when the server doesn't answer within `patience`.
///
/// # Errors
/// [`ErrorKind::Unreachable`] then; as [`observe`] otherwise.
pub async fn observe_within(client: &Client, patience: Duration) -> Result<StandbyFacts> {
    tokio::time::timeout(patience, observe(client)).await.unwrap_or_else(|_| {
        let why = format!("the server doesn't answer within {} s", patience.as_secs());
        Err(Error::new(ErrorKind::Unreachable, "ask who follows", why))
    })
}
