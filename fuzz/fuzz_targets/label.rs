//! Backup labels and tablespace maps.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::label::{BackupLabel, TablespaceMap};

fuzz_target!(|bytes: &[u8]| {
    let _ = BackupLabel::parse(bytes);
    if let Ok(map) = TablespaceMap::parse(bytes) {
        assert_eq!(TablespaceMap::parse(&map.to_bytes()).unwrap(), map);
    }
});
