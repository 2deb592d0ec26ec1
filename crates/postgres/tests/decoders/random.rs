//! Whatever the bytes: an answer, no panic, no endless loop; and what is written is read back.

use crate::fixtures::{fixture, segments};
use lifeboat_postgres::control::{self, ControlFile};
use lifeboat_postgres::history::{Ancestor, TimelineHistory};
use lifeboat_postgres::label::{BackupLabel, Tablespace, TablespaceMap};
use lifeboat_postgres::layout::Layout;
use lifeboat_postgres::page;
use lifeboat_postgres::wal::{DecoderSettings, Keep, RecordDecoder, SegmentWalker, inspect_segment_start};
use lifeboat_postgres::wal_file::{Segment, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, MajorVersion, TimelineId};
use proptest::prelude::*;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Decodes to the end; every call must take a byte, give a record, or say that it is over.
fn exhaust(start: Lsn, mut input: &[u8]) {
    let settings =
        DecoderSettings { keep: Keep::Everything, ..DecoderSettings::new(SegmentSize::new(1 << 20).unwrap()) };
    let mut decoder = RecordDecoder::new(settings, start);
    let steps_max = input.len() + 2;
    for _ in 0..steps_max {
        match decoder.next(&mut input) {
            Ok(Some(record)) => assert!(record.end > record.start && record.end >= decoder.position()),
            Ok(None) => {
                assert!(input.is_empty());
                return;
            }
            Err(end) => {
                assert_eq!(decoder.next(&mut input), Err(end));
                return;
            }
        }
    }
    panic!("no end after {steps_max} steps");
}

fn damaged(bytes: &[u8], flips: &[(usize, u8)], length: usize) -> Vec<u8> {
    let mut bytes = bytes[..length.min(bytes.len())].to_vec();
    for (place, mask) in flips {
        let place = place % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= mask;
        }
    }
    bytes
}

fn flips() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((0..200_000usize, 1..=255u8), 0..8)
}

fn version() -> impl Strategy<Value = MajorVersion> {
    prop::sample::select(MajorVersion::ALL.to_vec())
}

proptest! {
    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..20_000), block in any::<u32>(), lsn in any::<u64>()) {
        let _ = ControlFile::parse(&bytes);
        let _ = control::invalidate_checkpoint(&bytes);
        let _ = page::check_page(&bytes, block, Some(Lsn(lsn)));
        let _ = page::check_page(&bytes[..bytes.len().min(8192)], block, None);
        let _ = inspect_segment_start(&bytes);
        let _ = SegmentWalker::new().segment(&bytes);
        let _ = TimelineHistory::parse(TimelineId(block), &bytes);
        let _ = BackupLabel::parse(&bytes);
        let _ = TablespaceMap::parse(&bytes);
        exhaust(Lsn(lsn), &bytes);
        exhaust(Lsn(lsn & !8191), &bytes);
    }

    #[test]
    fn damaged_segments_are_answered(version in version(), flips in flips(), length in 0..400_000usize, which in 0..4usize) {
        let (name, bytes) = segments(version).swap_remove(which);
        let bytes = damaged(&bytes, &flips, length);
        exhaust(name.start_lsn(SegmentSize::new(1 << 20).unwrap()).unwrap(), &bytes);
        let mut walker = SegmentWalker::new();
        let _ = walker.segment(&bytes);
        let _ = walker.segment(&bytes);
    }

    #[test]
    fn damaged_control_files_are_refused(version in version(), flips in flips(), length in 0..600usize) {
        let good = fixture(version, "pg_control.running");
        let bad = damaged(&good, &flips, length);
        if let Ok(control) = ControlFile::parse(&bad) {
            prop_assert_eq!(control, ControlFile::parse(&good).unwrap());
        }
    }

    #[test]
    fn a_name_is_read_as_it_is_written(timeline in 1..u32::MAX, lsn in any::<u64>(), power in 20..=30u32) {
        let size = SegmentSize::new(1 << power).unwrap();
        let segment = Segment::containing(TimelineId(timeline), Lsn(lsn), size);
        let name = segment.name(size);
        prop_assert_eq!(name.with_size(size), Ok(segment));
        for name in [WalFileName::Segment(name), WalFileName::Partial(name), WalFileName::Backup { segment: name, offset: lsn as u32 }] {
            prop_assert_eq!(name.to_string().parse::<WalFileName>(), Ok(name));
        }
        prop_assert!(segment.start(size) <= Lsn(lsn) && (Lsn(lsn) < segment.end(size) || segment.end(size).0 == u64::MAX));
    }

    #[test]
    fn what_parses_as_a_name_is_that_name(text in "[0-9A-Fa-f.a-z/]{0,40}|[0-9A-F]{24}(\\.(partial|[0-9A-F]{8}\\.backup))?|[0-9A-F]{8}\\.history") {
        if let Ok(name) = text.parse::<WalFileName>() {
            prop_assert_eq!(name.to_string(), text);
        }
    }

    #[test]
    fn a_history_is_read_as_it_is_written(lines in prop::collection::btree_map(1..1000u32, (any::<u64>(), "[a-z\" 0-9]{0,20}"), 0..9), probes in prop::collection::vec(any::<u64>(), 0..20)) {
        let ancestor = |(timeline, (lsn, reason)): (u32, (u64, String))| Ancestor {
            timeline: TimelineId(timeline),
            switched_at: Lsn(lsn),
            reason: reason.trim().to_owned(),
        };
        let history = TimelineHistory { timeline: TimelineId(1000), ancestors: lines.into_iter().map(ancestor).collect() };
        prop_assert_eq!(TimelineHistory::parse(TimelineId(1000), history.to_file().as_bytes()), Ok(history.clone()));
        for probe in probes {
            // The byte belongs to exactly one timeline, and the ends agree with the bytes.
            let owner = history.timeline_at(Lsn(probe));
            let (begin, end) = history.span(owner).unwrap();
            prop_assert!(begin <= Lsn(probe) && end.is_none_or(|end| Lsn(probe) < end));
            prop_assert!(history.contains_end(owner, Lsn(probe)));
        }
    }

    #[test]
    fn a_tablespace_map_is_read_as_it_is_written(paths in prop::collection::btree_map(1..u32::MAX, prop::collection::vec(1..=255u8, 1..40), 0..6)) {
        let tablespace = |(oid, path)| Tablespace { oid, path: std::ffi::OsString::from_vec(path).into() };
        let map = TablespaceMap { tablespaces: paths.into_iter().map(tablespace).collect() };
        prop_assert_eq!(TablespaceMap::parse(&map.to_bytes()), Ok(map));
    }

    #[test]
    fn any_path_is_classified(path in prop::collection::vec(any::<u8>().prop_filter("no zero", |b| *b > 0), 0..40), is_directory in any::<bool>(), text in "(base|global|pg_tblspc|pg_wal|\\.\\.|/)?(/[0-9]{0,11}(_[a-z]{0,4})?(\\.[0-9]{0,9})?){0,5}") {
        let layout = Layout::new(MajorVersion::V18, 1);
        layout.classify(Path::new(&std::ffi::OsString::from_vec(path)), is_directory);
        layout.classify(Path::new(&text), is_directory);
    }
}
