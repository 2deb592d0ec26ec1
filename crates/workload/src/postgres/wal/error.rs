//! What can go wrong between PostgreSQL's log and the repository.

use super::journal::FormatError;
use lifeboat_postgres::wal::SegmentStartError;
use lifeboat_postgres::wal_file::WalFileError;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository as repository;
use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for this room.
pub type Result<T> = std::result::Result<T, WalError>;

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WalErrorKind {
    /// The request is wrong: a name, a file, a setting. Trying again changes nothing.
    Invalid,
    /// Nobody could be asked, or nobody could take it. Try again.
    Unavailable,
    /// What is stored is damaged.
    Corrupt,
    /// Two contents under one name, or two clusters in one archive: a person must look.
    Conflict,
    /// The log has a hole that only a new backup closes.
    Gap,
    /// This machine: its disk, its permissions.
    Internal,
}

/// Something about the log failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalError {
    /// See the repository's error.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// Not a name of PostgreSQL's log.
    #[error(transparent)]
    Name(#[from] WalFileError),
    /// The file is not the segment that its name says.
    #[error("refuse {name}")]
    Segment {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: SegmentStartError,
    },
    /// The file has another length than a segment.
    #[error("{name} has {found} bytes, a segment of this cluster has {expected}")]
    Length {
        /// The file.
        name: String,
        /// Its length in bytes.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// The file can't be what its name says.
    #[error("refuse {name}: {what}")]
    Content {
        /// The file.
        name: String,
        /// Why.
        what: String,
    },
    /// The file changed, or was replaced, while it was read.
    #[error("{name} changed while it was read")]
    Changed {
        /// The file.
        name: String,
    },
    /// The workload's archive belongs to another cluster.
    #[error(
        "the archive of workload {workload} belongs to the cluster with system identifier {recorded} \
         ({recorded_bytes}-byte segments), not to {found} ({found_bytes}-byte segments)"
    )]
    ForeignCluster {
        /// The workload.
        workload: String,
        /// Whose archive it is.
        recorded: SystemId,
        /// That cluster's segment size in bytes.
        recorded_bytes: u64,
        /// Who came.
        found: SystemId,
        /// That one's segment size in bytes.
        found_bytes: u64,
    },
    /// The record of whose log it is is gone, and the log doesn't tell.
    #[error("nothing says which cluster the log of workload {workload} is of: {what}")]
    UnclearCluster {
        /// The workload.
        workload: String,
        /// Why the log doesn't tell.
        what: String,
    },
    /// No segment lies beside the file, so nothing says whose it is.
    #[error("nothing beside {name} says which cluster wrote it")]
    UnknownCluster {
        /// The file.
        name: String,
    },
    /// Two contents are archived under one name.
    #[error("{name} is archived with two different contents")]
    TwoContents {
        /// The name.
        name: String,
    },
    /// Not every location answered, and those that did don't have it.
    #[error("cannot tell whether {name} is archived: {}", .reasons.join("; "))]
    CouldNotAsk {
        /// What was asked for.
        name: String,
        /// One sentence per location that didn't answer.
        reasons: Vec<String>,
    },
    /// Archived bytes that contradict each other or their name.
    #[error("archived {name} is damaged: {what}")]
    Damaged {
        /// The name.
        name: String,
        /// In what.
        what: String,
    },
    /// The server no longer has what comes after the last stored byte.
    #[error("the server no longer has the log of timeline {timeline} from {from} on, which the archive lacks")]
    Gap {
        /// On which timeline.
        timeline: TimelineId,
        /// Where the archive ends.
        from: Lsn,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server, or the connection to it.
    #[error("{action}")]
    Server {
        /// What was tried.
        action: &'static str,
        /// Whether it may work later.
        temporary: bool,
        /// What the server said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else streams on our slot.
    #[error("another receiver streams on slot {slot}")]
    SlotInUse {
        /// The slot.
        slot: String,
        /// What the server said; it names the process.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Synchronous commits would wait for ever.
    #[error(
        "synchronous_commit is remote_apply and synchronous_standby_names has {name}, which keeps the log and never applies          it: commits would wait for ever"
    )]
    RemoteApply {
        /// The name of the receiver.
        name: String,
    },
    /// Fewer places answer than must hold the log before it is acknowledged.
    #[error("{found} of {needed} locations answer that must hold the log before it is acknowledged")]
    TooFewPlaces {
        /// So many are needed.
        needed: usize,
        /// So many there are.
        found: usize,
    },
    /// Another receiver writes the journal.
    #[error("another receiver writes the spool {}", .path.display())]
    JournalInUse {
        /// The journal.
        path: PathBuf,
    },
    /// A file of the spool that can't be used.
    #[error("read the spool's file {}", .path.display())]
    SpoolFile {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        source: FormatError,
    },
    /// A file of this machine.
    #[error("{action} {}", .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A part of this program.
    #[error("{0}")]
    Internal(String),
}

