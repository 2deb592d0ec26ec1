//! Block fingerprints of packs: one list for each frame, none longer than the bytes that hold it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

fuzz_target!(|input: (u8, &[u8])| {
    let (frames, bytes) = input;
    if let Ok(all) = decode::fingerprints("annex", bytes, frames.into()) {
        assert_eq!(all.frames(), usize::from(frames));
        let values: usize = (0..frames).map(|frame| all.of(frame.into()).len()).sum();
        assert_eq!(values, all.count());
        assert!(bytes.is_empty() || 4 * all.frames() + 8 * values <= bytes.len());
    }
});
