//! Small archives, told in a few words.

use jiff::{SignedDuration, Timestamp};
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_recovery::{
    Action, Known, Place, PointSummary, RestoreCommand, Run, Target, TimelineChoice, TransactionMark, WalCoverage,
    Wanted, plan,
};
use lifeboat_repository::PointId;

pub const SYSTEM: SystemId = SystemId(7);

/// A minute of the day on which everything happens.
pub fn minute(minute: i64) -> Timestamp {
    let midnight: Timestamp = "2026-11-21T00:00:00Z".parse().unwrap();
    midnight + SignedDuration::from_mins(minute)
}

pub fn point(name: &str, timeline: u32, start: u64, stop: u64, at: i64) -> PointSummary {
    PointSummary {
        id: PointId(name.into()),
        system_id: SYSTEM,
        timeline: TimelineId(timeline),
        lsn_start: Lsn(start),
        lsn_stop: Lsn(stop),
        stopped_at: minute(at),
        complete_to: minute(at),
        locations: vec!["near".into(), "far".into()],
        bytes: 1000,
        files: 10,
    }
}

/// Log from `from` to `to`, whose last record is one long; `marks` are (end of segment, minute of last transaction).
pub fn run(timeline: u32, from: u64, to: u64, marks: &[(u64, i64)]) -> Run {
    Run {
        timeline: TimelineId(timeline),
        from: Lsn(from),
        to: Lsn(to),
        bytes_to: Lsn(to),
        last_record: Some(Lsn(to - 1)),
        is_refused_behind: false,
        marks: marks.iter().map(|(up_to, at)| TransactionMark { up_to: Lsn(*up_to), last_at: minute(*at) }).collect(),
    }
}

pub fn history(timeline: u32, ancestors: &[(u32, u64)]) -> TimelineHistory {
    let lines: String = ancestors.iter().map(|(parent, at)| format!("{parent}\t{}\tpromoted\n", Lsn(*at))).collect();
    TimelineHistory::parse(TimelineId(timeline), lines.as_bytes()).unwrap()
}

pub fn known(points: Vec<PointSummary>, runs: Vec<Run>, histories: Vec<TimelineHistory>) -> Known {
    let log = WalCoverage { system_id: SYSTEM, runs, histories };
    Known {
        workload: "shop".into(),
        points,
        logs: vec![log],
        places: Vec::new(),
        places_from: Lsn(0),
        silent: Vec::new(),
    }
}

pub fn with_places(mut known: Known, places: &[(u32, u64)]) -> Known {
    let place = |(timeline, end): &(u32, u64)| Place {
        timeline: TimelineId(*timeline),
        start: Some(Lsn(*end - 2)),
        end: Lsn(*end),
    };
    known.places = places.iter().map(place).collect();
    known
}

pub fn wanted(target: Target) -> Wanted {
    Wanted {
        target,
        inclusive: true,
        timeline: TimelineChoice::MainLine,
        point: None,
        location: None,
        zone: None,
        restore_command: RestoreCommand::new("/bin/lifeboat", "/etc/lifeboat.toml", "shop").unwrap(),
        action: Action::Promote,
        archives: false,
    }
}

pub fn at(at: i64) -> Wanted {
    wanted(Target::Time(minute(at)))
}

pub fn lsn(lsn: u64) -> Wanted {
    wanted(Target::Lsn(Lsn(lsn)))
}

pub trait With {
    fn point(self, name: &str) -> Self;
    fn timeline(self, number: u32) -> Self;
    fn exclusive(self) -> Self;
}

impl With for Wanted {
    fn point(mut self, name: &str) -> Self {
        self.point = Some(PointId(name.into()));
        self
    }

    fn timeline(mut self, number: u32) -> Self {
        self.timeline = TimelineChoice::Exactly(TimelineId(number));
        self
    }

    fn exclusive(mut self) -> Self {
        self.inclusive = false;
        self
    }
}

/// The outcome in one line.
pub fn outcome(known: &Known, wanted: &Wanted) -> String {
    match plan(known, wanted) {
        Ok(plan) => format!("{} on {}: {}", plan.point, plan.timeline, plan.stop).replace("2026-11-21 ", ""),
        Err(refusal) => format!("no: {}", refusal.reason).replace("2026-11-21 ", ""),
    }
}
