//! Is what was made, and what was proved, recent enough? Pure: times go in, sentences come out.
//!
//! Not here: reading the times. They are those that are sealed in points and results, not those of files.

use crate::config::WorkloadConfig;
use crate::output::human;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Clocks differ. What claims to be further ahead than this was made under a wrong clock, and says nothing about ages.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);

/// The latest moment that something made by now can honestly claim.
pub fn believed_until(now: Timestamp) -> Timestamp {
    now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX)
}

/// When points were finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Newest {
    /// The newest that isn't from the future.
    pub at: Option<Timestamp>,
    /// The furthest of those that are.
    pub ahead: Option<Timestamp>,
}

impl Newest {
    /// Of these times.
    pub fn of(times: impl IntoIterator<Item = Timestamp>, now: Timestamp) -> Self {
        let mut newest = Self::default();
        for time in times {
            let kept = if time <= believed_until(now) { &mut newest.at } else { &mut newest.ahead };
            *kept = (*kept).max(Some(time));
        }
        newest
    }
}

/// When the last verification of each level passed, and how the newest one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof {
    /// When one passed last.
    pub passed_at: Option<Timestamp>,
    /// When one was finished last.
    pub newest_at: Timestamp,
    /// Whether that one passed.
    pub newest_passed: bool,
}

/// One limit of the configuration, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// `newest point in ohio`, `proof by boot`.
    pub what: String,
    /// What was seen.
    pub seen: String,
    /// What to do, when it isn't as it should be.
    pub hint: Option<String>,
    /// Whether that is no more than a warning.
    pub is_warning: bool,
}

/// Judges by the limits of the workload. `points`: the newest point of each location that could be asked.
pub fn judge(
    name: &str,
    workload: &WorkloadConfig,
    points: &BTreeMap<String, Newest>,
    proofs: &BTreeMap<String, Proof>,
    now: Timestamp,
) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    for (location, ahead) in points.iter().filter_map(|(location, newest)| Some((location, newest.ahead?))) {
        judgements.push(Judgement {
            what: format!("points in {location}"),
            seen: format!(
                "one claims to be made {}: a clock was wrong, and it counts for nothing here",
                human::age(ahead, now)
            ),
            hint: Some(format!(
                "set the clock of the machine that makes the backups (ntp); `lifeboat points {name}` shows which it is"
            )),
            is_warning: true,
        });
    }
    if let Some(within) = workload.backup_within {
        for (location, newest) in points {
            let (seen, is_kept) = aged("made", newest.at, within, now);
            let hint = (!is_kept).then(|| format!("`lifeboat backup {name}`, and look why it didn't run"));
            judgements.push(Judgement { what: format!("newest point in {location}"), seen, hint, is_warning: false });
        }
    }
    for (level, within) in workload.verify_within.levels() {
        let proof = proofs.get(level).copied();
        let mut passed_at = proof.and_then(|proof| proof.passed_at);
        if level == "structure" {
            // Reading every byte follows the same structure.
            passed_at = passed_at.max(proofs.get("data").and_then(|proof| proof.passed_at));
        }
        let (mut seen, mut is_kept) = aged("passed", passed_at, within, now);
        if let Some(proof) = proof.filter(|proof| !proof.newest_passed) {
            seen = format!("{seen}; the last one, {}, failed", human::age(proof.newest_at, now));
            is_kept = false;
        }
        let option = match level {
            "structure" => "",
            "data" => " --data",
            _ => " --boot",
        };
        let hint = (!is_kept).then(|| format!("`lifeboat verify {name}{option}`, and look why it didn't run"));
        judgements.push(Judgement { what: format!("verification ({level})"), seen, hint, is_warning: false });
    }
    judgements
}

