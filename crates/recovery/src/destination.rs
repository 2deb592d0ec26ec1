//! The place a cluster is restored to: what is there, and whether it may be written over.
//!
//! Promise: nothing is touched that isn't empty, or an older copy of the same cluster without a running server, or our
//! own unfinished work.

use lifeboat_postgres::cluster::{ClusterError, RunState, run_state};
use lifeboat_postgres::{SystemId, control};
use lifeboat_workload::postgres::restore::{CONTROL_FILE, UNFINISHED_MARK, UNFINISHED_MARK_TO_BE};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};

/// What is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Nothing.
    Missing,
    /// An empty directory.
    Empty,
    /// A data directory of the same cluster: only what differs is written.
    SameCluster,
    /// What an interrupted restore left: it is finished.
    Unfinished,
}

/// Why it can't be written to. Nothing was touched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestinationError {
    /// A file, a socket.
    #[error("{} is not a directory", .path.display())]
    NotADirectory {
        /// Where.
        path: PathBuf,
    },
    /// Somebody else's.
    #[error("{} is not empty, and not a data directory of this cluster ({what})", .path.display())]
    Taken {
        /// Where.
        path: PathBuf,
        /// What was found there.
        what: String,
    },
    /// It is in use.
    #[error("a PostgreSQL server runs in {} (process {process_id})", .path.display())]
    Running {
        /// Where.
        path: PathBuf,
        /// Its process.
        process_id: u32,
    },
    /// Another restore writes there, or something else holds it.
    #[error("another restore into {} is under way", .path.display())]
    Busy {
        /// Where.
        path: PathBuf,
    },
    /// It changed between the look and the start.
    #[error("{} changed meanwhile: another restore may have just ended there", .path.display())]
    Changed {
        /// Where.
        path: PathBuf,
    },
    /// It lies where something else lives.
    #[error("{} lies inside of {}, which is {what}", .path.display(), .outer.display())]
    Inside {
        /// Where.
        path: PathBuf,
        /// In what.
        outer: PathBuf,
        /// What that is.
        what: &'static str,
    },
    /// A path that depends on where we are would mean another place to PostgreSQL.
    #[error("{} is not an absolute path", .path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// It can't be looked at.
    #[error("look at {}", .path.display())]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whether a server runs can't be told.
    #[error(transparent)]
    State(#[from] ClusterError),
}

impl DestinationError {
    /// What to type next.
    pub fn hint(&self) -> String {
        match self {
            Self::Running { path, .. } => format!("stop it first: pg_ctl stop -D {}", path.display()),
            Self::Read { .. } | Self::State(_) => "run as the user that shall own it (usually postgres)".into(),
            Self::Busy { .. } => {
                "wait for it to end, or stop it; then run this again: it goes on where that one stopped".into()
            }
            Self::Changed { .. } => "look at what is there now, and run this again".into(),
            Self::NotADirectory { .. } | Self::Taken { .. } | Self::Relative { .. } | Self::Inside { .. } => {
                "give an empty or new directory, by its whole path".into()
            }
        }
    }
}

