//! Records, whole and in pieces: the same outcome, and always an end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::wal::{DecoderSettings, EndOfLog, Keep, Record, RecordDecoder, SegmentWalker};
use lifeboat_postgres::wal_file::SegmentSize;

fn decode(start: Lsn, bytes: &[u8], piece: usize) -> (Vec<Record>, Option<EndOfLog>) {
    let size = SegmentSize::new(1 << 20).unwrap();
    let mut decoder =
        RecordDecoder::new(DecoderSettings { keep: Keep::Everything, ..DecoderSettings::new(size) }, start);
    let mut records = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => break,
                Err(end) => return (records, Some(end)),
            }
        }
        assert!(input.is_empty());
    }
    (records, None)
}

fuzz_target!(|bytes: &[u8]| {
    let _ = SegmentWalker::new().segment(bytes);
    // The address of the first page, so that the pages behind it are reached.
    let Some(address) = bytes.get(8..16).and_then(|field| field.try_into().ok()).map(u64::from_le_bytes) else {
        return;
    };
    let whole = decode(Lsn(address), bytes, bytes.len());
    assert_eq!(whole, decode(Lsn(address), bytes, 13));
});
