//! What an operating system's error means for the caller.

use crate::ErrorKind;
use rustix::io::Errno;
use std::io;

/// The kind of `error`. `root_is_there` is asked only when a file is missing.
pub(super) fn classify(error: &io::Error, root_is_there: impl FnOnce() -> bool) -> ErrorKind {
    if is_absent(error) {
        return if root_is_there() { ErrorKind::NotFound } else { ErrorKind::NoContainer };
    }
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => {
            return ErrorKind::Invalid;
        }
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => return ErrorKind::Corrupt,
        io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge => {
            return ErrorKind::Full;
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => return ErrorKind::Denied,
        _ => {}
    }
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => ErrorKind::Full,
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => ErrorKind::Denied,
        // EIO, a stale or dead network file system, no memory, too many open files: all may pass.
        _ => ErrorKind::Unavailable,
    }
}

/// Nothing of that name: missing, or a file where a directory would have to be.
pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errnos() {
        let kind = |errno: Errno| classify(&errno.into(), || true);
        assert_eq!(kind(Errno::NOSPC), ErrorKind::Full);
        assert_eq!(kind(Errno::DQUOT), ErrorKind::Full);
        assert_eq!(kind(Errno::ACCESS), ErrorKind::Denied);
        assert_eq!(kind(Errno::ROFS), ErrorKind::Denied);
        assert_eq!(kind(Errno::IO), ErrorKind::Unavailable);
        assert_eq!(kind(Errno::STALE), ErrorKind::Unavailable);
        assert_eq!(kind(Errno::NOENT), ErrorKind::NotFound);
        assert_eq!(classify(&Errno::NOENT.into(), || false), ErrorKind::NoContainer);
    }
}
