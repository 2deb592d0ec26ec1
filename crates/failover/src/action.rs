//! What goes in and what comes out of [`Member::step`](crate::Member::step).

use crate::clock::Moment;
use crate::database::{Report, Wanted};
use crate::lease::{Lease, MemberName, Version};
use crate::member::Durable;
use crate::message::Message;
use crate::position::{Epoch, Position};
use crate::quorum::Quorum;
use crate::transitions::StateKind;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Nothing: [`Member::wake_at`](crate::Member::wake_at) has come.
    Tick,
    /// The database was looked at. At least once per pulse, and at once when something changed.
    Database(Report),
    /// The lease store answered, or certainly won't.
    Lease { request: u64, answer: LeaseAnswer },
    /// What was to be remembered is durable.
    Remembered { number: u64 },
    /// A member said something.
    Message { from: MemberName, message: Message },
    /// The host of a member answers that no agent listens there.
    NobodyListens { at: MemberName },
    /// An operator asks for something.
    Command { number: u64, command: Command },
}

/// How an operation on the lease ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseAnswer {
    Read(Option<(Box<Lease>, Version)>),
    /// It is written, and this is its version.
    Swapped(Version),
    /// Somebody else was first.
    Lost,
    /// No answer, or none that says what became of it: it may have happened, or happen later.
    Unknown(Unanswered),
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unanswered {
    /// The store can't be reached, or failed.
    Unavailable,
    /// What is there isn't a lease, or is another cluster's.
    NotOurs,
}

/// What an operator can ask a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Makes this member the first primary of a new cluster.
    Bootstrap,
    /// This primary hands over to `to`, or to the best there is, in good order.
    Switchover {
        to: Option<MemberName>,
    },
    /// This standby takes over. `force`: also where acknowledged writes may be lost, and without waiting for the lease to end.
    Failover {
        force: bool,
    },
    /// No more automatic takeovers.
    Pause,
    Resume,
    /// This member is worked at, or no longer: until then it takes over from nobody, nobody waits for it, and what stops there stays stopped.
    Maintenance {
        on: bool,
    },
}

/// Something is to be done. Everything is asynchronous; what has an answer comes back as an [`Event`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Lease {
        request: u64,
        operation: LeaseOperation,
    },
    /// Write this down durably, in place of what was written before.
    Remember {
        number: u64,
        durable: Durable,
    },
    Send {
        to: MemberName,
        message: Message,
    },
    /// Replaces what was wanted before.
    Want {
        order: u64,
        wanted: Wanted,
    },
    /// After this moment the database must not be running as a primary, even if this member says nothing any more. `None`: it may not be
    /// one, or nothing ends it.
    Deadline(Option<Moment>),
    /// Where writes go from now on.
    Route(Route),
    /// For the journal, and for whom it may concern.
    Note(Note),
    /// The answer to a command.
    Answer {
        number: u64,
        answer: Result<String, String>,
    },
}

/// An operation on the lease store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseOperation {
    Read,
    /// Write `lease` if the register is still at `expected` (`None`: doesn't exist).
    Swap {
        expected: Option<Version>,
        lease: Box<Lease>,
    },
}

/// Where writes go. Who follows routes never goes back to a lower epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub epoch: Epoch,
    /// `None`: nowhere yet; new connections are held.
    pub primary: Option<MemberName>,
}

/// Something worth a line in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A state was entered.
    Entered { from: StateKind, to: StateKind, why: &'static str },
    /// The primary isn't seen any more.
    Suspected { primary: MemberName, epoch: Epoch },
    /// The lease is ours.
    Took { epoch: Epoch },
    /// The lease was lost to another.
    Replaced { by: MemberName, epoch: Epoch },
    /// Ours ends, and couldn't be renewed.
    LeaseEnds { epoch: Epoch },
    /// The store is away, and every member agreed to wait.
    SafeMode { epoch: Epoch },
    /// The store is back; nobody waits any longer.
    StoreAnswers { epoch: Epoch },
    /// The register went back to an older content, or vanished: a store that forgets.
    StoreWentBack { had: Epoch },
    /// What is in the register isn't ours to touch.
    ForeignLease,
    /// Nobody may take over: so much would be lost.
    WouldLose { bytes: u64 },
    /// This database has writes that are not on the primary's lineage.
    Diverged { position: Position },
    /// An operator works at this member, or has ended.
    Maintenance { on: bool },
    /// Commits wait for another quorum now.
    QuorumChanged { quorum: Quorum },
    /// The promotion came out on another lineage than the one that was reserved.
    WrongLineage { position: Position },
}
