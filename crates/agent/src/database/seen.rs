//! What one look at the database shows.

use lifeboat_failover::{History, Lineage, MemberName, Moment, Position};
use lifeboat_postgres::control::ClusterState;
use std::collections::BTreeMap;

/// Whether there is a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    Stopped,
    /// Its first process is dead, and others of it are still there.
    Remains,
    /// It takes no sessions yet, or no more.
    Starting,
    Running,
}

/// One look. `told` is what the server itself said, if it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// When this look began: what was ordered later isn't in it.
    pub at: Moment,
    pub run: Run,
    /// What would start, or started, is a standby.
    pub standby_signal: bool,
    /// What the control file says; `None`: it couldn't be read.
    pub state: Option<ClusterState>,
    /// Where its log ends, when it is stopped: what it was told to have done, and to where there is anything at all.
    pub stopped: Option<Stopped>,
    pub told: Option<Told>,
    /// When a server last answered.
    pub answered_at: Moment,
    /// The path to its lineage.
    pub history: History,
    /// Something was begun with the data directory and not ended: nothing may start there.
    pub unfinished: bool,
    /// The managed settings in the file.
    pub in_file: BTreeMap<String, String>,
    /// What was last said of it for the journal.
    pub last_told: Option<String>,
    /// How often the data was made anew.
    pub made_anew: u64,
}

/// The log of a stopped server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    pub lineage: Lineage,
    /// Everything that anybody could have been told is before this.
    pub position: u64,
    /// Where the last record ends.
    pub end: u64,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub in_recovery: bool,
    pub position: Position,
    /// A standby: how far it has replayed.
    pub replayed: u64,
    /// How long ago the last transaction that it has replayed was committed.
    pub replay_age: Option<std::time::Duration>,
    /// From whom it receives.
    pub receiver: Option<Receiver>,
    /// Who receives from it, and how far they have it durably; only those that were heard lately.
    pub confirmed: BTreeMap<MemberName, Position>,
    /// By how many bytes, and for how long, what each of those shows is behind.
    pub behind: BTreeMap<MemberName, (u64, std::time::Duration)>,
    /// The managed settings as they are in force for new sessions.
    pub in_force: BTreeMap<String, String>,
    /// The physical slots, and from where they keep the log.
    pub slots: BTreeMap<String, Option<u64>>,
    /// Slots, of any kind, whose log is gone.
    pub lost_slots: Vec<String>,
}

/// A standby's receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// The member, where its address is one of ours.
    pub from: Option<MemberName>,
    pub streams: bool,
    pub received_at: Moment,
}

impl Seen {
    pub fn is_standby(&self) -> bool {
        self.run == Run::Running && self.told.as_ref().is_some_and(|told| told.in_recovery)
    }

    pub fn is_primary(&self) -> bool {
        self.run == Run::Running && self.told.as_ref().is_some_and(|told| !told.in_recovery)
    }

    /// Where the log ends, as far as is known: the end of all there is when it is stopped.
    pub fn end(&self) -> Option<Position> {
        match (&self.told, &self.stopped) {
            (Some(told), _) => Some(told.position),
            (None, Some(stopped)) => Some(Position { lineage: stopped.lineage, offset: stopped.end }),
            (None, None) => None,
        }
    }
}
