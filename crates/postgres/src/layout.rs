//! The data directory by place: what a backup copies, what it keeps empty, what it must not take.
//!
//! Rules hold at one place each, never for a base name anywhere: `pg_wal` at the top is special, `base/pg_wal` or an
//! administrator's directory `log` is not. Whatever no rule names is copied: a backup that takes too much can be
//! restored, one that takes too little can't.
//!
//! Not here: walking the directory, following links, reading.
//!
//! Source: `src/backend/backup/basebackup.c` (exclude lists), `src/common/relpath.c`, "Database File Layout" in the
//! documentation.

use crate::MajorVersion;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::path::{Component, Path};

/// What to do with one entry of the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Treatment {
    /// A file that belongs in the backup.
    Copy(FileKind),
    /// A directory that belongs in the backup, with what is inside.
    Descend,
    /// A directory that must exist after a restore, but with nothing of what is inside now.
    KeepDirectoryOnly,
    /// Neither it nor anything below it.
    LeaveOut,
}

/// What a file is, as far as a backup must care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileKind {
    /// Pages of a table, index, or one of their maps.
    Relation(RelationFile),
    /// `global/pg_control`: copied last, restored last.
    Control,
    /// State of transactions: not pages with a position, so always taken whole.
    TransactionStatus,
    /// `pg_filenode.map`: which file holds each system catalog.
    FilenodeMap,
    /// `PG_VERSION`, at the top or in a database.
    Version,
    /// The configuration files at the top.
    Configuration,
    /// Anything else.
    Other,
}

impl FileKind {
    /// Does every page of the file carry a checksum, when the cluster has them?
    pub fn has_page_checksums(&self) -> bool {
        matches!(self, Self::Relation(_))
    }
}

/// Which relation, and which part of it, a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelationFile {
    /// The directory it lies in.
    pub place: Place,
    /// The number that names the relation's files in that directory.
    pub relfilenode: u32,
    /// Which of the relation's files.
    pub fork: Fork,
    /// The numeric extension; 0 when there is none. A segment has 131072 pages unless PostgreSQL was built otherwise,
    /// so the first page of the file is block `segment_number * blocks_per_segment` of the fork.
    pub segment_number: u32,
}

/// A directory of relation files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// `global`: catalogs shared by all databases.
    Global,
    /// `base/<database>`
    Database {
        /// Object id of the database.
        database: u32,
    },
    /// `pg_tblspc/<tablespace>/PG_<major>_<catalog>/<database>`
    Tablespace {
        /// Object id of the tablespace.
        tablespace: u32,
        /// Object id of the database.
        database: u32,
    },
}

/// The files of one relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fork {
    /// The rows or index entries.
    Main,
    /// `_fsm`: where there is room.
    FreeSpace,
    /// `_vm`: which pages all can see. A stale one returns deleted rows.
    Visibility,
    /// `_init`: what an unlogged relation is reset to.
    Init,
}

/// The rules for one version and catalog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    major: MajorVersion,
    catalog_version: u32,
}

/// At the top: directories whose content the server makes anew at start.
const EMPTIED: [&str; 7] =
    ["pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"];

/// At the top: of this running server, or of another backup, and wrong or dangerous in a restored cluster.
const LEFT_OUT: [&str; 11] = [
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
    "recovery.signal",
    "standby.signal",
    "postgresql.auto.conf.tmp",
    "current_logfiles.tmp",
];

const CONFIGURATION: [&str; 4] = ["postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf"];

const TRANSACTION_STATUS: [&str; 5] = ["pg_xact", "pg_multixact", "pg_commit_ts", "pg_twophase", "pg_logical"];

impl Layout {
    /// For the version, and the catalog version in the control file, which names the directory inside tablespaces.
    pub fn new(major: MajorVersion, catalog_version: u32) -> Self {
        Self { major, catalog_version }
    }

    /// The directory of this version inside each tablespace, such as `PG_15_202209061`. Others beside it belong to
    /// other clusters (before or after an upgrade) and are left alone.
    pub fn tablespace_directory(&self) -> String {
        format!("PG_{}_{}", self.major, self.catalog_version)
    }

