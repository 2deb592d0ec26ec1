//! Control files. The checksum is made right, or nothing behind it would ever be reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::control::{self, ControlError, ControlFile};

fuzz_target!(|bytes: &[u8]| {
    let bytes = match ControlFile::parse(bytes) {
        Err(ControlError::Checksum { expected, .. }) => {
            let mut fixed = bytes.to_vec();
            let end = if bytes[8..12] == 1800u32.to_le_bytes() { 292 } else { 288 };
            fixed[end..end + 4].copy_from_slice(&expected.to_le_bytes());
            fixed
        }
        _ => bytes.to_vec(),
    };
    if let Ok(before) = ControlFile::parse(&bytes) {
        let after = ControlFile::parse(&control::invalidate_checkpoint(&bytes).unwrap()).unwrap();
        assert!(after.is_checkpoint_invalidated());
        assert_eq!(ControlFile { checkpoint: before.checkpoint, ..after }, before);
    }
});
