//! Which standbys acknowledge a write, and whose promise is enough to know that they can't any more.

use crate::lease::MemberName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A commit waits until `needed` of `voters` have it durably (PostgreSQL: `ANY needed (voters)`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quorum {
    pub voters: BTreeSet<MemberName>,
    /// Nought: commits wait for nobody, and what a takeover loses is not known.
    pub needed: usize,
}

impl Quorum {
    /// Nobody is waited for.
    pub fn asynchronous() -> Self {
        Self::default()
    }

    pub fn is_asynchronous(&self) -> bool {
        self.needed == 0
    }

    /// Whether every set of voters that could acknowledge a write has one in it who promised: so none acknowledges any more,
    /// and whatever was acknowledged, one of those who promised has it.
    ///
    /// `needed` of the voters acknowledge, so fewer than `needed` may be left: promised + needed > voters.
    pub fn blocked_by(&self, promised: &BTreeSet<MemberName>) -> bool {
        self.is_asynchronous()
            || self.voters.intersection(promised).count().saturating_add(self.needed) > self.voters.len()
    }

    /// Whether these are enough for a commit.
    pub fn met_by(&self, confirmed: &BTreeSet<MemberName>) -> bool {
        self.voters.intersection(confirmed).count() >= self.needed
    }
}

/// All quorums that writes may have been acknowledged by: one, or several while it changes. A takeover has to block them all.
///
/// A quorum is changed like members of a Raft group (Ongaro, 2014, §4.3, joint consensus): first the lease names the old and the
/// new one; then commits wait for the new one; when enough of it have what was acknowledged before, the lease names the new one alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quorums(Vec<Quorum>);

impl Quorums {
    /// More than this many at once are not kept: takeover upon takeover, none of which was ever caught up with.
    pub const MOST: usize = 8;

    pub fn only(quorum: Quorum) -> Self {
        Self(vec![quorum])
    }

    /// These, and `quorum` as the one that commits are to wait for next.
    pub fn joined_by(&self, quorum: Quorum) -> Self {
        let mut all: Vec<_> = self.0.iter().filter(|known| **known != quorum).cloned().collect();
        all.push(quorum);
        Self(all)
    }

    /// The one that commits wait for, or are going to.
    pub fn newest(&self) -> Option<&Quorum> {
        self.0.last()
    }

    pub fn is_joint(&self) -> bool {
        self.0.len() > 1
    }

    pub fn is_full(&self) -> bool {
        self.0.len() >= Self::MOST
    }

    /// Whether any write may have been acknowledged by the primary alone.
    pub fn any_asynchronous(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(Quorum::is_asynchronous)
    }

    /// [`Quorum::blocked_by`], each of them but the first `but`.
    pub fn blocked_by(&self, promised: &BTreeSet<MemberName>, but: usize) -> bool {
        self.0.iter().skip(but).all(|quorum| quorum.blocked_by(promised))
    }

    /// So many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How many of the first `of` aren't this one.
    pub fn others_among(&self, of: usize, quorum: &Quorum) -> usize {
        self.0.iter().take(of).filter(|known| *known != quorum).count()
    }

    /// Whether `name` is a voter of any.
    pub fn has_voter(&self, name: &MemberName) -> bool {
        self.0.iter().any(|quorum| quorum.voters.contains(name))
    }

    /// Whether a primary that only these can still confirm to could have a write acknowledged.
    pub fn met_by(&self, confirmed: &BTreeSet<MemberName>) -> bool {
        self.0.iter().any(|quorum| quorum.met_by(confirmed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn members(bits: u32, of: usize) -> BTreeSet<MemberName> {
        (0..of).filter(|place| bits >> place & 1 == 1).map(|place| MemberName::from(format!("m{place}"))).collect()
    }

    proptest! {
        /// The argument of the room in one line: who promised meets every set that could have acknowledged.
        #[test]
        fn promises_that_block_meet_every_acknowledgement(of in 1usize..8, needed in 1usize..8, promised: u32, acknowledged: u32) {
            let quorum = Quorum { voters: members(u32::MAX, of), needed };
            let (promised, acknowledged) = (members(promised, of), members(acknowledged, of));
            if quorum.blocked_by(&promised) && quorum.met_by(&acknowledged) {
                prop_assert!(promised.intersection(&acknowledged).next().is_some());
            }
        }

        /// One promise fewer would not do.
        #[test]
        fn one_promise_fewer_leaves_enough_to_acknowledge(of in 1usize..8, needed in 1usize..8, promised: u32) {
            let quorum = Quorum { voters: members(u32::MAX, of), needed };
            let promised = members(promised, of);
            if !quorum.blocked_by(&promised) {
                let left: BTreeSet<_> = quorum.voters.difference(&promised).cloned().collect();
                prop_assert!(quorum.met_by(&left));
            }
        }
    }
}
