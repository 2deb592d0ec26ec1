//! Creating and opening a repository in one or more locations.
//!
//! All locations of one repository share its id and its key, so that every object is the same everywhere: bytes are
//! sealed once and fan out. Opening needs one reachable location; the others are noted as unavailable, with the reason. One whose key
//! records are damaged or lost is used with the key that another one gave.

use crate::container::{Builder, Container, ContainerKind};
use crate::error::{Error, Result};
use crate::key::{Derivation, KeyFingerprint, KeyRecord, Keys, Passphrase, random};
use crate::patience::{Limits, ask_all};
use crate::root::{ROOT_KEY, Root, find_root, read_root, root_in_keys, same_repository, write_root};
use crate::spool_key::SpoolKeys;
use bytes::Bytes;
use lifeboat_location::Location;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use zeroize::Zeroizing;

/// Bounds what is read of small foreign objects.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The number that tells one repository from another: 16 random bytes, hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RepositoryId(pub String);

impl fmt::Display for RepositoryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RepositoryId {
    pub(crate) fn bytes(&self) -> Result<[u8; 16]> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(&self.0, &mut bytes)
            .map_err(|_| Error::corrupt(ROOT_KEY, "the repository's id is not 32 hexadecimal digits"))?;
        Ok(bytes)
    }
}

/// Checks a key record against its name: the first 16 digits of the hash of its bytes.
pub(crate) fn check_key_record(key: &str, bytes: &[u8]) -> Result<()> {
    let same = key.strip_prefix("keys/") == Some(&key_name(bytes));
    same.then_some(()).ok_or_else(|| Error::corrupt(key, "its name is not the hash of its bytes"))
}

pub(crate) fn key_name(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..16].to_string()
}

/// Reads a key record. What it holds is checked when it is used.
pub fn parse_key_record(object: &str, bytes: &[u8]) -> Result<KeyRecord> {
    serde_json::from_slice(bytes).map_err(|error| Error::corrupt(object, error.to_string()))
}

/// A location by the name that the configuration gives it.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Name in the configuration.
    pub name: String,
    /// The place.
    pub location: Arc<dyn Location>,
}

/// What [`Repository::init`] did in one location.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum InitOutcome {
    /// The repository is new here.
    Created,
    /// It was here already and opens with this passphrase.
    Present,
}

/// An open repository.
#[derive(Debug)]
pub struct Repository {
    pub(crate) id: RepositoryId,
    pub(crate) keys: Arc<Keys>,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) unavailable: Vec<(String, String)>,
    /// Those of them that answered, and hold what can't be used.
    pub(crate) spoiled: Vec<String>,
    pub(crate) rootless: Vec<(String, String)>,
    pub(crate) keyless: Vec<(String, String)>,
    pub(crate) level: i32,
    pub(crate) limits: Limits,
    /// Fragments of the index that this process rewrote, by the hash of their text.
    pub(crate) fragments_made: FragmentsMade,
}

/// Name and bytes of rewritten fragments.
pub(crate) type FragmentsMade = Arc<Mutex<HashMap<[u8; 32], (String, Bytes)>>>;

async fn read_keys(replica: &Replica, root: &Root, passphrase: &Passphrase) -> Result<Keys> {
    let records = replica.location.list("keys/").await?;
    if records.is_empty() {
        return Err(Error::corrupt(format!("{}/keys", replica.location.address()), "no key is stored here"));
    }
    let mut damage = None;
    for entry in &records {
        let opened = match open_key(replica, &entry.key, root, passphrase).await {
            Err(error @ Error::Location(_)) => return Err(error),
            opened => opened,
        };
        match opened {
            Ok(Some(keys)) => return Ok(keys),
            Ok(None) => {}
            Err(error) => damage = Some(error),
        }
    }
    Err(damage.unwrap_or(Error::WrongPassphrase { address: replica.location.address() }))
}

