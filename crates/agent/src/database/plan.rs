//! The next small step from what was seen to what is wanted. Pure.

use super::managed::Managed;
use super::seen::{Run, Seen};
use lifeboat_failover::{Lineage, MemberName, Moment, StopHow, Wanted};
use std::time::Duration;

/// A server that was told to end at once and is still there after so long is killed.
const KILL_AFTER: Duration = Duration::from_millis(1_500);
/// A server that was told to end is told again after so long.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A standby that is to be rewound has so long to end in good order.
const ORDERLY_PATIENCE: Duration = Duration::from_secs(20);
/// Whether we fit the one that we are to follow is asked so often.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// Who can't be asked for so long is followed unasked: a standby that doesn't fit only receives nothing.
const COMPARE_PATIENCE: Duration = Duration::from_secs(3);
/// Between two attempts to start a server that ends again.
const START_EVERY: Duration = Duration::from_millis(500);
/// So long after the server has read its settings, each of its processes has too: they are told within microseconds of each other.
pub const SETTLE: Duration = Duration::from_millis(50);

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
    /// The last answer of the one that is followed: whether our log up to there is a beginning of its own.
    pub fit: Option<Fit>,
    pub compared_at: Option<Moment>,
    /// Since when settings have been as they are wanted.
    pub settled_since: Option<Moment>,
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
    if let Some(to) = follow.filter(|name| seen.unfinished || misfit(name)) {
        return match seen.run {
            Run::Stopped => Step::Refit { to: to.clone() },
            // In good order, so that it can be rewound; at once when it doesn't end.
            _ => {
                let begun = memory.told_to_end.map(|(_, first, _)| first);
                let slow = begun.is_some_and(|first| seen.at - first >= ORDERLY_PATIENCE);
                stop(if slow { StopHow::AtOnce } else { StopHow::Orderly }, seen, memory)
            }
        };
    }
    if seen.in_file != *managed {
        return Step::Settle(managed.clone());
    }
    match seen.run {
        Run::Stopped => start_standby(follow, seen, memory),
        Run::Starting | Run::Remains => Step::Wait,
        Run::Running => follow_on(follow, managed, seen, memory),
    }
}

fn start_standby(follow: Option<&MemberName>, seen: &Seen, memory: &Memory) -> Step {
    // A server of our own that was a primary may have what nobody else has.
    if !seen.standby_signal
        && let Some(with) = follow
        && !memory.fit.as_ref().is_some_and(|fit| fit.with == *with && fit.fork.is_none())
        && seen.at - memory.ordered_at < COMPARE_PATIENCE
    {
        return compare(with, seen, memory);
    }
    if !seen.standby_signal {
        return Step::BecomeStandby;
    }
    start(seen, memory)
}

