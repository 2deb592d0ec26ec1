//! Is what was made, and what was proved, recent enough? Pure: times go in, sentences come out.
//!
//! Not here: reading the times. They are those that are sealed in points and results, not those of files.

use crate::config::WorkloadConfig;
use crate::output::human;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

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
    /// What to do, when the limit isn't kept.
    pub hint: Option<String>,
}

/// Judges by the limits of the workload. `points`: the newest point of each location that could be asked.
pub fn judge(
    name: &str,
    workload: &WorkloadConfig,
    points: &BTreeMap<String, Option<Timestamp>>,
    proofs: &BTreeMap<String, Proof>,
    now: Timestamp,
) -> Vec<Judgement> {
    let mut judgements = Vec::new();
    if let Some(within) = workload.backup_within {
        for (location, newest) in points {
            let (seen, is_kept) = aged("made", *newest, within, now);
            let hint = (!is_kept).then(|| format!("`lifeboat backup {name}`, and look why it didn't run"));
            judgements.push(Judgement { what: format!("newest point in {location}"), seen, hint });
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
        judgements.push(Judgement { what: format!("verification ({level})"), seen, hint });
    }
    judgements
}

/// A time that lies ahead, by another machine's clock, is as recent as can be.
fn aged(done: &str, at: Option<Timestamp>, within: Duration, now: Timestamp) -> (String, bool) {
    let limit = human::duration(within);
    let Some(at) = at else { return (format!("never {done}; the limit is {limit}"), false) };
    let elapsed = now.duration_since(at);
    let is_kept = elapsed.is_negative() || elapsed.unsigned_abs() <= within;
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
            ("backup_within = \"26h\"", Some(-1), &[], &[]),
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
            let points = BTreeMap::from([("a".to_owned(), point.map(ago))]);
            let proofs = proofs.iter().map(|(level, proof)| ((*level).to_owned(), *proof)).collect();
            let judged = judge("shop", &workload(lines), &points, &proofs, now);
            let broken: Vec<&str> =
                judged.iter().filter(|one| one.hint.is_some()).map(|one| one.what.as_str()).collect();
            assert_eq!(broken, *expected, "{lines} {point:?} {judged:?}");
        }
        let told = judge("shop", &workload("verify_within = \"7d\""), &BTreeMap::new(), &BTreeMap::new(), now);
        assert_eq!(told[0].seen, "never passed; the limit is 7 d");
    }
}
