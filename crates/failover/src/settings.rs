//! What the operator decides: members, mode, times. Checked once, before anything is done by it.

use crate::lease::MemberName;
use crate::quorum::Quorum;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// One cluster as one of its members sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The cluster's name, which its lease repeats.
    pub cluster: String,
    /// Which member this is.
    pub name: MemberName,
    /// All of them, this one too.
    pub members: BTreeMap<MemberName, MemberSettings>,
    pub mode: Mode,
    /// The most that an automatic takeover may lose, in bytes of log, where commits didn't wait for others. `None`: it never takes
    /// over then, unless the old primary says itself that it stopped, and where.
    pub loss_max: Option<u64>,
    pub timing: Timing,
}

/// What others have to know of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberSettings {
    /// It has no database: it only tells whom it sees.
    pub witness: bool,
    /// Who goes first among those who have got equally far. Nought: it never becomes the primary by itself.
    pub priority: u32,
    /// It never becomes the primary, by an operator's order neither: it is where no primary may be.
    pub barred: bool,
}

/// What a commit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `needed` standbys.
    Synchronous { needed: usize, when_alone: WhenAlone },
    /// Nobody.
    Asynchronous,
}

/// What becomes of commits when fewer standbys are there than are needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenAlone {
    /// They wait: no acknowledged write has ever only one copy.
    Wait,
    /// They wait for those that are there, and for nobody when nobody is: the lease says so first.
    Continue,
}

/// Times. A holder's use of its lease ends by its own clock [`Timing::validity`] after it *sent* its last renewal that arrived; others
/// wait [`Timing::patience`] after they *received* what hasn't changed since. Both clocks may be wrong by `drift_per_thousand`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    /// Between two pulses to each other member.
    pub pulse_interval: Duration,
    /// No sign of the primary for so long is suspicious.
    pub silence_limit: Duration,
    /// As `silence_limit`, when the primary's host answers that no agent listens there.
    pub refusal_limit: Duration,
    /// Between two renewals of the lease, or looks at it.
    pub renew_interval: Duration,
    /// After which an answer of the lease store isn't waited for any longer.
    pub operation_timeout: Duration,
    /// Of the lease.
    pub lifetime: Duration,
    /// How long stopping may take: a holder begins so long before its lease ends.
    pub stop_margin: Duration,
    /// By how much any clock may be fast or slow.
    pub drift_per_thousand: u32,
    /// How long a candidate asks for promises, and a voter keeps one free from others.
    pub canvass_timeout: Duration,
    /// How long a promotion may take.
    pub promotion_timeout: Duration,
    /// How long a database may be silent before its agent gives it up.
    pub database_timeout: Duration,
    /// How long a standby may be away before commits stop waiting for it, where enough others are there.
    pub voter_timeout: Duration,
    /// How long sessions that have begun something may end it, after new ones are held and before the database is stopped.
    pub drain_grace: Duration,
    /// How long one that was asked to take over has, before the others, and then the old primary, may.
    pub handover_timeout: Duration,
}

impl Timing {
    /// For members and a lease store in one network: etcd, or a store that answers within a quarter of a second.
    pub fn local() -> Self {
        Self {
            pulse_interval: Duration::from_millis(300),
            silence_limit: Duration::from_millis(2_500),
            refusal_limit: Duration::from_millis(600),
            renew_interval: Duration::from_millis(1_000),
            operation_timeout: Duration::from_millis(1_000),
            lifetime: Duration::from_millis(6_000),
            stop_margin: Duration::from_millis(2_000),
            drift_per_thousand: 5,
            canvass_timeout: Duration::from_millis(2_000),
            promotion_timeout: Duration::from_secs(30),
            database_timeout: Duration::from_secs(6),
            voter_timeout: Duration::from_secs(10),
            drain_grace: Duration::from_millis(100),
            handover_timeout: Duration::from_secs(5),
        }
    }

    /// For regions, and a lease in a bucket.
    pub fn regions() -> Self {
        Self {
            pulse_interval: Duration::from_secs(1),
            silence_limit: Duration::from_secs(4),
            refusal_limit: Duration::from_secs(2),
            renew_interval: Duration::from_secs(2),
            operation_timeout: Duration::from_secs(2),
            lifetime: Duration::from_secs(12),
            stop_margin: Duration::from_secs(4),
            canvass_timeout: Duration::from_secs(5),
            drain_grace: Duration::from_millis(300),
            ..Self::local()
        }
    }

    /// Who has promised looks for the candidate's lease so often.
    pub fn promised_look_interval(&self) -> Duration {
        self.pulse_interval / 4
    }

