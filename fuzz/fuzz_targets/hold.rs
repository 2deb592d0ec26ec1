//! Texts of holds: what was read is written and read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|bytes: &[u8]| {
    let Ok(hold) = decode::hold("hold", bytes) else { return };
    let text = serde_json::to_vec(&hold).unwrap();
    assert_eq!(decode::hold("hold", &text).unwrap(), hold);
});