pub(crate) async fn open_key(
    replica: &Replica,
    key: &str,
    root: &Root,
    passphrase: &Passphrase,
) -> Result<Option<Keys>> {
    let bytes = replica.location.get(key).await?;
    let object = format!("{}/{key}", replica.location.address());
    check_key_record(key, &bytes).map_err(|_| Error::corrupt(&object, "changed since it was written"))?;
    let record = parse_key_record(&object, &bytes)?;
    let (passphrase, repository) = (passphrase.clone(), root.repository.bytes()?);
    // Argon2id takes a tenth of a second and 64 MiB: not on an I/O thread.
    tokio::task::spawn_blocking(move || Keys::unwrap(&record, &passphrase, repository))
        .await
        .map_err(|error| Error::Internal(error.to_string()))?
}

impl Repository {
    /// Creates the repository where it doesn't exist yet. A location that holds it already is left as it is; one that
    /// holds another repository is refused before anything is written.
    pub async fn init(
        replicas: &[Replica],
        passphrase: &Passphrase,
    ) -> Result<(RepositoryId, KeyFingerprint, Vec<(String, InitOutcome)>)> {
        let mut present: Option<(usize, Root)> = None;
        let mut missing = Vec::new();
        for (number, replica) in replicas.iter().enumerate() {
            match read_root(replica).await {
                Ok(root) => match &present {
                    Some((other, first)) => same_repository(replica, &root, &replicas[*other], first)?,
                    None => present = Some((number, root)),
                },
                Err(Error::NotARepository { .. }) => missing.push(number),
                Err(error @ Error::RootLost { .. }) => {
                    let root = root_in_keys(replica).await?;
                    match (&root, &present) {
                        (Some(root), Some((other, first))) => same_repository(replica, root, &replicas[*other], first)?,
                        (None, None) => return Err(error),
                        _ => {}
                    }
                    if let Some(root) = root.filter(|_| present.is_none()) {
                        present = Some((number, root));
                    }
                    missing.push(number);
                }
                Err(error) => return Err(error),
            }
        }
        let (root, keys, records) = match present {
            Some((number, root)) => {
                let keys = read_keys(&replicas[number], &root, passphrase).await?;
                let records = copy_of_keys(&replicas[number]).await?;
                (root, keys, records)
            }
            None => new_repository(passphrase)?,
        };
        for &number in &missing {
            write_root(&replicas[number], &root, &records).await?;
        }
        let outcome =
            |number: usize| if missing.contains(&number) { InitOutcome::Created } else { InitOutcome::Present };
        let outcomes = replicas.iter().enumerate().map(|(n, replica)| (replica.name.clone(), outcome(n))).collect();
        Ok((root.repository, keys.key_fingerprint()?, outcomes))
    }

    /// Opens the repository with what is reachable. `level` is the zstd level for new data (1 to 19).
    pub async fn open(replicas: Vec<Replica>, passphrase: &Passphrase, level: i32) -> Result<Self> {
        Self::open_with(replicas, passphrase, level, Limits::default()).await
    }

