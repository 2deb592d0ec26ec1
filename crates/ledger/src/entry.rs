//! One entry: what it says, and the bytes that it is stored as.

use crate::canonical;
use crate::key::{KeyId, PublicKey, SigningKey};
use crate::name::{EntryHash, EntryName, SEQUENCE_MAX};
use crate::place::{Error, Result};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// Most bytes of an entry. The record of a drill with hundreds of steps has a tenth; outputs stand in it as hashes.
pub const BYTES_MAX: u64 = 1 << 20;
/// Most entries that one follows: so many writers at once are none.
pub const PREVIOUS_MAX: usize = 256;

const VERSION: u64 = 1;
const KIND_LENGTH_MAX: usize = 32;
const WORD_LENGTH_MAX: usize = 255;
const FIELDS: [&str; 8] = ["at", "body", "host", "kind", "previous", "sequence", "software", "version"];

/// What an entry says.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// One more than the greatest of those that it follows; 1 when there were none.
    pub sequence: u64,
    /// All entries that nothing followed when it was written, sorted.
    pub previous: Vec<EntryHash>,
    /// When, by its writer's clock; to the microsecond.
    pub at: Timestamp,
    /// What is in the body: lower-case letters, digits and `_`.
    pub kind: String,
    /// The writer's machine.
    pub host: String,
    /// The writer's program and version.
    pub software: String,
    /// The evidence.
    pub body: Value,
}

/// What is wrong with an object of the ledger. The words are for ever: scripts know them, and the other verifier says the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlawKind {
    /// Nothing of ours has such a name.
    Foreign,
    /// The public key that lies beside the entries is damaged, or another one.
    Key,
    /// It can't be read.
    Unreadable,
    /// Its bytes are not those that its name says.
    Changed,
    /// Its text could be understood in two ways.
    NotCanonical,
    /// Its fields aren't those of an entry.
    Malformed,
    /// It names another key as its signer.
    OtherKey,
    /// The signature isn't one of the key.
    NotSigned,
    /// Its name says another place in the chain than it says itself.
    Renamed,
    /// Its place doesn't follow from what it follows.
    Misplaced,
    /// Another entry follows it, and it isn't there.
    Removed,
    /// It is known from elsewhere to have been there, and it isn't.
    Truncated,
    /// Another location has it: this one was away, or lost it.
    Lacking,
    /// Nothing follows it, and it isn't the only one: two wrote at once, or somebody slipped one in.
    Heads,
    /// The record in it says something else than its own verdict.
    Contradicts,
}

impl fmt::Display for FlawKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// What is wrong, and how it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Which kind.
    pub kind: FlawKind,
    /// In words.
    pub why: String,
}

impl Flaw {
    pub(crate) fn new(kind: FlawKind, why: impl Into<String>) -> Self {
        Self { kind, why: why.into() }
    }
}

/// An entry as it is stored. Whether the signature is right is asked by [`Signed::check`].
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// What it says.
    pub entry: Entry,
    /// Who says to have signed it.
    pub key: KeyId,
    signature: [u8; 64],
    /// All of it, as it is stored.
    pub bytes: Bytes,
    /// Of these bytes.
    pub hash: EntryHash,
}

impl Entry {
    fn value(&self) -> Value {
        json!({
            "at": time_text(self.at),
            "body": self.body,
            "host": self.host,
            "kind": self.kind,
            "previous": self.previous,
            "sequence": self.sequence,
            "software": self.software,
            "version": VERSION,
        })
    }

    /// Signs it.
    ///
    /// # Errors
    /// When it says what no entry can: too much, or a word that isn't one.
    pub fn sign(&self, key: &SigningKey) -> Result<Signed> {
        let refused = |why: &str| Error::Invalid(format!("an entry of the ledger can't hold this: {why}"));
        let value = self.value();
        let text = canonical::to_canonical(&value).ok_or_else(|| refused("it is nested too deeply"))?;
        let signature = key.sign(&text);
        let whole = json!({ "entry": value, "key": key.public().id().as_str(), "signature": hex::encode(signature) });
        let bytes = canonical::to_canonical(&whole).ok_or_else(|| refused("it is nested too deeply"))?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(refused(&format!("{} bytes are more than {BYTES_MAX}", bytes.len())));
        }
        // Whoever writes what nobody will read finds out now.
        decode(&bytes).map_err(|flaw| refused(&flaw.why))
    }
}

