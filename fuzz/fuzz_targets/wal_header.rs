//! The beginning of a segment.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::Segment;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(header) = inspect_segment_start(bytes) {
        let name = Segment::containing(header.timeline, header.start, header.segment_size).name(header.segment_size);
        header.check(name, header.system_id).unwrap();
    }
});
