//! Timeline histories.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::{Lsn, TimelineId};

fuzz_target!(|input: (u32, u64, &[u8])| {
    let (timeline, lsn, bytes) = input;
    if let Ok(history) = TimelineHistory::parse(TimelineId(timeline), bytes) {
        let owner = history.timeline_at(Lsn(lsn));
        assert!(history.contains_end(owner, Lsn(lsn)));
        let again = TimelineHistory::parse(TimelineId(timeline), history.to_file().as_bytes()).unwrap();
        assert_eq!(again.ancestors.len(), history.ancestors.len());
    }
});
