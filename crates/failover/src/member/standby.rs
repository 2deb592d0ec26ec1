//! A standby: whom it follows, and when it finds the primary gone.

use super::candidate::Candidate;
use super::holding::Retaking;
use super::{Member, State};
use crate::action::Note;
use crate::clock::Moment;
use crate::database::Wanted;
use crate::lease::{Lease, LeaseState, MemberName};
use crate::message::Urgency;
use crate::transitions::when;
use std::time::Duration;

/// What a standby keeps in mind.
#[derive(Debug, Clone, Default)]
pub(super) struct Standby {
    /// Since when the primary is gone, as far as can be seen.
    pub gone_since: Option<Moment>,
    /// It doesn't become a candidate before.
    pub not_before: Moment,
    /// An operator wants it to take over; `force`.
    pub ordered: Option<bool>,
    /// What it has said would be lost, so that it says it once.
    pub told_loss: bool,
}

impl Member {
    /// Whom a standby may follow: the holder of the lease, if nobody with a higher epoch was promised.
    pub(super) fn leader(&self) -> Option<MemberName> {
        let lease = self.register.lease()?;
        let leads = lease.epoch >= self.durable.promised && lease.holder != self.settings.name;
        leads.then(|| lease.holder.clone())
    }

    pub(super) fn standby_wakes_at(&self, standby: &Standby) -> Moment {
        let seen = self.peers.primary_seen_at() + self.sight_limit(self.peers.last_step);
        let patience = self.settings.timing.patience(self.settings.timing.lifetime);
        let unchanged = self.register.unchanged(self.peers.last_step);
        let ends = self.peers.last_step + patience.saturating_sub(unchanged);
        [seen, ends, standby.not_before]
            .into_iter()
            .filter(|moment| *moment > self.peers.last_step)
            .min()
            .unwrap_or(self.pulse_at)
    }

    pub(super) fn decide_standby(&mut self, now: Moment) {
        if self.database.is_primary() && self.register.lease().is_some() && self.retaking() == Retaking::No {
            return self.demote(when::RUNS_UNLEASED);
        }
        if self.register.lease().is_some() && self.retaking() == Retaking::No {
            let follow = self.leader();
            self.want(Wanted::Standby { follow });
        }
        let State::Standby(standby) = &self.state else { return };
        if let Some(force) = standby.ordered {
            return self.become_candidate(now, Urgency::Ordered, force);
        }
        let Some(urgency) = self.primary_gone(now) else {
            if let State::Standby(standby) = &mut self.state {
                standby.gone_since = None;
            }
            return;
        };
        let State::Standby(standby) = &mut self.state else { return };
        let first = standby.gone_since.is_none();
        let since = *standby.gone_since.get_or_insert(now);
        // Who hands over in good order isn't missed; who gives the lease back because its server died is.
        let planned = |lease: &&Lease| matches!(lease.state, LeaseState::Released { to: Some(_) });
        if first && let Some(lease) = self.register.lease().filter(|lease| !planned(lease)) {
            let note = Note::Suspected { primary: lease.holder.clone(), epoch: lease.epoch };
            self.note(note);
        }
        if !self.is_eligible(now) || self.held_off_until > now || !self.turn_has_come(now, since) {
            return;
        }
        if let Some(bytes) = self.loss().filter(|_| !self.loss_is_allowed()) {
            if let State::Standby(standby) = &mut self.state
                && !std::mem::replace(&mut standby.told_loss, true)
            {
                self.note(Note::WouldLose { bytes });
            }
            return;
        }
        self.become_candidate(now, urgency, false);
    }

    fn become_candidate(&mut self, now: Moment, urgency: Urgency, force: bool) {
        let why = if urgency == Urgency::Ordered { when::ORDERED } else { when::GONE };
        self.enter(State::Candidate(Candidate::new(now, urgency, force)), why);
        self.canvass_epoch(now);
    }

