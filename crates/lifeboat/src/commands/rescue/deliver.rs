//! Bringing what is ready to where it is wanted: a file, or a server, in one transaction.

use super::names::{plain, qualified, quoted, told};
use super::prepare::{Prepared, columns};
use super::typed::{Typed, Wish, not_a_condition};
use super::{Rescued, count, failed};
use crate::cli::RescueArguments;
use crate::commands::served::Past;
use crate::config::{Secret, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use lifeboat_postgres::connection::{Client, Secret as ServerSecret, Target};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// What is read of the dump in one go.
const READ_BYTES: usize = 256 * 1024;

/// What PostgreSQL calls SQL that can't be read.
const SYNTAX_ERROR: &str = "42601";

/// Where it goes.
pub enum Destination {
    /// A new file, as `pg_dump` writes it: plain SQL, or its own format where the name ends in `.dump`.
    File { path: PathBuf },
    /// Tables of a server.
    Server(Box<Present>),
}

/// The server that gets them.
pub struct Present {
    /// As libpq writes it, without a password.
    connection: String,
    password: Option<Secret>,
    client: Client,
    /// Over the table that is there now.
    replaces: bool,
}

fn text_of(kind: FailureKind, message: String, hint: &str) -> Failure {
    Failure::new(kind, message).with_hint(hint)
}

impl Destination {
    /// What was asked for. Nothing is made yet, but what can be known to fail fails here.
    pub async fn of(arguments: &RescueArguments, workload: &WorkloadConfig, database: &str) -> Result<Self, Failure> {
        if let Some(path) = &arguments.to {
            return Ok(Self::File { path: writable(path)? });
        }
        let (connection, password) = match &arguments.into {
            Some(text) if text.contains("password=") || has_url_password(text) => {
                let message = "--into holds a password, which everybody on this machine can read".to_owned();
                let hint = "leave it out, and set PGPASSWORD or name a file: passfile=/path";
                return Err(text_of(FailureKind::Usage, message, hint));
            }
            Some(text) => (text.clone(), std::env::var("PGPASSWORD").ok().map(Secret::new)),
            None => {
                let database = database.replace('\\', r"\\").replace('\'', r"\'");
                let password = workload.password.as_ref().map(|source| source.resolve()).transpose()?;
                (format!("{} dbname='{database}'", workload.connection), password)
            }
        };
        let secret = password.as_ref().map_or(ServerSecret::None, |it| ServerSecret::Password(it.expose().to_owned()));
        let client = Target::parse(&connection, &secret)?.connect().await.map_err(|error| {
            Failure::from(error)
                .while_doing("reach the server that the table goes to")
                .with_hint("--into names another server, --to FILE writes a file")
        })?;
        Ok(Self::Server(Box::new(Present { connection, password, client, replaces: arguments.replace })))
    }

    /// Refuses what can be known to fail before a server of the past is started.
    pub async fn refuse(&self, wish: &Wish<'_>) -> Result<(), Failure> {
        let Self::Server(present) = self else { return Ok(()) };
        for table in &wish.tables {
            if present.replaces && !present.has(&table.in_sql()).await? {
                continue;
            }
            let name = wish.names.of(&table.name);
            let beside = Typed { name: name.clone(), ..table.clone() };
            present.must_be_free(&beside.in_sql(), &table.called(&name)).await?;
        }
        match wish.filter {
            Some(filter) => present.must_understand(filter).await,
            None => Ok(()),
        }
    }

    /// Whether a table comes back under its own name: it isn't there any more, or it goes to a file.
    pub async fn takes_its_own_name(&self, schema: &str, name: &str) -> Result<bool, Failure> {
        match self {
            Self::File { .. } => Ok(true),
            Self::Server(present) => Ok(present.replaces && !present.has(&qualified(schema, name)).await?),
        }
    }

    /// For documents.
    pub fn spoken(&self) -> String {
        match self {
            Self::File { path } => path.display().to_string(),
            Self::Server(present) => present.connection.clone(),
        }
    }

    /// For people.
    pub fn place_of(&self, table: &str) -> String {
        match self {
            Self::File { path } => format!("in {}", path.display()),
            Self::Server(_) => format!("in {table}"),
        }
    }
}

/// A new file, as far as that can be known: one is made beside it, and removed.
fn writable(path: &Path) -> Result<PathBuf, Failure> {
    let refused = |error: &std::io::Error| {
        let kind = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FailureKind::Unavailable,
            _ => FailureKind::Usage,
        };
        let failure = Failure::from_error(kind, error).while_doing(format!("write {}", path.display()));
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => failure.with_hint("make the directory first"),
            _ => failure.with_hint("give a new file where this account may write"),
        }
    };
    let path = std::path::absolute(path).map_err(|error| refused(&error))?;
    match std::fs::symlink_metadata(&path) {
        Ok(data) if data.is_dir() => {
            let message = format!("{} is a directory", path.display());
            return Err(text_of(FailureKind::Usage, message, "name a new file in it"));
        }
        Ok(_) => {
            let message = format!("{} exists already", path.display());
            return Err(text_of(FailureKind::Usage, message, "give a new file: nothing is written over"));
        }
        Err(_) => {}
    }
    let unfinished = Unfinished::beside(&path);
    File::options().write(true).create_new(true).mode(0o600).open(&unfinished.0).map_err(|error| refused(&error))?;
    Ok(path)
}

