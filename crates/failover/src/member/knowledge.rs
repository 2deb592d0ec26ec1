//! What a member writes down, and what it makes of the lease store's answers.

use super::{Member, State};
use crate::action::{Action, LeaseAnswer, LeaseOperation, Note, Unanswered};
use crate::clock::Moment;
use crate::lease::{Lease, MemberName};
use crate::position::Epoch;
use crate::register::Learnt;

/// What survives a crash of the agent. The shell writes it durably before it reports [`Event::Remembered`](crate::Event::Remembered).
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Durable {
    /// Nobody with a lower epoch is followed, ever.
    pub promised: Epoch,
    /// Who was promised it.
    pub promised_to: Option<MemberName>,
    /// The highest epoch of a lease that was seen: a store that shows a lower one has forgotten.
    pub seen: Epoch,
    /// An operator works at this member.
    #[serde(default)]
    pub maintained: bool,
}

impl Member {
    /// The store has answered.
    pub(super) fn see_lease(&mut self, now: Moment, request: u64, answer: LeaseAnswer) {
        if let LeaseAnswer::Unknown(Unanswered::NotOurs) = answer {
            self.doubt(Note::ForeignLease);
        }
        let answer = match answer {
            LeaseAnswer::Read(Some((lease, _))) if lease.cluster != self.settings.cluster => {
                self.doubt(Note::ForeignLease);
                LeaseAnswer::Unknown(Unanswered::NotOurs)
            }
            other => other,
        };
        match self.register.answer(now, request, answer) {
            Learnt::Nothing => {}
            Learnt::Empty if self.durable.seen > Epoch::default() => self.went_back(),
            Learnt::Empty => self.ask_later(now),
            Learnt::WentBack => self.went_back(),
            // Read at once what there is instead.
            Learnt::Lost => self.ask_at = now,
            Learnt::Unknown => self.ask_later(now),
            Learnt::Lease => self.heed(now, None),
            Learnt::Ours { sent_at } => self.heed(now, Some(sent_at)),
        }
    }

    fn went_back(&mut self) {
        self.doubt(Note::StoreWentBack { had: self.durable.seen });
        self.ask_at = self.ask_at + self.settings.timing.renew_interval;
    }

    /// What the store says can't be believed: said once, until it can be again.
    fn doubt(&mut self, note: Note) {
        if self.doubted.as_ref() != Some(&note) {
            self.doubted = Some(note.clone());
            self.note(note);
        }
    }

    fn ask_later(&mut self, now: Moment) {
        self.ask_at = now + self.settings.timing.renew_interval / 4;
    }

    /// There is a lease, perhaps a new one; with `sent_at`, it is what we wrote.
    fn heed(&mut self, now: Moment, sent_at: Option<Moment>) {
        let Some(lease) = self.register.lease().cloned() else { return };
        if lease.epoch < self.durable.seen {
            // A store that was brought back from an older copy, read for the first time by this incarnation.
            self.doubt(Note::StoreWentBack { had: self.durable.seen });
            self.register = crate::register::Register::default();
            self.ask_at = now + self.settings.timing.renew_interval;
            return;
        }
        self.doubted = None;
        if lease.epoch > self.durable.seen {
            self.remember(|durable| durable.seen = lease.epoch);
            // A new primary has the time that a new one needs.
            self.peers.saw_primary(now);
        }
        self.ask_at = self.looks_again_at(now);
        if lease.is_of(&self.settings.name, self.incarnation) {
            self.have(now, &lease, sent_at);
        }
    }

    /// Asks the store for what is due: to write what we want there, or to look.
    pub(super) fn use_register(&mut self, now: Moment) {
        if self.register.is_busy() {
            return;
        }
        let certain = self.register.version().is_some() || self.register.is_empty();
        if certain && let Some(mut lease) = self.lease_wanted(now) {
            // Others may have written into our lease: whether it is paused.
            let known = self.register.lease().map_or(0, |known| known.sequence);
            self.sequence = self.sequence.max(known) + 1;
            (lease.writer, lease.sequence) = (self.incarnation, self.sequence);
            let (request, operation) = self.register.swap(now, lease);
            return self.ask(now, request, operation);
        }
        if self.ask_at <= now {
            let (request, operation) = self.register.read(now);
            self.ask(now, request, operation);
        }
    }

    /// Who has promised waits for the candidate's lease: commits may wait for who follows it.
    pub(super) fn looks_again_at(&self, now: Moment) -> Moment {
        let timing = &self.settings.timing;
        let soon = matches!(self.state, State::Promised(_));
        now + if soon { timing.promised_look_interval() } else { timing.renew_interval }
    }

    fn ask(&mut self, now: Moment, request: u64, operation: LeaseOperation) {
        self.ask_at = self.looks_again_at(now);
        self.out.push(Action::Lease { request, operation });
    }

    /// What should be in the register instead of what is; `None`: it is as it should be.
    fn lease_wanted(&self, now: Moment) -> Option<Lease> {
        let of_state = match &self.state {
            State::Candidate(candidate) => self.lease_of_candidate(now, candidate),
            State::Promoting { .. } | State::Primary(_) | State::Draining(_) | State::Demoting => {
                self.lease_of_holder(now)
            }
            State::Starting | State::Standby(_) => self.lease_retaken().or_else(|| self.lease_bootstrapped()),
            State::Promised(_) | State::Witness => None,
        };
        of_state.or_else(|| self.lease_paused())
    }
}
