//! Keys: one secret per repository, wrapped for a passphrase; everything else is derived from it.
//!
//! The repository key is 32 random bytes that never change. A key record in `keys/` wraps it with AES-256-GCM under
//! Argon2id of a passphrase (RFC 9106), or under a machine's own key: 32 random bytes in a file, which nobody can guess and
//! which need no slow derivation, so that a call takes a tenth of a second less. Sub-keys come from HKDF-SHA256 (RFC 5869) with a label each, so that no key
//! has two uses. `docs/format/keys.md` has the labels.

use crate::chunk::ChunkId;
use crate::error::{Error, Result};
use crate::root::Root;
use crate::spool_key::SpoolKeys;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::Zeroizing;

/// What opens a repository. Shown by nobody.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes the text as it is; surrounding white space was removed by whoever read the file.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// A new key for a machine.
    pub fn of_machine() -> Result<Self> {
        let secret: Zeroizing<[u8; 32]> = Zeroizing::new(random()?);
        let digits = Zeroizing::new(hex::encode(&secret[..]));
        let text = Zeroizing::new(format!("{MACHINE_PREFIX}{}-{}", *digits, machine_checksum(&digits)));
        Ok(Self(text))
    }

    /// The text, for whoever writes it into its file.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The random bytes of a machine's key; none for a passphrase that a person chose.
    fn machine_secret(&self) -> Option<Zeroizing<[u8; 32]>> {
        let (digits, checksum) = self.0.strip_prefix(MACHINE_PREFIX)?.split_once('-')?;
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, &mut secret[..]).ok()?;
        (checksum == machine_checksum(digits)).then_some(secret)
    }

    /// Whether it is a machine's key.
    pub fn is_of_machine(&self) -> bool {
        self.machine_secret().is_some()
    }
}

/// How the text of a machine's key begins.
const MACHINE_PREFIX: &str = "lifeboat-key-1-";
const PASSPHRASE_KIND: &str = "passphrase";
const MACHINE_KIND: &str = "machine";

/// Tells a key that was copied badly from one that is of another repository.
fn machine_checksum(digits: &str) -> String {
    blake3::hash(digits.as_bytes()).to_hex()[..8].to_string()
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(hidden)")
    }
}

/// A number by which people recognise the repository key, without learning anything about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct KeyFingerprint(pub String);

/// Costs of Argon2id. Stored with each key record, so that later ones can be raised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Derivation {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for Derivation {
    /// RFC 9106's second recommended option: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, iterations: 3, parallelism: 4 }
    }
}

impl Derivation {
    /// Refuses parameters that would exhaust this machine: a hostile record must not stop a restore with a crash.
    fn check(&self) -> Result<()> {
        let sane = (8..=4 * 1024 * 1024).contains(&self.memory_kib)
            && (1..=64).contains(&self.iterations)
            && (1..=64).contains(&self.parallelism);
        sane.then_some(()).ok_or_else(|| Error::corrupt("key record", "key derivation parameters out of range"))
    }
}

/// The object `keys/<id>`: the repository key, wrapped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeyRecord {
    /// `passphrase` or `machine`; `recipient` is reserved.
    pub kind: String,
    /// What the record is for, in its owner's words.
    pub label: String,
    /// When it was made, RFC 3339.
    pub created_at: jiff::Timestamp,
    /// Argon2id costs; a machine's key has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argon2id: Option<Derivation>,
    /// Salt of Argon2id, or of HKDF for a machine's key, 16 bytes, hexadecimal.
    pub salt: String,
    /// The 32 bytes of the repository key and a tag of 16, AES-256-GCM, nonce zero (each wrapping key is used once).
    pub wrapped: String,
    /// A copy of `lifeboat.json`, which is needed to open this record: so that losing that file loses nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) root: Option<Root>,
}

/// All keys of an open repository.
pub struct Keys {
    master: Zeroizing<[u8; 32]>,
    chunk_id: [u8; 32],
    fingerprint: [u8; 32],
    object_root: Zeroizing<[u8; 32]>,
    repository: [u8; 16],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(hidden)")
    }
}

struct Length32;

impl hkdf::KeyType for Length32 {
    fn len(&self) -> usize {
        32
    }
}

pub(crate) fn derive(secret: &[u8], salt: &[u8], label: &[&[u8]]) -> Result<[u8; 32]> {
    let mut key = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(secret)
        .expand(label, Length32)
        .and_then(|okm| okm.fill(&mut key))
        .map_err(|_| Error::Internal("derive a key".into()))?;
    Ok(key)
}

/// `bytes` of randomness from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Internal("no randomness from the operating system".into()))?;
    Ok(bytes)
}

impl Keys {
    /// Keys of a new repository.
    pub fn generate(repository: [u8; 16]) -> Result<Self> {
        Self::from_master(Zeroizing::new(random()?), repository)
    }

    fn from_master(master: Zeroizing<[u8; 32]>, repository: [u8; 16]) -> Result<Self> {
        Ok(Self {
            chunk_id: derive(&master[..], &repository, &[b"lifeboat/1/chunk-id"])?,
            fingerprint: derive(&master[..], &repository, &[b"lifeboat/1/block-fingerprint"])?,
            object_root: Zeroizing::new(derive(&master[..], &repository, &[b"lifeboat/1/object"])?),
            master,
            repository,
        })
    }

