//! Page checksums against those that PostgreSQL wrote.

use crate::fixtures::decompressed;
use lifeboat_postgres::page::{self, PageHeader, PageState};
use lifeboat_postgres::{Lsn, MajorVersion};

const EVERYTHING: Option<Lsn> = None;

#[test]
fn every_page_of_every_fork_is_valid_in_its_place_only() {
    for version in MajorVersion::ALL {
        for fork in ["heap", "fsm", "vm", "btree"] {
            let bytes = decompressed(version, fork);
            let (mut valid, mut new) = (0, 0);
            for (block, page) in bytes.chunks(8192).enumerate() {
                let block = u32::try_from(block).unwrap();
                match page::check_page(page, block, EVERYTHING) {
                    PageState::Valid => valid += 1,
                    PageState::New => new += 1,
                    other => panic!("PostgreSQL {version}, {fork}, block {block}: {other:?}"),
                }
                if !page.iter().all(|byte| *byte == 0) {
                    let header = PageHeader::parse(page).unwrap();
                    assert_eq!((header.page_bytes, header.layout_version), (8192, 4));
                    let elsewhere = page::check_page(page, block + 131_072, EVERYTHING);
                    assert!(matches!(elsewhere, PageState::Bad { .. }), "{elsewhere:?}");
                }
            }
            assert!(valid > 0, "PostgreSQL {version}, {fork}: {valid} valid, {new} new");
        }
    }
}

#[test]
fn one_wrong_bit_is_bad_and_a_page_newer_than_the_backup_is_not_judged() {
    let page = decompressed(MajorVersion::V17, "heap")[..8192].to_vec();
    let lsn = PageHeader::parse(&page).unwrap().lsn;
    for bit in (0..8192 * 8).step_by(13) {
        let mut bad = page.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(page::check_page(&bad, 0, EVERYTHING), PageState::Bad { .. }), "bit {bit}");
    }
    let mut bad = page.clone();
    bad[5000] ^= 1;
    assert_eq!(page::check_page(&bad, 0, Some(lsn)), PageState::NewerThanBackup);
    assert!(matches!(page::check_page(&bad, 0, Some(lsn.saturating_add(1))), PageState::Bad { .. }));
    assert_eq!(page::check_page(&page, 0, Some(lsn)), PageState::Valid);
}

#[test]
fn a_new_page_is_zero_to_its_end() {
    let mut page = vec![0; 8192];
    assert_eq!(page::check_page(&page, 7, EVERYTHING), PageState::New);
    page[8191] = 1;
    assert!(matches!(page::check_page(&page, 7, Some(Lsn(1))), PageState::Bad { .. }));
    assert_eq!(page::check_page(&page[..8000], 7, EVERYTHING), PageState::Partial);
    assert_eq!(page::check_page(&[], 7, EVERYTHING), PageState::Partial);
}
