//! What was found wrong in a location, written down: so that whoever writes there builds on nothing damaged, whoever reads looks
//! elsewhere first, and what is gone later is missed.
//!
//! `findings/<location>/<time>-<id>` is kept in every location that can be reached when one was verified, and never copied. The
//! newest one counts: it carries on what the older ones said, as long as nobody has looked again as thoroughly. It is a hint
//! where to look, not a verdict: what was mended meanwhile is read as if nothing had been.

use crate::error::Result;
use crate::given_up::GivenUp;
use crate::index::pack_key;
use crate::log::prefix_of;
use crate::open::{Repository, describe};
use crate::reader::pack_id;
use crate::verification::strength;
use crate::verify::{Damage, verify_object as check_object, workload_of};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(crate) const PREFIX: &str = "findings/";
/// Of more damage than this only the number is kept: a location in which so much is wrong has to be made anew.
const DAMAGED_MAX: usize = 10_000;

/// Something that is not as it was written, or is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Found {
    /// The object's key, or what it stands for.
    pub object: String,
    /// What is wrong with it.
    pub what: String,
    /// The look that found it: `structure` or `data`.
    pub level: String,
    /// When it was found first.
    pub at: jiff::Timestamp,
}

/// How far a log went when it was looked at. What the names and the position mean, the kind of workload says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// The workload.
    pub workload: String,
    /// Group and name of the last file, without the id of its content.
    pub group: String,
    /// See `group`.
    pub name: String,
    /// Which log it is the end of: a workload may have several.
    pub log: String,
    /// Its end.
    pub end: u64,
    /// When it went so far.
    pub seen_at: jiff::Timestamp,
}

/// A stretch of a log that is in no location that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogGap {
    /// The workload.
    pub workload: String,
    /// Which log, from where to where, in words.
    pub what: String,
    /// The same for whoever reckons with it. Records of earlier versions have the words only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stretch: Option<LogStretch>,
}

/// A part of a log. What a position means, the kind of workload says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogStretch {
    /// Which log, as in [`LogEnd::log`].
    pub log: String,
    /// Where it begins.
    pub from: u64,
    /// Where it ends; this is no part of it.
    pub to: u64,
}

/// What a look at one location found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Its name in the configuration of whoever looked.
    pub location: String,
    /// When the look ended.
    pub found_at: jiff::Timestamp,
    /// `structure` or `data`.
    pub level: String,
    /// False when only a part of the location was looked at: then nothing that was known before is made good by it.
    pub is_whole: bool,
    /// When only one workload was looked at, and what it shares with others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// What is wrong.
    pub damaged: Vec<Found>,
    /// So much more is wrong.
    #[serde(default)]
    pub left_out: u64,
    /// How far each log went.
    #[serde(default)]
    pub log_ends: Vec<LogEnd>,
    /// Holes in logs. One that is known, and behind which a point stands, is no news.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<LogGap>,
}

