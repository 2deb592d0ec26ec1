//! `lifeboat rescue`: one table back, from any moment, without bringing the rest.
//!
//! The moment is opened in a server of its own, where the tables are made ready under the names that they will have; PostgreSQL's own
//! `pg_dump` writes them into a file, or into a server in one transaction; what arrived is counted; nothing of it is left behind.

mod deliver;
mod names;
mod prepare;
mod typed;

use super::open::wanting;
use super::served::{Past, Seat, Wanting, must_mount};
use super::{find_named, load_config};
use crate::cli::{Global, RescueArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human, progress, shell};
use crate::{interrupt, rooms};
use deliver::{Destination, deliver};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_postgres::connection::Client;
use lifeboat_repository::Progress;
use names::{Names, suffix};
use serde_json::json;
use std::path::Path;
use tokio::sync::watch::Receiver;
use typed::Wish;

/// A table that came back.
struct Rescued {
    /// As it is called in the past.
    from: String,
    /// As it is called where it came to.
    to: String,
    rows: i64,
}

pub fn run(global: &Global, arguments: &RescueArguments, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let settings = find_named("workload", &arguments.workload, &config.workloads)?;
    // What can be refused is refused before anything is fetched.
    let wanting = Wanting { or_copy: arguments.or_copy, ..wanting(&arguments.moment, true, &config)? };
    let now = Timestamp::now().to_zoned(TimeZone::system());
    let names = Names::new(arguments, suffix(&arguments.called, &arguments.moment, &now)?);
    let wish = Wish::new(arguments, rooms::user_and_database(settings).1, names)?;
    if !arguments.or_copy {
        must_mount().map_err(|failure| failure.with_more_hint("--or-copy copies everything first"))?;
    }
    rooms::runtime()?.block_on(async {
        let mut interrupted = interrupt::signal();
        let destination = match arguments.list {
            true => None,
            false => Some(Destination::of(arguments, settings, &wish.database).await?),
        };
        if let Some(destination) = &destination {
            destination.refuse(&wish).await?;
        }
        Seat::clear_dead(output).await?;
        let seat = Seat::free(&arguments.workload)?;
        let progress = progress::for_rooms(output, &arguments.workload);
        let opening = open(&config, &config_path, arguments, wanting, seat, (output, interrupted.clone()));
        let past = opening.await?;
        progress.phase("rescue", None);
        let work = async {
            match &destination {
                None => list(&past, arguments.database.as_deref(), output).await,
                Some(destination) => rescue(&past, &wish, destination, output).await,
            }
        };
        let done = tokio::select! {
            done = work => done,
            _ = interrupted.wait_for(|asked| *asked) => {
                Err(Failure::new(FailureKind::Unavailable, "interrupted")
                    .with_hint("whether the table came is not known: look for it where it was to go"))
            }
        };
        progress.finish();
        let closed = past.close().await;
        done.and(closed)
    })
}

async fn open<'a>(
    config: &'a Config,
    config_path: &Path,
    arguments: &'a RescueArguments,
    wanting: super::served::Wanting,
    seat: (Seat, super::served::Taken),
    watched: (&'a Output, Receiver<bool>),
) -> Result<Past<'a>, Failure> {
    Past::open(config, config_path, &arguments.workload, wanting, seat, watched).await
}

async fn rescue(past: &Past<'_>, wish: &Wish<'_>, destination: &Destination, output: &Output) -> Result<(), Failure> {
    let client = past.session(&wish.database).await?;
    client.batch_execute("set row_security = off").await.map_err(failed)?;
    let mut prepared = Vec::new();
    for table in &wish.tables {
        prepared.push(prepare::table(&client, table, wish, destination).await?);
    }
    drop(client);
    let rescued = deliver(past, &wish.database, &prepared, destination).await?;
    tell(past, &rescued, destination, output)
}

