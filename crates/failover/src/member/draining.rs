//! Handing over in good order: clients are held, the database stops when the standbys have everything, the lease is released to the other.

use super::{Member, Standby, State};
use crate::action::Action;
use crate::clock::Moment;
use crate::database::{StopHow, Wanted};
use crate::lease::{Lease, LeaseState, MemberName};
use crate::message::Message;
use crate::settings::Timing;
use crate::transitions::when;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Draining {
    pub to: MemberName,
    pub since: Moment,
    /// The register says so: only then the database is stopped.
    announced: bool,
}

impl Draining {
    /// So long the news takes to every proxy, which has asked for it already, and a short session to its end.
    fn stops_at(&self, timing: &Timing) -> Moment {
        self.since + timing.drain_grace
    }

    /// When something is to be done after `last`, if nothing happens before.
    pub fn wakes_at(&self, last: Moment, timing: &Timing) -> Moment {
        let stops_at = self.stops_at(timing);
        if last < stops_at { stops_at } else { self.since + timing.handover_timeout }
    }
}

impl Member {
    pub(super) fn drain(&mut self, now: Moment, to: MemberName) {
        self.enter(State::Draining(Draining { to, since: now, announced: false }), when::SWITCHING);
        if let Some(epoch) = self.hold.as_ref().map(|hold| hold.epoch) {
            self.out.push(Action::Route(crate::Route { epoch, primary: None }));
        }
    }

    /// The best to hand over to: one that follows us, has nearly everything, and may become the primary.
    pub(super) fn best_successor(&self, now: Moment) -> Option<MemberName> {
        self.peers
            .fresh(now, self.settings.timing.silence_limit)
            .filter(|(_, peer)| peer.pulse.eligible)
            .max_by_key(|(name, peer)| (self.settings.members[*name].priority, peer.pulse.position.offset))
            .map(|(name, _)| name.clone())
    }

    pub(super) fn drain_lease(&self, draining: &Draining, lease: &mut Lease) {
        let stopped = self.database.order >= self.order && self.database.is_stopped();
        if draining.announced && stopped {
            lease.state = LeaseState::Released { to: Some(draining.to.clone()) };
            lease.position = self.database.position;
        } else {
            lease.state = LeaseState::Draining { to: draining.to.clone() };
        }
    }

    pub(super) fn decide_draining(&mut self, now: Moment) {
        let State::Draining(draining) = self.state.clone() else { return };
        let Some(lease) = self.register.lease().filter(|lease| lease.is_of(&self.settings.name, self.incarnation))
        else {
            return;
        };
        match &lease.state {
            LeaseState::Released { .. } => {
                let epoch = lease.epoch;
                self.out.push(Action::Send { to: draining.to, message: Message::TakeOver { epoch } });
                self.enter(State::Standby(Standby::default()), when::DRAINED);
            }
            LeaseState::Draining { .. } => {
                if let State::Draining(draining) = &mut self.state {
                    draining.announced = true;
                }
                // Who was connected before new connections were held may end what it has begun.
                if now < draining.stops_at(&self.settings.timing) {
                    return;
                }
                let slow = now - draining.since >= self.settings.timing.handover_timeout;
                self.want(Wanted::Stopped { how: if slow { StopHow::AtOnce } else { StopHow::Orderly } });
            }
            LeaseState::Held => {}
        }
    }
}
