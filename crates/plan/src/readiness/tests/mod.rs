//! Each check is seen ready, not ready, and unknown; and nothing gets better by being seen less.

mod fine;
mod table;

use super::*;
use fine::{ago, fine, limits, now, run, seen, stamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use table::CASES;

fn of(observed: &Observed, id: &str) -> Vec<Answer> {
    (check(id).unwrap().judge)(observed).into_iter().map(|reading| check(id).unwrap().answer(reading)).collect()
}

#[test]
fn the_catalogue_and_the_table_have_the_same_checks() {
    let catalogue: Vec<&str> = CHECKS.iter().map(|check| check.id).collect();
    let table: Vec<&str> = CASES.iter().map(|case| case.id).collect();
    assert_eq!(catalogue, table);
    assert_eq!(catalogue.iter().collect::<BTreeSet<_>>().len(), catalogue.len(), "each once");
    assert!(catalogue.len() >= 32);
    for aspect in Aspect::ALL {
        assert!(CHECKS.iter().any(|check| check.aspect == aspect), "{aspect:?}");
    }
}

#[test]
fn each_check_is_seen_ready_and_not_and_unknown() {
    for case in CASES {
        let ready = of(&fine(), case.id);
        assert!(!ready.is_empty(), "{}", case.id);
        for answer in &ready {
            assert_eq!(answer.status, Status::Ready, "{answer:?}");
            assert!(answer.advice.is_none() && answer.measured.is_some() && !answer.standards.is_empty(), "{answer:?}");
            assert!(!answer.evidence.asked.is_empty() && answer.evidence.answer_hash.is_some(), "{answer:?}");
        }
        let after = |change: fn(&mut Observed)| {
            let mut observed = fine();
            change(&mut observed);
            of(&observed, case.id)
        };
        let broken = after(case.breaks);
        assert!(broken.iter().any(|answer| answer.status == Status::NotReady), "{}: {broken:?}", case.id);
        let said = broken.iter().filter(|answer| answer.status == Status::NotReady);
        said.for_each(|answer| assert!(answer.advice.is_some() && !answer.why.is_empty(), "{answer:?}"));
        let hidden = after(case.hides);
        assert!(hidden.iter().any(|answer| answer.status == Status::Unknown), "{}: {hidden:?}", case.id);
        let said = hidden.iter().filter(|answer| answer.status == Status::Unknown);
        said.for_each(|answer| assert!(answer.advice.is_some() && !answer.why.is_empty(), "{answer:?}"));
    }
}

#[test]
fn all_is_ready_only_where_all_is() {
    let answers = assess(&fine(), &[]);
    let sum = overall(&answers);
    assert!(sum.is_ready, "{sum:?}");
    assert_eq!((sum.ready, sum.warnings, sum.skipped), (CHECKS.len(), 0, 0));
    for case in CASES {
        for change in [case.breaks, case.hides] {
            let mut observed = fine();
            change(&mut observed);
            let sum = overall(&assess(&observed, &[]));
            assert!(sum.not_ready + sum.unknown + sum.warnings > 0, "{}", case.id);
            assert_eq!(sum.is_ready, sum.not_ready + sum.unknown == 0, "{}", case.id);
            let share = sum.score.of(check(case.id).unwrap().aspect);
            assert!(share.ready < share.of, "{}", case.id);
        }
    }
    assert!(!overall(&[]).is_ready, "nothing asked is nothing known");
}

#[test]
fn some_groups_only() {
    let answers = assess(&fine(), &[Group::Location]);
    assert!(!answers.is_empty() && answers.iter().all(|answer| answer.group == Group::Location));
}

/// Whether the first is better than the second in any way.
fn improves(after: &Overall, before: &Overall) -> bool {
    let share = |sum: &Overall| Aspect::ALL.map(|aspect| sum.score.of(aspect).ready);
    let more = share(after).iter().zip(share(before)).any(|(after, before)| *after > before);
    more || (after.is_ready && !before.is_ready) || after.ready > before.ready
}

proptest! {
    #[test]
    fn unknown_never_improves(
        broken in prop::collection::btree_set(0..CASES.len(), 0..12),
        hidden in prop::collection::vec(0..CASES.len(), 1..12),
    ) {
        let mut observed = fine();
        broken.iter().for_each(|place| (CASES[*place].breaks)(&mut observed));
        let mut before = overall(&assess(&observed, &[]));
        for place in hidden {
            (CASES[place].hides)(&mut observed);
            let after = overall(&assess(&observed, &[]));
            prop_assert!(!improves(&after, &before), "{} {before:?} {after:?}", CASES[place].id);
            before = after;
        }
    }

    #[test]
    fn an_answer_that_becomes_unknown_never_improves(
        broken in prop::collection::btree_set(0..CASES.len(), 0..12),
        place in any::<prop::sample::Index>(),
    ) {
        let mut observed = fine();
        broken.iter().for_each(|place| (CASES[*place].breaks)(&mut observed));
        let mut answers = assess(&observed, &[]);
        let before = overall(&answers);
        let place = place.index(answers.len());
        answers[place].status = Status::Unknown;
        prop_assert!(!improves(&overall(&answers), &before));
    }
}

#[test]
fn a_proof_expires_by_age_by_configuration_and_by_version() {
    let limit = Limit { seconds: 3600.0 * 24.0, basis: "the test".into() };
    let status = |change: &dyn Fn(&mut Proof), now_with: Stamp| {
        let mut proof = fine::proof(23);
        change(&mut proof);
        let opinion = proof.opinion("test restore", &limit, now(), &now_with);
        let reading = Reading { target: String::new(), opinion, evidence: Evidence::default() };
        check("verified-boot").unwrap().answer(reading).status
    };
    let with = |configuration: &str, version: &str| Stamp {
        configuration_hash: Some(configuration.into()),
        version: Some(version.into()),
    };
    assert_eq!(status(&|_| (), stamp()), Status::Ready);
    assert_eq!(status(&|proof| proof.passed_at = Some(ago(25)), stamp()), Status::NotReady);
    assert_eq!(status(&|proof| proof.passed_at = None, stamp()), Status::NotReady);
    assert_eq!(status(&|proof| proof.newest_passed = false, stamp()), Status::NotReady);
    assert_eq!(status(&|_| (), with("c2", "1.0")), Status::NotReady);
    assert_eq!(status(&|_| (), with("c1", "1.1")), Status::NotReady);
    assert_eq!(status(&|proof| proof.passed_with.version = None, stamp()), Status::Unknown);
    assert_eq!(status(&|proof| proof.passed_with.configuration_hash = None, stamp()), Status::Unknown);
    let ahead = now() + jiff::SignedDuration::from_hours(1);
    assert_eq!(status(&|proof| proof.passed_at = Some(ahead), stamp()), Status::NotReady, "a wrong clock");
}

#[test]
fn thresholds_come_from_the_tier_and_else_are_told_to_be_defaults() {
    let answers = of(&fine(), "restore-time");
    assert_eq!((answers[0].threshold, answers[0].threshold_of.as_deref()), (Some(3600.0), Some("RTO of tier gold")));
    let mut observed = fine();
    observed.copies[0].limits = Limits::of(None);
    let answers = of(&observed, "restore-time");
    assert_eq!(answers[0].threshold, Some(4.0 * 3600.0));
    assert_eq!(answers[0].threshold_of.as_deref(), Some("RTO by default, the plan says none"));
    let boot = of(&fine(), "verified-boot");
    assert_eq!(boot[0].threshold_of.as_deref(), Some("drill cadence of tier gold"));
}

#[test]
fn how_much_a_point_may_shrink() {
    for (bytes, status, severity) in [
        (1000, Status::Ready, Severity::Warning),
        (1290, Status::Ready, Severity::Warning),
        (1310, Status::NotReady, Severity::Warning),
        (690, Status::NotReady, Severity::Warning),
        (490, Status::NotReady, Severity::Critical),
    ] {
        let mut observed = fine();
        let points = [(1, bytes), (2, 1000), (3, 1000), (4, 1000)].map(|(hours, bytes)| fine::point(hours, bytes));
        observed.workloads[0].points = seen(points.into());
        let answer = of(&observed, "point-size").remove(0);
        assert_eq!((answer.status, answer.severity), (status, severity), "{bytes}");
    }
}

#[test]
fn since_when() {
    let (early, late) = (ago(5), now());
    let mut memory = Memory::default();
    let mut answers = assess(&fine(), &[]);
    memory.note(&mut answers, early);
    assert!(answers.iter().all(|answer| answer.since == Some(early)));
    let mut observed = fine();
    (CASES[0].breaks)(&mut observed);
    let mut answers = assess(&observed, &[]);
    memory.note(&mut answers, late);
    for answer in &answers {
        let since = if answer.id == CASES[0].id { late } else { early };
        assert_eq!(answer.since, Some(since), "{answer:?}");
    }
    memory.note(&mut answers, early - jiff::SignedDuration::from_hours(9));
    let back = early - jiff::SignedDuration::from_hours(9);
    assert!(answers.iter().all(|answer| answer.since == Some(back)), "what is remembered of the future isn't believed");
}

#[test]
fn nothing_that_is_no_number_keeps_to_a_threshold() {
    for comparator in [Comparator::AtMost, Comparator::AtLeast] {
        assert!(!comparator.holds(f64::NAN, 1.0) && !comparator.holds(1.0, f64::NAN));
    }
}

#[test]
fn the_trend_is_that_of_the_last_three() {
    let mut observed = fine();
    for (times, status) in [
        (vec![100.0], Status::Skipped),
        (vec![140.0, 100.0, 100.0], Status::Ready),
        (vec![160.0, 100.0, 100.0, 900.0], Status::NotReady),
    ] {
        let runs = times.iter().enumerate().map(|(place, seconds)| run("r", place as i64, *seconds)).collect();
        observed.groups[0].runs = seen(runs);
        assert_eq!(of(&observed, "drill-trend")[0].status, status, "{times:?}");
    }
    observed.groups.clear();
    assert_eq!(of(&observed, "drill-passed")[0].status, Status::Skipped);
    let zero: BTreeMap<String, f64> = BTreeMap::new();
    observed.clusters[0].routes = seen(zero);
    assert_eq!(of(&observed, "route-ttl")[0].status, Status::Skipped);
    observed.clusters.clear();
    assert_eq!(of(&observed, "cluster-primary")[0].why, "no cluster is configured");
    assert!(limits().nothing_may_be_lost);
}