    /// What to do with the entry at `path`, relative to the data directory. `is_directory` says what the entry is once
    /// links are followed: `pg_wal` and the entries of `pg_tblspc` may be links to directories.
    ///
    /// Unlogged relations can't be known from one path: see [`unlogged`].
    pub fn classify(&self, path: &Path, is_directory: bool) -> Treatment {
        let mut parts = Vec::new();
        for component in path.components() {
            match component {
                // A name that is no valid UTF-8 matches no rule, and no name of PostgreSQL's looks like this one.
                Component::Normal(name) => parts.push(name.to_str().unwrap_or("\u{FFFD}")),
                Component::CurDir => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => parts.push("\u{FFFD}"),
            }
        }
        let plain = if is_directory { Treatment::Descend } else { Treatment::Copy(FileKind::Other) };
        match parts.as_slice() {
            [top] => at_top(top, plain),
            ["pg_wal", inside @ ..] => self.in_wal(inside),
            [top, ..] if EMPTIED.contains(top) => Treatment::LeaveOut,
            [top, ..] if TRANSACTION_STATUS.contains(top) && !is_directory => {
                Treatment::Copy(FileKind::TransactionStatus)
            }
            ["global", "pg_control"] if !is_directory => Treatment::Copy(FileKind::Control),
            ["global", name] => in_relations(Place::Global, name, plain),
            ["base", name, ..] if name.starts_with("pgsql_tmp") => Treatment::LeaveOut,
            ["base", database, name] => match object_id(database) {
                Some(database) => in_relations(Place::Database { database }, name, plain),
                None => plain,
            },
            ["pg_tblspc", tablespace, inside @ ..] => self.in_tablespace(object_id(tablespace), inside, plain),
            _ => plain,
        }
    }

    /// Directories that a cluster needs in order to start, and that a backup lists empty or not at all. Parents first.
    pub fn directories_needed(&self) -> Vec<&'static str> {
        let mut directories = vec!["pg_wal", "pg_wal/archive_status"];
        if self.major >= MajorVersion::V17 {
            directories.push("pg_wal/summaries");
        }
        directories.extend(EMPTIED);
        directories.push("pg_tblspc");
        directories
    }

    fn in_wal(&self, inside: &[&str]) -> Treatment {
        match inside {
            ["archive_status"] => Treatment::KeepDirectoryOnly,
            ["summaries"] if self.major >= MajorVersion::V17 => Treatment::KeepDirectoryOnly,
            _ => Treatment::LeaveOut,
        }
    }

    fn in_tablespace(&self, tablespace: Option<u32>, inside: &[&str], plain: Treatment) -> Treatment {
        let Some(tablespace) = tablespace else { return plain };
        match inside {
            [] => plain,
            [version, ..] if *version != self.tablespace_directory() => Treatment::LeaveOut,
            [_, name, ..] if name.starts_with("pgsql_tmp") => Treatment::LeaveOut,
            [_, database, name] => match object_id(database) {
                Some(database) => in_relations(Place::Tablespace { tablespace, database }, name, plain),
                None => plain,
            },
            _ => plain,
        }
    }
}

fn at_top(name: &str, plain: Treatment) -> Treatment {
    let is_file = matches!(plain, Treatment::Copy(_));
    match name {
        "pg_wal" => Treatment::KeepDirectoryOnly,
        _ if EMPTIED.contains(&name) => Treatment::KeepDirectoryOnly,
        _ if LEFT_OUT.contains(&name) => Treatment::LeaveOut,
        _ if name.starts_with("pgsql_tmp") => Treatment::LeaveOut,
        "PG_VERSION" if is_file => Treatment::Copy(FileKind::Version),
        _ if CONFIGURATION.contains(&name) && is_file => Treatment::Copy(FileKind::Configuration),
        _ => plain,
    }
}

/// An entry of a directory that holds relation files.
fn in_relations(place: Place, name: &str, plain: Treatment) -> Treatment {
    if matches!(plain, Treatment::Descend) {
        return plain;
    }
    // The relation cache, and the names it is written under first: `pg_internal.init.<pid>`.
    if name == "pg_internal.init" || name.starts_with("pg_internal.init.") || is_temporary(name) {
        return Treatment::LeaveOut;
    }
    match name {
        "pg_filenode.map" => Treatment::Copy(FileKind::FilenodeMap),
        "PG_VERSION" => Treatment::Copy(FileKind::Version),
        _ => match relation_name(name) {
            Some((relfilenode, fork, segment_number)) => {
                Treatment::Copy(FileKind::Relation(RelationFile { place, relfilenode, fork, segment_number }))
            }
            None => plain,
        },
    }
}