    /// Whether the primary is gone, and how that shows.
    fn primary_gone(&self, now: Moment) -> Option<Urgency> {
        let lease = self.register.lease()?;
        if (lease.paused && !self.is_handed_over()) || lease.holder == self.settings.name {
            return None;
        }
        if let LeaseState::Released { to } = &lease.state {
            let ours = to.as_ref().is_none_or(|to| *to == self.settings.name);
            let waited = self.register.unchanged(now) >= self.settings.timing.handover_timeout;
            return (ours || waited).then_some(Urgency::Vacant);
        }
        let timing = &self.settings.timing;
        let looked = self.register.answered_at().is_some_and(|at| now - at <= timing.renew_interval * 2);
        if looked && self.register.unchanged(now) >= timing.patience(lease.lifetime.max(timing.lifetime)) {
            return Some(Urgency::Vacant);
        }
        // Only where promises protect what was acknowledged, silence is enough.
        let unseen = !self.sees_primary(now) && !self.others_see_primary(now);
        (unseen && !lease.quorums.any_asynchronous()).then_some(Urgency::Vanished)
    }

    /// Whether this may become the primary by itself, or because the last one handed over to it.
    pub(super) fn is_eligible(&self, now: Moment) -> bool {
        (self.settings.own().priority > 0 || self.is_handed_over()) && self.is_able(now)
    }

    /// Whether this may become the primary if it is told to.
    pub(super) fn is_able(&self, now: Moment) -> bool {
        let own = self.settings.own();
        let may = !own.witness && !own.barred && !self.durable.maintained;
        may && self.database.is_standby() && self.database_answers(now) && self.is_on_the_path(now)
    }

    /// Whether our log is a beginning of the lease's. A lease may name a lineage that never began: written late, when its writer had gone on
    /// already. Then everybody may be beside its path; when nobody took over for long, and nobody is seen on that lineage, whoever is on the
    /// path to it asks for promises, which tell for sure.
    fn is_on_the_path(&self, now: Moment) -> bool {
        let Some(lease) = self.register.lease() else { return false };
        let own = self.database.position;
        if lease.history.contains(own) {
            return true;
        }
        let timing = &self.settings.timing;
        let long = self.register.unchanged(now) >= timing.patience(lease.lifetime) + timing.handover_timeout * 2;
        let begun = self
            .peers
            .fresh(now, timing.silence_limit)
            .any(|(_, peer)| Some(peer.pulse.position.lineage) >= lease.history.last());
        long && !begun && !lease.quorums.any_asynchronous() && lease.history.without_last().contains(own)
    }

    fn is_handed_over(&self) -> bool {
        let state = self.register.lease().map(|lease| &lease.state);
        matches!(state, Some(LeaseState::Released { to }) if to.as_ref() == Some(&self.settings.name))
    }

    /// Those who have got further, or are preferred, go first: each gives the better ones a little time.
    fn turn_has_come(&self, now: Moment, since: Moment) -> bool {
        let State::Standby(standby) = &self.state else { return false };
        let own = self.own_rank();
        let better = self
            .peers
            .fresh(now, self.settings.timing.silence_limit)
            .filter(|(_, peer)| peer.pulse.eligible)
            .filter(|(name, peer)| {
                let priority = self.settings.members[*name].priority;
                (peer.pulse.position.offset, priority, std::cmp::Reverse((*name).clone())) > own
            })
            .count();
        let turn = self.settings.timing.pulse_interval * u32::try_from(better).unwrap_or(u32::MAX);
        now >= standby.not_before && now - since >= turn.min(Duration::from_secs(5))
    }

    /// How many bytes of log, that the holder is known to have had, aren't here. `None`: none.
    pub(super) fn loss(&self) -> Option<u64> {
        let lease = self.register.lease()?;
        let behind = lease.position.offset.saturating_sub(self.own_position().offset);
        (behind > 0).then_some(behind)
    }

    /// Where commits didn't wait for others, an automatic takeover loses at most what was configured. Where they did, the promises decide.
    pub(super) fn loss_is_allowed(&self) -> bool {
        let Some(lease) = self.register.lease() else { return false };
        if !lease.quorums.any_asynchronous() {
            return true;
        }
        let loss = self.loss().unwrap_or(0);
        let handed_over = matches!(lease.state, LeaseState::Released { to: Some(_) })
            && self.register.unchanged(self.peers.last_step) < self.settings.timing.handover_timeout;
        if handed_over {
            return loss == 0;
        }
        match self.settings.loss_max {
            Some(most) => loss <= most,
            // The holder said itself where it stopped; else nobody knows what it wrote since.
            None => lease.is_released() && loss == 0,
        }
    }
}
