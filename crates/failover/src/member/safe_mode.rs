//! Going on without the lease store: only when every member says that it will not replace the primary.
//!
//! All, not most: whoever isn't asked could be the one that takes over when the store is back. What was agreed ends by the clock of each,
//! as a lease does.

use super::{Member, State};
use crate::action::{Action, Note};
use crate::clock::Moment;
use crate::lease::MemberName;
use crate::message::Message;
use crate::position::Epoch;
use std::collections::BTreeSet;
use std::time::Duration;

/// One question to all.
#[derive(Debug, Clone, Default)]
pub(super) struct SafeMode {
    asked: u64,
    asked_at: Moment,
    agreed: BTreeSet<MemberName>,
    told: bool,
}

impl Member {
    /// Asks all members to wait, when the store hasn't answered for longer than it should have.
    pub(super) fn keep_safe(&mut self, now: Moment) {
        let timing = &self.settings.timing;
        let Some(hold) = &self.hold else { return };
        let epoch = hold.epoch;
        let State::Primary(primary) = &mut self.state else { return };
        let silent = now - hold.renewed_at > timing.renew_interval + timing.operation_timeout / 2;
        let answers = self.register.answered_at().is_some_and(|at| now - at <= timing.operation_timeout);
        if !silent || answers {
            if !silent {
                let told = std::mem::take(&mut primary.safe_mode).told;
                if told {
                    self.note(Note::StoreAnswers { epoch });
                }
            }
            return;
        }
        let safe_mode = &mut primary.safe_mode;
        if safe_mode.asked > 0 && now - safe_mode.asked_at < timing.renew_interval / 2 {
            return;
        }
        // Answers count only for the question that they answer.
        safe_mode.asked += 1;
        safe_mode.asked_at = now;
        safe_mode.agreed.clear();
        let message = Message::HoldOff { epoch: hold.epoch, lifetime: timing.lifetime, asked: safe_mode.asked };
        for to in self.settings.others() {
            self.out.push(Action::Send { to: to.clone(), message: message.clone() });
        }
    }

    /// The primary asks us to wait.
    pub(super) fn hear_hold_off(
        &mut self,
        now: Moment,
        from: &MemberName,
        epoch: Epoch,
        lifetime: Duration,
        asked: u64,
    ) {
        let busy = match &self.state {
            State::Standby(_) | State::Witness => false,
            State::Promised(promise) => promise.epoch > epoch,
            _ => true,
        };
        let newer = self.durable.promised > epoch || self.durable.seen > epoch;
        if busy || newer {
            return;
        }
        self.held_off_until = self.held_off_until.max(now + self.settings.timing.patience(lifetime));
        self.peers.saw_primary(now);
        self.out.push(Action::Send { to: from.clone(), message: Message::HeldOff { epoch, asked } });
    }

    /// Somebody waits. When all do, it is as good as a renewal that was sent when they were asked.
    pub(super) fn hear_held_off(&mut self, from: &MemberName, epoch: Epoch, asked: u64) {
        let others: BTreeSet<_> = self.settings.others().cloned().collect();
        let timing = self.settings.timing.clone();
        let (State::Primary(primary), Some(hold)) = (&mut self.state, &mut self.hold) else { return };
        let safe_mode = &mut primary.safe_mode;
        if hold.epoch != epoch || safe_mode.asked != asked {
            return;
        }
        safe_mode.agreed.insert(from.clone());
        if safe_mode.agreed != others {
            return;
        }
        hold.valid_until = hold.valid_until.max(safe_mode.asked_at + timing.validity(timing.lifetime));
        let deadline = (!hold.paused).then_some(hold.valid_until);
        let first = !std::mem::replace(&mut safe_mode.told, true);
        self.out.push(Action::Deadline(deadline));
        if first {
            self.note(Note::SafeMode { epoch });
        }
    }
}
