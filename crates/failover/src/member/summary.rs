//! What a member shows of itself.

use super::Member;
use crate::clock::Moment;
use crate::lease::{Lease, MemberName};
use crate::position::{Epoch, Position};
use crate::transitions::StateKind;
use std::collections::BTreeSet;
use std::time::Duration;

/// For a status: what this member does, and what it knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub name: MemberName,
    pub state: StateKind,
    pub position: Position,
    pub promised: Epoch,
    /// The lease as it was last read.
    pub lease: Option<Lease>,
    /// How long its own lease still holds.
    pub holds_for: Option<Duration>,
    /// The others, and how long ago each was heard.
    pub heard: Vec<(MemberName, Duration)>,
    /// Members that somebody works at, this one too.
    pub maintained: BTreeSet<MemberName>,
}

impl Member {
    pub fn summary(&self, now: Moment) -> Summary {
        let mut maintained = self.peers.maintained(now, Duration::MAX);
        maintained.extend(self.durable.maintained.then(|| self.settings.name.clone()));
        Summary {
            maintained,
            name: self.settings.name.clone(),
            state: self.state.kind(),
            position: self.database.position,
            promised: self.durable.promised,
            lease: self.register.lease().cloned(),
            holds_for: self.hold.as_ref().map(|hold| hold.valid_until - now),
            heard: self
                .peers
                .fresh(now, Duration::MAX)
                .map(|(name, peer)| (name.clone(), now - peer.heard_at))
                .collect(),
        }
    }

    /// The lease as it was last read.
    pub fn lease(&self) -> Option<&Lease> {
        self.register.lease()
    }

    pub fn state(&self) -> StateKind {
        self.state.kind()
    }

    /// What it has written down.
    pub fn durable(&self) -> &super::Durable {
        &self.durable
    }
}