/// The relations of one directory whose content doesn't survive a crash: those that have an `_init` fork there.
/// Give it all names of the directory; then leave out what [`RelationFile::is_reset_at_start`] says.
pub fn unlogged<'a>(names: impl IntoIterator<Item = &'a OsStr>) -> BTreeSet<u32> {
    let parsed = names.into_iter().filter_map(|name| relation_name(name.to_str()?));
    parsed.filter(|(_, fork, _)| *fork == Fork::Init).map(|(relfilenode, ..)| relfilenode).collect()
}

impl RelationFile {
    /// Is the file made anew from the `_init` fork when the cluster starts after a crash or restore?
    /// `unlogged` is of the same directory. Such a file is left out.
    pub fn is_reset_at_start(&self, unlogged: &BTreeSet<u32>) -> bool {
        self.fork != Fork::Init && unlogged.contains(&self.relfilenode)
    }

    /// The block number, within the fork, of the file's first page. None when no relation has so many.
    pub fn first_block(&self, blocks_per_segment: u32) -> Option<u32> {
        self.segment_number.checked_mul(blocks_per_segment)
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Main => "main",
            Self::FreeSpace => "fsm",
            Self::Visibility => "vm",
            Self::Init => "init",
        })
    }
}

/// `16384`, `16384.1`, `16384_fsm`, `16384_vm.2`
fn relation_name(name: &str) -> Option<(u32, Fork, u32)> {
    let (rest, segment_number) = match name.split_once('.') {
        Some((rest, digits)) => (rest, object_id(digits)?),
        None => (name, 0),
    };
    let (digits, fork) = match rest.split_once('_') {
        None => (rest, Fork::Main),
        Some((digits, "fsm")) => (digits, Fork::FreeSpace),
        Some((digits, "vm")) => (digits, Fork::Visibility),
        Some((digits, "init")) => (digits, Fork::Init),
        Some(_) => return None,
    };
    Some((object_id(digits)?, fork, segment_number))
}

/// `t<backend>_<relfilenode>` with the same endings: a table of one session.
fn is_temporary(name: &str) -> bool {
    let parts = name.strip_prefix('t').and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(backend, rest)| {
        !backend.is_empty() && backend.bytes().all(|b| b.is_ascii_digit()) && relation_name(rest).is_some()
    })
}

