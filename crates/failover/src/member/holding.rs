//! The lease in our hands: how long, what is written into it, and how it ends.
//!
//! A holder counts from when it *sent* a renewal that arrived; see [`Timing`](crate::Timing).

use super::{Member, State};
use crate::action::{Action, Note};
use crate::clock::Moment;
use crate::database::{Activity, StopHow, Wanted};
use crate::lease::{Lease, LeaseState};
use crate::position::{Epoch, Lineage, Position};
use crate::quorum::Quorums;
use crate::settings::Timing;
use crate::transitions::when;

/// Whether our own lease of before may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retaking {
    /// It isn't ours, or our database hasn't what it had.
    No,
    /// The database is busy with something: what comes of it decides.
    NotYet,
    Yes,
}

/// A lease that is ours.
#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub epoch: Epoch,
    /// Until then nobody else takes it for ended.
    pub valid_until: Moment,
    /// When it was last sent with success.
    pub renewed_at: Moment,
    /// An operator has switched off what is automatic: nobody takes over, so nothing ends by itself.
    pub paused: bool,
}

impl Hold {
    /// When the database begins to be stopped.
    pub fn stops_at(&self, timing: &Timing) -> Moment {
        if self.paused { Moment(std::time::Duration::MAX) } else { self.valid_until.before(timing.stop_margin) }
    }
}

impl Member {
    /// The register says that the lease is ours; with `sent_at`, since when.
    pub(super) fn have(&mut self, now: Moment, lease: &Lease, sent_at: Option<Moment>) {
        let timing = &self.settings.timing;
        let until = sent_at.map(|moment| moment + timing.validity(lease.lifetime));
        if lease.is_released() {
            self.hold = None;
            self.out.push(Action::Deadline(None));
        } else if let Some(hold) = &mut self.hold {
            hold.epoch = lease.epoch;
            hold.paused = lease.paused;
            hold.renewed_at = sent_at.unwrap_or(hold.renewed_at);
            hold.valid_until = until.map_or(hold.valid_until, |until| until.max(hold.valid_until));
            let deadline = (!hold.paused).then_some(hold.valid_until);
            self.out.push(Action::Deadline(deadline));
        } else if let Some(until) = until
            && until.before(timing.stop_margin) > now
            && self.may_begin(lease)
        {
            // Perhaps a write that was thought lost: it is ours all the same, unless we have gone on to something else meanwhile.
            self.begin_hold(now, lease, until, sent_at);
        }
    }

    fn begin_hold(&mut self, now: Moment, lease: &Lease, until: Moment, sent_at: Option<Moment>) {
        self.hold = Some(Hold {
            epoch: lease.epoch,
            valid_until: until,
            renewed_at: sent_at.unwrap_or(now),
            paused: lease.paused,
        });
        self.out.push(Action::Deadline((!lease.paused).then_some(until)));
        self.note(Note::Took { epoch: lease.epoch });
        let why = match &self.state {
            State::Candidate(_) => when::TAKEN,
            _ if self.wants_bootstrap() => when::BOOTSTRAPPED,
            _ => when::RETAKEN,
        };
        self.enter(State::Promoting { since: now }, why);
    }

    /// Whether a lease of this epoch, written by us, may still be used: we haven't promised to follow another since, and our database is still
    /// what it was written for.
    fn may_begin(&self, lease: &Lease) -> bool {
        let promised_others =
            self.durable.promised > lease.epoch && self.durable.promised_to.as_ref() != Some(&self.settings.name);
        // A write that comes late may be for a database that went on as a primary, and is a standby by now: its lineage is used.
        let fits = !self.database.needs_promotion() || lease.history.last() > self.database.history.last();
        let free = !promised_others && !self.durable.maintained;
        fits && free && matches!(self.state, State::Candidate(_) | State::Starting | State::Standby(_))
    }

