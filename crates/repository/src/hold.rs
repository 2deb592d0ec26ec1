//! Holds: somebody still reads from a recovery point, so it must stay, whatever the policy says.
//!
//! Who serves files that are still to come from a point writes `holds/<workload>/<point>/<time>-<id>` beside it, in every location that
//! has the point, and writes it anew each day. What nobody renews ends by itself. A hold is about the point where it lies: it is never
//! copied, and a location that got its copy later does as its policy says.
//!
//! Promise: a sweep and a new hold can't miss each other. The hold is written first and the marks are read after it; the sweep says that
//! it has begun first and reads the holds after that (`removal/held.rs`).
//!
//! Not here: who holds, and for how long it needs it.

use crate::container::ContainerKind;
use crate::error::{Error, Result};
use crate::key::random;
use crate::open::{Replica, Repository, describe};
use crate::patience::ask_all;
use crate::point::{PointId, key_of};
use crate::removal::{Fate, MarkedPoint};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use lifeboat_location::{Entry, ErrorKind, PutOutcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Begins the key of every hold.
pub(crate) const PREFIX: &str = "holds/";

/// How long a hold lasts unless it is renewed. A month: a holder that is down over the holidays loses nothing, and one that is gone for
/// good costs a month of space.
const LIFE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How often whoever holds a point should renew that.
pub const HOLD_RENEWED_EVERY: Duration = Duration::from_secs(24 * 3600);

/// A hold of ours that lasts longer than this, by our own clock, is one that a sweep under way has seen.
const CERTAIN: SignedDuration = SignedDuration::from_hours(24);

/// `by` and `why` are shown in tables: what is longer is cut off, in characters.
const WORDS_MAX: usize = 200;

/// When a hold that is made or renewed now should end.
pub fn hold_until(now: Timestamp) -> Timestamp {
    now.checked_add(LIFE).unwrap_or(Timestamp::MAX)
}

/// That a point is held. The caller keeps it, so that it can renew and release its own also after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who, for programs: 32 hexadecimal digits by chance.
    pub holder: String,
    /// The point's workload.
    pub workload: String,
    /// The point.
    pub point: PointId,
    /// When it was made or last renewed, by the holder's clock.
    pub made_at: Timestamp,
    /// When it ends, by the same clock.
    pub until: Timestamp,
    /// Who, for people: host and directory, such as `db2:/srv/restored`.
    pub by: String,
    /// What for, in a few words.
    pub why: String,
}

impl Hold {
    /// A new hold. Nothing is written: keep it where it is found again, then [`Repository::renew`] it.
    pub fn new(workload: &str, point: &PointId, by: &str, why: &str, until: Timestamp) -> Result<Self> {
        let holder: [u8; 16] = random()?;
        let (by, why) = (shown(by), shown(why));
        let (workload, point, made_at) = (workload.into(), point.clone(), Timestamp::now());
        Ok(Self { holder: hex::encode(holder), workload, point, made_at, until, by, why })
    }

    fn folder(&self) -> String {
        folder_of(&self.workload, &self.point)
    }

    fn key(&self) -> String {
        format!("{}{}{}", self.folder(), self.made_at.strftime("%Y%m%dT%H%M%S%.6fZ"), self.suffix())
    }

    /// How the names of this holder end.
    fn suffix(&self) -> String {
        format!("-{}", self.holder.get(..8).unwrap_or_default())
    }

    /// Whether it has ended. Two clocks must say so: ours, and the store's, on which the record must have lain for as long as it was
    /// to last. So a wrong clock, the holder's or ours, makes a hold longer and never shorter.
    pub(crate) fn has_ended(&self, stored_at: SystemTime, now: Timestamp, store_now: SystemTime) -> bool {
        let life = self.until.duration_since(self.made_at).max(SignedDuration::ZERO).unsigned_abs();
        self.until < now && store_now.duration_since(stored_at).unwrap_or_default() >= life
    }
}

fn shown(words: &str) -> String {
    words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS_MAX).collect()
}

fn folder_of(workload: &str, point: &PointId) -> String {
    format!("{PREFIX}{workload}/{point}/")
}

/// Reads the text of a hold.
pub fn parse(object: &str, json: &[u8]) -> Result<Hold> {
    let hold: Hold = serde_json::from_slice(json).map_err(|error| Error::corrupt(object, error.to_string()))?;
    let is_id = hold.holder.len() == 32 && hold.holder.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(hold).ok_or_else(|| Error::corrupt(object, "the holder's id is not 32 hexadecimal digits"))
}

