//! Worlds that were seen, made up, to look at their pictures.

use super::*;
use crate::look::Lease;
use crate::look::journal::{Event, Kind};

fn at(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn status(state: &str, epoch: u64, holder: &str) -> Status {
    Status {
        state: state.into(),
        timeline: (state != "witness").then_some(3),
        position: (state != "witness").then_some(0x5a3_c120),
        replayed: (state == "standby").then_some(0x5a3_b000),
        replay_age_milliseconds: Some(300),
        receives_from: (state == "standby").then(|| holder.into()),
        holds_for_milliseconds: (state == "primary").then_some(5_140),
        at_risk_bytes: (state == "primary").then_some(0),
        lease: Some(Lease { epoch, holder: holder.into(), state: "held".into(), quorum: "1 of virginia".into() }),
        ..Status::default()
    }
}

fn place(status: Status) -> Place {
    Place {
        status: Some((at(83_000), status)),
        is_silent: false,
        agent: Life::Runs,
        server: Life::Runs,
        store: Life::Runs,
        store_answers: true,
    }
}

fn event(milliseconds: u64, who: &str, text: &str, kind: Kind) -> Event {
    Event { at: at(milliseconds), who: who.into(), text: text.into(), epoch: Some(4), kind }
}

/// Ohio has taken over, and all is well again.
pub fn after_a_takeover() -> Seen {
    let places =
        [place(status("standby", 4, "ohio")), place(status("primary", 4, "ohio")), place(status("witness", 4, "ohio"))];
    let events = vec![
        event(70_600, "ohio", "suspected: virginia isn't seen any more", Kind::Detected),
        event(
            70_601,
            "ohio",
            "standby → candidate: the primary has vanished, or its lease has ended or was released",
            Kind::Candidate,
        ),
        event(70_800, "ohio", "lease taken: the lease is ours", Kind::Decided),
        event(
            70_950,
            "ohio",
            "promoting → primary: its database is the primary on the reserved lineage",
            Kind::Promoted,
        ),
        event(71_000, "proxy", "clients go to ohio", Kind::Routed),
    ];
    let rates = (0..60).map(|second| if second == 48 { 0 } else { 180 + second % 7 * 9 }).collect();
    Seen {
        now: at(83_400),
        version: "15".into(),
        look: Look { places, events },
        traffic: Traffic {
            acknowledged: 14_210,
            rates,
            written: Some((1, at(83_390))),
            read: Some((0, at(83_300))),
            errors: 4,
            last_error: Some((at(70_100), "connection closed".into())),
            since: at(70_000),
            longest: at(1_120),
            first: [None, Some(at(71_120)), None],
        },
        told: vec![Told {
            at: at(70_000),
            done: "virginia's host is killed".into(),
            effect:
                "ohio took over: detected after 0.6 s, first write after 1.1 s, epoch 4, 0 acknowledged writes lost"
                    .into(),
        }],
        cuts: [None; PLACES],
        under_way: None,
    }
}

/// Nothing runs, and nobody answers.
pub fn everything_is_down() -> Seen {
    let mut seen = after_a_takeover();
    for place in &mut seen.look.places {
        (place.is_silent, place.store_answers) = (true, false);
        (place.agent, place.server, place.store) = (Life::Gone, Life::Halted, Life::Gone);
    }
    seen.now = at(125_000);
    (seen.traffic.longest, seen.traffic.first) = (at(41_610), [None; PLACES]);
    seen.cuts = [Some("cut off"), Some("isn't heard"), None];
    seen.traffic.rates.extend([0; 41]);
    seen.under_way = Some(("ohio's host is killed".into(), at(84_000)));
    seen
}

/// Before anything is known.
pub fn nothing_is_seen_yet() -> Seen {
    Seen { version: "18".into(), ..Seen::default() }
}

/// Words that are longer than any room for them.
pub fn long_names() -> Seen {
    let mut seen = after_a_takeover();
    let long = "the-northernmost-of-all-regions-of-the-world-that-anybody-has-heard-of";
    let status = &mut seen.look.places[0].status.as_mut().expect("there is one").1;
    status.receives_from = Some(long.into());
    if let Some(lease) = &mut status.lease {
        (lease.epoch, lease.quorum) = (123_456_789, format!("2 of {long}, {long}, {long}"));
    }
    seen.traffic.last_error = Some((at(83_000), format!("{long} closed the connection unexpectedly")));
    seen.look.events.push(event(83_300, long, &format!("commits wait for 1 of {long}"), Kind::Other));
    seen
}
