//! What a listing means, in pictures.
//!
//! `1: 3 4 6` are whole segments of timeline 1; `7[0-10]` is a part of one; `7p` is a `.partial`, whose valid log goes
//! up to byte 8. Positions are written `segment+byte`.

use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::wal_file::{Segment, SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::LogEntry;
use lifeboat_workload::postgres::wal::{Inventory, Span};

const SIZE: u64 = 16 << 20;

fn entry(name: String, content: &str) -> LogEntry {
    LogEntry { group: String::new(), name, content_id: content.into(), stored_bytes: 1, locations: vec!["near".into()] }
}

fn inventory(picture: &str) -> Inventory {
    let mut entries = Vec::new();
    for line in picture.split('|') {
        let (timeline, files) = line.split_once(':').unwrap();
        let timeline = TimelineId(timeline.trim().parse().unwrap());
        for file in files.split_whitespace() {
            let digits: String = file.chars().take_while(char::is_ascii_digit).collect();
            let number = SegmentNumber(digits.parse().unwrap());
            let name = Segment { timeline, number }.name(SegmentSize::default());
            entries.push(match &file[digits.len()..] {
                "" => entry(name.to_string(), "a"),
                "p" => entry(format!("{name}.partial"), "a"),
                "!" => entry(name.to_string(), "b"),
                part => {
                    let (from, to) = part[1..part.len() - 1].split_once('-').unwrap();
                    let offset = |text: &str| text.parse::<u32>().unwrap();
                    entry(format!("{name}.{:08X}.{:08X}", offset(from), offset(to)), "a")
                }
            });
        }
    }
    let mut inventory = Inventory::build(SystemId(1), SegmentSize::default(), entries);
    for log in inventory.timelines.values_mut() {
        for (number, partial) in &mut log.partials {
            partial.valid_to = Some(Lsn(number.0 * SIZE + 8));
        }
    }
    inventory
}

fn at(lsn: Lsn) -> String {
    format!("{}+{}", lsn.0 / SIZE, lsn.0 % SIZE)
}

fn spans(spans: &[Span]) -> String {
    spans.iter().map(|span| format!("{}..{}", at(span.from), at(span.to))).collect::<Vec<_>>().join(" ")
}

#[test]
fn runs_and_gaps() {
    for (picture, runs, gaps) in [
        ("1: 3 4 5", "3+0..6+0", ""),
        ("1: 3 4 6", "3+0..5+0 6+0..7+0", "5+0..6+0"),
        ("1: 3 4 5[0-10]", "3+0..5+10", ""),
        ("1: 3 4 5[0-10] 5[10-30] 5[40-50]", "3+0..5+30", ""),
        ("1: 3 4 5[10-30]", "3+0..5+0", ""),
        ("1: 3 4[0-10] 5", "3+0..4+10 5+0..6+0", "4+10..5+0"),
        ("1: 3 4p", "3+0..4+8", ""),
        ("1: 3 4p 4[0-20]", "3+0..4+20", ""),
        ("1: 3 4p 4[0-20] 4 5", "3+0..6+0", ""),
        ("1: 3 3! 4", "3+0..5+0", ""),
        ("2: 3", "", ""),
    ] {
        let inventory = inventory(picture);
        let timeline = TimelineId(1);
        assert_eq!(spans(&inventory.runs(timeline)), runs, "{picture}");
        assert_eq!(spans(&inventory.gaps(timeline)), gaps, "{picture}");
        assert_eq!(inventory.conflicts.len(), picture.matches('!').count(), "{picture}");
    }
}

#[test]
fn covered_follows_the_path() {
    let promoted = format!("1\t{}\tpromoted\n", Lsn(4 * SIZE + 100));
    let path = TimelineHistory::parse(TimelineId(2), promoted.as_bytes()).unwrap();
    for (picture, from, expected) in [
        ("1: 2 3 4 5 | 2: 4 5 6", (2, 0), "7+0"),
        ("1: 2 3 | 2: 4 5", (2, 0), "6+0"),
        ("1: 2 3 4p | 2: 5", (2, 0), "4+8"),
        ("1: 2 3 4[0-200] | 2: 5", (2, 0), "4+100"),
        ("1: 2 3 4 5 6 | 2: 6", (2, 0), "4+100"),
        ("1: 2 | 2: 4", (2, 0), "3+0"),
        ("1: 2 3 | 2: 4[0-300]", (2, 5), "4+300"),
        ("1: 3 | 2: 4", (2, 0), "2+0"),
        ("2: 2 3 4", (2, 0), "2+0"),
    ] {
        let reached = inventory(picture).covered_along(&path, Lsn(from.0 * SIZE + from.1));
        assert_eq!(at(reached), expected, "{picture}");
    }
    let inventory = inventory("1: 2 3 5");
    assert_eq!(at(inventory.covered(TimelineId(1), Lsn(2 * SIZE + 9))), "4+0");
    assert_eq!(at(inventory.covered(TimelineId(1), Lsn(4 * SIZE + 9))), "4+9");
}

#[test]
fn strangers_are_named() {
    let names = ["000000010000000000000003", "000000010000000000000103", "passwd", "00000002.history"];
    let entries = names.iter().map(|name| entry((*name).to_owned(), "a")).collect();
    let inventory = Inventory::build(SystemId(1), SegmentSize::default(), entries);
    assert_eq!(inventory.strangers, ["000000010000000000000103", "passwd"]);
    assert!(inventory.segment("000000010000000000000003".parse().unwrap()).is_some());
    assert!(inventory.segment("000000010000000000000004".parse().unwrap()).is_none());
}
