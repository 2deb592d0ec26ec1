//! Putting back what is damaged in one location from another that has it whole.
//!
//! What can be read is never touched: an object is looked at once more before it is replaced, and what takes its place was checked to
//! the last byte before. Objects are the same everywhere, so the repaired location is as it was. Killed between the two, the object is
//! missing where it was damaged, and the next copy brings it.
//!
//! What no location has whole is lost, and stays as it is until somebody gives it up: then a damaged point goes with its receipt, a
//! damaged file of a log becomes a hole that everybody sees. Of a damaged pack most can still be read: see `repair/rescue.rs`. A point
//! that is whole itself, and leads to what no location has, is lost too.

mod rescue;

pub use rescue::Rescued;

use crate::copy::PREFIXES;
use crate::error::{Error, Result};
use crate::findings::PREFIX as FINDINGS;
use crate::hold::PREFIX as HOLDS;
use crate::open::{Replica, Repository, check_key_record, copy_of_keys, describe};
use crate::patience::within;
use crate::point::PointId;
use crate::reader::pack_id;
use crate::receipt;
use crate::removal::{Gone, MarkedPoint, PREFIX as REMOVALS};
use crate::root::{ROOT_KEY, root_in_keys};
use crate::session::WriteSession;
use crate::verify::{Damage, check_wholly};
use bytes::Bytes;
use lifeboat_location::ErrorKind;
use serde::Serialize;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

/// An object that can be put back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Replacement {
    /// Where it is damaged, or missing.
    pub location: String,
    /// Its key.
    pub object: String,
    /// Where it is whole.
    pub from: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What can be done about damage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RepairPlan {
    /// What another location has whole.
    pub replace: Vec<Replacement>,
    /// What none has whole.
    pub lost: Vec<Damage>,
}

/// How an object is, in one location.
enum State {
    Whole(Bytes),
    /// Not there, or not what was written.
    Bad,
}

/// Whether a key is one that an object may have which is repaired. The rest of a report is about something else: a location that
/// doesn't answer, a hole in a log.
fn is_object(key: &str) -> bool {
    let is_key = |prefix: &&str| key.len() > prefix.len() && key.starts_with(*prefix);
    key == ROOT_KEY || PREFIXES.iter().chain(&[REMOVALS, FINDINGS, HOLDS]).any(is_key)
}

fn is_pack(key: &str) -> bool {
    key.starts_with("packs/")
}

/// What is written down about an object that is given up, so that its location doesn't miss it. A part of a log is missed all the same:
/// its hole is for everybody to see.
fn what_goes(key: &str) -> Gone {
    let mut gone = Gone::default();
    if let Some((workload, id)) = key.strip_prefix("points/").and_then(|rest| rest.split_once('/')) {
        gone.removal.points.push(MarkedPoint { workload: workload.into(), point: PointId(id.into()) });
    }
    gone.removal.packs.extend(pack_id(key).filter(|_| is_pack(key)).map(hex::encode));
    gone
}

impl Repository {
    /// What can be done about what [`Repository::verify`] found bad. Changes nothing.
    ///
    /// # Errors
    /// When something can't be told from damage: a location that doesn't answer, an object of a newer version.
    pub async fn plan_repair(&self, bad: &[Damage]) -> Result<RepairPlan> {
        let mut plan = RepairPlan::default();
        let mut seen = BTreeSet::new();
        for damage in bad.iter().filter(|damage| is_object(&damage.object)) {
            let Some(replica) = self.replicas.iter().find(|replica| replica.name == damage.location) else { continue };
            if !seen.insert((&damage.location, &damage.object)) {
                continue;
            }
            if self.is_whole(replica, &damage.object).await? {
                if self.leads_nowhere(&damage.object).await? {
                    plan.lost.push(damage.clone());
                }
                continue;
            }
            match self.whole_elsewhere(replica, &damage.object).await? {
                Some((from, bytes)) => plan.replace.push(Replacement {
                    location: damage.location.clone(),
                    object: damage.object.clone(),
                    from: from.name.clone(),
                    bytes: bytes.len() as u64,
                }),
                None => plan.lost.push(damage.clone()),
            }
        }
        plan.replace.sort();
        Ok(plan)
    }

    /// Puts one object back. False when it has become whole meanwhile.
    ///
    /// # Errors
    /// When it can't be had whole any more, or isn't taken.
    pub async fn put_back(&self, replacement: &Replacement) -> Result<bool> {
        let key = &replacement.object;
        let find = |name: &str| self.replicas.iter().find(|replica| replica.name == name);
        let unknown = || Error::NotFound { what: format!("location {}", replacement.location) };
        let to = find(&replacement.location).ok_or_else(unknown)?;
        if self.is_whole(to, key).await? {
            return Ok(false);
        }
        let lost = || Error::NotFound { what: format!("{key}, whole in any location,") };
        let (_, bytes) = self.whole_elsewhere(to, key).await?.ok_or_else(lost)?;
        // Nothing is ever overwritten: the place is made free, then taken.
        let limit = self.limits.time_for(bytes.len() as u64);
        self.forget(to, key).await?;
        within(to, limit, to.location.put_new(key, bytes)).await?;
        if is_pack(key) {
            // It may have been given up, and a point needs it after all.
            self.is_back(to, &HashSet::from([key.clone()])).await?;
        }
        match self.is_whole(to, key).await? {
            true => Ok(true),
            false => Err(Error::corrupt(format!("{}/{key}", to.location.address()), "also after it was put back")),
        }
    }

