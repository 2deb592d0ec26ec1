//! The columns at the front of the rows of three catalogs. They have fixed lengths and are never null.
//!
//! Source: `pg_class.h`, `pg_namespace.h`, `pg_database.h` of PostgreSQL 14 to 18. The columns up to `relallvisible` are
//! the same in all; 18 has one more behind it.

use super::tuple::StoredRow;
use crate::MajorVersion;
use crate::layout::Place;
use crate::little_endian::{u8_at, u32_at};
use crate::wal::RelationLocator;

/// `NAMEDATALEN`
const NAME_BYTES: usize = 64;
const DEFAULT_TABLESPACE: u32 = 1663;
/// `DATCONNLIMIT_INVALID_DB`
const INVALID_DATABASE: i32 = -2;

/// What an entry of `pg_class` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelationKind {
    /// Rows of its own.
    Table,
    /// Rows of a query.
    MaterializedView,
    /// Its rows are those of other tables.
    PartitionedTable,
    /// Anything else: an index, a view, a sequence, what is too long for a row.
    Other,
}

/// A row of `pg_class`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassRow {
    /// The table's number, the same as long as it lives.
    pub oid: u32,
    /// Its name, without a schema.
    pub name: String,
    /// The number of its schema.
    pub namespace: u32,
    /// The number that names its files; 0 when it has none, or the map has it.
    pub relfilenode: u32,
    /// Where they lie; 0: where its database does.
    pub tablespace: u32,
    /// How many rows it had when somebody last counted or guessed; none: nobody did.
    pub rows_estimated: Option<u64>,
    /// What it is.
    pub kind: RelationKind,
}

/// A row of `pg_namespace`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceRow {
    /// The schema's number.
    pub oid: u32,
    /// Its name.
    pub name: String,
}

/// A row of `pg_database`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseRow {
    /// The database's number.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// It is being dropped: nobody can connect to it any more, whatever becomes of the transaction.
    pub is_invalid: bool,
}

/// A name; not valid UTF-8 becomes `�`, as in a database with another encoding.
fn name(columns: &[u8], at: usize) -> Option<String> {
    let name = columns.get(at..at + NAME_BYTES)?.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

impl ClassRow {
    /// From the columns, written by that version.
    pub fn parse(row: &StoredRow, version: MajorVersion) -> Option<Self> {
        let columns = row.columns();
        let kind_at = if version >= MajorVersion::V18 { 119 } else { 115 };
        let rows = f32::from_bits(u32_at(columns, 100)?);
        Some(Self {
            oid: u32_at(columns, 0)?,
            name: name(columns, 4)?,
            namespace: u32_at(columns, 68)?,
            relfilenode: u32_at(columns, 88)?,
            tablespace: u32_at(columns, 92)?,
            rows_estimated: (rows >= 0.0).then_some(rows as u64),
            kind: match u8_at(columns, kind_at)? {
                b'r' => RelationKind::Table,
                b'm' => RelationKind::MaterializedView,
                b'p' => RelationKind::PartitionedTable,
                _ => RelationKind::Other,
            },
        })
    }

    /// Its files. `place` is where those of its database are. None when it has none of its own.
    pub fn locator(&self, place: Place) -> Option<RelationLocator> {
        let place = match (self.tablespace, place) {
            (0, place) | (_, place @ Place::Global) => place,
            (DEFAULT_TABLESPACE, Place::Database { database } | Place::Tablespace { database, .. }) => {
                Place::Database { database }
            }
            (tablespace, Place::Database { database } | Place::Tablespace { database, .. }) => {
                Place::Tablespace { tablespace, database }
            }
        };
        (self.relfilenode != 0).then_some(RelationLocator { place, relfilenode: self.relfilenode })
    }
}

impl NamespaceRow {
    /// From the columns.
    pub fn parse(row: &StoredRow) -> Option<Self> {
        Some(Self { oid: u32_at(row.columns(), 0)?, name: name(row.columns(), 4)? })
    }
}

impl DatabaseRow {
    /// From the columns, written by that version.
    pub fn parse(row: &StoredRow, version: MajorVersion) -> Option<Self> {
        let columns = row.columns();
        // `datconnlimit`: 14 has the names of the locale before it.
        let limit = u32_at(columns, if version >= MajorVersion::V15 { 80 } else { 208 })?;
        let is_invalid = limit.cast_signed() == INVALID_DATABASE;
        Some(Self { oid: u32_at(columns, 0)?, name: name(columns, 4)?, is_invalid })
    }
}
