//! Lists of what was read most: what was read is written and read the same, and no part of a file is in it twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode;
use std::collections::HashMap;

fuzz_target!(|bytes: &[u8]| {
    let Ok(list) = decode::most_read("list", bytes) else { return };
    let mut by_path: HashMap<&str, Vec<_>> = HashMap::new();
    for run in list.runs() {
        assert!(!run.bytes().is_empty());
        by_path.entry(&run.0).or_default().push(run.bytes());
    }
    for runs in by_path.values_mut() {
        runs.sort_unstable_by_key(|run| run.start);
        assert!(runs.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
    let text = serde_json::to_vec(&list).unwrap();
    // Shorter, if anything: what was escaped or spaced out without need.
    if text.len() <= bytes.len() {
        assert_eq!(decode::most_read("list", &text).unwrap(), list);
    }
});
