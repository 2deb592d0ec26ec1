//! The first bytes of a client: what is still to be read is bounded.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::proxy::{HEAD_BYTES, Opening, Refusal, STARTUP_BYTES_MAX};

fuzz_target!(|bytes: &[u8]| {
    let Some((head, text)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
    match Opening::of(*head) {
        Opening::Cancel { rest } | Opening::Session { rest } => assert!(rest <= STARTUP_BYTES_MAX as usize),
        Opening::AsksForEncryption | Opening::Foreign => {}
    }
    let text = String::from_utf8_lossy(text).into_owned();
    let answer = Refusal::not_now(text.clone(), text).encode();
    assert_eq!(answer.len(), 1 + u32::from_be_bytes([answer[1], answer[2], answer[3], answer[4]]) as usize);
});
