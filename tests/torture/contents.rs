//! Everything that a cluster holds, thing by thing, as texts that can be compared.
//!
//! Tables with all rows, their indexes and tablespaces, large objects, prepared transactions, databases. Not: the table that
//! other clients write to meanwhile (the ledger judges it), and what no log protects (rows of unlogged tables).

use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use std::collections::BTreeMap;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Each thing with a digest of what is in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents(BTreeMap<String, String>);

/// Tables: name, whether unlogged, tablespace, indexes.
const TABLES: &str = "select format('%I.%I', n.nspname, c.relname), c.relpersistence::text, coalesce(s.spcname, ''), \
    coalesce((select string_agg(i.relname || ':' || x.indisvalid || ':' || coalesce(t.spcname, ''), ',' order by i.relname) \
        from pg_index x join pg_class i on i.oid = x.indexrelid left join pg_tablespace t on t.oid = i.reltablespace \
        where x.indrelid = c.oid), '') \
    from pg_class c join pg_namespace n on n.oid = c.relnamespace left join pg_tablespace s on s.oid = c.reltablespace \
    where c.relkind in ('r', 'm') and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%' \
    and c.relname <> 'ledger' order by 1";

const OBJECTS: &str = "select 'large objects', count(*) || ' ' || coalesce(md5(string_agg(oid || md5(lo_get(oid)), ',' \
    order by oid)), '-') from pg_largeobject_metadata";

const PREPARED: &str = "select 'prepared', coalesce(string_agg(gid, ',' order by gid), '') from pg_prepared_xacts \
    where database = current_database()";

/// A connection to one database.
pub async fn connect(cluster: &TestCluster, database: &str) -> Result<Client> {
    // The last word about a name wins.
    let info = format!("{} dbname={database}", cluster.connection_string());
    let (client, connection) =
        tokio_postgres::connect(&info, NoTls).await.with_context(|| format!("open {database}"))?;
    tokio::spawn(connection);
    Ok(client)
}

/// All rows of a query, as texts.
pub async fn rows(client: &Client, query: &str) -> Result<Vec<Vec<String>>> {
    let messages = client.simple_query(query).await.with_context(|| query.to_owned())?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}

impl Contents {
    /// Reads everything. Unlogged tables of a copy must be empty.
    pub async fn of(cluster: &TestCluster, is_copy: bool) -> Result<Self> {
        let mut found = BTreeMap::new();
        let own = connect(cluster, "postgres").await?;
        let databases = "select datname, coalesce(spcname, '') from pg_database \
            left join pg_tablespace t on t.oid = dattablespace where datallowconn and not datistemplate";
        for database in rows(&own, databases).await? {
            let [name, space] = &database[..] else { continue };
            found.insert(name.clone(), space.clone());
            let client = connect(cluster, name).await?;
            let mut parts = vec![OBJECTS.to_owned(), PREPARED.to_owned()];
            for table in rows(&client, TABLES).await? {
                let [table, persistence, space, indexes] = &table[..] else { continue };
                let inside = match (persistence.as_str(), is_copy) {
                    ("u", true) => format!("(select case count(*) when 0 then '' else 'has rows' end from {table})"),
                    ("u", false) => "''".to_owned(),
                    _ => format!(
                        "(select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text))), '-') \
                         from only {table} t)"
                    ),
                };
                parts.push(format!("select '{table}', '{persistence}|{space}|{indexes}|' || {inside}"));
            }
            for part in rows(&client, &parts.join(" union all ")).await.with_context(|| format!("read {name}"))? {
                let [what, digest] = &part[..] else { continue };
                found.insert(format!("{name}.{what}"), digest.clone());
            }
        }
        Ok(Self(found))
    }

    /// The same things with the same in them, or an error that names those that differ.
    pub fn must_be(&self, expected: &Self) -> Result<()> {
        let names = self.0.keys().chain(expected.0.keys());
        let mut differing: Vec<_> = names.filter(|name| self.0.get(*name) != expected.0.get(*name)).collect();
        differing.sort();
        differing.dedup();
        let shown: Vec<_> =
            differing.iter().take(5).map(|name| (name, expected.0.get(*name), self.0.get(*name))).collect();
        ensure!(differing.is_empty(), "{} things differ (name, expected, found): {shown:?}", differing.len());
        Ok(())
    }
}
