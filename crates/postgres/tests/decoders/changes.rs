//! Which pages the log changes, against what PostgreSQL's own `pg_waldump` prints, and the rules for what it can't say.

// Lists of ranges with one range are meant.
#![allow(clippy::single_range_in_vec_init)]

use crate::wal::{log, records, settings, waldump};
use lifeboat_postgres::layout::{Fork, Place, RelationFile};
use lifeboat_postgres::wal::{BlockReference, ChangedBlocks, DecoderSettings, Distrust, Keep, Record, RecordDecoder};
use lifeboat_postgres::{Lsn, MajorVersion};
use std::ops::Range;

/// `blkref #1: rel 1663/5/1247 fork vm blk 0 FPW`, as it is printed.
fn printed(reference: &BlockReference) -> String {
    let (tablespace, database) = match reference.relation.place {
        Place::Global => (1664, 0),
        Place::Database { database } => (1663, database),
        Place::Tablespace { tablespace, database } => (tablespace, database),
    };
    let fork = match reference.fork.unwrap() {
        Fork::Main => String::new(),
        fork => format!(" fork {fork}"),
    };
    format!("rel {tablespace}/{database}/{}{fork} blk {}", reference.relation.relfilenode, reference.block)
}

#[test]
fn the_pages_of_every_record_are_those_that_pg_waldump_prints() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let (start, bytes) = log(version);
        let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let lines = waldump(version);
        assert_eq!(found.len(), lines.len());
        let mut references = 0;
        for (record, line) in found.iter().zip(&lines) {
            let expected: Vec<String> = line
                .description
                .split("blkref #")
                .skip(1)
                .map(|part| {
                    let text = part.split_once(": ").unwrap().1.trim_end_matches([',', ' ', ';']);
                    text.split(" FPW").next().unwrap().trim_end_matches([',', ' ', ';']).to_owned()
                })
                .collect();
            let ours: Vec<String> = record.block_references(version).unwrap().iter().map(printed).collect();
            assert_eq!(ours, expected, "PostgreSQL {version}, {}: {}", record.start, line.description);
            references += ours.len();
        }
        assert!(references > 1000, "{references}");
    }
}

/// An image that `pg_waldump` calls one, and a page that a record calls made anew, are put in the place of what was there; nothing else is.
#[test]
fn pages_that_are_replaced_are_not_read() {
    for version in [MajorVersion::V15, MajorVersion::V18] {
        let (start, bytes) = log(version);
        let (found, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let (mut replaced, mut read) = (0, 0);
        for (record, line) in found.iter().zip(&waldump(version)) {
            let expected: Vec<bool> =
                line.description.split("blkref #").skip(1).map(|part| part.contains("FPW")).collect();
            for (reference, has_image) in record.block_references(version).unwrap().iter().zip(expected) {
                let what = line.description.split(' ').next().unwrap();
                if has_image {
                    assert!(!reference.is_read, "{}", line.description);
                    replaced += 1;
                } else if ["DELETE", "INSERT", "LOCK", "HOT_UPDATE", "INSERT_LEAF"].contains(&what) {
                    assert!(reference.is_read, "{}", line.description);
                    read += 1;
                } else if what == "INSERT+INIT" {
                    assert!(!reference.is_read, "{}", line.description);
                    replaced += 1;
                }
            }
        }
        assert!(replaced > 20 && read > 1000, "{replaced} {read}");
    }
}

/// Every record of every version is understood, also when only its front was kept: its lengths must add up.
#[test]
fn the_front_of_a_body_is_enough() {
    for version in MajorVersion::ALL {
        let (start, bytes) = log(version);
        let (whole, _) = records(start, &bytes, Keep::Everything, bytes.len());
        let short = DecoderSettings { kept_bytes_max: 1024, ..settings(Keep::Everything) };
        let mut decoder = RecordDecoder::new(short, start);
        let mut input = bytes.as_slice();
        let (mut of_whole, mut of_front) = (ChangedBlocks::new(), ChangedBlocks::new());
        for record in &whole {
            let front = decoder.next(&mut input).unwrap().unwrap();
            assert_eq!(front.block_references(version), record.block_references(version), "{}", record.start);
            of_whole.add(record, version);
            of_front.add(&front, version);
        }
        assert_eq!(of_whole, of_front);
        assert_eq!(of_whole.distrusted(), None);
        assert!(of_whole.pages() > 20, "PostgreSQL {version}: {}", of_whole.pages());
    }
}

/// A record as the decoder gives it, with this body.
fn record(manager: u8, info: u8, body: &[u8]) -> Record {
    let (start, bytes) = log(MajorVersion::V15);
    let (mut found, _) = records(start, &bytes, Keep::Everything, bytes.len());
    let mut record = found.swap_remove(0);
    record.header.manager = match manager {
        0 => lifeboat_postgres::wal::ResourceManager::Log,
        1 => lifeboat_postgres::wal::ResourceManager::Transaction,
        other => lifeboat_postgres::wal::ResourceManager::Other(other),
    };
    record.header.info = info;
    record.header.total_bytes = 24 + body.len() as u32;
    record.body = body.to_vec();
    record.start = Lsn(start.0);
    record
}

fn main_data(words: &[u32]) -> Vec<u8> {
    let mut body = vec![255, (words.len() * 4) as u8];
    words.iter().for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
    body
}

/// A reference without data to a page of the main fork.
fn page(relation: [u32; 3], block: u32) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 0];
    relation.iter().chain([&block]).for_each(|word| body.extend_from_slice(&word.to_le_bytes()));
    body
}

const TABLE: [u32; 3] = [1663, 5, 16384];

