//! Checks of rehearsals, people, and the papers.

use super::limits::{Limit, defaults};
use super::observed::{GroupSeen, Observed, OpenFinding, Rehearsed, Workload};
use super::proof::{age_seconds, ago, spoken};
use super::{Figure, Opinion, Proof, Reading, Seen};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// A recovery that takes so much longer than the ones before is a trend.
const TREND_RATIO: f64 = 1.5;
/// The newest run is compared with so many before it.
const TREND_RUNS: usize = 2;

fn each(observed: &Observed, judge: impl Fn(&GroupSeen, &[Rehearsed]) -> Opinion) -> Vec<Reading> {
    if observed.groups.is_empty() {
        let none = Seen::<()>::absent("the plan has no group and no drill");
        return vec![none.read("all", |()| Opinion::Skip(String::new()))];
    }
    observed.groups.iter().map(|group| group.runs.read(&group.name, |runs| judge(group, runs))).collect()
}

pub fn drilled(observed: &Observed) -> Vec<Reading> {
    each(observed, |group, runs| {
        let limit = &group.limits.drill_every;
        match proof(runs) {
            Some(proof) => proof.opinion("drill", limit, observed.at, &observed.stamp),
            None => Figure::never(limit.seconds, &*limit.basis, "no drill was run yet"),
        }
    })
}

/// Of runs, newest first.
pub fn proof(runs: &[Rehearsed]) -> Option<Proof> {
    let newest = runs.first()?;
    let passed = runs.iter().find(|run| run.passed);
    Some(Proof {
        passed_at: passed.map(|run| run.at),
        passed_with: passed.map(|run| run.stamp.clone()).unwrap_or_default(),
        newest_passed: newest.passed,
        newest_at: newest.at,
    })
}

/// The newest run that passed, against an objective. Nothing measured is nothing known.
fn achieved(runs: &[Rehearsed], limit: &Limit, what: &str, of: impl Fn(&Rehearsed) -> Option<f64>) -> Opinion {
    let Some(newest) = runs.first() else { return Figure::never(limit.seconds, &*limit.basis, "no drill was run yet") };
    match of(newest) {
        None => Opinion::Unknown(format!("the last drill ({}) measured no {what}", newest.id)),
        Some(seconds) => {
            let why = format!("{what} of {} in the last drill ({})", spoken(seconds), newest.id);
            Figure::of(seconds, limit.seconds, &*limit.basis, why)
        }
    }
}

pub fn rta(observed: &Observed) -> Vec<Reading> {
    each(observed, |group, runs| achieved(runs, &group.limits.rto, "RTA", |run| run.rta_seconds))
}

pub fn rpa(observed: &Observed) -> Vec<Reading> {
    each(observed, |group, runs| achieved(runs, &group.limits.rpo, "RPA", |run| run.rpa_seconds))
}

pub fn trend(observed: &Observed) -> Vec<Reading> {
    each(observed, |_, runs| {
        let mut times = runs.iter().map(|run| run.rta_seconds);
        let Some(newest) = times.next() else { return Opinion::Skip("no drill was run yet".into()) };
        let Some(newest) = newest else { return Opinion::Unknown("the last drill measured no RTA".into()) };
        let before: Vec<f64> = times.flatten().take(TREND_RUNS).collect();
        let mean = before.iter().sum::<f64>() / before.len() as f64;
        if before.is_empty() || mean <= 0.0 {
            return Opinion::Skip("there is no earlier drill to compare with".into());
        }
        let why = format!("RTA of {}, before that {} in the mean", spoken(newest), spoken(mean));
        Figure::of(newest / mean, TREND_RATIO, "half as long again", why)
    })
}

pub fn escrow(observed: &Observed) -> Vec<Reading> {
    let limit = Limit::of("proof of the key in the safe", None, defaults::QUARTER);
    let read = |proof: &Option<Proof>| match proof {
        None => Figure::never(limit.seconds, "92 days by default", "the key in the safe was never proven"),
        Some(proof) if !proof.newest_passed => {
            Figure::never(limit.seconds, "92 days by default", "the key in the safe didn't work the last time")
        }
        // What the key opens doesn't depend on configuration or version.
        Some(proof) => match proof.passed_at {
            None => Figure::never(limit.seconds, "92 days by default", "the key in the safe was never proven"),
            Some(at) => {
                let why = format!("the key in the safe opened the repository {}", ago(at, observed.at));
                Figure::of(age_seconds(at, observed.at), limit.seconds, "92 days by default", why)
            }
        },
    };
    vec![observed.governance.escrow.read("all", read)]
}

