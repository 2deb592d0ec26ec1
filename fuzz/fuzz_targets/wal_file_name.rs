//! Names of WAL files: what is read is written the same, at every segment size.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::wal_file::{SegmentSize, WalFileName};

fuzz_target!(|input: (u8, &str)| {
    let (power, text) = input;
    let Ok(name) = text.parse::<WalFileName>() else { return };
    assert_eq!(name.to_string(), text);
    let size = SegmentSize::new(1 << (20 + power % 11)).unwrap();
    if let (WalFileName::Segment(segment), Ok(_)) = (name, name.start_lsn(size)) {
        assert_eq!(segment.with_size(size).unwrap().name(size), segment);
    }
});