/// `postgres://user:password@host`.
fn has_url_password(text: &str) -> bool {
    let authority = text.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(account, _)| account.contains(':'))
}

impl Present {
    /// Whether there is something of that name, as SQL writes it.
    async fn has(&self, name: &str) -> Result<bool, Failure> {
        let row = self.client.query_one("select to_regclass($1) is not null", &[&name]).await;
        Ok(row.map_err(failed)?.get(0))
    }

    async fn must_have_schema(&self, schema: &str) -> Result<(), Failure> {
        let row = self.client.query_one("select to_regnamespace($1) is not null", &[&quoted(schema)]).await;
        if !row.map_err(failed)?.get::<_, bool>(0) {
            let message = format!("there is no schema {} where it goes to", plain(schema));
            return Err(text_of(FailureKind::NotFound, message, "make it first: create schema; or give --to FILE"));
        }
        Ok(())
    }

    /// The second: for people.
    async fn must_be_free(&self, name: &str, told: &str) -> Result<(), Failure> {
        if self.has(name).await? {
            let message = format!("{told} is there already");
            return Err(text_of(FailureKind::Locked, message, "give another ending, such as --suffix _second"));
        }
        Ok(())
    }

    /// It is only read, not asked. Of names it may know others than the past did.
    async fn must_understand(&self, filter: &str) -> Result<(), Failure> {
        match self.client.prepare(&format!("select 1 where ({filter}\n)")).await {
            Err(error) if error.code().is_some_and(|code| code.code() == SYNTAX_ERROR) => {
                let why = failed(error).message;
                Err(not_a_condition(format!("--where {filter}: {why}")))
            }
            _ => Ok(()),
        }
    }

    /// Puts what came beside the present table in its place: rows only, so that all that refers to the table stays.
    async fn replace(&self, table: &Prepared) -> Result<(), Failure> {
        let (old, new) = (qualified(&table.schema, &table.original), qualified(&table.schema, &table.name));
        let query = "select string_agg(distinct conrelid::regclass::text, ', ') from pg_constraint \
                     where contype = 'f' and confrelid = to_regclass($1) and conrelid <> confrelid";
        let referring: Option<String> = self.client.query_one(query, &[&old]).await.map_err(failed)?.get(0);
        if let Some(referring) = referring {
            let message = format!("{old} can't be emptied: {referring} refers to it");
            let hint = format!("what was rescued is in {new}: put back what is missing with insert ... select");
            return Err(text_of(FailureKind::Unavailable, message, &hint));
        }
        let columns = columns(&self.client, &new).await?;
        // Triggers would act a second time on what they have acted on.
        let only = table.only();
        let sentence = format!(
            "begin; set local session_replication_role = replica; lock table {old} in access exclusive mode; \
             truncate {only} {old}; insert into {old} ({columns}) overriding system value select {columns} from {only} {new}; \
             drop table {new}; commit"
        );
        if let Err(error) = self.client.batch_execute(&sentence).await {
            let _ = self.client.batch_execute("rollback").await;
            return Err(failed(error)
                .while_doing(format!("put the rows into {old}, which is as it was"))
                .with_hint(format!("what was rescued is in {new}")));
        }
        Ok(())
    }
}

