//! What must never happen, watched while the world runs.

use crate::database::Entry;
use lifeboat_failover::{Epoch, History, Lease, MemberName, Route};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A rule that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// A primary began without a write that had been acknowledged.
    LostWrite { entry: u64, primary: String, epoch: u64 },
    /// A write was acknowledged by a primary after a later one had begun to acknowledge, and that one hasn't got it.
    TwoWriters { by: String, epoch: u64, after: u64 },
    /// Two that took writes at the same time.
    Overlap { one: String, other: String },
    /// An epoch had two holders, or went back.
    EpochReused { epoch: u64, first: String, second: String },
    /// A promotion to a lineage that the log has been on already: two histories of the same name.
    LineageReused { by: String, lineage: u32 },
    /// Two logs that should be one the beginning of the other aren't.
    MixedLogs { one: String, other: String },
    /// One epoch was routed to two members.
    RouteForked { epoch: u64, first: String, second: String },
    /// Nobody takes writes, long after the last fault.
    NoPrimary { seconds: u64 },
    /// Primaries came and went although nothing was wrong.
    Flapping { epochs: u64 },
}

impl Finding {
    /// Whether something was lost or done twice; else only nobody was there for too long.
    pub fn is_of_safety(&self) -> bool {
        !matches!(self, Self::NoPrimary { .. } | Self::Flapping { .. })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What has happened so far, as far as rules speak of it.
#[derive(Debug, Default)]
pub(crate) struct Checkers {
    pub findings: Vec<Finding>,
    /// Every acknowledged write, with the epoch of who acknowledged it.
    acknowledged: BTreeMap<u64, Epoch>,
    highest_acknowledging: Epoch,
    holders: BTreeMap<Epoch, (MemberName, u64)>,
    highest: Epoch,
    routed: BTreeMap<Epoch, MemberName>,
    pub acknowledged_by_epoch: BTreeMap<Epoch, u64>,
}

impl Checkers {
    fn find(&mut self, finding: Finding) {
        if self.findings.len() < 5 {
            self.findings.push(finding);
        }
    }

    /// The store has applied this.
    pub fn leased(&mut self, lease: &Lease) {
        let holder = (lease.holder.clone(), lease.incarnation);
        let known = self.holders.entry(lease.epoch).or_insert_with(|| holder.clone()).clone();
        if known != holder || lease.epoch < self.highest {
            self.find(Finding::EpochReused {
                epoch: lease.epoch.0,
                first: known.0.to_string(),
                second: format!("{} ({})", holder.0, holder.1),
            });
        }
        self.highest = self.highest.max(lease.epoch);
    }

    pub fn highest_epoch(&self) -> Epoch {
        self.highest
    }

    pub fn acknowledge(&mut self, entry: Entry, by: &MemberName, epoch: Epoch, elsewhere: bool) {
        self.acknowledged.insert(entry.0, epoch);
        *self.acknowledged_by_epoch.entry(epoch).or_default() += 1;
        if epoch < self.highest_acknowledging && !elsewhere {
            let after = self.highest_acknowledging.0;
            self.find(Finding::TwoWriters { by: by.to_string(), epoch: epoch.0, after });
        }
        self.highest_acknowledging = self.highest_acknowledging.max(epoch);
    }

    /// The highest epoch that has acknowledged anything.
    pub fn highest_term(&self) -> Epoch {
        self.highest_acknowledging
    }

    pub fn acknowledged_writes(&self) -> usize {
        self.acknowledged.len()
    }

    /// A primary has begun, or is the last one: all that was acknowledged must be there.
    pub fn has_all(&mut self, log: &[Entry], primary: &MemberName, epoch: Epoch) {
        let there: BTreeSet<u64> = log.iter().map(|entry| entry.0).collect();
        let lost = self.acknowledged.keys().find(|entry| !there.contains(entry)).copied();
        if let Some(entry) = lost {
            self.find(Finding::LostWrite { entry, primary: primary.to_string(), epoch: epoch.0 });
        }
    }

    /// What a standby has is a beginning of what it follows.
    pub fn follows(&mut self, (follower, log): (&MemberName, &[Entry]), (leader, whole): (&MemberName, &[Entry])) {
        if !whole.starts_with(log) {
            self.find(Finding::MixedLogs { one: follower.to_string(), other: leader.to_string() });
        }
    }

    pub fn route(&mut self, route: &Route) {
        let Some(primary) = &route.primary else { return };
        let known = self.routed.entry(route.epoch).or_insert_with(|| primary.clone()).clone();
        if known != *primary {
            self.find(Finding::RouteForked {
                epoch: route.epoch.0,
                first: known.to_string(),
                second: primary.to_string(),
            });
        }
    }

    pub fn overlap(&mut self, one: &MemberName, other: &MemberName) {
        self.find(Finding::Overlap { one: one.to_string(), other: other.to_string() });
    }

    pub fn liveness(&mut self, finding: Finding) {
        self.find(finding);
    }
}

/// The path of a log, for messages.
pub(crate) fn path(history: &History) -> String {
    history.forks().iter().map(|fork| format!("{}@{}", fork.lineage.0, fork.start)).collect::<Vec<_>>().join(" ")
}
