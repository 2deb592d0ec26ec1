//! Random statements, the traps of incremental copies among them: files that shrink and grow again, come and go, move, are
//! copied without a word in the log, or change without one.

use crate::contents::{connect, rows};
use crate::random::Random;
use anyhow::{Context, Result};
use lifeboat_components::TestCluster;

/// What was done.
#[derive(Debug)]
pub struct Done {
    pub shown: String,
    /// When it was one transaction.
    pub xid: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Change,
    Delete,
    CutAndRegrow,
    Truncate,
    Create,
    Drop,
    Rewrite,
    Index,
    Move,
    Persistence,
    CreateDatabase,
    InDatabase,
    DropDatabase,
    MoveDatabase,
    LargeObject,
    Prepare,
    Resolve,
    Roll,
    Look,
    Switch,
    Checkpoint,
}

const WEIGHTS: &[(u64, Kind)] = &[
    (10, Kind::Insert),
    (12, Kind::Change),
    (4, Kind::Delete),
    (10, Kind::CutAndRegrow),
    (4, Kind::Truncate),
    (6, Kind::Create),
    (3, Kind::Drop),
    (5, Kind::Rewrite),
    (3, Kind::Index),
    (5, Kind::Move),
    (2, Kind::Persistence),
    (3, Kind::CreateDatabase),
    (4, Kind::InDatabase),
    (2, Kind::DropDatabase),
    (2, Kind::MoveDatabase),
    (4, Kind::LargeObject),
    (4, Kind::Prepare),
    (5, Kind::Resolve),
    (2, Kind::Roll),
    (4, Kind::Look),
    (4, Kind::Switch),
    (5, Kind::Checkpoint),
];

/// Most tables of the main database, and most further databases.
const TABLES_MAX: usize = 8;
const DATABASES_MAX: usize = 2;
/// A table larger than this is emptied next time.
const TABLE_BYTES_MAX: u64 = 6 << 20;

/// What is there to work on.
struct Scene<'a> {
    cluster: &'a TestCluster,
    /// A backup is under way: then no database is made file by file. Replay repeats the copy from what the backup has of the
    /// template, with what changed there since (PostgreSQL's documentation, "Caveats" of continuous archiving).
    is_backed_up: bool,
    tables: Vec<(String, u64)>,
    databases: Vec<String>,
    prepared: Vec<String>,
    spaces: &'a [String],
}

/// Before anything else: what the batches expect to be there.
pub async fn prepare(cluster: &TestCluster) -> Result<()> {
    let client = connect(cluster, "postgres").await?;
    let statements = "create table twophase (n bigint); create table t0 (a int, b int, c text); \
        create table t1 (a int, b int, c text) tablespace fast; create unlogged table t2 (a int, b int, c text); \
        create table t3 (a int, b int, c text) with (fillfactor = 70); create index t0_a on t0 (a); \
        create index t1_a on t1 (a) tablespace slow; create index t2_a on t2 (a); create index t3_a on t3 (a); \
        select lo_from_bytea(0, decode(repeat(md5('first'), 500), 'hex'))";
    client.batch_execute(statements).await?;
    for (table, count) in [("t0", 5000), ("t1", 1000), ("t2", 100), ("t3", 3000)] {
        client.batch_execute(&grow(table, count, 0, 2)).await?;
    }
    client.batch_execute("create database d0").await?;
    Ok(())
}

