//! Block fingerprints of packs: one list for each frame, none longer than the bytes that hold it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|input: (u8, &[u8])| {
    let (frames, bytes) = input;
    if let Ok(all) = decode::fingerprints("annex", bytes, frames.into()) {
        assert_eq!(all.len(), usize::from(frames));
        let held: usize = all.iter().map(|frame| 4 + 8 * frame.len()).sum();
        assert!(bytes.is_empty() || held <= bytes.len());
    }
});
