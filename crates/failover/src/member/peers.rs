//! What is heard of the others, and of the primary.

use super::{Member, State};
use crate::action::Action;
use crate::clock::Moment;
use crate::lease::{LeaseState, MemberName};
use crate::message::{Message, Pulse};
use crate::position::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    known: BTreeMap<MemberName, Peer>,
    /// The last sign that the primary is there: a pulse of its agent, or log that was received.
    primary_seen_at: Moment,
    /// Since when its host has said that nobody listens, without a pulse in between.
    refused_since: Option<(MemberName, Moment)>,
    /// When each standby last was among those that receive from us.
    confirmed_at: BTreeMap<MemberName, Moment>,
    pub last_step: Moment,
}

#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub pulse: Pulse,
    pub heard_at: Moment,
}

impl Peers {
    pub fn new(now: Moment) -> Self {
        Self {
            known: BTreeMap::new(),
            primary_seen_at: now,
            refused_since: None,
            confirmed_at: BTreeMap::new(),
            last_step: now,
        }
    }

    pub fn saw_primary(&mut self, at: Moment) {
        self.primary_seen_at = self.primary_seen_at.max(at);
        self.refused_since = None;
    }

    pub fn refused(&mut self, now: Moment, at: &MemberName) {
        if self.refused_since.as_ref().is_none_or(|(name, _)| name != at) {
            self.refused_since = Some((at.clone(), now));
        }
    }

    pub fn confirmed<'a>(&mut self, now: Moment, names: impl Iterator<Item = &'a MemberName>) {
        for name in names {
            self.confirmed_at.insert(name.clone(), now);
        }
    }

    /// Who has received from us within `span`.
    pub fn receiving_within(&self, now: Moment, span: Duration) -> BTreeSet<MemberName> {
        self.confirmed_at.iter().filter(|(_, at)| now - **at <= span).map(|(name, _)| name.clone()).collect()
    }

    pub fn highest_promise(&self) -> Epoch {
        self.known.values().map(|peer| peer.pulse.promised).max().unwrap_or_default()
    }

    /// Those whose last pulse is not older than `span`.
    pub fn fresh(&self, now: Moment, span: Duration) -> impl Iterator<Item = (&MemberName, &Peer)> {
        self.known.iter().filter(move |(_, peer)| now - peer.heard_at <= span)
    }

    /// Who says that somebody works at it.
    pub fn maintained(&self, now: Moment, span: Duration) -> BTreeSet<MemberName> {
        self.fresh(now, span).filter(|(_, peer)| peer.pulse.maintained).map(|(name, _)| name.clone()).collect()
    }

    pub fn primary_seen_at(&self) -> Moment {
        self.primary_seen_at
    }

    /// Since when the host of `primary` says that no agent listens there.
    pub fn refused_since(&self, primary: &MemberName) -> Option<Moment> {
        self.refused_since.as_ref().filter(|(name, _)| name == primary).map(|(_, since)| *since)
    }
}

impl Member {
    pub(super) fn hear(&mut self, now: Moment, from: &MemberName, message: Message) {
        if !self.settings.members.contains_key(from) || *from == self.settings.name {
            return;
        }
        match message {
            Message::Pulse(pulse) => self.hear_pulse(now, from, pulse),
            Message::Canvass { epoch, urgency, position, priority } => {
                self.hear_canvass(now, from, epoch, urgency, (position, priority));
            }
            Message::Granted { epoch, position, history } => self.hear_grant(from, epoch, position, history),
            Message::Refused { epoch, why } => self.hear_refusal(now, epoch, why),
            Message::HoldOff { epoch, lifetime, asked } => self.hear_hold_off(now, from, epoch, lifetime, asked),
            Message::HeldOff { epoch, asked } => self.hear_held_off(from, epoch, asked),
            Message::TakeOver { epoch } => {
                // The lease says the same; this only saves the time until we would have looked.
                if self.register.lease().is_none_or(|lease| lease.epoch <= epoch) {
                    self.ask_at = now;
                }
            }
        }
    }

