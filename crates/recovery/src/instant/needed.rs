//! Which pages of a point's files replay will read, told from the log before it gets there. Pure: records go in, ranges come out.
//!
//! What counts is the first record that names a page: when it brings an image of the page, or makes it anew, replay never reads what was
//! there, and from then on it has the page. Of a heap it also looks into the two maps, which no record needs to name.
//!
//! Not here: reading the log, bringing anything.

use crate::plan::Stop;
use lifeboat_mount::blocks::{BLOCK_BYTES, BlockSet, blocks_of};
use lifeboat_mount::journal::FileNumber;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::layout::{FileKind, Fork, Layout, RelationFile, Treatment};
use lifeboat_postgres::wal::{Record, RelationLocator, ResourceManager, RestorePoint, TransactionEnd};
use lifeboat_repository::{EntryKind, TreeEntry};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::Path;

/// Pages of a file of 1 GiB.
const BLOCKS_PER_FILE: u32 = 131_072;
/// Of so many files at most is remembered what was seen of them: 16 KiB each. Of more, some of it is fetched for nothing.
const FILES_MAX: usize = 4096;
/// Blocks that are less far apart are brought together: a chunk has no more, and one that holds both is fetched once.
const JOINED_BLOCKS: u64 = 32;
/// Who waits for a block waits for all that is brought with it.
const RANGE_BLOCKS_MAX: u64 = 256;

/// `RM_HEAP2_ID` and `RM_HEAP_ID`.
const HEAPS: [ResourceManager; 2] = [ResourceManager::Other(9), ResourceManager::Other(10)];
/// Pages of a heap of which one page of the visibility map tells: `HEAPBLOCKS_PER_PAGE` in visibilitymap.c.
const HEAP_BLOCKS_PER_VISIBILITY: u32 = 32_672;
/// The same of a lowest page of the free space map: `SlotsPerFSMPage` in freespace.c.
const HEAP_BLOCKS_PER_FREE_SPACE: u32 = 4069;

/// Which of a point's files holds which part of which relation.
#[derive(Debug, Default)]
pub struct Relations(HashMap<RelationFile, (FileNumber, u64)>);

/// A part of a file that will be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// Of which file.
    pub number: FileNumber,
    /// Which bytes of it.
    pub bytes: Range<u64>,
}

/// What is known of a stretch of log that was read so far.
pub struct Needs<'a> {
    relations: &'a Relations,
    version: MajorVersion,
    /// Pages that were named before.
    seen: HashMap<FileNumber, BlockSet>,
    /// Not taken yet.
    blocks: BTreeSet<(FileNumber, u64)>,
}

impl Relations {
    /// Those in a point's tree.
    pub fn of(tree: &[TreeEntry], layout: Layout) -> Self {
        let files = (0u32..).zip(tree).filter(|(_, entry)| entry.kind == EntryKind::File);
        let relation = |(number, entry): (FileNumber, &TreeEntry)| match layout.classify(Path::new(&entry.path), false)
        {
            Treatment::Copy(FileKind::Relation(file)) => Some((file, (number, entry.size))),
            _ => None,
        };
        Self(files.filter_map(relation).collect())
    }

    /// The file with a block, how many it has, and which of them it is. None for what came to be later.
    fn find(&self, relation: RelationLocator, fork: Fork, block: u32) -> Option<(FileNumber, u64, u64)> {
        let RelationLocator { place, relfilenode } = relation;
        let file = RelationFile { place, relfilenode, fork, segment_number: block / BLOCKS_PER_FILE };
        let (number, bytes) = *self.0.get(&file)?;
        let (block, blocks) = (u64::from(block % BLOCKS_PER_FILE), blocks_of(bytes));
        (block < blocks).then_some((number, blocks, block))
    }
}

impl<'a> Needs<'a> {
    /// Nothing yet, of a log of that version.
    pub fn new(relations: &'a Relations, version: MajorVersion) -> Self {
        Self { relations, version, seen: HashMap::new(), blocks: BTreeSet::new() }
    }

    /// Takes in the next record; the front of its body is enough. One that can't be understood is passed over.
    pub fn read(&mut self, record: &Record) {
        let Ok(references) = record.block_references(self.version) else { return };
        let is_of_heap = HEAPS.contains(&record.header.manager);
        for reference in references {
            let Some(fork) = reference.fork else { continue };
            self.named(reference.relation, fork, reference.block, reference.is_read);
            if is_of_heap && fork == Fork::Main {
                self.named(reference.relation, Fork::Visibility, reference.block / HEAP_BLOCKS_PER_VISIBILITY, true);
                self.named(reference.relation, Fork::FreeSpace, free_space_block(reference.block), true);
            }
        }
    }

