//! Logs: files that a workload hands over one by one and that are never changed, such as WAL segments.
//!
//! A file is stored as `wal/<workload>/<group>/<name>-<content id>`. The id of the content (128 bits of its chunk id) is
//! part of the name, so that nothing can overwrite anything, whatever the store honours: the same content again is a
//! success, other content under the same name is a conflict and is refused loudly.
//!
//! Not here: what the names mean.

use crate::chunk::{CHUNK_BYTES_MAX, ChunkId};
use crate::container::{Builder, CONTAINER_BYTES_MIN, Container, ContainerKind, Packer, Sealed, Shape};
use crate::error::{Error, Result};
use crate::open::{Replica, Repository, describe};
use crate::patience::{answer_within, ask_all};
use lifeboat_location::{ErrorKind, PutOutcome};
use std::collections::BTreeMap;

/// Largest file of a log: a WAL segment of 1 GiB.
pub const LOG_BYTES_MAX: usize = 1 << 30;
const CONTENT_ID_DIGITS: usize = 32;

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPut {
    /// False when every location that answered had it already.
    pub created: bool,
    /// Locations that don't have it now, and why. Never all of them.
    pub failures: Vec<(String, String)>,
    /// Locations that have it now, durably.
    pub stored_in: Vec<String>,
}

/// A file of a log as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The group it was stored in.
    pub group: String,
    /// Its name.
    pub name: String,
    /// Id of its content, 32 hexadecimal digits.
    pub content_id: String,
    /// Stored size in bytes.
    pub stored_bytes: u64,
    /// Locations that list it.
    pub locations: Vec<String>,
}

/// A file of a log, read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogObject {
    /// Its content.
    pub bytes: Vec<u8>,
    /// What was stored beside it.
    pub annex: Vec<u8>,
}

impl LogEntry {
    /// The key under which it is stored.
    pub fn key(&self, workload: &str) -> String {
        format!("{}/{}-{}", prefix_of(workload, &self.group), self.name, self.content_id)
    }

    /// Whether a file of this size can't be what was stored.
    pub fn is_too_short(&self) -> bool {
        self.stored_bytes < CONTAINER_BYTES_MIN
    }
}

pub(crate) fn prefix_of(workload: &str, group: &str) -> String {
    format!("wal/{workload}/{group}")
}

impl Repository {
    /// Stores a file. `annex` is what readers may want to know without reading the file.
    ///
    /// Succeeds when at least one location has it durably. A conflict in any location is an error, and nothing that
    /// was there before has changed.
    pub async fn put_log(&self, workload: &str, group: &str, name: &str, bytes: &[u8], annex: &[u8]) -> Result<LogPut> {
        self.put_sealed_log(workload, group, name, self.seal_log(bytes, annex)?).await
    }

    /// The same with a file that came part by part.
    pub async fn put_sealed_log(&self, workload: &str, group: &str, name: &str, log: SealedLog) -> Result<LogPut> {
        let SealedLog { content_id, sealed } = log;
        let target = &Target { prefix: format!("{}/{name}-", prefix_of(workload, group)), content_id };
        let look = async |replica: Replica| target.look(&replica).await;
        let looks = ask_all(&self.replicas, self.limits.patience, look).await;
        let mut outcome = LogPut { created: false, failures: self.unavailable.clone(), stored_in: Vec::new() };
        let mut temporary = !self.unavailable.is_empty();
        let mut missing = Vec::new();
        // Every location is asked before any is written to: a conflict must not spread.
        for (replica, look) in self.replicas.iter().zip(looks) {
            match look {
                Ok(present) => missing.push((replica.clone(), present)),
                Err(error @ Error::Conflict { .. }) => return Err(error),
                Err(error) => {
                    temporary |= is_temporary(&error);
                    outcome.failures.push((replica.name.clone(), describe(&error)));
                }
            }
        }
        let replicas: Vec<Replica> = missing.iter().map(|(replica, _)| replica.clone()).collect();
        let present = |name: &String| missing.iter().any(|(replica, present)| *present && &replica.name == name);
        let put = async |replica: Replica| match present(&replica.name) {
            true => self.compare(&replica, target).await.map(|()| false),
            false => self.create(&replica, target, sealed.bytes.clone()).await,
        };
        let patience = self.limits.time_for(sealed.bytes.len() as u64);
        for (replica, put) in replicas.iter().zip(ask_all(&replicas, patience, put).await) {
            match put {
                Ok(created) => {
                    outcome.created |= created;
                    outcome.stored_in.push(replica.name.clone());
                }
                Err(error @ Error::Conflict { .. }) => return Err(error),
                Err(error) => {
                    temporary |= is_temporary(&error);
                    outcome.failures.push((replica.name.clone(), describe(&error)));
                }
            }
        }
        if outcome.stored_in.is_empty() {
            let reasons = outcome.failures.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
            return Err(Error::AllLocationsFailed { reasons, temporary });
        }
        Ok(outcome)
    }

