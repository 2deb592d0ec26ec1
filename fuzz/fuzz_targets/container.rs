//! Header and footer of stored objects, and their table of contents: frames fill the object. Checksum and seal are made
//! right, or nothing behind them would ever be reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

const HEADER_BYTES: usize = 48;
const FOOTER_BYTES: usize = 56;
const SEAL_BYTES: usize = 16;

fuzz_target!(|bytes: &[u8]| {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= HEADER_BYTES + FOOTER_BYTES {
        bytes[..8].copy_from_slice(b"LIFEBOAT");
        let footer = bytes.len() - FOOTER_BYTES;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes[..HEADER_BYTES]).update(&bytes[footer..footer + 32]);
        bytes[footer + 32..footer + 48].copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        bytes[footer + 48..].copy_from_slice(b"TAOBEFIL");
    }
    if let Ok(layout) = decode::container("object", &bytes) {
        let (toc, annex) = (layout.toc_range(), layout.annex_range());
        assert!(toc.start >= HEADER_BYTES as u64 && toc.end == annex.start);
        assert_eq!(annex.end + FOOTER_BYTES as u64, bytes.len() as u64);
        // As if it had been opened: the table without its seal.
        let table = &bytes[toc.start as usize..toc.end as usize - SEAL_BYTES];
        if let Ok(frames) = decode::table_of_contents("object", table, &layout) {
            let stored: u64 = frames.iter().map(|frame| u64::from(frame.stored_bytes)).sum();
            assert_eq!(HEADER_BYTES as u64 + stored, toc.start);
        }
    }
});