    fn named(&mut self, relation: RelationLocator, fork: Fork, block: u32, is_read: bool) {
        let Some((number, blocks, block)) = self.relations.find(relation, fork, block) else { return };
        if self.seen.len() >= FILES_MAX && !self.seen.contains_key(&number) {
            self.seen.clear();
        }
        let seen = self.seen.entry(number).or_insert_with(|| BlockSet::new(blocks));
        if seen.contains(block) {
            return;
        }
        seen.insert(block..block + 1);
        if is_read {
            self.blocks.insert((number, block));
        }
    }

    /// What is needed since this was asked last, in ranges that are worth a fetch each.
    pub fn take(&mut self) -> Vec<Needed> {
        let mut needed: Vec<(FileNumber, Range<u64>)> = Vec::new();
        for (number, block) in std::mem::take(&mut self.blocks) {
            match needed.last_mut() {
                Some((last, blocks))
                    if *last == number
                        && block + 1 < blocks.end + JOINED_BLOCKS
                        && block < blocks.start + RANGE_BLOCKS_MAX =>
                {
                    blocks.end = block + 1;
                }
                _ => needed.push((number, block..block + 1)),
            }
        }
        let in_bytes = |blocks: Range<u64>| blocks.start * BLOCK_BYTES..blocks.end * BLOCK_BYTES;
        needed.into_iter().map(|(number, blocks)| Needed { number, bytes: in_bytes(blocks) }).collect()
    }
}

/// The page of a free space map that tells of a page of its heap: `fsm_logical_to_physical` in freespace.c. Three levels, each page of an
/// upper one before those that it tells of.
fn free_space_block(heap_block: u32) -> u32 {
    let lowest = heap_block / HEAP_BLOCKS_PER_FREE_SPACE;
    let middle = lowest / HEAP_BLOCKS_PER_FREE_SPACE;
    let top = middle / HEAP_BLOCKS_PER_FREE_SPACE;
    lowest + middle + top + 2
}

