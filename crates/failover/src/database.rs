//! The member's own database: what is wanted of it, and what is seen.

use crate::clock::Moment;
use crate::lease::MemberName;
use crate::position::{History, Lineage, Position};
use crate::quorum::Quorum;
use std::collections::BTreeMap;

/// What the database is to be. The shell makes it so, whatever it is now, and says how far it has got in each [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Not running, nothing of it.
    Stopped { how: StopHow },
    /// A standby that receives from `follow`; from nobody, when it is `None`: the receiver has ended. What doesn't fit on the
    /// primary's lineage is put aside first (rewound, or made anew). If it dies it is started again.
    Standby { follow: Option<MemberName> },
    /// The primary, on this lineage, whose commits wait for this quorum from before the first of them. If it dies it stays dead:
    /// whether it is started again isn't the shell's decision.
    Primary { lineage: Lineage, quorum: Quorum },
}

/// How a database stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopHow {
    /// At once; sessions are cut, what was not acknowledged is in doubt. Killed if it doesn't.
    AtOnce,
    /// In good order: sessions end, standbys get all that was written.
    Orderly,
}

/// What was seen of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The last order that was fully carried out when this was seen: what comes before an order is done doesn't count for it.
    pub order: u64,
    pub activity: Activity,
    /// How far its log is durable.
    pub position: Position,
    /// The path to there.
    pub history: History,
    /// When it last answered a question. A running database that doesn't is a hung one.
    pub answered_at: Moment,
}

/// What it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// Not running. `orderly`: it was stopped in good order. `standby`: what would start is a standby, which only a promotion makes a
    /// primary.
    Stopped { orderly: bool, standby: bool },
    /// Not running yet or again: starting, being rewound, being made anew.
    Preparing,
    /// A standby. From whom it receives, and when it last did.
    Standby { from: Option<MemberName>, received_at: Moment },
    /// The primary; how far each standby that receives from it has confirmed; the quorum that every commit waits for now, and from which
    /// offset on it was sure to.
    Primary { confirmed: BTreeMap<MemberName, Position>, quorum: Quorum, quorum_since: u64 },
}

impl Report {
    /// Nothing was seen yet.
    pub fn nothing() -> Self {
        Self {
            order: 0,
            activity: Activity::Preparing,
            position: Position::default(),
            history: History::default(),
            answered_at: Moment::default(),
        }
    }

    pub fn is_primary(&self) -> bool {
        matches!(self.activity, Activity::Primary { .. })
    }

    pub fn is_standby(&self) -> bool {
        matches!(self.activity, Activity::Standby { .. })
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.activity, Activity::Stopped { .. })
    }

    /// Whether it would have to be promoted to be a primary.
    pub fn needs_promotion(&self) -> bool {
        matches!(self.activity, Activity::Standby { .. } | Activity::Stopped { standby: true, .. })
    }

    /// Whether it is a standby that receives from nobody, since that was ordered.
    pub fn is_cut(&self, order: u64) -> bool {
        self.order >= order && matches!(self.activity, Activity::Standby { from: None, .. })
    }
}
