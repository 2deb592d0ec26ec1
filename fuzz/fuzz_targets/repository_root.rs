//! `lifeboat.json`, key records and block fingerprints: refused or read, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|bytes: &[u8]| {
    let _ = decode::root("root", bytes);
    let _ = decode::key_record("key", bytes);
    for frames in [0, 1, 7] {
        if let Ok(all) = decode::fingerprints("annex", bytes, frames) {
            assert_eq!(all.len(), frames);
        }
    }
});
