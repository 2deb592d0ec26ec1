//! Asks a server what it is. Every question is one that an unprivileged role may ask; what it may not see is `None`.

use super::{ArchiverFacts, RoleFacts, ServerFacts, SlotFacts, Tablespace};
use crate::connection::{Error, ErrorKind, Result};
use crate::{Lsn, SystemId, TimelineId};
use jiff::Timestamp;
use std::collections::HashMap;
use tokio_postgres::types::FromSql;
use tokio_postgres::{Client, Row};

/// More tablespaces or slots than this aren't read: nobody has them, and the answer comes from outside.
const ROWS_MAX: &str = "limit 10000";

/// Asks the server that `client` is connected to.
///
/// # Errors
/// [`ErrorKind::Lost`] when the session ends meanwhile; [`ErrorKind::Protocol`] for an answer that makes no sense.
pub async fn observe(client: &Client) -> Result<ServerFacts> {
    let settings = settings(client).await?;
    let text = |name: &str| settings.get(name).cloned().unwrap_or_default();
    let path = |name: &str| settings.get(name).map(Into::into);
    let version_number = number(&settings, "server_version_num")?;
    let state = one(client, STATE).await?;
    let in_recovery = column(&state, "recovery")?;
    Ok(ServerFacts {
        version_number,
        system_id: SystemId(column::<i64>(&state, "system_id")?.cast_unsigned()),
        data_directory: path("data_directory"),
        config_file: path("config_file"),
        hba_file: path("hba_file"),
        ident_file: path("ident_file"),
        in_recovery,
        timeline: TimelineId(column::<i32>(&state, "timeline")?.cast_unsigned()),
        current_lsn: lsn(&state, "lsn")?,
        wal_level: text("wal_level"),
        archive_mode: text("archive_mode"),
        archive_command: text("archive_command"),
        archive_library: text("archive_library"),
        wal_segment_size_bytes: number(&settings, "wal_segment_size")?.into(),
        block_size_bytes: number(&settings, "block_size")?,
        data_checksums: text("data_checksums") == "on",
        full_page_writes: text("full_page_writes") == "on",
        max_wal_senders: number(&settings, "max_wal_senders")?,
        max_replication_slots: number(&settings, "max_replication_slots")?,
        tablespaces: tablespaces(client).await?,
        role: role(client, version_number).await?,
        slots: slots(client).await?,
        archiver: if in_recovery && text("archive_mode") != "always" { None } else { Some(archiver(client).await?) },
    })
}

/// On a primary the timeline is that of the WAL file being written: `pg_control` may lag behind a promotion.
const STATE: &str = "select pg_is_in_recovery() as recovery, s.system_identifier as system_id, \
    case when pg_is_in_recovery() then greatest(c.timeline_id, r.min_recovery_end_timeline) \
    else ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int4 end as timeline, \
    case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end::text as lsn \
    from pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r";

async fn settings(client: &Client) -> Result<HashMap<String, String>> {
    // The view leaves out what the role may not see, where `show` would fail. Values are in the unit `B` or have none.
    let names = "'server_version_num', 'data_directory', 'config_file', 'hba_file', 'ident_file', 'wal_level', \
                 'archive_mode', 'archive_command', 'archive_library', 'wal_segment_size', 'block_size', \
                 'data_checksums', 'full_page_writes', 'max_wal_senders', 'max_replication_slots'";
    let rows = many(client, &format!("select name, setting from pg_settings where name in ({names})")).await?;
    let mut found = HashMap::new();
    for row in &rows {
        if let Some(value) = column::<Option<String>>(row, "setting")? {
            found.insert(column(row, "name")?, value);
        }
    }
    Ok(found)
}

async fn tablespaces(client: &Client) -> Result<Vec<Tablespace>> {
    let query = format!(
        "select oid, pg_tablespace_location(oid) as path from pg_tablespace \
         where spcname not in ('pg_default', 'pg_global') order by oid {ROWS_MAX}"
    );
    many(client, &query)
        .await?
        .iter()
        .map(|row| Ok(Tablespace { oid: column(row, "oid")?, path: column::<String>(row, "path")?.into() }))
        .collect()
}

