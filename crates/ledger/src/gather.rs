//! Reading: what one location has, looked at object by object; and what all of them have together, each entry read once.

use crate::entry::{BYTES_MAX, Flaw, FlawKind, Signed, decode};
use crate::key::{KEY_BYTES_MAX, PublicKey, parse_document};
use crate::name::{EntryHash, EntryName, PREFIX};
use crate::place::{Error, LISTING_MAX, Place, REQUEST_MAX, Result, describe, within};
use crate::shelf::Shelf;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use lifeboat_location::ErrorKind;
use std::collections::{BTreeMap, BTreeSet};

const READS_AT_ONCE: usize = 16;

/// A location that could not be asked: its name, and why.
pub type Away = (String, String);

/// What one location has, read to the last byte.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// The location's name.
    pub place: String,
    /// What lies under the name of an entry.
    pub entries: BTreeMap<EntryName, std::result::Result<Signed, Flaw>>,
    /// Keys that lie beside the entries, by the object's key.
    pub keys: BTreeMap<String, std::result::Result<PublicKey, Flaw>>,
    /// Objects that are nothing of ours.
    pub foreign: Vec<String>,
}

/// Every entry that any location has whole.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// Those of our key, by hash.
    pub entries: BTreeMap<EntryHash, Signed>,
    /// What could not be used, and why: the object's key.
    pub flawed: Vec<(String, Flaw)>,
    /// The names that each location lists. Those that didn't answer are absent.
    pub names: BTreeMap<String, BTreeSet<EntryName>>,
    /// Those that didn't answer.
    pub away: Vec<Away>,
}

/// Reads all that one location has.
///
/// # Errors
/// When it can't be listed.
pub async fn look(place: &Place) -> lifeboat_location::Result<Look> {
    let listing = within(place, LISTING_MAX, place.location.list(PREFIX)).await?;
    let mut look = Look { place: place.name.clone(), ..Look::default() };
    let mut reads = Vec::new();
    for object in listing {
        match EntryName::of_key(&object.key) {
            Some(name) => reads.push((name, object.size)),
            None if is_key(&object.key) => {
                let read = read_bounded(place, &object.key, object.size, KEY_BYTES_MAX).await;
                let key = read.and_then(|bytes| read_key(&object.key, &bytes));
                look.keys.insert(object.key, key);
            }
            None => look.foreign.push(object.key),
        }
    }
    let reads = reads.into_iter().map(async |(name, size)| (name, read_entry(place, &name, size).await));
    look.entries =
        futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect::<Vec<_>>().await.into_iter().collect();
    Ok(look)
}

impl Look {
    /// Those that nothing there follows. Says something only when nothing is wrong.
    pub fn heads(&self) -> BTreeSet<EntryName> {
        let read: Vec<&Signed> = self.entries.values().filter_map(|read| read.as_ref().ok()).collect();
        let followed: BTreeSet<&EntryHash> = read.iter().flat_map(|signed| &signed.entry.previous).collect();
        read.iter().filter(|signed| !followed.contains(&signed.hash)).map(|signed| signed.name()).collect()
    }
}

fn is_key(key: &str) -> bool {
    key.strip_prefix(PREFIX).is_some_and(|name| name.starts_with("key-") && name.ends_with(".json"))
}

fn read_key(object: &str, bytes: &[u8]) -> std::result::Result<PublicKey, Flaw> {
    let key = parse_document(bytes).map_err(|why| Flaw::new(FlawKind::Key, why))?;
    let is_named = key.object_key() == object;
    is_named.then_some(key).ok_or_else(|| Flaw::new(FlawKind::Key, "it is another key than its name says"))
}

async fn read_bounded(place: &Place, key: &str, size: u64, most: u64) -> std::result::Result<Bytes, Flaw> {
    if size == 0 || size > most {
        return Err(Flaw::new(FlawKind::Changed, format!("no such object has {size} bytes")));
    }
    // A range, so that an object that grew meanwhile is not read whole.
    let read = within(place, REQUEST_MAX, place.location.get_range(key, 0..size)).await;
    read.map_err(|error| match error.kind() {
        ErrorKind::Invalid => Flaw::new(FlawKind::Changed, "it became shorter while it was read"),
        _ => Flaw::new(FlawKind::Unreadable, describe(&error)),
    })
}

async fn read_entry(place: &Place, name: &EntryName, size: u64) -> std::result::Result<Signed, Flaw> {
    let bytes = read_bounded(place, &name.key(), size, BYTES_MAX).await?;
    if EntryHash::of(&bytes) != name.hash {
        return Err(Flaw::new(FlawKind::Changed, "its bytes are not those that its name says"));
    }
    decode(&bytes)
}

