//! A receiver's journal: a header or a refusal; frames that follow one another inside the segment, until one doesn't.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_workload::postgres::wal::{JournalHeader, parse_journal_frame};

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = JournalHeader::parse(bytes) else {
        // The checksum stops nearly everything: look at the frames by themselves as well.
        let (start, end) = (lifeboat_postgres::Lsn(16 << 20), lifeboat_postgres::Lsn(32 << 20));
        if let Some((log, taken)) = parse_journal_frame(bytes, start, end) {
            assert!(!log.is_empty() && log.len() < taken && taken <= bytes.len());
        }
        return;
    };
    let (start, end) = (header.segment.start(header.segment_size), header.segment.end(header.segment_size));
    let (mut used, mut reached) = (64, start);
    while let Some((log, taken)) = bytes.get(used..).and_then(|rest| parse_journal_frame(rest, reached, end)) {
        assert!(!log.is_empty() && log.len() < taken);
        used += taken;
        reached = reached.saturating_add(log.len() as u64);
        assert!(used <= bytes.len() && reached <= end);
    }
});
