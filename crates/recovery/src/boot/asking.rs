//! Asking a started copy: how far it replayed, the user's own statements, `pg_amcheck`.

use super::BootRequest;
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::cluster::Cluster;
use lifeboat_postgres::connection::{Error, Secret, Target};
use serde::Serialize;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// How long one statement of the user may take.
const CHECK_PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How much of what a program says is kept.
const SAID_BYTES_MAX: usize = 8 * 1024;

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

/// What `pg_amcheck` said about tables and indexes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Amcheck {
    /// Nobody asked, or there was nothing to ask.
    NotAsked,
    /// It isn't installed here.
    NotAvailable {
        /// What is missing.
        what: String,
    },
    /// Nothing wrong.
    Passed {
        /// How long it took.
        seconds: f64,
    },
    /// Damage, or it could not do its work.
    Failed {
        /// What it said.
        said: String,
        /// How long it took.
        seconds: f64,
    },
}

/// Up to where the log was replayed, and when the last transaction in it ended.
pub async fn replayed(
    socket_dir: &Path,
    port: u16,
    request: &BootRequest,
) -> Result<(Option<Lsn>, Option<Timestamp>), Error> {
    let client = target(socket_dir, port, &request.user, &request.database)?.connect().await?;
    let query = "select pg_last_wal_replay_lsn()::text, \
                 (extract(epoch from pg_last_xact_replay_timestamp()) * 1000000)::bigint";
    let row = match client.query_one(query, &[]).await {
        Ok(row) => row,
        Err(error) => return Err(Error::from_driver("ask how far it replayed", error)),
    };
    let lsn: Option<String> = row.try_get(0).unwrap_or_default();
    let at: Option<i64> = row.try_get(1).unwrap_or_default();
    Ok((lsn.and_then(|lsn| lsn.parse().ok()), at.and_then(|at| Timestamp::from_microsecond(at).ok())))
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

/// Lets `pg_amcheck` look into all databases.
pub async fn amcheck(cluster: &Cluster, socket_dir: &Path, port: u16, request: &BootRequest) -> Amcheck {
    let not_available = |what: &str| Amcheck::NotAvailable { what: what.into() };
    let Ok(program) = cluster.programs.program("pg_amcheck") else {
        return not_available("pg_amcheck is not installed beside the server");
    };
    let superuser = match superuser_with_amcheck(socket_dir, port, request).await {
        Ok(Some(name)) => name,
        Ok(None) => return not_available("the extension amcheck"),
        Err(said) => return Amcheck::Failed { said, seconds: 0.0 },
    };
    let mut command = Command::new(program);
    command.args(["--all", "--install-missing", "--no-password", "--jobs", &request.workers.max(1).to_string()]);
    command.arg("--host").arg(socket_dir).args(["--port", &port.to_string(), "--username", &superuser]);
    command.current_dir("/").stdin(Stdio::null()).kill_on_drop(true);
    for name in ["PGDATABASE", "PGOPTIONS", "PGSERVICE", "PGSSLMODE", "PGSERVICEFILE"] {
        command.env_remove(name);
    }
    if let Some(account) = cluster.run_as {
        command.uid(account.uid).gid(account.gid);
    }
    let begun = Instant::now();
    let output = command.output().await;
    let seconds = begun.elapsed().as_secs_f64();
    match output {
        Ok(output) if output.status.success() => Amcheck::Passed { seconds },
        Ok(output) => Amcheck::Failed { said: beginning(&[output.stdout, output.stderr].concat()), seconds },
        Err(error) => Amcheck::Failed { said: format!("run pg_amcheck: {error}"), seconds },
    }
}

/// Somebody who may install the extension, if it is there to be installed.
async fn superuser_with_amcheck(socket_dir: &Path, port: u16, request: &BootRequest) -> Result<Option<String>, String> {
    let target = target(socket_dir, port, &request.user, &request.database).map_err(|error| chain(&error))?;
    let client = target.connect().await.map_err(|error| chain(&error))?;
    let query = "select rolname::text from pg_roles where rolsuper and rolcanlogin \
                 and exists (select from pg_available_extensions where name = 'amcheck') \
                 order by rolname = current_user desc, oid limit 1";
    let rows = client.query(query, &[]).await.map_err(|error| chain(&error))?;
    Ok(rows.first().and_then(|row| row.try_get(0).ok()))
}

fn target(socket_dir: &Path, port: u16, user: &str, database: &str) -> Result<Target, Error> {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'");
    let host = quoted(&socket_dir.display().to_string());
    let conninfo = format!("host='{host}' port={port} user='{}' dbname='{}'", quoted(user), quoted(database));
    Target::parse(&conninfo, &Secret::None)
}

fn beginning(said: &[u8]) -> String {
    String::from_utf8_lossy(&said[..said.len().min(SAID_BYTES_MAX)]).trim().to_owned()
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
