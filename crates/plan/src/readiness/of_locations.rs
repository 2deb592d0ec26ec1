//! Checks of the places that hold copies.

use super::limits::{Limit, defaults};
use super::observed::{Observed, Place};
use super::of_server::{gibibytes, skew};
use super::proof::{age_seconds, ago};
use super::{Figure, Opinion, Reading};

/// Where the free space's end isn't in sight.
const YEARS_OF_DAYS: f64 = 3660.0;

fn each(observed: &Observed, read: impl Fn(&Place) -> Reading) -> Vec<Reading> {
    observed.locations.iter().map(read).collect()
}

pub fn reachable(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place
            .reachable
            .read(&place.name, |troubles| Figure::none_of(troubles, "answers, and can be written, read and listed"))
    })
}

pub fn opens(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place.opens.read(&place.name, |troubles| Figure::none_of(troubles, "the repository opens with the passphrase"))
    })
}

pub fn damage(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place.damage.read(&place.name, |damage| Figure::none_of(damage, "nothing is known to be damaged"))
    })
}

pub fn clock(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| place.clock_ahead_seconds.read(&place.name, |ahead| skew(*ahead, "the store's clock")))
}

pub fn space(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place.space.read(&place.name, |space| {
            let free = gibibytes(space.free_bytes as f64);
            let Some(growth) = space.growth_bytes_per_day else {
                return Opinion::Unknown(format!("{free} free, and no point to tell how fast it grows"));
            };
            let days = if growth > 0.0 { space.free_bytes as f64 / growth } else { YEARS_OF_DAYS };
            let days = days.min(YEARS_OF_DAYS);
            let how = if space.is_assumed { "would come with a whole point each day" } else { "come a day" };
            let why = format!("{free} free, {} {how}: {days:.0} days", gibibytes(growth));
            Figure::of(days, defaults::FULL_IN_DAYS, "14 days by default", why)
        })
    })
}

pub fn immutable(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place
            .immutable
            .read(&place.name, |against| Figure::none_of(against, "the store keeps what it has, by its own word"))
    })
}

pub fn disk(observed: &Observed) -> Vec<Reading> {
    each(observed, |place| {
        place.disk.read(&place.name, |disk| {
            let own = disk.max_age.map(|most| (most, "the configuration".to_owned()));
            let limit = Limit::of("max_age", own, defaults::QUARTER);
            match disk.synced_at {
                None => Figure::never(limit.seconds, limit.basis, "the disk was never brought up to date"),
                Some(at) => {
                    let why =
                        format!("last brought up to date {}, {} points behind", ago(at, observed.at), disk.behind);
                    Figure::of(age_seconds(at, observed.at), limit.seconds, limit.basis, why)
                }
            }
        })
    })
}

pub fn three_two_one(observed: &Observed) -> Vec<Reading> {
    let read = |workload: &super::observed::Workload| {
        workload.rule.read(&workload.name, |rule| {
            let fine = format!("{} copies with the database, on {} kinds of media", rule.copies, rule.media.len());
            let opinion = Figure::none_of(&rule.missing(), fine);
            if rule.holds() { opinion } else { opinion.with_advice(rule.advice().join("; ")) }
        })
    };
    observed.workloads.iter().map(read).collect()
}