    /// The same with other limits on what one location may cost the others.
    pub async fn open_with(
        replicas: Vec<Replica>,
        passphrase: &Passphrase,
        level: i32,
        limits: Limits,
    ) -> Result<Self> {
        let roots = ask_all(&replicas, limits.patience, async |replica: Replica| find_root(&replica).await).await;
        let mut opened: Option<(Root, Keys, Replica)> = None;
        let (mut usable, mut unavailable, mut first_error) = (Vec::new(), Vec::new(), None);
        let (mut rootless, mut spoiled, mut keyless) = (Vec::new(), Vec::new(), Vec::new());
        for (replica, root) in replicas.into_iter().zip(roots) {
            let mut without_key = None;
            let attempt = async {
                let (root, damage) = root?;
                rootless.extend(damage.map(|damage| (replica.name.clone(), describe(&damage))));
                match &opened {
                    Some((first, _, other)) => same_repository(&replica, &root, other, first).map(|()| None),
                    None => match read_keys(&replica, &root, passphrase).await {
                        Err(error @ Error::Corrupt { .. }) => {
                            without_key = Some(root);
                            Err(error)
                        }
                        keys => keys.map(|keys| Some((root, keys))),
                    },
                }
            };
            match attempt.await {
                Ok(new) => {
                    if let Some((root, keys)) = new {
                        opened = Some((root, keys, replica.clone()));
                    }
                    usable.push(replica);
                }
                Err(error @ (Error::OtherRepository { .. } | Error::WrongPassphrase { .. })) => return Err(error),
                Err(error) if without_key.is_some() => {
                    keyless.extend(without_key.map(|root| (usable.len(), root, describe(&error))));
                    usable.push(replica);
                    first_error.get_or_insert(error);
                }
                Err(error) => {
                    let is_damage = matches!(error, Error::Corrupt { .. } | Error::RootLost { .. });
                    spoiled.extend(is_damage.then(|| replica.name.clone()));
                    unavailable.push((replica.name.clone(), describe(&error)));
                    first_error.get_or_insert(error);
                }
            }
        }
        match opened {
            Some((root, keys, other)) => {
                let mut noted = Vec::new();
                for (number, its_root, why) in keyless {
                    same_repository(&usable[number], &its_root, &other, &root)?;
                    noted.push((usable[number].name.clone(), why));
                }
                let (id, keys, keyless) = (root.repository, Arc::new(keys), noted);
                let fragments_made = FragmentsMade::default();
                let replicas = usable;
                Ok(Self { id, keys, replicas, unavailable, spoiled, rootless, keyless, level, limits, fragments_made })
            }
            None => Err(first_error.unwrap_or(Error::NotFound { what: "a location".into() })),
        }
    }

    /// The repository's id.
    pub fn id(&self) -> &RepositoryId {
        &self.id
    }

    /// Locations that answered, in the order of the configuration.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Locations that didn't, with the reason.
    pub fn unavailable(&self) -> &[(String, String)] {
        &self.unavailable
    }

    /// Locations whose `lifeboat.json` is lost or damaged, with what is wrong: the key records say what stood there, so they can be
    /// used. [`Self::put_back`] writes it again.
    pub fn rootless(&self) -> &[(String, String)] {
        &self.rootless
    }

    /// Locations whose key records are damaged or lost, with what is wrong: another location opened, and it is the same repository.
    /// [`Self::put_back`] writes a damaged one again, a copy brings a lost one.
    pub fn keyless(&self) -> &[(String, String)] {
        &self.keyless
    }

    /// The number by which people recognise the key.
    pub fn key_fingerprint(&self) -> Result<KeyFingerprint> {
        self.keys.key_fingerprint()
    }

    /// 64 bits that tell whether a block changed since it was stored.
    pub fn block_fingerprint(&self, block: &[u8]) -> u64 {
        self.keys.block_fingerprint(block)
    }

    /// 32 secret bytes from which the key that signs the ledger's entries is made. The same for everybody who can open the repository.
    pub fn signing_seed(&self) -> Result<Zeroizing<[u8; 32]>> {
        self.keys.signing_seed()
    }

    /// The keys for what waits on a machine's own disk until a location has it.
    pub fn spool_keys(&self) -> Result<SpoolKeys> {
        self.keys.spool_keys()
    }

    /// The same repository seen through one location only.
    pub fn only(&self, name: &str) -> Result<Self> {
        let replicas: Vec<Replica> = self.replicas.iter().filter(|replica| replica.name == name).cloned().collect();
        if replicas.is_empty() {
            let reason = self.unavailable.iter().find(|(other, _)| other == name).map(|(_, reason)| reason.clone());
            return Err(Error::NotFound { what: reason.unwrap_or_else(|| format!("location {name}")) });
        }
        Ok(self.among(replicas))
    }

    /// The same repository seen through these locations.
    pub(crate) fn among(&self, replicas: Vec<Replica>) -> Self {
        let (id, keys) = (self.id.clone(), self.keys.clone());
        let fragments_made = self.fragments_made.clone();
        let is_here = |(name, _): &&(String, String)| replicas.iter().any(|replica| replica.name == *name);
        let (unavailable, rootless) = (Vec::new(), self.rootless.iter().filter(is_here).cloned().collect());
        let keyless = self.keyless.iter().filter(is_here).cloned().collect();
        let (spoiled, level, limits) = (Vec::new(), self.level, self.limits);
        Self { id, keys, replicas, unavailable, spoiled, rootless, keyless, level, limits, fragments_made }
    }

