//! What a member knows of the lease, and what it has asked its store.
//!
//! One operation at a time. An answer that doesn't come in time is as good as none, and then only a new read tells what is there:
//! a write without an answer may still arrive, but only in place of the version that it expected.

use crate::action::{LeaseAnswer, LeaseOperation};
use crate::clock::Moment;
use crate::lease::{Lease, Version};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Register {
    known: Option<Known>,
    /// A read has succeeded and found nothing.
    empty: bool,
    in_flight: Option<InFlight>,
    requests: u64,
    /// The last write that was sent and when: if a read finds it there, it was successful, and holds from then.
    attempted: Option<(Lease, Moment)>,
    /// The last time that the store answered anything.
    answered_at: Option<Moment>,
    /// What is known isn't certain since an operation was left without an answer.
    doubtful: bool,
}

#[derive(Debug, Clone)]
struct Known {
    lease: Lease,
    version: Version,
    /// When it was first received.
    since: Moment,
}

#[derive(Debug, Clone)]
struct InFlight {
    request: u64,
    sent_at: Moment,
    is_swap: bool,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Learnt {
    /// It came too late, or to nobody.
    Nothing,
    /// The lease as it is now; it may be as before.
    Lease,
    /// There is none.
    Empty,
    /// What we sent at this moment is in force.
    Ours { sent_at: Moment },
    /// Somebody was first: read.
    Lost,
    /// No answer: read.
    Unknown,
    /// It went back, or vanished.
    WentBack,
}

impl Register {
    pub fn lease(&self) -> Option<&Lease> {
        self.known.as_ref().map(|known| &known.lease)
    }

    /// Its version, if that is certain.
    pub fn version(&self) -> Option<&Version> {
        self.known.as_ref().filter(|_| !self.doubtful).map(|known| &known.version)
    }

    /// A read has found that there is none, and there never was.
    pub fn is_empty(&self) -> bool {
        self.empty && self.known.is_none()
    }

    /// How long what is known hasn't changed.
    pub fn unchanged(&self, now: Moment) -> Duration {
        self.known.as_ref().map_or(Duration::ZERO, |known| now - known.since)
    }

    pub fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Whether a write is under way, or came to an end that nobody knows: what is there may be what we wrote.
    pub fn is_uncertain(&self) -> bool {
        self.doubtful || self.in_flight.as_ref().is_some_and(|asked| asked.is_swap)
    }

    /// When the operation that is under way is given up.
    pub fn gives_up_at(&self, timeout: Duration) -> Option<Moment> {
        self.in_flight.as_ref().map(|asked| asked.sent_at + timeout)
    }

    /// When the store last answered.
    pub fn answered_at(&self) -> Option<Moment> {
        self.answered_at
    }

    pub fn read(&mut self, now: Moment) -> (u64, LeaseOperation) {
        (self.ask(now, false), LeaseOperation::Read)
    }

    /// Writes `lease` in place of what is known.
    pub fn swap(&mut self, now: Moment, lease: Lease) -> (u64, LeaseOperation) {
        let expected = self.known.as_ref().map(|known| known.version.clone());
        self.attempted = Some((lease.clone(), now));
        (self.ask(now, true), LeaseOperation::Swap { expected, lease: Box::new(lease) })
    }

    fn ask(&mut self, now: Moment, is_swap: bool) -> u64 {
        self.requests += 1;
        self.in_flight = Some(InFlight { request: self.requests, sent_at: now, is_swap });
        self.requests
    }

    /// Gives up what has waited for longer than `timeout`. Returns whether there was something.
    pub fn give_up(&mut self, now: Moment, timeout: Duration) -> bool {
        let late = self.gives_up_at(timeout).is_some_and(|moment| moment <= now);
        if late {
            self.doubtful |= self.in_flight.take().is_some_and(|asked| asked.is_swap);
        }
        late
    }

    pub fn answer(&mut self, now: Moment, request: u64, answer: LeaseAnswer) -> Learnt {
        let Some(asked) = self.in_flight.take_if(|asked| asked.request == request) else { return Learnt::Nothing };
        match answer {
            LeaseAnswer::Unknown(_) => {
                self.doubtful |= asked.is_swap;
                Learnt::Unknown
            }
            LeaseAnswer::Lost => {
                self.answered_at = Some(now);
                self.doubtful = true;
                Learnt::Lost
            }
            LeaseAnswer::Swapped(version) => {
                self.answered_at = Some(now);
                self.doubtful = false;
                let Some((lease, sent_at)) = self.attempted.clone() else { return Learnt::Nothing };
                self.known = Some(Known { lease, version, since: now });
                Learnt::Ours { sent_at }
            }
            LeaseAnswer::Read(None) => {
                self.answered_at = Some(now);
                self.empty = true;
                if self.known.is_some() { Learnt::WentBack } else { Learnt::Empty }
            }
            LeaseAnswer::Read(Some((lease, version))) => {
                self.answered_at = Some(now);
                self.learn(now, *lease, version)
            }
        }
    }

    fn learn(&mut self, now: Moment, lease: Lease, version: Version) -> Learnt {
        if let Some(known) = &self.known {
            let older = lease.epoch < known.lease.epoch
                || (lease.epoch == known.lease.epoch
                    && lease.incarnation == known.lease.incarnation
                    && lease.sequence < known.lease.sequence);
            if older {
                return Learnt::WentBack;
            }
        }
        self.doubtful = false;
        let ours = self.attempted.as_ref().filter(|(sent, _)| sent.mark() == lease.mark()).map(|(_, sent_at)| *sent_at);
        let since = match &self.known {
            Some(known) if known.lease.mark() == lease.mark() => known.since,
            _ => now,
        };
        self.known = Some(Known { lease, version, since });
        ours.map_or(Learnt::Lease, |sent_at| Learnt::Ours { sent_at })
    }
}
