//! A candidate: asks for promises until nobody else can acknowledge a write, gets what others have and it hasn't, takes the lease.

use super::{Member, Standby, State};
use crate::action::Action;
use crate::clock::Moment;
use crate::database::Wanted;
use crate::lease::{Lease, LeaseState, MemberName};
use crate::message::{Message, Refusal, Urgency};
use crate::position::{Epoch, History, Position};
use crate::settings::Timing;
use crate::transitions::when;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    urgency: Urgency,
    /// An operator accepts the loss of acknowledged writes.
    force: bool,
    epoch: Epoch,
    since: Moment,
    /// When it asks again those who haven't answered.
    ask_at: Moment,
    /// What those have who promised; ourselves among them.
    grants: BTreeMap<MemberName, Grant>,
    phase: Phase,
    /// The change of what is remembered, and the order, that make our own promise.
    number: u64,
    order: u64,
}

#[derive(Debug, Clone)]
struct Grant {
    position: Position,
    history: History,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Asking,
    /// From a voter that has more, up to this offset.
    CatchingUp {
        from: MemberName,
        target: u64,
    },
    Taking,
}

impl Candidate {
    pub fn new(now: Moment, urgency: Urgency, force: bool) -> Self {
        Self {
            urgency,
            force,
            epoch: Epoch::default(),
            since: now,
            ask_at: now,
            grants: BTreeMap::new(),
            phase: Phase::Asking,
            number: 0,
            order: 0,
        }
    }

    pub fn is_taking(&self) -> bool {
        self.phase == Phase::Taking
    }

    pub fn wakes_at(&self, timing: &Timing) -> Moment {
        self.ask_at.min(self.since + self.limit(timing))
    }

    fn limit(&self, timing: &Timing) -> Duration {
        match self.phase {
            Phase::Asking => timing.canvass_timeout,
            Phase::CatchingUp { .. } => timing.promotion_timeout,
            Phase::Taking => timing.canvass_timeout + timing.operation_timeout * 2,
        }
    }

    fn promised(&self) -> BTreeSet<MemberName> {
        self.grants.keys().cloned().collect()
    }

    /// Whether enough have promised. What was acknowledged before the holder's lineage is with any of those who have got to where it began: a
    /// voter of before that has died since, and that everybody has caught up with, isn't missed.
    fn is_enough(&self, lease: &Lease) -> bool {
        let path = self.path(lease);
        let began = lease.history.forks().last().map_or(0, |fork| fork.start);
        let has = |grant: &Grant| path.contains(grant.position) && grant.position.offset >= began;
        lease.is_blocked_by(&self.promised(), self.grants.values().any(has))
    }

    /// The path that acknowledged writes may be on. What is acknowledged on a lineage is with one of those who promise; where none of so
    /// many has ever been on the lease's last one, nothing on it was, and it may never have begun.
    fn path(&self, lease: &Lease) -> History {
        // What was acknowledged by quorums of before is on lineages of before.
        let blocked = lease.is_blocked_by(&self.promised(), true) && !lease.quorums.any_asynchronous();
        let proves = self.force || blocked;
        let last = lease.history.last();
        let begun =
            self.grants.values().any(|grant| grant.history.forks().iter().any(|fork| Some(fork.lineage) == last));
        let path = if proves && !begun { lease.history.without_last() } else { lease.history.clone() };
        // A lease that nobody's log leads to says nothing any more. Then whoever has got furthest is all there is, if an operator says so.
        let nobody_is_on_it = !self.grants.values().any(|grant| path.contains(grant.position));
        let furthest = self.grants.values().max_by_key(|grant| (grant.position.lineage, grant.position.offset));
        match furthest {
            Some(grant) if self.force && nobody_is_on_it => grant.history.clone(),
            _ => path,
        }
    }
}

