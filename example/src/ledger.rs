//! What clients were promised: every acknowledged write, when, and by whom. Pure; times are since the beginning.

use crate::script::PLACES;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Seconds of traffic that are remembered for the picture.
const SECONDS_KEPT: usize = 240;

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    acknowledged: BTreeMap<i32, BTreeSet<i32>>,
    /// Of each second: which, and how many writes.
    seconds: VecDeque<(u64, u64)>,
    traffic: Traffic,
}

/// What is shown, and judged by.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Traffic {
    /// All of them.
    pub acknowledged: u64,
    /// In each of the last whole seconds, oldest first.
    pub rates: Vec<u64>,
    /// Who took the last write, and when.
    pub written: Option<(usize, Duration)>,
    /// Who answered the last question, and when.
    pub read: Option<(usize, Duration)>,
    pub errors: u64,
    pub last_error: Option<(Duration, String)>,
    /// When the last step was begun.
    pub since: Duration,
    /// The longest time without a write since then.
    pub longest: Duration,
    /// The first write of each place that was asked for after it.
    pub first: [Option<Duration>; PLACES],
}

impl Ledger {
    pub fn acknowledged(&mut self, row: (i32, i32), place: usize, asked: Duration, now: Duration) {
        self.acknowledged.entry(row.0).or_default().insert(row.1);
        let second = now.as_secs();
        match self.seconds.back_mut() {
            Some((last, count)) if *last == second => *count += 1,
            _ => self.seconds.push_back((second, 1)),
        }
        while self.seconds.len() > SECONDS_KEPT {
            self.seconds.pop_front();
        }
        let traffic = &mut self.traffic;
        traffic.acknowledged += 1;
        traffic.longest = traffic.longest.max(silence(traffic, now));
        traffic.written = Some((place, now));
        if let Some(first) = traffic.first.get_mut(place).filter(|_| asked > traffic.since) {
            first.get_or_insert(now);
        }
    }

    pub fn answered(&mut self, place: usize, now: Duration) {
        self.traffic.read = Some((place, now));
    }

    pub fn failed(&mut self, why: String, now: Duration) {
        self.traffic.errors += 1;
        self.traffic.last_error = Some((now, why));
    }

    /// A step is begun: what came before counts no more.
    pub fn begin(&mut self, now: Duration) {
        self.traffic.since = now;
        self.traffic.longest = Duration::ZERO;
        self.traffic.first = [None; PLACES];
    }

    /// What there is to show now.
    pub fn traffic(&self, now: Duration) -> Traffic {
        let mut traffic = self.traffic.clone();
        traffic.longest = traffic.longest.max(silence(&traffic, now));
        let counts: BTreeMap<u64, u64> = self.seconds.iter().copied().collect();
        let first = counts.keys().next().copied().unwrap_or_default();
        let from = first.max(now.as_secs().saturating_sub(SECONDS_KEPT as u64));
        let rate = |second| counts.get(&second).copied().unwrap_or_default();
        traffic.rates = (from..now.as_secs()).map(rate).collect();
        traffic
    }

    /// All that was acknowledged.
    pub fn rows(&self) -> Vec<(i32, i32)> {
        self.acknowledged.iter().flat_map(|(client, numbers)| numbers.iter().map(|number| (*client, *number))).collect()
    }
}

/// How long nobody has written, of the time that counts: from the last write, also if that was before the step.
fn silence(traffic: &Traffic, now: Duration) -> Duration {
    traffic.written.map_or(Duration::ZERO, |(_, last)| now.saturating_sub(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn silence_and_the_first_write_count_from_the_step_on() {
        let mut ledger = Ledger::default();
        ledger.acknowledged((1, 1), 0, at(0), at(100));
        ledger.acknowledged((1, 2), 0, at(100), at(3_000));
        ledger.begin(at(3_100));
        assert_eq!(ledger.traffic(at(3_150)).longest, at(150), "what was before is over");
        ledger.acknowledged((1, 3), 1, at(3_050), at(4_200));
        assert_eq!(ledger.traffic(at(4_300)).first, [None; 3], "it was asked for before");
        ledger.acknowledged((1, 4), 1, at(4_200), at(4_400));
        ledger.acknowledged((1, 5), 1, at(4_400), at(4_500));
        let traffic = ledger.traffic(at(4_600));
        assert_eq!(traffic.first, [None, Some(at(4_400)), None]);
        assert_eq!(traffic.longest, at(1_200));
        assert_eq!((traffic.acknowledged, traffic.written), (5, Some((1, at(4_500)))));
        assert_eq!(ledger.traffic(at(9_500)).longest, at(5_000), "it goes on");
    }

    #[test]
    fn rates_have_a_nought_for_each_second_without_a_write() {
        let mut ledger = Ledger::default();
        for (number, milliseconds) in [(1, 1_100), (2, 1_900), (3, 4_100), (4, 5_100)] {
            ledger.acknowledged((7, number), 0, at(0), at(milliseconds));
        }
        assert_eq!(ledger.traffic(at(5_500)).rates, [2, 0, 0, 1], "the second that isn't over isn't counted");
        assert_eq!(ledger.rows(), [(7, 1), (7, 2), (7, 3), (7, 4)]);
    }
}