    /// Brings every location up to date with the others, and lists in the index the packs that no fragment lists.
    ///
    /// # Errors
    /// When no location takes anything.
    pub async fn complete_index(self: &Arc<Self>) -> Result<()> {
        let session = WriteSession::begin(self.clone(), &mut Vec::new()).await?;
        tokio::task::spawn_blocking(move || session.settle().map(|_| ())).await?
    }

    /// Gives up what no location has whole, or what leads to what no location has: deletes it where it is damaged, with what only speaks of it. Not packs, which are for
    /// [`Self::rescue`], and not what makes the place a repository. Returns the locations and keys of what is gone.
    ///
    /// # Errors
    /// When a location is away: it may be the one that has it.
    pub async fn give_up(&self, lost: &[Damage]) -> Result<Vec<Damage>> {
        self.all_must_answer()?;
        let mut gone = Vec::new();
        let can_go = |key: &str| is_object(key) && !is_pack(key) && key != ROOT_KEY;
        for damage in lost.iter().filter(|damage| can_go(&damage.object)) {
            let key = &damage.object;
            let Some(replica) = self.replicas.iter().find(|replica| replica.name == damage.location) else { continue };
            let is_whole = self.is_whole(replica, key).await? || self.whole_elsewhere(replica, key).await?.is_some();
            if is_whole && !self.leads_nowhere(key).await? {
                continue;
            }
            // Without a key nothing opens: a damaged record goes only beside a whole one.
            if key.starts_with("keys/") && !self.has_whole_key(replica).await? {
                continue;
            }
            self.note_gone(replica, what_goes(key)).await?;
            if let Some(point) = key.strip_prefix("points/") {
                self.forget(replica, &receipt::key_for(key).unwrap_or_default()).await?;
                for entry in replica.location.list(&format!("verifications/{point}/")).await? {
                    self.forget(replica, &entry.key).await?;
                }
            }
            self.forget(replica, key).await?;
            gone.push(damage.clone());
        }
        Ok(gone)
    }

    /// Whether it is a point of which some part is in no location, and in no other pack.
    async fn leads_nowhere(&self, key: &str) -> Result<bool> {
        // Where one is away, it may have that part: then nothing is said to be lost.
        Ok(key.starts_with("points/") && self.unavailable.is_empty() && !self.can_be_followed(key).await?)
    }

    async fn has_whole_key(&self, replica: &Replica) -> Result<bool> {
        let records = copy_of_keys(replica).await?;
        Ok(records.iter().any(|(key, bytes)| check_key_record(key, bytes).is_ok()))
    }

    async fn forget(&self, replica: &Replica, key: &str) -> Result<()> {
        match replica.location.delete(key).await {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn is_whole(&self, replica: &Replica, key: &str) -> Result<bool> {
        Ok(matches!(self.look(replica, key).await?, State::Whole(_)))
    }

    /// The first other location that has it whole. One that doesn't answer has it not, unless nobody has.
    async fn whole_elsewhere<'a>(&'a self, replica: &'a Replica, key: &str) -> Result<Option<(&'a Replica, Bytes)>> {
        // What is under `removals/` is about the location that it is in.
        if key.starts_with(REMOVALS) {
            return Ok(None);
        }
        let mut failure = None;
        for other in self.replicas.iter().filter(|other| other.name != replica.name) {
            match self.look(other, key).await {
                Ok(State::Whole(bytes)) => return Ok(Some((other, bytes))),
                Ok(State::Bad) => {}
                Err(error) => failure = Some(error),
            }
        }
        // The key records beside it say what stood there.
        if let Some(root) = if key == ROOT_KEY { root_in_keys(replica).await? } else { None } {
            return Ok(Some((replica, root.text()?.into())));
        }
        failure.map_or(Ok(None), Err)
    }

    /// An error when it can't be told: a location that doesn't answer, an object of a newer version.
    async fn look(&self, replica: &Replica, key: &str) -> Result<State> {
        let limit = self.limits.time_for(crate::pack::PACK_BYTES_MAX as u64);
        let bytes = match within(replica, limit, replica.location.get(key)).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_loss() => return Ok(State::Bad),
            Err(error) => return Err(error),
        };
        match check_wholly(self, key, &bytes) {
            Ok(()) => Ok(State::Whole(bytes)),
            Err(error) if error.is_loss() => {
                tracing::debug!(location = replica.name, key, error = describe(&error), "not what was written");
                Ok(State::Bad)
            }
            // Written by a newer version, say: that is no damage, and nothing to replace or to give up.
            Err(error) => Err(error),
        }
    }
}
