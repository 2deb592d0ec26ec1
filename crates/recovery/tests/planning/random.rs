//! Random archives: what is accepted is true, and what is refused is refused for a reason, byte by byte.

use crate::archive::*;
use lifeboat_postgres::Lsn;
use lifeboat_recovery::{Known, Leg, PointSummary, RestorePlan, Run, Stop, Target, WalCoverage, Wanted, plan, windows};
use proptest::prelude::*;

/// Positions go up to this.
const END: u64 = 48;

/// One position is one minute: log at position n was written at minute n.
fn marks(from: u64, to: u64) -> Vec<(u64, i64)> {
    (from + 1..=to).step_by(3).map(|up_to| (up_to, up_to.cast_signed())).collect()
}

prop_compose! {
    fn archives()(
        fork in 8..30u64,
        second in prop::bool::ANY,
        grandchild in prop::option::of(4..12u64),
        pieces in prop::collection::vec((1..=3u32, 0..END, 1..30u64), 0..7),
        starts in prop::collection::vec((1..=3u32, 0..END - 8, 1..6u64), 1..6),
    ) -> Known {
        let mut histories = Vec::new();
        if second {
            histories.push(history(2, &[(1, fork)]));
            match grandchild {
                Some(later) => histories.push(history(3, &[(1, fork), (2, fork + later)])),
                None => histories.push(history(3, &[(1, fork + 3)])),
            }
        }
        let begins = |timeline: u32| -> u64 {
            let found = histories.iter().find(|history| history.timeline.0 == timeline);
            found.and_then(|history| history.ancestors.last()).map_or(0, |parent| parent.switched_at.0)
        };
        let runs = pieces.iter().filter(|(timeline, ..)| *timeline == 1 || second).map(|(timeline, from, length)| {
            // A child's log begins with the segment in which it branched off.
            let from = (*from).max(begins(*timeline).saturating_sub(2));
            let to = (from + length).max(begins(*timeline) + 1);
            // The beginning of a record whose rest another run may have.
            let bytes_to = Lsn(to + from % 3);
            Run { bytes_to, ..run(*timeline, from, to, &marks(from, to)) }
        });
        let points = starts.iter().enumerate().filter(|(_, (timeline, ..))| *timeline == 1 || second);
        let points = points.map(|(index, (timeline, start, length))| {
            let start = (*start).max(begins(*timeline));
            let stop = start + length;
            point(&format!("p{index}"), *timeline, start, stop, stop.cast_signed())
        });
        known(points.collect(), runs.collect(), histories.clone())
    }
}

fn targets() -> impl Strategy<Value = Target> {
    prop_oneof![
        Just(Target::Latest),
        Just(Target::Immediate),
        (0..END + 20).prop_map(|at| Target::Lsn(Lsn(at))),
        (0..i64::try_from(END).unwrap() + 20).prop_map(|at| Target::Time(minute(at))),
    ]
}

/// Is the byte in the log of a timeline that the way to `timeline` uses there, or repeated by a child on the way?
fn is_there(known: &Known, timeline: u32, byte: u64) -> bool {
    let log = &known.logs[0];
    let ancestors = log.histories.iter().find(|history| history.timeline.0 == timeline);
    let mut way: Vec<(u32, u64)> =
        ancestors.iter().flat_map(|h| &h.ancestors).map(|a| (a.timeline.0, a.switched_at.0)).collect();
    way.push((timeline, u64::MAX));
    way.iter().any(|(number, end)| {
        byte < *end
            && log.runs.iter().any(|run| run.timeline.0 == *number && run.from.0 <= byte && byte < run.bytes_to.0)
    })
}

fn whole(known: &Known, timeline: u32, from: u64, to: u64) -> bool {
    (from..to).all(|byte| is_there(known, timeline, byte))
}

