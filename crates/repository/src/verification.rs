//! Results of verifications, kept beside the points they are about. A point itself is never changed.
//!
//! The seal proves that somebody who has the repository's key wrote a result, and that it is whole. It doesn't prove when, nor
//! that none was taken away.
//!
//! What a point is worth isn't told by the newest result alone: a look at the structure takes nothing from the test restore
//! of last week, and doesn't make up for one that failed. So each result carries the [`Standing`] after it.

use crate::container::ContainerKind;
use crate::error::Result;
use crate::key::random;
use crate::open::Repository;
use crate::point::PointId;
use serde::{Deserialize, Serialize};

/// What a verification of a point found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// The point.
    pub point: PointId,
    /// Its workload.
    pub workload: String,
    /// When it was finished.
    pub verified_at: jiff::Timestamp,
    /// Whether everything that was asked held.
    pub passed: bool,
    /// `structure`, `data` or `boot`.
    pub level: String,
    /// What was measured, by the kind of workload.
    pub details: serde_json::Value,
    /// What held after this result. Filled in when it is kept; results of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
}

/// One result, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// `structure`, `data` or `boot`.
    pub level: String,
    /// When it was found.
    pub at: jiff::Timestamp,
}

/// What all results about a point come to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Standing {
    /// The strongest failure that nothing of its strength has passed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<Proof>,
    /// The strongest pass since the last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<Proof>,
    /// The last test restore that passed, unless one failed since. Objects are the same for ever: what was damaged meanwhile and was
    /// found whole again is what was started then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub booted: Option<Proof>,
}

/// How much a level proves. One that isn't known proves nothing.
pub(crate) fn strength(level: &str) -> u8 {
    match level {
        "structure" => 1,
        "data" => 2,
        "boot" => 3,
        _ => 0,
    }
}

impl Standing {
    /// What holds after one more result.
    #[must_use]
    pub fn after(mut self, verification: &Verification) -> Self {
        let proof = Proof { level: verification.level.clone(), at: verification.verified_at };
        // Standings of older versions say it in `passed` only.
        self.booted = self.last_boot().cloned();
        let at_least =
            |other: &Option<Proof>| other.as_ref().is_none_or(|other| strength(&proof.level) >= strength(&other.level));
        match verification.passed {
            true => {
                if at_least(&self.failed) {
                    self.failed = None;
                }
                if proof.level == "boot" {
                    self.booted = Some(proof.clone());
                }
                if at_least(&self.passed) {
                    self.passed = Some(proof);
                }
            }
            false => {
                self.passed = None;
                if proof.level == "boot" {
                    self.booted = None;
                }
                if at_least(&self.failed) {
                    self.failed = Some(proof);
                }
            }
        }
        self
    }

    /// Whether it passed a test restore, and nothing failed since that wasn't found whole again.
    pub fn is_proven(&self) -> bool {
        self.failed.is_none() && self.last_boot().is_some()
    }

    fn last_boot(&self) -> Option<&Proof> {
        self.booted.as_ref().or_else(|| self.passed.as_ref().filter(|proof| proof.level == "boot"))
    }
}

/// Results of older versions carry no standing: so many are looked at to make one.
const RESULTS_READ_MAX: usize = 32;

impl Repository {
    /// Keeps a result in every reachable location, with what holds after it. An error only when none took it.
    pub async fn put_verification(&self, verification: &Verification) -> Result<()> {
        let before = self.standing(&verification.workload, &verification.point).await?.unwrap_or_default();
        let verification = &Verification { standing: Some(before.after(verification)), ..verification.clone() };
        // The names tell which is newer, also within a second: microseconds in 20 bits, the rest by chance.
        let microseconds = (verification.verified_at.subsec_nanosecond() / 1000).unsigned_abs();
        let suffix = microseconds << 12 | u32::from_be_bytes(random()?) & 0xfff;
        let time = verification.verified_at.strftime("%Y%m%dT%H%M%SZ");
        let Verification { workload, point, level, .. } = verification;
        let key = format!("verifications/{workload}/{point}/{time}-{suffix:08x}-{level}");
        let sealed = self.seal(ContainerKind::Document, verification)?;
        self.put_where_taken(&key, &sealed).await
    }

    /// The newest result for a point, if there is one that can be read.
    pub async fn latest_verification(&self, workload: &str, point: &PointId) -> Result<Option<Verification>> {
        Ok(self.newest_verifications(workload, point).await?.into_iter().next())
    }

    /// What all results about a point come to; `None` when there is none that can be read.
    pub async fn standing(&self, workload: &str, point: &PointId) -> Result<Option<Standing>> {
        Ok(standing_of(&self.newest_verifications(workload, point).await?))
    }

