//! Asking a started copy: how far it replayed, and the user's own statements.

use super::BootRequest;
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::connection::{Error, Secret, Target};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one statement of the user may take.
const CHECK_PATIENCE: Duration = Duration::from_secs(15 * 60);

/// One statement of the user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// The statement.
    pub sql: String,
    /// It gave one row, and its first column was true.
    pub passed: bool,
    /// What it gave instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// How long it took.
    pub seconds: f64,
}

/// What the copy says of itself.
pub struct FirstAnswer {
    /// Up to where the log was replayed.
    pub replayed_to: Option<Lsn>,
    /// When the last transaction in it ended.
    pub replayed_until: Option<Timestamp>,
    /// `server_version`.
    pub server_version: Option<String>,
}

/// The first query: from here on the copy is of use.
pub async fn first_answer(socket_dir: &Path, port: u16, request: &BootRequest) -> Result<FirstAnswer, Error> {
    let client = target(socket_dir, port, &request.user, &request.database)?.connect().await?;
    let query = "select pg_last_wal_replay_lsn()::text, \
                 (extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint, \
                 current_setting('server_version')";
    let row = match client.query_one(query, &[]).await {
        Ok(row) => row,
        Err(error) => return Err(Error::from_driver("ask how far it replayed", error)),
    };
    let lsn: Option<String> = row.try_get(0).unwrap_or_default();
    let at: Option<i64> = row.try_get(1).unwrap_or_default();
    Ok(FirstAnswer {
        replayed_to: lsn.and_then(|lsn| lsn.parse().ok()),
        replayed_until: at.and_then(|at| Timestamp::from_microsecond(at).ok()),
        server_version: row.try_get(2).unwrap_or_default(),
    })
}

/// Asks all statements of the user, one after the other.
pub async fn checks(socket_dir: &Path, port: u16, request: &BootRequest) -> Vec<CheckResult> {
    let mut results = Vec::with_capacity(request.checks.len());
    for sql in &request.checks {
        let begun = Instant::now();
        let answer = tokio::time::timeout(CHECK_PATIENCE, check(socket_dir, port, request, sql));
        let said = match answer.await {
            Ok(Ok(())) => None,
            Ok(Err(said)) => Some(said),
            Err(_) => Some(format!("no answer within {} minutes", CHECK_PATIENCE.as_secs() / 60)),
        };
        let seconds = begun.elapsed().as_secs_f64();
        results.push(CheckResult { sql: sql.clone(), passed: said.is_none(), said, seconds });
    }
    results
}

/// Each in a session of its own: one must not be able to spoil the next.
async fn check(socket_dir: &Path, port: u16, request: &BootRequest, sql: &str) -> Result<(), String> {
    let target = target(socket_dir, port, &request.user, &request.database).map_err(|error| chain(&error))?;
    let client = target.connect().await.map_err(|error| chain(&error))?;
    let rows = client.query(sql, &[]).await.map_err(|error| chain(&error))?;
    match rows.as_slice() {
        [row] => match row.try_get::<_, Option<bool>>(0) {
            Ok(Some(true)) => Ok(()),
            Ok(Some(false)) => Err("false".into()),
            Ok(None) => Err("null".into()),
            Err(_) => Err("its first column is not a boolean".into()),
        },
        rows => Err(format!("{} rows instead of one", rows.len())),
    }
}

/// A database of the copy.
pub(super) fn target(socket_dir: &Path, port: u16, user: &str, database: &str) -> Result<Target, Error> {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
    let host = quoted(&socket_dir.display().to_string());
    let conninfo = format!("host='{host}' port={port} user='{}' dbname='{}'", quoted(user), quoted(database));
    Target::parse(&conninfo, &Secret::None)
}

/// An error with its causes in one line.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
