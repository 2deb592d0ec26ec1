//! Making tables ready in the past, which is thrown away: filtered, renamed, and rid of what has no meaning beside the present.

use super::deliver::Destination;
use super::names::{Names, qualified, quoted, told};
use super::typed::{Typed, Wish};
use super::{failed, failed_as_typed};
use crate::failure::{Failure, FailureKind};
use lifeboat_postgres::connection::Client;

/// A table that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// As it was called.
    pub from: String,
    pub schema: String,
    /// As it is called now, in the past and where it goes.
    pub name: String,
    /// As it was called, without the schema.
    pub original: String,
    /// It and its partitions, as SQL wants them.
    pub relations: Vec<String>,
    /// Then its rows are those of its partitions.
    pub is_partitioned: bool,
    pub rows: i64,
}

impl Prepared {
    /// What stands before its name so that only what was rescued is meant: tables that inherit from it weren't.
    pub fn only(&self) -> &'static str {
        if self.is_partitioned { "" } else { "only" }
    }
}

/// Finds a table, and makes it ready.
pub async fn table(
    client: &Client,
    wanted: &Typed,
    wish: &Wish<'_>,
    destination: &Destination,
) -> Result<Prepared, Failure> {
    let (oid, schema, original, kind) = find(client, wanted, wish).await?;
    let (from, filter) = (told(&schema, &original), wish.filter);
    let is_own = destination.takes_its_own_name(&schema, &original).await?;
    let names = if is_own { &Names::Same } else { &wish.names };
    let mut oids = tree(client, oid).await?;
    let is_partitioned = kind == "p" && filter.is_none();
    if let Some(filter) = filter {
        let filtered = filter_into(client, &schema, &original, filter).await?;
        oids = vec![filtered];
    }
    if *names != Names::Same {
        rename(client, &oids, names).await?;
    }
    let name = names.of(&original);
    let mut relations = Vec::new();
    for oid in &oids {
        let (schema, name) = name_of(client, *oid).await?;
        relations.push(qualified(&schema, &name));
    }
    let mut prepared = Prepared { from, schema, name, original, relations, is_partitioned, rows: 0 };
    prepared.rows = super::count(client, prepared.only(), &qualified(&prepared.schema, &prepared.name)).await?;
    Ok(prepared)
}

/// As SQL reads what was typed; else what is called so letter by letter, when it is the only one.
async fn find(client: &Client, wanted: &Typed, wish: &Wish<'_>) -> Result<(u32, String, String, String), Failure> {
    let select = "select c.oid, n.nspname, c.relname, c.relkind::text from pg_class c \
                 join pg_namespace n on n.oid = c.relnamespace where";
    let found = client.query_opt(&format!("{select} c.oid = to_regclass($1)"), &[&wanted.in_sql()]).await;
    let mut rows: Vec<_> = found.map_err(failed)?.into_iter().collect();
    if rows.is_empty() {
        let literally = format!(
            "{select} c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema' \
             and $1 in (c.relname::text, n.nspname || '.' || c.relname)"
        );
        rows = client.query(&literally, &[&wanted.text]).await.map_err(failed)?;
    }
    if rows.len() > 1 {
        let names: Vec<String> = rows.iter().map(|row| told(row.get(1), row.get(2))).collect();
        let message = format!("{} could be any of {}", wanted.text, names.join(", "));
        return Err(Failure::new(FailureKind::Usage, message)
            .with_hint(format!("say which: `{}`", wish.line(&["--table", &names[0]]))));
    }
    let Some(row) = rows.pop() else { return Err(absent(client, wanted, wish).await) };
    let kind: String = row.get(3);
    if !["r", "p"].contains(&kind.as_str()) {
        let message = format!("{} was no table then", wanted.text);
        let hint = format!("`{}` lists the tables", wish.line(&["--list"]));
        return Err(Failure::new(FailureKind::Usage, message).with_hint(hint));
    }
    Ok((row.get(0), row.get(1), row.get(2), kind))
}

async fn absent(client: &Client, wanted: &Typed, wish: &Wish<'_>) -> Failure {
    let query = "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
                 where c.relkind in ('r', 'p') and n.nspname !~ '^pg_' and n.nspname <> 'information_schema'";
    let all: Vec<(String, String)> = match client.query(query, &[]).await {
        Ok(rows) => rows.iter().map(|row| (row.get(0), row.get(1))).collect(),
        Err(_) => Vec::new(),
    };
    // In another schema, or nearly so.
    let elsewhere = all.iter().find(|(_, name)| *name == wanted.name);
    let wholes: Vec<String> = all.iter().map(|(schema, name)| format!("{schema}.{name}")).collect();
    let near = || {
        let near = crate::config::nearest(
            &wanted.text,
            wholes.iter().chain(all.iter().map(|(_, name)| name)).map(String::as_str),
        )?;
        all.iter()
            .zip(&wholes)
            .find(|((_, name), whole)| near == whole.as_str() || near == name.as_str())
            .map(|(it, _)| it)
    };
    let (text, database) = (&wanted.text, &wish.database);
    let failure = Failure::new(FailureKind::NotFound, format!("there was no table {text} in database {database} then"));
    let list = format!("`{}` lists all of them; --database names another database", wish.line(&["--list"]));
    match elsewhere.or_else(near) {
        Some((schema, name)) => {
            let near = told(schema, name);
            failure.with_hint(format!("did you mean {near}? `{}`; {list}", wish.line(&["--table", &near])))
        }
        None => failure.with_hint(list),
    }
}

