//! Page checksums: writing the right one makes any page valid, in one place only.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::page::{self, PageHeader, PageState};

fuzz_target!(|input: (u32, &[u8])| {
    let (block, bytes) = input;
    let state = page::check_page(bytes, block, None);
    let Some(checksum) = page::checksum(bytes, block) else { return };
    let mut page = bytes.to_vec();
    page[8..10].copy_from_slice(&checksum.to_le_bytes());
    if state != PageState::Partial && PageHeader::parse(&page).is_some_and(|header| header.upper != 0) {
        assert_eq!(page::check_page(&page, block, None), PageState::Valid);
    }
});
