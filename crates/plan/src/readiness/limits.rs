//! The thresholds of a workload or group: what its tier promises, else a stated default.

use crate::model::{Plan, Tier};
use serde::Serialize;
use std::time::Duration;

/// What is assumed where nothing was promised. Each is told beside the figure that it judges.
pub mod defaults {
    use std::time::Duration;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    /// Time to be back.
    pub const RTO: Duration = Duration::from_secs(4 * HOUR);
    /// Loss.
    pub const RPO: Duration = Duration::from_secs(HOUR);
    /// Between two drills of a group: a quarter.
    pub const DRILL_EVERY: Duration = Duration::from_secs(92 * DAY);
    /// A backup each night, with two hours to spare.
    pub const BACKUP_WITHIN: Duration = Duration::from_secs(26 * HOUR);
    /// Since the structure of what is stored was followed.
    pub const VERIFY_STRUCTURE: Duration = Duration::from_secs(7 * DAY);
    /// Since every byte was read.
    pub const VERIFY_DATA: Duration = Duration::from_secs(31 * DAY);
    /// Since it was started and asked.
    pub const VERIFY_BOOT: Duration = Duration::from_secs(31 * DAY);
    /// Reviews of the plan.
    pub const REVIEW_WITHIN: Duration = Duration::from_secs(366 * DAY);
    /// Since a person answered a page; since the key in the safe was proven.
    pub const QUARTER: Duration = Duration::from_secs(92 * DAY);
    /// Until a location is full.
    pub const FULL_IN_DAYS: f64 = 14.0;
    /// Until a certificate ends.
    pub const CERTIFICATE_DAYS: f64 = 30.0;
    /// A clock may differ by this much: below it, signatures and leases bear it.
    pub const CLOCK_SECONDS: f64 = 5.0;
    /// Clients may remember an address for so long, whatever the RTO (AWS's rule for its own readiness checks).
    pub const ROUTE_SECONDS: f64 = 300.0;
    /// The part of the RTO that may pass until clients ask again.
    pub const ROUTE_OF_RTO: f64 = 0.1;
    /// The size of a point may differ from the median of those before by this much.
    pub const SIZE_RATIO: f64 = 0.3;
    /// If it lost more than this, it isn't a warning any more.
    pub const SIZE_LOST_RATIO: f64 = 0.5;
    /// What a restore needs beside the bytes that it writes: log, and what replay makes.
    pub const ROOM_RATIO: f64 = 1.1;
}

/// A threshold and where it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limit {
    /// In seconds.
    pub seconds: f64,
    /// `RPO of tier gold`, `RPO by default`.
    pub basis: String,
}

impl Limit {
    /// One that was decided, or else the default.
    pub fn of(what: &str, decided: Option<(Duration, String)>, default: Duration) -> Self {
        match decided {
            Some((time, whose)) => Self { seconds: time.as_secs_f64(), basis: format!("{what} of {whose}") },
            None => Self { seconds: default.as_secs_f64(), basis: format!("{what} by default, the plan says none") },
        }
    }
}

/// What is promised of a workload or group.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    /// Time to be back.
    pub rto: Limit,
    /// Loss.
    pub rpo: Limit,
    /// Between two drills.
    pub drill_every: Limit,
    /// Whether the RPO was promised, and is nought: nothing may be lost.
    pub nothing_may_be_lost: bool,
}

impl Limits {
    /// By the tier, where there is one.
    pub fn of(tier: Option<(&str, &Tier)>) -> Self {
        let decided = |time: Duration| tier.map(|(name, _)| (time, format!("tier {name}")));
        let objective = tier.map(|(_, tier)| tier.objective);
        let every = tier.and_then(|(_, tier)| tier.drill_every).and_then(decided);
        Self {
            rto: Limit::of("RTO", objective.and_then(|objective| decided(objective.rto)), defaults::RTO),
            rpo: Limit::of("RPO", objective.and_then(|objective| decided(objective.rpo)), defaults::RPO),
            drill_every: Limit::of("drill cadence", every, defaults::DRILL_EVERY),
            nothing_may_be_lost: objective.is_some_and(|objective| objective.rpo.is_zero()),
        }
    }

    /// Of a workload.
    pub fn of_workload(plan: &Plan, name: &str) -> Self {
        Self::of(plan.tier_of_workload(name))
    }

    /// Of a group.
    pub fn of_group(plan: &Plan, name: &str) -> Self {
        Self::of(plan.tier_of_group(name))
    }
}