    /// How long after a renewal was sent its holder may use the lease.
    pub fn validity(&self, lifetime: Duration) -> Duration {
        lifetime.saturating_sub(self.drift_of(lifetime))
    }

    /// How long others wait after they first received a lease that doesn't change.
    pub fn patience(&self, lifetime: Duration) -> Duration {
        lifetime + self.drift_of(lifetime) + Duration::from_millis(1)
    }

    fn drift_of(&self, span: Duration) -> Duration {
        span * self.drift_per_thousand / 1000
    }
}

/// Why settings can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsError {
    /// The member itself isn't among the members.
    NotAMember { name: MemberName },
    /// More standbys are to be waited for than there are.
    TooFewStandbys { needed: usize, standbys: usize },
    /// `needed = 0` is asynchronous mode.
    NoneNeeded,
    /// A holder that loses its store couldn't try twice and still stop in time.
    LifetimeTooShort { at_least: Duration, lifetime: Duration },
    /// Pulses come more rarely than their absence is minded.
    SilenceTooShort { at_least: Duration, silence_limit: Duration },
    /// A drift of a clock that is none.
    DriftTooLarge { per_thousand: u32 },
}

impl std::error::Error for SettingsError {}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAMember { name } => write!(f, "{name} is not among the members"),
            Self::TooFewStandbys { needed, standbys } => {
                write!(f, "commits are to wait for {needed} standbys, and there are only {standbys}")
            }
            Self::NoneNeeded => write!(f, "synchronous mode with no standby to wait for is asynchronous mode"),
            Self::LifetimeTooShort { at_least, lifetime } => write!(
                f,
                "a lease of {lifetime:?} is too short: renewing twice and stopping takes up to {at_least:?} (renewal interval + 2 × \
                 operation timeout + stop margin)"
            ),
            Self::SilenceTooShort { at_least, silence_limit } => {
                write!(f, "a silence limit of {silence_limit:?} is too short: three pulses take {at_least:?}")
            }
            Self::DriftTooLarge { per_thousand } => {
                write!(f, "clocks that are wrong by {per_thousand} in a thousand can't be relied on: at most 100")
            }
        }
    }
}

impl Settings {
    /// # Errors
    /// The first thing that can't work.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !self.members.contains_key(&self.name) {
            return Err(SettingsError::NotAMember { name: self.name.clone() });
        }
        let standbys = self.members.values().filter(|member| !member.witness).count().saturating_sub(1);
        match self.mode {
            Mode::Synchronous { needed: 0, .. } => return Err(SettingsError::NoneNeeded),
            Mode::Synchronous { needed, .. } if needed > standbys => {
                return Err(SettingsError::TooFewStandbys { needed, standbys });
            }
            _ => {}
        }
        let timing = &self.timing;
        if timing.drift_per_thousand > 100 {
            return Err(SettingsError::DriftTooLarge { per_thousand: timing.drift_per_thousand });
        }
        let at_least = timing.renew_interval + timing.operation_timeout * 2 + timing.stop_margin;
        if timing.validity(timing.lifetime) < at_least {
            return Err(SettingsError::LifetimeTooShort { at_least, lifetime: timing.lifetime });
        }
        let at_least = timing.pulse_interval * 3;
        if timing.silence_limit < at_least {
            return Err(SettingsError::SilenceTooShort { at_least, silence_limit: timing.silence_limit });
        }
        Ok(())
    }

    /// This member.
    pub fn own(&self) -> &MemberSettings {
        &self.members[&self.name]
    }

    /// Every other member.
    pub fn others(&self) -> impl Iterator<Item = &MemberName> {
        self.members.keys().filter(move |name| **name != self.name)
    }

    /// Whether `name` has a database.
    pub fn has_database(&self, name: &MemberName) -> bool {
        self.members.get(name).is_some_and(|member| !member.witness)
    }

    /// The quorum that commits should wait for when `present` are the standbys that are there.
    pub fn quorum_of(&self, primary: &MemberName, present: &BTreeSet<MemberName>) -> Quorum {
        let standbys = || self.members.keys().filter(|name| *name != primary && self.has_database(name));
        match self.mode {
            Mode::Asynchronous => Quorum::asynchronous(),
            Mode::Synchronous { needed, when_alone } => {
                let there: BTreeSet<_> = standbys().filter(|name| present.contains(*name)).cloned().collect();
                match when_alone {
                    _ if there.len() >= needed => Quorum { voters: there, needed },
                    WhenAlone::Continue => Quorum { needed: there.len(), voters: there },
                    WhenAlone::Wait => Quorum { voters: standbys().cloned().collect(), needed },
                }
            }
        }
    }
}
