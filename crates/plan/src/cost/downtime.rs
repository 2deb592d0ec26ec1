//! What it costs to be without a process, to lose its data, and to bring it back.
//!
//! The cost of downtime is the straight line of `cost_per_hour` plus a curve through `impacts`: from nothing at the beginning, straight from
//! one to the next. Never falling: what it has cost, it has cost.

use super::Amount;
use crate::model::Process;
use crate::money::Money;
use std::time::Duration;

const MILLISECONDS_PER_HOUR: i128 = 3_600_000;

/// A rate for an hour over a time, to the nearest millionth; the time counts in whole milliseconds. What is too much stops at the most.
pub fn per_hour(rate: Money, time: Duration) -> Money {
    let milliseconds = i128::try_from(time.as_millis()).unwrap_or(i128::MAX);
    Money::from_micros(share(rate.micros(), milliseconds, MILLISECONDS_PER_HOUR))
}

/// `amount · part / whole`, rounded to the nearest. `whole` is positive.
fn share(amount: i128, part: i128, whole: i128) -> i128 {
    let product = amount.saturating_mul(part);
    let half = whole / 2;
    product.saturating_add(if product < 0 { -half } else { half }) / whole
}

/// Points of the curve that say what it costs, from the beginning, by time, never falling.
fn curve(process: &Process) -> Vec<(Duration, Money)> {
    let mut points: Vec<(Duration, Money)> = vec![(Duration::ZERO, Money::ZERO)];
    let mut told: Vec<_> = process.impacts.iter().filter_map(|impact| Some((impact.after, impact.cost?))).collect();
    told.sort_unstable();
    for (after, cost) in told {
        let last = points.last().map_or(Money::ZERO, |(_, cost)| *cost);
        points.push((after, cost.max(last)));
    }
    points
}

/// What the curve says. After its end: as in its last stretch, unless an hour has a price of its own; then that goes on alone.
fn on_curve(points: &[(Duration, Money)], down: Duration, stays: bool) -> Money {
    let between = |(from, low): (Duration, Money), (to, high): (Duration, Money)| {
        let span = i128::try_from((to - from).as_millis()).unwrap_or(i128::MAX);
        let part = i128::try_from((down - from).as_millis()).unwrap_or(i128::MAX);
        if span == 0 { high } else { low + Money::from_micros(share((high - low).micros(), part, span)) }
    };
    let pairs = || points.iter().copied().zip(points.iter().copied().skip(1));
    if let Some((from, to)) = pairs().find(|(from, to)| from.0 <= down && down < to.0) {
        return between(from, to);
    }
    let last = points.last().map_or(Money::ZERO, |(_, cost)| *cost);
    match pairs().rfind(|(from, to)| from.0 < to.0) {
        Some((from, to)) if !stays => last.max(between(from, to)),
        _ => last,
    }
}

/// Whether a time lies behind the last point of the curve, so that its cost is a continuation.
pub fn is_beyond_the_curve(process: &Process, down: Duration) -> bool {
    let last = process.impacts.iter().filter(|impact| impact.cost.is_some()).map(|impact| impact.after).max();
    process.cost_per_hour.is_none() && last.is_some_and(|last| down > last)
}

/// What so long without the process costs. `name` is for what is missing.
pub fn downtime_cost(name: &str, process: &Process, down: Duration) -> Amount {
    if down.is_zero() {
        return Amount::ZERO;
    }
    let points = curve(process);
    if process.cost_per_hour.is_none() && points.len() == 1 {
        return Amount::missing(format!("what an hour without {name} costs"));
    }
    let straight = process.cost_per_hour.map_or(Money::ZERO, |rate| per_hour(rate, down));
    Amount::known(straight + on_curve(&points, down, process.cost_per_hour.is_some()))
}

/// What so much lost data costs: entering it again, orders that are gone.
pub fn data_loss_cost(name: &str, process: &Process, lost: Duration) -> Amount {
    if lost.is_zero() {
        return Amount::ZERO;
    }
    let rate = process.data_loss_cost_per_hour.map(|rate| per_hour(rate, lost));
    Amount::of(rate, format!("what an hour of lost data of {name} costs"))
}

/// What is paid once for each recovery.
pub fn recovery_cost(name: &str, process: &Process) -> Amount {
    Amount::of(process.recovery_cost, format!("what one recovery of {name} costs"))
}
