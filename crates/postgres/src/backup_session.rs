//! One online backup, from its start to its stop, in one session.
//!
//! PostgreSQL ties a non-exclusive backup to the session that began it: when the session ends, for whatever reason,
//! the server leaves backup mode by itself. So nothing can be left behind, and a backup whose session was lost is
//! worth nothing: [`BackupSession::stop`] then fails, and must, before anybody calls the backup done.
//!
//! An advisory lock, in the same session, keeps two backups of a workload apart, from whatever host they come. Such
//! locks belong to a database: both must connect to the same one, and they do when both use the same configuration.
//!
//! Not here: copying files, waiting for WAL. Protocol: "Continuous Archiving", section "Making a Base Backup Using
//! the Low Level API".

use crate::connection::{Error, ErrorKind, Result};
use crate::{Lsn, MajorVersion, TimelineId};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::{Client, Row};

/// The first half of the advisory lock's key: "LIFE". The second half is a checksum of the workload's name.
const LOCK_CLASS: i32 = 0x4C49_4645;
/// How long a session that has ended may keep its lock, and how often we ask.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// A backup label may be as long as a path (`MAXPGPATH`).
const LABEL_BYTES_MAX: usize = 1024;

/// What is about to be backed up, and how.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Backups of the same workload exclude each other.
    pub workload: &'a str,
    /// Stands in the backup label; 1 to 1024 bytes on one line.
    pub label: &'a str,
    /// Write the checkpoint at once; otherwise it is spread, and starting takes minutes.
    pub fast_checkpoint: bool,
}

/// Where the backup begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStart {
    /// WAL is needed from here on.
    pub start_lsn: Lsn,
    pub timeline: TimelineId,
    /// The server's clock.
    pub started_at: Timestamp,
    /// The server is a standby: `pg_control` must be copied last.
    pub on_standby: bool,
}

/// Where it ends, and the two files that belong into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupStop {
    /// The copy is consistent when WAL up to here has been replayed.
    pub stop_lsn: Lsn,
    /// The content of `backup_label`, byte for byte.
    pub backup_label: Vec<u8>,
    /// The content of `tablespace_map`, byte for byte; `None` when there is no such file.
    pub tablespace_map: Option<Vec<u8>>,
    /// The server's clock.
    pub stopped_at: Timestamp,
    /// Every transaction that had ended by then is in the log before `stop_lsn`. Earlier than `stopped_at`: what ends while
    /// the server answers is behind `stop_lsn`, and on a standby the primary is ahead.
    pub complete_to: Timestamp,
}

/// Up to when all transactions have reached this server's log: on a primary its clock; on a standby the end of the last
/// transaction that was replayed, or else the primary's clock at the last checkpoint that came from there.
const COMPLETE_TO: &str = "(extract(epoch from case when pg_is_in_recovery() \
    then coalesce(pg_last_xact_replay_timestamp(), (select checkpoint_time from pg_control_checkpoint())) \
    else clock_timestamp() end) * 1000000)::int8 as complete_to";

/// A server in backup mode. Dropping it ends the session, and with it backup mode and lock.
#[derive(Debug)]
pub struct BackupSession {
    client: Client,
    major: MajorVersion,
    start: BackupStart,
    recovery_timeline: i32,
    /// Each database with its tablespace, by number, as it was before.
    databases: BTreeMap<u32, u32>,
}

impl BackupSession {
    /// Takes the workload's lock and puts the server into backup mode. Takes as long as a checkpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another backup of the workload runs: says whose. [`ErrorKind::Denied`] without
    /// privileges: see [`crate::inspection::role_statements`].
    pub async fn start(client: Client, request: &Request<'_>) -> Result<Self> {
        let label_is_good = (1..=LABEL_BYTES_MAX).contains(&request.label.len())
            && !request.label.chars().any(|character| character.is_control());
        if !label_is_good {
            return Err(Error::new(ErrorKind::Invalid, "start backup", "the label isn't one line of 1 to 1024 bytes"));
        }
        let major = major_version(&client).await?;
        prepare(&client).await?;
        take_lock(&client, request.workload).await?;

        let databases = databases(&client).await?;
        let call = match major {
            MajorVersion::V14 => "pg_start_backup($1, $2, false)",
            _ => "pg_backup_start($1, $2)",
        };
        let failed = |error| Error::from_driver("start backup", error);
        let row = client
            .query_one(&format!("select {call}::text as lsn"), &[&request.label, &request.fast_checkpoint])
            .await
            .map_err(|error| with_grants(failed(error), major))?;
        let start_lsn = lsn(&row, "lsn")?;
        let state = State::of(&client).await?;
        let start = BackupStart {
            start_lsn,
            timeline: TimelineId(state.checkpoint_timeline.cast_unsigned()),
            started_at: state.now,
            on_standby: state.in_recovery,
        };
        Ok(Self { client, major, start, recovery_timeline: state.recovery_timeline, databases })
    }

