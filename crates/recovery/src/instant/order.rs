//! In which order the rest comes: first what every session asks for, then what was read most when a point was last tried, then all else in
//! the order of the tree.

use lifeboat_mount::hydrate::Part;
use lifeboat_mount::journal::FileNumber;
use lifeboat_mount::lazy::READS_UNIT_BYTES;
use lifeboat_postgres::layout::{FileKind, Layout, Place, Treatment};
use lifeboat_repository::{EntryKind, MOST_READ_UNIT_BYTES, MostRead, Repository, TreeEntry};
use lifeboat_workload::postgres::restore::Leaves;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// What is brought in one go.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// After so many parts of a file, and at its end, what came is made durable: a sync costs some milliseconds.
const PARTS_TO_SETTLE: u64 = 8;
/// Relations that every database is made with have smaller numbers. `FirstNormalObjectId` in PostgreSQL's access/transam.h.
const FIRST_OF_USERS: u32 = 16384;
/// How long a location may take to say what was read most: the rest comes without it too.
const ASK_WITHIN: Duration = Duration::from_secs(10);

// What is counted there is what is listed here.
const _: () = assert!(READS_UNIT_BYTES == MOST_READ_UNIT_BYTES);

/// The files that come bit by bit.
#[derive(Debug, Clone)]
pub struct Order {
    /// Catalogues, then all others.
    files: Vec<File>,
}

#[derive(Debug, Clone)]
struct File {
    number: FileNumber,
    path: String,
    bytes: u64,
    is_catalogue: bool,
}

/// What was read most when a point of this workload was last tried; and what should be known of that. It costs a listing and a read, and
/// never fails.
pub async fn most_read(repository: &Repository, workload: &str) -> (Option<MostRead>, Vec<String>) {
    let mut notes = Vec::new();
    let asked = repository.most_read(workload, &mut notes);
    let list = tokio::time::timeout(ASK_WITHIN, asked).await.unwrap_or_default();
    (list, notes)
}

impl Order {
    /// Of a point with this tree.
    pub(super) fn of(tree: &[TreeEntry], layout: Layout) -> Self {
        let leaves = Leaves::Relations(layout);
        let files = (0u32..).zip(tree).filter(|(_, entry)| entry.kind == EntryKind::File && leaves.leaves(entry));
        let file = |(number, entry): (FileNumber, &TreeEntry)| File {
            number,
            path: entry.path.clone(),
            bytes: entry.size,
            is_catalogue: is_catalogue(entry, layout),
        };
        let (first, then): (Vec<_>, Vec<_>) = files.map(file).partition(|file| file.is_catalogue);
        Self { files: first.into_iter().chain(then).collect() }
    }

    /// Every part of every file. A part of one that was read most is there twice: by itself, and in its turn, when it is here already.
    pub fn parts(&self, most_read: Option<&MostRead>) -> Vec<Part> {
        let all = |file: &File| parts_of(file.number, file.bytes);
        let (first, then): (Vec<&File>, Vec<&File>) = self.files.iter().partition(|file| file.is_catalogue);
        let first = first.into_iter().flat_map(all);
        first.chain(self.read_most(most_read)).chain(then.into_iter().flat_map(all)).collect()
    }

    /// What isn't there any more, or comes first anyway, is left out.
    fn read_most(&self, most_read: Option<&MostRead>) -> Vec<Part> {
        let Some(most_read) = most_read else { return Vec::new() };
        let files: HashMap<&str, &File> =
            self.files.iter().filter(|file| !file.is_catalogue).map(|file| (file.path.as_str(), file)).collect();
        let runs = most_read.runs().iter().filter_map(|run| Some((files.get(run.0.as_str())?, run.bytes())));
        let mut parts: Vec<Part> = runs.flat_map(|(file, bytes)| parts_in(file, bytes)).collect();
        // Once for each file: the rest of it settles what came since.
        let mut settled = HashSet::new();
        parts.iter_mut().rev().for_each(|part| part.is_to_settle = settled.insert(part.number));
        parts
    }

    /// What was read, as a list for the next one who brings these files. Catalogues come first anyway.
    pub(crate) fn most_read(&self, reads: Vec<(FileNumber, Vec<u32>)>) -> MostRead {
        let mut reads: HashMap<FileNumber, Vec<u32>> = reads.into_iter().collect();
        let files = self.files.iter().filter(|file| !file.is_catalogue);
        MostRead::of(files.filter_map(|file| Some((file.path.clone(), reads.remove(&file.number)?))))
    }
}

/// Whether everybody who connects needs it. One that was rewritten since has a larger number, and comes with the rest.
fn is_catalogue(entry: &TreeEntry, layout: Layout) -> bool {
    let Treatment::Copy(FileKind::Relation(relation)) = layout.classify(Path::new(&entry.path), false) else {
        return false;
    };
    relation.place == Place::Global || relation.relfilenode < FIRST_OF_USERS
}

