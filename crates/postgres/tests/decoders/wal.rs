//! The log against what PostgreSQL's own `pg_waldump` prints.

use crate::fixtures::{decompressed, segments};
use lifeboat_postgres::wal::{
    self, DecoderSettings, EndOfLog, EndReason, FactsReader, Keep, Outcome, Record, RecordDecoder, ResourceManager,
    SegmentFacts, SegmentStartError, SegmentWalker, TransactionEnd,
};
use lifeboat_postgres::wal_file::{SegmentName, SegmentSize};
use lifeboat_postgres::{Lsn, MajorVersion, SystemId, TimelineId};

const MIB: usize = 1 << 20;

pub fn settings(keep: Keep) -> DecoderSettings {
    DecoderSettings { keep, ..DecoderSettings::new(SegmentSize::new(MIB as u64).unwrap()) }
}

/// All segments of a version in one piece, and where they begin.
pub fn log(version: MajorVersion) -> (Lsn, Vec<u8>) {
    let segments = segments(version);
    let start = segments[0].0.start_lsn(settings(Keep::Nothing).segment_size).unwrap();
    (start, segments.into_iter().flat_map(|(_, bytes)| bytes).collect())
}

/// The records of `bytes`, given in pieces of `piece` bytes, and how the log ended.
pub fn records(start: Lsn, bytes: &[u8], keep: Keep, piece: usize) -> (Vec<Record>, Option<EndOfLog>) {
    let mut decoder = RecordDecoder::new(settings(keep), start);
    let mut found = Vec::new();
    for mut input in bytes.chunks(piece) {
        loop {
            match decoder.next(&mut input) {
                Ok(Some(record)) => found.push(record),
                Ok(None) => break,
                Err(end) => {
                    assert_eq!(decoder.end_of_valid(), end.at);
                    return (found, Some(end));
                }
            }
        }
        assert!(input.is_empty());
    }
    (found, None)
}

/// One line of `pg_waldump`.
pub struct Line {
    total_bytes: u32,
    xid: u32,
    lsn: Lsn,
    previous: Lsn,
    pub manager: String,
    pub description: String,
}

pub fn waldump(version: MajorVersion) -> Vec<Line> {
    let text = String::from_utf8(decompressed(version, "waldump.txt")).unwrap();
    let line = |line: &str| {
        let after = |mark: &str| line.split_once(mark).unwrap().1.trim_start().to_owned();
        let word = |mark: &str| after(mark).split([' ', ',']).next().unwrap().to_owned();
        let lengths = after("len (rec/tot):").split_once('/').unwrap().1.trim_start().to_owned();
        Line {
            total_bytes: lengths.split(',').next().unwrap().parse().unwrap(),
            xid: word("tx:").parse().unwrap(),
            lsn: word("lsn: ").parse().unwrap(),
            previous: word("prev ").parse().unwrap(),
            manager: word("rmgr: "),
            description: after("desc: "),
        }
    };
    text.lines().map(line).collect()
}

#[test]
fn records_are_those_that_pg_waldump_prints() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let (start, bytes) = log(version);
        let (records, _) = records(start, &bytes, Keep::Transactions, bytes.len());
        let lines = waldump(version);
        assert_eq!(records.len(), lines.len(), "PostgreSQL {version}");
        for (record, line) in records.iter().zip(&lines) {
            let ours = (record.start, record.header.previous, record.header.total_bytes, record.header.xid);
            assert_eq!(ours, (line.lsn, line.previous, line.total_bytes, line.xid), "PostgreSQL {version}");
            assert_eq!(record.header.is_switch(), line.manager == "XLOG" && line.description.starts_with("SWITCH"));
            let kept = matches!(record.header.manager, ResourceManager::Log | ResourceManager::Transaction);
            assert_eq!(record.body.len(), if kept { line.total_bytes as usize - 24 } else { 0 });
        }
    }
}

