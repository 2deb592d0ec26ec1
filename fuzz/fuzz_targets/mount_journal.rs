//! The journal of a mount: records or a refusal, and what was read once is read again from what is whole of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_mount::journal::parse;

fuzz_target!(|bytes: &[u8]| {
    let Ok(parsed) = parse(bytes) else { return };
    // The last frame may lack the zeros that fill its block.
    let whole = &bytes[..parsed.end.min(bytes.len())];
    assert_eq!(parse(whole).expect("it was whole"), parsed);
});
