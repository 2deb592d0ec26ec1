//! System catalogs without a server: which file holds which table, and what it is called.
//!
//! - [`parse_filenode_map`]: the files of the catalogs that can't look themselves up.
//! - [`page_rows`]: the rows on a page, whole versions and dead ones.
//! - [`ClassRow`], [`NamespaceRow`], [`DatabaseRow`]: what the columns at the front of a row say.
//! - [`TrackedTable`]: the rows of a small table, kept as the log changes them.
//!
//! Not here: reading files; which transaction is visible to whom.

mod filenode_map;
mod rows;
mod tracked;
mod tuple;

pub use filenode_map::{FILENODE_MAP_BYTES_MAX, FilenodeMapError, parse_filenode_map};
pub use rows::{ClassRow, DatabaseRow, NamespaceRow, RelationKind};
pub use tracked::{RowEvent, TrackedTable};
pub use tuple::{StoredRow, page_rows};

/// `pg_class`, by its oid.
pub const CLASS_OID: u32 = 1259;
/// `pg_database`.
pub const DATABASE_OID: u32 = 1262;
/// `pg_namespace`.
pub const NAMESPACE_OID: u32 = 2615;