/// A hold as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRecord {
    /// The workload of the point that it is stored with.
    pub workload: String,
    /// The point that it is stored with.
    pub point: PointId,
    /// Its name there.
    pub name: String,
    /// Where it is stored.
    pub locations: Vec<String>,
    /// What it says. None when it can't be read: then it holds all the same.
    pub hold: Option<Hold>,
    /// When it was stored, by the store's clock: the latest where there are several.
    pub(crate) stored_at: SystemTime,
}

impl HoldRecord {
    /// Of which only the listing is known.
    fn listed(entry: &Entry) -> Option<Self> {
        let mut parts = entry.key.strip_prefix(PREFIX)?.split('/');
        let (Some(workload), Some(point), Some(name), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return None;
        };
        let (workload, point, name) = (workload.into(), PointId(point.into()), name.into());
        Some(Self { workload, point, name, locations: Vec::new(), hold: None, stored_at: entry.modified })
    }

    pub(crate) fn key(&self) -> String {
        format!("{}{}", folder_of(&self.workload, &self.point), self.name)
    }

    /// The point, as marks name it.
    pub fn marked(&self) -> MarkedPoint {
        MarkedPoint { workload: self.workload.clone(), point: self.point.clone() }
    }

    fn is_of(&self, hold: &Hold) -> bool {
        // One that can't be read is told by its name.
        self.hold.as_ref().map_or(self.name.ends_with(&hold.suffix()), |its| its.holder == hold.holder)
    }
}

/// Where a point is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// As it stands now. Keep it.
    pub hold: Hold,
    /// The locations that keep the point for it; at least one.
    pub locations: Vec<String>,
    /// Locations that have the point, or may have it, and don't, with the reason.
    pub left_out: Vec<(String, String)>,
}

impl Repository {
    /// Holds a point against `prune` until then, in every location that has it. `by` (host and directory) and `why` are for people.
    ///
    /// # Errors
    /// When no location holds it: none has the point, it is being deleted, or none takes the record.
    pub async fn hold(
        &self,
        workload: &str,
        point: &PointId,
        by: &str,
        why: &str,
        until: Timestamp,
    ) -> Result<Holding> {
        self.renew(&Hold::new(workload, point, by, why, until)?, until).await
    }

    /// Holds the point until then, whatever became of the hold before: writes a record, and removes the older ones of this holder where
    /// that is allowed.
    ///
    /// # Errors
    /// As for [`Self::hold`]. Then what held before is as it was.
    pub async fn renew(&self, hold: &Hold, until: Timestamp) -> Result<Holding> {
        let hold = Hold { made_at: Timestamp::now(), until, ..hold.clone() };
        let sealed = self.seal(ContainerKind::Document, &hold)?;
        let ask = async |replica: Replica| self.hold_in(&replica, &hold, &sealed).await;
        let answers = ask_all(&self.replicas, self.limits.listing(), ask).await;
        let (mut locations, mut left_out, mut is_going) = (Vec::new(), self.unavailable.clone(), false);
        for (replica, answer) in self.replicas.iter().zip(answers) {
            match answer {
                Ok(true) => locations.push(replica.name.clone()),
                Ok(false) => {}
                Err(error) => {
                    is_going |= matches!(error, Error::GoingAway { .. });
                    left_out.push((replica.name.clone(), describe(&error)));
                }
            }
        }
        let what = format!("recovery point {} of {}", hold.point, hold.workload);
        match locations.is_empty() {
            false => Ok(Holding { hold, locations, left_out }),
            true if is_going => Err(Error::GoingAway { what }),
            true if left_out.is_empty() => Err(Error::NotFound { what }),
            true => {
                let reasons = left_out.iter().map(|(name, reason)| format!("{name}: {reason}")).collect();
                Err(Error::AllLocationsFailed { reasons, temporary: true })
            }
        }
    }