async fn role(client: &Client, version_number: u32) -> Result<RoleFacts> {
    let [start, stop] = super::judgement::backup_functions(version_number);
    let may = |function: &str| format!("has_function_privilege('pg_catalog.{function}', 'execute')");
    let query = format!(
        "select rolname::text as name, rolsuper as super, rolreplication as replication, {} and {} as backup, \
         {} as switch, {} as point, pg_has_role('pg_read_all_settings', 'usage') as settings \
         from pg_roles where rolname = current_user",
        may(start),
        may(stop),
        may("pg_switch_wal()"),
        may("pg_create_restore_point(text)"),
    );
    let row = one(client, &query).await?;
    Ok(RoleFacts {
        name: column(&row, "name")?,
        is_superuser: column(&row, "super")?,
        may_replicate: column(&row, "replication")?,
        may_back_up: column(&row, "backup")?,
        may_switch_wal: column(&row, "switch")?,
        may_create_restore_point: column(&row, "point")?,
        may_read_settings: column(&row, "settings")?,
    })
}

async fn slots(client: &Client) -> Result<Vec<SlotFacts>> {
    let query = format!(
        "select slot_name::text as name, slot_type = 'physical' as physical, active, restart_lsn::text as lsn, \
         wal_status from pg_replication_slots order by 1 {ROWS_MAX}"
    );
    let fact = |row: &Row| {
        Ok(SlotFacts {
            name: column(row, "name")?,
            is_physical: column(row, "physical")?,
            is_active: column(row, "active")?,
            restart_lsn: lsn(row, "lsn")?,
            wal_status: column(row, "wal_status")?,
        })
    };
    many(client, &query).await?.iter().map(fact).collect()
}

async fn archiver(client: &Client) -> Result<ArchiverFacts> {
    let query = "select archived_count, last_archived_wal, failed_count, last_failed_wal, \
                 (extract(epoch from last_archived_time) * 1000000)::int8 as archived_at, \
                 (extract(epoch from last_failed_time) * 1000000)::int8 as failed_at from pg_stat_archiver";
    let row = one(client, query).await?;
    let time = |name: &str| Ok(column::<Option<i64>>(&row, name)?.and_then(|at| Timestamp::from_microsecond(at).ok()));
    Ok(ArchiverFacts {
        archived: column::<i64>(&row, "archived_count")?.max(0).cast_unsigned(),
        last_archived: column(&row, "last_archived_wal")?,
        last_archived_at: time("archived_at")?,
        failed: column::<i64>(&row, "failed_count")?.max(0).cast_unsigned(),
        last_failed: column(&row, "last_failed_wal")?,
        last_failed_at: time("failed_at")?,
    })
}

pub(crate) async fn one(client: &Client, query: &str) -> Result<Row> {
    client.query_one(query, &[]).await.map_err(|error| Error::from_driver("inspect server", error))
}

pub(crate) async fn many(client: &Client, query: &str) -> Result<Vec<Row>> {
    client.query(query, &[]).await.map_err(|error| Error::from_driver("inspect server", error))
}

fn unexpected(name: &str) -> Error {
    Error::new(ErrorKind::Protocol, format!("inspect server: {name}"), "unexpected type or value")
}

pub(crate) fn column<'a, T: FromSql<'a>>(row: &'a Row, name: &str) -> Result<T> {
    row.try_get(name).map_err(|error| unexpected(name).with_source(error))
}

pub(crate) fn lsn(row: &Row, name: &str) -> Result<Option<Lsn>> {
    let text: Option<&str> = column(row, name)?;
    text.map(|text| text.parse().map_err(|error| unexpected(name).with_source(error))).transpose()
}

fn number(settings: &HashMap<String, String>, name: &str) -> Result<u32> {
    settings.get(name).and_then(|value| value.parse().ok()).ok_or_else(|| unexpected(name))
}
