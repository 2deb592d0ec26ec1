//! The next small step from what was seen to what is wanted. Pure.

use super::managed::{Managed, apart, same_upstream};
use super::seen::{Run, Seen};
use super::unserved::Unserved;
use lifeboat_failover::{Lineage, MemberName, Moment, Position, StopHow, Wanted};
use std::collections::BTreeSet;
use std::time::Duration;

/// A server that was told to end at once and is still there after so long is killed.
const KILL_AFTER: Duration = Duration::from_millis(1_500);
/// A server that was told to end is told again after so long.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A standby that is to be rewound has so long to end in good order.
const ORDERLY_PATIENCE: Duration = Duration::from_secs(20);
/// Whether we fit the one that we are to follow is asked so often.
const COMPARE_EVERY: Duration = Duration::from_millis(100);
/// Who can't be asked for so long isn't waited for with the start.
const COMPARE_PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to start a server that ends again.
const START_EVERY: Duration = Duration::from_millis(500);
/// So long after the server has read its settings, each of its processes has too: they are told within microseconds of each other.
pub const SETTLE: Duration = Duration::from_millis(50);
/// A quorum that hasn't what a primary began with for so long is looked at as seldom as all else.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(5);

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// All is as it is wanted.
    Done,
    /// Something is under way: look again.
    Wait,
    Stop(Ending),
    /// Write the settings; a running server reads them.
    Settle(Managed),
    /// What starts from now on is a standby.
    BecomeStandby,
    Start,
    Promote {
        lineage: Lineage,
    },
    /// Ask the member whether our log is a beginning of its own.
    Compare {
        with: MemberName,
    },
    /// Take away what isn't on that member's lineage; put it aside first.
    Refit {
        to: MemberName,
    },
}

/// How a server is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Orderly,
    AtOnce,
    Kill,
}

/// What the keeper has done lately. Forgetting it costs time, never more.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Since when the present order is wanted.
    pub ordered_at: Moment,
    pub told_to_end: Option<(Ending, Moment, Moment)>,
    pub started_at: Option<Moment>,
    /// A primary was begun under what is wanted now, or under the orders to be one that went right before it.
    pub begun: bool,
    pub promoted_at: Option<Moment>,
    /// When it was first seen as a primary, and how far its log went.
    pub came_out: Option<(Moment, u64)>,
    /// The last answer of the one that is followed: whether our log up to there is a beginning of its own.
    pub fit: Option<Fit>,
    pub compared_at: Option<Moment>,
    /// Whether it gets anything from the one that it follows.
    pub unserved: Unserved,
    /// Since when settings have been as they are wanted.
    pub settled_since: Option<Moment>,
    /// Somebody works at this machine: nothing is started, rewound or made anew.
    pub left_alone: bool,
    /// An operator wants the data made anew, whatever it is.
    pub anew: bool,
    /// And not from the repository, from which it was made when it couldn't follow.
    pub from_primary: bool,
    /// After a refit that failed, the next isn't begun before.
    pub refit_not_before: Moment,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fit {
    pub with: MemberName,
    /// Where its log left ours; `None`: ours is a beginning of it.
    pub fork: Option<u64>,
}

/// See the module. `managed` are the settings for what is wanted.
pub fn next(wanted: &Wanted, managed: &Managed, seen: &Seen, memory: &Memory) -> Step {
    if seen.run == Run::Remains {
        return Step::Stop(Ending::Kill);
    }
    match wanted {
        Wanted::Stopped { how } => match seen.run {
            Run::Stopped => Step::Done,
            _ => stop(*how, seen, memory),
        },
        Wanted::Standby { follow } => standby(follow.as_ref(), managed, seen, memory),
        Wanted::Primary { lineage, .. } => primary(*lineage, managed, seen, memory),
    }
}

/// Whether clients wait for what the next look shows: they are sent to a primary when its quorum has what it began with.
pub fn is_awaited(wanted: &Wanted, seen: &Seen, memory: &Memory) -> bool {
    let (Wanted::Primary { quorum, .. }, Some(told), Some((since, began_at))) = (wanted, &seen.told, memory.came_out)
    else {
        return false;
    };
    let has = |position: &Position| position.lineage == told.position.lineage && position.offset >= began_at;
    let having: BTreeSet<_> =
        told.confirmed.iter().filter(|(_, position)| has(position)).map(|(name, _)| name.clone()).collect();
    seen.at - since < CONFIRMED_WITHIN && !quorum.met_by(&having)
}

fn stop(how: StopHow, seen: &Seen, memory: &Memory) -> Step {
    let wanted = match how {
        StopHow::Orderly => Ending::Orderly,
        StopHow::AtOnce => Ending::AtOnce,
    };
    match memory.told_to_end {
        Some((Ending::AtOnce | Ending::Kill, first, last)) if wanted == Ending::AtOnce => {
            if seen.at - first < KILL_AFTER
                || seen.at - last < Duration::from_millis(200) && seen.at - first > KILL_AFTER
            {
                Step::Wait
            } else {
                Step::Stop(Ending::Kill)
            }
        }
        Some((told, _, last)) if told == wanted && seen.at - last < TELL_AGAIN_AFTER => Step::Wait,
        _ => Step::Stop(wanted),
    }
}

