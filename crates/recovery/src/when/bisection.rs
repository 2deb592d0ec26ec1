//! Finding where an answer changes by asking in the middle, again and again. Pure.
//!
//! Promise: at the lower end the answer is the old one, at the upper end it isn't, however often it changes between them. Found is
//! one change; where there are several, nobody knows which.

use lifeboat_postgres::Lsn;

/// What is left to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bisection {
    low: u64,
    high: u64,
}

impl Bisection {
    /// At `low` the answer is the old one, at `high` it is another.
    pub fn new(low: u64, high: u64) -> Self {
        Self { low, high: high.max(low) }
    }

    /// Where the answer is still the old one, and where it isn't any more.
    pub fn ends(&self) -> (u64, u64) {
        (self.low, self.high)
    }

    /// Where to ask next. None when nothing is left between the ends, or no more than `enough`.
    pub fn middle(&self, enough: u64) -> Option<u64> {
        let length = self.high - self.low;
        (length > enough.max(1)).then(|| self.low + length / 2)
    }

    /// Takes an answer. Whoever was asked at `asked` may have been at `reached` instead, with nothing that counts between the two.
    pub fn learn(&mut self, asked: u64, reached: u64, is_old: bool) {
        if self.high - self.low < 2 {
            return;
        }
        // Each answer narrows it, also one that contradicts another.
        match is_old {
            true => self.low = asked.max(reached).clamp(self.low, self.high - 1),
            false => self.high = asked.min(reached).clamp(self.low + 1, self.high),
        }
    }

    /// So many answers are needed at most until no more than `enough` is left.
    pub fn steps(&self, enough: u64) -> u32 {
        let parts = (self.high - self.low).div_ceil(enough.max(1));
        parts.checked_next_power_of_two().unwrap_or(1 << 63).trailing_zeros()
    }
}

/// Positions of the log that can be reached, in stretches that lie apart; both ends of each belong to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reachable {
    stretches: Vec<(Lsn, Lsn)>,
}

impl Reachable {
    /// Those, in any order.
    pub fn new(stretches: impl IntoIterator<Item = (Lsn, Lsn)>) -> Self {
        let mut stretches: Vec<(Lsn, Lsn)> = stretches.into_iter().filter(|(from, to)| from <= to).collect();
        stretches.sort_unstable();
        stretches.dedup_by(|next, before| {
            let is_joined = next.0 <= before.1;
            before.1 = if is_joined { before.1.max(next.1) } else { before.1 };
            is_joined
        });
        Self { stretches }
    }

    /// The stretches, in order.
    pub fn stretches(&self) -> &[(Lsn, Lsn)] {
        &self.stretches
    }

    /// The first and the last position. None when there is none.
    pub fn ends(&self) -> Option<(Lsn, Lsn)> {
        Some((self.stretches.first()?.0, self.stretches.last()?.1))
    }

    /// The part between two positions.
    pub fn between(&self, from: Lsn, to: Lsn) -> Self {
        let parts = self.stretches.iter().map(|(first, last)| ((*first).max(from), (*last).min(to)));
        Self { stretches: parts.filter(|(first, last)| first <= last).collect() }
    }

    /// Counted through all stretches, as if nothing lay between them: the number of a position, or of the last one before it.
    pub fn number_of(&self, position: Lsn) -> u64 {
        let before = self.stretches.iter().take_while(|(first, _)| *first <= position);
        let count: u64 = before.map(|(first, last)| last.min(&position).bytes_since(*first) + 1).sum();
        count.saturating_sub(1)
    }

