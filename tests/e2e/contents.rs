//! What a cluster holds, table by table, and whether its files are sound.

use crate::world::last_lines;
use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use lifeboat_components::postgres::Shutdown;
use std::collections::BTreeMap;
use tokio_postgres::NoTls;

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

/// Every page and every index, as far as the version's programs are installed. The cluster is stopped and started.
pub async fn must_be_sound(copy: &mut TestCluster) -> Result<()> {
    let has = |copy: &TestCluster, program: &str| copy.programs().join(program).is_file();
    let has_checksums = copy.sql("show data_checksums").await?.as_deref() == Some("on");
    if has_checksums && has(copy, "pg_checksums") {
        copy.stop(Shutdown::Fast)?;
        let mut command = copy.command("pg_checksums");
        let output = command.arg("--check").arg("-D").arg(copy.data_dir()).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "pg_checksums says: {}", last_lines(&text));
        copy.start()?;
    }
    if has(copy, "pg_amcheck") {
        let mut command = copy.command("pg_amcheck");
        command.arg("-h").arg(copy.directory()).args(["-p", &copy.port().to_string(), "-U", "postgres"]);
        let output = command.args(["--all", "--install-missing", "--jobs", "2"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pg_amcheck says: {}", last_lines(&text));
    }
    Ok(())
}
