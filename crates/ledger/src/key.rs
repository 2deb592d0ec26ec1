//! Keys: who signs, and how anybody else checks it. Ed25519 (RFC 8032).
//!
//! The secret is made from the repository's key and never stored. The public key lies beside the entries, for convenience; who verifies
//! should have it from elsewhere, because whoever can write there can write another one.

use crate::canonical;
use crate::name::{EntryHash, PREFIX};
use crate::place::{Error, Result};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde_json::{Value, json};
use std::fmt;

/// Nothing else is ever signed with this key, and what is signed says so.
const CONTEXT: &[u8] = b"lifeboat/1/ledger/";
/// A key document has some 150 bytes.
pub(crate) const KEY_BYTES_MAX: u64 = 4096;

/// Tells one public key from another: the first 16 digits of its SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub(crate) String);

impl KeyId {
    /// Reads one. None: it isn't 16 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (text.len() == 16 && text.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What anybody may know.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads 64 hexadecimal digits, or the document that lies beside the entries.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.starts_with('{') {
            return parse_document(text.as_bytes()).map_err(Error::Invalid);
        }
        let mut key = [0; 32];
        let refused = |_| Error::Invalid("a public key is 64 hexadecimal digits, or the file ledger/key-….json".into());
        hex::decode_to_slice(text, &mut key).map_err(refused)?;
        Ok(Self(key))
    }

    /// Its number.
    pub fn id(&self) -> KeyId {
        let hash = EntryHash::of(&self.0).to_string();
        KeyId(hash[..16].to_owned())
    }

    /// Whether this key signed these bytes.
    pub fn verifies(&self, entry: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&message(entry), signature).is_ok()
    }

    /// Where it lies beside the entries.
    pub fn object_key(&self) -> String {
        format!("{PREFIX}key-{}.json", self.id())
    }

    /// What lies there.
    pub fn document(&self) -> Vec<u8> {
        let value = json!({ "algorithm": "ed25519", "id": self.id().as_str(), "public_key": self.to_string() });
        canonical::to_canonical(&value).expect("three texts are not nested")
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// Reads the document of a public key.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse_document(bytes: &[u8]) -> std::result::Result<PublicKey, String> {
    if bytes.len() as u64 > KEY_BYTES_MAX {
        return Err("it is longer than any key".to_owned());
    }
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    let text = value["public_key"].as_str().unwrap_or_default();
    let key = PublicKey::parse(text.trim_start_matches('{')).map_err(|error| error.to_string())?;
    let same = key.document() == bytes.trim_ascii();
    same.then_some(key).ok_or_else(|| "it is not the document of the key in it".to_owned())
}

/// What signs. Never shown, never stored.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl SigningKey {
    /// From 32 secret bytes, which must have no other use.
    pub fn from_seed(seed: &[u8; 32]) -> Result<Self> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| Error::Internal("make a signing key".into()))?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self { pair, public: PublicKey(public) })
    }

    /// What others check with.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(&self, entry: &[u8]) -> [u8; 64] {
        let mut signature = [0; 64];
        signature.copy_from_slice(self.pair.sign(&message(entry)).as_ref());
        signature
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(of {})", self.public.id())
    }
}

fn message(entry: &[u8]) -> Vec<u8> {
    [CONTEXT, entry].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_signs_what_it_signed_and_nothing_else() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        let other = SigningKey::from_seed(&[8; 32]).unwrap();
        let signature = key.sign(b"entry");
        assert!(key.public().verifies(b"entry", &signature));
        assert!(!key.public().verifies(b"Entry", &signature));
        assert!(!other.public().verifies(b"entry", &signature));
        assert!(!key.public().verifies(b"entry", &signature[..63]));
        let plain: [u8; 64] = key.pair.sign(b"entry").as_ref().try_into().unwrap();
        assert!(!key.public().verifies(b"entry", &plain), "what is signed says what it is for");
    }

    #[test]
    fn a_public_key_is_read_from_digits_and_from_its_document() {
        let key = SigningKey::from_seed(&[7; 32]).unwrap().public().clone();
        let document = String::from_utf8(key.document()).unwrap();
        for text in [
            key.to_string(),
            format!(" {key}\n"),
            key.to_string().to_uppercase(),
            document.clone(),
            format!("{document}\n"),
        ] {
            assert_eq!(PublicKey::parse(&text).unwrap(), key, "{text}");
        }
        let other = SigningKey::from_seed(&[8; 32]).unwrap().public().clone();
        let mixed = document.replace(&key.to_string(), &other.to_string());
        for text in ["", "00", "{}", &mixed, &"{".repeat(100), r#"{"public_key":"{"}"#] {
            assert!(PublicKey::parse(text).is_err(), "{text}");
        }
    }
}
