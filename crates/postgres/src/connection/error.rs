//! What went wrong with a live server, classified by what the caller must do.

use std::fmt;
use tokio_postgres::error::{DbError, SqlState};

/// Shorthand for the rooms that talk to a server.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The connection string, a name or a setting is wrong. Trying again changes nothing.
    Invalid,
    /// Nobody answers there, in time. Try again later.
    Unreachable,
    /// The server answers, but takes no sessions now: it starts, stops, recovers, or is full. Try again soon.
    NotReady,
    /// The user or the password is wrong, or `pg_hba.conf` has no line for us.
    Authentication,
    /// The database that the connection string names doesn't exist.
    NoDatabase,
    /// No encrypted connection that satisfies `sslmode`.
    Tls,
    /// The role lacks a privilege.
    Denied,
    /// The session ended under us. What it held (a backup, a lock, a stream) is gone; connect again.
    Lost,
    /// Somebody else holds what we need: another backup, another receiver on the slot.
    Busy,
    /// The server was promoted, or changed its timeline: what was begun is worth nothing, begin again.
    Changed,
    /// The server no longer has the WAL asked for: there is a gap, a new full backup is needed.
    WalRemoved,
    /// There is no replication slot of that name.
    SlotMissing,
    /// The slot is there, but the server has thrown away WAL that it should have kept.
    SlotLost,
    /// Any other refusal by the server.
    Server,
    /// The answer isn't PostgreSQL's protocol, or contradicts itself.
    Protocol,
}

impl ErrorKind {
    /// Whether the same call may succeed later with nobody doing anything.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Unreachable | Self::NotReady | Self::Lost | Self::Busy)
    }
}

/// An error of a live server: what was tried, why it failed, and what to do. Never holds a password.
pub struct Error {
    kind: ErrorKind,
    action: String,
    why: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error while doing `action` ("connect to ..", "start backup"), because of `why`.
    pub fn new(kind: ErrorKind, action: impl Into<String>, why: impl Into<String>) -> Self {
        Self { kind, action: action.into(), why: why.into(), hint: None, source: None }
    }

    /// The same, with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same, with what to type next.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to type or look at next, where there is something.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// From the driver, while doing `action`.
    pub fn from_driver(action: impl Into<String>, error: tokio_postgres::Error) -> Self {
        let action = action.into();
        if let Some(refusal) = error.as_db_error() {
            return Self::from_refusal(action, refusal);
        }
        let (kind, why) = classify_without_refusal(&error);
        Self::new(kind, action, why).with_source(error)
    }

    fn from_refusal(action: String, refusal: &DbError) -> Self {
        let (kind, hint) = classify(refusal.code(), refusal.message());
        let mut why = refusal.message().to_owned();
        if let Some(detail) = refusal.detail() {
            why = format!("{why} ({detail})");
        }
        let hint = hint.map(str::to_owned).or_else(|| refusal.hint().map(str::to_owned));
        Self { kind, action, why, hint, source: None }
    }

    /// From an error message that the replication protocol brought: five-character code and text.
    pub(crate) fn from_code(action: impl Into<String>, code: &str, message: &str, server_hint: Option<&str>) -> Self {
        let (kind, hint) = classify(&SqlState::from_code(code), message);
        let hint = hint.or(server_hint).map(str::to_owned);
        Self { kind, action: action.into(), why: message.to_owned(), hint, source: None }
    }
}

fn classify_without_refusal(error: &tokio_postgres::Error) -> (ErrorKind, String) {
    let source = std::error::Error::source(error);
    let io = source.and_then(|cause| cause.downcast_ref::<std::io::Error>());
    let text = error.to_string();
    if error.is_closed() {
        return (ErrorKind::Lost, "the session ended".into());
    }
    if text.contains("TLS") {
        return (ErrorKind::Tls, "no encrypted connection".into());
    }
    if text.starts_with("error connecting to server") || text.contains("timeout") {
        return (ErrorKind::Unreachable, "nobody answers".into());
    }
    if io.is_some() {
        return (ErrorKind::Lost, "the connection broke".into());
    }
    // "invalid configuration", because of "password missing": only the server knew that it wants one.
    let cause = source.map(ToString::to_string).unwrap_or_default();
    if text.contains("authentication") || cause.contains("password") {
        return (
            ErrorKind::Authentication,
            "the server asks for a password that was not given, or can't be used".into(),
        );
    }
    if text.contains("configuration") || text.contains("connection string") {
        return (ErrorKind::Invalid, "the connection string is not valid".into());
    }
    (ErrorKind::Protocol, "unexpected answer".into())
}

/// Judges a refusal of the server by its code, and by its words where one code has several meanings.
fn classify(code: &SqlState, message: &str) -> (ErrorKind, Option<&'static str>) {
    // The words exist in English only; where `lc_messages` is another language, the code alone decides.
    let says = |words: &str| message.contains(words);
    match code.code() {
        "28P01" | "28000" => {
            (ErrorKind::Authentication, Some("check user and password, and that pg_hba.conf has a line for this host"))
        }
        "3D000" => (ErrorKind::NoDatabase, Some("name a database that exists: dbname=postgres")),
        "42501" => (ErrorKind::Denied, None),
        "57P03" | "53300" | "53400" if says("replication slots") => {
            (ErrorKind::Server, Some("raise max_replication_slots and restart the server"))
        }
        "57P03" | "53300" => (ErrorKind::NotReady, None),
        "57P01" | "57P02" | "57P05" | "25P03" => (ErrorKind::Lost, None),
        "55006" => (ErrorKind::Busy, None),
        "42704" if says("replication slot") => (ErrorKind::SlotMissing, None),
        "58P01" if says("WAL segment") => {
            (ErrorKind::WalRemoved, Some("take a new full backup, and use a replication slot so that WAL is kept"))
        }
        "55000" if says("replication slot") || says("invalidated") => {
            (ErrorKind::SlotLost, Some("drop the slot, take a new full backup, and raise max_slot_wal_keep_size"))
        }
        _ if says("is not in this server's history") => (ErrorKind::Changed, None),
        _ => (ErrorKind::Server, None),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.why)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("action", &self.action)
            .field("why", &self.why)
            .field("hint", &self.hint)
            .field("source", &self.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
