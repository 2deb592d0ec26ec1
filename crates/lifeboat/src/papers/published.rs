//! The runbook in the locations: `plan/HASH.md`, `.html`, `.pdf`, and an index that says of what they are.
//!
//! Promise: plain, so that it is read with nothing of ours; written once, under the hash of its content; nothing is overwritten. The index
//! comes last: what it names is there.

use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{removable, rooms};
use bytes::Bytes;
use jiff::Timestamp;
use lifeboat_location::{ErrorKind, Location, PutOutcome};
use serde_json::{Value, json};
use std::path::Path;

/// Where indexes are.
const INDEX: &str = "plan/index-";
/// Of a hash in a name: 128 bits.
const NAME_DIGITS: usize = 32;
/// Of one that has a time before it.
const INDEX_DIGITS: usize = 16;

/// What became of one location.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The runbook of the configuration is there, whole.
    Current,
    /// One of another configuration is; it was published then.
    Old(String),
    /// None is.
    Absent,
    /// It is not whole, or isn't what its index says.
    Damaged(String),
    /// It couldn't be asked.
    Unknown(String),
}

impl State {
    /// For tables and documents.
    pub fn words(&self) -> String {
        match self {
            Self::Current => "current".to_owned(),
            Self::Old(when) => format!("of another configuration, of {when}"),
            Self::Absent => "none".to_owned(),
            Self::Damaged(why) => format!("damaged: {why}"),
            Self::Unknown(why) => format!("unknown: {why}"),
        }
    }
}

/// What is published.
pub struct Paper<'a> {
    /// See [`lifeboat_report::runbook_hash`].
    pub runbook_hash: &'a str,
    pub configuration_hash: &'a str,
    pub plan_hash: &'a str,
    /// Numbers and addresses of people are in it.
    pub has_contacts: bool,
    pub at: Timestamp,
    pub forms: &'a [(&'static str, Vec<u8>)],
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Every location, and the sentence for what couldn't be done; removable ones that aren't attached are left out.
pub async fn publish(
    config: &Config,
    paper: &Paper<'_>,
    output: &Output,
) -> Result<Vec<(String, Result<String, String>)>, Failure> {
    let (names, absent) = removable::attached(config, &rooms::all_locations(config));
    for name in absent {
        output.tell(&format!("note: {name} is not attached, and left out"));
    }
    let mut done = Vec::new();
    for name in names {
        let result = match rooms::replicas(config, std::slice::from_ref(&name)) {
            Ok(replicas) => match replicas.first() {
                Some(replica) => publish_to(&*replica.location, paper).await,
                None => continue,
            },
            Err(failure) => Err(failure.sentence()),
        };
        done.push((name, result));
    }
    match done.iter().any(|(_, result)| result.is_ok()) {
        true => Ok(done),
        false => {
            let mut failure = Failure::new(FailureKind::Unavailable, "no location took the runbook");
            failure.details =
                done.into_iter().filter_map(|(name, result)| Some(format!("{name}: {}", result.err()?))).collect();
            Err(failure.with_hint("`lifeboat check` says what is wrong with each location"))
        }
    }
}

async fn publish_to(location: &dyn Location, paper: &Paper<'_>) -> Result<String, String> {
    let mut files = Vec::new();
    for (ending, bytes) in paper.forms {
        let whole = hash(bytes);
        let key = format!("plan/{}.{ending}", &whole[..NAME_DIGITS]);
        put(location, &key, bytes).await?;
        files.push(json!({ "name": key, "bytes": bytes.len(), "blake3": whole }));
    }
    let index = json!({
        "format": 1,
        "what": "the recovery runbook; read any of the files, they say the same",
        "made_at": paper.at,
        "runbook_hash": paper.runbook_hash,
        "configuration_hash": paper.configuration_hash,
        "plan_hash": paper.plan_hash,
        "contacts": paper.has_contacts,
        "files": files,
    });
    let index = format!("{index:#}\n");
    let key =
        format!("{INDEX}{}-{}.json", paper.at.strftime("%Y%m%dT%H%M%SZ"), &hash(index.as_bytes())[..INDEX_DIGITS]);
    put(location, &key, index.as_bytes()).await?;
    Ok(key)
}

/// Written once. The same content again is a success.
async fn put(location: &dyn Location, key: &str, bytes: &[u8]) -> Result<(), String> {
    let told = |error: lifeboat_location::Error| error.to_string();
    match location.put_new(key, Bytes::copy_from_slice(bytes)).await.map_err(told)? {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => match location.get(key).await.map_err(told)? == bytes {
            true => Ok(()),
            false => Err(format!("{key} is there with other content; nothing was replaced")),
        },
    }
}

/// What each location has. `wanted` is the hash of the runbook of the configuration.
pub async fn state(config: &Config, wanted: &str) -> Vec<(String, State)> {
    let (names, _) = removable::attached(config, &rooms::all_locations(config));
    let mut states = Vec::new();
    for name in names {
        let state = match rooms::replicas(config, std::slice::from_ref(&name)) {
            Ok(replicas) => match replicas.first() {
                Some(replica) => state_of(&*replica.location, wanted).await.unwrap_or_else(State::Unknown),
                None => continue,
            },
            Err(failure) => State::Unknown(failure.sentence()),
        };
        states.push((name, state));
    }
    states
}

async fn state_of(location: &dyn Location, wanted: &str) -> Result<State, String> {
    let told = |error: lifeboat_location::Error| error.to_string();
    // Their names begin with their time: the last is the newest.
    let Some(newest) = location.list(INDEX).await.map_err(told)?.pop() else { return Ok(State::Absent) };
    let bytes = location.get(&newest.key).await.map_err(told)?;
    let Ok(index) = serde_json::from_slice::<Value>(&bytes) else {
        return Ok(State::Damaged(format!("{} is not JSON", newest.key)));
    };
    let made_at = index["made_at"].as_str().unwrap_or("an unknown time").to_owned();
    let files = index["files"].as_array().map(Vec::as_slice).unwrap_or_default();
    if files.is_empty() {
        return Ok(State::Damaged(format!("{} names no file", newest.key)));
    }
    for file in files {
        let (Some(key), Some(expected)) = (file["name"].as_str(), file["blake3"].as_str()) else {
            return Ok(State::Damaged(format!("{} can't be understood", newest.key)));
        };
        match location.get(key).await {
            Ok(bytes) if hash(&bytes) == expected => {}
            Ok(_) => return Ok(State::Damaged(format!("{key} is not what was written"))),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(State::Damaged(format!("{key} is gone"))),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(if index["runbook_hash"] == wanted { State::Current } else { State::Old(made_at) })
}

/// Brings what lies below `plan/` of one location into a directory, unread.
pub async fn fetch(config: &Config, name: &str, to: &Path) -> Result<(), Failure> {
    let replicas = rooms::replicas(config, std::slice::from_ref(&name.to_owned()))?;
    let location =
        &replicas.first().ok_or_else(|| Failure::new(FailureKind::NotFound, "there is no location"))?.location;
    let told = |error: lifeboat_location::Error| Failure::from_error(FailureKind::Unavailable, &error);
    let wrote = |error: std::io::Error| Failure::from_error(FailureKind::Unavailable, &error);
    std::fs::create_dir_all(to.join("plan")).map_err(wrote)?;
    for object in location.list("plan/").await.map_err(told)? {
        let plain = object.key.strip_prefix("plan/").filter(|plain| !plain.contains('/'));
        if let Some(plain) = plain {
            std::fs::write(to.join("plan").join(plain), location.get(&object.key).await.map_err(told)?)
                .map_err(wrote)?;
        }
    }
    Ok(())
}