impl Member {
    /// Begins, or begins again, with an epoch that nobody has used or promised.
    pub(super) fn canvass_epoch(&mut self, now: Moment) {
        let epoch = self.highest_epoch().next();
        let name = self.settings.name.clone();
        self.remember(|durable| {
            durable.promised = epoch;
            durable.promised_to = Some(name);
        });
        self.want(Wanted::Standby { follow: None });
        let (number, order) = (self.changed, self.order);
        if let State::Candidate(candidate) = &mut self.state {
            candidate.epoch = epoch;
            candidate.grants.clear();
            candidate.phase = Phase::Asking;
            candidate.ask_at = now;
            (candidate.number, candidate.order) = (number, order);
        }
    }

    pub(super) fn hear_grant(&mut self, from: &MemberName, epoch: Epoch, position: Position, history: History) {
        if let State::Candidate(candidate) = &mut self.state
            && candidate.epoch == epoch
        {
            candidate.grants.insert(from.clone(), Grant { position, history });
        }
    }

    pub(super) fn hear_refusal(&mut self, now: Moment, epoch: Epoch, why: Refusal) {
        let State::Candidate(candidate) = &mut self.state else { return };
        if candidate.epoch != epoch || candidate.phase != Phase::Asking {
            return;
        }
        match why {
            // A higher epoch is in use: ask again with one that is higher still.
            Refusal::Promised { epoch } => {
                self.remember(|durable| durable.promised = durable.promised.max(epoch));
                self.canvass_epoch(now);
            }
            // It has asked, or will; it goes first.
            Refusal::Better { candidate: better }
                if better != self.settings.name && self.settings.members.contains_key(&better) =>
            {
                self.give_up_candidacy(now);
            }
            _ => {}
        }
    }

    fn give_up_candidacy(&mut self, now: Moment) {
        let not_before = now + self.settings.timing.canvass_timeout;
        self.enter(State::Standby(Standby { not_before, ..Standby::default() }), when::GAVE_UP);
    }

    pub(super) fn decide_candidate(&mut self, now: Moment) {
        if self.database.is_primary() {
            return self.demote(when::RUNS_UNLEASED);
        }
        let State::Candidate(candidate) = &self.state else { return };
        let over = now >= candidate.since + candidate.limit(&self.settings.timing);
        let beaten = self
            .register
            .lease()
            .is_some_and(|lease| lease.epoch >= candidate.epoch && !lease.is_of(&self.settings.name, self.incarnation));
        let seen_again =
            candidate.urgency == Urgency::Vanished && candidate.phase == Phase::Asking && self.sees_primary(now);
        let bumped = self.register.lease().is_some_and(|lease| lease.epoch > candidate.epoch);
        if over || beaten || bumped || seen_again {
            return self.give_up_candidacy(now);
        }
        match candidate.phase.clone() {
            Phase::Asking => self.gather(now),
            Phase::CatchingUp { target, .. } => {
                if self.own_position().offset >= target
                    && let State::Candidate(candidate) = &mut self.state
                {
                    candidate.phase = Phase::Taking;
                }
            }
            Phase::Taking => {
                // The lease that it was about to replace may be another by now, with a primary that wrote since.
                if !self.has_everything() && !self.register.is_uncertain() {
                    // It may still follow whoever it caught up from.
                    self.want(Wanted::Standby { follow: None });
                    let order = self.order;
                    if let State::Candidate(candidate) = &mut self.state {
                        (candidate.phase, candidate.order) = (Phase::Asking, order);
                    }
                }
            }
        }
        self.ask_for_promises(now);
    }

    fn ask_for_promises(&mut self, now: Moment) {
        let interval = self.settings.timing.pulse_interval / 3;
        let (position, priority) = (self.own_position(), self.settings.own().priority);
        let remembered = self.has_remembered();
        let State::Candidate(candidate) = &mut self.state else { return };
        if candidate.phase != Phase::Asking || candidate.ask_at > now || !remembered {
            return;
        }
        candidate.ask_at = now + interval;
        let message = Message::Canvass { epoch: candidate.epoch, urgency: candidate.urgency, position, priority };
        let granted = candidate.promised();
        for to in self.settings.others().filter(|to| self.settings.has_database(to) && !granted.contains(*to)) {
            self.out.push(Action::Send { to: to.clone(), message: message.clone() });
        }
    }

