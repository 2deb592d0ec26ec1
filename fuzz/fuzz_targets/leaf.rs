//! Leaves of file maps: extents in order, inside the leaf and inside their chunks; what was read is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::{CHUNK_BYTES_MAX, LEAF_SPAN_BYTES, Leaf, Source};

fuzz_target!(|bytes: &[u8]| {
    let Ok(leaf) = Leaf::parse(bytes, LEAF_SPAN_BYTES) else { return };
    let mut end = LEAF_SPAN_BYTES;
    for extent in &leaf.extents {
        assert!(extent.offset >= end && extent.length > 0);
        end = extent.offset + u64::from(extent.length);
        assert_eq!(leaf.find(end - 1), Some(extent));
        if let Source::Chunk { offset, .. } = extent.source {
            assert!(offset as usize + extent.length as usize <= CHUNK_BYTES_MAX);
        }
    }
    assert!(end <= 2 * LEAF_SPAN_BYTES);
    assert_eq!(Leaf::parse(&leaf.encode(LEAF_SPAN_BYTES), LEAF_SPAN_BYTES).unwrap(), leaf);
});
