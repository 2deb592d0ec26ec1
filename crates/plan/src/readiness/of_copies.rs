//! Checks of what is stored: points, log, and what was proven of them.

use super::limits::{Limit, defaults};
use super::observed::{Copied, Observed, Point, Workload};
use super::of_server::allowed;
use super::proof::{age_seconds, ago, spoken};
use super::{Figure, Opinion, Reading, Seen};
use std::time::Duration;

/// So many points before the newest one say what is usual.
const USUAL_POINTS: usize = 7;

fn each(observed: &Observed, read: impl Fn(&Copied, String) -> Reading) -> Vec<Reading> {
    observed.copies.iter().map(|copy| read(copy, format!("{} in {}", copy.workload, copy.location))).collect()
}

fn of_points(observed: &Observed, judge: impl Fn(&Workload, &[Point]) -> Opinion) -> Vec<Reading> {
    let read = |workload: &Workload| workload.points.read(&workload.name, |points| judge(workload, points));
    observed.workloads.iter().map(read).collect()
}

pub fn gaps(observed: &Observed) -> Vec<Reading> {
    each(observed, |copy, target| {
        copy.log.read(target, |log| {
            let why = match log.gaps {
                0 => "the stored log has no hole".to_owned(),
                count => format!("the stored log has {count} holes"),
            };
            Figure::of(log.gaps as f64, 0.0, "always", why)
        })
    })
}

pub fn newest_log(observed: &Observed) -> Vec<Reading> {
    each(observed, |copy, target| {
        let limit = &copy.limits.rpo;
        let most = allowed(limit.seconds);
        copy.log.read(target, |log| match (log.reach, log.unsent_seconds) {
            (None, _) => Figure::never(most, &*limit.basis, "no moment can be reached from there"),
            (Some(_), Some(unsent)) => {
                let why = format!("has all log that left the server; what hasn't is at most {} old", spoken(unsent));
                Figure::of(unsent, most, &*limit.basis, why)
            }
            (Some((_, newest)), None) => {
                let why = format!("the newest moment that can be reached was {}", ago(newest, observed.at));
                Figure::of(age_seconds(newest, observed.at), most, &*limit.basis, why)
            }
        })
    })
}

pub fn newest_point(observed: &Observed) -> Vec<Reading> {
    each(observed, |copy, target| {
        let own = copy.backup_within.map(|within| (within, "the configuration".to_owned()));
        let limit = Limit::of("backup_within", own, defaults::BACKUP_WITHIN);
        copy.newest_point.read(target, |newest| match newest {
            Some(at) => {
                let why = format!("the newest complete point was made {}", ago(*at, observed.at));
                Figure::of(age_seconds(*at, observed.at), limit.seconds, limit.basis, why)
            }
            None => Figure::never(limit.seconds, limit.basis, "there is no complete point"),
        })
    })
}

pub fn size(observed: &Observed) -> Vec<Reading> {
    of_points(observed, |_, points| {
        let Some((newest, before)) = points.split_first() else { return Opinion::Skip("there is no point yet".into()) };
        let mut usual: Vec<u64> = before.iter().take(USUAL_POINTS).map(|point| point.bytes).collect();
        usual.sort_unstable();
        let Some(median) = usual.get(usual.len() / 2).copied().filter(|median| *median > 0) else {
            return Opinion::Skip("there is no earlier point to compare with".into());
        };
        let ratio = newest.bytes as f64 / median as f64 - 1.0;
        let why = format!(
            "point {} restores to {:.0} % of the median of the {} before",
            newest.id,
            (ratio + 1.0) * 100.0,
            usual.len()
        );
        let opinion = Figure::of(ratio.abs(), defaults::SIZE_RATIO, "30 %; a loss of half is critical", why);
        if ratio < -defaults::SIZE_LOST_RATIO { opinion } else { opinion.as_warning() }
    })
}

