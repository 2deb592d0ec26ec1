//! The one register that everybody looks at: who holds the right to write.

use crate::position::{Epoch, History, Position};
use crate::quorum::{Quorum, Quorums};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The name of a member, unique in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberName(String);

impl MemberName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Into<String>> From<S> for MemberName {
    fn from(name: S) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A version of the register, as its store names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(pub String);

/// What the holder does with its right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum LeaseState {
    /// It writes, or is about to.
    Held,
    /// It stops in good order, so that `to` can go on.
    Draining { to: MemberName },
    /// Its database is stopped at the lease's position and stays so: whoever has that much loses nothing. `to` goes first.
    Released { to: Option<MemberName> },
}

/// The content of the register. Replaced as a whole, and only if it is still what the writer has read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Whose register this is. A member of another cluster that finds it does nothing.
    pub cluster: String,
    /// Whose data it is about: PostgreSQL's system identifier, as a text, because JSON's numbers are too small elsewhere. A member with other data
    /// does nothing with it. `None`: nobody with data has written it yet. The shell writes and compares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_id: Option<String>,
    pub epoch: Epoch,
    pub holder: MemberName,
    /// Which run of the holder's agent, drawn at random: so that a restarted agent doesn't take a lease of its former life for its own.
    pub incarnation: u64,
    /// The run of an agent that wrote this: the holder's, or that of a member that only changed whether it is paused.
    pub writer: u64,
    /// Grows with every write, so that no two contents are the same (stores that name a version after its content).
    pub sequence: u64,
    #[serde(flatten)]
    pub state: LeaseState,
    /// How long it holds after it was written.
    #[serde(with = "milliseconds", rename = "lifetime_milliseconds")]
    pub lifetime: Duration,
    /// How far the holder's log was.
    pub position: Position,
    /// The path to the holder's lineage. Its last is reserved for this epoch before it exists.
    pub history: History,
    /// By whom writes may have been acknowledged.
    pub quorums: Quorums,
    /// So many of them, the first, are of primaries before the holder. Those acknowledge nothing any more, because too many voters have promised
    /// a later epoch; and what they acknowledged lies before the holder's lineage.
    #[serde(default)]
    pub former: usize,
    /// Nobody takes over by himself.
    pub paused: bool,
}

impl Lease {
    /// Whether this was written by that run of that member.
    pub fn is_of(&self, holder: &MemberName, incarnation: u64) -> bool {
        self.holder == *holder && self.incarnation == incarnation
    }

    /// `quorum` is what a new holder's commits wait for.
    pub fn take_over(&mut self, quorum: Quorum) {
        if !self.quorums.is_full() {
            self.quorums = self.quorums.joined_by(quorum);
        }
        self.former = self.quorums.count().saturating_sub(1);
    }

    /// `quorum` is what the same holder's commits wait for next.
    pub fn join(&mut self, quorum: Quorum) {
        self.former = self.quorums.others_among(self.former, &quorum);
        self.quorums = self.quorums.joined_by(quorum);
    }

    /// Commits are covered by the newest quorum alone.
    pub fn settle(&mut self) {
        if let Some(newest) = self.quorums.newest().cloned() {
            (self.quorums, self.former) = (Quorums::only(newest), 0);
        }
    }

    /// Whether those who promised keep every write from being acknowledged that the holder, or one before it, could have acknowledged, or have
    /// it. `has_beginning`: one of them has everything that was written before the holder's lineage.
    pub fn is_blocked_by(&self, promised: &BTreeSet<MemberName>, has_beginning: bool) -> bool {
        self.quorums.blocked_by(promised, if has_beginning { self.former } else { 0 })
    }

    pub fn is_released(&self) -> bool {
        matches!(self.state, LeaseState::Released { .. })
    }

    /// What tells each write from every other: two who write at once may choose the same sequence.
    pub fn mark(&self) -> (Epoch, u64, u64, u64) {
        (self.epoch, self.incarnation, self.writer, self.sequence)
    }
}

mod milliseconds {
    use serde::{Deserialize, Deserializer, Serializer};
    use std::time::Duration;

    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