    /// True when the object is new here. A second look finds who stored other content at the same moment.
    async fn create(&self, replica: &Replica, target: &Target, bytes: bytes::Bytes) -> Result<bool> {
        match replica.location.put_new(&target.key(), bytes).await? {
            PutOutcome::Created => target.look(replica).await.map(|_| true),
            PutOutcome::AlreadyExists => self.compare(replica, target).await.map(|()| false),
        }
    }

    /// An object under this name counts only when it can be read: one that was cut short would be the end of the log.
    pub(crate) async fn compare(&self, replica: &Replica, target: &Target) -> Result<()> {
        self.get_one(replica, &target.key(), &target.content_id).await.map(|_| ())
    }

    /// The id under which this content is stored.
    pub fn content_id(&self, bytes: &[u8]) -> String {
        content_id_of(self.keys.chunk_id(bytes))
    }

    /// For a file of about so many bytes that comes part by part.
    pub fn log_sealer(&self, bytes_expected: usize) -> Result<LogSealer> {
        Ok(LogSealer {
            builder: Builder::new(&self.keys, ContainerKind::Log, bytes_expected / 4 + 1024)?,
            packer: Packer::of_log(self.level)?,
            whole: self.keys.chunk_hasher(),
            bytes: 0,
        })
    }

    pub(crate) fn seal_log(&self, bytes: &[u8], annex: &[u8]) -> Result<SealedLog> {
        let mut sealer = self.log_sealer(bytes.len())?;
        bytes.chunks(CHUNK_BYTES_MAX).try_for_each(|part| sealer.push(part))?;
        sealer.finish(annex)
    }