fn file(fork: Fork, segment_number: u32) -> RelationFile {
    RelationFile { place: Place::Database { database: 5 }, relfilenode: 16384, fork, segment_number }
}

fn changes(records: &[Record]) -> ChangedBlocks {
    let mut changed = ChangedBlocks::new();
    records.iter().for_each(|record| changed.add(record, MajorVersion::V15));
    changed
}

/// Records, number of the file, its blocks, and what of it changed.
type Case<'a> = (&'a [Record], u32, u32, &'a [Range<u32>]);

#[test]
fn named_pages_and_everything_behind_a_cut_changed() {
    let cut = |to: u32| record(2, 0x20, &main_data(&[to, TABLE[0], TABLE[1], TABLE[2], 7]));
    let named = |block| record(10, 0, &page(TABLE, block));
    let none: [Range<u32>; 0] = [];
    let cases: [Case; 11] = [
        (&[], 0, 100, &none),
        (&[named(3), named(4), named(9)], 0, 100, &[3..5, 9..10]),
        (&[named(3), named(99), named(100)], 0, 100, &[3..4, 99..100]),
        (&[named(131_072 + 7), named(7)], 1, 100, &[7..8]),
        (&[named(131_072 + 7), named(7)], 0, 100, &[7..8]),
        (&[named(3), cut(50)], 0, 100, &[3..4, 50..100]),
        // Cut and grown again: what was named above doesn't matter, all of it is suspect.
        (&[cut(50), named(70), cut(60)], 0, 100, &[50..100]),
        (&[cut(131_072)], 0, 131_072, &none),
        (&[cut(131_072)], 1, 10, &[0..10]),
        (&[cut(10)], 1, 10, &[0..10]),
        (&[cut(0), named(2)], 0, 0, &none),
    ];
    for (records, segment, blocks, expected) in cases {
        let found = changes(records).of_file(&file(Fork::Main, segment), 131_072, blocks);
        assert_eq!(found, expected, "file {segment} of {blocks}");
    }
}

#[test]
fn what_the_log_does_not_tell_is_suspect() {
    let all = vec![0..100];
    let nothing = ChangedBlocks::new();
    for fork in [Fork::FreeSpace, Fork::Visibility, Fork::Init] {
        assert_eq!(nothing.of_file(&file(fork, 0), 131_072, 100), all, "{fork}");
    }
    // Made anew under the number of an old one; a database copied file by file, removed, copied page by page.
    let made = record(2, 0x10, &main_data(&[TABLE[0], TABLE[1], TABLE[2], 0]));
    let map_made = record(2, 0x10, &main_data(&[TABLE[0], TABLE[1], TABLE[2], 2]));
    let only_maps_cut = record(2, 0x20, &main_data(&[0, TABLE[0], TABLE[1], TABLE[2], 6]));
    assert_eq!(changes(&[made]).of_file(&file(Fork::Main, 0), 131_072, 100), all);
    assert_eq!(changes(&[map_made, only_maps_cut]).of_file(&file(Fork::Main, 0), 131_072, 100), []);
    for info in [0x00, 0x10, 0x20] {
        let database = changes(&[record(4, info, &main_data(&[5, 1663, 1, 1663]))]);
        assert_eq!(database.of_file(&file(Fork::Main, 0), 131_072, 100), all);
        let other = RelationFile { place: Place::Database { database: 6 }, ..file(Fork::Main, 0) };
        assert_eq!(database.of_file(&other, 131_072, 100), []);
        let elsewhere = Place::Tablespace { tablespace: 9, database: 5 };
        let elsewhere = RelationFile { place: elsewhere, ..file(Fork::Main, 0) };
        assert_eq!(database.of_file(&elsewhere, 131_072, 100), all);
    }
}

#[test]
fn what_ends_all_trust() {
    let minimal = [100, 8, 10, 0, 64, 0, 0];
    let replica = [100, 8, 10, 0, 64, 1, 0];
    let cases = [
        (record(0, 0x60, &main_data(&minimal)), Some(Distrust::MinimalLog)),
        (record(0, 0x60, &main_data(&replica)), None),
        (record(0, 0x60, &main_data(&replica[..3])), Some(Distrust::NotUnderstood)),
        (record(0, 0x90, &main_data(&[0; 5])), Some(Distrust::EndOfRecovery)),
        (record(128, 0, &page(TABLE, 1)), Some(Distrust::ExtensionRecords)),
        (record(22, 0, &page(TABLE, 1)), Some(Distrust::ExtensionRecords)),
        (record(21, 0, &main_data(&[1])), None),
        (record(2, 0x30, &main_data(&[0; 5])), Some(Distrust::NotUnderstood)),
        (record(2, 0x20, &main_data(&[0; 4])), Some(Distrust::NotUnderstood)),
        (record(4, 0, &[]), Some(Distrust::NotUnderstood)),
        (record(10, 0, &page(TABLE, 1)[..10]), Some(Distrust::NotUnderstood)),
        (record(10, 0, &[33, 0, 0, 0]), Some(Distrust::NotUnderstood)),
        (record(10, 0, &[0, 0x80, 0, 0, 1, 0, 0, 0]), Some(Distrust::NotUnderstood)),
        (record(10, 0, &[255, 3, 1, 2]), Some(Distrust::NotUnderstood)),
    ];
    for (number, (record, expected)) in cases.iter().enumerate() {
        let changed = changes(std::slice::from_ref(record));
        assert_eq!(changed.distrusted(), *expected, "case {number}");
        let expected = if expected.is_some() { vec![0..100] } else { vec![] };
        let other = RelationFile { relfilenode: 1, ..file(Fork::Main, 0) };
        assert_eq!(changed.of_file(&other, 131_072, 100), expected, "case {number}");
    }
}
