//! Texts of recovery points: what was read is written and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|bytes: &[u8]| {
    let Ok(point) = decode::point("point", bytes) else { return };
    let text = serde_json::to_vec(&point).unwrap();
    assert_eq!(decode::point("point", &text).unwrap(), point);
});
