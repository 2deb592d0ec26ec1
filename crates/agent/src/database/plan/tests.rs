//! Each step for itself.

use super::*;
use crate::database::managed::PRIMARY_CONNINFO;
use crate::database::seen::{Receiver, Told};
use lifeboat_failover::{History, Position, Quorum};

const NOW: Moment = Moment(Duration::from_secs(100));

fn managed(conninfo: &str) -> Managed {
    [("primary_conninfo".to_owned(), conninfo.to_owned())].into()
}

pub fn seen(run: Run, standby_signal: bool, in_file: &str) -> Seen {
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
        last_told: None,
        made_anew: 0,
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
        slots: std::collections::BTreeMap::new(),
        lost_slots: Vec::new(),
    }
}

pub fn running(standby: bool, in_force: &str, receiver: Option<bool>) -> Seen {
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
    let (wanted, named) = (follow("ohio"), seen(Run::Stopped, false, "ohio"));
    let alone = Seen { in_file: apart(&managed("ohio")), ..named.clone() };
    let step = |seen: &Seen, memory: &Memory| next(&wanted, &managed("ohio"), seen, memory);
    assert!(matches!(step(&named, &settled()), Step::Settle(_)), "whoever is named there, isn't asked");
    assert_eq!(step(&alone, &settled()), Step::Compare { with: "ohio".into() });
    let answered = |fork| Memory { fit: Some(Fit { with: "ohio".into(), fork }), ..settled() };
    assert_eq!(step(&named, &answered(None)), Step::BecomeStandby);
    assert_eq!(step(&alone, &answered(Some(50))), Step::Refit { to: "ohio".into() });
    let of_another = Memory { fit: Some(Fit { with: "oregon".into(), fork: Some(50) }), ..settled() };
    assert_eq!(step(&alone, &of_another), Step::Compare { with: "ohio".into() });
    let patient = Memory { ordered_at: NOW.before(COMPARE_PATIENCE), ..settled() };
    assert_eq!(step(&alone, &patient), Step::BecomeStandby, "apart, it can still promise");
    let apart_now = Seen { standby_signal: true, ..alone };
    assert_eq!(step(&apart_now, &patient), Step::Start);
    let starting = Seen { run: Run::Starting, ..apart_now };
    assert_eq!(step(&starting, &patient), Step::Compare { with: "ohio".into() });
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

fn from(upstream: &str) -> Managed {
    Managed::from([(PRIMARY_CONNINFO.to_owned(), upstream.to_owned())])
}

fn standby_of(upstream: &str, receives: bool) -> Seen {
    let receiver = receives.then(|| Receiver { from: None, streams: true, received_at: Moment::default() });
    let told = Told {
        in_recovery: true,
        position: Position { lineage: Lineage(1), offset: 100 },
        replayed: 100,
        replay_age: None,
        receiver,
        confirmed: std::collections::BTreeMap::new(),
        behind: std::collections::BTreeMap::new(),
        in_force: from(upstream),
        slots: std::collections::BTreeMap::new(),
        lost_slots: Default::default(),
    };
    Seen {
        at: Moment(Duration::from_secs(100)),
        run: Run::Running,
        standby_signal: true,
        state: None,
        stopped: None,
        told: Some(told),
        answered_at: Moment::default(),
        history: History::default(),
        unfinished: false,
        in_file: from(upstream),
        last_told: None,
        made_anew: 0,
    }
}

#[test]
fn a_new_upstream_is_named_only_when_it_has_said_that_we_fit() {
    let wanted = Wanted::Standby { follow: Some("ohio".into()) };
    let next = |seen: &Seen, fork: Option<Option<u64>>| {
        let fit = fork.map(|fork| Fit { with: "ohio".into(), fork });
        super::next(&wanted, &from("ohio"), seen, &Memory { fit, ordered_at: seen.at, ..Memory::default() })
    };
    let apart = apart(&from("ohio"));
    let compare = Step::Compare { with: "ohio".into() };
    assert_eq!(next(&standby_of("virginia", true), None), Step::Settle(apart.clone()));
    let mut cut = standby_of("", true);
    cut.in_file = apart.clone();
    if let Some(told) = &mut cut.told {
        told.in_force = apart.clone();
    }
    assert_eq!(next(&cut, None), Step::Wait, "its receiver hasn't ended");
    if let Some(told) = &mut cut.told {
        told.receiver = None;
    }
    assert_eq!(next(&cut, None), compare);
    assert_eq!(next(&cut, Some(None)), Step::Settle(from("ohio")));
    assert_eq!(next(&cut, Some(Some(50))), Step::Stop(Ending::Orderly), "and is rewound");
    let stopped = Seen { run: Run::Stopped, told: None, standby_signal: false, ..cut };
    assert_eq!(next(&stopped, None), compare);
    let fits = Seen { in_file: from("ohio"), ..stopped };
    assert_eq!(next(&fits, Some(None)), Step::BecomeStandby);
    assert_eq!(next(&standby_of("ohio", true), None), Step::Done, "who receives already isn't cut off");
}

#[test]
fn what_somebody_works_at_is_neither_started_nor_made_anew_and_still_stopped() {
    let memory = Memory { left_alone: true, ..settled() };
    let stopped = seen(Run::Stopped, true, "ohio");
    assert_eq!(next(&follow("ohio"), &managed("ohio"), &stopped, &settled()), Step::Start);
    assert_eq!(next(&follow("ohio"), &managed("ohio"), &stopped, &memory), Step::Done);
    let unfinished = Seen { unfinished: true, ..stopped };
    assert_eq!(next(&follow("ohio"), &managed("ohio"), &unfinished, &memory), Step::Done);
    let primary = seen(Run::Starting, false, "ohio");
    assert_eq!(next(&follow("ohio"), &managed("ohio"), &primary, &memory), Step::Stop(Ending::AtOnce));
    let receiving = running(true, "ohio", Some(true));
    let cut = next(&Wanted::Standby { follow: None }, &managed(""), &receiving, &memory);
    assert!(matches!(cut, Step::Settle(_)), "a promise is kept there too");
}

#[test]
fn what_is_to_be_made_anew_is_stopped_first_in_good_order() {
    let memory = Memory { anew: true, ..settled() };
    let step = |seen: &Seen| next(&follow("ohio"), &managed("ohio"), seen, &memory);
    assert_eq!(step(&running(true, "ohio", Some(true))), Step::Stop(Ending::Orderly));
    assert_eq!(step(&seen(Run::Stopped, true, "ohio")), Step::Refit { to: "ohio".into() });
    let nobody = next(&Wanted::Standby { follow: None }, &managed(""), &running(true, "", None), &memory);
    assert_eq!(nobody, Step::Done, "there is nobody to make it from");
}

#[test]
fn what_failed_is_not_tried_again_at_once() {
    let unfinished = Seen { unfinished: true, ..seen(Run::Stopped, true, "ohio") };
    let step = |not_before| {
        let memory = Memory { refit_not_before: not_before, ..settled() };
        next(&follow("ohio"), &managed("ohio"), &unfinished, &memory)
    };
    assert_eq!(step(NOW + Duration::from_secs(1)), Step::Wait);
    assert_eq!(step(NOW), Step::Refit { to: "ohio".into() });
}

#[test]
fn a_new_primary_is_looked_at_until_its_quorum_has_what_it_began_with() {
    let quorum = Quorum { needed: 1, voters: ["ohio".into(), "oregon".into()].into() };
    let wanted = Wanted::Primary { lineage: Lineage(2), quorum };
    let memory = Memory { came_out: Some((NOW.before(Duration::from_secs(1)), 100)), ..settled() };
    let confirmed = |name: &str, lineage: u32, offset: u64| {
        let mut seen = running(false, "", None);
        let told = seen.told.as_mut().expect("it runs");
        told.position = Position { lineage: Lineage(2), offset: 120 };
        told.confirmed.insert(name.into(), Position { lineage: Lineage(lineage), offset });
        seen
    };
    assert!(is_awaited(&wanted, &confirmed("ohio", 2, 99), &memory), "not all of it");
    assert!(is_awaited(&wanted, &confirmed("ohio", 1, 100), &memory), "on another lineage");
    assert!(is_awaited(&wanted, &confirmed("virginia", 2, 100), &memory), "not in the quorum");
    assert!(!is_awaited(&wanted, &confirmed("ohio", 2, 100), &memory));
    assert!(!is_awaited(&follow("ohio"), &confirmed("ohio", 2, 99), &memory), "it isn't to be one");
    let late = Memory { came_out: Some((NOW.before(CONFIRMED_WITHIN), 100)), ..settled() };
    assert!(!is_awaited(&wanted, &confirmed("ohio", 2, 99), &late), "for five seconds");
    assert!(!is_awaited(&wanted, &confirmed("ohio", 2, 99), &settled()), "it isn't one yet");
}
