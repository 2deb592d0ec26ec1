//! Where a log has got to, and which logs are continuations of which.
//!
//! A *lineage* is what PostgreSQL calls a timeline: each promotion begins a new one at a fork. Offsets of two lineages can only be
//! compared below their fork. A number is never used for two lineages: the lease reserves it before the promotion.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The number of a leadership. It grows for ever, survives the release of the lease, and has at most one holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a lineage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lineage(pub u32);

impl Lineage {
    pub fn next(self) -> Lineage {
        Lineage(self.0 + 1)
    }
}

/// How far a log is known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    pub lineage: Lineage,
    /// In bytes. Comparable on one path of lineages only: [`History::contains`].
    pub offset: u64,
}

/// One lineage, and the offset at which it left the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fork {
    pub lineage: Lineage,
    pub start: u64,
}

/// The path of lineages to where a log is now, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct History(Vec<Fork>);

impl History {
    /// `forks`, oldest first.
    pub fn new(forks: Vec<Fork>) -> Self {
        Self(forks)
    }

    pub fn forks(&self) -> &[Fork] {
        &self.0
    }

    /// The present lineage.
    pub fn last(&self) -> Option<Lineage> {
        self.0.last().map(|fork| fork.lineage)
    }

    /// This path, continued by `lineage` from `start`.
    pub fn forked(&self, lineage: Lineage, start: u64) -> Self {
        let mut forks = self.0.clone();
        forks.push(Fork { lineage, start });
        Self(forks)
    }

    /// This path without its last lineage, as if that had never begun. A path of one lineage stays.
    pub fn without_last(&self) -> Self {
        let count = self.0.len().saturating_sub(1).max(1);
        Self(self.0.iter().take(count).copied().collect())
    }

    /// Whether a log that has got to `position` is a beginning of this path. If it isn't, it holds writes that are not on
    /// it, and can follow only after they were taken away.
    pub fn contains(&self, position: Position) -> bool {
        match self.0.iter().position(|fork| fork.lineage == position.lineage) {
            None => false,
            Some(index) => self.0.get(index + 1).is_none_or(|next| position.offset <= next.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_on_the_path_up_to_the_fork_that_left_its_lineage() {
        let path = History::default().forked(Lineage(1), 0).forked(Lineage(2), 100).forked(Lineage(4), 300);
        for (lineage, offset, contained) in [
            (1, 50, true),
            (1, 100, true),
            (1, 101, false),
            (2, 300, true),
            (2, 301, false),
            (3, 100, false),
            (4, 10_000, true),
            (5, 0, false),
        ] {
            let position = Position { lineage: Lineage(lineage), offset };
            assert_eq!(path.contains(position), contained, "{position:?}");
        }
    }

    #[test]
    fn without_its_last_lineage_the_one_before_goes_on() {
        let path = History::default().forked(Lineage(1), 0).forked(Lineage(2), 100);
        assert!(path.without_last().contains(Position { lineage: Lineage(1), offset: 101 }));
        assert_eq!(path.without_last().without_last(), path.without_last());
        assert_eq!(History::default().without_last(), History::default());
    }
}