fn start(seen: &Seen, memory: &Memory) -> Step {
    match memory.started_at {
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

fn follow_on(follow: Option<&MemberName>, managed: &Managed, seen: &Seen, memory: &Memory) -> Step {
    let Some(told) = &seen.told else { return Step::Wait };
    if told.in_force != *managed {
        return again(managed, seen, memory);
    }
    match (follow, &told.receiver) {
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
mod tests {
    use super::*;
    use crate::database::seen::{Receiver, Told};
    use lifeboat_failover::{History, Position, Quorum};

    const NOW: Moment = Moment(Duration::from_secs(100));

    fn managed(conninfo: &str) -> Managed {
        [("primary_conninfo".to_owned(), conninfo.to_owned())].into()
    }

    fn seen(run: Run, standby_signal: bool, in_file: &str) -> Seen {
        Seen {
            at: NOW,
            run,
            standby_signal,
            state: None,
            stopped: None,
            told: None,
            answered_at: NOW,
            history: History::default().forked(Lineage(1), 0),
            unfinished: false,
            in_file: managed(in_file),
        }
    }

    fn told(in_recovery: bool, in_force: &str, receiver: Option<bool>) -> Told {
        Told {
            in_recovery,
            position: Position { lineage: Lineage(1), offset: 100 },
            replayed: 100,
            replay_age: None,
            receiver: receiver.map(|streams| Receiver { from: None, streams, received_at: NOW }),
            confirmed: std::collections::BTreeMap::new(),
            behind: std::collections::BTreeMap::new(),
            in_force: managed(in_force),
            settings_read_at_microseconds: 0,
            started_at_microseconds: 0,
            slots: std::collections::BTreeMap::new(),
            lost_slots: Vec::new(),
        }
    }

    fn running(standby: bool, in_force: &str, receiver: Option<bool>) -> Seen {
        Seen { told: Some(told(standby, in_force, receiver)), ..seen(Run::Running, standby, in_force) }
    }

    fn follow(name: &str) -> Wanted {
        Wanted::Standby { follow: Some(name.into()) }
    }

    fn lead(lineage: u32) -> Wanted {
        Wanted::Primary { lineage: Lineage(lineage), quorum: Quorum::asynchronous() }
    }

    fn settled() -> Memory {
        Memory { ordered_at: NOW, settled_since: Some(NOW.before(Duration::from_secs(1))), ..Memory::default() }
    }

    #[test]
    fn a_receiver_is_cut_only_when_the_server_has_none_any_more() {
        let wanted = Wanted::Standby { follow: None };
        let step = |seen: &Seen| next(&wanted, &managed(""), seen, &settled());
        assert!(matches!(step(&running(true, "ohio", Some(true))), Step::Settle(_)));
        assert_eq!(step(&running(true, "", Some(true))), Step::Wait, "it still receives");
        assert_eq!(step(&running(true, "", Some(false))), Step::Wait, "it ends");
        assert_eq!(step(&running(true, "", None)), Step::Done);
        let late = Seen { in_file: managed(""), ..running(true, "ohio", None) };
        assert!(matches!(step(&late), Step::Settle(_)), "the server doesn't go by it yet");
    }

    #[test]
    fn what_runs_as_a_primary_and_is_wanted_as_a_standby_is_stopped_first() {
        for wanted in [follow("ohio"), Wanted::Standby { follow: None }] {
            let step = |seen: &Seen| next(&wanted, &managed(""), seen, &settled());
            assert_eq!(step(&running(false, "", None)), Step::Stop(Ending::AtOnce));
            assert_eq!(step(&seen(Run::Starting, false, "")), Step::Stop(Ending::AtOnce), "it starts as one");
        }
    }

    #[test]
    fn an_old_primary_is_compared_before_it_follows_and_rewound_when_it_doesnt_fit() {
        let (wanted, stopped) = (follow("ohio"), seen(Run::Stopped, false, "ohio"));
        let step = |memory: &Memory| next(&wanted, &managed("ohio"), &stopped, memory);
        assert_eq!(step(&settled()), Step::Compare { with: "ohio".into() });
        let answered = |fork| Memory { fit: Some(Fit { with: "ohio".into(), fork }), ..settled() };
        assert_eq!(step(&answered(None)), Step::BecomeStandby);
        assert_eq!(step(&answered(Some(50))), Step::Refit { to: "ohio".into() });
        let of_another = Memory { fit: Some(Fit { with: "oregon".into(), fork: Some(50) }), ..settled() };
        assert_eq!(step(&of_another), Step::Compare { with: "ohio".into() });
        let patient = Memory { ordered_at: NOW.before(COMPARE_PATIENCE), ..settled() };
        assert_eq!(step(&patient), Step::BecomeStandby, "as a standby it only receives nothing");
    }

    #[test]
    fn nothing_starts_where_something_was_not_finished() {
        let unfinished = Seen { unfinished: true, ..seen(Run::Stopped, true, "") };
        assert_eq!(next(&Wanted::Standby { follow: None }, &managed(""), &unfinished, &settled()), Step::Wait);
        assert_eq!(next(&lead(2), &managed(""), &unfinished, &settled()), Step::Done);
        assert!(matches!(next(&follow("ohio"), &managed(""), &unfinished, &settled()), Step::Refit { .. }));
    }

    #[test]
    fn a_promotion_waits_for_what_commits_wait_for() {
        let step = |seen: &Seen, memory: &Memory| next(&lead(2), &managed(""), seen, memory);
        assert!(matches!(step(&running(true, "other", None), &settled()), Step::Settle(_)));
        let fresh = Memory { settled_since: Some(NOW.before(SETTLE / 2)), ..settled() };
        assert_eq!(step(&running(true, "", None), &fresh), Step::Wait, "its processes may not know yet");
        assert_eq!(step(&running(true, "", None), &settled()), Step::Promote { lineage: Lineage(2) });
        assert_eq!(step(&running(true, "", Some(true)), &settled()), Step::Wait, "it still receives");
        let asked = Memory { promoted_at: Some(NOW), begun: true, ..settled() };
        assert_eq!(step(&running(true, "", None), &asked), Step::Wait, "once");
        assert_eq!(next(&lead(1), &managed(""), &running(true, "", None), &settled()), Step::Done, "a used lineage");
    }

    #[test]
    fn a_primary_that_died_stays_dead() {
        let stopped = seen(Run::Stopped, false, "");
        assert_eq!(next(&lead(1), &managed(""), &stopped, &settled()), Step::Start);
        let begun = Memory { begun: true, ..settled() };
        assert_eq!(next(&lead(1), &managed(""), &stopped, &begun), Step::Done);
    }

    #[test]
    fn who_doesnt_end_at_once_is_killed_and_what_is_left_too() {
        let wanted = Wanted::Stopped { how: StopHow::AtOnce };
        let step = |seen: &Seen, memory: &Memory| next(&wanted, &managed(""), seen, memory);
        let primary = running(false, "", None);
        assert_eq!(step(&primary, &settled()), Step::Stop(Ending::AtOnce));
        let ago = |span: Duration| {
            let at = NOW.before(span);
            Memory { told_to_end: Some((Ending::AtOnce, at, at)), ..settled() }
        };
        assert_eq!(step(&primary, &ago(KILL_AFTER / 2)), Step::Wait);
        assert_eq!(step(&primary, &ago(KILL_AFTER * 2)), Step::Stop(Ending::Kill));
        assert_eq!(step(&seen(Run::Remains, false, ""), &settled()), Step::Stop(Ending::Kill));
        assert_eq!(step(&seen(Run::Stopped, false, ""), &settled()), Step::Done);
        // What was asked to end in good order and is now wanted at once is told again.
        let orderly = Memory { told_to_end: Some((Ending::Orderly, NOW, NOW)), ..settled() };
        assert_eq!(step(&primary, &orderly), Step::Stop(Ending::AtOnce));
    }
}