    /// Where it began.
    pub fn started(&self) -> &BackupStart {
        &self.start
    }

    /// The session itself, for questions in between. Nothing may be changed with it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks whether the session still lives and the server is what it was. Cheap: call it now and then during a long
    /// copy, so that a lost session is noticed early.
    ///
    /// # Errors
    /// [`ErrorKind::Lost`], or [`ErrorKind::Changed`] when a standby was promoted or follows another timeline.
    pub async fn check(&self) -> Result<()> {
        self.state().await.map(|_| ())
    }

    async fn state(&self) -> Result<State> {
        let state = State::of(&self.client).await?;
        if state.in_recovery != self.start.on_standby {
            return Err(changed("the standby was promoted"));
        }
        if state.in_recovery && state.recovery_timeline != self.recovery_timeline {
            return Err(changed("the standby has changed to another timeline"));
        }
        Ok(state)
    }

    /// Ends backup mode, and returns what must be stored with the files. Doesn't wait for WAL to be archived.
    ///
    /// # Errors
    /// As [`BackupSession::check`]. After any error the files that were copied are worth nothing.
    pub async fn stop(self) -> Result<BackupStop> {
        let complete_to = self.state().await?.complete_to;
        let call = match self.major {
            MajorVersion::V14 => "pg_stop_backup(false, false)",
            _ => "pg_backup_stop(false)",
        };
        // In the database's own encoding the bytes are those that the server itself would write.
        let query = format!(
            "select lsn::text as lsn, convert_to(labelfile, getdatabaseencoding()) as label, \
             convert_to(spcmapfile, getdatabaseencoding()) as map, \
             (extract(epoch from clock_timestamp()) * 1000000)::int8 as now from {call}"
        );
        let row = self.client.query_one(&query, &[]).await.map_err(|error| {
            let error = Error::from_driver("stop backup", error);
            if error.to_string().contains("promoted") { changed("the standby was promoted") } else { error }
        })?;
        let map: Option<Vec<u8>> = column(&row, "map")?;
        let stop = BackupStop {
            stop_lsn: lsn(&row, "lsn")?,
            backup_label: column(&row, "label")?,
            tablespace_map: map.filter(|bytes| !bytes.is_empty()),
            stopped_at: timestamp(&row, "now")?,
            complete_to,
        };
        if stop.stop_lsn < self.start.start_lsn || stop.backup_label.is_empty() {
            return Err(Error::new(ErrorKind::Protocol, "stop backup", "the server's answer contradicts itself"));
        }
        self.check_databases().await?;
        Ok(stop)
    }

    /// A database that is copied file by file leaves no trace of its content in the log: replay repeats the copy, from what
    /// the backup has of the source. When the source was gone before it was read, the copy comes back empty.
    async fn check_databases(&self) -> Result<()> {
        let now = databases(&self.client).await?;
        let is_moved = |(oid, space): (&u32, &u32)| now.get(oid).is_some_and(|current| current != space);
        let is_gone = self.databases.keys().any(|oid| !now.contains_key(oid));
        let is_new = now.keys().any(|oid| !self.databases.contains_key(oid));
        if self.databases.iter().any(is_moved) || (is_gone && is_new) {
            return Err(changed("a database was moved, or one was made and another dropped"));
        }
        Ok(())
    }
}

/// What of the server must not change during a backup.
struct State {
    in_recovery: bool,
    checkpoint_timeline: i32,
    /// On a standby the timeline that it follows; 0 on a primary.
    recovery_timeline: i32,
    now: Timestamp,
    complete_to: Timestamp,
}

impl State {
    async fn of(client: &Client) -> Result<Self> {
        let query = format!(
            "select pg_is_in_recovery() as recovery, c.timeline_id as timeline, r.min_recovery_end_timeline as followed, \
             (extract(epoch from clock_timestamp()) * 1000000)::int8 as now, {COMPLETE_TO} \
             from pg_control_checkpoint() c, pg_control_recovery() r"
        );
        let row = client
            .query_one(&query, &[])
            .await
            .map_err(|error| Error::from_driver("look at the backup's session", error))?;
        let (checkpoint, followed): (i32, i32) = (column(&row, "timeline")?, column(&row, "followed")?);
        let in_recovery = column(&row, "recovery")?;
        let recovery_timeline = if in_recovery { checkpoint.max(followed) } else { 0 };
        let (now, complete_to) = (timestamp(&row, "now")?, timestamp(&row, "complete_to")?);
        Ok(Self { in_recovery, checkpoint_timeline: checkpoint, recovery_timeline, now, complete_to })
    }
}

async fn databases(client: &Client) -> Result<BTreeMap<u32, u32>> {
    let rows = client.query("select oid, dattablespace from pg_catalog.pg_database", &[]).await;
    let rows = rows.map_err(|error| Error::from_driver("list databases", error))?;
    rows.iter().map(|row| Ok((column(row, "oid")?, column(row, "dattablespace")?))).collect()
}