/// Cut where the file's other parts are cut too, and where it ends.
fn parts_in(file: &File, bytes: Range<u64>) -> impl Iterator<Item = Part> {
    let (number, end) = (file.number, bytes.end.min(file.bytes));
    let cuts = bytes.start / PART_BYTES..end.div_ceil(PART_BYTES);
    cuts.filter_map(move |at| {
        let bytes = bytes.start.max(at * PART_BYTES)..end.min((at + 1) * PART_BYTES);
        (bytes.start < bytes.end).then_some(Part { number, bytes, is_to_settle: false })
    })
}

fn parts_of(number: u32, bytes: u64) -> impl Iterator<Item = Part> {
    let parts = bytes.div_ceil(PART_BYTES);
    let is_to_settle = move |at: u64| (at + 1).is_multiple_of(PARTS_TO_SETTLE) || at + 1 == parts;
    (0..parts).map(move |at| {
        let bytes = at * PART_BYTES..bytes.min((at + 1) * PART_BYTES);
        Part { number, bytes, is_to_settle: is_to_settle(at) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_postgres::MajorVersion;

    fn entry(path: &str, size: u64) -> TreeEntry {
        let kind = EntryKind::File;
        let (content, target) = (None, None);
        TreeEntry { path: path.into(), kind, mode: 0o600, uid: 0, gid: 0, modified_ns: 0, size, content, target }
    }

    #[test]
    fn catalogues_come_first_and_nothing_is_left_out() {
        let page = 8192;
        let tree = [
            entry("PG_VERSION", 3),
            entry("base/5/1259", page),
            entry("base/5/16384", 2 * PART_BYTES + page),
            entry("base/5/16385", 0),
            entry("base/5/16386_init", page),
            entry("base/5/pg_filenode.map", 512),
            entry("global/1262", page),
            entry("pg_tblspc/16400/PG_15_202209061/5/16401_vm", page),
            entry("pg_wal/000000010000000000000001", 16 << 20),
            entry("pg_xact/0000", page),
        ];
        let part = |number, bytes| Part { number, bytes, is_to_settle: true };
        let expected = [
            part(1, 0..page),
            part(6, 0..page),
            Part { is_to_settle: false, ..part(2, 0..PART_BYTES) },
            Part { is_to_settle: false, ..part(2, PART_BYTES..2 * PART_BYTES) },
            part(2, 2 * PART_BYTES..2 * PART_BYTES + page),
            part(7, 0..page),
        ];
        let order = Order::of(&tree, Layout::new(MajorVersion::V15, 202_209_061));
        assert_eq!(order.parts(None), expected);
        assert_eq!(order.parts(Some(&MostRead::default())), expected);
    }

    #[test]
    fn what_was_read_most_comes_next_and_nothing_is_left_out() {
        const MIB: u64 = MOST_READ_UNIT_BYTES;
        let tree = [
            entry("base/5/1259", MIB),
            entry("base/5/16384", 64 * MIB),
            entry("base/5/16385", 3 * MIB + 8192),
            entry("base/5/16386", 8192),
        ];
        let order = Order::of(&tree, Layout::new(MajorVersion::V15, 202_209_061));
        let read = |path: &str, units: &[(usize, u32)]| {
            let mut all = vec![0; 80];
            units.iter().for_each(|(unit, blocks)| all[*unit] = *blocks);
            (path.to_owned(), all)
        };
        let list = MostRead::of([
            read("base/5/16384", &[(5, 1), (6, 20), (7, 20), (8, 20), (9, 127), (70, 128)]),
            read("base/5/16385", &[(2, 60), (3, 60), (4, 60)]),
            read("base/5/16387", &[(0, 128)]),
            read("base/5/1259", &[(0, 128)]),
        ]);
        let part = |number, bytes| Part { number, bytes, is_to_settle: false };
        let settled = |number, bytes| Part { number, bytes, is_to_settle: true };
        let hot = [
            part(1, 9 * MIB..10 * MIB),
            settled(2, 2 * MIB..3 * MIB + 8192),
            part(1, 6 * MIB..8 * MIB),
            part(1, 8 * MIB..9 * MIB),
            settled(1, 5 * MIB..6 * MIB),
        ];
        let (plain, parts) = (order.parts(None), order.parts(Some(&list)));
        assert_eq!(parts, [&plain[..1], &hot, &plain[1..]].concat());
        // What is told of reads by number is the same list; of catalogues nothing is told.
        let told = order.most_read(vec![(0, vec![128]), (2, vec![0, 0, 60, 60]), (9, vec![1])]);
        assert_eq!(told, MostRead::of([read("base/5/16385", &[(2, 60), (3, 60)])]));
    }
}
