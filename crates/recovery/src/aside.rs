//! Keeping the log of an older copy: a restore over a data directory must not take the last commits with it.
//!
//! What `pg_wal` holds and the repository lacks (the segment that was being written, segments that were waiting to be
//! archived, histories) is moved beside the data directory. Segments that were made ready for later and still hold
//! something older are not worth keeping.

use crate::error::{RecoveryError, Result};
use jiff::Timestamp;
use lifeboat_postgres::SystemId;
use lifeboat_postgres::wal::inspect_segment_start;
use lifeboat_postgres::wal_file::WalFileName;
use lifeboat_repository::Repository;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Enough for the long header at the begin of a segment.
const HEADER_BYTES: u64 = 64;

/// Files that were moved, and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWal {
    /// A new directory beside the data directory.
    pub directory: PathBuf,
    /// Names of the files, in order.
    pub names: Vec<String>,
    /// The copy had begun a timeline of its own that the repository doesn't know: a rehearsal that was started, mostly.
    pub is_branch: bool,
}

impl KeptWal {
    /// For people.
    pub fn note(&self) -> String {
        let names = match &self.names[..] {
            [first, .., last] => format!("{} files of the log ({first} to {last})", self.names.len()),
            _ => self.names.concat(),
        };
        let kept = format!("pg_wal had {names} that the repository lacks: moved to {}", self.directory.display());
        match self.is_branch {
            true => format!(
                "{kept}. They are a branch of their own, as a copy has that was started: don't push them, they would stand in for \
                 the real log; remove them when nobody misses what was done there"
            ),
            false => format!(
                "{kept}. They may hold the last commits. If the server that wrote them will never run again, bring those back: \
                 `lifeboat wal push` each, and restore again"
            ),
        }
    }
}

/// Moves what `pg_wal` below `destination` has and the log of `workload` lacks. Nothing is made when there is nothing.
pub async fn keep_unarchived(
    repository: &Repository,
    workload: &str,
    system_id: SystemId,
    destination: &Path,
) -> Result<Option<KeptWal>> {
    // Often a link to a disk of its own: what is kept stays on that disk.
    let pg_wal = match destination.join("pg_wal").canonicalize() {
        Ok(path) if path.is_dir() => path,
        _ => return Ok(None),
    };
    let mut archived: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in repository.list_logs(workload, &format!("{system_id}/")).await? {
        archived.entry(entry.name).or_default().push(entry.content_id);
    }
    let is_stored = |name: &str, path: &Path| -> io::Result<bool> {
        let Some(ids) = archived.get(name) else { return Ok(false) };
        Ok(ids.contains(&repository.content_id(&std::fs::read(path)?)))
    };
    let names = unarchived(&pg_wal, system_id, &is_stored).map_err(|source| RecoveryError::File {
        action: "read",
        path: pg_wal.clone(),
        source,
    })?;
    if names.is_empty() {
        return Ok(None);
    }
    let is_linked = std::fs::symlink_metadata(destination.join("pg_wal")).is_ok_and(|data| data.is_symlink());
    // Beside the root of a disk is another disk, or a place where we may not write: then beside the data directory.
    let own_disk = is_linked.then(|| beside(&pg_wal)).filter(|directory| move_all(&pg_wal, directory, &names).is_ok());
    let directory = match own_disk {
        Some(directory) => directory,
        None => {
            let directory = beside(destination);
            copy_all(&pg_wal, &directory, &names).map_err(|source| RecoveryError::File {
                action: "keep the log of the older copy in",
                path: directory.clone(),
                source,
            })?;
            directory
        }
    };
    // A history that nobody archived: this copy became a primary by itself.
    let is_branch = names.iter().any(|name| name.ends_with(".history"));
    Ok(Some(KeptWal { directory, names, is_branch }))
}

fn beside(destination: &Path) -> PathBuf {
    let mut name = destination.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".wal-kept-{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    destination.with_file_name(name)
}

fn unarchived(
    pg_wal: &Path,
    system_id: SystemId,
    is_stored: &dyn Fn(&str, &Path) -> io::Result<bool>,
) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for item in std::fs::read_dir(pg_wal)? {
        let item = item?;
        let Ok(name) = item.file_name().into_string() else { continue };
        let Ok(parsed) = name.parse::<WalFileName>() else { continue };
        let is_file = item.file_type()?.is_file();
        if is_file && holds_what_it_says(&item.path(), parsed, system_id)? && !is_stored(&name, &item.path())? {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// PostgreSQL renames old segments for later use: those still begin with their old position.
fn holds_what_it_says(path: &Path, name: WalFileName, system_id: SystemId) -> io::Result<bool> {
    let (WalFileName::Segment(segment) | WalFileName::Partial(segment)) = name else { return Ok(true) };
    let mut start = Vec::new();
    File::open(path)?.take(HEADER_BYTES).read_to_end(&mut start)?;
    Ok(inspect_segment_start(&start).is_ok_and(|header| header.check(segment, system_id).is_ok()))
}

/// Moves by name only; what can't be is left where it is, and nothing else of it remains.
fn move_all(from: &Path, to: &Path, names: &[String]) -> io::Result<()> {
    make(to)?;
    for (number, name) in names.iter().enumerate() {
        if let Err(error) = std::fs::rename(from.join(name), to.join(name)) {
            names[..number].iter().try_for_each(|name| std::fs::rename(to.join(name), from.join(name)))?;
            std::fs::remove_dir(to)?;
            return Err(error);
        }
    }
    settle(to)
}

/// Moves, by copying where a disk ends. The originals are removed with everything else that doesn't belong.
fn copy_all(from: &Path, to: &Path, names: &[String]) -> io::Result<()> {
    make(to)?;
    for name in names {
        if std::fs::rename(from.join(name), to.join(name)).is_err() {
            std::fs::copy(from.join(name), to.join(name))?;
            File::open(to.join(name))?.sync_all()?;
        }
    }
    settle(to)
}

fn make(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(directory)
}

fn settle(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()?;
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `/dev/shm` is another file system than the place of temporary files, as the disk of a log is another than the data's.
    #[test]
    fn what_is_kept_survives_the_end_of_a_disk() {
        let here = tempfile::tempdir().unwrap();
        let Ok(there) = tempfile::tempdir_in("/dev/shm") else { return };
        let names = ["1".to_owned(), "2".to_owned()];
        names.iter().for_each(|name| std::fs::write(there.path().join(name), name).unwrap());
        let to = here.path().join("kept");
        let same_disk = std::fs::rename(there.path().join("1"), here.path().join("1")).is_ok();
        assert!(!same_disk, "the test needs two file systems");
        assert!(move_all(there.path(), &to, &names).is_err() && !to.exists());
        assert_eq!(std::fs::read(there.path().join("1")).unwrap(), b"1");
        copy_all(there.path(), &to, &names).unwrap();
        for name in &names {
            assert_eq!(std::fs::read(to.join(name)).unwrap(), name.as_bytes());
        }
    }
}