    /// False when the location doesn't have the point.
    async fn hold_in(&self, replica: &Replica, hold: &Hold, sealed: &Bytes) -> Result<bool> {
        let point = key_of(&hold.workload, &hold.point);
        if replica.location.head(&point).await?.is_none() {
            return Ok(false);
        }
        let mut before = self.holds_in(replica, &hold.folder()).await?;
        before.retain(|record| record.is_of(hold));
        let key = hold.key();
        let put = replica.location.put_new(&key, sealed.clone()).await?;
        match self.stays(replica, hold, &before).await {
            Ok(()) => {
                // Only what was there before it was written: two that renew at once leave one at least.
                for older in before.iter().map(HoldRecord::key).filter(|older| *older != key) {
                    // What is locked ends by itself.
                    let _ = replica.location.delete(&older).await;
                }
                Ok(true)
            }
            Err(error) => {
                // What was there stands.
                if put == PutOutcome::Created {
                    let _ = replica.location.delete(&key).await;
                }
                Err(error)
            }
        }
    }

    /// An error when the point may be being deleted in this location, by a sweep that hasn't seen the hold.
    async fn stays(&self, replica: &Replica, hold: &Hold, before: &[HoldRecord]) -> Result<()> {
        let point = MarkedPoint { workload: hold.workload.clone(), point: hold.point.clone() };
        let certain = hold.made_at.checked_add(CERTAIN).unwrap_or(Timestamp::MAX);
        let was_held = before.iter().filter_map(|record| record.hold.as_ref()).any(|hold| hold.until > certain);
        let going = || Error::GoingAway { what: format!("recovery point {} of {}", hold.point, hold.workload) };
        match self.fate_in(replica, &point).await? {
            Fate::Goes => return Err(going()),
            Fate::Named if !was_held => return Err(going()),
            Fate::Named | Fate::Stays => {}
        }
        // After the marks: a sweep that was done before they were read has left none.
        let is_there = replica.location.head(&key_of(&hold.workload, &hold.point)).await?.is_some();
        is_there.then_some(()).ok_or_else(going)
    }

    /// Takes a hold back, wherever it is. Returns the locations where it stays until it ends, and why.
    pub async fn release(&self, hold: &Hold) -> Vec<(String, String)> {
        let folder = hold.folder();
        let ask = async |replica: Replica| {
            for record in self.holds_in(&replica, &folder).await?.iter().filter(|record| record.is_of(hold)) {
                replica.location.delete(&record.key()).await?;
            }
            Ok(())
        };
        let answers = ask_all(&self.replicas, self.limits.patience, ask).await;
        let failed = self.replicas.iter().zip(answers);
        let failed = failed.filter_map(|(replica, answer)| Some((replica.name.clone(), describe(&answer.err()?))));
        self.unavailable.iter().cloned().chain(failed).collect()
    }

