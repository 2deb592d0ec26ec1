//! The primary: what its commits wait for, when it lets clients in, and when it gives up.

use super::safe_mode::SafeMode;
use super::{Member, State};
use crate::action::{Action, Note, Route};
use crate::clock::Moment;
use crate::database::{Activity, Wanted};
use crate::lease::{Lease, MemberName};
use crate::position::Epoch;
use crate::quorum::Quorum;
use crate::transitions::when;
use std::collections::BTreeSet;

/// A standby further behind isn't taken among those that commits wait for: 16 MiB.
const JOINING_LAG_MAX_BYTES: u64 = 16 << 20;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    since: Moment,
    /// The epoch that clients were sent here with.
    routed: Option<Epoch>,
    /// Where it began: what was written before must be with the quorum before the quorums of before are forgotten.
    started_at: u64,
    pub safe_mode: SafeMode,
}

impl Member {
    pub(super) fn begin_primary(&mut self, now: Moment) {
        let primary = Primary {
            since: now,
            routed: None,
            started_at: self.database.position.offset,
            safe_mode: SafeMode::default(),
        };
        self.enter(State::Primary(primary), when::PROMOTED);
    }

    pub(super) fn decide_primary(&mut self, now: Moment) {
        let carried_out = self.database.order >= self.order;
        if (carried_out && !self.database.is_primary()) || !self.database_answers(now) {
            return self.demote(when::DATABASE_GONE);
        }
        let Some(lease) = self.register.lease().cloned() else { return };
        // Commits wait for a new quorum only when the register certainly names it.
        if let (Some(quorum), Some(lineage)) = (lease.quorums.newest(), self.database.history.last())
            && self.register.version().is_some()
            && lease.is_of(&self.settings.name, self.incarnation)
        {
            let changed = matches!(&self.wanted, Some(Wanted::Primary { quorum: before, .. }) if before != quorum);
            if changed {
                self.note(Note::QuorumChanged { quorum: quorum.clone() });
            }
            self.want(Wanted::Primary { lineage, quorum: quorum.clone() });
        }
        self.open(now);
        self.keep_safe(now);
    }

    /// Sends clients here: when the quorum has what this began with, so that nobody reads what could still be lost. A primary that waits
    /// for its quorum longer than that serves reads.
    fn open(&mut self, now: Moment) {
        let (State::Primary(primary), Some(hold)) = (&self.state, &self.hold) else { return };
        if primary.routed == Some(hold.epoch) {
            return;
        }
        let met = self.has_been_confirmed(primary.started_at);
        let waited = now - primary.since >= self.settings.timing.handover_timeout;
        if !met && !waited && primary.routed.is_none() {
            return;
        }
        let epoch = hold.epoch;
        self.out.push(Action::Route(Route { epoch, primary: Some(self.settings.name.clone()) }));
        if let State::Primary(primary) = &mut self.state {
            primary.routed = Some(epoch);
        }
    }

    /// Whether the quorum that is in force has everything up to `offset`.
    fn has_been_confirmed(&self, offset: u64) -> bool {
        let Activity::Primary { confirmed, quorum, .. } = &self.database.activity else { return false };
        let lineage = self.database.position.lineage;
        let having: BTreeSet<MemberName> = confirmed
            .iter()
            .filter(|(_, position)| position.lineage == lineage && position.offset >= offset)
            .map(|(name, _)| name.clone())
            .collect();
        quorum.met_by(&having)
    }

    /// What a primary changes in its lease: an epoch that others have outrun, the quorum, the pause.
    pub(super) fn tune_lease(&self, now: Moment, primary: &Primary, lease: &mut Lease) {
        if let Some(epoch) = self.outrun(now, lease.epoch) {
            lease.epoch = epoch.next();
        }
        if let Some(paused) = self.pause_wanted() {
            lease.paused = paused;
        }
        self.tune_quorums(now, primary, lease);
    }

    /// Voters that promised a higher epoch follow us only with one that is higher still. Worth it if they hear us: who doesn't
    /// hear us has reason to look for another.
    fn outrun(&self, now: Moment, epoch: Epoch) -> Option<Epoch> {
        let timing = &self.settings.timing;
        let settled = timing.pulse_interval * 2;
        self.peers
            .fresh(now, timing.silence_limit)
            .filter(|(_, peer)| peer.pulse.hears_you && peer.pulse.promised > epoch)
            .filter(|(_, peer)| peer.pulse.primary_seen.is_some_and(|ago| ago <= settled))
            .map(|(_, peer)| peer.pulse.promised)
            .max()
            .map(|_| self.highest_epoch())
    }

    fn tune_quorums(&self, now: Moment, primary: &Primary, lease: &mut Lease) {
        let Some(newest) = lease.quorums.newest() else { return };
        let desired = self.desired_quorum(now, primary, newest);
        if desired != *newest {
            if !lease.quorums.is_full() {
                lease.join(desired);
            }
            return;
        }
        let Activity::Primary { quorum, quorum_since, .. } = &self.database.activity else { return };
        if quorum == newest && self.has_been_confirmed(primary.started_at.max(*quorum_since)) {
            lease.settle();
        }
    }

    /// The quorum for the standbys that are there now. One that joins must have nearly everything; one that was there may be away for
    /// a while.
    fn desired_quorum(&self, now: Moment, primary: &Primary, newest: &Quorum) -> Quorum {
        let timing = &self.settings.timing;
        let Activity::Primary { confirmed, .. } = &self.database.activity else { return newest.clone() };
        let own = self.database.position;
        let near = |position: &crate::Position| {
            position.lineage == own.lineage && own.offset.saturating_sub(position.offset) <= JOINING_LAG_MAX_BYTES
        };
        let grace = now - primary.since < timing.voter_timeout;
        let mut present: BTreeSet<_> = self.peers.receiving_within(now, timing.voter_timeout);
        present.retain(|name| newest.voters.contains(name));
        if grace {
            present.extend(newest.voters.iter().cloned());
        }
        present.extend(confirmed.iter().filter(|(_, position)| near(position)).map(|(name, _)| name.clone()));
        // Who is worked at may stop at any time: commits don't wait to find out, where others are enough.
        let maintained = self.peers.maintained(now, timing.silence_limit);
        present.retain(|name| !maintained.contains(name));
        self.settings.quorum_of(&self.settings.name, &present)
    }
}