impl Destination {
    /// Looks at the place for a restore of that cluster.
    pub fn observe(path: &Path, system_id: SystemId) -> Result<Self, DestinationError> {
        let at = || path.to_path_buf();
        if !path.is_absolute() {
            return Err(DestinationError::Relative { path: at() });
        }
        not_inside(path)?;
        match std::fs::metadata(path) {
            // A link that leads nowhere is there, and no directory can be made in its place.
            Err(_) if path.is_symlink() => return Err(DestinationError::NotADirectory { path: at() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(DestinationError::NotADirectory { path: at() });
            }
            Err(source) => return Err(DestinationError::Read { path: at(), source }),
            Ok(data) if !data.is_dir() => return Err(DestinationError::NotADirectory { path: at() }),
            Ok(_) => {}
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|source| DestinationError::Read { path: at(), source })? {
            names.push(entry.map_err(|source| DestinationError::Read { path: at(), source })?.file_name());
        }
        // A restore that was killed before it had begun.
        names.retain(|name| name != UNFINISHED_MARK_TO_BE);
        if names.is_empty() {
            return Ok(Self::Empty);
        }
        if let RunState::Running(file) = run_state(path)? {
            return Err(DestinationError::Running { path: at(), process_id: file.process_id });
        }
        let taken = |what: String| DestinationError::Taken { path: at(), what };
        let ours = |found: SystemId| match found == system_id {
            true => Ok(()),
            false => Err(taken(format!("its system identifier is {found}, not {system_id}"))),
        };
        if names.iter().any(|name| name == UNFINISHED_MARK) && !path.join(CONTROL_FILE).exists() {
            let mark = std::fs::read_to_string(path.join(UNFINISHED_MARK))
                .map_err(|source| DestinationError::Read { path: at(), source })?;
            let found = mark.trim().parse().map_err(|_| taken(format!("its {UNFINISHED_MARK} is not ours")))?;
            ours(SystemId(found))?;
            return Ok(Self::Unfinished);
        }
        let control = control::read(path).map_err(|error| taken(error.to_string()))?;
        ours(control.system_id)?;
        Ok(Self::SameCluster)
    }

    /// Is there something that must be compared and swept?
    pub(crate) fn has_content(self) -> bool {
        matches!(self, Self::SameCluster | Self::Unfinished)
    }
}

/// Nothing is restored into a data directory or a repository: there it would be swept away, backed up, or taken for damage.
pub fn not_inside(path: &Path) -> Result<(), DestinationError> {
    let what = |outer: &Path| match () {
        () if outer.join("PG_VERSION").is_file() && outer.join("global").is_dir() => Some("a data directory"),
        () if outer.join("lifeboat.json").is_file() => Some("a repository"),
        () => None,
    };
    let real = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let (above, real) = real.unwrap_or((path, path.to_path_buf()));
    // The place itself may be a data directory: whose, is asked later.
    let outside = if above == path { real.parent() } else { Some(real.as_path()) };
    for outer in
        outside.into_iter().flat_map(Path::ancestors).chain([path]).filter(|outer| !outer.as_os_str().is_empty())
    {
        match what(outer) {
            Some("a data directory") if outer == path => {}
            Some(what) => {
                return Err(DestinationError::Inside { path: path.to_path_buf(), outer: outer.to_path_buf(), what });
            }
            None => {}
        }
    }
    Ok(())
}

/// A place that is being written to. Given up when dropped, also by the end of the process.
#[derive(Debug)]
pub struct Held {
    _directory: std::fs::File,
}

impl Held {
    /// Takes the place, which is there, for ourselves; `seen` is what [`Destination::observe`] said before. Two restores into one
    /// directory would each believe the other's files to be their own.
    pub fn take(path: &Path, seen: Destination, system_id: SystemId) -> Result<Self, DestinationError> {
        let at = || path.to_path_buf();
        let read = |source: io::Error| DestinationError::Read { path: at(), source };
        let directory = std::fs::File::open(path).map_err(read)?;
        // A file system that knows no locks on directories, such as NFS, must not keep anybody from restoring to it.
        let lock = rustix::fs::flock(&directory, rustix::fs::FlockOperation::NonBlockingLockExclusive);
        if lock == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(DestinationError::Busy { path: at() });
        }
        let now = Destination::observe(path, system_id)?;
        let expected = if seen == Destination::Missing { Destination::Empty } else { seen };
        match now == expected {
            true => Ok(Self { _directory: directory }),
            false => Err(DestinationError::Changed { path: at() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_held_by_one() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        std::fs::create_dir(&path).unwrap();
        let held = Held::take(&path, Destination::Missing, SystemId(7)).unwrap();
        let second = Held::take(&path, Destination::Empty, SystemId(7));
        assert!(matches!(second, Err(DestinationError::Busy { .. })), "{second:?}");
        drop(held);
        // The first one is done; what the second saw is no longer so.
        std::fs::write(path.join(UNFINISHED_MARK), "7\n").unwrap();
        let second = Held::take(&path, Destination::Empty, SystemId(7));
        assert!(matches!(second, Err(DestinationError::Changed { .. })), "{second:?}");
        Held::take(&path, Destination::Unfinished, SystemId(7)).unwrap();
    }

    #[test]
    fn what_can_never_be_a_directory_is_no_place() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", home.path().join("link")).unwrap();
        for place in ["file", "file/below", "link"] {
            let found = Destination::observe(&home.path().join(place), SystemId(7));
            assert!(matches!(found, Err(DestinationError::NotADirectory { .. })), "{place}: {found:?}");
        }
        assert_eq!(Destination::observe(&home.path().join("new/one"), SystemId(7)).unwrap(), Destination::Missing);
    }

    #[test]
    fn nothing_is_restored_into_a_data_directory_or_a_repository() {
        let home = tempfile::tempdir().unwrap();
        let (data, repository) = (home.path().join("data"), home.path().join("repository"));
        std::fs::create_dir_all(data.join("global")).unwrap();
        std::fs::write(data.join("PG_VERSION"), "15\n").unwrap();
        std::fs::create_dir_all(repository.join("packs")).unwrap();
        std::fs::write(repository.join("lifeboat.json"), "{}").unwrap();
        std::os::unix::fs::symlink(&data, home.path().join("link")).unwrap();
        for inside in ["data/base/x", "data/base", "link/y", "repository/packs/z", "repository"] {
            let found = not_inside(&home.path().join(inside));
            assert!(matches!(found, Err(DestinationError::Inside { .. })), "{inside}: {found:?}");
        }
        for fine in ["data", "other", "other/deeper", "repositories"] {
            not_inside(&home.path().join(fine)).unwrap();
        }
    }

    #[test]
    fn only_what_is_empty_or_ours_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let look = || Destination::observe(&path, SystemId(7));
        assert_eq!(look().unwrap(), Destination::Missing);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(look().unwrap(), Destination::Empty);
        std::fs::write(path.join(UNFINISHED_MARK_TO_BE), "7").unwrap();
        assert_eq!(look().unwrap(), Destination::Empty, "killed before the mark had its name");
        assert_eq!(UNFINISHED_MARK_TO_BE, format!("{UNFINISHED_MARK}.lifeboat-tmp"));
        std::fs::remove_file(path.join(UNFINISHED_MARK_TO_BE)).unwrap();
        let mark = path.join(UNFINISHED_MARK);
        for (text, expected) in [("7\n", "Ok(Unfinished)"), ("8", "identifier is 8, not 7"), ("x", "is not ours")] {
            std::fs::write(&mark, text).unwrap();
            let found = look().map_err(|error| error.to_string());
            assert!(format!("{found:?}").contains(expected), "{found:?}");
        }
        // A control file next to the mark: somebody has used the directory since.
        std::fs::create_dir(path.join("global")).unwrap();
        std::fs::write(path.join(CONTROL_FILE), "damaged").unwrap();
        assert!(matches!(look(), Err(DestinationError::Taken { .. })));
        std::fs::remove_file(&mark).unwrap();
        std::fs::remove_dir_all(path.join("global")).unwrap();
        std::fs::write(path.join("precious"), "").unwrap();
        let refused = look().unwrap_err();
        assert!(refused.to_string().contains("is not empty"), "{refused}");
        let file = Destination::observe(&path.join("precious"), SystemId(7));
        assert!(matches!(file, Err(DestinationError::NotADirectory { .. })));
        assert!(matches!(Destination::observe(Path::new("data"), SystemId(7)), Err(DestinationError::Relative { .. })));
    }
}
