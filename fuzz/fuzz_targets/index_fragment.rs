//! Fragments of the index: frames stay inside their pack, in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::{CHUNK_BYTES_MAX, decode};

fuzz_target!(|bytes: &[u8]| {
    for pack in decode::index_fragment("fragment", bytes).unwrap_or_default() {
        let mut free = 0;
        for frame in pack.frames {
            assert!(u64::from(frame.offset) >= free && frame.plain_bytes as usize <= CHUNK_BYTES_MAX);
            free = u64::from(frame.offset) + u64::from(frame.stored_bytes);
            assert!(free <= pack.bytes);
        }
    }
});