    /// The same repository with those of `others` that answer by now and hold it, in the order of `order`: for who runs on while
    /// locations come back. Asks nothing of those that it has.
    pub async fn joined_by(&self, others: Vec<Replica>, order: &[String]) -> Self {
        let is_new = |replica: &Replica| !self.replicas.iter().any(|known| known.name == replica.name);
        let others: Vec<Replica> = others.into_iter().filter(is_new).collect();
        let roots = ask_all(&others, self.limits.patience, async |replica: Replica| find_root(&replica).await).await;
        let found = others.into_iter().zip(roots);
        let mine = found.filter(|(_, root)| root.as_ref().is_ok_and(|(root, _)| root.repository == self.id));
        let mut replicas = self.replicas.clone();
        replicas.extend(mine.map(|(replica, _)| replica));
        replicas.sort_by_key(|replica| order.iter().position(|name| *name == replica.name));
        let is_away = |(name, _): &&(String, String)| !replicas.iter().any(|replica| replica.name == *name);
        let unavailable = self.unavailable.iter().filter(is_away).cloned().collect();
        let spoiled = self.spoiled.iter().filter(|name| !replicas.iter().any(|replica| replica.name == **name));
        Self { unavailable, spoiled: spoiled.cloned().collect(), ..self.among(replicas) }
    }

    /// The same repository without some of its locations, which are noted as left alone. With all of them when nothing
    /// would be left.
    pub fn without(&self, names: &[String]) -> Self {
        let left: Vec<Replica> =
            self.replicas.iter().filter(|replica| !names.contains(&replica.name)).cloned().collect();
        let replicas = if left.is_empty() { self.replicas.clone() } else { left };
        let alone = self.replicas.iter().filter(|replica| !replicas.iter().any(|used| used.name == replica.name));
        let reason = "left alone after a failure";
        let mut unavailable = self.unavailable.clone();
        unavailable.extend(alone.map(|replica| (replica.name.clone(), reason.to_owned())));
        Self { unavailable, spoiled: self.spoiled.clone(), ..self.among(replicas) }
    }

    /// Seals a JSON document.
    pub(crate) fn seal<T: Serialize>(&self, kind: ContainerKind, value: &T) -> Result<Bytes> {
        let json = serde_json::to_vec(value).map_err(|error| Error::Internal(error.to_string()))?;
        Ok(Builder::document(&self.keys, kind, self.level.max(3), &json, &[])?.bytes)
    }

    /// Opens a sealed document.
    pub(crate) fn unseal(&self, kind: ContainerKind, object: &str, bytes: &[u8]) -> Result<Vec<u8>> {
        Container::open(&self.keys, object, kind, bytes)?.contents(&self.keys, object, bytes, DOCUMENT_BYTES_MAX)
    }
}

/// An error with its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// Key records by their names.
type KeyObjects = Vec<(String, Bytes)>;

fn new_repository(passphrase: &Passphrase) -> Result<(Root, Keys, KeyObjects)> {
    let id: [u8; 16] = random()?;
    let keys = Keys::generate(id)?;
    let mut record = keys.wrap(passphrase, "init", Derivation::default())?;
    let root = Root::new(RepositoryId(hex::encode(id)));
    record.root = Some(root.clone());
    let json = serde_json::to_vec_pretty(&record).map_err(|error| Error::Internal(error.to_string()))?;
    Ok((root, keys, vec![(format!("keys/{}", key_name(&json)), json.into())]))
}

pub(crate) async fn copy_of_keys(replica: &Replica) -> Result<Vec<(String, Bytes)>> {
    let mut records = Vec::new();
    for entry in replica.location.list("keys/").await? {
        let bytes = replica.location.get(&entry.key).await?;
        records.push((entry.key, bytes));
    }
    Ok(records)
}