/// Outcome, transaction and time of a line such as `COMMIT_PREPARED 728: 2026-11-21 02:21:11.995483 UTC`.
fn transaction_of(line: &Line) -> Option<(Outcome, u32, String)> {
    let (what, rest) = line.description.split_once(' ')?;
    let prepared =
        |rest: &str| rest.split_once(": ").map(|(xid, time)| (xid.parse().unwrap(), time.to_owned())).unwrap();
    let (outcome, (xid, time)) = match what {
        "COMMIT" => (Outcome::Committed, (line.xid, rest.to_owned())),
        "ABORT" => (Outcome::Aborted, (line.xid, rest.to_owned())),
        "COMMIT_PREPARED" => (Outcome::Committed, prepared(rest)),
        "ABORT_PREPARED" => (Outcome::Aborted, prepared(rest)),
        _ => return None,
    };
    Some((outcome, xid, time.split(" UTC").next().unwrap().to_owned()))
}

fn walk(version: MajorVersion) -> (Vec<SegmentFacts>, Vec<TransactionEnd>) {
    let (mut walker, mut ends) = (SegmentWalker::new(), Vec::new());
    let visit = |(_, bytes): (SegmentName, Vec<u8>)| walker.visit(&bytes, |end| ends.push(*end)).unwrap();
    let facts = segments(version).into_iter().map(visit).collect();
    (facts, ends)
}

#[test]
fn transactions_and_times_are_those_that_pg_waldump_prints() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let lines = waldump(version);
        let expected: Vec<_> =
            lines.iter().filter(|line| line.manager == "Transaction").filter_map(transaction_of).collect();
        let (facts, ends) = walk(version);
        let time = |end: &TransactionEnd| end.at.unwrap().strftime("%Y-%m-%d %H:%M:%S%.6f").to_string();
        let ours: Vec<_> = ends.iter().map(|end| (end.outcome, end.xid.unwrap(), time(end))).collect();
        assert_eq!(ours, expected, "PostgreSQL {version}");
        assert!(expected.len() > 10);

        let commits: Vec<_> = expected.iter().filter(|(outcome, ..)| *outcome == Outcome::Committed).collect();
        assert_eq!(facts.iter().map(|facts| facts.commits).sum::<u64>(), commits.len() as u64);
        assert_eq!(facts.iter().filter_map(|facts| facts.xid_min).min(), expected.iter().map(|(_, xid, _)| *xid).min());
        assert_eq!(facts.iter().filter_map(|facts| facts.xid_max).max(), expected.iter().map(|(_, xid, _)| *xid).max());
        let last = facts.iter().filter_map(|facts| facts.last_commit_at).max().unwrap();
        assert_eq!(last.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string(), commits.last().unwrap().2);
    }
}

#[test]
fn every_version_tells_its_restore_points_and_transactions() {
    for version in MajorVersion::ALL {
        let (facts, ends) = walk(version);
        let names: Vec<_> =
            facts.iter().flat_map(|facts| &facts.restore_points).map(|point| point.name.as_str()).collect();
        assert_eq!(names, ["before the storm", "after"], "PostgreSQL {version}");
        let committed = |end: &&TransactionEnd| end.outcome == Outcome::Committed;
        assert_eq!(ends.iter().filter(committed).count(), 13, "PostgreSQL {version}");
        assert_eq!(ends.iter().filter(|end| end.outcome == Outcome::Aborted).count(), 3, "PostgreSQL {version}");
        assert!(ends.iter().all(|end| end.xid.is_some() && end.at.is_some()));
        for facts in &facts[..facts.len() - 1] {
            assert!(facts.complete && facts.ended.is_none(), "PostgreSQL {version}: {facts:?}");
        }
        // The long message goes all the way through one segment, so no record begins there.
        assert!(facts.iter().any(|facts| facts.switched));
    }
}

/// What `select pg_create_restore_point(..)` answered on the server that wrote the fixture.
#[test]
fn a_restore_point_is_where_the_server_said() {
    for (version, before, after) in [
        (MajorVersion::V14, "0/C414A0", "0/C47FD0"),
        (MajorVersion::V15, "0/A3EC38", "0/A45768"),
        (MajorVersion::V16, "0/A40638", "0/A47168"),
        (MajorVersion::V17, "0/A3B2E8", "0/A41E18"),
        (MajorVersion::V18, "0/949E08", "0/950950"),
    ] {
        let (facts, _) = walk(version);
        let points: Vec<_> = facts.iter().flat_map(|facts| &facts.restore_points).map(|p| p.lsn.to_string()).collect();
        assert_eq!(points, [before, after], "PostgreSQL {version}");
    }
}

