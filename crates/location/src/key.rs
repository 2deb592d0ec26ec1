//! What a key may look like, the same for every kind of location.
//!
//! Narrow on purpose: what passes here needs no escaping in a file name, a URL or a signature, and can't point outside
//! of the location. A component that starts with a dot is refused, so a location may keep private things under one.

use crate::{Error, ErrorKind, Result};

/// S3 and GCS allow 1024 bytes for the whole name; this leaves room for the prefix in the url.
const KEY_BYTES_MAX: usize = 900;
/// The limit of every usual file system.
const COMPONENT_BYTES_MAX: usize = 255;

/// Refuses a key that isn't one.
pub(crate) fn check_key(address: &str, action: &str, key: &str) -> Result<()> {
    refuse_unless(is_key(key), address, action, key)
}

/// Refuses a listing prefix no key could start with. Empty is everything.
pub(crate) fn check_prefix(address: &str, prefix: &str) -> Result<()> {
    // A prefix is a key whose last component isn't finished.
    refuse_unless(prefix.is_empty() || is_key(&format!("{prefix}x")), address, "list", prefix)
}

fn refuse_unless(valid: bool, address: &str, action: &str, key: &str) -> Result<()> {
    if valid {
        return Ok(());
    }
    let shown: String = key.chars().take(100).flat_map(char::escape_default).collect();
    Err(Error::new(ErrorKind::Invalid, address, format!("{action} {shown}")).with_source(
        "a key is at most 900 bytes: components of a-z A-Z 0-9 - _ . = + @ , : joined by /, none starting with a dot",
    ))
}

pub(crate) fn is_key(key: &str) -> bool {
    key.len() <= KEY_BYTES_MAX && key.split('/').all(is_component)
}

fn is_component(component: &str) -> bool {
    (1..=COMPONENT_BYTES_MAX).contains(&component.len())
        && !component.starts_with('.')
        && !component.ends_with('.') // Azure drops it
        && component.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.=+@,:".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        for good in ["lifeboat.json", "packs/ab/cdef", "wal/shop_1/7/00000001.part", "a=b/c+d@e,f:g"] {
            assert!(is_key(good), "{good}");
        }
        let long = "a".repeat(256);
        let longer = "abcdefgh/".repeat(101) + "a";
        for bad in
            ["", "/a", "a/", "a//b", "..", "a/../b", "./a", ".hidden", "a\0b", "a b", "é", "a.", "a\\b", &long, &longer]
        {
            assert!(!is_key(bad), "{bad}");
            assert_eq!(check_key("here", "get", bad).unwrap_err().kind(), ErrorKind::Invalid);
        }
    }

    #[test]
    fn prefixes() {
        for good in ["", "wal/", "wal/a", "points/shop/2026-"] {
            assert!(check_prefix("here", good).is_ok(), "{good}");
        }
        for bad in ["/", "../", "a//", "a/..", "."] {
            // `a/..x` would be a component that starts with a dot
            assert!(check_prefix("here", bad).is_err(), "{bad}");
        }
    }
}
