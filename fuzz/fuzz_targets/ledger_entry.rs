//! Entries of the ledger, and keys beside them: what was read has no other form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_ledger::{decode, to_canonical};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(value) = decode::canonical(bytes) {
        assert_eq!(to_canonical(&value).as_deref(), Some(bytes));
    }
    if let Ok(signed) = decode::entry(bytes) {
        assert_eq!(&signed.bytes[..], bytes);
        assert_eq!(decode::entry(&signed.bytes), Ok(signed));
    }
    if let Ok(key) = decode::key(bytes) {
        assert_eq!(decode::key(&key.document()), Ok(key));
    }
});