#[test]
fn a_segment_in_pieces_has_the_same_facts() {
    let segments = segments(MajorVersion::V16);
    assert!(segments.len() > 3);
    for (name, bytes) in segments {
        let expected = wal::segment_facts(&bytes).unwrap();
        for piece in [40, 8191, 8192, 262_144, bytes.len()] {
            let mut reader = FactsReader::of(&bytes[..piece]).unwrap();
            bytes.chunks(piece).for_each(|piece| reader.read(piece));
            reader.read(b"beyond the end");
            assert_eq!(reader.finish(), expected, "{name} in pieces of {piece}");
        }
        let mut short = FactsReader::of(&bytes).unwrap();
        bytes[..bytes.len() - 8192].chunks(8192).for_each(|piece| short.read(piece));
        assert!(!short.finish().complete, "{name}");
    }
}

#[test]
fn pieces_of_any_length_give_the_same_records() {
    let (start, bytes) = log(MajorVersion::V17);
    let whole = records(start, &bytes, Keep::Everything, bytes.len());
    assert!(whole.0.iter().any(|record| record.header.total_bytes > 1_300_000 && record.body.len() > 1_300_000));
    for piece in [1, 7, 40, 8191, 8192, 100_000] {
        assert_eq!(records(start, &bytes, Keep::Everything, piece), whole, "{piece}");
    }
}

#[test]
fn reading_can_begin_on_any_page_and_at_any_record() {
    let (start, bytes) = log(MajorVersion::V15);
    let (all, end) = records(start, &bytes, Keep::Nothing, bytes.len());
    for page in (0..bytes.len()).step_by(8192) {
        let from = start.saturating_add(page as u64);
        if end.is_some_and(|end| from >= end.at)
            || all.iter().any(|r| r.header.is_switch() && (r.start..r.end).contains(&from))
        {
            continue;
        }
        let expected: Vec<_> = all.iter().filter(|record| record.start >= from).cloned().collect();
        assert_eq!(records(from, &bytes[page..], Keep::Nothing, 8192).0, expected, "from {from}");
    }
    for record in all.iter().step_by(37) {
        let offset = record.start.bytes_since(start) as usize;
        let expected: Vec<_> = all.iter().filter(|other| other.start >= record.start).cloned().collect();
        assert_eq!(records(record.start, &bytes[offset..], Keep::Nothing, 8192).0, expected);
    }
}

#[test]
fn a_commit_is_found_by_its_transaction() {
    let (_, segment) = segments(MajorVersion::V15).remove(0);
    // Prepared as 728, committed by another transaction; 729 was rolled back.
    let found = wal::find_commit(&segment, 728).unwrap().unwrap();
    assert_eq!((found.start, found.end), ("0/A3EA40".parse().unwrap(), "0/A3EA70".parse().unwrap()));
    assert_eq!(found.at.unwrap().to_string(), "2026-11-21T02:21:11.995483Z");
    assert_eq!(wal::find_commit(&segment, 729).unwrap(), None);
}

#[test]
fn what_is_left_of_a_recycled_segment_is_not_taken_for_log() {
    for version in [MajorVersion::V15, MajorVersion::V16, MajorVersion::V17, MajorVersion::V18] {
        let (facts, _) = walk(version);
        let last = facts.last().unwrap();
        assert!(!last.complete, "PostgreSQL {version}");
        let reason = last.ended.unwrap();
        let end = matches!(reason, EndReason::Zeros | EndReason::PageAddress { .. } | EndReason::Previous { .. });
        assert!(end, "PostgreSQL {version}: {reason}");
        assert!(
            last.end_of_valid > last.header.start && last.end_of_valid < last.header.start.saturating_add(MIB as u64)
        );
    }
}