fn standby(follow: Option<&MemberName>, managed: &Managed, seen: &Seen, memory: &Memory) -> Step {
    if seen.run != Run::Stopped && (seen.is_primary() || !seen.standby_signal) {
        return stop(StopHow::AtOnce, seen, memory);
    }
    let misfit = |name: &&MemberName| memory.fit.as_ref().is_some_and(|fit| fit.with == **name && fit.fork.is_some());
    if seen.unfinished && follow.is_none() {
        return Step::Wait;
    }
    if let Some(to) = follow.filter(|name| seen.unfinished || memory.anew || misfit(name)) {
        return match seen.run {
            Run::Stopped if memory.left_alone => Step::Done,
            Run::Stopped if seen.at < memory.refit_not_before => Step::Wait,
            Run::Stopped => Step::Refit { to: to.clone() },
            // In good order, so that it can be rewound; at once when it doesn't end.
            _ => {
                let begun = memory.told_to_end.map(|(_, first, _)| first);
                let slow = begun.is_some_and(|first| seen.at - first >= ORDERLY_PATIENCE);
                stop(if slow { StopHow::AtOnce } else { StopHow::Orderly }, seen, memory)
            }
        };
    }
    // A receiver says of itself that it has all that its server has, whoever's that is, and the primary counts it. So nobody is named whom we
    // haven't asked whether our log is a beginning of its own.
    let fits = |name: &MemberName| memory.fit.as_ref().is_some_and(|fit| fit.with == *name && fit.fork.is_none());
    // What was a primary is asked always: its file may still name who it followed before.
    let is_new = !seen.standby_signal || !same_upstream(&seen.in_file, managed);
    let unasked = follow.filter(|name| is_new && !fits(name));
    let now = if unasked.is_some() { &apart(managed) } else { managed };
    if seen.in_file != *now {
        return Step::Settle(now.clone());
    }
    match (seen.run, unasked) {
        // What was a primary may have what nobody else has. Who can't be asked for long holds nobody up: started apart, it receives from nobody, but
        // can be asked for its promise.
        (Run::Stopped, Some(with)) if seen.at - memory.ordered_at < COMPARE_PATIENCE => compare(with, seen, memory),
        (Run::Stopped, _) if !seen.standby_signal => Step::BecomeStandby,
        (Run::Stopped, _) => start(seen, memory),
        // Some can't be read before they have had log from their upstream.
        (Run::Starting, Some(with)) => compare(with, seen, memory),
        (Run::Starting | Run::Remains, _) => Step::Wait,
        (Run::Running, Some(with)) => settled(now, seen, memory).unwrap_or_else(|| ask(with, seen, memory)),
        (Run::Running, None) => settled(now, seen, memory).unwrap_or_else(|| follow_on(follow, seen, memory)),
    }
}

fn start(seen: &Seen, memory: &Memory) -> Step {
    match memory.started_at {
        _ if memory.left_alone => Step::Done,
        Some(at) if seen.at - at < START_EVERY => Step::Wait,
        _ => Step::Start,
    }
}

fn compare(with: &MemberName, seen: &Seen, memory: &Memory) -> Step {
    match memory.compared_at {
        Some(at) if seen.at - at < COMPARE_EVERY => Step::Wait,
        _ => Step::Compare { with: with.clone() },
    }
}

/// `None`: the server goes by the settings.
fn settled(managed: &Managed, seen: &Seen, memory: &Memory) -> Option<Step> {
    match &seen.told {
        None => Some(Step::Wait),
        Some(told) if told.in_force != *managed => Some(again(managed, seen, memory)),
        Some(_) => None,
    }
}

/// Of a server that receives from nobody, so that what it has doesn't change.
fn ask(with: &MemberName, seen: &Seen, memory: &Memory) -> Step {
    match seen.told.as_ref().and_then(|told| told.receiver.as_ref()) {
        Some(_) => Step::Wait,
        None => compare(with, seen, memory),
    }
}

fn follow_on(follow: Option<&MemberName>, seen: &Seen, memory: &Memory) -> Step {
    match (follow, seen.told.as_ref().and_then(|told| told.receiver.as_ref())) {
        (None, None) => Step::Done,
        (None, Some(_)) => Step::Wait,
        (Some(_), Some(receiver)) if receiver.streams => Step::Done,
        // It may be away, or not be a primary yet, or we don't fit.
        (Some(with), _) => match compare(with, seen, memory) {
            Step::Wait => Step::Done,
            step => step,
        },
    }
}

/// The file says what is wanted, and the server doesn't go by it yet.
fn again(managed: &Managed, seen: &Seen, memory: &Memory) -> Step {
    match memory.settled_since {
        Some(since) if seen.at - since < Duration::from_secs(1) => Step::Wait,
        _ => Step::Settle(managed.clone()),
    }
}

fn primary(lineage: Lineage, managed: &Managed, seen: &Seen, memory: &Memory) -> Step {
    // What died as a primary stays dead: whether it may go on isn't our decision.
    if seen.run == Run::Stopped && (memory.begun || seen.unfinished) {
        return Step::Done;
    }
    if seen.in_file != *managed {
        return Step::Settle(managed.clone());
    }
    match seen.run {
        Run::Stopped => start(seen, memory),
        Run::Starting | Run::Remains => Step::Wait,
        Run::Running => {
            let Some(told) = &seen.told else { return Step::Wait };
            if told.in_force != *managed {
                return again(managed, seen, memory);
            }
            if memory.settled_since.is_none_or(|since| seen.at - since < SETTLE) {
                return Step::Wait;
            }
            if !told.in_recovery {
                return Step::Done;
            }
            // On its way it has the new lineage already, and isn't out of recovery.
            if memory.promoted_at.is_some() || told.receiver.is_some() {
                return Step::Wait;
            }
            // A lineage that was used already is nobody's: the member sees that nothing was promoted.
            if seen.history.last() >= Some(lineage) {
                return Step::Done;
            }
            Step::Promote { lineage }
        }
    }
}

#[cfg(test)]
pub mod tests;
