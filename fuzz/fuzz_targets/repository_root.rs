//! `lifeboat.json` and key records: refused or read, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(repository) = decode::root("root", bytes) {
        assert_eq!(repository.0.len(), 32);
    }
    if let Ok(record) = decode::key_record("key", bytes) {
        let text = serde_json::to_vec(&record).unwrap();
        let again = decode::key_record("key", &text).unwrap();
        assert_eq!((again.salt, again.wrapped), (record.salt, record.wrapped));
    }
});
