//! What a store's answer means for the caller.
//!
//! The library keeps the status and the store's own code in the text of its error only, so this reads the text.

use crate::ErrorKind;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error as StdError;

/// Words with which stores name a cause, before the status is looked at: the same status can mean several.
const CODES: [(&str, ErrorKind); 17] = [
    ("RequestTimeTooSkewed", ErrorKind::ClockSkew),
    ("RequestExpired", ErrorKind::ClockSkew),
    ("NoSuchBucket", ErrorKind::NoContainer),
    ("ContainerNotFound", ErrorKind::NoContainer),
    ("ContainerBeingDeleted", ErrorKind::NoContainer),
    ("specified bucket does not exist", ErrorKind::NoContainer),
    ("QuotaExceeded", ErrorKind::Full),
    ("XMinioStorageFull", ErrorKind::Full),
    ("InsufficientStorage", ErrorKind::Full),
    ("AccountDisabled", ErrorKind::Denied),
    ("AccessDenied", ErrorKind::Denied),
    ("InvalidAccessKeyId", ErrorKind::Denied),
    ("SignatureDoesNotMatch", ErrorKind::Denied),
    ("ExpiredToken", ErrorKind::Denied),
    ("InvalidToken", ErrorKind::Denied),
    ("AuthenticationFailed", ErrorKind::Denied),
    // Another request on the same key was in flight; nothing was decided.
    ("ConditionalRequestConflict", ErrorKind::Unavailable),
];

/// The kind of the library's error.
pub(super) fn classify(error: &object_store::Error) -> ErrorKind {
    use object_store::Error as E;
    if matches!(error, E::InvalidPath { .. } | E::UnknownConfigurationKey { .. }) {
        return ErrorKind::Invalid;
    }
    if let Some(kind) = transport_kind(error) {
        // A body that ends early is the network's doing: asking again may get all of it.
        return if kind == HttpErrorKind::Decode { ErrorKind::Corrupt } else { ErrorKind::Unavailable };
    }
    let text = everything_said(error);
    if let Some((_, kind)) = CODES.iter().find(|(code, _)| text.contains(code)) {
        return *kind;
    }
    match error {
        E::NotFound { .. } => ErrorKind::NotFound,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => ErrorKind::Denied,
        E::NotImplemented { .. } | E::NotSupported { .. } => ErrorKind::Invalid,
        _ => by_status(status(&text)),
    }
}

fn by_status(status: Option<u16>) -> ErrorKind {
    match status {
        Some(507) => ErrorKind::Full,
        Some(501) => ErrorKind::Invalid,
        Some(401 | 403) => ErrorKind::Denied,
        Some(404) => ErrorKind::NotFound,
        Some(408 | 409 | 425 | 429 | 500..) => ErrorKind::Unavailable,
        // A redirect or another 4xx: the wrong region or endpoint.
        Some(_) => ErrorKind::Invalid,
        None => ErrorKind::Unavailable,
    }
}

/// The request never left: nothing can have been written.
pub(super) fn was_not_sent(error: &object_store::Error) -> bool {
    transport_kind(error) == Some(HttpErrorKind::Connect)
}

/// The store says that it doesn't do conditional writes.
pub(super) fn is_unsupported(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. }) || status(&everything_said(error)) == Some(501)
}

/// S3 lost a race on the key without a winner: to be tried again.
pub(super) fn is_conflict_without_winner(error: &object_store::Error) -> bool {
    everything_said(error).contains("ConditionalRequestConflict")
}

pub(super) fn is_unsatisfiable_range(error: &object_store::Error) -> bool {
    let text = everything_said(error);
    status(&text) == Some(416) || text.contains("InvalidRange") || text.contains("Wanted range starting at")
}

fn transport_kind(error: &object_store::Error) -> Option<HttpErrorKind> {
    causes(error).find_map(|cause| cause.downcast_ref::<HttpError>()).map(HttpError::kind)
}

fn causes(error: &object_store::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    std::iter::from_fn(move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    })
}

fn everything_said(error: &object_store::Error) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// `…non-2xx status code: 503 Service Unavailable: …`
fn status(text: &str) -> Option<u16> {
    text.split("non-2xx status code: ").nth(1)?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> object_store::Error {
        object_store::Error::Generic { store: "S3", source: text.to_string().into() }
    }

    #[test]
    fn answers() {
        let table = [
            ("Server returned non-2xx status code: 503 Service Unavailable: SlowDown", ErrorKind::Unavailable),
            ("Server returned non-2xx status code: 500 Internal Server Error: ", ErrorKind::Unavailable),
            ("Server returned non-2xx status code: 507 Insufficient Storage: ", ErrorKind::Full),
            (
                "Server returned non-2xx status code: 403 Forbidden: <Code>RequestTimeTooSkewed</Code>",
                ErrorKind::ClockSkew,
            ),
            ("Server returned non-2xx status code: 403 Forbidden: <Code>QuotaExceeded</Code>", ErrorKind::Full),
            (
                "Server returned non-2xx status code: 400 Bad Request: <Code>InvalidAccessKeyId</Code>",
                ErrorKind::Denied,
            ),
            ("Server returned non-2xx status code: 404 Not Found: <Code>NoSuchBucket</Code>", ErrorKind::NoContainer),
            ("Server returned non-2xx status code: 400 Bad Request: malformed", ErrorKind::Invalid),
            ("no status at all", ErrorKind::Unavailable),
        ];
        for (text, kind) in table {
            assert_eq!(classify(&said(text)), kind, "{text}");
        }
    }
}
