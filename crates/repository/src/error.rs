//! What can go wrong with a repository.

use lifeboat_location as location;

/// Shorthand for this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, said so that the caller knows what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The location itself: see its kind.
    #[error(transparent)]
    Location(#[from] location::Error),
    /// The location holds no repository.
    #[error("no repository at {address}")]
    NotARepository {
        /// Where we looked.
        address: String,
    },
    /// The file that makes a place a repository is gone, and what it held is there.
    #[error("{address} holds the data of a repository, but its lifeboat.json is missing")]
    RootLost {
        /// Where we looked.
        address: String,
    },
    /// Two locations of one configuration hold different repositories.
    #[error("{address} holds another repository ({found}) than {other} ({expected})")]
    OtherRepository {
        /// The location that differs.
        address: String,
        /// Its repository id.
        found: String,
        /// The location it was compared with.
        other: String,
        /// That one's repository id.
        expected: String,
    },
    /// No key in the repository opens with this passphrase.
    #[error("wrong passphrase for the repository at {address}")]
    WrongPassphrase {
        /// The repository that was tried.
        address: String,
    },
    /// Written by a newer version, or not by us.
    #[error("{object} has format version {found}, this program reads up to {known}")]
    NewerFormat {
        /// The object.
        object: String,
        /// Its version.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// Bytes that are not what was written.
    #[error("{object} is damaged: {what}")]
    Corrupt {
        /// The object's key, or what it stands for.
        object: String,
        /// What doesn't fit.
        what: String,
    },
    /// Nothing of that name.
    #[error("{what} not found")]
    NotFound {
        /// What was asked for.
        what: String,
    },
    /// The same name is stored with other content. Nothing was overwritten.
    #[error("{name} is already stored with other content")]
    Conflict {
        /// The name in question.
        name: String,
    },
    /// A key that must not be removed.
    #[error("key {id} can't be removed: {why}")]
    KeyNeeded {
        /// Its id.
        id: String,
        /// Why.
        why: &'static str,
    },
    /// What should open the repository from now on does already.
    #[error("that already opens the repository: it is key {id}")]
    KeyKnown {
        /// Its id.
        id: String,
    },
    /// Something that must be done everywhere or nowhere.
    #[error("can't {purpose} while location {location} is away: {reason}")]
    LocationNeeded {
        /// What was to be done.
        purpose: &'static str,
        /// The location.
        location: String,
        /// What is wrong with it.
        reason: String,
    },
    /// What should be held is being deleted.
    #[error("{what} is being deleted by `prune`, and can't be held any more")]
    GoingAway {
        /// What it is.
        what: String,
    },
    /// What a session built on was marked for removal, or removed, while it was under way.
    #[error("pack {what}, which this backup builds on, was given up by `prune` meanwhile")]
    Undermined {
        /// Name of the pack.
        what: String,
    },
    /// What a session built on turned out to be damaged while it was under way.
    #[error("pack {what}, which this backup builds on, turned out to be damaged")]
    Decayed {
        /// Name of the pack.
        what: String,
    },
    /// No location took the data.
    #[error("no location could store the data: {}", .reasons.join("; "))]
    AllLocationsFailed {
        /// One sentence per location.
        reasons: Vec<String>,
        /// Whether trying again later can help.
        temporary: bool,
    },
    /// A part of this machine failed: threads, randomness.
    #[error("{0}")]
    Internal(String),
}

impl Error {
    /// A damage report for `object`.
    pub fn corrupt(object: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Corrupt { object: object.into(), what: what.into() }
    }

    /// Whether the object is gone or damaged here, so that another location should be asked.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::NotFound { .. } => true,
            Self::Location(error) => {
                matches!(
                    error.kind(),
                    location::ErrorKind::NotFound | location::ErrorKind::Corrupt | location::ErrorKind::Invalid
                )
            }
            _ => false,
        }
    }

    /// What to type or look at next.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Location(error) => error.hint(),
            Self::NotARepository { .. } => Some("`lifeboat init` creates it; check the url if it should exist"),
            Self::RootLost { .. } => Some(
                "`lifeboat init` writes it again, from another location or from the key record, and touches nothing else",
            ),
            Self::OtherRepository { .. } => Some("give each repository its own location, or correct the url"),
            Self::WrongPassphrase { .. } => Some(
                "check [encryption] passphrase; `lifeboat key list`, where it opens, shows the keys; without one nothing can be read",
            ),
            Self::NewerFormat { .. } => Some("use the version of lifeboat that wrote it, or a newer one"),
            Self::Corrupt { object, .. } if object.ends_with("lifeboat.json") => Some(
                "`lifeboat repair` writes it again, where another location opens or its keys know what stood there",
            ),
            Self::Corrupt { object, .. } if is_about_keys(object) => Some(
                "no key here can be read: another location of the repository opens it, or a copy of the key record under its name",
            ),
            Self::Corrupt { .. } => Some("`lifeboat verify --data` lists everything that is damaged"),
            Self::KeyNeeded { .. } => Some("`lifeboat key add` makes another one first; `lifeboat key list` shows all"),
            Self::KeyKnown { .. } => {
                Some("`lifeboat key list` shows all; a second record of one passphrase would hide that it still opens")
            }
            Self::LocationNeeded { .. } => {
                Some("bring it back, or take it out of the configuration; then run this again")
            }
            Self::GoingAway { .. } => Some(
                "choose another one (`lifeboat points` lists them), or try again when `prune` is done: it may be spared",
            ),
            Self::Undermined { .. } | Self::Decayed { .. } => Some("run it again: it will store what it needs anew"),
            Self::Conflict { .. } => {
                Some("two clusters write to one archive, or one was promoted twice: look before anything is removed")
            }
            _ => None,
        }
    }
}

/// Whether it is a key record, or the folder of them, by its key or its address.
fn is_about_keys(object: &str) -> bool {
    let mut parts = object.rsplit('/');
    let (last, before) = (parts.next(), parts.next());
    last == Some("keys") || before == Some("keys")
}
