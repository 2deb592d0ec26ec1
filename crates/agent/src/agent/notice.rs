//! What is told beside what the member itself decides: how long a takeover took, and clocks that differ.

use super::Agent;
use crate::clock;
use lifeboat_failover::{Epoch, MemberName, Moment, Route};
use std::time::Duration;

/// Clocks that differ by less are told nobody about.
const CLOCK_DIFFERS_SECONDS: u64 = 30;

/// What takes longer than this isn't the takeover of what was missed.
const TAKEOVER_MAX: Duration = Duration::from_secs(600);

/// A primary that wasn't seen any more, by us.
#[derive(Debug)]
pub(super) struct Missed {
    pub primary: MemberName,
    pub epoch: Epoch,
    pub at: Moment,
}

impl Agent {
    /// Clients are led here, after somebody else was missed: then it was a takeover, and this is how long it took.
    pub(super) fn tell_takeover(&mut self, route: &Route) {
        let name = self.settings.failover.name.clone();
        let opened = route.primary.as_ref() == Some(&name);
        let Some(missed) = self.missed.take_if(|missed| opened && missed.epoch < route.epoch) else { return };
        let took = clock::now() - missed.at;
        if took < TAKEOVER_MAX {
            let (from, seconds) = (&missed.primary, took.as_secs_f64());
            let text = format!("{name} took over from {from}: writes go here {seconds:.2} s after that one was missed");
            self.journal_line("taken over", text, Some(route.epoch));
        }
    }

    /// No decision goes by the time of day; certificates, restores to a moment and whoever reads the journals do.
    pub(super) fn compare_clocks(&mut self, with: &MemberName, ahead_seconds: Option<i64>) {
        let Some(ahead) = ahead_seconds else { return };
        if ahead.unsigned_abs() < CLOCK_DIFFERS_SECONDS {
            if self.clocks.remove(with) {
                self.tell("over", format!("clock: that of {with} is ours again"));
            }
        } else if self.clocks.insert(with.clone()) {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            let text = format!(
                "the clock of {with} is {} s {way} ours: takeovers don't go by it, certificates and restores to a moment do",
                ahead.unsigned_abs()
            );
            self.tell("clock", text);
        }
    }
}
