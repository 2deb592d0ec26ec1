//! The ledger against records made by hand. What real servers write is compared in `tests/e2e`.

use super::database::Database;
use super::ledger::{Deed, Finding, Ledger};
use super::name::{TableName, WantedTable};
use super::segments;
use lifeboat_postgres::catalog::TrackedTable;
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::layout::Place;
use lifeboat_postgres::wal::{Record, RelationLocator};
use lifeboat_postgres::wal_file::{SegmentNumber, SegmentSize};
use lifeboat_postgres::{Lsn, MajorVersion, SystemId, TimelineId};
use lifeboat_repository::LogEntry;
use lifeboat_workload::postgres::wal::Inventory;

const DATABASE: u32 = 5;
const CLASS: u32 = 1259;
const TABLE: u32 = 16_400;
const TRANSACTION: u8 = 1;
const HEAP: u8 = 10;

/// A log under way.
struct Log {
    ledger: Ledger,
    next: Lsn,
}

/// The columns of an entry of `pg_class` in PostgreSQL 18.
fn entry(oid: u32, name: &str, relfilenode: u32) -> Vec<u8> {
    let mut columns = vec![0; 144];
    let mut put = |at: usize, bytes: &[u8]| columns[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &oid.to_le_bytes());
    put(4, name.as_bytes());
    put(68, &2200u32.to_le_bytes());
    put(88, &relfilenode.to_le_bytes());
    put(100, &1000f32.to_le_bytes());
    put(119, b"r");
    columns
}

/// A row as it is logged: `xl_heap_header`, a byte that fills, the columns.
fn logged(columns: &[u8]) -> Vec<u8> {
    [&[33, 0, 0, 0x08, 24, 0], columns].concat()
}

/// A record's body that changes one page.
fn body(relfilenode: u32, data: &[u8], main: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap().to_le_bytes();
    let place = [1663, DATABASE, relfilenode, 0].map(u32::to_le_bytes).concat();
    let flags = if data.is_empty() { 0 } else { 0x20 };
    [&[0, flags], &length[..], &place, &[255, u8::try_from(main.len()).unwrap()], data, main].concat()
}

/// The end of a transaction: its subtransactions, files that go, and the number it was prepared under.
fn lists(subtransactions: &[u32], files: &[u32], prepared: Option<u32>) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let flags = 0b110 | if prepared.is_some() { 1 << 4 } else { 0 };
    let mut main =
        [0u64.to_le_bytes().to_vec(), words(&[flags, subtransactions.len() as u32]), words(subtransactions)].concat();
    main.extend(words(&[files.len() as u32]));
    files.iter().for_each(|file| main.extend(words(&[1663, DATABASE, *file])));
    main.extend(words(&Vec::from_iter(prepared)));
    [vec![255, u8::try_from(main.len()).unwrap()], main].concat()
}

impl Log {
    /// A database in which the table is entered at place 1, and stored in file 500.
    fn new() -> Self {
        let mut log = Self::without_entry();
        log.insert(3, 1, &entry(TABLE, "orders", 500));
        log.commit(3, &[], &[]);
        log
    }

    fn without_entry() -> Self {
        let place = Place::Database { database: DATABASE };
        let wanted = WantedTable::parse("orders", None).unwrap();
        let mut ledger = Ledger::new(wanted, MajorVersion::V18, None);
        let database = Database {
            place,
            class_file: RelationLocator { place, relfilenode: CLASS },
            class: TrackedTable::default(),
            namespace_file: None,
            namespace: TrackedTable::default(),
            is_stale: false,
        };
        ledger.load_database(DATABASE, database);
        Self { ledger, next: Lsn(0x100_0000) }
    }

    fn record(&mut self, xid: u32, manager: u8, info: u8, body: Vec<u8>) {
        let record = Record::new(self.next, xid, manager, info, body);
        self.next = record.end;
        self.ledger.read(&record, TimelineId(1));
    }

    fn insert(&mut self, xid: u32, number: u8, columns: &[u8]) {
        self.record(xid, HEAP, 0x00, body(CLASS, &logged(columns), &[number, 0, 0]));
    }

    /// The entry at one place gets a new version at another.
    fn update(&mut self, xid: u32, from: u8, to: u8, columns: &[u8]) {
        let main = [0, 0, 0, 0, from, 0, 0, 0, 0, 0, 0, 0, to, 0];
        self.record(xid, HEAP, 0x20, body(CLASS, &logged(columns), &main));
    }

