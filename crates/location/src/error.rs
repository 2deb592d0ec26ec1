//! What went wrong with a location, classified by what the caller must do.

use std::fmt;

/// Shorthand for this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What the caller must do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The store answered: no such object. The caller decides whether that is bad.
    NotFound,
    /// The request itself is wrong (bad key, bad range, bad setting). Trying again changes nothing.
    Invalid,
    /// The store refuses us: wrong credentials or missing permission.
    Denied,
    /// The bucket, container or directory itself does not exist.
    NoContainer,
    /// No space or quota left.
    Full,
    /// Could not ask, or the store is unwell: no network, time limit, 5xx, throttled. Try again later.
    Unavailable,
    /// Our clock and the store's differ so much that it refuses our signatures.
    ClockSkew,
    /// The store's answer contradicts itself (short body, wrong length).
    Corrupt,
}

/// An error of a location: what was tried, on which object, and why it failed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    /// Present-tense verb and object: `put packs/ab/…`.
    action: String,
    /// The location's address, without secrets.
    address: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` while doing `action` at `address`.
    pub fn new(kind: ErrorKind, address: impl Into<String>, action: impl Into<String>) -> Self {
        Self { kind, action: action.into(), address: address.into(), source: None }
    }

    /// The same, with its cause.
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to type or look at next, where there is something.
    pub fn hint(&self) -> Option<&'static str> {
        match self.kind {
            ErrorKind::Denied => {
                Some("check the access key, or who owns the directory: we must read, write and list here")
            }
            ErrorKind::NoContainer => Some(
                "if it was there before: is it mounted, is the url right? a new directory is made by `lifeboat init`, a bucket by its owner",
            ),
            ErrorKind::Full => Some("free space there, or make it larger; the next run catches up by itself"),
            ErrorKind::Unavailable => Some("check the endpoint and the network; the next run catches up by itself"),
            ErrorKind::ClockSkew => Some("set this machine's clock (ntp) and try again"),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.kind {
            ErrorKind::NotFound => "no such object",
            ErrorKind::Invalid => "the request is not valid",
            ErrorKind::Denied => "access denied",
            ErrorKind::NoContainer => "the bucket, container or directory does not exist",
            ErrorKind::Full => "no space left",
            ErrorKind::Unavailable => "not reachable",
            ErrorKind::ClockSkew => "the store's clock and ours differ too much",
            ErrorKind::Corrupt => "the store's answer contradicts itself",
        };
        write!(f, "{} at {}: {why}", self.action, self.address)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
