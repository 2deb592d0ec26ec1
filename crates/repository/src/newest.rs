//! The newest verifications of a workload, by level.
//!
//! Promise: ages are told by what is sealed inside a result. Its name, which isn't, is only where to look first.

use crate::container::ContainerKind;
use crate::error::Result;
use crate::open::Repository;
use crate::verification::Verification;
use lifeboat_location::Entry;
use std::collections::BTreeMap;

/// The levels, from the cheapest to the one that proves most.
const LEVELS: [&str; 3] = ["structure", "data", "boot"];
/// Of one level in one location, so many results are read to find one that passed.
const READS_MAX: usize = 100;
/// A result is a page of text, or a few: what is larger is none.
const RESULT_BYTES_MAX: u64 = 16 << 20;

/// The newest results of one level.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// Of any outcome.
    pub newest: Verification,
    /// The newest that passed, if it was found.
    pub passed: Option<Verification>,
}

impl Repository {
    /// The newest results of a workload by level, whatever their points. Names tell where to look, so that of thousands a
    /// few are read. What claims to be later than `until` was made by a wrong clock, and says nothing. An error when no location
    /// can be listed.
    pub async fn verifications_by_level(
        &self,
        workload: &str,
        until: jiff::Timestamp,
    ) -> Result<BTreeMap<String, Verified>> {
        let prefix = format!("verifications/{workload}/");
        let (mut found, mut failure, mut is_listed) = (BTreeMap::new(), None, false);
        for replica in &self.replicas {
            let mut entries = match replica.location.list(&prefix).await {
                Ok(entries) => entries,
                Err(error) => {
                    failure = Some(error);
                    continue;
                }
            };
            is_listed = true;
            entries.retain(|entry| entry.size <= RESULT_BYTES_MAX);
            entries.sort_by(|one, other| name_of(other).cmp(name_of(one)));
            for level in LEVELS {
                let of_level = entries.iter().filter(|entry| may_be_of(entry, level) && may_be_until(entry, until));
                for entry in of_level.take(READS_MAX) {
                    let Ok(bytes) = replica.location.get(&entry.key).await else { continue };
                    let Ok(json) = self.unseal(ContainerKind::Document, &entry.key, &bytes) else { continue };
                    let Ok(result) = serde_json::from_slice::<Verification>(&json) else { continue };
                    let is_it = result.level == level && result.workload == workload && result.verified_at <= until;
                    if is_it && take_in(&mut found, result) {
                        break;
                    }
                }
            }
        }
        match failure {
            Some(error) if !is_listed => Err(error.into()),
            _ => Ok(found),
        }
    }
}

/// The last part of the key: it begins with the time.
pub(crate) fn name_of(entry: &Entry) -> &str {
    entry.key.rsplit('/').next().unwrap_or_default()
}

/// Results of the first versions don't name their level.
fn may_be_of(entry: &Entry, level: &str) -> bool {
    name_of(entry).splitn(3, '-').nth(2).is_none_or(|named| named == level)
}

/// Whether its name says that it isn't later. One that doesn't say is read.
fn may_be_until(entry: &Entry, until: jiff::Timestamp) -> bool {
    name_of(entry).get(..16).is_none_or(|time| *time <= *until.strftime("%Y%m%dT%H%M%SZ").to_string())
}

/// Whether it passed: what is older needn't be read.
fn take_in(found: &mut BTreeMap<String, Verified>, result: Verification) -> bool {
    let has_passed = result.passed;
    let passed = has_passed.then(|| result.clone());
    match found.get_mut(&result.level) {
        None => {
            found.insert(result.level.clone(), Verified { newest: result, passed });
        }
        Some(verified) => {
            let is_later =
                |than: &Option<Verification>| than.as_ref().is_none_or(|than| than.verified_at < result.verified_at);
            if passed.is_some() && is_later(&verified.passed) {
                verified.passed = passed;
            }
            if verified.newest.verified_at < result.verified_at {
                verified.newest = result;
            }
        }
    }
    has_passed
}