impl Findings {
    /// What a look at `location` found, of everything that was found.
    pub fn of(location: &str, level: &str, is_whole: bool, bad: &[Damage], found_at: jiff::Timestamp) -> Self {
        let here = bad.iter().filter(|damage| damage.location == location && damage.object != "location");
        let mut damaged: BTreeMap<&str, Found> = BTreeMap::new();
        for damage in here {
            // What names and sizes show, a look at them makes good.
            let level = if damage.is_inside { level } else { "structure" };
            let (object, what) = (damage.object.clone(), damage.what.clone());
            let found = Found { object, what, level: level.to_owned(), at: found_at };
            let known = damaged.entry(&damage.object).or_insert_with(|| found.clone());
            if strength(level) > strength(&known.level) {
                *known = found;
            }
        }
        Self {
            location: location.to_owned(),
            found_at,
            level: level.to_owned(),
            is_whole,
            workload: None,
            damaged: damaged.into_values().collect(),
            left_out: 0,
            log_ends: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// Whether this look was at the object, and as thorough as the one that found it damaged.
    fn is_about(&self, found: &Found) -> bool {
        let of_another =
            self.workload.as_deref().zip(workload_of(&found.object)).is_some_and(|(ours, its)| ours != its);
        self.is_whole && !of_another && strength(&self.level) >= strength(&found.level)
    }

    /// Carries on what was known before and hasn't been looked at as thoroughly since; and how far logs went, unless
    /// `is_given_up` knows why one ends earlier now.
    #[must_use]
    pub fn after(mut self, before: Option<Self>, is_given_up: &dyn Fn(&LogEnd) -> bool) -> Self {
        if let Some(before) = before {
            let named: BTreeSet<String> = self.damaged.iter().map(|found| found.object.clone()).collect();
            if !self.is_whole || strength("data") > strength(&self.level) {
                self.left_out += before.left_out;
            }
            let carried: Vec<Found> = before.damaged.iter().filter(|found| !self.is_about(found)).cloned().collect();
            for found in &mut self.damaged {
                if let Some(earlier) = before.damaged.iter().find(|earlier| earlier.object == found.object) {
                    found.at = found.at.min(earlier.at);
                }
                if let Some(earlier) = carried.iter().find(|earlier| earlier.object == found.object) {
                    found.level.clone_from(&earlier.level);
                }
            }
            self.damaged.extend(carried.into_iter().filter(|found| !named.contains(&found.object)));
            let is_of_another = |gap: &LogGap| self.workload.as_ref().is_some_and(|ours| *ours != gap.workload);
            self.gaps.extend(before.gaps.into_iter().filter(|gap| !self.is_whole || is_of_another(gap)));
            self.gaps.sort();
            self.gaps.dedup();
            for end in before.log_ends {
                let same = |now: &&mut LogEnd| (&now.workload, &now.log) == (&end.workload, &end.log);
                match self.log_ends.iter_mut().find(same) {
                    Some(now) if now.end >= end.end => {}
                    _ if is_given_up(&end) => {}
                    Some(now) => *now = end,
                    None => self.log_ends.push(end),
                }
            }
        }
        self.damaged.sort();
        if self.damaged.len() > DAMAGED_MAX {
            self.left_out += (self.damaged.len() - DAMAGED_MAX) as u64;
            self.damaged.truncate(DAMAGED_MAX);
        }
        self
    }

    /// Whether everything that was looked at was as it was written.
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty() && self.left_out == 0
    }
}

impl Repository {
    /// Keeps what was found, with what was known before, in every reachable location. An error only when none took it.
    pub async fn put_findings(&self, mut findings: Findings) -> Result<()> {
        // A sweep may have been there since the look.
        for end in std::mem::take(&mut findings.log_ends) {
            if self.has_end(&findings.location, &end).await {
                findings.log_ends.push(end);
            }
        }
        let before = self.findings().await.remove(&findings.location);
        let given_up = self.given_up(&findings.location).await;
        // Also where a clock ran ahead once: what is known now comes after it.
        let known_at =
            before.as_ref().and_then(|before| before.found_at.checked_add(jiff::SignedDuration::from_millis(1)).ok());
        findings.found_at = known_at.map_or(findings.found_at, |known_at| known_at.max(findings.found_at));
        let findings = &findings.after(before, &|end| given_up.end(end) == GivenUp::Deleted);
        let (key, sealed) = self.seal_location_record(PREFIX, &findings.location, findings.found_at, findings)?;
        self.put_where_taken(&key, &sealed).await?;
        self.forget_older(PREFIX, &findings.location).await;
        Ok(())
    }

    /// Whether the file in which a log ends is there, or that can't be told.
    async fn has_end(&self, location: &str, end: &LogEnd) -> bool {
        let Some(replica) = self.replicas.iter().find(|replica| replica.name == location) else { return true };
        let prefix = prefix_of(&end.workload, &end.group);
        let listed = replica.location.list(&format!("{prefix}/")).await;
        listed.map_or(true, |entries| {
            entries.iter().any(|entry| entry.key.starts_with(&format!("{prefix}/{}", end.name)))
        })
    }

    /// Strikes out the ends of logs that a location gave up on purpose: the record of that is about to be forgotten, and nobody shall
    /// miss them then.
    pub(crate) async fn forget_log_ends(&self, location: &str) -> Result<()> {
        let known = self.findings().await.remove(location);
        let given_up = self.given_up(location).await;
        if !known.is_some_and(|known| known.log_ends.iter().any(|end| given_up.end(end) == GivenUp::Deleted)) {
            return Ok(());
        }
        // A look at nothing: it carries on all else that was known.
        self.put_findings(Findings::of(location, "structure", false, &[], jiff::Timestamp::now())).await
    }

    /// The newest findings about each location, from whichever locations answer.
    pub async fn findings(&self) -> BTreeMap<String, Findings> {
        self.newest_location_records(PREFIX).await
    }