/// Whether replay ends before this record, or with it.
pub fn ends_replay(stop: &Stop, record: &Record, version: MajorVersion) -> bool {
    match stop {
        Stop::EndOfLog | Stop::Consistent => false,
        Stop::Lsn { lsn, inclusive: false } => record.start >= *lsn,
        Stop::Lsn { lsn, inclusive: true } => record.start > *lsn,
        Stop::Name { name } => RestorePoint::of(record).is_some_and(|point| point.name == *name),
        Stop::Xid { xid, .. } => TransactionEnd::of(record, version).is_some_and(|end| end.xid == Some(*xid)),
        Stop::Time { time, inclusive } => {
            let end = TransactionEnd::of(record, version);
            end.and_then(|end| end.at).is_some_and(|at| if *inclusive { at > *time } else { at >= *time })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: MajorVersion = MajorVersion::V17;
    const BTREE: u8 = 11;
    const HEAP: u8 = 10;
    const PAGE: u64 = BLOCK_BYTES;

    /// How a record names a page.
    #[derive(Clone, Copy)]
    enum How {
        Changed,
        Replaced,
        Compared,
        MadeAnew,
    }

    fn record(manager: u8, references: &[(u32, u32, How)]) -> Record {
        let (mut headers, mut data) = (Vec::new(), 0);
        for (id, (relfilenode, block, how)) in references.iter().enumerate() {
            let (flags, image): (u8, &[u8]) = match how {
                How::Changed => (0, &[]),
                // An image of 8 bytes, which is applied; and one which isn't.
                How::Replaced => (0x10, &[8, 0, 0, 0, 0x03]),
                How::Compared => (0x10, &[8, 0, 0, 0, 0x01]),
                How::MadeAnew => (0x40, &[]),
            };
            headers.extend([id as u8, flags, 0, 0]);
            headers.extend(image);
            data += if image.is_empty() { 0 } else { 8 };
            for number in [1663, 5, *relfilenode, *block] {
                headers.extend(u32::to_le_bytes(number));
            }
        }
        headers.extend(vec![0; data]);
        Record::new(Default::default(), 700, manager, 0, headers)
    }

    fn relations(files: &[(&str, u64)]) -> Relations {
        let entry = |(path, size): &(&str, u64)| TreeEntry {
            path: (*path).into(),
            kind: EntryKind::File,
            mode: 0o600,
            uid: 0,
            gid: 0,
            modified_ns: 0,
            size: *size,
            content: None,
            target: None,
        };
        Relations::of(&files.iter().map(entry).collect::<Vec<_>>(), Layout::new(VERSION, 202_406_281))
    }

    /// What is needed after these records, as file and blocks.
    fn needed(relations: &Relations, records: &[Record]) -> Vec<(FileNumber, Range<u64>)> {
        let mut needs = Needs::new(relations, VERSION);
        records.iter().for_each(|record| needs.read(record));
        needs
            .take()
            .into_iter()
            .map(|needed| (needed.number, needed.bytes.start / PAGE..needed.bytes.end / PAGE))
            .collect()
    }

    #[test]
    fn what_the_first_record_brings_is_not_read() {
        let relations = relations(&[("base/5/100", 1000 * PAGE)]);
        for (first, expected) in [
            (How::Changed, vec![(0, 7..8)]),
            (How::Compared, vec![(0, 7..8)]),
            (How::Replaced, vec![]),
            (How::MadeAnew, vec![]),
        ] {
            let records = [first, How::Changed, How::Replaced].map(|how| record(BTREE, &[(100, 7, how)]));
            assert_eq!(needed(&relations, &records), expected);
        }
    }

    #[test]
    fn what_was_taken_is_not_needed_again() {
        let relations = relations(&[("base/5/100", 1000 * PAGE)]);
        let mut needs = Needs::new(&relations, VERSION);
        needs.read(&record(BTREE, &[(100, 7, How::Changed)]));
        assert_eq!(needs.take(), [Needed { number: 0, bytes: 7 * PAGE..8 * PAGE }]);
        needs.read(&record(BTREE, &[(100, 7, How::Changed)]));
        assert_eq!(needs.take(), []);
    }

    #[test]
    fn near_pages_come_together_and_what_is_not_in_the_point_does_not() {
        let relations = relations(&[
            ("PG_VERSION", 3),
            ("base/5/100", 131_072 * PAGE),
            ("base/5/100.1", 500 * PAGE),
            ("base/6/100", PAGE),
        ]);
        let changed = |relfilenode, block| record(BTREE, &[(relfilenode, block, How::Changed)]);
        let records = [
            changed(100, 131_072 + 499),
            changed(100, 131_072 + 500),
            changed(100, 3 * 131_072),
            changed(101, 0),
            changed(100, 40),
            changed(100, 8),
            changed(100, 399),
            changed(100, 368),
            changed(100, 367),
            changed(100, 131_071),
        ];
        let expected = [(1, 8..9), (1, 40..41), (1, 367..400), (1, 131_071..131_072), (2, 499..500)];
        assert_eq!(needed(&relations, &records), expected);
        // A run that is too long for one fetch.
        let records: Vec<Record> = (0..300).map(|block| changed(100, block)).collect();
        assert_eq!(needed(&relations, &records), [(1, 0..256), (1, 256..300)]);
    }

    #[test]
    fn the_maps_of_a_heap_come_with_it() {
        let relations = relations(&[
            ("base/5/100", 131_072 * PAGE),
            ("base/5/100_fsm", 40 * PAGE),
            ("base/5/100_vm", 5 * PAGE),
            ("base/5/100.1", 500 * PAGE),
        ]);
        let names = |manager| [record(manager, &[(100, 70_000, How::Replaced)])];
        assert_eq!(needed(&relations, &names(BTREE)), []);
        // 70 000 pages are 17 lowest pages of one map, behind the two above them, and two of the other.
        assert_eq!(needed(&relations, &names(HEAP)), [(1, 19..20), (2, 2..3)]);
    }

    #[test]
    fn whatever_is_in_a_record_is_borne() {
        let relations = relations(&[("base/5/100", 1000 * PAGE)]);
        let mut whole = record(HEAP, &[(100, 7, How::Changed), (100, 9, How::Compared)]);
        for at in 0..whole.body.len() {
            for byte in [0, 1, 0x7F, 0xFF] {
                let before = std::mem::replace(&mut whole.body[at], byte);
                needed(&relations, std::slice::from_ref(&whole));
                whole.body[at] = before;
            }
        }
        whole.body.truncate(11);
        assert_eq!(needed(&relations, &[whole]), []);
    }

    #[test]
    fn it_ends_where_replay_does() {
        use lifeboat_postgres::Lsn;
        let at = |start| Record { start: Lsn(start), ..record(BTREE, &[(100, 7, How::Changed)]) };
        let stop = |lsn, inclusive| Stop::Lsn { lsn: Lsn(lsn), inclusive };
        for (stop, expected) in [
            (Stop::EndOfLog, [false, false, false]),
            (stop(20, false), [false, true, true]),
            (stop(20, true), [false, false, true]),
            (Stop::Xid { xid: 700, inclusive: true }, [false, false, false]),
        ] {
            assert_eq!([10, 20, 30].map(|start| ends_replay(&stop, &at(start), VERSION)), expected, "{stop:?}");
        }
        let microseconds = 86_400_000_000_i64;
        let mut body = vec![255, 8];
        body.extend(microseconds.to_le_bytes());
        let commit = Record::new(Lsn(0), 700, 1, 0, body);
        let time = |text: &str, inclusive| Stop::Time { time: text.parse().unwrap(), inclusive };
        for (stop, expected) in [
            (Stop::Xid { xid: 700, inclusive: false }, true),
            (Stop::Xid { xid: 701, inclusive: false }, false),
            (time("2000-01-02T00:00:00Z", false), true),
            (time("2000-01-02T00:00:00Z", true), false),
            (time("2000-01-01T23:59:59Z", true), true),
        ] {
            assert_eq!(ends_replay(&stop, &commit, VERSION), expected, "{stop:?}");
        }
    }
}
