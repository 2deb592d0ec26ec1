//! Lists of records from Route 53: a list or an error; and what is made of one is XML again, whatever was in its texts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_agent::routing::route53::records::{batch, decode};

fuzz_target!(|bytes: &[u8]| {
    let Ok(sets) = decode(bytes) else { return };
    for set in &sets {
        let _ = set.is_simple();
        let text = batch(&[("DELETE", set)]);
        // Nothing in a text or a name closes an element of ours.
        assert_eq!(text.matches("</Change>").count(), 1);
    }
});
