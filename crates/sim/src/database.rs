//! A database as far as failover can tell: a log, lineages, standbys that confirm, commits that wait.
//!
//! What it gets wrong on purpose is what PostgreSQL gets wrong: a crash makes visible what nobody has acknowledged, an old primary that is
//! paused goes on where it was, a standby keeps what it received from whoever it was.

use lifeboat_failover::{Activity, Fork, History, Lineage, MemberName, Moment, Position, Quorum, Report, Wanted};
use std::collections::BTreeMap;

/// One write. Unique for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(pub u64);

/// What it does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Run {
    Stopped {
        orderly: bool,
    },
    /// Starting, stopping, being rewound.
    Busy,
    Standby,
    Primary,
}

/// A write that waits for its quorum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub end: u64,
    pub entry: Entry,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Database {
    pub run: Run,
    /// What would start.
    pub is_standby: bool,
    pub log: Vec<Entry>,
    pub history: History,
    pub follow: Option<MemberName>,
    pub connection: u64,
    pub connected: bool,
    pub received_at: Moment,
    pub heard_at: u64,
    pub quorum: Quorum,
    pub quorum_since: u64,
    pub confirmed: BTreeMap<MemberName, (u64, Position)>,
    /// Standbys that are sent to: their connection, and up to where.
    pub sent: BTreeMap<MemberName, (u64, usize)>,
    pub waiting: Vec<Waiting>,
    pub wanted: Option<(u64, Wanted)>,
    pub order_done: u64,
    /// Counts changes of what it does, so that what was begun before is forgotten.
    pub turn: u64,
}

impl Database {
    pub fn new() -> Self {
        Self {
            run: Run::Standby,
            is_standby: true,
            log: Vec::new(),
            history: History::new(vec![Fork { lineage: Lineage(1), start: 0 }]),
            follow: None,
            connection: 0,
            connected: false,
            received_at: Moment::default(),
            heard_at: 0,
            quorum: Quorum::asynchronous(),
            quorum_since: 0,
            confirmed: BTreeMap::new(),
            sent: BTreeMap::new(),
            waiting: Vec::new(),
            wanted: None,
            order_done: 0,
            turn: 0,
        }
    }

    pub fn position(&self) -> Position {
        Position { lineage: self.history.last().unwrap_or_default(), offset: self.log.len() as u64 }
    }

    pub fn runs(&self) -> bool {
        matches!(self.run, Run::Standby | Run::Primary)
    }

    pub fn report(&self, now: Moment) -> Report {
        let activity = match self.run {
            Run::Stopped { orderly } => Activity::Stopped { orderly, standby: self.is_standby },
            Run::Busy => Activity::Preparing,
            Run::Standby => Activity::Standby {
                from: self.follow.clone().filter(|_| self.connected),
                received_at: self.received_at,
            },
            Run::Primary => Activity::Primary {
                confirmed: self.confirmed.iter().map(|(name, (_, at))| (name.clone(), *at)).collect(),
                quorum: self.quorum.clone(),
                quorum_since: self.quorum_since,
            },
        };
        Report {
            order: self.order_done,
            activity,
            position: self.position(),
            history: self.history.clone(),
            answered_at: now,
        }
    }

    /// The process is gone, and with it every connection and every commit that waited.
    pub fn end(&mut self, orderly: bool) {
        self.run = Run::Stopped { orderly };
        self.let_go();
        self.turn += 1;
    }

    pub fn let_go(&mut self) {
        self.connected = false;
        self.connection += 1;
        self.confirmed.clear();
        self.sent.clear();
        self.waiting.clear();
    }

    /// Takes away what isn't on `other`. Returns whether that was anything.
    pub fn rewind(&mut self, other: &History) -> bool {
        let mut common = 0;
        let mut kept = Vec::new();
        for (own, theirs) in self.history.forks().iter().zip(other.forks()) {
            if own != theirs {
                break;
            }
            kept.push(*own);
            common = kept.len();
        }
        let end_of = |history: &History| history.forks().get(common).map_or(u64::MAX, |fork| fork.start);
        let end = end_of(&self.history).min(end_of(other)).min(self.log.len() as u64);
        let lost = self.log.len() as u64 > end;
        self.log.truncate(usize::try_from(end).unwrap_or(usize::MAX));
        self.history = History::new(kept);
        lost
    }

    /// A write of a client. Returns where it ends.
    pub fn append(&mut self, entry: Entry) -> u64 {
        self.log.push(entry);
        let end = self.log.len() as u64;
        self.waiting.push(Waiting { end, entry });
        end
    }

    /// The commits whose quorum has confirmed them.
    pub fn acknowledged(&mut self) -> Vec<Entry> {
        let lineage = self.position().lineage;
        let (quorum, confirmed) = (&self.quorum, &self.confirmed);
        let mut done = Vec::new();
        self.waiting.retain(|waiting| {
            let having = confirmed
                .iter()
                .filter(|(_, (_, at))| at.lineage == lineage && at.offset >= waiting.end)
                .map(|(name, _)| name.clone())
                .collect();
            let met = quorum.met_by(&having);
            if met {
                done.push(waiting.entry);
            }
            !met
        });
        done
    }
}
