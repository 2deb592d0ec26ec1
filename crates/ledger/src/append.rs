//! Writing: one more entry in every location that answers, and what a location lacks brought there first.
//!
//! Promise: no location gets an entry before those that it follows, so a hole is never the work of a crash. Nothing is overwritten.

use crate::entry::{Entry, PREVIOUS_MAX, Signed, to_microseconds};
use crate::gather::{Away, Gathered, gather};
use crate::key::SigningKey;
use crate::name::{EntryHash, EntryName, SEQUENCE_MAX};
use crate::place::{Error, Place, REQUEST_MAX, Result, describe, within};
use crate::shelf::Shelf;
use bytes::Bytes;
use futures::future::join_all;
use jiff::Timestamp;
use lifeboat_location::PutOutcome;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Written {
    /// See [`Entry::kind`].
    pub kind: String,
    /// See [`Entry::body`].
    pub body: Value,
    /// See [`Entry::at`].
    pub at: Timestamp,
    /// See [`Entry::host`].
    pub host: String,
    /// See [`Entry::software`].
    pub software: String,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Appended {
    /// The entry.
    pub signed: Signed,
    /// Locations that have it, durably.
    pub kept: Vec<String>,
    /// Those that don't, and why. They get it later.
    pub away: Vec<Away>,
    /// What else was brought where.
    pub caught: Vec<Caught>,
    /// What each location listed before.
    pub listed: BTreeMap<String, BTreeSet<EntryName>>,
}

/// What a location lacked and has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// The location.
    pub place: String,
    /// The entries, in their order.
    pub entries: Vec<EntryName>,
}

/// Signs and writes one entry. It follows every head that any location has.
///
/// # Errors
/// When no location took it, or none could be asked; when nobody could read it.
pub async fn append(places: &[Place], key: &SigningKey, shelf: &Shelf, written: Written) -> Result<Appended> {
    let gathered = match gather(places, key.public(), shelf).await {
        Err(Error::NobodyThere { failures }) => return Err(Error::NotKept { failures }),
        gathered => gathered?,
    };
    let signed = next(&gathered, key, written)?;
    let writes = reachable(places, &gathered).map(|place| async {
        let (caught, result) = bring_all(place, &gathered, key).await;
        let result = match result {
            Ok(()) => put(place, &signed.name().key(), signed.bytes.clone()).await,
            Err(why) => Err(why),
        };
        (place.name.clone(), caught, result)
    });
    let (mut kept, mut away, mut all_caught) = (Vec::new(), gathered.away.clone(), Vec::new());
    for (place, caught, result) in join_all(writes).await {
        match result {
            Ok(()) => kept.push(place.clone()),
            Err(why) => away.push((place.clone(), why)),
        }
        all_caught.extend((!caught.is_empty()).then_some(Caught { place, entries: caught }));
    }
    if kept.is_empty() {
        return Err(Error::NotKept { failures: away });
    }
    shelf.put(&signed.hash, &signed.bytes);
    Ok(Appended { signed, kept, away, caught: all_caught, listed: gathered.names })
}

/// Brings every location that answers what others have. Signs nothing.
///
/// # Errors
/// When none could be asked.
pub async fn catch_up(places: &[Place], key: &SigningKey, shelf: &Shelf) -> Result<(Vec<Caught>, Vec<Away>)> {
    let gathered = gather(places, key.public(), shelf).await?;
    let writes = reachable(places, &gathered).map(|place| async {
        let (entries, result) = bring_all(place, &gathered, key).await;
        (Caught { place: place.name.clone(), entries }, result)
    });
    let (mut caught, mut away) = (Vec::new(), gathered.away.clone());
    for (brought, result) in join_all(writes).await {
        away.extend(result.err().map(|why| (brought.place.clone(), why)));
        caught.push(brought);
    }
    Ok((caught, away))
}

fn reachable<'a>(places: &'a [Place], gathered: &'a Gathered) -> impl Iterator<Item = &'a Place> {
    places.iter().filter(|place| gathered.names.contains_key(&place.name))
}

/// The entry that comes after all heads.
fn next(gathered: &Gathered, key: &SigningKey, written: Written) -> Result<Signed> {
    let mut heads = gathered.heads();
    // Nobody has so many; were it so, the later ones join the rest.
    heads = heads.split_off(heads.len().saturating_sub(PREVIOUS_MAX));
    let sequence = 1 + heads.iter().map(|head| head.entry.sequence).max().unwrap_or(0);
    if sequence > SEQUENCE_MAX {
        return Err(Error::Invalid(format!("the ledger has reached its last number, {SEQUENCE_MAX}")));
    }
    let mut previous: Vec<EntryHash> = heads.iter().map(|head| head.hash).collect();
    previous.sort_unstable();
    let Written { kind, body, at, host, software } = written;
    Entry { sequence, previous, at: to_microseconds(at), kind, host, software, body }.sign(key)
}

/// Copies to one location what it lacks, oldest first, and stops at the first that it doesn't take. The public key comes first, for
/// whoever finds the place without us.
async fn bring_all(
    place: &Place,
    gathered: &Gathered,
    key: &SigningKey,
) -> (Vec<EntryName>, std::result::Result<(), String>) {
    let none = BTreeSet::new();
    let here = gathered.names.get(&place.name).unwrap_or(&none);
    let mut brought = Vec::new();
    let public = key.public();
    if let Err(why) = put(place, &public.object_key(), public.document().into()).await {
        // A key that is damaged beside the entries is for `verify` to tell of; it keeps nobody from writing.
        tracing::debug!(place = place.name, why, "public key");
    }
    for signed in gathered.in_order() {
        if here.contains(&signed.name()) {
            continue;
        }
        if let Err(why) = put(place, &signed.name().key(), signed.bytes.clone()).await {
            return (brought, Err(why));
        }
        brought.push(signed.name());
    }
    (brought, Ok(()))
}

/// Creates an object. That it is there already with these bytes is a success.
async fn put(place: &Place, key: &str, bytes: Bytes) -> std::result::Result<(), String> {
    let told = |error: lifeboat_location::Error| describe(&error);
    match within(place, REQUEST_MAX, place.location.put_new(key, bytes.clone())).await.map_err(told)? {
        PutOutcome::Created => Ok(()),
        PutOutcome::AlreadyExists => {
            let size = bytes.len() as u64;
            let there = within(place, REQUEST_MAX, place.location.head(key)).await.map_err(told)?;
            if there.is_some_and(|there| there.size == size)
                && within(place, REQUEST_MAX, place.location.get_range(key, 0..size)).await.map_err(told)? == bytes
            {
                return Ok(());
            }
            Err(format!("{key} is there already, with other bytes"))
        }
    }
}