/// A time that lies a little ahead, by another machine's clock, is as recent as can be.
fn aged(done: &str, at: Option<Timestamp>, within: Duration, now: Timestamp) -> (String, bool) {
    let limit = human::duration(within);
    let Some(at) = at else { return (format!("never {done}; the limit is {limit}"), false) };
    let elapsed = now.duration_since(at);
    let is_kept = at <= believed_until(now) && (elapsed.is_negative() || elapsed.unsigned_abs() <= within);
    (format!("{done} {}; the limit is {limit}", human::age(at, now)), is_kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{UnknownKeys, parse};
    use jiff::SignedDuration;

    fn workload(lines: &str) -> WorkloadConfig {
        let text = format!(
            "[location.a]\nurl = \"file:///x\"\n[encryption]\npassphrase = {{ env = \"P\" }}\n[workload.shop]\n\
             kind = \"postgres\"\ndata_dir = \"/d\"\nconnection = \"host=h\"\n{lines}\n"
        );
        parse("f", &text, UnknownKeys::Refuse).unwrap().config.workloads.remove("shop").unwrap()
    }

    #[test]
    fn limits_and_ages() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        let passed = |hours| Proof { passed_at: Some(ago(hours)), newest_at: ago(hours), newest_passed: true };
        let failed = |hours| Proof { passed_at: None, newest_at: ago(hours), newest_passed: false };
        let recovered = Proof { passed_at: Some(ago(100)), newest_at: ago(2), newest_passed: false };
        // Lines of the configuration, hours since the newest point, proofs; what isn't kept.
        type Case<'a> = (&'a str, Option<i64>, &'a [(&'a str, Proof)], &'a [&'a str]);
        let cases: &[Case] = &[
            ("", None, &[], &[]),
            ("backup_within = \"26h\"", Some(25), &[], &[]),
            ("backup_within = \"26h\"", Some(26), &[], &[]),
            ("backup_within = \"26h\"", Some(27), &[], &["newest point in a"]),
            ("backup_within = \"26h\"", Some(-1), &[], &["points in a", "newest point in a"]),
            ("verify_within = \"7d\"", None, &[("boot", passed(-1))], &["verification (boot)"]),
            ("backup_within = \"26h\"", None, &[], &["newest point in a"]),
            ("verify_within = \"7d\"", None, &[("boot", passed(24 * 7))], &[]),
            ("verify_within = \"7d\"", None, &[("boot", passed(24 * 7 + 1))], &["verification (boot)"]),
            ("verify_within = \"7d\"", None, &[("data", passed(1))], &["verification (boot)"]),
            ("verify_within = \"7d\"", None, &[("boot", failed(1))], &["verification (boot)"]),
            ("verify_within = \"7d\"", None, &[("boot", recovered)], &["verification (boot)"]),
            ("verify_within = { structure = \"1d\" }", None, &[("data", passed(1))], &[]),
            ("verify_within = { structure = \"1d\" }", None, &[("boot", passed(1))], &["verification (structure)"]),
            (
                "verify_within = { boot = \"7d\", data = \"30d\" }",
                None,
                &[("boot", passed(200)), ("data", passed(200))],
                &["verification (boot)"],
            ),
        ];
        for (lines, point, proofs, expected) in cases {
            let points = BTreeMap::from([("a".to_owned(), Newest::of(point.map(ago), now))]);
            let proofs = proofs.iter().map(|(level, proof)| ((*level).to_owned(), *proof)).collect();
            let judged = judge("shop", &workload(lines), &points, &proofs, now);
            let broken: Vec<&str> =
                judged.iter().filter(|one| one.hint.is_some()).map(|one| one.what.as_str()).collect();
            assert_eq!(broken, *expected, "{lines} {point:?} {judged:?}");
        }
        let told = judge("shop", &workload("verify_within = \"7d\""), &BTreeMap::new(), &BTreeMap::new(), now);
        assert_eq!(told[0].seen, "never passed; the limit is 7 d");
    }

    #[test]
    fn a_point_from_the_future_is_told_and_is_not_the_newest() {
        let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let at = |minutes: i64| now + SignedDuration::from_mins(minutes);
        let forty_years = 40 * 365 * 24 * 60;
        for (minutes, newest, ahead) in [
            (vec![], None, None),
            (vec![-90, -30], Some(-30), None),
            (vec![-90, 4], Some(4), None),
            (vec![-90, 6], Some(-90), Some(6)),
            (vec![forty_years, -90, 6], Some(-90), Some(forty_years)),
            (vec![forty_years], None, Some(forty_years)),
        ] {
            let found = Newest::of(minutes.iter().copied().map(at), now);
            assert_eq!(found, Newest { at: newest.map(at), ahead: ahead.map(at) }, "{minutes:?}");
        }
        let points = BTreeMap::from([("a".to_owned(), Newest::of([at(forty_years), at(-90)], now))]);
        let judged = judge("shop", &workload("backup_within = \"1h\""), &points, &BTreeMap::new(), now);
        let told: Vec<_> = judged.iter().map(|one| (one.what.as_str(), one.seen.as_str(), one.is_warning)).collect();
        let clock = "one claims to be made in 14600 d: a clock was wrong, and it counts for nothing here";
        let late = "made 1 h ago; the limit is 1 h";
        assert_eq!(told, [("points in a", clock, true), ("newest point in a", late, false)]);
        assert!(judged.iter().all(|one| one.hint.is_some()));
    }
}
