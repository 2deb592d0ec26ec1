//! Saying seldom what happens often: while a location is away, every part of every file fails again and again.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So much is said in each of these spans, and no more.
const SPAN: Duration = Duration::from_secs(60);
const SAID_MAX: u32 = 5;

/// Knows what was said lately.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    said: u32,
    unsaid: u64,
}

impl Seldom {
    /// Whether it is to be said now; and how much was left unsaid before.
    pub fn is_due(&self) -> Option<u64> {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.duration_since(began) >= SPAN) {
            (state.began, state.said) = (Some(now), 0);
        }
        if state.said >= SAID_MAX {
            state.unsaid += 1;
            return None;
        }
        state.said += 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_seldom() {
        let (seldom, begun) = (Seldom::default(), Instant::now());
        let said: Vec<_> = (0..100).filter_map(|_| seldom.is_due_at(begun)).collect();
        assert_eq!(said, [0; SAID_MAX as usize]);
        assert_eq!(seldom.is_due_at(begun + SPAN / 2), None);
        assert_eq!(seldom.is_due_at(begun + SPAN), Some(101 - u64::from(SAID_MAX)), "what was left unsaid is counted");
        assert_eq!(seldom.is_due_at(begun + SPAN), Some(0));
    }
}