/// One batch.
pub async fn batch(cluster: &TestCluster, random: &mut Random, spaces: &[String], is_backed_up: bool) -> Result<Done> {
    let client = connect(cluster, "postgres").await?;
    let first = |rows: Vec<Vec<String>>| rows.into_iter().filter_map(|row| row.into_iter().next()).collect::<Vec<_>>();
    let tables = "select relname, pg_total_relation_size(oid)::text from pg_class \
        where relkind = 'r' and relname ~ '^t[0-9]$' order by 1";
    let tables = rows(&client, tables).await?;
    let scene = Scene {
        cluster,
        is_backed_up,
        tables: tables.into_iter().map(|row| (row[0].clone(), row[1].parse().unwrap_or_default())).collect(),
        databases: first(rows(&client, "select datname from pg_database where datname ~ '^d[0-9]$' order by 1").await?),
        prepared: first(rows(&client, "select gid from pg_prepared_xacts order by 1").await?),
        spaces,
    };
    // A prepared transaction holds up VACUUM: most of the time it ends soon.
    let kind = match scene.prepared.len() {
        0 => random.weighted(WEIGHTS),
        _ if random.chance(40) => Kind::Resolve,
        _ => random.weighted(WEIGHTS),
    };
    let (database, statements) = scene.statements(kind, random);
    let client = if database == "postgres" { client } else { connect(cluster, &database).await? };
    let is_plain = matches!(kind, Kind::Insert | Kind::Change | Kind::Delete) && random.chance(70);
    if is_plain {
        let text = format!("begin; {}; select txid_current(); commit", statements.join("; "));
        let xid = rows(&client, &text).await?.last().and_then(|row| row[0].parse().ok());
        return Ok(Done { shown: format!("{kind:?} in one transaction: {}", statements.join("; ")), xid });
    }
    for statement in &statements {
        client.simple_query(statement).await.with_context(|| format!("{kind:?}: {statement}"))?;
    }
    Ok(Done { shown: format!("{kind:?}: {}", statements.join("; ")), xid: None })
}

