//! Since when each answer is what it is. A cache: lost, everything is since now.

use super::{Answer, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was answered the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The answer.
    pub status: Status,
    /// Since when it is that.
    pub since: Timestamp,
}

/// By check and target.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Memory {
    /// See the type; the key is `check target`.
    pub answers: BTreeMap<String, Remembered>,
}

impl Memory {
    /// Fills in since when each answer is what it is, and remembers it. What wasn't asked this time stays as it
    /// was.
    pub fn note(&mut self, answers: &mut [Answer], now: Timestamp) {
        for answer in answers {
            let key = format!("{} {}", answer.id, answer.target);
            let known = self.answers.get(&key).copied();
            // A time ahead of the clock was noted under another clock.
            let same = known.filter(|known| known.status == answer.status && known.since <= now);
            let since = same.map_or(now, |known| known.since);
            answer.since = Some(since);
            self.answers.insert(key, Remembered { status: answer.status, since });
        }
    }
}
