//! Looking into every table and every B-tree of a started copy, with PostgreSQL's own `amcheck` and `pg_visibility`.
//!
//! Page checksums find what a disk changed. These find what was written wrong: an index that lacks a row, a row that
//! points nowhere, a page that calls itself visible and isn't. Without checksums they are the only ones who look.
//!
//! Promise: what was not looked at is named. The extensions are installed in the copy, which is thrown away.
//!
//! Absent: the program `pg_amcheck`. It neither counts what it did, nor compares indexes with their tables by itself, nor
//! asks for the visibility maps.

use super::BootRequest;
use super::asking::{chain, target};
use super::relations::{Database, Relation, What, driver, look_at};
use lifeboat_postgres::connection::Client;
use lifeboat_repository::Progress;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Sessions at once: each reads as fast as a disk gives, and the copy has few connections.
const SESSIONS_MAX: usize = 8;
/// A report names no more damaged relations than that.
const BAD_LISTED_MAX: usize = 200;
/// What is said about one relation is cut here.
const SAID_CHARS_MAX: usize = 500;
/// Of one table, so many findings are told in words.
const FINDINGS_TOLD: usize = 3;

/// What `amcheck` found in tables and indexes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Amcheck {
    /// The copy didn't get that far.
    NotReached,
    /// It was to be left out.
    NotAsked,
    /// It can't be done here.
    NotAvailable {
        /// What is missing.
        what: String,
    },
    /// Nothing wrong in what was looked at.
    Passed(TablesReport),
    /// Damage, or it could not do its work.
    Failed(TablesReport),
}

/// What was looked at.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TablesReport {
    /// Databases.
    pub databases: u64,
    /// Tables, materialized views and what belongs to them, row by row.
    pub tables: u64,
    /// Indexes, each compared with its table.
    pub indexes: u64,
    /// Visibility maps, each compared with its table.
    pub visibility_maps: u64,
    /// What nobody looked at, and why.
    pub not_checked: Vec<String>,
    /// How many things are wrong.
    pub bad_count: u64,
    /// Those things; of very many only the first.
    pub bad: Vec<BadRelation>,
    /// How long it took.
    pub seconds: f64,
}

/// A relation that is not as it should be, or could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct BadRelation {
    /// Its database.
    pub database: String,
    /// Its name with its schema; empty when it is the database that couldn't be looked into.
    pub relation: String,
    /// `table`, `index`, `visibility map` or `database`.
    pub kind: String,
    /// What is wrong.
    pub said: String,
}

impl TablesReport {
    fn bad(&mut self, database: &str, relation: &str, kind: &str, said: &str) {
        self.bad_count += 1;
        if self.bad.len() < BAD_LISTED_MAX {
            let said = said.chars().take(SAID_CHARS_MAX).collect();
            let (database, relation, kind) = (database.to_owned(), relation.to_owned(), kind.to_owned());
            self.bad.push(BadRelation { database, relation, kind, said });
        }
    }

    fn add(&mut self, other: Self) {
        self.tables += other.tables;
        self.indexes += other.indexes;
        self.visibility_maps += other.visibility_maps;
        self.bad_count += other.bad_count;
        let room = BAD_LISTED_MAX.saturating_sub(self.bad.len());
        self.bad.extend(other.bad.into_iter().take(room));
    }
}

/// Looks into all databases that let somebody in.
pub async fn amcheck(socket_dir: &Path, port: u16, request: &BootRequest, progress: &dyn Progress) -> Amcheck {
    let begun = Instant::now();
    let mut report = TablesReport::default();
    let asked = who_and_where(socket_dir, port, request).await;
    let (superuser, databases) = match asked {
        Ok(Some(found)) => found,
        Ok(None) => return Amcheck::NotAvailable { what: "the extension amcheck is not installed here".into() },
        Err(said) => {
            report.bad(&request.database, "", "database", &said);
            return Amcheck::Failed(report);
        }
    };
    let mut known = Vec::new();
    for (name, is_open) in databases {
        if !is_open {
            report.not_checked.push(format!("database {name}, which lets nobody in"));
            continue;
        }
        let connection = Connection { socket_dir, port, user: &superuser, database: &name };
        match look_in(&connection).await {
            Ok(database) => known.push(database),
            Err(said) => report.bad(&name, "", "database", &said),
        }
    }
    let bytes = known.iter().flat_map(|database| &database.relations).map(|relation| relation.bytes).sum();
    progress.phase("check tables and indexes", Some(bytes));
    for database in &known {
        let connection = Connection { socket_dir, port, user: &superuser, database: &database.name };
        check_database(&connection, database, request.workers, progress, &mut report).await;
    }
    report.bad.sort();
    report.seconds = begun.elapsed().as_secs_f64();
    if report.bad_count == 0 { Amcheck::Passed(report) } else { Amcheck::Failed(report) }
}

/// A way into the copy.
struct Connection<'a> {
    socket_dir: &'a Path,
    port: u16,
    user: &'a str,
    database: &'a str,
}

impl Connection<'_> {
    /// What the roles and databases of the original set for their sessions must not get in the way, nor its triggers.
    async fn open(&self) -> Result<Client, String> {
        let target = target(self.socket_dir, self.port, self.user, self.database).map_err(|error| chain(&error))?;
        let client = target.connect().await.map_err(|error| chain(&error))?;
        let settings = "set session_replication_role = replica; set default_transaction_read_only = off; \
                        set statement_timeout = 0; set lock_timeout = 0; set search_path = pg_catalog; \
                        set client_min_messages = warning";
        client.batch_execute(settings).await.map_err(|error| driver("prepare the session", error))?;
        Ok(client)
    }
}

