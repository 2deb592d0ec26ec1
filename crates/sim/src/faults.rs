//! What goes wrong, and when it is over.

use crate::random::Random;
use crate::scenario::Scenario;
use lifeboat_failover::MemberName;

const SECOND: u64 = 1_000_000;

/// One thing that goes wrong at a member, or to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The agent is killed; something starts it again.
    AgentDies,
    /// It is killed and started, again and again.
    AgentRestarts,
    DatabaseDies,
    /// Both, and nobody answers at all.
    HostDies,
    /// Stopped and continued.
    AgentPauses,
    DatabaseHangs,
    /// Everything on it, its end-of-lease process too.
    HostPauses,
    /// Cut off from all other members, and perhaps the store.
    CutOff {
        store_too: bool,
    },
    /// It can't be heard, but hears; or the other way round.
    HalfCut {
        from: bool,
    },
    CutPair {
        other: MemberName,
    },
    StoreAwayForIt,
    StoreAway,
    ClockJumps {
        by: u64,
    },
    Switchover,
    Failover,
    Pause,
    /// Somebody works at it, and stops its database for a while.
    Maintenance,
}

/// A fault with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planned {
    pub at: u64,
    pub until: u64,
    pub whom: Whom,
    pub fault: Fault,
}

/// At whom a fault is aimed: most are interesting at the primary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whom {
    ThePrimary,
    Member(MemberName),
}

/// When the last fault is over.
pub(crate) const QUIET_AT: u64 = 50 * SECOND;

/// The faults of a scenario.
pub(crate) fn plan(scenario: Scenario, names: &[MemberName], random: &mut Random) -> Vec<Planned> {
    if scenario.calm {
        return Vec::new();
    }
    let count = random.between(1, 9);
    let mut planned = Vec::new();
    for _ in 0..count {
        let at = random.between(6 * SECOND, 36 * SECOND);
        let length = if random.chance(500) {
            random.between(SECOND / 10, 3 * SECOND)
        } else {
            random.between(3 * SECOND, 14 * SECOND)
        };
        let whom =
            if random.chance(650) { Whom::ThePrimary } else { Whom::Member(names[random.index(names.len())].clone()) };
        let fault = one(scenario, names, random);
        planned.push(Planned { at, until: (at + length).min(QUIET_AT), whom, fault });
        // Misfortunes come together: the next primary too, before it has settled.
        while random.chance(350) {
            let at = planned.last().map_or(at, |last| last.at) + random.between(SECOND / 5, 4 * SECOND);
            let fault = one(scenario, names, random);
            planned.push(Planned { at, until: (at + length).min(QUIET_AT), whom: Whom::ThePrimary, fault });
        }
    }
    planned.retain(|fault| fault.at < QUIET_AT);
    planned
}

fn one(scenario: Scenario, names: &[MemberName], random: &mut Random) -> Fault {
    loop {
        let fault = match random.between(0, 20) {
            0 => Fault::AgentDies,
            1 | 2 => Fault::DatabaseDies,
            3 | 4 => Fault::HostDies,
            5 => Fault::AgentPauses,
            6 => Fault::DatabaseHangs,
            7 => Fault::HostPauses,
            8 => Fault::CutOff { store_too: random.chance(500) },
            9 => Fault::HalfCut { from: random.chance(500) },
            10 => Fault::CutPair { other: names[random.index(names.len())].clone() },
            11 => Fault::StoreAwayForIt,
            12 => Fault::StoreAway,
            13 => Fault::ClockJumps { by: random.between(SECOND, 20 * SECOND) },
            14 => {
                if random.chance(500) {
                    Fault::Switchover
                } else {
                    Fault::Failover
                }
            }
            15 => Fault::Pause,
            16 | 17 => Fault::AgentRestarts,
            18 => Fault::Maintenance,
            _ => Fault::AgentDies,
        };
        // Where only clocks keep primaries apart, they are right within their bounds, and what ends a database runs.
        let beyond = matches!(fault, Fault::HostPauses | Fault::ClockJumps { .. } | Fault::Pause | Fault::Failover);
        if !(scenario.asynchronous && beyond) {
            return fault;
        }
    }
}
