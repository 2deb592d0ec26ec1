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
    /// A file of the cluster that is brought back cannot be written.
    #[error("write what is restored")]
    Write(#[source] std::io::Error),
    /// What was asked for cannot be done as things are. The sentence says what to change.
    #[error("{what}")]
    Refused {
        /// What is in the way.
        what: String,
        /// What to type or change.
        hint: Option<String>,
    },
    /// The files are copied, and the log that makes them a recovery point hasn't come to the archive in time.
    #[error("{what}")]
    LogAway {
        /// How far it came.
        what: String,
        /// Where to look.
        hint: String,
    },
    /// Another backup of this workload is running.
    #[error("another backup of {workload} is running ({holder})")]
    Busy {
        /// The workload.
        workload: String,
        /// Who holds the lock.
        holder: String,
    },
    /// The server cannot be reached, refuses, or the connection was lost.
    #[error("{source}")]
    Server {
        /// What happened.
        source: lifeboat_postgres::connection::Error,
    },
    /// The control file cannot be used.
    #[error("the control file of the data directory can't be used")]
    Control(#[source] lifeboat_postgres::control::ControlError),
    /// The write-ahead log cannot be stored or asked for.
    #[error(transparent)]
    Wal(crate::postgres::wal::WalError),
    /// A file in the state directory of this machine.
    #[error("use the state directory")]
    State(#[source] std::io::Error),
    /// Somebody asked for the end.
    #[error("interrupted")]
    Interrupted,
}

impl BackupError {
    /// A file that cannot be read.
    pub fn read(error: std::io::Error) -> Self {
        Self::Read(error)
    }

    /// A file that cannot be written.
    pub fn write(error: std::io::Error) -> Self {
        Self::Write(error)
    }

    /// An error of the server or its connection.
    pub fn server(error: lifeboat_postgres::connection::Error) -> Self {
        Self::Server { source: error }
    }

    /// The control file cannot be used.
    pub fn control(error: lifeboat_postgres::control::ControlError) -> Self {
        Self::Control(error)
    }

    /// The write-ahead log cannot be stored or asked for.
    pub fn wal(error: crate::postgres::wal::WalError) -> Self {
        Self::Wal(error)
    }

    /// A file in the state directory of this machine.
    pub fn state(error: std::io::Error) -> Self {
        Self::State(error)
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
            Self::Write(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                Some("make room there, then run it again: it goes on where it stopped".into())
            }
            Self::Write(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as the user that shall own it (usually postgres)".into())
            }
            Self::Refused { hint, .. } => hint.clone(),
            Self::LogAway { hint, .. } => Some(hint.clone()),
            Self::Server { source } => source.hint().map(str::to_owned),
            Self::Wal(error) => error.hint().map(str::to_owned),
            Self::Control(_) => Some(
                "correct data_dir; if it is right, the cluster is damaged: bring it back with `lifeboat restore`"
                    .into(),
            ),
            Self::Busy { .. } => Some("wait for it, or look at it in pg_stat_activity".into()),
            _ => None,
        }
    }
}
