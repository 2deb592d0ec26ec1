//! What whoever uses the mount is told when something fails.

use crate::lazy::BringError;
use fuser::Errno;
use std::io;

pub fn gone() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// What is told to whoever read or wrote: never more than that it failed. The log says why.
pub fn errno(error: BringError) -> Errno {
    match error {
        BringError::Io(error) => error.into(),
        BringError::Source { .. } => {
            let why = std::iter::successors(std::error::Error::source(&error), |error| error.source());
            let why: Vec<String> = why.map(ToString::to_string).collect();
            tracing::error!("{error}: {}", why.join(": "));
            Errno::EIO
        }
    }
}
