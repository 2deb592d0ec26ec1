//! A PostgreSQL cluster: backing it up while it runs, keeping its write-ahead log, writing it back.

mod appearance;
mod assemble;
pub mod backup;
mod baseline;
mod capture;
mod details;
mod error;
mod lock;
mod page_check;
pub mod restore;
mod scan;
mod suspects;
mod throttle;
pub mod wal;

pub use details::{BadPage, DETAILS_VERSION, PostgresDetails, TablespaceDetails};
pub use error::BackupError;

/// The unit in which change is found: PostgreSQL's page. Files that have no pages are cut the same way.
pub const BLOCK_BYTES: u64 = 8192;
