//! From the rooms' errors to failures: which exit code, which hint. One place, so that the same error always ends the
//! same way.

use crate::failure::{Failure, FailureKind};
use lifeboat_location::ErrorKind as LocationKind;
use lifeboat_postgres::cluster::ClusterError;
use lifeboat_postgres::connection::{Error as ServerError, ErrorKind as ServerKind};
use lifeboat_recovery::standby::StandbyRefusal;
use lifeboat_recovery::{RecoveryError, RecoveryErrorKind};
use lifeboat_repository::Error as RepositoryError;
use lifeboat_workload::postgres::BackupError;
use lifeboat_workload::postgres::wal::{WalError, WalErrorKind};
use std::io::ErrorKind as IoKind;

fn location_kind(kind: LocationKind) -> FailureKind {
    match kind {
        LocationKind::NotFound | LocationKind::NoContainer => FailureKind::NotFound,
        LocationKind::Invalid => FailureKind::Usage,
        LocationKind::Denied => FailureKind::Locked,
        LocationKind::Full | LocationKind::Unavailable | LocationKind::ClockSkew => FailureKind::Unavailable,
        LocationKind::Corrupt => FailureKind::Corrupt,
    }
}

fn repository_kind(error: &RepositoryError) -> FailureKind {
    match error {
        RepositoryError::Location(error) => location_kind(error.kind()),
        RepositoryError::NotARepository { .. } | RepositoryError::NotFound { .. } => FailureKind::NotFound,
        RepositoryError::OtherRepository { .. }
        | RepositoryError::NewerFormat { .. }
        | RepositoryError::KeyKnown { .. }
        | RepositoryError::KeyNeeded { .. } => FailureKind::Usage,
        RepositoryError::LocationNeeded { .. } => FailureKind::Unavailable,
        RepositoryError::WrongPassphrase { .. } | RepositoryError::Conflict { .. } => FailureKind::Locked,
        RepositoryError::Corrupt { .. } | RepositoryError::RootLost { .. } => FailureKind::Corrupt,
        RepositoryError::AllLocationsFailed { .. }
        | RepositoryError::GoingAway { .. }
        | RepositoryError::Undermined { .. }
        | RepositoryError::Decayed { .. } => FailureKind::Unavailable,
        RepositoryError::Internal(_) => FailureKind::Internal,
    }
}

fn server_kind(kind: ServerKind) -> FailureKind {
    match kind {
        ServerKind::Invalid => FailureKind::Usage,
        ServerKind::NoDatabase | ServerKind::SlotMissing | ServerKind::WalRemoved => FailureKind::NotFound,
        ServerKind::Authentication | ServerKind::Denied | ServerKind::Busy => FailureKind::Locked,
        ServerKind::Unreachable
        | ServerKind::NotReady
        | ServerKind::Tls
        | ServerKind::Lost
        | ServerKind::Changed
        | ServerKind::SlotLost
        | ServerKind::Server
        | ServerKind::Protocol => FailureKind::Unavailable,
    }
}

fn wal_kind(kind: WalErrorKind) -> FailureKind {
    match kind {
        WalErrorKind::Invalid => FailureKind::Usage,
        WalErrorKind::Unavailable => FailureKind::Unavailable,
        WalErrorKind::Corrupt => FailureKind::Corrupt,
        WalErrorKind::Conflict => FailureKind::Locked,
        WalErrorKind::Gap => FailureKind::NotFound,
        WalErrorKind::Internal => FailureKind::Internal,
    }
}

/// Files of this machine.
pub fn io_kind(error: &std::io::Error) -> FailureKind {
    match error.kind() {
        IoKind::PermissionDenied => FailureKind::Locked,
        IoKind::NotFound => FailureKind::NotFound,
        _ => FailureKind::Unavailable,
    }
}

fn hinted(failure: Failure, hint: Option<impl Into<String>>) -> Failure {
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        hinted(Self::from_error(repository_kind(&error), &error), error.hint())
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        hinted(Self::from_error(server_kind(error.kind()), &error), error.hint())
    }
}

fn backup_kind(error: &BackupError) -> FailureKind {
    match error {
        BackupError::Repository(error) => repository_kind(error),
        BackupError::Read(error) | BackupError::Write(error) | BackupError::State(error) => io_kind(error),
        BackupError::Refused { .. } => FailureKind::Usage,
        BackupError::Busy { .. } => FailureKind::Locked,
        BackupError::Server { source } => server_kind(source.kind()),
        BackupError::Control(_) => FailureKind::Corrupt,
        BackupError::Wal(error) => wal_failure_kind(error),
        BackupError::LogAway { .. } | BackupError::Interrupted => FailureKind::Unavailable,
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        hinted(Self::from_error(backup_kind(&error), &error), error.hint())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        hinted(Self::from_error(FailureKind::Unavailable, &error), error.hint())
    }
}