    /// Results for a point, newest first: down to the first that carries a standing, or [`RESULTS_READ_MAX`] of them.
    async fn newest_verifications(&self, workload: &str, point: &PointId) -> Result<Vec<Verification>> {
        let prefix = format!("verifications/{workload}/{point}/");
        for replica in &self.replicas {
            let Ok(entries) = replica.location.list(&prefix).await else { continue };
            let mut results: Vec<Verification> = Vec::new();
            for entry in entries.iter().rev().take(RESULTS_READ_MAX) {
                let Ok(bytes) = replica.location.get(&entry.key).await else { continue };
                let Ok(json) = self.unseal(ContainerKind::Document, &entry.key, &bytes) else { continue };
                let Ok(verification) = serde_json::from_slice::<Verification>(&json) else { continue };
                let has_standing = verification.standing.is_some();
                results.push(verification);
                if has_standing {
                    break;
                }
            }
            if !results.is_empty() {
                return Ok(results);
            }
        }
        Ok(Vec::new())
    }
}

/// `results`: newest first, the last with a standing if it has one.
fn standing_of(results: &[Verification]) -> Option<Standing> {
    let mut standing: Option<Standing> = None;
    for verification in results.iter().rev() {
        standing = Some(match (standing, &verification.standing) {
            (None, Some(carried)) => carried.clone(),
            (before, _) => before.unwrap_or_default().after(verification),
        });
    }
    standing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(hour: i64, level: &str, passed: bool) -> Verification {
        Verification {
            point: PointId("p".into()),
            workload: "shop".into(),
            verified_at: jiff::Timestamp::from_second(hour * 3600).unwrap(),
            passed,
            level: level.into(),
            details: serde_json::Value::Null,
            standing: None,
        }
    }

    /// `boot+ structure+`: oldest first.
    fn standing(results: &str) -> Standing {
        let mut all: Vec<Verification> = results
            .split(' ')
            .enumerate()
            .map(|(hour, word)| result(hour as i64, word.trim_end_matches(['+', '-']), word.ends_with('+')))
            .collect();
        all.reverse();
        standing_of(&all).unwrap()
    }

    /// What is told: the failure, then the pass, with their hours.
    fn told(results: &str) -> String {
        let standing = standing(results);
        let say = |proof: Option<Proof>| {
            proof.map_or("none".into(), |proof| format!("{}@{}", proof.level, proof.at.as_second() / 3600))
        };
        format!("failed {}, passed {}", say(standing.failed), say(standing.passed))
    }

    #[test]
    fn a_weaker_look_takes_nothing_away_and_makes_nothing_good() {
        for (results, expected) in [
            ("structure+", "failed none, passed structure@0"),
            ("boot+ structure+ structure+", "failed none, passed boot@0"),
            ("boot+ data+ boot+", "failed none, passed boot@2"),
            ("structure+ data+", "failed none, passed data@1"),
            ("boot+ structure-", "failed structure@1, passed none"),
            ("boot+ structure- structure+", "failed none, passed structure@2"),
            ("boot- structure+", "failed boot@0, passed structure@1"),
            ("boot- structure- structure+ data+", "failed boot@0, passed data@3"),
            ("boot- data+ boot+", "failed none, passed boot@2"),
            ("unheard+ structure+", "failed none, passed structure@1"),
        ] {
            assert_eq!(told(results), expected, "{results}");
        }
        assert_eq!(standing_of(&[]), None);
    }

    #[test]
    fn a_test_restore_counts_until_one_fails_or_damage_stays() {
        for (results, expected) in [
            ("boot+", true),
            ("boot+ structure+ data+", true),
            ("boot+ structure-", false),
            ("boot+ structure- structure+", true),
            ("boot+ data- structure+", false),
            ("boot+ data- structure+ data+", true),
            ("boot+ boot- data+", false),
            ("boot- structure+ data+", false),
            ("structure+ data+", false),
        ] {
            assert_eq!(standing(results).is_proven(), expected, "{results}");
        }
    }

    #[test]
    fn a_standing_of_an_older_version_keeps_its_test_restore() {
        let older = r#"{"passed":{"level":"boot","at":"2026-11-20T00:00:00Z"}}"#;
        let older: Standing = serde_json::from_str(older).unwrap();
        assert!(older.is_proven());
        let since = older.after(&result(500_000, "structure", false)).after(&result(500_001, "structure", true));
        assert!(since.is_proven());
    }

    #[test]
    fn a_carried_standing_stands_for_everything_before_it() {
        let carried = Standing::default().after(&result(0, "boot", true));
        let newest = Verification { standing: Some(carried.clone()), ..result(1, "structure", true) };
        assert_eq!(standing_of(std::slice::from_ref(&newest)), Some(carried.clone()));
        let after = standing_of(&[result(2, "structure", true), newest]).unwrap();
        assert_eq!(after, carried);
        assert!(after.is_proven() && !after.after(&result(3, "data", false)).is_proven());
    }
}