/// A table and its partitions, parents first.
async fn tree(client: &Client, oid: u32) -> Result<Vec<u32>, Failure> {
    let query = "with recursive below as (select $1::oid as oid, 0 as depth union all \
                 select i.inhrelid, below.depth + 1 from pg_inherits i join below on i.inhparent = below.oid \
                 join pg_class c on c.oid = i.inhrelid where c.relispartition) select oid from below order by depth, oid";
    let rows = client.query(query, &[&oid]).await.map_err(failed)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn name_of(client: &Client, oid: u32) -> Result<(String, String), Failure> {
    let query =
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1";
    let row = client.query_one(query, &[&oid]).await.map_err(failed)?;
    Ok((row.get(0), row.get(1)))
}

/// Columns that can be written.
pub async fn columns(client: &Client, table: &str) -> Result<String, Failure> {
    let query = "select coalesce(string_agg(quote_ident(attname), ', ' order by attnum), '') from pg_attribute \
                 where attrelid = to_regclass($1) and attnum > 0 and not attisdropped and attgenerated = ''";
    Ok(client.query_one(query, &[&table]).await.map_err(failed)?.get(0))
}

/// Only some rows: a table of its own takes the name, so that no more is read than the condition needs. It has no defaults: those may need
/// sequences that aren't where it goes.
async fn filter_into(client: &Client, schema: &str, name: &str, filter: &str) -> Result<u32, Failure> {
    let (whole, aside) = (qualified(schema, name), quoted("lifeboat_rescue_whole"));
    let some = qualified(schema, "lifeboat_rescue_some");
    let columns = columns(client, &whole).await?;
    let sentence = format!(
        "create table {some} (like {whole} including all excluding defaults excluding identity); \
         insert into {some} ({columns}) overriding system value select {columns} from {whole} where ({filter}\n);"
    );
    client.batch_execute(&sentence).await.map_err(|error| {
        failed_as_typed(error)
            .while_doing(format!("select the rows of {} where {filter}", told(schema, name)))
            .with_hint("--where takes an SQL condition, such as \"customer = 7\"")
    })?;
    let rename = format!("alter table {whole} rename to {aside}; alter table {some} rename to {}", quoted(name));
    client.batch_execute(&rename).await.map_err(failed)?;
    Ok(client.query_one("select to_regclass($1)::oid", &[&whole]).await.map_err(failed)?.get(0))
}

/// Gives tables, their indexes, sequences and statistics names that the present doesn't have, and takes away what acts on
/// others: foreign keys, triggers, rules, policies.
async fn rename(client: &Client, oids: &[u32], names: &Names) -> Result<(), Failure> {
    let removed = "select format('alter table %s drop constraint %I', conrelid::regclass, conname) from pg_constraint \
            where conrelid = any($1) and contype = 'f' and conparentid = 0 \
        union all select format('drop trigger %I on %s', tgname, tgrelid::regclass) from pg_trigger \
            where tgrelid = any($1) and not tgisinternal and tgparentid = 0 \
        union all select format('drop rule %I on %s', rulename, ev_class::regclass) from pg_rewrite where ev_class = any($1) \
        union all select format('drop policy %I on %s', polname, polrelid::regclass) from pg_policy where polrelid = any($1) \
        union all select format('alter table %s disable row level security, no force row level security', oid::regclass) \
            from pg_class where oid = any($1) and relrowsecurity";
    let others = "select 'index', n.nspname, c.relname from pg_index i join pg_class c on c.oid = i.indexrelid \
            join pg_namespace n on n.oid = c.relnamespace where i.indrelid = any($1) \
        union all select 'sequence', n.nspname, c.relname from pg_depend d join pg_class c on c.oid = d.objid \
            join pg_namespace n on n.oid = c.relnamespace \
            where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = any($1) \
            and d.deptype in ('a', 'i') and c.relkind = 'S' \
        union all select 'statistics', n.nspname, s.stxname from pg_statistic_ext s \
            join pg_namespace n on n.oid = s.stxnamespace where s.stxrelid = any($1) \
        union all select 'table', n.nspname, c.relname from pg_class c \
            join pg_namespace n on n.oid = c.relnamespace where c.oid = any($1)";
    for row in client.query(removed, &[&oids]).await.map_err(failed)? {
        client.batch_execute(row.get(0)).await.map_err(failed)?;
    }
    for row in client.query(others, &[&oids]).await.map_err(failed)? {
        let (kind, schema, name): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let sentence = format!("alter {kind} {} rename to {}", qualified(&schema, &name), quoted(&names.of(&name)));
        client.batch_execute(&sentence).await.map_err(failed)?;
    }
    Ok(())
}