    /// Ends what the lease doesn't allow. Returns whether something changed.
    pub(super) fn mind_the_lease(&mut self, now: Moment) -> bool {
        let Some(hold) = &self.hold else { return false };
        let replaced = self
            .register
            .lease()
            .is_some_and(|lease| !lease.is_of(&self.settings.name, self.incarnation) && lease.epoch >= hold.epoch);
        let ends = hold.stops_at(&self.settings.timing) <= now;
        let epoch = hold.epoch;
        if replaced && let Some(lease) = self.register.lease() {
            let note = Note::Replaced { by: lease.holder.clone(), epoch: lease.epoch };
            self.note(note);
            self.drop_hold();
            if !matches!(self.state, State::Demoting) {
                self.demote(when::REPLACED);
            }
            return true;
        }
        if ends && !matches!(self.state, State::Demoting) {
            self.note(Note::LeaseEnds { epoch });
            self.demote(when::ENDS);
            return true;
        }
        if ends && hold_is_over(self.hold.as_ref(), now) {
            self.drop_hold();
            return true;
        }
        false
    }

    fn drop_hold(&mut self) {
        self.hold = None;
    }

    /// Stops the database at once. The lease isn't given back before it has stopped.
    pub(super) fn demote(&mut self, why: &'static str) {
        self.route_nowhere();
        self.enter(State::Demoting, why);
        self.want(Wanted::Stopped { how: StopHow::AtOnce });
    }

    fn route_nowhere(&mut self) {
        if let Some(epoch) = self.register.lease().map(|lease| lease.epoch) {
            self.out.push(Action::Route(crate::Route { epoch, primary: None }));
        }
    }

    pub(super) fn decide_demoting(&mut self) {
        let stopped = self.database.order >= self.order && self.database.is_stopped();
        // While the lease is ours, it is released first (`lease_of_holder`), so that another doesn't have to wait for its end.
        if stopped && self.hold.is_none() {
            self.enter(State::Standby(super::Standby::default()), when::STOPPED);
        }
    }

    pub(super) fn decide_promoting(&mut self, now: Moment) {
        let State::Promoting { since } = self.state else { return };
        let Some(lease) = self.register.lease().filter(|lease| lease.is_of(&self.settings.name, self.incarnation))
        else {
            return;
        };
        let (Some(lineage), Some(quorum)) = (lease.history.last(), lease.quorums.newest().cloned()) else { return };
        self.want(Wanted::Primary { lineage, quorum });
        if self.database.order < self.order {
            if since + self.settings.timing.promotion_timeout <= now {
                self.demote(when::TOO_LONG);
            }
            return;
        }
        if !self.database.is_primary() || self.database.position.lineage != lineage {
            self.note(Note::WrongLineage { position: self.database.position });
            return self.demote(when::TOO_LONG);
        }
        self.begin_primary(now);
    }

    /// What the holder wants in the register: renewed, or changed.
    pub(super) fn lease_of_holder(&self, now: Moment) -> Option<Lease> {
        let hold = self.hold.as_ref()?;
        let known = self.register.lease().filter(|lease| lease.is_of(&self.settings.name, self.incarnation))?;
        let mut lease = known.clone();
        lease.lifetime = self.settings.timing.lifetime;
        match &self.state {
            State::Demoting => {
                let stopped = self.database.order >= self.order && self.database.is_stopped();
                if !stopped {
                    return None;
                }
                lease.state = LeaseState::Released { to: None };
                lease.position = self.database.position;
                return Some(lease);
            }
            State::Draining(draining) => self.drain_lease(draining, &mut lease),
            State::Primary(primary) => self.tune_lease(now, primary, &mut lease),
            _ => {}
        }
        let changed = lease != *known;
        let due = hold.renewed_at + self.settings.timing.renew_interval <= now;
        if !changed && !due {
            return None;
        }
        if let Activity::Primary { .. } = self.database.activity {
            lease.position = self.database.position;
            lease.history = self.database.history.clone();
        }
        Some(lease)
    }

