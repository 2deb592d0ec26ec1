//! Writing a cluster back: its files, in parallel, into an empty directory or over an older copy of itself.
//!
//! Order: the old control file is removed first and the new one is written last, so that a directory in between cannot
//! be started. Everything is synced before it is reported.
//!
//! Not here: which point, and the settings for recovery.

mod assemble;
mod durable;
mod existing;
mod plan;
mod sink;
mod stretch;
mod write;

pub use durable::FileSystems;

use crate::postgres::BackupError;
use crate::postgres::scan::with_path;
use lifeboat_postgres::layout::{FileKind, Fork, Layout, Treatment};
use lifeboat_repository::{ChunkReader, EntryKind, Point, Progress, TreeEntry, TreeReader};
use rustix::fs::{Mode, chmod};
use sink::FileTable;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// The control file, relative to the data directory.
pub const CONTROL_FILE: &str = "global/pg_control";

/// A file at the top of a directory that is being restored, removed at the end by whoever wrote it. It outlives the
/// sweep of an older copy, so that a restore that was interrupted is known for one, and can be finished.
pub const UNFINISHED_MARK: &str = "lifeboat.unfinished";

/// The mark before it has its name: a restore that ended there has written nothing else.
pub const UNFINISHED_MARK_TO_BE: &str = "lifeboat.unfinished.lifeboat-tmp";

/// How to write.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The data directory to be.
    pub destination: PathBuf,
    /// The destination holds an older copy of the same cluster: write only what differs, remove what doesn't belong.
    pub over_existing: bool,
    /// Where tablespaces go, by oid. Others go where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Threads.
    pub workers: usize,
    /// Which files are left to somebody else: [`RestoreReport::left`] lists them. Their directories are made.
    pub leaves: Leaves,
}

/// What a restore leaves to somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leaves {
    /// Nothing.
    #[default]
    Nothing,
    /// Tables, indexes and their maps, as far as there is something in them: what grows with the data. All else PostgreSQL wants at
    /// once, and little of it.
    Relations(Layout),
}

