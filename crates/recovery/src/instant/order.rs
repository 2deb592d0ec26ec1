//! In which order the rest comes: first what every session asks for, then all else as it lies in the packs.

use super::needed::Needed;
use lifeboat_mount::hydrate::Part;
use lifeboat_postgres::layout::{FileKind, Fork, Layout, Place, Treatment};
use lifeboat_repository::{EntryKind, TreeEntry};
use lifeboat_workload::postgres::restore::Leaves;
use std::path::Path;

/// What is brought in one go.
const PART_BYTES: u64 = 8 * 1024 * 1024;
/// After so many parts of a file, and at its end, what came is made durable: a sync costs some milliseconds.
const PARTS_TO_SETTLE: u64 = 8;
/// Relations that every database is made with have smaller numbers. `FirstNormalObjectId` in PostgreSQL's access/transam.h.
const FIRST_OF_USERS: u32 = 16384;

/// Catalogues, and their indexes, that a server reads until it has answered its first query: seen with strace on PostgreSQL 15 and 18. They have
/// these numbers for ever, unless somebody rewrites them; then they come when they are read.
#[rustfmt::skip]
const READ_FIRST: [u32; 43] = [
    1213, 1247, 1249, 1255, 1259, 1260, 1262, 2600, 2601, 2602, 2603, 2606, 2610, 2615, 2616, 2617, 2619, 2650, 2653, 2654, 2655,
    2659, 2662, 2663, 2665, 2671, 2672, 2676, 2677, 2678, 2679, 2684, 2687, 2688, 2689, 2690, 2691, 2696, 2697, 2703, 2965, 3379, 3455,
];
/// `template1` and, from PostgreSQL 15 on, `template0`: nobody asks them.
const TEMPLATES: [u32; 2] = [1, 4];
/// Where catalogues are larger, there are tables without number, and only some of them are read.
const FIRST_BYTES_MAX: u64 = 1024 * 1024;
/// Where there are many databases, somebody will be asked first, and nobody knows who.
const FIRST_FILES_MAX: usize = 8 * READ_FIRST.len();

/// What every server reads when it is started and asked for the first time.
pub fn first(tree: &[TreeEntry], layout: Layout) -> Vec<Needed> {
    let files = (0u32..).zip(tree).filter(|(_, entry)| entry.kind == EntryKind::File && is_read_first(entry, layout));
    let needed = |(number, entry): (u32, &TreeEntry)| Needed { number, bytes: 0..entry.size.min(FIRST_BYTES_MAX) };
    files.map(needed).take(FIRST_FILES_MAX).collect()
}

fn is_read_first(entry: &TreeEntry, layout: Layout) -> bool {
    let Treatment::Copy(FileKind::Relation(relation)) = layout.classify(Path::new(&entry.path), false) else {
        return false;
    };
    let is_asked = match relation.place {
        Place::Global => true,
        Place::Database { database } | Place::Tablespace { database, .. } => !TEMPLATES.contains(&database),
    };
    is_asked
        && relation.fork == Fork::Main
        && relation.segment_number == 0
        && READ_FIRST.contains(&relation.relfilenode)
}

/// Every part of every file that comes bit by bit.
pub fn parts(tree: &[TreeEntry], layout: Layout) -> Vec<Part> {
    let leaves = Leaves::Relations(layout);
    let files = (0u32..).zip(tree).filter(|(_, entry)| entry.kind == EntryKind::File && leaves.leaves(entry));
    let (first, then): (Vec<_>, Vec<_>) = files.partition(|(_, entry)| is_catalogue(entry, layout));
    first.into_iter().chain(then).flat_map(|(number, entry)| parts_of(number, entry.size)).collect()
}

/// Whether everybody who connects needs it. One that was rewritten since has a larger number, and comes with the rest.
fn is_catalogue(entry: &TreeEntry, layout: Layout) -> bool {
    let Treatment::Copy(FileKind::Relation(relation)) = layout.classify(Path::new(&entry.path), false) else {
        return false;
    };
    relation.place == Place::Global || relation.relfilenode < FIRST_OF_USERS
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
    fn what_every_server_reads_is_known() {
        let tree = [
            entry("base/1/1259", 8192),
            entry("base/5/1259", 8192),
            entry("base/5/1259_vm", 8192),
            entry("base/5/1249", 3 * FIRST_BYTES_MAX),
            entry("base/5/16384", 8192),
            entry("global/1262", 8192),
        ];
        let needed = |number, bytes| Needed { number, bytes: 0..bytes };
        let expected = [needed(1, 8192), needed(3, FIRST_BYTES_MAX), needed(5, 8192)];
        assert_eq!(first(&tree, Layout::new(MajorVersion::V15, 202_209_061)), expected);
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
        assert_eq!(parts(&tree, Layout::new(MajorVersion::V15, 202_209_061)), expected);
    }
}