fn tell(past: &Past<'_>, rescued: &[Rescued], destination: &Destination, output: &Output) -> Result<(), Failure> {
    let (fetched, all) = past.fetched();
    let seconds = past.elapsed_seconds();
    if output.is_json() {
        let tables: Vec<_> =
            rescued.iter().map(|table| json!({"from": table.from, "to": table.to, "rows": table.rows})).collect();
        return output.document(&json!({
            "moment": past.target,
            "tables": tables,
            "into": destination.spoken(),
            "bytes_fetched": fetched,
            "bytes_in_cluster": all,
            "first_query_seconds": past.first_query_seconds(),
            "seconds": seconds,
        }));
    }
    for table in rescued {
        let rows = human::count(usize::try_from(table.rows).unwrap_or_default(), "row");
        let counted = if matches!(destination, Destination::File { .. }) { "" } else { ", counted there and here" };
        output.text(&format!(
            "{} {} as of {}: {rows}{counted}, {}",
            output.paint("rescued", Tone::Good),
            table.from,
            past.target,
            destination.place_of(&table.to),
        ))?;
    }
    output.hint(&format!("{} of {} were fetched, {seconds:.1} s", human::size(fetched), human::size(all)));
    Ok(())
}

/// Databases, tables and sizes at the moment.
async fn list(past: &Past<'_>, only: Option<&str>, output: &Output) -> Result<(), Failure> {
    let client = past.session("postgres").await?;
    let databases = "select datname from pg_database where datallowconn and not datistemplate order by 1";
    let databases = client.query(databases, &[]).await.map_err(failed)?;
    let databases: Vec<String> = databases.iter().filter_map(|row| row.try_get(0).ok()).collect();
    if let Some(only) = only
        && !databases.iter().any(|database| database == only)
    {
        return Err(Failure::new(FailureKind::NotFound, format!("there was no database {only} then"))
            .with_hint(format!("there were {}", databases.join(", "))));
    }
    let query = "select n.nspname, c.relname, pg_total_relation_size(c.oid), greatest(c.reltuples, -1)::bigint, \
                 quote_ident(n.nspname) || '.' || quote_ident(c.relname) \
                 from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where c.relkind in ('r', 'p', 'm') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
                 order by 3 desc, 1, 2";
    let mut all = Vec::new();
    for database in databases.iter().filter(|database| only.is_none_or(|only| only == **database)) {
        let client = past.session(database).await?;
        for row in client.query(query, &[]).await.map_err(failed)? {
            let (schema, table): (String, String) = (row.get(0), row.get(1));
            let (bytes, rows, name): (i64, i64, String) = (row.get(2), row.get(3), row.get(4));
            all.push((database.clone(), schema, table, bytes, rows, name));
        }
    }
    if output.is_json() {
        let document = all.iter().map(|(database, schema, table, bytes, rows, name)| {
            json!({"database": database, "schema": schema, "table": table, "name": name, "bytes": bytes,
                "rows_estimated": (*rows >= 0).then_some(rows)})
        });
        return output.document(&json!({"moment": past.target, "tables": document.collect::<Vec<_>>()}));
    }
    let columns =
        [Column::Left("database"), Column::Left("table"), Column::Right("size"), Column::Right("rows, about")];
    let rows = all.iter().map(|(database, _, _, bytes, rows, name)| {
        let size = human::size(u64::try_from(*bytes).unwrap_or_default());
        let rows = if *rows < 0 { "never counted".to_owned() } else { rows.to_string() };
        // To be pasted behind --table.
        vec![database.clone(), shell::word(name), size, rows]
    });
    output.text(&render(&columns, &rows.collect::<Vec<_>>(), terminal_width()))
}

fn failed(error: lifeboat_postgres::connection::DriverError) -> Failure {
    let said = error.as_db_error().map(|error| error.message().to_owned());
    let failure = Failure::from_error(FailureKind::Unavailable, &error);
    said.map_or(failure.clone(), |said| Failure::new(FailureKind::Unavailable, said))
}

/// Of SQL that somebody typed: whether it is that which is wrong. Classes of PostgreSQL's error codes: syntax and names, values, cardinality,
/// what can't stand there.
fn failed_as_typed(error: lifeboat_postgres::connection::DriverError) -> Failure {
    let code = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
    let is_typed_wrong = ["42", "22", "21", "0A"].iter().any(|class| code.starts_with(class));
    let failure = failed(error);
    Failure { kind: if is_typed_wrong { FailureKind::Usage } else { failure.kind }, ..failure }
}

/// One number.
async fn count(client: &Client, only: &str, table: &str) -> Result<i64, Failure> {
    let row = client.query_one(&format!("select count(*) from {only} {table}"), &[]).await.map_err(failed)?;
    Ok(row.get(0))
}
