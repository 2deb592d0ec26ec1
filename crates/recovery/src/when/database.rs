//! What is known of the databases of a cluster: their `pg_class`, their schemas, their names.

use super::name::TableName;
use lifeboat_postgres::catalog::{
    CLASS_OID, ClassRow, DatabaseRow, NAMESPACE_OID, NamespaceRow, RowEvent, TrackedTable, parse_filenode_map,
};
use lifeboat_postgres::layout::Place;
use lifeboat_postgres::wal::{Contents, InflateZstandard, Record, RelationLocator};
use lifeboat_postgres::{Lsn, MajorVersion};
use std::collections::{BTreeMap, HashMap};

/// One database.
#[derive(Debug, Clone)]
pub struct Database {
    /// Where its files are.
    pub place: Place,
    /// The file of `pg_class`.
    pub class_file: RelationLocator,
    /// The rows of `pg_class`.
    pub class: TrackedTable,
    /// The file of `pg_namespace`, if known.
    pub namespace_file: Option<RelationLocator>,
    /// Its rows.
    pub namespace: TrackedTable,
    /// Part of the log is missing since this was read, or `pg_class` was written anew.
    pub is_stale: bool,
}

impl Database {
    /// The files that entries of `pg_class` name for a catalog.
    pub fn files_of(&self, oid: u32, version: MajorVersion) -> Vec<RelationLocator> {
        let rows = self.class.rows().filter(|row| !row.is_known_dead());
        let rows = rows.filter_map(|row| ClassRow::parse(row, version)).filter(|row| row.oid == oid);
        rows.filter_map(|row| row.locator(self.place)).collect()
    }
}

/// Which catalog a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Catalog {
    Class(u32),
    Namespace(u32),
}

/// All databases.
#[derive(Debug, Default)]
pub struct Known {
    pub databases: BTreeMap<u32, Database>,
    /// By number. Names are kept also of databases that are gone.
    pub database_names: BTreeMap<u32, String>,
    /// The file of `pg_database`, and its rows.
    pub names: (Option<RelationLocator>, TrackedTable),
    /// Schemas, by database and number; also those that are gone.
    schemas: BTreeMap<(u32, u32), String>,
    files: HashMap<RelationLocator, Catalog>,
    /// From which record on nobody could connect to a database any more.
    pub invalid_since: BTreeMap<u32, Lsn>,
    /// By which transaction the entry of a database was deleted last.
    deleted_by: BTreeMap<u32, u32>,
}

impl Known {
    /// The name of a database; its number when it isn't known.
    pub fn database_name(&self, oid: u32) -> String {
        self.database_names.get(&oid).cloned().unwrap_or_else(|| oid.to_string())
    }

    /// All names of a table.
    pub fn name(&self, database: u32, row: &ClassRow) -> TableName {
        let schema = self.schemas.get(&(database, row.namespace)).cloned();
        TableName {
            database: self.database_name(database),
            schema: schema.unwrap_or_else(|| row.namespace.to_string()),
            table: row.name.clone(),
        }
    }

    /// Whether the transaction deleted the database's entry.
    pub fn is_deleted(&self, database: u32, xid: u32) -> bool {
        self.deleted_by.get(&database) == Some(&xid)
    }

    /// Takes the names of schemas.
    pub fn schemas_from(&mut self, oid: u32, database: &Database) {
        let rows = database.namespace.rows().filter(|row| !row.is_known_dead()).filter_map(NamespaceRow::parse);
        self.schemas.extend(rows.map(|row| ((oid, row.oid), row.name)));
    }

    /// No file is this database's any more.
    pub fn forget_files(&mut self, oid: u32) {
        self.files.retain(|_, catalog| !matches!(catalog, Catalog::Class(of) | Catalog::Namespace(of) if *of == oid));
    }

    /// Finds the files of the catalogs that are followed.
    pub fn index(&mut self, oid: u32, version: MajorVersion) {
        let Some(database) = self.databases.get_mut(&oid) else { return };
        self.files.insert(database.class_file, Catalog::Class(oid));
        if database.namespace_file.is_none() {
            database.namespace_file = database.files_of(NAMESPACE_OID, version).pop();
        }
        if let Some(file) = database.namespace_file {
            self.files.insert(file, Catalog::Namespace(oid));
        }
    }

