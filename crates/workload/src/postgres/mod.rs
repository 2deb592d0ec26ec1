//! A PostgreSQL cluster: backing it up while it runs, keeping its write-ahead log, writing it back.

mod details;
pub mod wal;

pub use details::{BadPage, DETAILS_VERSION, PostgresDetails, TablespaceDetails};
