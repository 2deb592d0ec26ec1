//! The filter for database pages: whatever the bytes, they come back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_repository::decode::{filter_pages, unfilter_pages};

fuzz_target!(|bytes: &[u8]| {
    // A header that is a page's, so that the fuzzer's bytes become line pointers and items.
    let mut page = vec![0; 8192];
    for (place, byte) in page[12..].iter_mut().zip(bytes) {
        *place = *byte;
    }
    if bytes.first().is_some_and(|first| first % 2 == 0) {
        page[14..20].copy_from_slice(&[0x00, 0x20, 0x00, 0x20, 0x04, 0x20]);
    }
    // Items lie where the line pointers say: mostly behind the fuzzer's bytes, where there is something to subtract.
    let filled = 12 + bytes.len().min(page.len() - 12);
    page[filled..].iter_mut().enumerate().for_each(|(at, byte)| *byte = (at * 7 % 251) as u8);
    let mut changed = page.clone();
    filter_pages(&mut changed);
    unfilter_pages(&mut changed);
    assert_eq!(changed, page);
});
