//! The body of a record: its parts lie in it, an image makes a page or nothing, a row is whole or missing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::catalog::TrackedTable;
use lifeboat_postgres::wal::{ClusterChange, PAGE_BYTES, Record, TransactionLists, contents};

fuzz_target!(|bytes: &[u8]| {
    // The first bytes say whose record it is, which one, and of which version.
    let Some(([manager, info, version], body)) = bytes.split_first_chunk() else { return };
    let version = MajorVersion::ALL[usize::from(*version) % MajorVersion::ALL.len()];
    let record = Record::new(Lsn(8192), 700, *manager, *info, body.to_vec());
    let _ = TransactionLists::of(&record, version);
    let Some(parts) = contents(body, version) else { return };
    let held = parts.blocks.iter().map(|block| block.data.len() + block.image.map_or(0, |image| image.stored.len()));
    assert!(held.sum::<usize>() + parts.main.len() <= body.len());
    for image in parts.blocks.iter().filter_map(|block| block.image) {
        assert!(image.page(None).is_none_or(|page| page.len() == PAGE_BYTES));
    }
    let _ = ClusterChange::of(&record, &parts, version);
    let mut table = TrackedTable::default();
    for block in &parts.blocks {
        table.apply(block.reference.relation, &record, &parts, None);
        table.apply(block.reference.relation, &record, &parts, None);
    }
});