/// Reads what all locations have together: each entry once, from wherever it is whole.
///
/// # Errors
/// When no location answers.
pub async fn gather(places: &[Place], key: &PublicKey, shelf: &Shelf) -> Result<Gathered> {
    let listings = places.iter().map(|place| within(place, LISTING_MAX, place.location.list(PREFIX)));
    let mut gathered = Gathered::default();
    let mut wanted: BTreeMap<EntryName, Vec<(&Place, u64)>> = BTreeMap::new();
    for (place, listing) in places.iter().zip(join_all(listings).await) {
        match listing {
            Ok(listing) => {
                let named =
                    listing.into_iter().filter_map(|object| Some((EntryName::of_key(&object.key)?, object.size)));
                let names = gathered.names.entry(place.name.clone()).or_default();
                for (name, size) in named {
                    names.insert(name);
                    wanted.entry(name).or_default().push((place, size));
                }
            }
            Err(error) => gathered.away.push((place.name.clone(), describe(&error))),
        }
    }
    if gathered.names.is_empty() {
        return Err(Error::NobodyThere { failures: gathered.away });
    }
    let reads = wanted.into_iter().map(async |(name, holders)| (name, read_once(&name, &holders, key, shelf).await));
    let reads: Vec<_> = futures::stream::iter(reads).buffer_unordered(READS_AT_ONCE).collect().await;
    for (name, read) in reads {
        match read {
            Ok(signed) => drop(gathered.entries.insert(name.hash, signed)),
            Err(flaw) => gathered.flawed.push((name.key(), flaw)),
        }
    }
    gathered.set_apart_what_is_misplaced();
    gathered.flawed.sort_by(|one, other| one.0.cmp(&other.0));
    Ok(gathered)
}

async fn read_once(
    name: &EntryName,
    holders: &[(&Place, u64)],
    key: &PublicKey,
    shelf: &Shelf,
) -> std::result::Result<Signed, Flaw> {
    if let Some(signed) = shelf.get(&name.hash).and_then(|bytes| decode(&bytes).ok()) {
        return signed.check(name, key).map(|()| signed);
    }
    let mut first = Flaw::new(FlawKind::Unreadable, "no location has it");
    for (position, (place, size)) in holders.iter().enumerate() {
        match read_entry(place, name, *size).await {
            Ok(signed) => {
                signed.check(name, key)?;
                shelf.put(&name.hash, &signed.bytes);
                return Ok(signed);
            }
            Err(flaw) if position == 0 => first = flaw,
            Err(_) => {}
        }
    }
    Err(first)
}

impl Gathered {
    fn set_apart_what_is_misplaced(&mut self) {
        let wrong: Vec<(EntryHash, String)> = self
            .entries
            .values()
            .filter_map(|signed| Some((signed.hash, wrong_place(signed, &self.entries)?)))
            .collect();
        for (hash, why) in wrong {
            if let Some(signed) = self.entries.remove(&hash) {
                self.flawed.push((signed.name().key(), Flaw::new(FlawKind::Misplaced, why)));
            }
        }
    }

    /// Those that nothing follows yet.
    pub fn heads(&self) -> Vec<&Signed> {
        heads(&self.entries)
    }

    /// The entries in their order.
    pub fn in_order(&self) -> Vec<&Signed> {
        let mut all: Vec<&Signed> = self.entries.values().collect();
        all.sort_by_key(|signed| signed.name());
        all
    }

    /// The locations that list an entry.
    pub fn holders(&self, name: &EntryName) -> Vec<String> {
        self.names.iter().filter(|(_, names)| names.contains(name)).map(|(place, _)| place.clone()).collect()
    }
}

/// Those that nothing among them follows, in their order.
pub(crate) fn heads(entries: &BTreeMap<EntryHash, Signed>) -> Vec<&Signed> {
    let followed: BTreeSet<&EntryHash> = entries.values().flat_map(|signed| &signed.entry.previous).collect();
    let mut heads: Vec<&Signed> = entries.values().filter(|signed| !followed.contains(&signed.hash)).collect();
    heads.sort_by_key(|signed| signed.name());
    heads
}

/// Why an entry can't be where it says that it is. None: it can, as far as is known.
pub(crate) fn wrong_place(signed: &Signed, entries: &BTreeMap<EntryHash, Signed>) -> Option<String> {
    let before: Option<Vec<u64>> =
        signed.entry.previous.iter().map(|hash| Some(entries.get(hash)?.entry.sequence)).collect();
    let expected = 1 + before?.into_iter().max().unwrap_or(0);
    (signed.entry.sequence != expected).then(|| format!("what it follows makes it number {expected}"))
}
