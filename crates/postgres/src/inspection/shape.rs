//! What must be known of a cluster before its files are looked at, for who can't read the control file first.

use super::observation::{column, one};
use crate::connection::{Error, ErrorKind, Result};
use tokio_postgres::Client;

/// From the control file, as the server tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Names the directory inside tablespaces.
    pub catalog_version: u32,
    /// Pages in each file of a large relation.
    pub blocks_per_relation_segment: u32,
    pub has_page_checksums: bool,
}

/// Asks for it. Every role may.
///
/// # Errors
/// As [`super::observe`].
pub async fn shape(client: &Client) -> Result<Shape> {
    let query = "select s.catalog_version_no::int8 as catalog, i.blocks_per_segment::int8 as blocks, \
                 i.data_page_checksum_version <> 0 as checksums from pg_control_system() s, pg_control_init() i";
    let row = one(client, query).await?;
    let number = |name: &str| {
        u32::try_from(column::<i64>(&row, name)?)
            .map_err(|_| Error::new(ErrorKind::Protocol, format!("inspect server: {name}"), "out of range"))
    };
    Ok(Shape {
        catalog_version: number("catalog")?,
        blocks_per_relation_segment: number("blocks")?,
        has_page_checksums: column(&row, "checksums")?,
    })
}