    /// The position of that number; the last one when there are fewer.
    pub fn position(&self, number: u64) -> Lsn {
        let mut left = number;
        for (first, last) in &self.stretches {
            let bytes = last.bytes_since(*first);
            if left <= bytes {
                return Lsn(first.0 + left);
            }
            left -= bytes + 1;
        }
        self.stretches.last().map_or(Lsn(0), |(_, last)| *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Asks until it is done, and tells where it ended and how often it asked.
    fn search(length: usize, enough: u64, mut ask: impl FnMut(u64) -> (u64, bool)) -> (Bisection, u32) {
        let (mut bisection, mut asked) = (Bisection::new(0, length as u64 - 1), 0);
        while let Some(middle) = bisection.middle(enough) {
            let (reached, is_old) = ask(middle);
            bisection.learn(middle, reached, is_old);
            asked += 1;
            assert!(asked < 100, "it goes on for ever: {bisection:?}");
        }
        (bisection, asked)
    }

    proptest! {
        #[test]
        fn the_one_change_is_found(length in 2usize..100_000, part in 0.0..1.0f64, enough in 1u64..500) {
            let changed = 1 + ((length - 1) as f64 * part) as u64;
            let steps = Bisection::new(0, length as u64 - 1).steps(enough);
            let (found, asked) = search(length, enough, |at| (at, at < changed));
            let (low, high) = found.ends();
            prop_assert!(low < changed && changed <= high && high - low <= enough.max(1), "{found:?}, not {changed}");
            prop_assert!(asked <= steps, "{asked} answers, not {steps}");
            prop_assert!(found.middle(enough).is_none());
        }

        #[test]
        fn of_many_changes_one_is_found(mut answers in prop::collection::vec(any::<bool>(), 2..300)) {
            *answers.first_mut().unwrap() = true;
            *answers.last_mut().unwrap() = false;
            let (found, _) = search(answers.len(), 1, |at| (at, answers[at as usize]));
            let (low, high) = found.ends();
            prop_assert_eq!(high - low, 1);
            prop_assert!(answers[low as usize] && !answers[high as usize], "{:?}", found);
        }

        /// Only some positions are the ends of records: whoever is asked between them is at the one before.
        #[test]
        fn what_was_reached_narrows_it(gaps in prop::collection::vec(1u64..5000, 2..50), which in any::<prop::sample::Index>()) {
            let ends: Vec<u64> = gaps.iter().scan(0, |at, gap| { let end = *at; *at += gap; Some(end) }).collect();
            let changed = ends[1 + which.index(ends.len() - 1)];
            let length = *ends.last().unwrap() as usize + 1;
            let at_record = |at: u64| *ends.iter().rev().find(|end| **end <= at).unwrap();
            let (found, asked) = search(length, 1, |at| (at_record(at), at_record(at) < changed));
            prop_assert_eq!(found.ends(), (changed - 1, changed));
            prop_assert!(asked <= Bisection::new(0, length as u64 - 1).steps(1));
        }

        #[test]
        fn answers_that_contradict_one_another_end_it_all_the_same(
            length in 2usize..10_000, answers in prop::collection::vec((any::<u64>(), any::<bool>()), 100)
        ) {
            let mut answers = answers.into_iter();
            let (found, _) = search(length, 1, |_| answers.next().unwrap());
            let (low, high) = found.ends();
            prop_assert!(low < high && high < length as u64);
        }

        #[test]
        fn positions_are_numbered_without_what_lies_between(parts in prop::collection::vec((1u64..50, 0u64..50), 1..8)) {
            let mut at = 100;
            let stretches: Vec<(Lsn, Lsn)> = parts.iter().map(|(gap, length)| {
                let from = at + gap + 1;
                at = from + length;
                (Lsn(from), Lsn(at))
            }).collect();
            let reachable = Reachable::new(stretches.clone().into_iter().rev());
            prop_assert_eq!(reachable.stretches(), &stretches[..]);
            let all: Vec<Lsn> = stretches.iter().flat_map(|(from, to)| (from.0..=to.0).map(Lsn)).collect();
            for (number, position) in all.iter().enumerate() {
                prop_assert_eq!(reachable.position(number as u64), *position);
                prop_assert_eq!(reachable.number_of(*position), number as u64);
            }
            for position in (0..at + 5).map(Lsn) {
                let before = all.iter().rposition(|known| *known <= position).unwrap_or(0);
                prop_assert_eq!(reachable.number_of(position), before as u64);
            }
            prop_assert_eq!(reachable.position(u64::MAX), *all.last().unwrap());
        }
    }

    #[test]
    fn stretches_are_joined_and_cut() {
        let lsns = |pairs: &[(u64, u64)]| pairs.iter().map(|(from, to)| (Lsn(*from), Lsn(*to))).collect::<Vec<_>>();
        let reachable = Reachable::new(lsns(&[(50, 60), (10, 20), (15, 30), (30, 40), (9, 8)]));
        assert_eq!(reachable.stretches(), lsns(&[(10, 40), (50, 60)]));
        assert_eq!(reachable.between(Lsn(35), Lsn(55)).stretches(), lsns(&[(35, 40), (50, 55)]));
        assert_eq!(reachable.between(Lsn(41), Lsn(49)).ends(), None);
        assert_eq!(reachable.ends(), Some((Lsn(10), Lsn(60))));
    }
}