impl Scene<'_> {
    /// In which database, and what.
    fn statements(&self, kind: Kind, random: &mut Random) -> (String, Vec<String>) {
        let main = |statements: Vec<String>| ("postgres".to_owned(), statements);
        let salt = random.below(1_000_000);
        let Some((table, bytes)) = random.pick(&self.tables).cloned() else {
            return main(self.create(random, salt));
        };
        if bytes > TABLE_BYTES_MAX {
            return main(vec![format!("truncate {table}"), grow(&table, 50, salt, 1)]);
        }
        match kind {
            Kind::Insert => main(vec![grow(&table, 1 + random.below(1500), salt, 1 + random.below(12))]),
            Kind::Change => {
                let (of, which) = (2 + random.below(200), random.below(200));
                main(vec![format!(
                    "update {table} set b = b + 1, c = md5(c || '{salt}') where a % {of} = {which} % {of}"
                )])
            }
            Kind::Delete => main(vec![format!("delete from {table} where a % 3 = {}", random.below(3))]),
            Kind::CutAndRegrow => main(cut_and_regrow(&table, random, salt)),
            Kind::Truncate => main(vec![format!("truncate {table}"), copy(&table, 1 + random.below(2500), salt)]),
            Kind::Create if self.tables.len() < TABLES_MAX => main(self.create(random, salt)),
            Kind::Drop if self.tables.len() > 2 => main(vec![format!("drop table {table}")]),
            Kind::Rewrite => main(vec![match random.below(4) {
                0 => format!("cluster {table} using {table}_a"),
                1 => format!("vacuum full {table}"),
                2 => format!("reindex table {table}"),
                _ => format!("vacuum (freeze) {table}"),
            }]),
            Kind::Index => main(vec![
                format!("drop index if exists {table}_b"),
                format!("create index {table}_b on {table} (b, c)"),
            ]),
            Kind::Move => main(vec![match random.chance(70) {
                true => format!("alter table {table} set tablespace {}", self.space(random)),
                false => format!("alter index {table}_a set tablespace {}", self.space(random)),
            }]),
            Kind::Persistence => {
                let to = if random.chance(70) { "logged" } else { "unlogged" };
                main(vec![format!("alter table {table} set {to}")])
            }
            Kind::CreateDatabase | Kind::InDatabase | Kind::DropDatabase | Kind::MoveDatabase => {
                self.about_databases(kind, random, salt)
            }
            Kind::LargeObject => main(vec![match random.below(3) {
                0 => {
                    "select lo_unlink(oid) from (select oid from pg_largeobject_metadata order by oid limit 1) x".into()
                }
                _ => {
                    format!("select lo_from_bytea(0, decode(repeat(md5('{salt}'), {}), 'hex'))", 1 + random.below(800))
                }
            }]),
            Kind::Prepare if self.prepared.len() < 3 => main(vec![
                "begin".into(),
                format!("insert into twophase values ({salt})"),
                format!("prepare transaction 'p{salt}'"),
            ]),
            Kind::Resolve if !self.prepared.is_empty() => {
                let how = if random.chance(70) { "commit" } else { "rollback" };
                main(random.pick(&self.prepared).map(|gid| format!("{how} prepared '{gid}'")).into_iter().collect())
            }
            Kind::Roll => main(vec!["begin".into(), grow(&table, 800, salt, 3), "rollback".into()]),
            // Notes on each page that its rows are committed: a change without a transaction.
            Kind::Look => main(vec![format!("select count(*), max(c) from {table}"), "checkpoint".into()]),
            Kind::Switch => main(vec!["select pg_switch_wal()".into()]),
            _ => main(vec!["checkpoint".into()]),
        }
    }

    fn space(&self, random: &mut Random) -> String {
        let all: Vec<String> = self.spaces.iter().cloned().chain(["pg_default".to_owned()]).collect();
        random.pick(&all).cloned().unwrap_or_default()
    }

    fn create(&self, random: &mut Random, salt: u64) -> Vec<String> {
        let is_free = |name: &String| !self.tables.iter().any(|(table, _)| table == name);
        let Some(name) = (0..10).map(|number| format!("t{number}")).find(is_free) else { return Vec::new() };
        let unlogged = if random.chance(15) { "unlogged " } else { "" };
        let fill = ["", " with (fillfactor = 60)"][random.below(2) as usize];
        vec![
            format!("create {unlogged}table {name} (a int, b int, c text){fill} tablespace {}", self.space(random)),
            format!("create index {name}_a on {name} (a)"),
            match random.chance(50) {
                true => copy(&name, 1 + random.below(2500), salt),
                false => grow(&name, 1 + random.below(1500), salt, 1 + random.below(6)),
            },
        ]
    }

    fn about_databases(&self, kind: Kind, random: &mut Random, salt: u64) -> (String, Vec<String>) {
        let some = random.pick(&self.databases).cloned();
        match (kind, some) {
            (Kind::InDatabase, Some(name)) => {
                let table = "create table if not exists t (a int, b int, c text)".to_owned();
                let change = format!("update t set c = md5(c || '{salt}') where a % 5 = {}", random.below(5));
                (name, vec![table, grow("t", 1 + random.below(1000), salt, 2), change])
            }
            (Kind::DropDatabase, Some(name)) => ("postgres".into(), vec![format!("drop database {name} with (force)")]),
            (Kind::MoveDatabase, Some(name)) => {
                let to = self.space(random);
                ("postgres".into(), vec![format!("alter database {name} set tablespace {to}")])
            }
            (Kind::CreateDatabase, template) if self.databases.len() < DATABASES_MAX => {
                let is_free = |name: &String| !self.databases.contains(name);
                let name = (0..10).map(|number| format!("d{number}")).find(is_free).unwrap_or_default();
                let template = template.filter(|_| random.chance(70)).unwrap_or("template1".into());
                let strategy = match self.cluster.major() {
                    14 if self.is_backed_up => return ("postgres".into(), vec!["checkpoint".into()]),
                    14 => "",
                    _ if self.is_backed_up => " strategy wal_log",
                    _ => ["", " strategy file_copy", " strategy wal_log"][random.below(3) as usize],
                };
                ("postgres".into(), vec![format!("create database {name} template {template}{strategy}")])
            }
            _ => ("postgres".into(), vec!["checkpoint".into()]),
        }
    }
}

/// Cut off by VACUUM and regrown by COPY, the classic: blocks that are there again under the same numbers.
fn cut_and_regrow(table: &str, random: &mut Random, salt: u64) -> Vec<String> {
    let tenths = 1 + random.below(9);
    let mut statements = vec![
        format!(
            "delete from {table} where ctid > ('(' || pg_relation_size('{table}') * {tenths} / 81920 || ',1)')::tid"
        ),
        format!("vacuum (truncate) {table}"),
    ];
    if random.chance(30) {
        statements.push("checkpoint".into());
    }
    if random.chance(75) {
        statements.push(copy(table, 1 + random.below(3000), salt));
    }
    statements
}

fn grow(table: &str, count: u64, salt: u64, repeat: u64) -> String {
    format!(
        "insert into {table} select coalesce((select max(a) from {table}), 0) + g, g % 10, \
         repeat(md5((g + {salt})::text), {repeat}) from generate_series(1, {count}) g"
    )
}

fn copy(table: &str, count: u64, salt: u64) -> String {
    format!("copy {table} from program 'seq 1 {count} | sed s/$/,1,copied-{salt}-by-the-server/' (format csv)")
}
