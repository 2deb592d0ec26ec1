//! Why a restore can't be done, said before anything is touched.

use crate::target::spoken;
use crate::window::Window;
use jiff::Timestamp;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::PointId;
use serde::Serialize;

/// A restore that was asked for and can't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{target} of {workload} cannot be restored: {reason}")]
pub struct Refusal {
    /// The workload.
    pub workload: String,
    /// What was asked for.
    pub target: String,
    /// Why not.
    pub reason: Reason,
    /// What can be reached.
    pub windows: Vec<Window>,
}

/// What the caller must do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// What was named isn't there, or can't be reached from what is there.
    NotFound,
    /// The request contradicts itself, or the place to restore to is taken.
    Usage,
}

/// Why a restore can't be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[non_exhaustive]
pub enum Reason {
    /// Nothing was ever backed up, or not in this location.
    #[error("there is no recovery point{}", in_location(.location))]
    NoPoints {
        /// The location that was asked for.
        location: Option<String>,
    },
    /// No such point.
    #[error("there is no recovery point {point}")]
    UnknownPoint {
        /// Its name.
        point: PointId,
    },
    /// The point isn't there, or not whole.
    #[error("recovery point {point} is not complete{}", in_location(.location))]
    Incomplete {
        /// The point.
        point: PointId,
        /// Where; none: nowhere.
        location: Option<String>,
    },
    /// No such timeline.
    #[error("there is no timeline {timeline} (there is {})", listed(.known))]
    UnknownTimeline {
        /// What was asked for.
        timeline: TimelineId,
        /// What there is.
        known: Vec<TimelineId>,
    },
    /// None of the points, or not the one given, is an ancestor of what was asked for.
    #[error("timeline {timeline} doesn't lead over {}", named_point(.point))]
    NotOnPath {
        /// The timeline.
        timeline: TimelineId,
        /// The point that was asked for.
        point: Option<PointId>,
    },
    /// Two timelines could each be the continuation.
    #[error("timelines {} both continue timeline {parent}, and which is the right one can't be told", listed(.heirs))]
    TwoHeirs {
        /// Where they branched off.
        parent: TimelineId,
        /// The candidates.
        heirs: Vec<TimelineId>,
    },
    /// Earlier than the end of the first point.
    #[error("the oldest recovery point is consistent only at {} ({lsn})", spoken(*.at, None))]
    TooEarly {
        /// When it ended.
        at: Timestamp,
        /// Where it ended.
        lsn: Lsn,
    },
    /// Later than all that is archived.
    #[error("the last moment that is archived is {} ({lsn})", spoken(*.at, None))]
    TooLate {
        /// When the last transaction ended.
        at: Timestamp,
        /// The end of the log.
        lsn: Lsn,
    },
    /// In a hole of the log.
    #[error(
        "log is missing after {} ({lsn_before}), and the next recovery point is of {} ({lsn_after})",
        spoken(*.before, None), spoken(*.after, None)
    )]
    InGap {
        /// The last moment before the hole.
        before: Timestamp,
        /// Its position.
        lsn_before: Lsn,
        /// The first moment after it.
        after: Timestamp,
        /// Its position.
        lsn_after: Lsn,
    },
    /// Only on timelines that are not the main line.
    #[error("it lies on timeline {}, not on timeline {line}", listed(.timelines))]
    OnAnotherTimeline {
        /// The main line.
        line: TimelineId,
        /// Where it can be reached.
        timelines: Vec<TimelineId>,
    },
    /// The given point is later than the target.
    #[error("recovery point {point} is consistent only at {} ({lsn}){}", spoken(*.at, None), instead(.better))]
    PointAfterTarget {
        /// The point.
        point: PointId,
        /// When it ended.
        at: Timestamp,
        /// Where it ended.
        lsn: Lsn,
        /// One that would do.
        better: Option<PointId>,
    },
    /// The given point can't come that far.
    #[error("from recovery point {point} the log leads only to {} ({lsn}){}", spoken(*.at, None), instead(.better))]
    PointFallsShort {
        /// The point.
        point: PointId,
        /// The last moment it can be brought to.
        at: Timestamp,
        /// Its position.
        lsn: Lsn,
        /// One that would do.
        better: Option<PointId>,
    },
    /// A point can't be made consistent.
    #[error("recovery point {point} needs log up to {needed_to}, and what is there ends at {missing_from}")]
    LogMissing {
        /// The point.
        point: PointId,
        /// The first byte that isn't there.
        missing_from: Lsn,
        /// Where it would be consistent.
        needed_to: Lsn,
    },
    /// No record of this transaction or name.
    #[error("no such record is in the log that is archived on timeline {timeline}")]
    NotInLog {
        /// Where it was looked for.
        timeline: TimelineId,
    },
}

fn in_location(location: &Option<String>) -> String {
    location.as_ref().map_or(" in any location".into(), |name| format!(" in location {name}"))
}

fn named_point(point: &Option<PointId>) -> String {
    point.as_ref().map_or("any recovery point".into(), |point| format!("recovery point {point}"))
}

fn instead(better: &Option<PointId>) -> String {
    better.as_ref().map(|point| format!("; {point} would do")).unwrap_or_default()
}

fn listed(timelines: &[TimelineId]) -> String {
    match timelines {
        [] => "none".into(),
        [only] => only.to_string(),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(TimelineId::to_string).collect();
            format!("{} and {last}", most.join(", "))
        }
    }
}

impl Refusal {
    /// What the caller must do about it.
    pub fn kind(&self) -> RefusalKind {
        match self.reason {
            Reason::PointAfterTarget { .. } | Reason::TwoHeirs { .. } => RefusalKind::Usage,
            _ => RefusalKind::NotFound,
        }
    }

    /// What to type next, and what can be reached.
    pub fn hint(&self) -> String {
        let workload = &self.workload;
        let advice = match &self.reason {
            Reason::NoPoints { .. } => return format!("`lifeboat backup {workload}` makes one"),
            Reason::TwoHeirs { heirs, .. } => each_timeline(heirs),
            Reason::OnAnotherTimeline { timelines, .. } => each_timeline(timelines),
            Reason::TooLate { .. } => Some("leave the target out to get everything that is archived".into()),
            Reason::PointAfterTarget { .. } | Reason::PointFallsShort { .. } => {
                Some("leave out --point, and the right one is chosen".into())
            }
            Reason::Incomplete { location: Some(_), .. } => Some("leave out --from, or give another location".into()),
            _ => None,
        };
        let reachable = match self.windows.as_slice() {
            [] => "nothing can be reached: no recovery point has all the log it needs".to_owned(),
            windows => {
                let lines: Vec<String> = windows.iter().map(|window| format!("\n  {window}")).collect();
                format!("what can be reached:{}", lines.concat())
            }
        };
        advice.into_iter().chain([reachable]).collect::<Vec<_>>().join("; ")
    }
}

fn each_timeline(timelines: &[TimelineId]) -> Option<String> {
    let options: Vec<String> = timelines.iter().map(|timeline| format!("`--timeline {timeline}`")).collect();
    Some(format!("say which one: {}", options.join(" or ")))
}