/// Brings the tables, and counts what arrived.
pub async fn deliver(
    past: &Past<'_>,
    database: &str,
    tables: &[Prepared],
    destination: &Destination,
) -> Result<Vec<Rescued>, Failure> {
    match destination {
        Destination::File { path } => {
            let is_custom = path.extension().is_some_and(|extension| extension == "dump");
            let failed = |error: std::io::Error| {
                Failure::from_error(FailureKind::Usage, &error).while_doing(format!("make {}", path.display()))
            };
            let unfinished = Unfinished::beside(path);
            let file = File::options().write(true).create_new(true).mode(0o600).open(&unfinished.0).map_err(failed)?;
            let written = file.try_clone().map_err(failed)?;
            let format = if is_custom { "custom" } else { "plain" };
            let mut dump = pg_dump(past, database, tables, &["--format", format], Stdio::from(file))?;
            finished("pg_dump", &mut dump).await?;
            written.sync_all().map_err(failed)?;
            // Not over what somebody made meanwhile.
            std::fs::hard_link(&unfinished.0, path).map_err(failed)?;
            drop(unfinished);
            let rescued =
                |table: &Prepared| Rescued { from: table.from.clone(), to: table.from.clone(), rows: table.rows };
            Ok(tables.iter().map(rescued).collect())
        }
        Destination::Server(present) => {
            for table in tables {
                present.must_have_schema(&table.schema).await?;
                let (name, spoken) = (qualified(&table.schema, &table.name), told(&table.schema, &table.name));
                present.must_be_free(&name, &spoken).await?;
            }
            pump(past, database, tables, present).await?;
            let mut rescued = Vec::new();
            for table in tables {
                rescued.push(arrived(table, present).await?);
            }
            Ok(rescued)
        }
    }
}

/// A file that isn't whole: removed, whatever happens.
struct Unfinished(PathBuf);

impl Unfinished {
    fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".unfinished-{}", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn arrived(table: &Prepared, present: &Present) -> Result<Rescued, Failure> {
    let is_replacement = present.replaces && table.name != table.original;
    if is_replacement {
        counted(table, &table.name, present).await?;
        present.replace(table).await?;
    }
    let name = if is_replacement { &table.original } else { &table.name };
    let rows = counted(table, name, present).await?;
    Ok(Rescued { from: table.from.clone(), to: told(&table.schema, name), rows })
}

/// As many rows as there were then, or an error.
async fn counted(table: &Prepared, name: &str, present: &Present) -> Result<i64, Failure> {
    let rows = count(&present.client, table.only(), &qualified(&table.schema, name)).await?;
    if rows != table.rows {
        let place = told(&table.schema, name);
        let message = format!("{} had {} rows then, and {rows} came to {place}", table.from, table.rows);
        return Err(text_of(
            FailureKind::Corrupt,
            message,
            "somebody may have changed it meanwhile: look, and try again",
        ));
    }
    Ok(rows)
}

fn pg_dump(
    past: &Past<'_>,
    database: &str,
    tables: &[Prepared],
    arguments: &[&str],
    to: Stdio,
) -> Result<Child, Failure> {
    let mut command = Command::new(past.programs.join("pg_dump"));
    command.args(arguments).args(["--no-publications", "--no-subscriptions", "--no-security-labels"]);
    for relation in tables.iter().flat_map(|table| &table.relations) {
        command.arg("--table").arg(relation);
    }
    command.arg("--dbname").arg(past.connection(database));
    command.env_remove("PGPASSWORD").stdin(Stdio::null()).stdout(to).stderr(Stdio::piped()).kill_on_drop(true);
    start("pg_dump", &mut command)
}

fn start(name: &str, command: &mut Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        Failure::from_error(FailureKind::NotFound, &error)
            .while_doing(format!("start {name}"))
            .with_hint("install the client programs of that version, beside the server's: `apt-get install postgresql-client-15` or the like")
    })
}

