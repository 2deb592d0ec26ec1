//! What there is to look into in one database, and with which functions of which version of `amcheck`.

use super::asking::chain;
use lifeboat_postgres::connection::{Client, DriverError, Error};

/// A table in ruins would otherwise fill memory with its findings.
const TABLE_FINDINGS_MAX: usize = 1000;

/// One database.
#[derive(Debug)]
pub struct Database {
    pub name: String,
    /// The largest first, so that no session is left with a large one at the end.
    pub relations: Vec<Relation>,
    /// What nobody will look at, and why.
    pub not_checked: Vec<String>,
    /// Statements that take the oid of a relation. Of tables: a row of text for each thing that is wrong.
    pub table_check: String,
    /// Of B-trees: an error.
    pub btree_check: String,
    /// Of GIN indexes: an error. PostgreSQL 18 has it.
    pub gin_check: Option<String>,
    /// Of tables: how many rows, and the first.
    pub visibility_check: Option<String>,
}

/// A table or an index.
#[derive(Debug)]
pub struct Relation {
    pub oid: u32,
    /// With its schema, quoted where needed.
    pub name: String,
    pub what: What,
    pub bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Table,
    Btree,
    Gin,
    /// Nothing that amcheck knows.
    Other,
}

/// Installs what is needed in this database of a copy, and lists what there is. An error is a sentence.
pub async fn look_at(client: &Client, name: &str) -> Result<Database, String> {
    let failed = |error| driver("list tables and indexes", error);
    // One that is there may be as old as the original's first version, without a check of tables.
    let install = "create extension if not exists amcheck with schema pg_catalog; alter extension amcheck update";
    client.batch_execute(install).await.map_err(|error| driver("install amcheck", error))?;
    let available = "select from pg_available_extensions where name = 'pg_visibility'";
    let has_visibility = !client.query(available, &[]).await.map_err(failed)?.is_empty();
    if has_visibility {
        let install = "create extension if not exists pg_visibility with schema pg_catalog";
        client.batch_execute(install).await.map_err(|error| driver("install pg_visibility", error))?;
    }
    let functions = Functions::of(client).await.map_err(failed)?;
    let mut database = functions.statements(name)?;
    if database.visibility_check.is_none() {
        database.not_checked.push(format!("visibility maps in database {name}: pg_visibility is not installed here"));
    }
    let (mut other, mut invalid) = (0, 0);
    for (relation, is_valid) in list(client).await.map_err(failed)? {
        match relation.what {
            What::Other => other += 1,
            What::Btree | What::Gin if !is_valid => invalid += 1,
            What::Gin if database.gin_check.is_none() => other += 1,
            _ => database.relations.push(relation),
        }
    }
    for (count, why) in [(other, "of a kind that amcheck doesn't know"), (invalid, "that PostgreSQL calls invalid")] {
        if count > 0 {
            database.not_checked.push(format!("{count} tables or indexes in database {name} {why}"));
        }
    }
    Ok(database)
}

/// All of them, with whether an index is valid.
async fn list(client: &Client) -> Result<Vec<(Relation, bool)>, DriverError> {
    let mut relations = Vec::new();
    for row in client.query(RELATIONS, &[]).await? {
        let (is_index, method): (bool, Option<String>) = (row.try_get(2)?, row.try_get(4)?);
        let what = match (is_index, method.as_deref()) {
            (false, Some("heap")) => What::Table,
            (true, Some("btree")) => What::Btree,
            (true, Some("gin")) => What::Gin,
            _ => What::Other,
        };
        let bytes = u64::try_from(row.try_get::<_, i64>(5)?).unwrap_or_default();
        relations.push((Relation { oid: row.try_get(0)?, name: row.try_get(1)?, what, bytes }, row.try_get(3)?));
    }
    Ok(relations)
}

/// Temporary tables of sessions that are gone are nobody's.
const RELATIONS: &str = "select c.oid, c.oid::regclass::text, c.relkind = 'i', \
    coalesce(i.indisvalid and i.indisready and i.indislive, true), a.amname::text, coalesce(pg_relation_size(c.oid), 0) \
    from pg_class c left join pg_am a on a.oid = c.relam left join pg_index i on i.indexrelid = c.oid \
    where c.relkind in ('r', 't', 'm', 'i') and c.relpersistence <> 't' order by 6 desc, 1";

/// The functions of both extensions: plain name, name with schema, number of arguments.
struct Functions(Vec<(String, String, i32)>);

impl Functions {
    async fn of(client: &Client) -> Result<Self, DriverError> {
        let query = "select p.proname::text, format('%I.%I', n.nspname, p.proname), p.pronargs::int4 \
            from pg_extension e join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid \
            and d.classid = 'pg_proc'::regclass join pg_proc p on p.oid = d.objid \
            join pg_namespace n on n.oid = p.pronamespace where e.extname in ('amcheck', 'pg_visibility')";
        let rows = client.query(query, &[]).await?;
        let functions = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        Ok(Self(functions.collect::<Result<_, DriverError>>()?))
    }

    /// Of the functions of that name the one with most arguments, with how many it takes.
    fn longest(&self, name: &str) -> Option<(&str, i32)> {
        let found = self.0.iter().filter(|(plain, ..)| plain == name).max_by_key(|(.., arguments)| *arguments);
        found.map(|(_, whole, arguments)| (whole.as_str(), *arguments))
    }

    fn statements(&self, name: &str) -> Result<Database, String> {
        let missing = |what: &str| format!("this amcheck has no {what}");
        let (table, _) = self.longest("verify_heapam").ok_or_else(|| missing("verify_heapam"))?;
        let (btree, arguments) =
            self.longest("bt_index_parent_check").ok_or_else(|| missing("bt_index_parent_check"))?;
        // heapallindexed, not rootdescend, which old indexes don't allow; since PostgreSQL 17: checkunique.
        let options = if arguments >= 4 { "true, false, true" } else { "true, false" };
        let gin = self.longest("gin_index_check").map(|(name, _)| format!("select {name}($1::oid::regclass)"));
        let visibility = self.longest("pg_check_visible").zip(self.longest("pg_check_frozen"));
        let visibility = visibility.map(|((visible, _), (frozen, _))| {
            format!(
                "select count(*), min(t_ctid)::text from (select t_ctid from {visible}($1::oid::regclass) \
                 union select t_ctid from {frozen}($1::oid::regclass)) wrong"
            )
        });
        Ok(Database {
            name: name.to_owned(),
            relations: Vec::new(),
            not_checked: Vec::new(),
            table_check: format!(
                "select format('block %s, item %s: %s', blkno, offnum, msg) \
                 from {table}($1::oid::regclass, false, true, 'none', null, null) limit {TABLE_FINDINGS_MAX}"
            ),
            btree_check: format!("select {btree}($1::oid::regclass, {options})"),
            gin_check: gin,
            visibility_check: visibility,
        })
    }
}

/// A failure of the driver as one sentence.
pub fn driver(action: &str, error: DriverError) -> String {
    chain(&Error::from_driver(action, error))
}
