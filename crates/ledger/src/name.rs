//! What an entry is called: its sequence, and the hash of its bytes.

use crate::place::{Error, Result};
use aws_lc_rs::digest::{SHA256, digest};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Where all of it lies.
pub const PREFIX: &str = "ledger/";

/// The greatest sequence that a name has room for.
pub const SEQUENCE_MAX: u64 = 999_999_999_999;

const SEQUENCE_DIGITS: usize = 12;

/// SHA-256 of all bytes of an entry as it is stored, signature included. Hexadecimal for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHash(pub [u8; 32]);

impl EntryHash {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for EntryHash {
    type Err = Error;

    /// Lower-case digits only: a name has one form.
    fn from_str(text: &str) -> Result<Self> {
        let mut hash = [0; 32];
        let read = hex::decode_to_slice(text, &mut hash);
        let is_one = read.is_ok() && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        is_one
            .then_some(Self(hash))
            .ok_or_else(|| Error::Invalid(format!("{text:?} is not a hash of 64 hexadecimal digits")))
    }
}

impl Serialize for EntryHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The name of an entry, in the order of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryName {
    /// Its place.
    pub sequence: u64,
    /// Its content.
    pub hash: EntryHash,
}

impl EntryName {
    /// The key of the object.
    pub fn key(&self) -> String {
        format!("{PREFIX}{self}.json")
    }

    /// Reads a key. None: it isn't one of an entry.
    pub fn of_key(key: &str) -> Option<Self> {
        let (sequence, hash) = key.strip_prefix(PREFIX)?.strip_suffix(".json")?.split_once('-')?;
        let is_sequence = sequence.len() == SEQUENCE_DIGITS && sequence.bytes().all(|byte| byte.is_ascii_digit());
        let sequence: u64 = sequence.parse().ok().filter(|_| is_sequence)?;
        Some(Self { sequence, hash: hash.parse().ok()? })
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$}-{}", self.sequence, self.hash, width = SEQUENCE_DIGITS)
    }
}

impl Serialize for EntryName {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_form() {
        let hash = EntryHash::of(b"abc");
        assert_eq!(hash.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let name = EntryName { sequence: 42, hash };
        assert_eq!(EntryName::of_key(&name.key()), Some(name));
        let good = name.key();
        let bad = [
            good.replace("000000000042", "42"),
            good.replace("000000000042", "+00000000042"),
            good.replace("ba78", "BA78"),
            good.replace("ba78", "ba7"),
            good.replace(".json", ""),
            good.replace("ledger/", "ledger/x/"),
        ];
        for key in bad {
            assert_eq!(EntryName::of_key(&key), None, "{key}");
        }
    }
}
