//! What can go wrong with a recovery, said so that the caller knows what to do.

use crate::destination::DestinationError;
use crate::refusal::{Refusal, RefusalKind};
use lifeboat_mount::journal::JournalError;
use lifeboat_mount::overlay::OverlayError;
use lifeboat_postgres::cluster::ClusterError;
use lifeboat_postgres::label::LabelError;
use lifeboat_repository as repository;
use lifeboat_workload::postgres::BackupError;
use lifeboat_workload::postgres::wal::WalError;
use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for this crate.
pub type Result<T> = std::result::Result<T, RecoveryError>;

/// A recovery that failed, or that was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// It can't be done with what is there. Nothing was touched.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// It can't be done to that place. Nothing was touched.
    #[error(transparent)]
    Destination(#[from] DestinationError),
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// The archived log.
    #[error(transparent)]
    Wal(#[from] WalError),
    /// Writing the files.
    #[error(transparent)]
    Files(#[from] BackupError),
    /// PostgreSQL's programs, or a server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A session on a restored server.
    #[error(transparent)]
    Session(#[from] lifeboat_postgres::connection::Error),
    /// A file of the point that PostgreSQL could not use.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// A directory whose files come when they are read.
    #[error(transparent)]
    Mount(Box<OverlayError>),
    /// A file or directory of this machine.
    #[error("{action} {}", .path.display())]
    File {
        /// Present-tense verb.
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryErrorKind {
    /// Ask for something that is there.
    NotFound,
    /// Ask differently.
    Usage,
    /// Somebody else is at it.
    Busy,
    /// Look at the cause's own kind.
    Cause,
    /// Look at this machine.
    Internal,
}

impl RecoveryError {
    pub(crate) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File { action, path: path.to_path_buf(), source }
    }

    /// What the caller must do.
    pub fn kind(&self) -> RecoveryErrorKind {
        match self {
            Self::Refused(refusal) if refusal.kind() == RefusalKind::NotFound => RecoveryErrorKind::NotFound,
            Self::Destination(DestinationError::Busy { .. }) => RecoveryErrorKind::Busy,
            Self::Refused(_) | Self::Destination(_) => RecoveryErrorKind::Usage,
            Self::Repository(_) | Self::Wal(_) | Self::Files(_) | Self::Session(_) => RecoveryErrorKind::Cause,
            Self::Mount(error) if is_served(error) => RecoveryErrorKind::Busy,
            Self::Cluster(_) | Self::Label(_) | Self::Mount(_) | Self::File { .. } => RecoveryErrorKind::Internal,
        }
    }

    /// What to type next, where there is something.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused(refusal) => Some(refusal.hint()),
            Self::Destination(error) => Some(error.hint()),
            Self::Repository(error) => error.hint().map(str::to_owned),
            Self::Files(error) => error.hint(),
            Self::Cluster(error) => error.hint(),
            Self::Session(error) => error.hint().map(str::to_owned),
            Self::Mount(error) if is_served(error) => Some("it goes on by itself; stop that process first".into()),
            _ => None,
        }
    }
}

/// Whether another process has the directory.
fn is_served(error: &OverlayError) -> bool {
    matches!(error, OverlayError::Journal(JournalError::Busy))
}
