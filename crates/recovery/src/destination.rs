//! The place a cluster is restored to: what is there, and whether it may be written over.
//!
//! Promise: nothing is touched that isn't empty, or an older copy of the same cluster without a running server, or our
//! own unfinished work.

use lifeboat_postgres::cluster::{ClusterError, RunState, run_state};
use lifeboat_postgres::{SystemId, control};
use lifeboat_workload::postgres::restore::{CONTROL_FILE, UNFINISHED_MARK};
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
            Self::NotADirectory { .. } | Self::Taken { .. } | Self::Relative { .. } => {
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
        match std::fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Missing),
            Err(source) => return Err(DestinationError::Read { path: at(), source }),
            Ok(data) if !data.is_dir() => return Err(DestinationError::NotADirectory { path: at() }),
            Ok(_) => {}
        }
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(|source| DestinationError::Read { path: at(), source })? {
            names.push(entry.map_err(|source| DestinationError::Read { path: at(), source })?.file_name());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_empty_or_ours_is_taken() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("data");
        let look = || Destination::observe(&path, SystemId(7));
        assert_eq!(look().unwrap(), Destination::Missing);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(look().unwrap(), Destination::Empty);
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
