//! Who waits for the source just now, and whom it refused.
//!
//! Promise: one who waits for ever is known, and holds up nobody who could do something meanwhile.

use crate::journal::FileNumber;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who has waited longer than this gets nothing sooner when others step aside.
const SOON: Duration = Duration::from_secs(1);
/// Refusals that are remembered: one is enough to tell of.
const REFUSALS_MAX: usize = 64;

/// Something that somebody wanted and did not get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Of which file.
    pub number: FileNumber,
    /// Which bytes of it.
    pub bytes: Range<u64>,
    /// Whether the local disk did not take it. Else the source did not give it.
    pub is_local: bool,
    /// When it was first refused.
    pub since: Instant,
    /// Why, in words.
    pub why: String,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    since: BTreeMap<u64, Instant>,
    refused: Vec<Refusal>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what waits for the source.
    pub fn during<T>(&self, act: impl FnOnce() -> T) -> T {
        let number = {
            let mut state = self.lock();
            state.next += 1;
            let number = state.next;
            state.since.insert(number, Instant::now());
            number
        };
        let result = act();
        self.lock().since.remove(&number);
        result
    }

    /// Whether somebody waits who will be served the sooner the less others do.
    pub fn is_soon(&self) -> bool {
        // The last who came has the largest number.
        self.lock().since.last_key_value().is_some_and(|(_, since)| since.elapsed() < SOON)
    }

    /// How long the one has waited who has waited longest.
    pub fn longest(&self) -> Option<Duration> {
        self.lock().since.first_key_value().map(|(_, since)| since.elapsed())
    }

    /// Somebody did not get what he wanted.
    pub fn refused(&self, refusal: Refusal) {
        let mut state = self.lock();
        let is_same = |known: &Refusal| known.number == refusal.number && known.bytes == refusal.bytes;
        match state.refused.iter().position(is_same) {
            Some(at) => state.refused[at] = Refusal { since: state.refused[at].since, ..refusal },
            None if state.refused.len() < REFUSALS_MAX => state.refused.push(refusal),
            None => {}
        }
    }

    /// What was refused and `is_absent` still, the first one first. The others are forgotten.
    pub fn still_refused(&self, is_absent: impl Fn(&Refusal) -> bool) -> Vec<Refusal> {
        // Who looks takes other locks.
        let mut refused = std::mem::take(&mut self.lock().refused);
        refused.retain(is_absent);
        let still = refused.clone();
        let mut state = self.lock();
        refused.append(&mut state.refused);
        state.refused = refused;
        still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_told_until_it_is_here() {
        let waiting = Waiting::default();
        let refuse = |number, bytes, why: &str| {
            waiting.refused(Refusal { number, bytes, is_local: false, since: Instant::now(), why: why.into() });
        };
        refuse(7, 0..8192, "away");
        refuse(8, 0..8192, "away");
        let still = |is_absent: fn(&Refusal) -> bool| waiting.still_refused(is_absent);
        let first = still(|_| true)[0].clone();
        refuse(7, 0..8192, "still away");
        let again = still(|_| true)[0].clone();
        assert_eq!((again.number, again.since, again.why.as_str()), (7, first.since, "still away"));
        let numbers = |refused: Vec<Refusal>| refused.iter().map(|refusal| refusal.number).collect::<Vec<_>>();
        assert_eq!(numbers(still(|_| true)), [7, 8]);
        assert_eq!(numbers(still(|refusal| refusal.number == 8)), [8]);
        assert_eq!(still(|_| false), []);
        assert_eq!(still(|_| true), [], "what came is forgotten");
        (0..1000).for_each(|number| refuse(number, 0..1, ""));
        assert_eq!(waiting.lock().refused.len(), REFUSALS_MAX);
    }

    #[test]
    fn who_waits_is_known_for_as_long() {
        let waiting = Waiting::default();
        assert!(!waiting.is_soon() && waiting.longest().is_none());
        waiting.during(|| assert!(waiting.is_soon() && waiting.longest().is_some()));
        assert!(!waiting.is_soon() && waiting.longest().is_none());
        let long_ago = Instant::now().checked_sub(SOON).unwrap();
        waiting.lock().since.insert(0, long_ago);
        assert!(!waiting.is_soon(), "who hangs is not stepped aside for");
        waiting.during(|| assert!(waiting.is_soon() && waiting.longest() >= Some(SOON)));
    }
}
