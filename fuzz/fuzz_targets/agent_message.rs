//! What one agent says to another: what was read is written and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::api::decode;

fuzz_target!(|bytes: &[u8]| {
    let Ok(envelope) = decode(bytes) else { return };
    let again = serde_json::to_vec(&envelope).unwrap();
    assert_eq!(decode(&again).unwrap(), envelope);
});
