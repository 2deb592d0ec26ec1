//! Certificates: whatever is in the file, an end or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = lifeboat_agent::certificate::ends_at(bytes);
    let _ = lifeboat_agent::certificate::end_of(bytes);
});
