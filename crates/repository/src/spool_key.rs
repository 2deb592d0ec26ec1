//! Sealing what waits on a machine's own disk until a location has it.
//!
//! Promise: nobody without the repository's key reads a piece, and a piece that was changed, or that lies in another place
//! than it was sealed for, doesn't open. Each file has a key of its own, and each piece a random nonce, because a file may be
//! written over after a crash: then other bytes come to the place of those that were sealed before, and a nonce made from the place
//! would be used twice. Random ones repeat with a chance of less than 2^-32 before 2^32 pieces of one file (NIST SP 800-38D, 8.3).
//!
//! Not here: what the pieces are and where they lie. That pieces are missing at the end is noticed by nobody here.

use crate::error::{Error, Result};
use crate::key::{aead_key, derive, random};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use std::fmt;
use zeroize::Zeroizing;

/// Length of a file's salt.
pub const SPOOL_SALT_BYTES: usize = 32;

/// What the keys of all files come from.
#[derive(Clone)]
pub struct SpoolKeys {
    root: Zeroizing<[u8; 32]>,
    repository: [u8; 16],
}

/// The key of one file.
pub struct SpoolFileKey(LessSafeKey);

/// What opens a piece besides the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolSeal {
    /// Never used twice with one key.
    pub nonce: [u8; 12],
    /// Made from the piece and what was said about it.
    pub tag: [u8; 16],
}

impl fmt::Debug for SpoolKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpoolKeys(hidden)")
    }
}

impl fmt::Debug for SpoolFileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpoolFileKey(hidden)")
    }
}

impl SpoolKeys {
    /// From the secret itself, and the id of the repository that it belongs to. `Repository::spool_keys` has a repository's.
    pub fn new(root: [u8; 32], repository: [u8; 16]) -> Self {
        Self { root: Zeroizing::new(root), repository }
    }

    /// The id of the repository, by which a file is known to be another one's.
    pub fn repository(&self) -> [u8; 16] {
        self.repository
    }

    /// A salt for a new file.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn new_salt() -> Result<[u8; SPOOL_SALT_BYTES]> {
        random()
    }

    /// The key of the file with this salt.
    ///
    /// # Errors
    /// When this machine can't derive keys.
    pub fn of_file(&self, salt: &[u8; SPOOL_SALT_BYTES]) -> Result<SpoolFileKey> {
        let key = Zeroizing::new(derive(&self.root[..], salt, &[b"lifeboat/1/spool/file"])?);
        aead_key(&key).map(SpoolFileKey)
    }
}

impl SpoolFileKey {
    /// Seals a piece where it lies. It opens only with the same words `about` it.
    ///
    /// # Errors
    /// When the operating system has no randomness.
    pub fn seal(&self, about: &[u8], piece: &mut [u8]) -> Result<SpoolSeal> {
        let nonce: [u8; 12] = random()?;
        let sealed = self.0.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(about), piece);
        let tag = sealed.ok().and_then(|tag| tag.as_ref().try_into().ok());
        Ok(SpoolSeal { nonce, tag: tag.ok_or_else(|| Error::Internal("seal a piece of a spool".into()))? })
    }

    /// The piece that was sealed; `None` when anything of it, of its seal or of the words about it is another.
    pub fn open(&self, seal: &SpoolSeal, about: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut piece = vec![0; sealed.len()];
        let nonce = Nonce::assume_unique_for_key(seal.nonce);
        self.0.open_separate_gather(nonce, Aad::from(about), sealed, &seal.tag, &mut piece).ok()?;
        Some(piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_opens_with_its_key_and_its_words_and_nothing_else() {
        let keys = SpoolKeys::new([7; 32], [1; 16]);
        let key = keys.of_file(&[3; 32]).unwrap();
        let mut piece = *b"promised";
        let seal = key.seal(b"here", &mut piece).unwrap();
        assert_ne!(&piece, b"promised");
        assert_eq!(key.open(&seal, b"here", &piece).unwrap(), b"promised");
        assert_eq!(key.open(&seal, b"there", &piece), None);
        assert_eq!(keys.of_file(&[4; 32]).unwrap().open(&seal, b"here", &piece), None, "another file's key");
        let other = SpoolKeys::new([8; 32], [1; 16]).of_file(&[3; 32]).unwrap();
        assert_eq!(other.open(&seal, b"here", &piece), None, "another repository's key");
        for at in 0..8 {
            let mut changed = piece;
            changed[at] ^= 1;
            assert_eq!(key.open(&seal, b"here", &changed), None, "byte {at}");
        }
        for at in 0..12 {
            let mut changed = seal;
            changed.nonce[at] ^= 1;
            assert_eq!(key.open(&changed, b"here", &piece), None, "byte {at} of the nonce");
        }
        for at in 0..16 {
            let mut changed = seal;
            changed.tag[at] ^= 1;
            assert_eq!(key.open(&changed, b"here", &piece), None, "byte {at} of the tag");
        }
    }

    #[test]
    fn nonces_and_salts_differ() {
        let key = SpoolKeys::new([7; 32], [1; 16]).of_file(&[3; 32]).unwrap();
        let seals: std::collections::BTreeSet<[u8; 12]> =
            (0..100).map(|_| key.seal(b"here", &mut [0; 4]).unwrap().nonce).collect();
        assert_eq!(seals.len(), 100);
        assert_ne!(SpoolKeys::new_salt().unwrap(), SpoolKeys::new_salt().unwrap());
    }
}
