//! A receiver's journal: a header or a refusal; frames that follow one another inside the segment, until one doesn't. What
//! opens a frame is the cipher's: here is what is looked at before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::Lsn;
use lifeboat_workload::postgres::wal::{JournalHeader, parse_journal_frame};

fuzz_target!(|bytes: &[u8]| {
    // The checksum stops nearly every header that was changed: the frames are looked at by themselves then.
    let (mut used, start, end) = match JournalHeader::parse(bytes) {
        Ok(header) => (128, header.segment.start(header.segment_size), header.segment.end(header.segment_size)),
        Err(_) => (0, Lsn(16 << 20), Lsn(32 << 20)),
    };
    let mut reached = start;
    while let Some(frame) = bytes.get(used..).and_then(|rest| parse_journal_frame(rest, reached, end)) {
        assert!(!frame.sealed.is_empty() && frame.sealed.len() + 48 <= frame.taken_bytes);
        used += frame.taken_bytes;
        reached = reached.saturating_add(frame.sealed.len() as u64);
        assert!(used <= bytes.len() && reached <= end);
    }
});
