//! The states of a member and every way from one to another. The table is the truth: a change that isn't in it is a defect, and the
//! table in `docs/failover.md` is made from it.

use std::fmt;

/// What a member is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateKind {
    /// It doesn't know yet what it may be.
    Starting,
    /// Its database is a standby, or on the way to become one.
    Standby,
    /// It has promised an epoch, and receives from nobody.
    Promised,
    /// It asks for promises, catches up, and takes the lease.
    Candidate,
    /// The lease is its own; its database isn't the primary yet.
    Promoting,
    /// It writes.
    Primary,
    /// It hands over in good order.
    Draining,
    /// It must not write, and its database is being stopped.
    Demoting,
    /// It has no database.
    Witness,
}

impl StateKind {
    pub const ALL: [StateKind; 9] = [
        Self::Starting,
        Self::Standby,
        Self::Promised,
        Self::Candidate,
        Self::Promoting,
        Self::Primary,
        Self::Draining,
        Self::Demoting,
        Self::Witness,
    ];
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting",
            Self::Standby => "standby",
            Self::Promised => "promised",
            Self::Candidate => "candidate",
            Self::Promoting => "promoting",
            Self::Primary => "primary",
            Self::Draining => "draining",
            Self::Demoting => "demoting",
            Self::Witness => "witness",
        })
    }
}

/// One way from a state to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub from: StateKind,
    pub to: StateKind,
    /// When it is taken. The same words are in the journal.
    pub when: &'static str,
    /// What is done with it.
    pub done: &'static str,
}

const fn way(from: StateKind, to: StateKind, when: &'static str, done: &'static str) -> Transition {
    Transition { from, to, when, done }
}

use StateKind::{Candidate, Demoting, Draining, Primary, Promised, Promoting, Standby, Starting, Witness};

pub(crate) mod when {
    //! The words of the table, for those who take a way.
    pub const NO_DATABASE: &str = "it has no database";
    pub const NOT_THE_HOLDER: &str = "the lease is another's, or nobody's";
    pub const RUNS_UNLEASED: &str = "its database runs as a primary, and the lease isn't its own";
    pub const RETAKEN: &str = "the lease was its own before, and nobody has taken it";
    pub const BOOTSTRAPPED: &str = "an operator makes it the first primary";
    pub const ASKED: &str = "a candidate asks for a higher epoch, and it doesn't see the primary";
    pub const GONE: &str = "the primary has vanished, or its lease has ended or was released";
    pub const ORDERED: &str = "an operator orders it to take over";
    pub const FOLLOWED: &str = "a primary has an epoch at least as high as the promised one";
    pub const FORGOTTEN: &str = "the candidate hasn't become the primary in time";
    pub const GAVE_UP: &str = "not enough promises in time, another was first, or a better one asks";
    pub const TAKEN: &str = "enough have promised, it has all that they have, and the lease is its own";
    pub const PROMOTED: &str = "its database is the primary on the reserved lineage";
    pub const TOO_LONG: &str = "the promotion takes too long, or came out wrong";
    pub const REPLACED: &str = "the lease is another's now";
    pub const ENDS: &str = "its lease ends and couldn't be renewed";
    pub const DATABASE_GONE: &str = "its database died, hangs, or isn't the primary any more";
    pub const SWITCHING: &str = "an operator hands over to another";
    pub const DRAINED: &str = "its database has stopped and the lease is released";
    pub const STOPPED: &str = "its database has stopped";
}

/// Every way there is.
pub const TRANSITIONS: &[Transition] = &[
    way(Starting, Witness, when::NO_DATABASE, "it tells whom it sees"),
    way(Starting, Standby, when::NOT_THE_HOLDER, "it follows the holder"),
    way(Starting, Demoting, when::RUNS_UNLEASED, "the database is stopped at once"),
    way(Starting, Promoting, when::RETAKEN, "it goes on as the primary, with a new epoch"),
    way(Standby, Promoting, when::RETAKEN, "it goes on as the primary, with a new epoch"),
    way(Standby, Promoting, when::BOOTSTRAPPED, "epoch 1"),
    way(Standby, Promised, when::ASKED, "the promise is made durable, the receiver is cut, then it answers"),
    way(Standby, Candidate, when::GONE, "it promises itself the next epoch and asks the others"),
    way(Standby, Candidate, when::ORDERED, "it promises itself the next epoch and asks the others"),
    way(Standby, Demoting, when::RUNS_UNLEASED, "the database is stopped at once"),
    way(Promised, Promised, when::ASKED, "it promises the higher epoch"),
    way(Promised, Standby, when::FOLLOWED, "it follows that primary"),
    way(Promised, Standby, when::FORGOTTEN, "it follows only who has at least the promised epoch"),
    way(Promised, Demoting, when::RUNS_UNLEASED, "the database is stopped at once"),
    way(Candidate, Standby, when::GAVE_UP, "it follows whoever has at least the promised epoch"),
    way(Candidate, Promised, when::ASKED, "it promises a better candidate"),
    way(Candidate, Promoting, when::TAKEN, "what commits wait for is set; then it is promoted"),
    way(Candidate, Demoting, when::RUNS_UNLEASED, "the database is stopped at once"),
    way(Promoting, Primary, when::PROMOTED, "routes follow when the quorum has what it has"),
    way(Promoting, Demoting, when::TOO_LONG, "the database is stopped at once, then the lease is released"),
    way(Promoting, Demoting, when::REPLACED, "the database is stopped at once"),
    way(Promoting, Demoting, when::ENDS, "the database is stopped at once"),
    way(Primary, Demoting, when::REPLACED, "the database is stopped at once"),
    way(Primary, Demoting, when::ENDS, "the database is stopped at once"),
    way(Primary, Demoting, when::DATABASE_GONE, "what is left of it is stopped at once, then the lease is released"),
    way(Primary, Draining, when::SWITCHING, "new connections are held, the database is stopped in good order"),
    way(Draining, Standby, when::DRAINED, "the other is told to take over"),
    way(Draining, Demoting, when::REPLACED, "the database is stopped at once"),
    way(Draining, Demoting, when::ENDS, "the database is stopped at once"),
    way(Demoting, Standby, when::STOPPED, "it follows the next primary, and gives up what that one hasn't"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_state_can_be_reached_from_the_start_and_every_one_leads_on() {
        let mut reached = BTreeSet::from([Starting]);
        while let Some(way) = TRANSITIONS.iter().find(|way| reached.contains(&way.from) && !reached.contains(&way.to)) {
            reached.insert(way.to);
        }
        assert_eq!(reached, StateKind::ALL.into_iter().collect());
        for state in StateKind::ALL.into_iter().filter(|state| *state != Witness) {
            assert!(TRANSITIONS.iter().any(|way| way.from == state && way.to != state), "{state} is a dead end");
        }
    }

    #[test]
    fn nobody_becomes_the_primary_but_through_a_promotion_with_the_lease() {
        for way in TRANSITIONS.iter().filter(|way| way.to == Primary) {
            assert_eq!(way.from, Promoting);
        }
    }
}