    /// Wraps the repository key for `passphrase`. `costs` are not for a machine's key.
    pub fn wrap(&self, passphrase: &Passphrase, label: &str, costs: Derivation) -> Result<KeyRecord> {
        let salt: [u8; 16] = random()?;
        let costs = if passphrase.is_of_machine() { None } else { Some(costs) };
        let mut bytes = self.master.to_vec();
        wrapping_key(passphrase, &salt, costs)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key([0; 12]), self.wrap_aad(), &mut bytes)
            .map_err(|_| Error::Internal("wrap the repository key".into()))?;
        Ok(KeyRecord {
            kind: if costs.is_none() { MACHINE_KIND } else { PASSPHRASE_KIND }.into(),
            label: label.into(),
            created_at: jiff::Timestamp::now(),
            argon2id: costs,
            salt: hex::encode(salt),
            wrapped: hex::encode(bytes),
            root: None,
        })
    }

    /// Opens a record. `None` when this passphrase is not the one it was made for.
    pub fn unwrap(record: &KeyRecord, passphrase: &Passphrase, repository: [u8; 16]) -> Result<Option<Self>> {
        let wanted = if passphrase.is_of_machine() { MACHINE_KIND } else { PASSPHRASE_KIND };
        if record.kind != wanted {
            return Ok(None);
        }
        let damaged = |what: &str| Error::corrupt("key record", what);
        match &record.argon2id {
            Some(costs) => costs.check()?,
            None if record.kind == PASSPHRASE_KIND => return Err(damaged("it has no key derivation parameters")),
            None => {}
        }
        let salt = hex::decode(&record.salt).map_err(|_| damaged("salt is not hexadecimal"))?;
        let mut bytes = Zeroizing::new(hex::decode(&record.wrapped).map_err(|_| damaged("key is not hexadecimal"))?);
        if salt.len() != 16 || bytes.len() != 48 {
            return Err(damaged("wrong length of salt or key"));
        }
        let aad = wrap_aad_of(&repository);
        let opened = wrapping_key(passphrase, &salt, record.argon2id)?.open_in_place(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(aad),
            &mut bytes,
        );
        let Ok(plain) = opened else { return Ok(None) };
        let mut master = Zeroizing::new([0; 32]);
        master.copy_from_slice(&plain[..32]);
        Self::from_master(master, repository).map(Some)
    }

    fn wrap_aad(&self) -> Aad<Vec<u8>> {
        Aad::from(wrap_aad_of(&self.repository))
    }

    /// The number to write on the envelope with the passphrase.
    pub fn key_fingerprint(&self) -> Result<KeyFingerprint> {
        let bytes = derive(&self.master[..], &self.repository, &[b"lifeboat/1/key-fingerprint"])?;
        let groups: Vec<String> = bytes[..10].chunks(2).map(hex::encode).collect();
        Ok(KeyFingerprint(groups.join("-")))
    }

    /// The id of a chunk with this plaintext.
    pub fn chunk_id(&self, plaintext: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.chunk_id, plaintext).as_bytes())
    }

    /// Gives the id of a text that comes in parts.
    pub(crate) fn chunk_hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.chunk_id)
    }

    /// 64 bits that tell whether a block changed: keyed BLAKE3, first eight bytes, little-endian.
    ///
    /// A changed block goes unnoticed with a chance of 2^-64. The key keeps a user of the database from making two
    /// blocks that look alike.
    pub fn block_fingerprint(&self, block: &[u8]) -> u64 {
        let hash = blake3::keyed_hash(&self.fingerprint, block);
        let mut first = [0; 8];
        first.copy_from_slice(&hash.as_bytes()[..8]);
        u64::from_le_bytes(first)
    }

    /// What signs the evidence is made from this, and nothing else is.
    pub(crate) fn signing_seed(&self) -> Result<Zeroizing<[u8; 32]>> {
        derive(&self.master[..], &self.repository, &[b"lifeboat/1/ledger-signature"]).map(Zeroizing::new)
    }

    /// What the keys of a spool's files come from.
    pub(crate) fn spool_keys(&self) -> Result<SpoolKeys> {
        Ok(SpoolKeys::new(derive(&self.master[..], &self.repository, &[b"lifeboat/1/spool"])?, self.repository))
    }

    /// The AEAD key of one object, from the salt in its header and its kind.
    pub fn object_key(&self, salt: &[u8], kind: u8) -> Result<LessSafeKey> {
        let key = Zeroizing::new(derive(&self.object_root[..], salt, &[b"lifeboat/1/object/", &[kind]])?);
        aead_key(&key)
    }
}

fn wrap_aad_of(repository: &[u8; 16]) -> Vec<u8> {
    [b"lifeboat/1/repository-key/".as_slice(), repository].concat()
}

pub(crate) fn aead_key(key: &[u8; 32]) -> Result<LessSafeKey> {
    let unbound = UnboundKey::new(&AES_256_GCM, key).map_err(|_| Error::Internal("make an AES-256-GCM key".into()))?;
    Ok(LessSafeKey::new(unbound))
}

/// The key that wraps: from a machine's key by HKDF, from a passphrase by Argon2id with `costs`.
fn wrapping_key(passphrase: &Passphrase, salt: &[u8], costs: Option<Derivation>) -> Result<LessSafeKey> {
    if let Some(secret) = passphrase.machine_secret() {
        return aead_key(&Zeroizing::new(derive(&secret[..], salt, &[b"lifeboat/1/machine-key"])?));
    }
    let internal = |error: argon2::Error| Error::Internal(format!("derive a key from the passphrase: {error}"));
    let Derivation { memory_kib, iterations, parallelism } = costs.unwrap_or_default();
    let params = argon2::Params::new(memory_kib, iterations, parallelism, Some(32)).map_err(internal)?;
    let mut key = Zeroizing::new([0; 32]);
    argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, &mut key[..])
        .map_err(internal)?;
    aead_key(&key)
}

impl KeyRecord {
    /// Whether a person can open with it, who has nothing but what is written on paper.
    pub fn is_for_people(&self) -> bool {
        self.kind == PASSPHRASE_KIND
    }
}