fn changed(why: &str) -> Error {
    Error::new(ErrorKind::Changed, "back up", why).with_hint("start the backup again")
}

async fn major_version(client: &Client) -> Result<MajorVersion> {
    let action = "ask for the server's version";
    let row = client
        .query_one("select current_setting('server_version_num')::int4 as version", &[])
        .await
        .map_err(|error| Error::from_driver(action, error))?;
    let number: i32 = column(&row, "version")?;
    MajorVersion::from_server_version_num(number.cast_unsigned())
        .map_err(|error| Error::new(ErrorKind::Invalid, action, error.to_string()))
}

/// A session that holds a workload's lock, for a backup that the server runs by itself: the lock that
/// [`BackupSession::start`] takes too. Dropping it lets go.
#[derive(Debug)]
pub struct LockedSession {
    client: Client,
}

impl LockedSession {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another backup of the workload runs: says whose.
    pub async fn take(client: Client, workload: &str) -> Result<Self> {
        prepare(&client).await?;
        take_lock(&client, workload).await?;
        Ok(Self { client })
    }

    /// The server's clock, and up to when all transactions have reached its log (see [`BackupStop::complete_to`]).
    ///
    /// # Errors
    /// [`ErrorKind::Lost`] when the session has ended: then the lock is gone too.
    pub async fn now(&self) -> Result<(Timestamp, Timestamp)> {
        let action = "ask for the server's time";
        let query = format!("select (extract(epoch from clock_timestamp()) * 1000000)::int8 as now, {COMPLETE_TO}");
        let row = self.client.query_one(&query, &[]).await.map_err(|error| Error::from_driver(action, error))?;
        Ok((timestamp(&row, "now")?, timestamp(&row, "complete_to")?))
    }
}

/// The session must outlive every limit that an administrator has set for idle ones.
async fn prepare(client: &Client) -> Result<()> {
    let limits = "set idle_session_timeout = 0; set idle_in_transaction_session_timeout = 0; \
                  set statement_timeout = 0; set lock_timeout = 0; set client_min_messages = warning";
    client.batch_execute(limits).await.map_err(|error| Error::from_driver("prepare session", error))
}

async fn take_lock(client: &Client, workload: &str) -> Result<()> {
    let name = crc32c::crc32c(workload.as_bytes()).cast_signed();
    let action = format!("lock workload {workload}");
    let failed = |error| Error::from_driver(action.clone(), error);
    // The server lets go of a session's lock a moment after its client has gone.
    let deadline = tokio::time::Instant::now() + LOCK_PATIENCE;
    loop {
        let ask = "select pg_try_advisory_lock($1, $2)";
        let taken = client.query_one(ask, &[&LOCK_CLASS, &name]).await.map_err(failed)?;
        if taken.try_get(0).map_err(failed)? {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            break;
        }
        tokio::time::sleep(LOCK_POLL_INTERVAL).await;
    }
    let query = "select l.pid, coalesce(nullif(a.application_name, ''), 'an unnamed program') as program, \
                 coalesce(host(a.client_addr), 'this host') as address \
                 from pg_locks l join pg_database d on d.oid = l.database left join pg_stat_activity a on a.pid = l.pid \
                 where l.locktype = 'advisory' and l.granted and d.datname = current_database() and l.objsubid = 2 \
                 and l.classid = $1::int4::oid and l.objid = $2::int4::oid";
    let holder = client.query_opt(query, &[&LOCK_CLASS, &name]).await.map_err(failed)?;
    let why = match holder {
        None => "another backup of it has just ended".to_owned(),
        Some(row) => format!(
            "another backup of it runs: {} from {}, server process {}",
            column::<String>(&row, "program")?,
            column::<String>(&row, "address")?,
            column::<i32>(&row, "pid")?
        ),
    };
    Err(Error::new(ErrorKind::Busy, action, why).with_hint("wait for it to end"))
}

fn with_grants(error: Error, major: MajorVersion) -> Error {
    if error.kind() != ErrorKind::Denied {
        return error;
    }
    error.with_hint(crate::inspection::role_statements(major, "lifeboat").join(" "))
}

fn column<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, name: &str) -> Result<T> {
    row.try_get(name).map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("read column {name}"), "unexpected type or value").with_source(error)
    })
}

fn lsn(row: &Row, name: &str) -> Result<Lsn> {
    let text: &str = column(row, name)?;
    text.parse().map_err(|error| {
        Error::new(ErrorKind::Protocol, format!("read column {name}"), "no WAL position").with_source(error)
    })
}

fn timestamp(row: &Row, name: &str) -> Result<Timestamp> {
    Timestamp::from_microsecond(column(row, name)?)
        .map_err(|error| Error::new(ErrorKind::Protocol, "read the server's clock", "out of range").with_source(error))
}
