//! Chunks of trees: no path leads out of the directory that is restored into.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|bytes: &[u8]| {
    for entry in decode::tree(bytes).unwrap_or_default() {
        assert!(entry.path.split('/').all(|part| !["", ".", ".."].contains(&part)));
        assert!(!entry.path.contains('\0'));
    }
});