impl WalError {
    /// An error of this machine's files.
    pub(crate) fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { action, path, source }
    }

    /// What the caller must do.
    pub fn kind(&self) -> WalErrorKind {
        use lifeboat_location::ErrorKind;
        match self {
            Self::Repository(repository::Error::Location(error)) => match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::ClockSkew => WalErrorKind::Unavailable,
                ErrorKind::NotFound | ErrorKind::Corrupt => WalErrorKind::Corrupt,
                ErrorKind::Invalid | ErrorKind::Denied | ErrorKind::NoContainer => WalErrorKind::Invalid,
            },
            Self::Repository(repository::Error::Corrupt { .. } | repository::Error::NotFound { .. })
            | Self::Damaged { .. } => WalErrorKind::Corrupt,
            Self::Repository(repository::Error::AllLocationsFailed { .. }) | Self::CouldNotAsk { .. } => {
                WalErrorKind::Unavailable
            }
            Self::Repository(repository::Error::Conflict { .. })
            | Self::ForeignCluster { .. }
            | Self::UnclearCluster { .. }
            | Self::TwoContents { .. }
            | Self::SlotInUse { .. }
            | Self::JournalInUse { .. }
            | Self::SpoolFile {
                source: FormatError::OtherRepository { .. } | FormatError::Version(_) | FormatError::Elsewhere,
                ..
            } => WalErrorKind::Conflict,
            Self::SpoolFile { .. } => WalErrorKind::Corrupt,
            Self::TooFewPlaces { .. } => WalErrorKind::Unavailable,
            Self::Repository(repository::Error::Internal(_)) | Self::File { .. } | Self::Internal(_) => {
                WalErrorKind::Internal
            }
            Self::Server { temporary: true, .. } | Self::Changed { .. } => WalErrorKind::Unavailable,
            Self::Gap { .. } => WalErrorKind::Gap,
            _ => WalErrorKind::Invalid,
        }
    }

    /// What to type or look at next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Repository(error) => error.hint(),
            Self::ForeignCluster { .. } => {
                Some("give each cluster a workload of its own; after pg_upgrade or initdb choose a new name")
            }
            Self::UnclearCluster { .. } => Some(
                "`lifeboat backup WORKLOAD` records it again; `wal fetch` knows by itself when it runs in the data directory",
            ),
            Self::TwoContents { .. } => {
                Some("two servers wrote the same part of the log (split brain): decide which one counts")
            }
            Self::CouldNotAsk { .. } => {
                Some("bring the location back, or name the one to restore from with --from LOCATION")
            }
            Self::Damaged { .. } => Some("`lifeboat verify --data` lists everything that is damaged"),
            Self::Gap { .. } => Some(
                "`lifeboat backup WORKLOAD`, then `lifeboat wal receive WORKLOAD --accept-gap`; raise max_slot_wal_keep_size",
            ),
            Self::SlotInUse { .. } | Self::JournalInUse { .. } => {
                Some("one receiver per slot: stop the other one, or give this workload a `slot` of its own")
            }
            Self::SpoolFile { source: FormatError::OtherRepository { .. }, .. } => Some(
                "give each repository a spool of its own; `wal receive --ship-only` with the configuration that it was written with empties it",
            ),
            Self::SpoolFile { source: FormatError::Version(_), .. } => {
                Some("`lifeboat wal receive WORKLOAD --ship-only` of the version that wrote it empties the spool")
            }
            Self::SpoolFile { .. } => Some(
                "what is before the damage is shipped; move the file away, and `lifeboat backup WORKLOAD`: then no restore needs it",
            ),
            Self::RemoteApply { .. } => Some(
                "alter system set synchronous_commit = 'on'; select pg_reload_conf(); or name a standby, not the receiver",
            ),
            Self::TooFewPlaces { .. } => Some("bring a location back, or lower `locations` in `synchronous`"),
            Self::Segment { .. } | Self::Content { .. } | Self::UnknownCluster { .. } => {
                Some("archive_command = 'lifeboat wal push %p' runs in the data directory and takes files of pg_wal")
            }
            _ => None,
        }
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
