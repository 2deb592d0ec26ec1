//! Carrying a plan out: files, then what tells PostgreSQL how to recover, then the control file.
//!
//! Promise: until the last step the directory can't be started, and a restore that was interrupted can be run again.
//! What the server gave for `backup_label` is written byte for byte: a cluster started without it would look well and
//! be damaged.
//!
//! Not here: choosing, starting the result.

use crate::aside::{KeptWal, keep_unarchived};
use crate::destination::{Destination, DestinationError, Held, not_inside};
use crate::error::{RecoveryError, Result};
use crate::plan::RestorePlan;
use crate::settings::{Setting, edit_settings_file};
use lifeboat_postgres::label::{BackupLabel, LabelError, TablespaceMap};
use lifeboat_repository::{ChunkReader, Error, Point, Progress};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::restore::{
    Leaves, RestoreOptions, RestoreReport, UNFINISHED_MARK, restore_files, write_control_last, write_small,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::Handle;

/// Where to, and how.
#[derive(Debug, Clone)]
pub struct RestoreTo {
    /// The data directory to be, by its whole path.
    pub destination: PathBuf,
    /// Where tablespaces go, by oid. Others go where they were.
    pub tablespaces: BTreeMap<u32, PathBuf>,
    /// Threads.
    pub workers: usize,
    /// Whom everything is given to, as user and group, when we are root. See [`owner_when_root`].
    pub owner: Option<(u32, u32)>,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RestoreDone {
    /// Bytes written.
    pub bytes_written: u64,
    /// Bytes that were right already.
    pub bytes_unchanged: u64,
    /// Number of files.
    pub files: u64,
    /// How long it took.
    pub seconds: f64,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What a restore would do to the place it goes to, for `--dry-run`.
pub fn steps(plan: &RestorePlan, point: &Point, destination: Destination, place: &RestoreTo) -> Result<Vec<String>> {
    let to = place.destination.display();
    let mut steps = vec![match destination {
        Destination::Missing => format!("make the directory {to}"),
        Destination::Empty => format!("use the empty directory {to}"),
        Destination::SameCluster => format!("keep in {to} what is right already, remove what doesn't belong there"),
        Destination::Unfinished => format!("go on with the restore in {to} that was interrupted"),
    }];
    if destination.has_content() {
        steps.push(format!("move what pg_wal has and the repository lacks beside {to}"));
    }
    steps.push(format!("write {} files of {}", plan.files, plan.point));
    for tablespace in PostgresDetails::of(point)?.tablespaces {
        let path = place_of(tablespace.oid, &tablespace.path, place);
        let was = match path == Path::new(&tablespace.path) {
            true => "where it was".to_owned(),
            false => format!("was {}", tablespace.path),
        };
        steps.push(format!("write tablespace {} to {} ({was})", tablespace.oid, path.display()));
    }
    steps.push("write backup_label, recovery.signal and the settings".into());
    steps.push("write the control file: from then on it can be started".into());
    Ok(steps)
}

/// Restores. `destination` is what was seen at [`RestoreTo::destination`]. Call from a thread that may block, within
/// a runtime.
pub fn apply(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    destination: Destination,
    to: &RestoreTo,
    progress: &dyn Progress,
) -> Result<RestoreDone> {
    let begun = Instant::now();
    let mut brought = bring(reader, point, plan, destination, to, Leaves::Nothing, progress)?;
    write_control_last(&to.destination, &brought.report.control)?;
    brought.finish(to, &to.destination.join(lifeboat_workload::postgres::restore::CONTROL_FILE))?;
    Ok(brought.done(begun))
}

/// Everything but the control file, in a place that nobody else uses meanwhile.
pub(crate) struct Brought {
    pub report: RestoreReport,
    pub details: PostgresDetails,
    kept: Option<KeptWal>,
    _held: Held,
}

/// Writes everything but the control file, and what is left to somebody else.
pub(crate) fn bring(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    destination: Destination,
    to: &RestoreTo,
    leaves: Leaves,
    progress: &dyn Progress,
) -> Result<Brought> {
    let details = PostgresDetails::of(point)?;
    let label = Label::of(point, &details, to)?;
    check_tablespaces(&details, destination, to)?;
    std::fs::create_dir_all(&to.destination)
        .map_err(|error| RecoveryError::file("make directory", &to.destination, error))?;
    let _held = Held::take(&to.destination, destination, details.system_id)?;
    write_small(&to.destination.join(UNFINISHED_MARK), format!("{}\n", details.system_id).as_bytes())?;
    let options = RestoreOptions {
        destination: to.destination.clone(),
        over_existing: destination.has_content(),
        tablespaces: to.tablespaces.clone(),
        workers: to.workers,
        leaves,
    };
    let kept = match destination.has_content() {
        true => Handle::current().block_on(keep_unarchived(
            reader.repository(),
            &point.workload,
            details.system_id,
            &to.destination,
        ))?,
        false => None,
    };
    let report = restore_files(reader, point, &options, progress)?;
    label.write(&to.destination)?;
    write_settings(&to.destination, &plan.settings)?;
    write_small(&to.destination.join("recovery.signal"), b"")?;
    if let Some(owner) = to.owner {
        let aside = kept.iter().map(|kept| kept.directory.clone());
        for path in places(&details, to).into_iter().chain(aside) {
            give_to(owner, &path).map_err(|error| RecoveryError::file("give away", &path, error))?;
        }
    }
    Ok(Brought { report, details, kept, _held })
}

impl Brought {
    /// What is done when the control file is where `control` says: the place is no longer an unfinished one.
    pub fn finish(&mut self, to: &RestoreTo, control: &Path) -> Result<()> {
        if let Some(owner) = to.owner {
            give_to(owner, control).map_err(|error| RecoveryError::file("give away", control, error))?;
        }
        let mark = to.destination.join(UNFINISHED_MARK);
        std::fs::remove_file(&mark).map_err(|error| RecoveryError::file("remove", &mark, error))?;
        let sync = || std::fs::File::open(&to.destination)?.sync_all();
        sync().map_err(|error| RecoveryError::file("sync", &to.destination, error))
    }

    /// What is told of it.
    pub fn done(self, begun: Instant) -> RestoreDone {
        let mut notes = self.report.notes;
        notes.extend(self.kept.iter().map(KeptWal::note));
        notes.extend(notes_on(&self.details));
        RestoreDone {
            bytes_written: self.report.bytes_written,
            bytes_unchanged: self.report.bytes_unchanged,
            files: self.report.files,
            seconds: begun.elapsed().as_secs_f64(),
            notes,
        }
    }
}

/// Where everything lies: the data directory, then each tablespace.
pub(crate) fn places(details: &PostgresDetails, to: &RestoreTo) -> Vec<PathBuf> {
    let tablespaces = details.tablespaces.iter().map(|tablespace| place_of(tablespace.oid, &tablespace.path, to));
    std::iter::once(to.destination.clone()).chain(tablespaces).collect()
}

fn notes_on(details: &PostgresDetails) -> Vec<String> {
    let mut notes = Vec::new();
    if !details.outside_files.is_empty() {
        let files = details.outside_files.join(", ");
        notes.push(format!("configuration that was outside the data directory is not in the point: {files}"));
    }
    if !details.bad_pages.is_empty() {
        let count = details.bad_pages.len();
        notes.push(format!("{count} pages were damaged when the point was taken, and still are"));
    }
    notes
}

/// Under root, everything would be root's, and PostgreSQL doesn't run as root. The owner of the place it goes to, or of
/// the nearest directory above that isn't root's, is meant; `fallback` (such as the user `postgres`) otherwise.
/// None when we aren't root.
pub fn owner_when_root(destination: &Path, fallback: Option<(u32, u32)>) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let above = destination.ancestors().find_map(|path| {
        let data = std::fs::metadata(path).ok()?;
        (data.uid() != 0).then_some((data.uid(), data.gid()))
    });
    above.or(fallback)
}

/// `backup_label` and `tablespace_map`, as they will be written.
struct Label {
    backup_label: Vec<u8>,
    tablespace_map: Vec<u8>,
}

impl Label {
    /// Decoded and understood before anything is touched.
    fn of(point: &Point, details: &PostgresDetails, to: &RestoreTo) -> Result<Self> {
        let damaged = |what: &str| Error::corrupt(format!("recovery point {}", point.id), what.to_owned());
        let backup_label =
            from_hexadecimal(&details.backup_label).ok_or_else(|| damaged("its backup_label is not hexadecimal"))?;
        let tablespace_map = from_hexadecimal(&details.tablespace_map)
            .ok_or_else(|| damaged("its tablespace_map is not hexadecimal"))?;
        BackupLabel::parse(&backup_label)?;
        Ok(Self { backup_label, tablespace_map: Self::mapped(tablespace_map, to)? })
    }

    /// Byte for byte, unless tablespaces go elsewhere.
    fn mapped(tablespace_map: Vec<u8>, to: &RestoreTo) -> std::result::Result<Vec<u8>, LabelError> {
        let map = TablespaceMap::parse(&tablespace_map)?;
        let moves = |tablespace: &lifeboat_postgres::label::Tablespace| to.tablespaces.contains_key(&tablespace.oid);
        if !map.tablespaces.iter().any(moves) {
            return Ok(tablespace_map);
        }
        let moved = map.remapped(|oid, path| to.tablespaces.get(&oid).cloned().unwrap_or_else(|| path.to_path_buf()));
        Ok(moved.to_bytes())
    }

    fn write(&self, destination: &Path) -> Result<()> {
        write_small(&destination.join("backup_label"), &self.backup_label)?;
        if !self.tablespace_map.is_empty() {
            write_small(&destination.join("tablespace_map"), &self.tablespace_map)?;
        }
        Ok(())
    }
}

/// Over an older copy, tablespaces are written over too: only into a place that is this copy's own, or empty. The place
/// where a tablespace was may be in use by the original.
///
/// A place that is asked for must not lie in the new data directory, in another one, or in a repository.
fn check_tablespaces(details: &PostgresDetails, destination: Destination, to: &RestoreTo) -> Result<()> {
    for path in to.tablespaces.values() {
        not_inside(path)?;
        if path.starts_with(&to.destination) {
            let (path, outer) = (path.clone(), to.destination.clone());
            return Err(DestinationError::Inside { path, outer, what: "the data directory itself" }.into());
        }
    }
    for tablespace in details.tablespaces.iter().filter(|_| destination.has_content()) {
        let path = place_of(tablespace.oid, &tablespace.path, to);
        let link = std::fs::read_link(to.destination.join("pg_tblspc").join(tablespace.oid.to_string()));
        let is_own = link.is_ok_and(|link| link == path);
        let is_taken = std::fs::read_dir(&path).is_ok_and(|mut listing| listing.next().is_some());
        if is_taken && !is_own {
            let what = format!(
                "tablespace {} would go there, and {} has it elsewhere",
                tablespace.oid,
                to.destination.display()
            );
            return Err(DestinationError::Taken { path, what }.into());
        }
    }
    Ok(())
}

pub(crate) fn place_of(oid: u32, was: &str, to: &RestoreTo) -> PathBuf {
    to.tablespaces.get(&oid).cloned().unwrap_or_else(|| PathBuf::from(was))
}

pub(crate) fn write_settings(destination: &Path, settings: &[Setting]) -> Result<()> {
    let path = destination.join("postgresql.auto.conf");
    let before = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(RecoveryError::file("read", &path, error)),
    };
    let after = edit_settings_file(&before, settings)
        .map_err(|error| RecoveryError::file("write", &path, io::Error::other(error)))?;
    Ok(write_small(&path, &after)?)
}

/// Makes `path` and everything in it the owner's. Links are given, not what they lead to.
pub(crate) fn give_to((user, group): (u32, u32), path: &Path) -> io::Result<()> {
    lchown(path, Some(user), Some(group))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give_to((user, group), &entry?.path())?;
        }
    }
    Ok(())
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_is_read_whole_or_not_at_all() {
        assert_eq!(from_hexadecimal("00fF0a"), Some(vec![0, 255, 10]));
        assert_eq!(from_hexadecimal(""), Some(vec![]));
        for text in ["0", "0g", "+1", "é"] {
            assert_eq!(from_hexadecimal(text), None, "{text}");
        }
    }
}