/// Somebody who may install the extension, if it is there to be installed; and all databases, with whether they let
/// anybody in.
async fn who_and_where(
    socket_dir: &Path,
    port: u16,
    request: &BootRequest,
) -> Result<Option<(String, Vec<(String, bool)>)>, String> {
    let connection = Connection { socket_dir, port, user: &request.user, database: &request.database };
    let target = target(connection.socket_dir, port, connection.user, connection.database);
    let client = target.map_err(|error| chain(&error))?.connect().await.map_err(|error| chain(&error))?;
    let query = "select rolname::text from pg_catalog.pg_roles where rolsuper and rolcanlogin \
                 and exists (select from pg_catalog.pg_available_extensions where name = 'amcheck') \
                 order by rolname = current_user desc, oid limit 1";
    let rows = client.query(query, &[]).await.map_err(|error| driver("look for amcheck", error))?;
    let Some(superuser) = rows.first().and_then(|row| row.try_get(0).ok()) else { return Ok(None) };
    // -2: a database whose creation or removal was interrupted.
    let query = "select datname::text, datallowconn and datconnlimit <> -2 from pg_catalog.pg_database order by 1";
    let rows = client.query(query, &[]).await.map_err(|error| driver("list databases", error))?;
    let databases = rows.iter().filter_map(|row| Some((row.try_get(0).ok()?, row.try_get(1).ok()?)));
    Ok(Some((superuser, databases.collect())))
}

async fn look_in(connection: &Connection<'_>) -> Result<Database, String> {
    let client = connection.open().await?;
    look_at(&client, connection.database).await
}

/// All relations of a database, by several sessions. A session that is lost ends its share of the work; what nobody reached
/// is damage too.
async fn check_database(
    connection: &Connection<'_>,
    database: &Database,
    workers: usize,
    progress: &dyn Progress,
    report: &mut TablesReport,
) {
    let next = AtomicUsize::new(0);
    let sessions = (0..workers.clamp(1, SESSIONS_MAX)).map(|_| session(connection, database, &next, progress));
    let (mut reached, mut not_opened) = (0, None);
    for part in futures::future::join_all(sessions).await {
        match part {
            Ok((checked, part)) => {
                reached += checked;
                report.add(part);
            }
            // The other sessions do its work.
            Err(said) => not_opened = Some(said),
        }
    }
    report.databases += 1;
    report.not_checked.extend(database.not_checked.iter().cloned());
    if reached < database.relations.len() {
        let missed = database.relations.len() - reached;
        let why = not_opened.unwrap_or_else(|| "the server ended".into());
        report.bad(&database.name, "", "database", &format!("{missed} tables and indexes were not looked at: {why}"));
    }
}

/// One session's share: how many relations, and what was found.
async fn session(
    connection: &Connection<'_>,
    database: &Database,
    next: &AtomicUsize,
    progress: &dyn Progress,
) -> Result<(usize, TablesReport), String> {
    let client = connection.open().await?;
    let (mut reached, mut report) = (0, TablesReport::default());
    while let Some(relation) = database.relations.get(next.fetch_add(1, Ordering::Relaxed)) {
        check(&client, database, relation, &mut report).await;
        reached += 1;
        progress.advance(relation.bytes);
        if client.is_closed() {
            break;
        }
    }
    Ok((reached, report))
}

async fn check(client: &Client, database: &Database, relation: &Relation, report: &mut TablesReport) {
    let (kind, statement) = match relation.what {
        What::Table => ("table", database.table_check.as_str()),
        What::Btree => ("index", database.btree_check.as_str()),
        What::Gin => ("index", database.gin_check.as_deref().unwrap_or_default()),
        What::Other => return,
    };
    match client.query(statement, &[&relation.oid]).await {
        Ok(rows) if relation.what == What::Table => {
            report.tables += 1;
            let told = rows.iter().take(FINDINGS_TOLD).filter_map(|row| row.try_get(0).ok());
            let told = told.collect::<Vec<String>>().join("; ");
            if let Some(more) = rows.len().checked_sub(FINDINGS_TOLD).filter(|more| *more > 0) {
                report.bad(&database.name, &relation.name, kind, &format!("{told}; and {more} more"));
            } else if !rows.is_empty() {
                report.bad(&database.name, &relation.name, kind, &told);
            }
        }
        Ok(_) => report.indexes += 1,
        Err(error) => report.bad(&database.name, &relation.name, kind, &driver("amcheck", error)),
    }
    let Some(statement) = database.visibility_check.as_deref().filter(|_| relation.what == What::Table) else { return };
    match client.query_one(statement, &[&relation.oid]).await {
        Ok(row) => {
            report.visibility_maps += 1;
            let wrong: i64 = row.try_get(0).unwrap_or(-1);
            let first: Option<String> = row.try_get(1).unwrap_or_default();
            if wrong != 0 {
                let first = first.unwrap_or_default();
                let said =
                    format!("{wrong} rows are marked visible to all or frozen and are not, the first at {first}");
                report.bad(&database.name, &relation.name, "visibility map", &said);
            }
        }
        Err(error) => report.bad(&database.name, &relation.name, "visibility map", &driver("pg_visibility", error)),
    }
}
