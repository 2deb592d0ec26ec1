//! Who may write: the decisions of a failover, and nothing else.
//!
//! Each member of a cluster (an agent beside a database) runs one [`Member`]. It is told what happened and what time it is by its
//! own clock, and answers with what is to be done: `step(now, event) -> actions`. It knows no PostgreSQL, no socket, no file, no
//! clock and no randomness: positions in a log are opaque, and the same events give the same actions for ever. The agent is the
//! shell around it; the simulator is another.
//!
//! Promise, in synchronous mode, whatever clocks, networks and pauses do: a write that was acknowledged is in the log of every
//! later primary, and no write is acknowledged by two. The argument is in `docs/failover.md`; in short:
//!
//! - The *lease* is one register that can only be compared and swapped. Its *epoch* never goes back and has one holder.
//! - Who wants to become the primary first has voters *promise* its epoch: each writes that down durably, and stops receiving from
//!   whoever has a lower one. Only when those who promised meet every set of standbys that could have acknowledged a write
//!   ([`Quorum::blocked_by`]), and the candidate has all that they have, it takes the lease.
//! - So the old primary can be alive, paused, cut off or confused: too few are left who would acknowledge its writes.
//!
//! In asynchronous mode there is nobody to ask, and it is clocks that keep two primaries apart: a holder stops before its lease
//! ends by its own clock, and others wait longer than that by theirs ([`Timing`]).

mod action;
mod clock;
mod database;
mod lease;
mod member;
mod message;
mod position;
mod quorum;
mod register;
mod settings;
mod transitions;

pub use action::{Action, Command, Event, LeaseAnswer, LeaseOperation, Note, Route, Unanswered};
pub use clock::Moment;
pub use database::{Activity, Report, StopHow, Wanted};
pub use lease::{Lease, LeaseState, MemberName, Version};
pub use member::{Durable, Member, Summary};
pub use message::{Message, Pulse, Refusal, Urgency};
pub use position::{Epoch, Fork, History, Lineage, Position};
pub use quorum::{Quorum, Quorums};
pub use settings::{MemberSettings, Mode, Settings, SettingsError, Timing, WhenAlone};
pub use transitions::{StateKind, TRANSITIONS, Transition};
