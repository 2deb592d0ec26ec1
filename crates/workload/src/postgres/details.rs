//! What a recovery point of a PostgreSQL cluster says beside its files.

use lifeboat_postgres::{Lsn, MajorVersion, SystemId, TimelineId};
use lifeboat_repository::{Error, Point, Result};
use serde::{Deserialize, Serialize};

/// Version of this document.
pub const DETAILS_VERSION: u32 = 1;

/// The `details` of a point of kind `postgres`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresDetails {
    /// [`DETAILS_VERSION`].
    pub version: u32,
    /// Which cluster it is.
    pub system_id: SystemId,
    /// Its major version.
    pub major: MajorVersion,
    /// `server_version_num`, such as 170004.
    pub server_version_num: u32,
    /// Catalog version from the control file: part of the names of tablespace directories.
    pub catalog_version: u32,
    /// Timeline on which the backup was taken.
    pub timeline: TimelineId,
    /// Where replay must begin (the redo position of the starting checkpoint).
    pub lsn_start: Lsn,
    /// The point is consistent once replay has passed this position.
    pub lsn_stop: Lsn,
    /// When the backup ended, by the server's clock. Earlier moments cannot be reached from this point.
    pub stopped_at: jiff::Timestamp,
    /// Every transaction that had ended by then is in the log before `lsn_stop`: a little earlier than `stopped_at`, which
    /// stands for it in points of a time when it wasn't kept. Later moments need log from behind `lsn_stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_to: Option<jiff::Timestamp>,
    /// Size of a WAL segment in bytes.
    pub wal_segment_bytes: u64,
    /// Whether pages carry checksums.
    pub data_checksums: bool,
    /// Whether it was taken from a standby.
    pub from_standby: bool,
    /// Content of `backup_label`, hexadecimal, byte for byte as the server gave it.
    pub backup_label: String,
    /// Content of `tablespace_map`, likewise; empty when there are no tablespaces.
    pub tablespace_map: String,
    /// Tablespaces outside the data directory. Their files are in the tree under `pg_tblspc/<oid>/`.
    pub tablespaces: Vec<TablespaceDetails>,
    /// Where the data directory was.
    pub data_dir: String,
    /// Configuration files that lie outside the data directory and so are not in the point.
    pub outside_files: Vec<String>,
    /// Pages whose checksum was wrong on disk. The point was kept; these pages are as they were.
    pub bad_pages: Vec<BadPage>,
    /// When every page was last read, rather than known from the log to be unchanged. None in points of a time when every
    /// page always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_whole_at: Option<jiff::Timestamp>,
}

/// A tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablespaceDetails {
    /// Its oid, the name of the link in `pg_tblspc`.
    pub oid: u32,
    /// Where it was.
    pub path: String,
}

/// A page that was damaged before we read it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BadPage {
    /// File, relative to the data directory.
    pub path: String,
    /// Block number in the relation (over all its 1 GiB segments).
    pub block: u32,
    /// Checksum found in the page.
    pub found: u16,
    /// Checksum of its content.
    pub expected: u16,
}

impl PostgresDetails {
    /// From a point.
    pub fn of(point: &Point) -> Result<Self> {
        let object = format!("recovery point {}", point.id);
        if point.kind != "postgres" {
            return Err(Error::corrupt(object, format!("is of kind {}, not postgres", point.kind)));
        }
        let version = point.details.get("version").and_then(serde_json::Value::as_u64);
        if version.is_some_and(|version| version > DETAILS_VERSION.into()) {
            let found = version.unwrap_or_default() as u16;
            return Err(Error::NewerFormat { object, found, known: DETAILS_VERSION as u16 });
        }
        serde_json::from_value(point.details.clone()).map_err(|error| Error::corrupt(object, error.to_string()))
    }
}
