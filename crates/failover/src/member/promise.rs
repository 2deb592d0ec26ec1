//! A voter's part: it promises, writes it down, lets go of the old primary, and only then answers.

use super::{Member, Standby, State};
use crate::action::Action;
use crate::clock::Moment;
use crate::database::Wanted;
use crate::lease::MemberName;
use crate::message::{Message, Refusal, Urgency};
use crate::position::{Epoch, Position};
use crate::transitions::when;

/// A promise that was given.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub epoch: Epoch,
    pub candidate: MemberName,
    pub since: Moment,
    /// The change of what is remembered that holds it.
    number: u64,
    /// The order that cut the receiver.
    order: u64,
    answered: bool,
}

impl Member {
    /// A candidate asks for a promise.
    pub(super) fn hear_canvass(
        &mut self,
        now: Moment,
        from: &MemberName,
        epoch: Epoch,
        urgency: Urgency,
        rank: (Position, u32),
    ) {
        if let State::Promised(promise) = &mut self.state
            && promise.epoch == epoch
            && promise.candidate == *from
        {
            // Our answer may have been lost.
            promise.answered = false;
            return;
        }
        if let Some(why) = self.refusal(now, from, epoch, urgency, rank) {
            self.out.push(Action::Send { to: from.clone(), message: Message::Refused { epoch, why } });
            return;
        }
        self.remember(|durable| {
            durable.promised = epoch;
            durable.promised_to = Some(from.clone());
        });
        self.want(Wanted::Standby { follow: None });
        let (number, order) = (self.changed, self.order);
        let promise = Promise { epoch, candidate: from.clone(), since: now, number, order, answered: false };
        self.enter(State::Promised(promise), when::ASKED);
        self.ask_at = self.ask_at.min(self.looks_again_at(now));
    }

    fn refusal(
        &self,
        now: Moment,
        from: &MemberName,
        epoch: Epoch,
        urgency: Urgency,
        rank: (Position, u32),
    ) -> Option<Refusal> {
        let used = self.durable.promised.max(self.durable.seen);
        match &self.state {
            State::Standby(_) => {}
            State::Promised(promise) => {
                // One at a time: the other is probably about to succeed.
                if promise.candidate != *from && now - promise.since < self.settings.timing.canvass_timeout {
                    return Some(Refusal::Better { candidate: promise.candidate.clone() });
                }
            }
            State::Candidate(candidate) => {
                if candidate.is_taking() || self.own_rank() >= (rank.0.offset, rank.1, std::cmp::Reverse(from.clone()))
                {
                    return Some(Refusal::Better { candidate: self.settings.name.clone() });
                }
            }
            State::Primary(_) | State::Draining(_) | State::Promoting { .. } => return Some(Refusal::PrimarySeen),
            State::Starting | State::Demoting | State::Witness => return Some(Refusal::NotAStandby),
        }
        if epoch <= used {
            return Some(Refusal::Promised { epoch: used });
        }
        if urgency != Urgency::Ordered && self.held_off_until > now {
            return Some(Refusal::HeldOff);
        }
        if urgency == Urgency::Vanished && self.sees_primary(now) {
            return Some(Refusal::PrimarySeen);
        }
        None
    }

    /// Who goes first: who has got further, then who is preferred, then the name.
    pub(super) fn own_rank(&self) -> (u64, u32, std::cmp::Reverse<MemberName>) {
        (self.own_position().offset, self.settings.own().priority, std::cmp::Reverse(self.settings.name.clone()))
    }

    pub(super) fn decide_promised(&mut self, now: Moment) {
        let State::Promised(promise) = &self.state else { return };
        if self.database.is_primary() {
            return self.demote(when::RUNS_UNLEASED);
        }
        if self.leader().is_some() {
            return self.enter(State::Standby(Standby::default()), when::FOLLOWED);
        }
        let (number, order, answered) = (promise.number, promise.order, promise.answered);
        let (epoch, candidate) = (promise.epoch, promise.candidate.clone());
        if !answered && self.remembered >= number && self.database.is_cut(order) {
            let (position, history) = (self.database.position, self.database.history.clone());
            self.out.push(Action::Send { to: candidate, message: Message::Granted { epoch, position, history } });
            if let State::Promised(promise) = &mut self.state {
                promise.answered = true;
            }
        }
        if let State::Promised(promise) = &self.state
            && now - promise.since >= self.settings.timing.canvass_timeout
        {
            self.enter(State::Standby(Standby::default()), when::FORGOTTEN);
        }
    }
}