/// Waits for a program, and quotes it when it failed.
async fn finished(name: &str, child: &mut Child) -> Result<(), Failure> {
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        let _ = stderr.read_to_string(&mut said).await;
    }
    let status = child.wait().await.map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    if status.success() {
        return Ok(());
    }
    let last: Vec<&str> = said.lines().rev().take(5).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    Err(Failure::new(FailureKind::Unavailable, format!("{name} failed: {}", last.join("; "))))
}

/// From the past into the present. It is committed only when all of it has come.
async fn pump(past: &Past<'_>, database: &str, tables: &[Prepared], present: &Present) -> Result<(), Failure> {
    let keeps_rights = tables.iter().all(|table| table.name == table.original);
    // A copy beside the present belongs to whoever made it, and nobody else may read it.
    let rights: &[&str] = if keeps_rights { &[] } else { &["--no-owner", "--no-privileges"] };
    let mut dump = pg_dump(past, database, tables, rights, Stdio::piped())?;
    let mut command = Command::new(past.programs.join("psql"));
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-", "--dbname"]);
    command.arg(&present.connection).env("PGAPPNAME", "lifeboat rescue");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some(password) = &present.password {
        command.env("PGPASSWORD", password.expose());
    }
    let mut load = start("psql", &mut command)?;
    let (Some(mut from), Some(mut into)) = (dump.stdout.take(), load.stdin.take()) else {
        return Err(Failure::new(FailureKind::Internal, "a program without its pipes"));
    };
    let moved = async {
        into.write_all(b"begin;\n").await?;
        let mut room = vec![0; READ_BYTES];
        loop {
            let length = from.read(&mut room).await?;
            if length == 0 {
                return std::io::Result::Ok(());
            }
            into.write_all(&room[..length]).await?;
        }
    };
    let moved = moved.await;
    // When psql gave up, pg_dump must not wait for somebody to read on.
    drop(from);
    let dumped = finished("pg_dump", &mut dump).await;
    if moved.is_ok() && dumped.is_ok() {
        let _ = into.write_all(b"\ncommit;\n").await;
    }
    // Without the commit, the end of what it is given undoes everything.
    drop(into);
    let loaded = finished("psql", &mut load).await;
    // When psql failed, pg_dump failed because of it.
    loaded.and(dumped).map_err(|failure| failure.with_hint("nothing was changed; --to FILE writes a file instead"))?;
    moved.map_err(|error| Failure::from_error(FailureKind::Unavailable, &error).while_doing("load what was rescued"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cant_be_written_is_refused_before_anything_is_done() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        std::fs::write(path("file"), "mine").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        for (name, words) in [
            ("file", "exists already"),
            ("link", "exists already"),
            ("", "is a directory"),
            ("file/in", "make the directory first"),
            ("absent/in", "make the directory first"),
            ("new/", "make the directory first"),
        ] {
            let refused = writable(&path(name)).unwrap_err();
            assert!(refused.kind == FailureKind::Usage && refused.to_string().contains(words), "{name}: {refused}");
        }
        assert_eq!(writable(&path("new.sql")).unwrap(), path("new.sql"));
        assert_eq!(std::fs::read_dir(top.path()).unwrap().count(), 2, "nothing is left of trying it");
    }

    #[test]
    fn a_password_in_an_address_is_seen() {
        assert!(has_url_password("postgres://me:secret@host/db"));
        assert!(!has_url_password("postgres://me@host/db") && !has_url_password("host=db user=me"));
        assert!(!has_url_password("postgres://host:5432/db"));
    }
}