    /// The same as the log has it when both lie on one page: only what is between `from` and `to` of the columns.
    fn update_between(&mut self, xid: u32, (old, new): (u8, u8), columns: &[u8], from: usize, to: usize) {
        let main = [0, 0, 0, 0, old, 0, 0, 0x60, 0, 0, 0, 0, new, 0];
        let ends = [from, columns.len() - to].map(|length| u16::try_from(length).unwrap().to_le_bytes()).concat();
        let data = [&ends[..], &logged(&columns[from..to])].concat();
        self.record(xid, HEAP, 0x40, body(CLASS, &data, &main));
    }

    fn delete(&mut self, xid: u32, file: u32, number: u8, flags: u8) {
        self.record(xid, HEAP, 0x10, body(file, &[], &[0, 0, 0, 0, number, 0, 0, flags]));
    }

    fn commit(&mut self, xid: u32, subtransactions: &[u32], files: &[u32]) {
        self.record(xid, TRANSACTION, 0x80, lists(subtransactions, files, None));
    }

    fn abort(&mut self, xid: u32, subtransactions: &[u32]) {
        self.record(xid, TRANSACTION, 0xA0, lists(subtransactions, &[], None));
    }

    fn found(&self) -> Vec<(u32, Deed)> {
        pairs(self.ledger.findings())
    }
}

fn pairs(findings: &[Finding]) -> Vec<(u32, Deed)> {
    findings.iter().map(|finding| (finding.xid, finding.deed.clone())).collect()
}

#[test]
fn a_drop_counts_when_its_transaction_commits_also_from_a_subtransaction() {
    let mut log = Log::new();
    log.delete(701, CLASS, 1, 0);
    log.abort(701, &[]);
    log.delete(702, CLASS, 1, 0);
    assert_eq!(log.found(), [], "nothing has committed");
    let at = log.next;
    log.commit(700, &[701, 702], &[500]);
    assert_eq!(log.found(), [(700, Deed::Dropped)]);
    assert_eq!(pairs(log.ledger.aborted()), [(701, Deed::Dropped)]);
    let finding = &log.ledger.findings()[0];
    assert_eq!((finding.restore_lsn, finding.rows_estimated), (at, Some(1000)));
    assert_eq!(finding.table.table, "orders");
}

#[test]
fn a_prepared_transaction_has_the_number_it_was_prepared_under() {
    let mut log = Log::new();
    log.delete(700, CLASS, 1, 0);
    log.record(0, TRANSACTION, 0xB0, lists(&[], &[500], Some(700)));
    assert_eq!(log.found(), [(700, Deed::Dropped)]);
}

#[test]
fn truncated_is_what_gets_a_new_file_and_was_not_written_anew() {
    let mut log = Log::new();
    log.update_between(700, (1, 2), &entry(TABLE, "orders", 501), 86, 95);
    log.commit(700, &[], &[500]);
    log.delete(705, 501, 1, 0);
    log.commit(705, &[], &[]);
    assert_eq!(log.found(), [(700, Deed::Truncated), (705, Deed::Deleted { rows: 1 })]);
    // VACUUM FULL: the new file was that of another table first.
    log.insert(710, 3, &entry(16_500, "pg_temp_16400", 502));
    log.update(710, 2, 4, &entry(TABLE, "orders", 502));
    log.update(710, 3, 5, &entry(16_500, "pg_temp_16400", 501));
    log.delete(710, CLASS, 5, 0);
    log.commit(710, &[], &[501]);
    assert_eq!(log.found().len(), 2, "{:?}", log.found());
    // Followed to the file that it is in now.
    log.delete(720, 502, 1, 0);
    log.delete(720, 500, 1, 0);
    log.commit(720, &[], &[]);
    assert_eq!(log.found()[2..], [(720, Deed::Deleted { rows: 1 })]);
    log.delete(730, CLASS, 4, 0);
    log.commit(730, &[], &[502]);
    assert_eq!(log.found()[3..], [(730, Deed::Dropped)]);
}

#[test]
fn deleted_rows_are_counted_over_subtransactions_and_moves_are_none() {
    let mut log = Log::new();
    for number in 1..=5 {
        log.delete(700, 500, number, 0);
    }
    log.delete(701, 500, 6, 0);
    log.delete(702, 500, 7, 0);
    log.delete(700, 500, 8, 1 << 3);
    log.delete(700, 500, 9, 1 << 4);
    log.delete(700, 999, 1, 0);
    log.abort(702, &[]);
    log.commit(700, &[701], &[]);
    assert_eq!(log.found(), [(700, Deed::Deleted { rows: 6 })]);
}

#[test]
fn of_a_table_that_all_delete_from_the_largest_deletions_are_kept() {
    let mut log = Log::new();
    for xid in 1000..26_000 {
        (0..if xid == 1500 { 3 } else { 1 }).for_each(|_| log.delete(xid, 500, 1, 0));
        log.commit(xid, &[], &[]);
    }
    let found = log.found();
    assert!((10_000..20_000).contains(&found.len()), "{}", found.len());
    assert_eq!(found[0], (1500, Deed::Deleted { rows: 3 }));
    assert_eq!(found.last(), Some(&(25_999, Deed::Deleted { rows: 1 })));
}

