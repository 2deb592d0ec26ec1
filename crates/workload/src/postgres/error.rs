//! Why a backup stopped.

use lifeboat_repository as repository;

/// Why a backup stopped, or never began. Nothing that looks like a backup was left behind.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A file of the cluster cannot be read.
    #[error("read the data directory")]
    Read(#[source] std::io::Error),
    /// What was asked for cannot be done as things are. The sentence says what to change.
    #[error("{what}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to type or change.
        hint: Option<String>,
    },
    /// Another backup of this workload is running.
    #[error("another backup of {workload} is running ({holder})")]
    Busy {
        /// The workload.
        workload: String,
        /// Who holds the lock.
        holder: String,
    },
    /// The server cannot be reached, or the connection was lost.
    #[error("{what}")]
    Server {
        /// What was being done.
        what: String,
        /// What to check.
        hint: Option<String>,
        /// Why.
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Somebody asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl BackupError {
    /// A file that cannot be read.
    pub fn read(error: std::io::Error) -> Self {
        Self::Read(error)
    }

    /// A refusal with a hint.
    pub fn refused(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused { what: what.into(), hint: Some(hint.into()) }
    }

    /// What to type or change next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Repository(error) => error.hint().map(str::to_owned),
            Self::Read(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as the user that owns the data directory (usually postgres)".into())
            }
            Self::Refused { hint, .. } | Self::Server { hint, .. } => hint.clone(),
            Self::Busy { .. } => Some("wait for it, or look at it in pg_stat_activity".into()),
            _ => None,
        }
    }
}
