//! The rules of the data directory over a real one.

use crate::fixtures::decompressed;
use lifeboat_postgres::MajorVersion;
use lifeboat_postgres::layout::{FileKind, Layout, Treatment, unlogged};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

#[test]
fn a_real_data_directory_has_few_files_without_a_rule() {
    let tree = String::from_utf8(decompressed(MajorVersion::V17, "tree.txt")).unwrap();
    let paths: Vec<&str> = tree.lines().filter_map(|line| line.strip_prefix("./")).collect();
    let empty = ["pg_tblspc", "pg_commit_ts", "pg_twophase"];
    let is_directory = |path: &str| {
        empty.contains(&path) || paths.iter().any(|other| Path::new(other).parent() == Some(Path::new(path)))
    };
    let layout = Layout::new(MajorVersion::V17, 202_406_281);
    let mut by_treatment: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for path in &paths {
        let treatment = match layout.classify(Path::new(path), is_directory(path)) {
            Treatment::Copy(FileKind::Other) => "other",
            Treatment::Copy(FileKind::Relation(_)) => "relation",
            Treatment::Copy(FileKind::FilenodeMap) => "map",
            Treatment::Copy(_) => "copy",
            Treatment::Descend => "descend",
            Treatment::KeepDirectoryOnly => "keep",
            Treatment::LeaveOut => "out",
        };
        by_treatment.entry(treatment).or_default().push(path);
    }
    assert_eq!(by_treatment["other"], ["log", "pg_stat/pgstat.stat"]);
    let top = ["pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];
    for directory in top.iter().chain(&["pg_wal", "pg_wal/archive_status", "pg_wal/summaries"]) {
        assert!(by_treatment["keep"].contains(directory), "{directory}");
    }
    for path in &by_treatment["out"] {
        let expected = ["pg_wal/", "postmaster.opts", "pg_subtrans/", "pg_notify/", "pg_replslot/"];
        let cache = path.ends_with("/pg_internal.init");
        assert!(cache || expected.iter().any(|start| path.starts_with(start)), "{path}");
    }
    assert!(by_treatment["relation"].len() > 800);
    // template0, template1, postgres, and the shared ones.
    assert_eq!(by_treatment["map"].len(), 4);

    let names = paths.iter().filter_map(|path| path.strip_prefix("base/5/")).map(OsStr::new);
    assert_eq!(unlogged(names).len(), 1);
}