    /// Reads these packs again in every location, and keeps what is wrong with them. Nothing is told when that fails: it is
    /// about the next session, which would meet the same damage again.
    pub(crate) async fn look_again(&self, packs: &HashSet<[u8; 32]>) {
        for replica in &self.replicas {
            let mut bad = Vec::new();
            for key in packs.iter().map(pack_key) {
                let checked = match replica.location.get(&key).await {
                    Ok(bytes) => check_object(self, &key, &bytes),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = checked
                    && error.is_loss()
                {
                    bad.push(Damage { is_inside: true, ..Damage::new(&replica.name, key, describe(&error)) });
                }
            }
            if !bad.is_empty() {
                let findings = Findings::of(&replica.name, "data", false, &bad, jiff::Timestamp::now());
                let _ = self.put_findings(findings).await;
            }
        }
    }

    /// The keys of files of a workload's log that were found damaged in one of this repository's locations. Where to look, no verdict.
    pub async fn damaged_logs(&self, workload: &str) -> HashSet<String> {
        let folder = format!("wal/{workload}/");
        let mut keys = HashSet::new();
        for (location, findings) in self.findings().await {
            if self.replicas.iter().any(|replica| replica.name == location) {
                keys.extend(
                    findings.damaged.into_iter().map(|found| found.object).filter(|key| key.starts_with(&folder)),
                );
            }
        }
        keys
    }

    /// The packs that are known to be damaged in one of this repository's locations; `None` when there are more than are named.
    pub(crate) async fn damaged_packs(&self) -> Option<HashSet<[u8; 32]>> {
        let mut packs = HashSet::new();
        for (location, findings) in self.findings().await {
            if !self.replicas.iter().any(|replica| replica.name == location) {
                continue;
            }
            if findings.left_out > 0 {
                return None;
            }
            // What names and sizes show, the session sees for itself, as it is now.
            let is_inside = |found: &&Found| found.object.starts_with("packs/") && found.level != "structure";
            let of_packs = findings.damaged.iter().filter(is_inside);
            packs.extend(of_packs.filter_map(|found| pack_id(&found.object)));
        }
        Some(packs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `structure a b` or `part data`: a look, and what it found. What is known after all of them.
    fn known_after(looks: &[&str]) -> String {
        let mut known: Option<Findings> = None;
        for (hour, look) in looks.iter().enumerate() {
            let at = jiff::Timestamp::from_second(hour as i64 * 3600).unwrap();
            let is_whole = !look.starts_with("part ");
            let mut words = look.trim_start_matches("part ").split(' ');
            let level = words.next().unwrap();
            let bad: Vec<Damage> = words
                .map(|object| Damage { is_inside: level == "data", ..Damage::new("near", object, "is bad") })
                .collect();
            known = Some(Findings::of("near", level, is_whole, &bad, at).after(known, &|_| false));
        }
        let told = known.unwrap().damaged.into_iter();
        told.map(|found| format!("{}@{}", found.object, found.at.as_second() / 3600)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_a_look_as_thorough_makes_good() {
        for (looks, expected) in [
            (&["data a b"][..], "a@0 b@0"),
            (&["data a", "structure"], "a@0"),
            (&["data a", "structure", "data"], ""),
            (&["data a", "structure a", "structure"], "a@0"),
            (&["data a", "part data b"], "a@0 b@1"),
            (&["data a", "data b"], "b@1"),
            (&["structure a", "structure"], ""),
            (&["structure a", "data"], ""),
            (&["data a", "data a"], "a@0"),
        ] {
            assert_eq!(known_after(looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn a_log_that_went_further_once_is_remembered_until_it_goes_as_far_or_was_given_up() {
        let look = |end: Option<u64>, before: Option<Findings>, given_up: bool| {
            let at = jiff::Timestamp::UNIX_EPOCH;
            let end = end.map(|end| LogEnd {
                workload: "shop".into(),
                group: "7/1".into(),
                name: end.to_string(),
                log: "7 1".into(),
                end,
                seen_at: at,
            });
            let log_ends = end.into_iter().collect();
            Findings { log_ends, ..Findings::of("near", "structure", true, &[], at) }.after(before, &|_| given_up)
        };
        let ends = |findings: &Findings| findings.log_ends.iter().map(|end| end.end).collect::<Vec<_>>();
        let first = look(Some(30), None, false);
        let lost = look(Some(20), Some(first.clone()), false);
        assert_eq!(ends(&lost), [30]);
        assert_eq!(ends(&look(None, Some(lost.clone()), false)), [30]);
        assert_eq!(ends(&look(Some(40), Some(lost.clone()), false)), [40]);
        assert_eq!(ends(&look(Some(20), Some(lost.clone()), true)), [20]);
        assert_eq!(ends(&look(None, Some(lost), true)), [0; 0]);
    }

    #[test]
    fn a_look_at_one_workload_says_nothing_about_another() {
        let at = jiff::Timestamp::UNIX_EPOCH;
        let bad = ["wal/shop/1", "wal/mill/1", "packs/1"].map(|object| Damage::new("near", object, "is missing"));
        let before = Findings::of("near", "data", true, &bad, at);
        let now = Findings { workload: Some("shop".into()), ..Findings::of("near", "data", true, &[], at) };
        let known = now.after(Some(before), &|_| false).damaged;
        assert_eq!(known.iter().map(|found| found.object.as_str()).collect::<Vec<_>>(), ["wal/mill/1"]);
    }

    #[test]
    fn what_is_too_much_to_name_is_counted() {
        let damage = |number: usize| Damage::new("near", format!("packs/{number}"), "is missing");
        let bad: Vec<Damage> = (0..DAMAGED_MAX + 3).map(damage).collect();
        let findings = Findings::of("near", "data", true, &bad, jiff::Timestamp::UNIX_EPOCH).after(None, &|_| false);
        assert_eq!((findings.damaged.len(), findings.left_out), (DAMAGED_MAX, 3));
        assert!(!findings.is_clean());
    }
}