    /// Whether a lease that names us as its holder may be used again: nobody has taken it, so nobody has written since, and our
    /// database has all that it had then.
    pub(super) fn retaking(&self) -> Retaking {
        let Some(lease) = self.register.lease() else { return Retaking::No };
        let maintained = self.durable.maintained;
        if lease.holder != self.settings.name || self.hold.is_some() || self.settings.own().witness || maintained {
            return Retaking::No;
        }
        let database = &self.database;
        if database.order < self.order || database.activity == Activity::Preparing {
            return Retaking::NotYet;
        }
        let same_lineage = database.needs_promotion() || lease.history.last() == database.history.last();
        // A write of ours that came late may name a lineage that we never began, from a position that we have left behind since. Nobody else
        // could begin it, and we know. Of a former life we know it by the database: where no promise tells what was acknowledged, that is all there is.
        let lineages = || database.history.forks().iter().map(|fork| Some(fork.lineage));
        let we_know = lease.is_of(&self.settings.name, self.incarnation) || lease.quorums.any_asynchronous();
        let never_begun =
            we_know && database.needs_promotion() && lineages().all(|lineage| lineage != lease.history.last());
        // From there we may have gone on with whoever we caught up from: then our log is beside the lease's path, and has all of it.
        let on_path = match never_begun {
            true => database.history.contains(lease.position),
            false => lease.history.contains(database.position),
        };
        let complete = on_path && database.position.offset >= lease.position.offset;
        if same_lineage && complete { Retaking::Yes } else { Retaking::No }
    }

    /// The lease, taken up again by its last holder: at the start, or because nobody took what was released.
    pub(super) fn lease_retaken(&self) -> Option<Lease> {
        let known = self.register.lease()?;
        if self.retaking() != Retaking::Yes {
            return None;
        }
        let released = match &known.state {
            LeaseState::Released { .. } => self.nobody_took(known),
            // Of a former life of ours, or one that ended while the store was away.
            _ => true,
        };
        // A pause doesn't keep back who has handed over and sees that nobody came.
        let handed_over = matches!(known.state, LeaseState::Released { to: Some(_) });
        if !released || (known.paused && known.is_released() && !handed_over) {
            return None;
        }
        let mut lease = known.clone();
        lease.epoch = self.highest_epoch().next();
        lease.incarnation = self.incarnation;
        lease.state = LeaseState::Held;
        Some(if self.database.needs_promotion() { self.forked(lease, known) } else { lease })
    }

    /// `lease`, with a lineage of its own that continues what our database has.
    pub(super) fn forked(&self, mut lease: Lease, known: &Lease) -> Lease {
        let own = &self.database;
        let highest = known.history.last().max(own.history.last()).unwrap_or(Lineage(0));
        lease.history = own.history.forked(highest.next(), own.position.offset);
        lease.position = own.position;
        lease
    }

    /// The first lease of a cluster, when an operator asked for it and there is none.
    pub(super) fn lease_bootstrapped(&self) -> Option<Lease> {
        if !self.wants_bootstrap() || !self.register.is_empty() || self.durable.seen > Epoch::default() {
            return None;
        }
        let present = std::collections::BTreeSet::new();
        let base = Lease {
            cluster: self.settings.cluster.clone(),
            system_id: None,
            epoch: self.highest_epoch().next(),
            holder: self.settings.name.clone(),
            incarnation: self.incarnation,
            writer: self.incarnation,
            sequence: 0,
            state: LeaseState::Held,
            lifetime: self.settings.timing.lifetime,
            position: self.database.position,
            history: self.database.history.clone(),
            quorums: Quorums::only(self.settings.quorum_of(&self.settings.name, &present)),
            former: 0,
            paused: false,
        };
        Some(if self.database.needs_promotion() { self.forked(base.clone(), &base) } else { base })
    }

    /// What our database has, as a position of the lease's history.
    pub(super) fn own_position(&self) -> Position {
        self.database.position
    }
}

fn hold_is_over(hold: Option<&Hold>, now: Moment) -> bool {
    hold.is_some_and(|hold| !hold.paused && hold.valid_until <= now)
}
