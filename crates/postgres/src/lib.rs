//! PostgreSQL from the outside: its files, its write-ahead log, its wire, its processes. Versions 14 to 18.
//!
//! Not here: repositories, backups as a whole. This crate can be used alone to read a control file, check pages,
//! follow a replication stream or start a cluster.

// Decoders of foreign bytes: pure, bounded, fuzzed.
pub mod catalog;
pub mod control;
pub mod history;
pub mod label;
pub mod layout;
mod little_endian;
pub mod lsn;
pub mod manifest;
pub mod page;
pub mod tar;
pub mod version;
pub mod wal;
pub mod wal_file;

// Rooms that touch the world.
pub mod backup_session;
pub mod cluster;
pub mod connection;
pub mod inspection;
pub mod replication;
pub mod standbys;

pub use lsn::{Lsn, SystemId, TimelineId};
pub use version::MajorVersion;
