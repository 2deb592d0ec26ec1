//! Header and footer of stored objects. The checksum is made right, or nothing behind it would ever be reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;

const HEADER_BYTES: usize = 48;
const FOOTER_BYTES: usize = 56;

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
    }
});
