//! What a cluster holds, table by table, and whether its files are sound.

use crate::world::last_lines;
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use std::collections::BTreeMap;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The rows of every table of every database, as their number and a digest of all of them in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents(BTreeMap<String, String>);

const TABLES: &str = "select format('%I.%I', n.nspname, c.relname) from pg_class c \
    join pg_namespace n on n.oid = c.relnamespace \
    where c.relkind in ('r', 'm') and n.nspname <> 'information_schema' and n.nspname not like 'pg\\_%' order by 1";

impl Contents {
    /// Reads everything.
    pub async fn of(cluster: &TestCluster) -> Result<Self> {
        let mut found = BTreeMap::new();
        let own = cluster.connect().await?;
        for row in own.query("select datname from pg_database where datallowconn and not datistemplate", &[]).await? {
            let database: String = row.get(0);
            let (client, connection) =
                tokio_postgres::connect(&format!("{} dbname={database}", cluster.connection_string()), NoTls).await?;
            tokio::spawn(connection);
            for table in client.query(TABLES, &[]).await? {
                let name: String = table.get(0);
                // Rows one after the other in their own order; the tables here fit into memory.
                let ask = format!(
                    "select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text))), '-') \
                     from only {name} t"
                );
                let digest: String = client.query_one(&ask, &[]).await.with_context(|| format!("read {name}"))?.get(0);
                found.insert(format!("{database}.{name}"), digest);
            }
        }
        Ok(Self(found))
    }

    /// The same tables with the same rows, or an error that names those that differ.
    pub fn must_be(&self, expected: &Self) -> Result<()> {
        let names = self.0.keys().chain(expected.0.keys());
        let mut differing: Vec<_> = names.filter(|name| self.0.get(*name) != expected.0.get(*name)).collect();
        differing.sort();
        differing.dedup();
        let shown: Vec<_> =
            differing.iter().take(5).map(|name| (name, expected.0.get(*name), self.0.get(*name))).collect();
        ensure!(differing.is_empty(), "{} tables differ (name, expected, found): {shown:?}", differing.len());
        Ok(())
    }

    /// The same without one table.
    pub fn without(mut self, name: &str) -> Self {
        self.0.remove(name);
        self
    }

