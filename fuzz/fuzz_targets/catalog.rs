//! Pages of catalogs, and the map of their files: nothing that is not in the bytes, and always an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::catalog::{ClassRow, DatabaseRow, NamespaceRow, page_rows, parse_filenode_map};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(map) = parse_filenode_map(bytes) {
        assert!(map.len() <= 64);
    }
    for (number, row) in page_rows(bytes) {
        assert!(number > 0 && row.columns().len() <= bytes.len());
        for version in [MajorVersion::V14, MajorVersion::V18] {
            let _ = (ClassRow::parse(&row, version), NamespaceRow::parse(&row), DatabaseRow::parse(&row, version));
        }
    }
});