#[test]
fn what_a_transaction_made_itself_nobody_misses() {
    let mut log = Log::without_entry();
    log.insert(700, 1, &entry(TABLE, "orders", 500));
    log.delete(701, 500, 1, 0);
    log.update(701, 1, 2, &entry(TABLE, "orders", 501));
    log.delete(700, CLASS, 2, 0);
    log.commit(700, &[701], &[500, 501]);
    assert_eq!(log.found(), []);
}

#[test]
fn a_new_name_is_told_and_the_old_one_is_not_dropped() {
    let mut log = Log::new();
    log.update(700, 1, 2, &entry(TABLE, "orders_old", 500));
    log.commit(700, &[], &[]);
    let to = TableName { database: "5".into(), schema: "2200".into(), table: "orders_old".into() };
    assert_eq!(log.found(), [(700, Deed::Renamed { to })]);
    log.delete(710, CLASS, 2, 0);
    log.commit(710, &[], &[]);
    assert_eq!(log.found().len(), 1, "another table by then");
}

#[test]
fn a_file_that_goes_while_its_entry_isnt_known_may_be_anything() {
    let mut log = Log::new();
    // The entry moved in a part of the log that isn't there: what is deleted at place 9, nobody knows.
    log.ledger.gap();
    assert!(log.ledger.is_wanting(DATABASE) && log.ledger.is_wanting(6));
    log.delete(700, CLASS, 9, 0);
    log.commit(700, &[], &[500]);
    assert_eq!(log.found(), [(700, Deed::FileGone)]);
}

#[test]
fn a_database_takes_its_tables_with_it_before_its_transaction_ends() {
    let mut log = Log::new();
    let file = RelationLocator { place: Place::Database { database: DATABASE }, relfilenode: 1262 };
    log.ledger.load_database_names(file, []);
    let mut columns = entry(DATABASE, "app", 0);
    log.record(3, HEAP, 0x00, body(1262, &logged(&columns), &[1, 0, 0]));
    let drop = [&[255, 12], &[DATABASE, 1, 1663].map(u32::to_le_bytes).concat()[..]].concat();
    // Moved to another tablespace: its entry stays.
    log.record(690, 4, 0x20, drop.clone());
    log.commit(690, &[], &[]);
    assert_eq!(log.found(), []);
    assert!(log.ledger.is_wanting(DATABASE), "its files are elsewhere now");
    // Nobody can connect any more, from this record on, whatever becomes of the transaction.
    let at = log.next;
    columns[80..84].copy_from_slice(&(-2i32).to_le_bytes());
    log.record(0, HEAP, 0x70, body(1262, &columns, &[1, 0]));
    log.delete(700, 1262, 1, 0);
    log.record(700, 4, 0x20, drop);
    log.commit(700, &[], &[]);
    assert_eq!(log.found(), [(700, Deed::DroppedWithDatabase)]);
    assert_eq!(log.ledger.findings()[0].restore_lsn, at);
}

#[test]
fn of_each_segment_the_youngest_timeline_on_the_line_is_read() {
    let size = SegmentSize::new(1 << 20).unwrap();
    let entry = |timeline: u32, number: u64| LogEntry {
        group: format!("7/{timeline:08X}/00000000"),
        name: format!("{timeline:08X}00000000{number:08X}"),
        content_id: "a".into(),
        stored_bytes: 1,
        locations: vec!["near".into()],
    };
    let parent = (2..=8).map(|number| entry(1, number));
    let inventory =
        Inventory::build(SystemId(7), size, parent.chain([entry(2, 5), entry(2, 6), entry(3, 9)]).collect());
    let read = |timeline: u32, history: &str, from: u64| -> Vec<(u32, u64, Option<Lsn>)> {
        let history = TimelineHistory::parse(TimelineId(timeline), history.as_bytes()).unwrap();
        let chosen = segments(&history, &inventory, SegmentNumber(from));
        chosen.into_iter().map(|(segment, end)| (segment.timeline.0, segment.number.0, end)).collect()
    };
    // Left in the middle of segment 5, which the child begins with its parent's bytes.
    let switched = "1\t0/580000\twhy\n";
    assert_eq!(read(2, switched, 3), [(1, 3, None), (1, 4, None), (2, 5, None), (2, 6, None)]);
    // The child's first one is missing: the parent's, up to where it was left.
    assert_eq!(read(3, switched, 4), [(1, 4, None), (1, 5, Some(Lsn(0x58_0000))), (3, 9, None)]);
}