    /// Number of tables.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Every page by its checksum, every table by amcheck, and every index against its table. The cluster is stopped and started. Returns by what
/// means: not every installation has PostgreSQL's own programs for it, and then its functions do the same.
pub async fn sound_by(copy: &mut TestCluster) -> Result<String> {
    let has = |copy: &TestCluster, program: &str| copy.programs().join(program).is_file();
    let mut means = Vec::new();
    if copy.sql("show data_checksums").await?.as_deref() == Some("on") {
        copy.stop(Shutdown::Fast)?;
        if has(copy, "pg_checksums") {
            let mut command = copy.command("pg_checksums");
            let output = command.arg("--check").arg("-D").arg(copy.data_dir()).output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.success(), "pg_checksums says: {}", last_lines(&text));
            means.push("pg_checksums".to_owned());
            copy.start()?;
        } else {
            // So that nothing is in memory, and each page is looked at when it is read.
            copy.start()?;
            means.push(format!("{} pages read with checksums on", in_all(copy, PREWARM).await?));
        }
    }
    if has(copy, "pg_amcheck") {
        let mut command = copy.command("pg_amcheck");
        command.arg("-h").arg(copy.directory()).args(["-p", &copy.port().to_string(), "-U", "postgres"]);
        let output = command.args(["--all", "--install-missing", "--heapallindexed", "--jobs", "2"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pg_amcheck says: {}", last_lines(&text));
        means.push("pg_amcheck --heapallindexed".to_owned());
    } else {
        let tables = in_all(copy, CHECK_TABLES).await?;
        means.push(format!("verify_heapam of {tables} tables"));
        means.push(format!("bt_index_check(heapallindexed) of {} indexes", in_all(copy, CHECK_INDEXES).await?));
    }
    Ok(means.join(", "))
}

/// As [`sound_by`].
pub async fn must_be_sound(copy: &mut TestCluster) -> Result<()> {
    sound_by(copy).await.map(drop)
}

/// Every page of every fork but those of other sessions' temporary tables. As many as were read.
const PREWARM: &str = "create extension if not exists pg_prewarm; \
    select coalesce(sum(pg_prewarm(c.oid, 'buffer', fork)), 0)::text from pg_class c, unnest(array['main', 'fsm', 'vm', 'init']) fork \
    where c.relkind in ('r', 'i', 't', 'm', 'S') and c.relpersistence <> 't' and pg_relation_size(c.oid, fork) > 0";
/// What amcheck finds in a table is a row each: then this fails with the first.
const CHECK_TABLES: &str = "create extension if not exists amcheck; \
    do $$ declare t regclass; found record; begin \
        for t in select oid from pg_class where relkind in ('r', 't', 'm') and relam = 2 and relpersistence <> 't' loop \
            select * into found from verify_heapam(t) limit 1; \
            if found.msg is not null then raise exception '% block % item %: %', t, found.blkno, found.offnum, found.msg; end if; \
        end loop; end $$; \
    select count(*)::text from pg_class where relkind in ('r', 't', 'm') and relam = 2 and relpersistence <> 't'";
const CHECK_INDEXES: &str = "select count(bt_index_check(c.oid, true))::text from pg_class c join pg_index i on i.indexrelid = c.oid \
    where c.relam = 403 and c.relkind = 'i' and c.relpersistence <> 't' and i.indisvalid and i.indisready";

/// Asks in every database that lets somebody in. The sum of the answers.
async fn in_all(copy: &TestCluster, ask: &str) -> Result<u64> {
    let own = copy.connect().await?;
    let mut sum = 0;
    for row in own.query("select datname from pg_database where datallowconn", &[]).await? {
        let database: String = row.get(0);
        let line = format!("{} dbname={database}", copy.connection_string());
        let (client, connection) = tokio_postgres::connect(&line, NoTls).await?;
        tokio::spawn(connection);
        let answers = client.simple_query(ask).await.with_context(|| format!("in {database}: {ask}"))?;
        let number = answers.iter().rev().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        sum += number.context("a number")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// By either means: with PostgreSQL's own programs, and without.
#[tokio::test]
async fn what_is_unsound_is_found() -> Result<()> {
    for major in [15, 16] {
        let mut cluster = TestCluster::builder(major).create()?;
        cluster.start()?;
        let make = "create table t as select g as n from generate_series(1, 5000) g; create index t_n on t (n); create table u as select 1";
        cluster.sql(make).await?;
        eprintln!("PostgreSQL {major}: {}", sound_by(&mut cluster).await?);
        // Rows that the index knows nothing of.
        let ready = |is: bool| {
            format!("update pg_index set indisready = {is}, indisvalid = {is} where indexrelid = 't_n'::regclass")
        };
        cluster.sql(&ready(false)).await?;
        cluster.sql("insert into t select generate_series(6000, 6100)").await?;
        cluster.sql(&ready(true)).await?;
        let lacks = sound_by(&mut cluster).await.err().map(|error| format!("{error:?}")).unwrap_or_default();
        ensure!(lacks.contains("lacks matching index tuple"), "PostgreSQL {major}: {lacks}");
        cluster.sql("reindex index t_n").await?;
        sound_by(&mut cluster).await?;
        // One bit of a page.
        let path = cluster.sql("select pg_relation_filepath('u')").await?.context("a path")?;
        cluster.stop(Shutdown::Fast)?;
        let path = cluster.data_dir().join(path);
        let mut bytes = std::fs::read(&path)?;
        bytes[5000] ^= 1;
        std::fs::write(&path, bytes)?;
        cluster.start()?;
        ensure!(sound_by(&mut cluster).await.is_err(), "PostgreSQL {major}: a damaged page is called sound");
    }
    Ok(())
}