    /// Every file of a workload's log whose `<group>/<name>` begins with `prefix`, in order, from all locations that
    /// answer. An error only when none does. The same name with two contents gives two entries.
    pub async fn list_logs(&self, workload: &str, prefix: &str) -> Result<Vec<LogEntry>> {
        let root = format!("wal/{workload}/");
        let list = async |replica: Replica| Ok(replica.location.list(&format!("{root}{prefix}")).await?);
        let listings = ask_all(&self.replicas, self.limits.listing(), list).await;
        let mut found: BTreeMap<String, LogEntry> = BTreeMap::new();
        let (mut answered, mut failure) = (false, None);
        for (replica, listing) in self.replicas.iter().zip(listings) {
            match listing {
                Ok(entries) => {
                    answered = true;
                    for entry in entries {
                        let Some(parsed) = entry.key.strip_prefix(&root).and_then(|rest| parse_key(rest, entry.size))
                        else {
                            continue;
                        };
                        found.entry(entry.key).or_insert(parsed).locations.push(replica.name.clone());
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error),
            _ => Ok(found.into_values().collect()),
        }
    }

    /// Reads a file back, from the first location that has it whole.
    pub async fn get_log(&self, workload: &str, entry: &LogEntry, notes: &mut Vec<String>) -> Result<LogObject> {
        let key = entry.key(workload);
        let mut failure: Option<Error> = None;
        let holders: Vec<&Replica> =
            self.replicas.iter().filter(|replica| entry.locations.contains(&replica.name)).collect();
        for (number, replica) in holders.iter().enumerate() {
            let read = self.get_one(replica, &key, &entry.content_id);
            // The last one gets all the time it needs: better late than never.
            let object = match number + 1 < holders.len() {
                true => answer_within(replica, self.limits.time_for(entry.stored_bytes), read).await,
                false => read.await,
            };
            match object {
                Ok(object) => return Ok(object),
                Err(error) => {
                    notes.push(describe(&error));
                    if failure.as_ref().is_none_or(|known| !known.is_loss()) {
                        failure = Some(error);
                    }
                }
            }
        }
        Err(failure.unwrap_or(Error::NotFound { what: format!("{} in a reachable location", entry.name) }))
    }

    async fn get_one(&self, replica: &Replica, key: &str, content_id: &str) -> Result<LogObject> {
        let stored = replica.location.get(key).await?;
        let object = format!("{}/{key}", replica.location.address());
        self.open_log(&object, content_id, &stored)
    }

    /// Opens a stored log file and checks its content against the id in its name.
    pub(crate) fn open_log(&self, object: &str, content_id: &str, stored: &[u8]) -> Result<LogObject> {
        let container = Container::open(&self.keys, object, ContainerKind::Log, stored)?;
        let bytes = container.contents_to_check(&self.keys, object, stored, LOG_BYTES_MAX)?;
        if self.content_id(&bytes) != content_id {
            return Err(Error::corrupt(object, "holds other content than its name says"));
        }
        Ok(LogObject { bytes, annex: container.annex(&self.keys, object, stored)? })
    }
}

/// Seals a file in one pass: each part is hashed and compressed while the processor has it near. Parts get no id of their
/// own, because whoever reads the file checks the whole.
pub struct LogSealer {
    builder: Builder,
    packer: Packer,
    whole: blake3::Hasher,
    bytes: usize,
}

/// A file of a log, ready to be stored.
#[derive(Debug)]
pub struct SealedLog {
    pub(crate) content_id: String,
    pub(crate) sealed: Sealed,
}

impl LogSealer {
    /// The next part: [`CHUNK_BYTES_MAX`] bytes, fewer only at the end.
    ///
    /// # Errors
    /// When a short part isn't the last one, and when the file gets longer than [`LOG_BYTES_MAX`].
    pub fn push(&mut self, part: &[u8]) -> Result<()> {
        if !self.bytes.is_multiple_of(CHUNK_BYTES_MAX) || self.bytes + part.len() > LOG_BYTES_MAX {
            return Err(Error::Internal(format!("{} bytes of a log file after {}", part.len(), self.bytes)));
        }
        self.bytes += part.len();
        self.whole.update(part);
        self.builder.push(&mut self.packer, ChunkId::NONE, part, Shape::Bytes)
    }

    /// All parts came.
    pub fn finish(self, annex: &[u8]) -> Result<SealedLog> {
        let content_id = content_id_of(ChunkId(*self.whole.finalize().as_bytes()));
        Ok(SealedLog { content_id, sealed: self.builder.finish(annex)? })
    }
}

/// A file on its way, by the names it may have.
pub(crate) struct Target {
    /// Everything before the id of its content.
    pub prefix: String,
    pub content_id: String,
}

impl Target {
    pub fn key(&self) -> String {
        format!("{}{}", self.prefix, self.content_id)
    }

    /// Whether the object is there already. Other content under the name is a conflict.
    async fn look(&self, replica: &Replica) -> Result<bool> {
        let mut present = false;
        for entry in replica.location.list(&self.prefix).await? {
            match entry.key.strip_prefix(&self.prefix) {
                Some(id) if id == self.content_id => present = true,
                Some(id) if is_content_id(id) => {
                    let name = self.prefix.trim_end_matches('-');
                    return Err(Error::Conflict { name: format!("{}/{name}", replica.location.address()) });
                }
                // A longer name that begins the same.
                _ => {}
            }
        }
        Ok(present)
    }
}

fn content_id_of(id: ChunkId) -> String {
    id.to_string()[..CONTENT_ID_DIGITS].to_string()
}

fn is_content_id(text: &str) -> bool {
    text.len() == CONTENT_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_temporary(error: &Error) -> bool {
    matches!(error, Error::Location(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::ClockSkew))
}

/// `<group>/<name>-<content id>`.
pub(crate) fn parse_key(rest: &str, stored_bytes: u64) -> Option<LogEntry> {
    let (group, file) = rest.rsplit_once('/')?;
    let (name, content_id) = file.rsplit_once('-')?;
    is_content_id(content_id).then(|| LogEntry {
        group: group.into(),
        name: name.into(),
        content_id: content_id.into(),
        stored_bytes,
        locations: Vec::new(),
    })
}