    fn hear_pulse(&mut self, now: Moment, from: &MemberName, pulse: Pulse) {
        let lease = self.register.lease();
        let holds = lease.is_some_and(|lease| lease.holder == *from && lease.epoch <= pulse.epoch);
        if pulse.primary && holds {
            self.peers.saw_primary(now);
        } else if self.peers.refused_since(from).is_some() {
            self.peers.refused_since = None;
        }
        if lease.is_none_or(|lease| lease.epoch < pulse.epoch) {
            // Somebody has seen a newer lease: look too.
            self.ask_at = self.ask_at.min(now);
        }
        self.peers.known.insert(from.clone(), Peer { pulse, heard_at: now });
    }

    /// Tells the others that we are here.
    pub(super) fn pulse(&mut self, now: Moment) {
        if self.pulse_at > now {
            return;
        }
        self.pulse_at = now + self.settings.timing.pulse_interval;
        let silence = self.settings.timing.silence_limit;
        let hears: BTreeSet<_> = self.peers.fresh(now, silence).map(|(name, _)| name.clone()).collect();
        let database = self.database_answers(now);
        let pulse = Pulse {
            epoch: self.durable.seen,
            promised: self.durable.promised,
            primary: match self.state {
                State::Primary(_) | State::Draining(_) => database,
                State::Promoting { .. } => true,
                _ => false,
            },
            standby: self.database.is_standby() && database,
            eligible: self.is_eligible(now),
            able: self.is_able(now),
            maintained: self.durable.maintained,
            position: self.own_position(),
            primary_seen: self.primary_seen_ago(now),
            hears_you: false,
        };
        for to in self.settings.others() {
            let message = Message::Pulse(Pulse { hears_you: hears.contains(to), ..pulse.clone() });
            self.out.push(Action::Send { to: to.clone(), message });
        }
    }

    fn primary_seen_ago(&self, now: Moment) -> Option<Duration> {
        let lease = self.register.lease()?;
        (!lease.is_released() && lease.holder != self.settings.name).then(|| now - self.peers.primary_seen_at)
    }

    /// Whether the database has answered lately.
    pub(super) fn database_answers(&self, now: Moment) -> bool {
        now - self.database.answered_at <= self.settings.timing.database_timeout
    }

    /// How long without a sign of the primary is long: shorter, when its host says that no agent is there.
    pub(super) fn sight_limit(&self, now: Moment) -> Duration {
        let timing = &self.settings.timing;
        let refused = self
            .register
            .lease()
            .and_then(|lease| self.peers.refused_since(&lease.holder))
            .is_some_and(|since| now - since >= timing.refusal_limit / 2);
        if refused { timing.refusal_limit } else { timing.silence_limit }
    }

    pub(super) fn sees_primary(&self, now: Moment) -> bool {
        now - self.peers.primary_seen_at() < self.sight_limit(now)
    }

    /// Whether so many voters see the primary that it can still have writes acknowledged.
    pub(super) fn others_see_primary(&self, now: Moment) -> bool {
        let Some(lease) = self.register.lease() else { return false };
        let limit = self.sight_limit(now);
        let seers: BTreeSet<_> = self
            .peers
            .fresh(now, limit)
            .filter(|(name, _)| **name != lease.holder)
            .filter(|(_, peer)| peer.pulse.primary_seen.is_some_and(|ago| ago + (now - peer.heard_at) < limit))
            .map(|(name, _)| name.clone())
            .collect();
        lease.quorums.met_by(&seers)
    }

    /// Whether the lease's last holder has released it, and those who were to go first had their time.
    pub(super) fn nobody_took(&self, lease: &crate::Lease) -> bool {
        let LeaseState::Released { .. } = lease.state else { return false };
        let now = self.peers.last_step;
        let silence = self.settings.timing.silence_limit;
        let somebody = self.peers.fresh(now, silence).any(|(_, peer)| peer.pulse.eligible);
        !somebody || self.register.unchanged(now) >= self.settings.timing.handover_timeout * 2
    }
}
