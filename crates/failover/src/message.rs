//! What members say to each other. Who sent a message is known for sure: the shell proves it.

use crate::lease::MemberName;
use crate::position::{Epoch, History, Position};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One message. None has to arrive, and none has to arrive once or in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "snake_case")]
pub enum Message {
    /// "I am here": sent all the time, to everybody.
    Pulse(Pulse),
    /// "Promise me this epoch."
    Canvass {
        epoch: Epoch,
        urgency: Urgency,
        position: Position,
        priority: u32,
    },
    /// "I have promised, and receive from nobody. This is what I have."
    Granted {
        epoch: Epoch,
        position: Position,
        history: History,
    },
    Refused {
        epoch: Epoch,
        why: Refusal,
    },
    /// "The lease store doesn't answer. I am the primary of this epoch: don't replace me for so long." `asked` comes back.
    HoldOff {
        epoch: Epoch,
        lifetime: Duration,
        asked: u64,
    },
    /// "I don't, and vote for nobody else."
    HeldOff {
        epoch: Epoch,
        asked: u64,
    },
    /// "I have stopped and released the lease: go."
    TakeOver {
        epoch: Epoch,
    },
}

/// Why a candidate asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Urgency {
    /// It doesn't see the primary. Who does, refuses.
    Vanished,
    /// The primary's lease was released, or has ended.
    Vacant,
    /// A person said so.
    Ordered,
}

/// Why a promise isn't given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Refusal {
    /// This epoch, or a higher one, was promised already.
    Promised { epoch: Epoch },
    /// The primary is there.
    PrimarySeen,
    /// A better candidate is asking: further, or preferred.
    Better { candidate: MemberName },
    /// The primary was promised that nothing happens for a while.
    HeldOff,
    /// Its database isn't a standby now.
    NotAStandby,
}

/// What a member tells all the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulse {
    /// The highest epoch of a lease that it has seen.
    pub epoch: Epoch,
    /// The highest epoch that it has promised.
    pub promised: Epoch,
    /// Whether it acts as the primary of `epoch`, with a database that answers or is being promoted.
    pub primary: bool,
    /// Whether its database is a standby that runs.
    pub standby: bool,
    /// Whether it could become the primary, if it had to.
    pub eligible: bool,
    /// Whether it could, if it were told to.
    #[serde(default)]
    pub able: bool,
    /// An operator is at work on it: nothing is to wait for it.
    #[serde(default)]
    pub maintained: bool,
    pub position: Position,
    /// How long ago it had the last sign of the primary.
    pub primary_seen: Option<Duration>,
    /// Whether it has heard the receiver of this lately.
    pub hears_you: bool,
}