impl Signed {
    /// The name that it must have.
    pub fn name(&self) -> EntryName {
        EntryName { sequence: self.entry.sequence, hash: self.hash }
    }

    /// Whether the key signed it, and it lies under its own name.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, name: &EntryName, key: &PublicKey) -> std::result::Result<(), Flaw> {
        if self.key != key.id() {
            return Err(Flaw::new(FlawKind::OtherKey, format!("signed with key {}, not with {}", self.key, key.id())));
        }
        let text = canonical::to_canonical(&self.entry.value()).unwrap_or_default();
        if !key.verifies(&text, &self.signature) {
            return Err(Flaw::new(FlawKind::NotSigned, "the signature is not one of the key"));
        }
        if name.sequence != self.entry.sequence {
            let why = format!("it says itself that it is number {}", self.entry.sequence);
            return Err(Flaw::new(FlawKind::Renamed, why));
        }
        Ok(())
    }
}

/// 27 characters, always: `2026-11-22T21:39:34.123456Z`.
fn time_text(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The time of now, as an entry can hold it.
pub(crate) fn to_microseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

/// Reads what is stored. Nothing is believed of it but its form.
///
/// # Errors
/// What is wrong with it.
pub fn decode(bytes: &[u8]) -> std::result::Result<Signed, Flaw> {
    if bytes.len() as u64 > BYTES_MAX {
        return Err(Flaw::new(FlawKind::Changed, "it is larger than any entry"));
    }
    let value = canonical::parse(bytes).map_err(|why| Flaw::new(FlawKind::NotCanonical, why))?;
    let malformed = |what: &str| Flaw::new(FlawKind::Malformed, format!("{what} is not as it must be"));
    let whole = value.as_object().filter(|whole| has_only(whole, &["entry", "key", "signature"]));
    let whole = whole.ok_or_else(|| malformed("the outermost object"))?;
    let key = whole["key"].as_str().and_then(KeyId::parse).ok_or_else(|| malformed("`key`"))?;
    let mut signature = [0; 64];
    let text = whole["signature"].as_str().filter(|text| is_hexadecimal(text));
    let read = text.is_some_and(|text| hex::decode_to_slice(text, &mut signature).is_ok());
    read.then_some(()).ok_or_else(|| malformed("`signature`"))?;
    let fields = whole["entry"].as_object().filter(|fields| has_only(fields, &FIELDS));
    let entry = read_entry(fields.ok_or_else(|| malformed("`entry`"))?).map_err(malformed)?;
    Ok(Signed { entry, key, signature, bytes: Bytes::copy_from_slice(bytes), hash: EntryHash::of(bytes) })
}

fn has_only(object: &Map<String, Value>, names: &[&str]) -> bool {
    object.len() == names.len() && names.iter().all(|name| object.contains_key(*name))
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_kind(text: &str) -> bool {
    (1..=KIND_LENGTH_MAX).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// The fields; on failure the one that is wrong.
fn read_entry(fields: &Map<String, Value>) -> std::result::Result<Entry, &'static str> {
    if fields["version"].as_u64() != Some(VERSION) {
        return Err("`version` (this program knows 1)");
    }
    let sequence = fields["sequence"].as_u64().filter(|sequence| (1..=SEQUENCE_MAX).contains(sequence));
    let previous = fields["previous"].as_array().filter(|all| all.len() <= PREVIOUS_MAX).ok_or("`previous`")?;
    let previous: Option<Vec<EntryHash>> = previous.iter().map(|hash| hash.as_str()?.parse().ok()).collect();
    let previous = previous.filter(|all| all.is_sorted_by(|one, next| one < next)).ok_or("`previous`")?;
    // Before 1970 nobody wrote any, and what every program's calendar says of those years differs.
    let at = fields["at"].as_str().and_then(|text| {
        let at: Timestamp = text.parse().ok()?;
        (at >= Timestamp::UNIX_EPOCH && time_text(at) == text).then_some(at)
    });
    let word = |name: &str| {
        let text = fields[name].as_str().filter(|text| text.chars().count() <= WORD_LENGTH_MAX)?;
        Some(text.to_owned())
    };
    Ok(Entry {
        sequence: sequence.ok_or("`sequence`")?,
        previous,
        at: at.ok_or("`at`")?,
        kind: fields["kind"].as_str().filter(|kind| is_kind(kind)).ok_or("`kind`")?.to_owned(),
        host: word("host").ok_or("`host`")?,
        software: word("software").ok_or("`software`")?,
        body: fields["body"].clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        Entry {
            sequence: 1,
            previous: Vec::new(),
            at: "2026-11-22T21:39:34.12Z".parse().unwrap(),
            kind: "drill".into(),
            host: "db1".into(),
            software: "lifeboat 0.1.0".into(),
            body: json!({"b": 1.5, "a": "é"}),
        }
    }

    fn key() -> SigningKey {
        SigningKey::from_seed(&[7; 32]).unwrap()
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let signed = entry().sign(&key()).unwrap();
        assert_eq!(decode(&signed.bytes).unwrap(), signed);
        assert_eq!(signed.entry, entry());
        assert_eq!(signed.check(&signed.name(), key().public()), Ok(()));
        let text = String::from_utf8(signed.bytes.to_vec()).unwrap();
        let entry = r#"{"at":"2026-11-22T21:39:34.120000Z","body":{"a":"é","b":1.5},"host":"db1","kind":"drill","previous":[],"sequence":1,"software":"lifeboat 0.1.0","version":1}"#;
        assert!(
            text.starts_with(&format!(r#"{{"entry":{entry},"key":"{}","signature":""#, key().public().id())),
            "{text}"
        );
    }

    #[test]
    fn every_byte_counts() {
        let signed = entry().sign(&key()).unwrap();
        for position in 0..signed.bytes.len() {
            let mut changed = signed.bytes.to_vec();
            changed[position] ^= 1;
            let passes = decode(&changed).is_ok_and(|read| read.check(&read.name(), key().public()).is_ok());
            assert!(!passes, "byte {position}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = String::from_utf8(entry().sign(&key()).unwrap().bytes.to_vec()).unwrap();
        let table = [
            (good.replace("\"version\":1", "\"version\":2"), "`version`"),
            (good.replace("\"sequence\":1", "\"sequence\":0"), "`sequence`"),
            (good.replace("\"sequence\":1", "\"sequence\":1000000000000"), "`sequence`"),
            (good.replace("[]", &format!("[\"{0}\",\"{0}\"]", "0".repeat(64))), "`previous`"),
            (good.replace("[]", &format!("[\"{}\"]", "A".repeat(64))), "`previous`"),
            (good.replace(".120000Z", ".12Z"), "`at`"),
            (good.replace("2026-11", "2026-13"), "`at`"),
            (good.replace("2026-11", "1926-11"), "`at`"),
            (good.replace("drill", "Drill"), "`kind`"),
            (good.replace("drill", ""), "`kind`"),
            (good.replace("\"db1\"", "1"), "`host`"),
            (good.replace("\"host\"", "\"hoss\""), "`entry`"),
            (good.replace("\"key\":\"", "\"key\":\"0"), "`key`"),
            (good.replace("\"signature\":\"", "\"signature\":\"00"), "`signature`"),
        ];
        for (text, field) in table {
            let flaw = decode(text.as_bytes()).unwrap_err();
            assert!(flaw.kind == FlawKind::Malformed && flaw.why.starts_with(field), "{field}: {flaw:?}");
        }
    }

    #[test]
    fn nothing_is_signed_that_nobody_would_read() {
        let long = Entry { body: json!("x".repeat(BYTES_MAX as usize)), ..entry() };
        let word = Entry { host: "x".repeat(256), ..entry() };
        let kind = Entry { kind: "Drill run".into(), ..entry() };
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        for bad in [long, word, kind, Entry { body: deep, ..entry() }] {
            assert!(matches!(bad.sign(&key()), Err(Error::Invalid(_))));
        }
    }
}