#[test]
fn a_segment_says_whose_it_is() {
    for version in MajorVersion::ALL {
        for (name, bytes) in segments(version) {
            let header = wal::inspect_segment_start(&bytes).unwrap();
            assert_eq!((header.version, header.timeline, header.block_bytes), (version, TimelineId(1), 8192));
            assert_eq!(header.segment_size.bytes(), MIB as u64);
            header.check(name, header.system_id).unwrap();
            let foreign = header.check(name, SystemId(1));
            assert!(matches!(foreign, Err(SegmentStartError::Foreign { .. })));
            let next = SegmentName { segment: name.segment + 1, ..name };
            assert!(matches!(header.check(next, header.system_id), Err(SegmentStartError::Misnamed { .. })));
            // The segment where a timeline begins opens with the pages of the one before; the opposite can't be.
            let later = SegmentName { timeline: TimelineId(2), ..name };
            header.check(later, header.system_id).unwrap();
        }
    }
    let (_, bytes) = segments(MajorVersion::V17).remove(0);
    for length in 0..40 {
        assert!(matches!(wal::inspect_segment_start(&bytes[..length]), Err(SegmentStartError::TooShort { .. })));
    }
    assert!(matches!(wal::inspect_segment_start(&[0; 40]), Err(SegmentStartError::Magic { found: 0 })));
    let mut inside = bytes[..40].to_vec();
    inside[9] ^= 0x20;
    assert!(matches!(wal::inspect_segment_start(&inside), Err(SegmentStartError::Damaged { .. })));
}

#[test]
fn a_wrong_bit_ends_the_log_before_the_record_it_is_in() {
    let (start, bytes) = log(MajorVersion::V16);
    let bytes = &bytes[..MIB / 4];
    let (all, _) = records(start, bytes, Keep::Everything, bytes.len());
    for record in all.iter().skip(1).step_by(61) {
        let first = record.start.bytes_since(start) as usize;
        for offset in [0, 3, 8, 16, 17, 20, record.header.total_bytes as usize - 1] {
            // A record on two pages has a page header in between.
            if first % 8192 + offset >= 8192 {
                continue;
            }
            let mut bad = bytes.to_vec();
            bad[first + offset] ^= 0x10;
            let (found, end) = records(start, &bad, Keep::Everything, bad.len());
            let before: Vec<_> = all.iter().filter(|other| other.start < record.start).cloned().collect();
            assert!(found == before, "{} + {offset}", record.start);
            // A length that reaches past the end of the bytes asks for more; everything else is noticed.
            assert!(
                end.is_some_and(|end| end.at == record.start) || offset < 4,
                "{} + {offset}: {end:?}",
                record.start
            );
        }
    }
}

#[test]
fn log_of_another_place_is_not_taken_for_what_follows_even_with_right_checksums() {
    let (start, bytes) = log(MajorVersion::V16);
    let (all, _) = records(start, &bytes[..MIB / 4], Keep::Everything, MIB);
    let within_page = |record: &&Record| record.start.0 % 8192 + u64::from(record.header.total_bytes) < 8192;
    for (index, why) in [(0, "the first"), (40, "a later one")] {
        let record = all.iter().skip(index).find(within_page).unwrap();
        let first = record.start.bytes_since(start) as usize;
        let end = first + record.header.total_bytes as usize;
        let mut bad = bytes[..MIB / 4].to_vec();
        // Of the first record only the direction can be checked.
        bad[first + 8..first + 16].copy_from_slice(&(record.start.0 + 8 - 16 * (index as u64).min(1)).to_le_bytes());
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&bad[first + 24..end]), &bad[first..first + 20]);
        bad[first + 20..first + 24].copy_from_slice(&checksum.to_le_bytes());
        let (_, ended) = records(start, &bad, Keep::Nothing, MIB);
        assert!(matches!(ended.unwrap().reason, EndReason::Previous { record: at, .. } if at == record.start), "{why}");
    }
    let mut bad = bytes[..MIB / 4].to_vec();
    bad[5 * 8192 + 10] ^= 1;
    let (_, ended) = records(start, &bad, Keep::Nothing, MIB);
    let page = start.saturating_add(5 * 8192);
    assert!(matches!(ended.unwrap().reason, EndReason::PageAddress { page: at, .. } if at == page));
}
