//! Logs: files that a workload hands over one by one and that are never changed, such as WAL segments.
//!
//! A file is stored as `wal/<workload>/<group>/<name>-<content id>`. The id of the content (128 bits of its chunk id) is
//! part of the name, so that nothing can overwrite anything, whatever the store honours: the same content again is a
//! success, other content under the same name is a conflict and is refused loudly.
//!
//! Not here: what the names mean.

use crate::container::{Builder, Container, ContainerKind};
use crate::error::{Error, Result};
use crate::open::{Replica, Repository, describe};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lifeboat_location::ErrorKind;
use std::collections::BTreeMap;
use std::time::Duration;

/// Largest file of a log: a WAL segment of 1 GiB.
pub const LOG_BYTES_MAX: usize = 1 << 30;
/// Once one location has the file, the others get this long.
const PATIENCE: Duration = Duration::from_secs(20);
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

fn prefix_of(workload: &str, group: &str) -> String {
    format!("wal/{workload}/{group}")
}

impl Repository {
    /// Stores a file. `annex` is what readers may want to know without reading the file.
    ///
    /// Succeeds when at least one location has it durably. A conflict in any location is an error, and nothing that
    /// was there before has changed.
    pub async fn put_log(&self, workload: &str, group: &str, name: &str, bytes: &[u8], annex: &[u8]) -> Result<LogPut> {
        if bytes.len() > LOG_BYTES_MAX {
            return Err(Error::Internal(format!("a log file of {} bytes", bytes.len())));
        }
        let content_id = self.content_id(bytes);
        let sealed = Builder::document(&self.keys, ContainerKind::Log, self.level, bytes, annex)?;
        let prefix = format!("{}/{name}-", prefix_of(workload, group));
        let put = |replica: Replica| {
            let (prefix, content_id, bytes) = (prefix.clone(), content_id.clone(), sealed.bytes.clone());
            async move {
                let result = put_one(&replica, &prefix, &content_id, bytes).await;
                (replica.name, result)
            }
        };
        let mut pending: FuturesUnordered<_> = self.replicas.iter().cloned().map(put).collect();
        let mut outcome = LogPut { created: false, failures: self.unavailable.clone(), stored_in: Vec::new() };
        let mut temporary = !self.unavailable.is_empty();
        loop {
            let next = if outcome.stored_in.is_empty() {
                pending.next().await
            } else {
                match tokio::time::timeout(PATIENCE, pending.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            match next {
                None => break,
                Some((name, Ok(created))) => {
                    outcome.created |= created;
                    outcome.stored_in.push(name);
                }
                Some((_, Err(error @ Error::Conflict { .. }))) => return Err(error),
                Some((name, Err(error))) => {
                    temporary |= is_temporary(&error);
                    outcome.failures.push((name, describe(&error)));
                }
            }
        }
        drop(pending);
        let answered =
            |name: &String| outcome.stored_in.contains(name) || outcome.failures.iter().any(|(n, _)| n == name);
        let silent: Vec<String> = self.replicas.iter().map(|r| r.name.clone()).filter(|name| !answered(name)).collect();
        outcome.failures.extend(silent.into_iter().map(|name| (name, format!("no answer within {PATIENCE:?}"))));
        if outcome.stored_in.is_empty() {
            let reasons = outcome.failures.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
            return Err(Error::AllLocationsFailed { reasons, temporary });
        }
        Ok(outcome)
    }

    /// The id under which this content is stored.
    pub fn content_id(&self, bytes: &[u8]) -> String {
        self.keys.chunk_id(bytes).to_string()[..CONTENT_ID_DIGITS].to_string()
    }

    /// Every file of a workload's log whose `<group>/<name>` begins with `prefix`, in order, from all locations that
    /// answer. An error only when none does. The same name with two contents gives two entries.
    pub async fn list_logs(&self, workload: &str, prefix: &str) -> Result<Vec<LogEntry>> {
        let root = format!("wal/{workload}/");
        let listings = self
            .replicas
            .iter()
            .map(|replica| async { (replica.name.clone(), replica.location.list(&format!("{root}{prefix}")).await) });
        let mut found: BTreeMap<String, LogEntry> = BTreeMap::new();
        let (mut answered, mut failure) = (false, None);
        for (name, listing) in futures::future::join_all(listings).await {
            match listing {
                Ok(entries) => {
                    answered = true;
                    for entry in entries {
                        let Some(parsed) = entry.key.strip_prefix(&root).and_then(|rest| parse_key(rest, entry.size))
                        else {
                            continue;
                        };
                        found.entry(entry.key).or_insert(parsed).locations.push(name.clone());
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !answered => Err(error.into()),
            _ => Ok(found.into_values().collect()),
        }
    }

    /// Reads a file back, from the first location that has it whole.
    pub async fn get_log(&self, workload: &str, entry: &LogEntry, notes: &mut Vec<String>) -> Result<LogObject> {
        let key = format!("{}/{}-{}", prefix_of(workload, &entry.group), entry.name, entry.content_id);
        let mut failure: Option<Error> = None;
        for replica in self.replicas.iter().filter(|replica| entry.locations.contains(&replica.name)) {
            match self.get_one(replica, &key, &entry.content_id).await {
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
        let bytes = container.contents(&self.keys, object, stored, LOG_BYTES_MAX)?;
        if self.content_id(&bytes) != content_id {
            return Err(Error::corrupt(object, "holds other content than its name says"));
        }
        Ok(LogObject { bytes, annex: container.annex(&self.keys, object, stored)? })
    }
}

/// True when the object is new here.
async fn put_one(replica: &Replica, prefix: &str, content_id: &str, bytes: bytes::Bytes) -> Result<bool> {
    let key = format!("{prefix}{content_id}");
    let mut present = false;
    for entry in replica.location.list(prefix).await? {
        if entry.key != key {
            return Err(Error::Conflict {
                name: format!("{}/{}", replica.location.address(), prefix.trim_end_matches('-')),
            });
        }
        // An object that was cut short by a crashed store is not the object.
        present = entry.size >= bytes.len() as u64 / 2;
    }
    if present {
        return Ok(false);
    }
    replica.location.put_new(&key, bytes).await?;
    Ok(true)
}

fn is_temporary(error: &Error) -> bool {
    matches!(error, Error::Location(error) if matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::ClockSkew))
}

/// `<group>/<name>-<content id>`.
fn parse_key(rest: &str, stored_bytes: u64) -> Option<LogEntry> {
    let (group, file) = rest.rsplit_once('/')?;
    let (name, content_id) = file.rsplit_once('-')?;
    let is_id = content_id.len() == CONTENT_ID_DIGITS && content_id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| LogEntry {
        group: group.into(),
        name: name.into(),
        content_id: content_id.into(),
        stored_bytes,
        locations: Vec::new(),
    })
}