pub fn consistent(observed: &Observed) -> Vec<Reading> {
    let fine = "the plan doesn't contradict itself";
    vec![observed.governance.contradictions.read("all", |found| Figure::none_of(found, fine))]
}

pub fn runbook(observed: &Observed) -> Vec<Reading> {
    let fine = "the published runbook is that of the configuration";
    vec![observed.governance.runbook.read("all", |found| Figure::none_of(found, fine))]
}

pub fn ledger(observed: &Observed) -> Vec<Reading> {
    let fine = "every entry is there, whole, signed and in its place";
    vec![observed.governance.ledger.read("all", |found| Figure::none_of(found, fine))]
}

pub fn reviews(observed: &Observed) -> Vec<Reading> {
    let own = observed.governance.review_within.map(|within| (within, "the plan".to_owned()));
    let limit = Limit::of("review_within", own, defaults::REVIEW_WITHIN);
    let days = limit.seconds / 86_400.0;
    let late = |(what, reviewed): (&String, &Option<Date>)| match reviewed {
        None => Some(format!("{what} was never reviewed")),
        Some(day) => {
            let age = -super::of_server::days_until(observed.today, *day);
            (age > days).then(|| format!("{what} was reviewed {age:.0} days ago"))
        }
    };
    let judge = |reviews: &BTreeMap<String, Option<Date>>| {
        if reviews.is_empty() {
            return Opinion::Skip("the plan has no process and no risk".into());
        }
        let late: Vec<String> = reviews.iter().filter_map(late).collect();
        Figure::none_of(&late, format!("{} reviews within {days:.0} days", reviews.len()))
    };
    vec![observed.governance.reviews.read("all", judge)]
}

pub fn contacts(observed: &Observed) -> Vec<Reading> {
    let most = defaults::QUARTER.as_secs_f64();
    vec![observed.governance.contacts.read("all", |contacts| {
        if contacts.is_empty() {
            let nobody = "the plan names nobody who is called".to_owned();
            return Figure::none_of(&[nobody], "").with_advice("add [person.NAME] with `page`, and [role.NAME]");
        }
        let silent = |(name, at): (&String, &Option<jiff::Timestamp>)| match at {
            None => Some(format!("{name} never answered a page")),
            Some(at) => (age_seconds(*at, observed.at) > most)
                .then(|| format!("{name} last answered a page {}", ago(*at, observed.at))),
        };
        let silent: Vec<String> = contacts.iter().filter_map(silent).collect();
        Figure::none_of(&silent, format!("{} people answered a page within 92 days", contacts.len()))
    })]
}

pub fn findings(observed: &Observed) -> Vec<Reading> {
    vec![observed.governance.findings.read("all", |open| {
        let is_late = |finding: &&OpenFinding| finding.due.is_none_or(|due| due < observed.today);
        let late = open.iter().filter(is_late).map(|finding| match (finding.due, &finding.owner) {
            (Some(due), Some(owner)) => format!("{} ({owner}, due {due})", finding.what),
            (Some(due), None) => format!("{} (nobody's, due {due})", finding.what),
            (None, _) => format!("{} (no day is set)", finding.what),
        });
        Figure::none_of(&late.collect::<Vec<_>>(), format!("{} findings are open, none is overdue", open.len()))
    })]
}

pub fn alarms(observed: &Observed) -> Vec<Reading> {
    let read = |workload: &Workload| {
        workload.alarms.read(&workload.name, |missing| {
            Figure::none_of(missing, "an alarm is configured, and its program is there")
        })
    };
    observed.workloads.iter().map(read).collect()
}

pub fn alarm_seen(observed: &Observed) -> Vec<Reading> {
    let most = defaults::QUARTER.as_secs_f64();
    vec![observed.governance.alarm.read("all", |seen| match seen {
        None => Figure::never(most, "92 days by default", "no drill has waited for an alarm yet"),
        Some((at, false)) => Figure::never(
            most,
            "92 days by default",
            format!("the alarm of the drill {} didn't come", ago(*at, observed.at)),
        ),
        Some((at, true)) => {
            let why = format!("the alarm of a drill came {}", ago(*at, observed.at));
            Figure::of(age_seconds(*at, observed.at), most, "92 days by default", why)
        }
    })]
}