impl From<RecoveryError> for Failure {
    fn from(error: RecoveryError) -> Self {
        let kind = match &error {
            RecoveryError::Repository(error) => repository_kind(error),
            RecoveryError::Wal(error) => wal_failure_kind(error),
            RecoveryError::Files(error) => backup_kind(error),
            RecoveryError::Session(error) => server_kind(error.kind()),
            RecoveryError::File { source, .. } => io_kind(source),
            RecoveryError::Cluster(_) => FailureKind::Unavailable,
            RecoveryError::Label(_) => FailureKind::Corrupt,
            other => match other.kind() {
                RecoveryErrorKind::NotFound => FailureKind::NotFound,
                RecoveryErrorKind::Usage => FailureKind::Usage,
                RecoveryErrorKind::Busy => FailureKind::Locked,
                RecoveryErrorKind::Cause | RecoveryErrorKind::Internal => FailureKind::Internal,
            },
        };
        hinted(Self::from_error(kind, &error), error.hint())
    }
}

impl From<StandbyRefusal> for Failure {
    fn from(refusal: StandbyRefusal) -> Self {
        let kind = match &refusal {
            StandbyRefusal::AnotherCluster { .. } | StandbyRefusal::StrayTimeline { .. } => FailureKind::Usage,
            _ => FailureKind::NotFound,
        };
        Self::from_error(kind, &refusal).with_hint(refusal.hint())
    }
}

/// A file of this machine that can't be read or written is no defect of ours.
fn wal_failure_kind(error: &WalError) -> FailureKind {
    match error {
        WalError::File { source, .. } => io_kind(source),
        error => wal_kind(error.kind()),
    }
}

impl From<WalError> for Failure {
    fn from(error: WalError) -> Self {
        hinted(Self::from_error(wal_failure_kind(&error), &error), error.hint())
    }
}

impl From<lifeboat_agent::AgentError> for Failure {
    fn from(error: lifeboat_agent::AgentError) -> Self {
        use lifeboat_agent::{AgentError, PromiseError};
        let (kind, hint) = match &error {
            AgentError::Settings(_) | AgentError::Tls(_) | AgentError::Serve(_) => (FailureKind::Usage, None),
            AgentError::Promise(PromiseError::InUse(_)) => {
                (FailureKind::Locked, Some("one agent looks after one member: is it running already?"))
            }
            AgentError::Promise(PromiseError::AnotherMember { .. }) => (
                FailureKind::Locked,
                Some("give each member a state_dir of its own; one that was copied with its machine must go"),
            ),
            AgentError::Promise(PromiseError::Damaged { .. }) => (
                FailureKind::Corrupt,
                Some("make this member anew, under another name: what it promised must not be forgotten"),
            ),
            AgentError::Promise(PromiseError::Lost { .. }) => (
                FailureKind::Corrupt,
                Some(
                    "bring the file back; without it make this member anew, under another name: what it promised must not be forgotten",
                ),
            ),
            AgentError::ForeignData(_) => (
                FailureKind::Locked,
                Some("move this data directory away, and make a copy of the cluster's: `lifeboat standby create`"),
            ),
            AgentError::Promise(PromiseError::File { .. }) | AgentError::System { .. } | AgentError::NotDurable(_) => {
                (FailureKind::Unavailable, None)
            }
            AgentError::Store(error) => (store_kind(error), None),
        };
        let failure = Self::from_error(kind, &error);
        match hint {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

fn store_kind(error: &lifeboat_agent::lease::StoreError) -> FailureKind {
    use lifeboat_agent::lease::StoreError;
    match error {
        StoreError::Unavailable { .. } => FailureKind::Unavailable,
        StoreError::Unsafe { .. } => FailureKind::CheckFailed,
        StoreError::Refused { .. } => FailureKind::Usage,
    }
}

impl From<lifeboat_agent::lease::StoreError> for Failure {
    fn from(error: lifeboat_agent::lease::StoreError) -> Self {
        Self::from_error(store_kind(&error), &error)
    }
}

impl From<lifeboat_agent::client::AskError> for Failure {
    fn from(error: lifeboat_agent::client::AskError) -> Self {
        use lifeboat_agent::client::AskError;
        let (kind, hint) = match &error {
            AskError::Unreachable { .. } => {
                (FailureKind::Unavailable, "is `lifeboat agent` running there, and the address right?")
            }
            AskError::Refused { .. } => (FailureKind::Locked, "every member and operator has the same token"),
            AskError::Tls(_) => (FailureKind::Usage, "look at `tls`"),
        };
        Self::from_error(kind, &error).with_hint(hint)
    }
}