impl Leaves {
    /// Whether a file is left.
    pub fn leaves(self, entry: &TreeEntry) -> bool {
        let Self::Relations(layout) = self else { return false };
        match layout.classify(Path::new(&entry.path), false) {
            // Recovery copies what unlogged relations begin with.
            Treatment::Copy(FileKind::Relation(relation)) => entry.size > 0 && relation.fork != Fork::Init,
            _ => false,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RestoreReport {
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes that were right already.
    pub bytes_unchanged: u64,
    /// Number of files.
    pub files: u64,
    /// The control file's bytes, to be handed to [`write_control_last`].
    pub control: Vec<u8>,
    /// What was left to somebody else, by the number that each has in the point's tree.
    pub left: Vec<(u32, TreeEntry)>,
    /// What was wrong in one location although another helped.
    pub notes: Vec<String>,
}

/// Writes every file of `point` but the control file. Call from a thread that may block, within a runtime.
pub fn restore_files(
    reader: &Arc<ChunkReader>,
    point: &Point,
    options: &RestoreOptions,
    progress: &dyn Progress,
) -> Result<RestoreReport, BackupError> {
    let handle = Handle::current();
    let tree = handle.block_on(TreeReader::read(reader, &point.tree))?;
    check_places(&tree, options)?;
    let mut report = RestoreReport::default();
    // From here on the directory can't be started until the new control file is there.
    remove_control(&options.destination)?;
    if options.over_existing {
        existing::remove_what_does_not_belong(&options.destination, &tree)?;
    }
    make_directories(&tree, options)?;
    let (left, files): (Vec<_>, Vec<_>) = (0u32..)
        .zip(&tree)
        .filter(|(_, entry)| entry.kind == EntryKind::File && entry.path != CONTROL_FILE)
        .partition(|(_, entry)| options.leaves.leaves(entry));
    let files: Vec<&TreeEntry> = files.into_iter().map(|(_, entry)| entry).collect();
    report.left = left.into_iter().map(|(number, entry)| (number, entry.clone())).collect();
    report.files = files.len() as u64 + 1;
    let work = plan::plan(reader, &handle, &files, options)?;
    report.bytes_unchanged = work.bytes_unchanged;
    progress.phase("restore", Some(work.bytes_to_write()));
    let roots = roots(&tree, options);
    let table = FileTable::create(&options.destination, &files, &work.bytes_of_file, options.over_existing, &roots)?;
    report.bytes_written = write::write_all(reader, &handle, &work, &files, &table, options.workers, progress)?;
    progress.phase("sync", None);
    table.finish()?;
    sync_directories(&tree, options)?;
    let control = tree.iter().find(|entry| entry.path == CONTROL_FILE);
    let control = control.ok_or_else(|| lifeboat_repository::Error::corrupt("tree", "has no control file"))?;
    report.control = handle.block_on(plan::small_file(reader, control))?;
    report.files = files.len() as u64 + 1;
    report.notes = reader.take_notes();
    Ok(report)
}

/// Writes the control file: from now on the cluster can be started.
pub fn write_control_last(destination: &Path, control: &[u8]) -> Result<(), BackupError> {
    write_small(&destination.join(CONTROL_FILE), control)
}

/// Writes a small file whole: temporary name, sync, rename, sync of the directory. Readable by its owner only.
pub fn write_small(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let write = || -> io::Result<()> {
        use std::io::Write;
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".lifeboat-tmp");
        let temporary = directory.join(name);
        let mut file = sink::create_private(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        std::fs::File::open(directory)?.sync_all()
    };
    write().map_err(|error| BackupError::write(with_path(error, path)))
}

/// Tablespaces must not lead into one another or into the data directory.
fn check_places(tree: &[TreeEntry], options: &RestoreOptions) -> Result<(), BackupError> {
    for entry in tree.iter().filter(|entry| entry.kind == EntryKind::Link) {
        if entry.path.strip_prefix("pg_tblspc/").is_none_or(|oid| oid.parse::<u32>().is_err()) {
            // Files are written through links: only a tablespace's may be one.
            let what = format!("link {:?} is no tablespace", entry.path);
            return Err(lifeboat_repository::Error::corrupt("tree", what).into());
        }
        let place = link_place(entry, options);
        if !place.is_absolute() {
            return Err(BackupError::refused(
                format!("tablespace {} would go to {}, which is not an absolute path", entry.path, place.display()),
                "map it with --tablespace OID=/absolute/path",
            ));
        }
        let occupied =
            !options.over_existing && std::fs::read_dir(&place).is_ok_and(|mut listing| listing.next().is_some());
        if occupied {
            return Err(BackupError::refused(
                format!("tablespace {} would go to {}, which is not empty", entry.path, place.display()),
                "map it to an empty directory with --tablespace OID=PATH",
            ));
        }
    }
    Ok(())
}

fn link_place(entry: &TreeEntry, options: &RestoreOptions) -> PathBuf {
    let oid = entry.path.rsplit('/').next().and_then(|name| name.parse::<u32>().ok());
    let mapped = oid.and_then(|oid| options.tablespaces.get(&oid)).cloned();
    mapped.unwrap_or_else(|| PathBuf::from(entry.target.clone().unwrap_or_default()))
}

fn remove_control(destination: &Path) -> Result<(), BackupError> {
    let path = destination.join(CONTROL_FILE);
    match std::fs::remove_file(&path) {
        Ok(()) => sync_directory(&destination.join("global")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BackupError::write(with_path(error, &path))),
    }
}

fn make_directories(tree: &[TreeEntry], options: &RestoreOptions) -> Result<(), BackupError> {
    make_directory(&options.destination, 0o700)?;
    for entry in tree {
        let path = options.destination.join(&entry.path);
        match entry.kind {
            EntryKind::File => {}
            EntryKind::Directory => make_directory(&path, entry.mode)?,
            EntryKind::Link => {
                let place = link_place(entry, options);
                make_directory(&place, 0o700)?;
                make_link(&place, &path)?;
            }
        }
    }
    Ok(())
}

/// The data directory and those of tablespaces.
fn roots(tree: &[TreeEntry], options: &RestoreOptions) -> Vec<PathBuf> {
    let links = tree.iter().filter(|entry| entry.kind == EntryKind::Link);
    std::iter::once(options.destination.clone()).chain(links.map(|link| link_place(link, options))).collect()
}

fn make_directory(path: &Path, mode: u32) -> Result<(), BackupError> {
    let make = || -> io::Result<()> {
        std::fs::create_dir_all(path)?;
        // Never wider than the group may read: that is all PostgreSQL accepts.
        Ok(chmod(path, Mode::from_raw_mode(mode & 0o750 | 0o700))?)
    };
    make().map_err(|error| BackupError::write(with_path(error, path)))
}

fn make_link(place: &Path, link: &Path) -> Result<(), BackupError> {
    let make = || -> io::Result<()> {
        match std::fs::read_link(link) {
            Ok(present) if present == place => return Ok(()),
            Ok(_) => std::fs::remove_file(link)?,
            Err(_) => {}
        }
        std::os::unix::fs::symlink(place, link)
    };
    make().map_err(|error| BackupError::write(with_path(error, link)))
}

fn sync_directory(path: &Path) -> Result<(), BackupError> {
    let sync = || std::fs::File::open(path)?.sync_all();
    sync().map_err(|error| BackupError::write(with_path(error, path)))
}

fn sync_directories(tree: &[TreeEntry], options: &RestoreOptions) -> Result<(), BackupError> {
    for entry in tree.iter().filter(|entry| entry.kind != EntryKind::File) {
        sync_directory(&options.destination.join(&entry.path))?;
    }
    sync_directory(&options.destination)?;
    options.destination.parent().map_or(Ok(()), sync_directory)
}
