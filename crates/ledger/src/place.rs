//! A place that holds the ledger, and what can go wrong on the way to it.

use lifeboat_location::{ErrorKind, Location};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Shorthand for this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was given can't be used.
    #[error("{0}")]
    Invalid(String),
    /// No location took the entry; each with its reason.
    #[error("no location took the entry")]
    NotKept {
        /// Name of the location, and why.
        failures: Vec<(String, String)>,
    },
    /// No location could be asked; each with its reason.
    #[error("no location could be asked for the ledger")]
    NobodyThere {
        /// Name of the location, and why.
        failures: Vec<(String, String)>,
    },
    /// The library for signatures refused.
    #[error("{0}")]
    Internal(String),
}

/// A location by the name that the configuration gives it.
#[derive(Debug, Clone)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub location: Arc<dyn Location>,
}

/// How long a listing may take: a bucket answers a thousand names at a time.
pub(crate) const LISTING_MAX: Duration = Duration::from_secs(300);
/// How long one entry may take, to read or to write. Locations have limits of their own; this is for those whose limits fail,
/// such as a directory on a file server that is gone.
pub(crate) const REQUEST_MAX: Duration = Duration::from_secs(60);

/// An answer of a location, within a limit.
pub(crate) async fn within<T>(
    place: &Place,
    limit: Duration,
    work: impl Future<Output = lifeboat_location::Result<T>>,
) -> lifeboat_location::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let error =
            lifeboat_location::Error::new(ErrorKind::Unavailable, place.location.address(), "wait for an answer");
        Err(error.with_source(format!("none within {limit:?}")))
    })
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
