//! Observing a data directory: what is there and what of it belongs in a backup.
//!
//! Links that lead out of the directory are followed (`pg_wal`, tablespaces, configuration), so that what is copied can
//! start by itself. What vanishes while we look is a dropped relation, not an error: replay takes care of it.
//!
//! Not here: reading the files, deciding what changed.

use crate::postgres::appearance::Appearance;
use lifeboat_postgres::layout::{FileKind, Layout, Treatment, unlogged};
use lifeboat_repository::EntryKind;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Nothing in a data directory is nested deeper.
const DEPTH_MAX: usize = 16;

/// A file, directory or tablespace link that belongs in the backup.
#[derive(Debug, Clone)]
pub struct Found {
    /// Relative to the data directory, with `/`.
    pub path: String,
    /// Where it really is.
    pub absolute: PathBuf,
    /// What it is.
    pub kind: EntryKind,
    /// What PostgreSQL uses it for; only for files.
    pub file_kind: Option<FileKind>,
    /// Size in bytes when we looked. No more than this is copied: what is added later, replay adds too.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time in nanoseconds since 1970.
    pub modified_ns: i64,
    /// Where a tablespace link leads.
    pub target: Option<PathBuf>,
    /// How it looked.
    pub appearance: Appearance,
}

/// Everything that belongs in a backup, in order of path.
#[derive(Debug, Default)]
pub struct Scan {
    /// Files, directories, links.
    pub entries: Vec<Found>,
    /// Names that can't be written as text and so were refused, with the reason.
    pub refused: Vec<String>,
}

/// Walks the data directory by the rules of `layout`. `global/pg_control` is not in the result: it is read last, with
/// care of its own.
pub fn scan(data_dir: &Path, layout: &Layout) -> io::Result<Scan> {
    let mut scan = Scan::default();
    walk(data_dir, Path::new(""), layout, 0, &mut scan)?;
    scan.entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

fn walk(root: &Path, relative: &Path, layout: &Layout, depth: usize, scan: &mut Scan) -> io::Result<()> {
    let directory = root.join(relative);
    let names: Vec<OsString> = match std::fs::read_dir(&directory) {
        Ok(listing) => listing.map(|entry| entry.map(|entry| entry.file_name())).collect::<io::Result<_>>()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && depth > 0 => return Ok(()),
        Err(error) => return Err(with_path(error, &directory)),
    };
    let unlogged = unlogged(names.iter().map(OsString::as_os_str));
    for name in names {
        let path = relative.join(&name);
        let absolute = root.join(&path);
        let metadata = match std::fs::metadata(&absolute) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(with_path(error, &absolute)),
        };
        let treatment = layout.classify(&path, metadata.is_dir());
        let file_kind = match &treatment {
            Treatment::LeaveOut | Treatment::Copy(FileKind::Control) => continue,
            Treatment::Copy(FileKind::Relation(relation)) if relation.is_reset_at_start(&unlogged) => continue,
            Treatment::Copy(kind) if metadata.is_file() => Some(kind.clone()),
            Treatment::Copy(_) => continue, // sockets and pipes
            Treatment::Descend | Treatment::KeepDirectoryOnly => None,
        };
        let Some(text) = path.to_str().map(str::to_owned) else {
            scan.refused.push(format!("{}: the name is not valid UTF-8", absolute.display()));
            continue;
        };
        let is_tablespace = relative == Path::new("pg_tblspc") && metadata.is_dir();
        let target = is_tablespace.then(|| std::fs::read_link(&absolute).ok()).flatten();
        let kind = match (&target, metadata.is_dir()) {
            (Some(_), _) => EntryKind::Link,
            (None, true) => EntryKind::Directory,
            (None, false) => EntryKind::File,
        };
        scan.entries.push(Found {
            path: text,
            absolute,
            kind,
            file_kind,
            size: if metadata.is_file() { metadata.len() } else { 0 },
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            target,
            appearance: Appearance::from(&metadata),
        });
        if treatment == Treatment::Descend {
            if depth == DEPTH_MAX {
                return Err(io::Error::other(format!("{}: nested too deeply", path.display())));
            }
            walk(root, &path, layout, depth + 1, scan)?;
        } else if treatment == Treatment::KeepDirectoryOnly {
            // Rules may keep an empty directory inside, such as pg_wal/archive_status.
            keep_inside(&path, layout, scan);
        }
    }
    Ok(())
}

fn keep_inside(path: &Path, layout: &Layout, scan: &mut Scan) {
    let Some(parent) = scan.entries.last().cloned() else { return };
    for needed in layout.directories_needed() {
        if Path::new(needed).parent() == Some(path) {
            let absolute = parent.absolute.join(Path::new(needed).file_name().unwrap_or_default());
            scan.entries.push(Found { path: needed.to_string(), absolute, ..parent.clone() });
        }
    }
}

/// The same error with the path in front.
pub(crate) fn with_path(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