pub fn pages(observed: &Observed) -> Vec<Reading> {
    of_points(observed, |_, points| match points.first() {
        None => Opinion::Skip("there is no point yet".into()),
        Some(newest) => {
            let why = match newest.pages_bad {
                0 => format!("no damaged page was read for point {}", newest.id),
                count => format!("{count} damaged pages were read for point {}", newest.id),
            };
            Figure::of(newest.pages_bad as f64, 0.0, "always", why)
        }
    })
}

pub fn window(observed: &Observed) -> Vec<Reading> {
    each(observed, |copy, target| {
        let Some(window) = copy.window else {
            let why = "the configuration promises no window (`keep = { window = \"14d\" }`)";
            return Seen::<()>::absent(why).read(target, |()| Opinion::Skip(String::new()));
        };
        let promised = Limit::of("window", Some((window, "the configuration".into())), Duration::ZERO);
        copy.log.read(target, |log| match log.reach {
            None => Figure::never(promised.seconds, promised.basis, "no moment can be reached from there"),
            Some((oldest, _)) => {
                let covered = age_seconds(oldest, observed.at);
                let why = format!("the oldest moment that can be reached was {}", ago(oldest, observed.at));
                Figure::of(covered, promised.seconds, promised.basis, why)
            }
        })
    })
}

pub fn restore_time(observed: &Observed) -> Vec<Reading> {
    each(observed, |copy, target| {
        let limit = &copy.limits.rto;
        copy.restored.read(target, |restored| match restored {
            Some(restored) => {
                let (took, way) = (spoken(restored.seconds), &restored.way);
                let why = format!("the last restore from there took {took} ({way}, {})", ago(restored.at, observed.at));
                Figure::of(restored.seconds, limit.seconds, &*limit.basis, why)
            }
            None => Opinion::Unknown("no restore from there was measured yet".into()),
        })
    })
}

fn verified(observed: &Observed, level: &str, what: &str, default: Duration) -> Vec<Reading> {
    let read = |workload: &Workload| {
        let own = workload.verify_within.get(level).map(|within| (*within, "the configuration".to_owned()));
        let is_own = own.is_some();
        let mut limit = Limit::of("verify_within", own, default);
        let cadence = &workload.limits.drill_every;
        if level == "boot" && !is_own && cadence.basis.contains("tier") {
            limit = cadence.clone();
        }
        workload.proofs.read(&workload.name, |proofs| match proofs.get(level) {
            Some(proof) => proof.opinion(what, &limit, observed.at, &observed.stamp),
            None => Figure::never(limit.seconds, limit.basis.clone(), format!("no {what} was made yet")),
        })
    };
    observed.workloads.iter().map(read).collect()
}

pub fn structure(observed: &Observed) -> Vec<Reading> {
    verified(observed, "structure", "verification of the structure", defaults::VERIFY_STRUCTURE)
}

pub fn data(observed: &Observed) -> Vec<Reading> {
    verified(observed, "data", "verification of every byte", defaults::VERIFY_DATA)
}

pub fn boot(observed: &Observed) -> Vec<Reading> {
    verified(observed, "boot", "test restore", defaults::VERIFY_BOOT)
}

pub fn same_version(observed: &Observed) -> Vec<Reading> {
    let read = |workload: &Workload| {
        workload.proofs.read(&workload.name, |proofs| {
            let newest = proofs.values().filter(|proof| proof.passed_at.is_some()).max_by_key(|proof| proof.passed_at);
            let Some(newest) = newest else { return Figure::never(1.0, "always", "nothing was proven yet") };
            match (&newest.passed_with.version, &observed.stamp.version) {
                (Some(then), Some(now)) => {
                    let why = format!("the last proof was made by version {then}, this is {now}");
                    Figure::of(if then == now { 1.0 } else { 0.0 }, 1.0, "always", why)
                }
                _ => Opinion::Unknown("the last proof doesn't note which version made it".into()),
            }
        })
    };
    observed.workloads.iter().map(read).collect()
}