/// A number as PostgreSQL prints it: no sign, no leading zero, not 0, 32 bits.
fn object_id(digits: &str) -> Option<u32> {
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    fn classify(path: &str, is_directory: bool) -> Treatment {
        Layout::new(MajorVersion::V17, 202_406_281).classify(Path::new(path), is_directory)
    }

    fn relation(place: Place, relfilenode: u32, fork: Fork, segment_number: u32) -> Treatment {
        Treatment::Copy(FileKind::Relation(RelationFile { place, relfilenode, fork, segment_number }))
    }

    #[test]
    fn relation_files_are_known_by_place_and_name() {
        let five = Place::Database { database: 5 };
        let far = Place::Tablespace { tablespace: 16400, database: 5 };
        assert_eq!(classify("base/5/2619", false), relation(five, 2619, Fork::Main, 0));
        assert_eq!(classify("./base/5/2619.3", false), relation(five, 2619, Fork::Main, 3));
        assert_eq!(classify("base/5/2619_fsm", false), relation(five, 2619, Fork::FreeSpace, 0));
        assert_eq!(classify("base/5/2619_vm.1", false), relation(five, 2619, Fork::Visibility, 1));
        assert_eq!(classify("base/5/4294967295_init", false), relation(five, u32::MAX, Fork::Init, 0));
        assert_eq!(classify("global/1262", false), relation(Place::Global, 1262, Fork::Main, 0));
        assert_eq!(classify("pg_tblspc/16400/PG_17_202406281/5/20000.1", false), relation(far, 20000, Fork::Main, 1));
    }

    #[test]
    fn a_name_is_special_only_in_its_place() {
        let other = Treatment::Copy(FileKind::Other);
        for path in [
            "base/5/2619.0",
            "base/5/02619",
            "base/5/2619_foo",
            "base/5/4294967296",
            "base/5/2619.",
            "base/5/x/2619",
            "base/x/2619",
            "2619",
            "base/2619",
            "elsewhere/5/2619",
            "pg_xact.old/0000",
            "base/5/backup_label",
            "scripts/postmaster.pid",
            "conf/recovery.signal",
            "global/pg_control.old",
            "base/5/t_1",
            "base/5/t3_x",
            "log/pg_wal/x",
            "archive/pg_wal/000000010000000000000001",
            "base/5/pg_internal.initial",
        ] {
            assert_eq!(classify(path, false), other, "{path}");
        }
        for path in
            ["log", "pg_log", "base", "base/5", "base/pg_wal", "mine/pg_stat_tmp", "pg_tblspc", "pg_tblspc/16400", ""]
        {
            assert_eq!(classify(path, true), Treatment::Descend, "{path}");
        }
        let strange = Path::new(OsStr::from_bytes(b"base/5/\xFF2619"));
        assert_eq!(Layout::new(MajorVersion::V15, 1).classify(strange, false), other);
    }

    #[test]
    fn what_would_harm_a_restored_cluster_stays_behind() {
        for path in [
            "postmaster.pid",
            "postmaster.opts",
            "backup_label",
            "backup_label.old",
            "tablespace_map",
            "tablespace_map.old",
            "backup_manifest",
            "recovery.signal",
            "standby.signal",
            "postgresql.auto.conf.tmp",
            "current_logfiles.tmp",
            "base/pgsql_tmp/pgsql_tmp123.0",
            "base/5/t3_16384",
            "base/5/t12_16384_fsm.1",
            "base/5/pg_internal.init",
            "global/pg_internal.init.1234",
            "pg_wal/000000010000000000000001",
            "pg_wal/archive_status/000000010000000000000001.ready",
            "pg_replslot/a/state",
            "pg_subtrans/0000",
            "pg_stat_tmp/global.stat",
            "pg_tblspc/16400/PG_16_202307071/5/2619",
            "pg_tblspc/16400/notes",
            "pg_tblspc/16400/PG_17_202406281/pgsql_tmp/x",
        ] {
            assert_eq!(classify(path, false), Treatment::LeaveOut, "{path}");
        }
        assert_eq!(classify("base/pgsql_tmp", true), Treatment::LeaveOut);
    }

    #[test]
    fn emptied_directories_stay_and_can_be_made_again() {
        let layout = Layout::new(MajorVersion::V17, 1);
        for path in layout.directories_needed().iter().filter(|path| **path != "pg_tblspc") {
            assert_eq!(layout.classify(Path::new(path), true), Treatment::KeepDirectoryOnly, "{path}");
        }
        let older = Layout::new(MajorVersion::V16, 1);
        assert!(!older.directories_needed().contains(&"pg_wal/summaries"));
        assert_eq!(older.classify(Path::new("pg_wal/summaries"), true), Treatment::LeaveOut);
    }

    #[test]
    fn state_of_transactions_is_no_relation() {
        for path in
            ["pg_xact/0000", "pg_multixact/members/0000", "pg_commit_ts/0000", "pg_twophase/000002EA", "pg_logical/x/y"]
        {
            let treatment = classify(path, false);
            assert_eq!(treatment, Treatment::Copy(FileKind::TransactionStatus), "{path}");
        }
        assert_eq!(classify("global/pg_control", false), Treatment::Copy(FileKind::Control));
        assert_eq!(classify("base/5/pg_filenode.map", false), Treatment::Copy(FileKind::FilenodeMap));
        assert_eq!(classify("base/5/PG_VERSION", false), Treatment::Copy(FileKind::Version));
        assert_eq!(classify("postgresql.auto.conf", false), Treatment::Copy(FileKind::Configuration));
    }

    #[test]
    fn unlogged_relations_keep_only_their_init_fork() {
        let names = ["100", "100_fsm", "100_init", "101", "101_vm", "102_initial", "PG_VERSION"].map(OsStr::new);
        let unlogged = unlogged(names);
        assert_eq!(unlogged, BTreeSet::from([100]));
        let file = |relfilenode, fork| RelationFile { place: Place::Global, relfilenode, fork, segment_number: 1 };
        assert!(file(100, Fork::Main).is_reset_at_start(&unlogged));
        assert!(file(100, Fork::Visibility).is_reset_at_start(&unlogged));
        assert!(!file(100, Fork::Init).is_reset_at_start(&unlogged));
        assert!(!file(101, Fork::Main).is_reset_at_start(&unlogged));
        assert_eq!(file(101, Fork::Main).first_block(131_072), Some(131_072));
        assert_eq!(RelationFile { segment_number: 40_000, ..file(1, Fork::Main) }.first_block(131_072), None);
    }
}