    /// An entry of `pg_class` changed: perhaps that of the schemas, which were written anew.
    pub fn moved(&mut self, oid: u32, row: &ClassRow) {
        let Some(database) = self.databases.get_mut(&oid).filter(|_| row.oid == NAMESPACE_OID) else { return };
        let file = row.locator(database.place);
        if file.is_some() && file != database.namespace_file {
            database.namespace_file = file;
            self.files.extend(file.map(|file| (file, Catalog::Namespace(oid))));
        }
    }

    /// A database has a new map: it is new, or its `pg_class` was written anew, before anybody knew under which number.
    pub fn map(&mut self, oid: u32, place: Place, bytes: &[u8]) {
        let file = parse_filenode_map(bytes).ok().and_then(|map| map.get(&CLASS_OID).copied());
        let Some(relfilenode) = file else { return };
        let class_file = RelationLocator { place, relfilenode };
        if self.databases.get(&oid).is_some_and(|known| known.class_file == class_file) {
            return;
        }
        let known = self.databases.remove(&oid);
        self.forget_files(oid);
        self.files.insert(class_file, Catalog::Class(oid));
        let database = Database {
            place,
            class_file,
            class: TrackedTable::default(),
            namespace_file: known.as_ref().and_then(|known| known.namespace_file),
            is_stale: known.is_some(),
            namespace: known.map(|known| known.namespace).unwrap_or_default(),
        };
        self.files.extend(database.namespace_file.map(|file| (file, Catalog::Namespace(oid))));
        self.databases.insert(oid, database);
    }

    /// Applies a record to the catalog that `relation` is a file of, and tells what happened to `pg_class`.
    pub fn apply(
        &mut self,
        relation: RelationLocator,
        record: &Record,
        contents: &Contents<'_>,
        (version, zstandard): (MajorVersion, Option<InflateZstandard>),
    ) -> Vec<(u32, RowEvent)> {
        if self.names.0 == Some(relation) {
            let events = self.names.1.apply(relation, record, contents, zstandard);
            for event in &events {
                if let RowEvent::Deleted(Some(row)) = event
                    && let Some(row) = DatabaseRow::parse(row, version)
                {
                    self.deleted_by.insert(row.oid, record.header.xid);
                }
            }
            for row in rows(events) {
                let Some(row) = DatabaseRow::parse(&row, version) else { continue };
                if row.is_invalid {
                    self.invalid_since.entry(row.oid).or_insert(record.start);
                }
                self.database_names.insert(row.oid, row.name);
            }
        }
        match self.files.get(&relation).copied() {
            Some(Catalog::Class(oid)) => {
                let Some(database) = self.databases.get_mut(&oid) else { return Vec::new() };
                let events = database.class.apply(relation, record, contents, zstandard);
                events.into_iter().map(|event| (oid, event)).collect()
            }
            Some(Catalog::Namespace(oid)) => {
                let Some(database) = self.databases.get_mut(&oid) else { return Vec::new() };
                for row in rows(database.namespace.apply(relation, record, contents, zstandard)) {
                    NamespaceRow::parse(&row)
                        .into_iter()
                        .for_each(|row| drop(self.schemas.insert((oid, row.oid), row.name)));
                }
                Vec::new()
            }
            None => Vec::new(),
        }
    }
}

/// The rows that are there after something happened.
fn rows(events: Vec<RowEvent>) -> Vec<lifeboat_postgres::catalog::StoredRow> {
    let rows = events.into_iter().flat_map(|event| match event {
        RowEvent::Inserted(row) | RowEvent::Updated(_, row) | RowEvent::Overwritten(row) => row.into_iter().collect(),
        RowEvent::Page(rows) => rows,
        RowEvent::Deleted(_) => Vec::new(),
    });
    rows.filter(|row| !row.is_known_dead()).collect()
}