    /// Takes back a hold of somebody who is gone. Returns the locations where it stays until it ends, and why.
    pub async fn remove_hold(&self, record: &HoldRecord) -> Vec<(String, String)> {
        let mut stays = Vec::new();
        for replica in self.replicas.iter().filter(|replica| record.locations.contains(&replica.name)) {
            match replica.location.delete(&record.key()).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    stays.push((replica.name.clone(), describe(&error)));
                }
                _ => {}
            }
        }
        stays
    }

    /// Every hold that is stored, of one workload or of all, also those that have ended. A location that doesn't answer is passed over as
    /// long as another does.
    pub async fn holds(&self, workload: Option<&str>) -> Result<Vec<HoldRecord>> {
        let prefix = workload.map_or(PREFIX.to_owned(), |name| format!("{PREFIX}{name}/"));
        let ask = async |replica: Replica| self.holds_in(&replica, &prefix).await;
        let mut merged: BTreeMap<String, HoldRecord> = BTreeMap::new();
        let (mut failure, mut answered) = (None, false);
        for answer in ask_all(&self.replicas, self.limits.listing(), ask).await {
            let records = match answer {
                Ok(records) => records,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            answered = true;
            for record in records {
                match merged.get_mut(&record.key()) {
                    None => _ = merged.insert(record.key(), record),
                    Some(known) => {
                        known.hold = known.hold.take().or(record.hold);
                        known.stored_at = known.stored_at.max(record.stored_at);
                        known.locations.extend(record.locations);
                    }
                }
            }
        }
        failure.filter(|_| !answered).map_or_else(|| Ok(merged.into_values().collect()), Err)
    }

    /// The holds of one location whose keys begin so. One that can't be read is there without its content.
    pub(crate) async fn holds_in(&self, replica: &Replica, prefix: &str) -> Result<Vec<HoldRecord>> {
        let mut records = Vec::new();
        for entry in replica.location.list(prefix).await? {
            let Some(mut record) = HoldRecord::listed(&entry) else { continue };
            let read = replica.location.get(&entry.key).await;
            // It was listed a moment ago: its holder renewed or released it.
            if matches!(&read, Err(error) if error.kind() == ErrorKind::NotFound) {
                continue;
            }
            record.hold = read.map_err(Error::from).and_then(|bytes| self.check_hold(&entry.key, &bytes)).ok();
            record.locations.push(replica.name.clone());
            records.push(record);
        }
        Ok(records)
    }

    /// Checks that a stored hold is the one its name says.
    pub(crate) fn check_hold(&self, key: &str, bytes: &[u8]) -> Result<Hold> {
        let hold = parse(key, &self.unseal(ContainerKind::Document, key, bytes)?)?;
        let is_itself = hold.key() == key;
        is_itself.then_some(hold).ok_or_else(|| Error::corrupt(key, "is another hold under this name"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn hold(made_at: i64, until: i64) -> Hold {
        let made = Hold::new("shop", &PointId("p".into()), "db2:/srv", "instant restore", at(until)).unwrap();
        Hold { made_at: at(made_at), ..made }
    }

    /// Seconds: made and until by the holder's clock, stored and now by the store's, now by ours.
    #[test]
    fn a_wrong_clock_makes_a_hold_longer_and_never_shorter() {
        const MONTH: i64 = 30 * 24 * 3600;
        for (what, made, stored, store_now, now, ended) in [
            ("all agree, in time", 1000, 1000, 1000 + MONTH, 1000 + MONTH, false),
            ("all agree, over", 1000, 1000, 1001 + MONTH, 1001 + MONTH, true),
            ("ours is ahead", 1000, 1000, 2000, 9 * MONTH, false),
            ("ours is behind", 1000, 1000, 9 * MONTH, 2000, false),
            ("the store's is ahead, always", 1000, 5 * MONTH, 5 * MONTH + 99, 1099, false),
            ("the holder's is behind", 1000, 5 * MONTH, 5 * MONTH + 99, 5 * MONTH + 99, false),
            ("the holder's is behind, over", 1000, 5 * MONTH, 6 * MONTH, 6 * MONTH, true),
            ("the holder's is ahead", 5 * MONTH, 1000, 2 * MONTH, 2 * MONTH, false),
            ("stored in the store's future", 1000, 9 * MONTH, 2 * MONTH, 2 * MONTH, false),
        ] {
            let time = |second: i64| SystemTime::UNIX_EPOCH + Duration::from_secs(second as u64);
            let found = hold(made, made + MONTH).has_ended(time(stored), at(now), time(store_now));
            assert_eq!(found, ended, "{what}");
        }
    }

    #[test]
    fn what_is_shown_is_one_short_line() {
        let hold = Hold::new("shop", &PointId("p".into()), "db2:\n\u{1b}[2J", &"x".repeat(999), at(0)).unwrap();
        assert_eq!((hold.by.as_str(), hold.why.len()), ("db2:  [2J", WORDS_MAX));
    }

    #[test]
    fn what_lies_elsewhere_is_no_hold() {
        let listed = |key: &str| {
            let entry = Entry { key: key.into(), size: 0, modified: SystemTime::UNIX_EPOCH };
            HoldRecord::listed(&entry).map(|record| record.key())
        };
        assert_eq!(listed("holds/shop/p/1-2").as_deref(), Some("holds/shop/p/1-2"));
        for key in ["holds/shop/p", "holds/shop", "holds/shop/p/1/2", "points/shop/p/1"] {
            assert_eq!(listed(key), None, "{key}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_the_same(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let _ = parse("hold", &bytes);
            let text = serde_json::to_vec(&hold(1, 2)).unwrap();
            prop_assert!(parse("hold", &text).is_ok());
            prop_assert!(parse("hold", &text[..cut.index(text.len())]).is_err());
            let (mut changed, at) = (text.clone(), cut.index(text.len()));
            changed[at] = bytes.first().copied().unwrap_or_default();
            if let Ok(hold) = parse("hold", &changed) {
                prop_assert_eq!(parse("hold", &serde_json::to_vec(&hold).unwrap()).unwrap(), hold);
            }
        }
    }
}