fn check_accepted(known: &Known, wanted: &Wanted, plan: &RestorePlan) {
    let point: &PointSummary = known.points.iter().find(|point| point.id == plan.point).unwrap();
    let timeline = plan.timeline.0;
    assert!(whole(known, timeline, point.lsn_start.0, point.lsn_stop.0), "consistency");
    let replayed_to = plan.wal.last().map_or(point.lsn_start, |leg| leg.to);
    assert!(replayed_to >= point.lsn_stop);
    assert!(whole(known, timeline, point.lsn_start.0, replayed_to.0), "log to the end");
    for pair in plan.wal.windows(2) {
        let [one, next]: [Leg; 2] = pair.try_into().unwrap();
        assert!(one.to == next.from && one.timeline < next.timeline, "{:?}", plan.wal);
    }
    match wanted.target {
        Target::Lsn(lsn) => assert!(point.lsn_stop <= lsn && lsn <= replayed_to),
        Target::Time(at) => assert!(point.stopped_at <= at && at <= plan.archived_to),
        _ => {}
    }
    match plan.stop {
        Stop::Lsn { lsn, .. } => assert!(lsn <= replayed_to && lsn.0 + 1 >= point.lsn_stop.0),
        Stop::Time { time, .. } => assert_eq!(Target::Time(time), wanted.target),
        _ => {}
    }
    // The newest that would do.
    let better = known.points.iter().find(|other| {
        let is_before = match wanted.target {
            Target::Lsn(lsn) => other.lsn_stop <= lsn,
            Target::Time(at) => other.stopped_at <= at,
            _ => false,
        };
        let leads_there = on_way(known, timeline, other) && whole(known, timeline, other.lsn_start.0, replayed_to.0);
        is_before && other.lsn_stop > point.lsn_stop && leads_there
    });
    assert_eq!(better, None, "a newer point would do");
}

/// Is every byte of the point's backup of a timeline that counts there, on the way to `timeline`?
fn on_way(known: &Known, timeline: u32, point: &PointSummary) -> bool {
    let history = known.logs[0].histories.iter().find(|history| history.timeline.0 == timeline);
    let at = |byte: u64| history.map_or(timeline, |history| history.timeline_at(Lsn(byte)).0);
    (point.lsn_start.0..point.lsn_stop.0).all(|byte| at(byte) == point.timeline.0)
}

/// Could any point be brought to the position, on any timeline? Then all bytes up to the end of some record there or behind are.
fn reachable(known: &Known, lsn: u64) -> bool {
    let timelines = 1..=3;
    timelines.into_iter().any(|timeline| {
        let ends: Vec<u64> = (lsn..=2 * END).filter(|end| is_in_records(known, timeline, *end)).collect();
        known.points.iter().any(|point| {
            let leads_to = |end: &u64| whole(known, timeline, point.lsn_start.0, *end);
            on_way(known, timeline, point) && point.lsn_stop.0 <= lsn && ends.iter().any(leads_to)
        })
    })
}

/// Whether replay may end there: with or within what is complete of some run.
fn is_in_records(known: &Known, timeline: u32, end: u64) -> bool {
    let log = &known.logs[0];
    let short = |run: &Run| Run { bytes_to: run.to, ..run.clone() };
    let complete = WalCoverage { runs: log.runs.iter().map(short).collect(), ..log.clone() };
    end > 0 && is_there(&Known { logs: vec![complete], ..known.clone() }, timeline, end - 1)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_plan_keeps_its_promises(known in archives(), target in targets(), timeline in prop::option::of(1..=3u32)) {
        let mut wanted = wanted(target);
        if let Some(number) = timeline {
            wanted = wanted.timeline(number);
        }
        match (plan(&known, &wanted), &wanted.target) {
            (Ok(plan), _) => check_accepted(&known, &wanted, &plan),
            (Err(refusal), Target::Lsn(lsn)) if timeline.is_none() => {
                let offered = matches!(refusal.reason, lifeboat_recovery::Reason::OnAnotherTimeline { .. });
                prop_assert_eq!(reachable(&known, lsn.0), offered, "{}", refusal);
            }
            _ => {}
        }
    }

    #[test]
    fn every_moment_of_every_window_is_accepted(known in archives()) {
        for window in windows(&known.points, &known.logs[0]) {
            let told = (0..=i64::try_from(END).unwrap() + 20).map(minute).filter(|at| (window.from..=window.to).contains(at));
            for at in told {
                let wanted = wanted(Target::Time(at)).timeline(window.timeline.0);
                let planned = plan(&known, &wanted).map(drop).map_err(|refusal| refusal.to_string());
                prop_assert_eq!(planned, Ok(()), "{} is in {}", at, window);
            }
        }
    }
}
