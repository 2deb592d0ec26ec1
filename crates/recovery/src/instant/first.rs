//! What every server reads when it is started and asked for the first time: brought at once, and not in turns as it is read.

use super::needed::Needed;
use lifeboat_postgres::layout::{FileKind, Fork, Layout, Place, Treatment};
use lifeboat_repository::{EntryKind, TreeEntry};
use std::path::Path;

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
}