    /// Looks whether enough have promised, and whether one of them has more than we.
    fn gather(&mut self, now: Moment) {
        let State::Candidate(candidate) = &self.state else { return };
        let Some(lease) = self.register.lease().cloned() else { return };
        if self.remembered < candidate.number || !self.database.is_cut(candidate.order) {
            return;
        }
        let own = Grant { position: self.database.position, history: self.database.history.clone() };
        let (urgency, force, since) = (candidate.urgency, candidate.force, candidate.since);
        let name = self.settings.name.clone();
        let State::Candidate(candidate) = &mut self.state else { return };
        candidate.grants.insert(name, own.clone());
        let patient = now - since >= self.settings.timing.canvass_timeout / 2;
        let enough = candidate.is_enough(&lease) || (force && patient);
        // An order doesn't wait for the end of a lease where promises suffice; where they don't, only a forced one.
        let vacant = match urgency {
            Urgency::Vacant => true,
            Urgency::Vanished | Urgency::Ordered => !lease.quorums.any_asynchronous() || force,
        };
        if !enough || !vacant {
            return;
        }
        let path = candidate.path(&lease);
        let furthest = candidate
            .grants
            .iter()
            .filter(|(_, grant)| path.contains(grant.position))
            .max_by_key(|(_, grant)| grant.position.offset)
            .map(|(name, grant)| (name.clone(), grant.clone()));
        let Some((from, grant)) = furthest else { return };
        let target = grant.position.offset;
        if target <= own.position.offset {
            candidate.phase = Phase::Taking;
        } else if grant.history.contains(own.position) {
            candidate.phase = Phase::CatchingUp { from: from.clone(), target };
            self.want(Wanted::Standby { follow: Some(from) });
        }
    }

    /// Whether nobody who promised has more of the lease's lineage than we, and we have nothing else.
    fn has_everything(&self) -> bool {
        let (State::Candidate(candidate), Some(lease)) = (&self.state, self.register.lease()) else { return false };
        let (own, path) = (self.database.position, candidate.path(lease));
        let more = |grant: &Grant| path.contains(grant.position) && grant.position.offset > own.offset;
        path.contains(own) && !candidate.grants.values().any(more)
    }

    /// What a candidate that has everything writes into the register.
    pub(super) fn lease_of_candidate(&self, now: Moment, candidate: &Candidate) -> Option<Lease> {
        let known = self.register.lease()?;
        let promised = candidate.promised();
        let timing = &self.settings.timing;
        // What commits wait for may have changed since we asked.
        let blocked = candidate.is_enough(known) || candidate.force;
        let ended = known.is_released() || self.register.unchanged(now) >= timing.patience(known.lifetime);
        let free = ended || !known.quorums.any_asynchronous() || candidate.force;
        let loses = known.quorums.any_asynchronous() && !self.loss_is_allowed() && !candidate.force;
        if !candidate.is_taking()
            || !self.has_everything()
            || !blocked
            || !free
            || loses
            || known.epoch >= candidate.epoch
        {
            return None;
        }
        let present = promised.iter().filter(|name| **name != self.settings.name).cloned().collect();
        let quorum = self.settings.quorum_of(&self.settings.name, &present);
        let mut lease = known.clone();
        lease.epoch = candidate.epoch;
        lease.holder = self.settings.name.clone();
        lease.incarnation = self.incarnation;
        lease.state = LeaseState::Held;
        lease.lifetime = timing.lifetime;
        lease.paused = false;
        // Until the new quorum has all that the old ones acknowledged, the next takeover has to block the old ones too.
        lease.take_over(quorum);
        Some(self.forked(lease, known))
    }
}
