//! Who follows, fits, and still gets nothing from its primary: that has removed the log that is needed. Pure.
//!
//! The archive has it, then. It isn't read before, nor any longer than needed: a server that waits for a command hears neither that it is to be cut off
//! nor that it is to be promoted.

use super::seen::{Run, Seen};
use lifeboat_failover::Moment;
use std::time::Duration;

/// Nothing for so long, from one that answers us: then it has nothing for us. A connection takes far less, a primary that is being replaced less too.
const UNSERVED_AFTER: Duration = Duration::from_secs(4);
/// A receiver that lasts so long gets what it asked for: one that is refused ends within milliseconds, and another begins.
const SERVED_AFTER: Duration = Duration::from_secs(1);
/// An answer counts for so long.
const ANSWER_COUNTS: Duration = Duration::from_secs(2);

/// What was seen under the present order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unserved {
    /// When the one that is followed last said that we fit.
    pub answered_at: Option<Moment>,
    /// Since when every look has shown a receiver.
    served_since: Option<Moment>,
    /// Since when there has been none that lasts.
    since: Option<Moment>,
    /// It gets nothing.
    pub is_so: bool,
}

impl Unserved {
    /// `follows`: it is set up to follow somebody whom it fits, and the server goes by that.
    pub fn note(&mut self, seen: &Seen, follows: bool) {
        if !follows || !matches!(seen.run, Run::Running | Run::Starting) {
            *self = Self { answered_at: self.answered_at, ..Self::default() };
            return;
        }
        let receiver = seen.told.as_ref().and_then(|told| told.receiver.as_ref());
        self.served_since = receiver.filter(|receiver| receiver.streams).and(self.served_since.or(Some(seen.at)));
        if self.served_since.is_some_and(|since| seen.at - since >= SERVED_AFTER) {
            (self.since, self.is_so) = (None, false);
            return;
        }
        let since = *self.since.get_or_insert(seen.at);
        // One that takes no sessions yet is asked once, before it is started.
        let answers = seen.run == Run::Starting || self.answered_at.is_some_and(|at| seen.at - at < ANSWER_COUNTS);
        self.is_so |= answers && seen.at - since >= UNSERVED_AFTER;
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{running, seen};
    use super::*;

    fn at(milliseconds: u64, mut seen: Seen) -> Seen {
        seen.at = Moment(Duration::from_millis(100_000 + milliseconds));
        seen
    }

    fn looks(unserved: &mut Unserved, from: u64, to: u64, answers: bool, streams: impl Fn(u64) -> bool) {
        for now in (from..to).step_by(100) {
            let look = at(now, running(true, "ohio", streams(now).then_some(true)));
            if answers {
                unserved.answered_at = Some(look.at);
            }
            unserved.note(&look, true);
        }
    }

    #[test]
    fn a_receiver_that_comes_and_goes_gets_nothing_and_one_that_lasts_does() {
        let mut unserved = Unserved::default();
        looks(&mut unserved, 0, 3_900, true, |now| now % 300 == 0);
        assert!(!unserved.is_so, "not long enough");
        looks(&mut unserved, 3_900, 5_000, true, |now| now % 300 == 0);
        assert!(unserved.is_so);
        looks(&mut unserved, 5_000, 5_900, true, |_| true);
        assert!(unserved.is_so, "it may be refused yet");
        looks(&mut unserved, 5_900, 6_500, true, |_| true);
        assert!(!unserved.is_so);
    }

    #[test]
    fn who_is_silent_may_be_away() {
        let mut unserved = Unserved::default();
        looks(&mut unserved, 0, 20_000, false, |_| false);
        assert!(!unserved.is_so);
        looks(&mut unserved, 20_000, 20_200, true, |_| false);
        assert!(unserved.is_so);
        unserved.note(&at(21_000, running(true, "", None)), false);
        assert!(!unserved.is_so, "cut off");
    }

    #[test]
    fn one_that_never_gets_to_take_sessions_counts_too() {
        let mut unserved = Unserved::default();
        for now in [0, 2_000, 4_000] {
            unserved.note(&at(now, seen(Run::Starting, true, "ohio")), true);
        }
        assert!(unserved.is_so);
    }
}
