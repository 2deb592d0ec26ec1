//! Which recovery point becomes a standby of a server: the newest that lies in that server's own history. Pure.
//!
//! A standby follows the highest timeline that it finds, in the archive too. So one that the archive has and the server never was on would
//! lead it away from the server, without a word: then nothing is made.

use super::settings::{Following, standby_settings};
use crate::path::{Path, PointSummary, WalCoverage};
use crate::plan::{RestorePlan, Stop, TimelineSetting};
use crate::planner::Known;
use crate::target::Target;
use lifeboat_postgres::standbys::upstream::Upstream;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::PointId;

/// Why no point can become a standby of that server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StandbyRefusal {
    /// There is nothing.
    #[error("{workload} has no recovery point{}", .location.iter().map(|name| format!(" in {name}")).collect::<String>())]
    NoPoints { workload: String, location: Option<String> },
    /// The server isn't what was backed up.
    #[error("the primary belongs to another cluster: its system identifier is {theirs}, that of {workload} is {ours}")]
    AnotherCluster { workload: String, ours: SystemId, theirs: SystemId },
    /// The archive would lead the standby away.
    #[error("the repository has timeline {archived}, which the primary, on timeline {theirs}, has never been on")]
    StrayTimeline { archived: TimelineId, theirs: TimelineId },
    /// All points are of another branch of history.
    #[error(
        "no recovery point of {workload} lies in the history of the primary; the newest is {newest}, on timeline {timeline}"
    )]
    NotInHistory { workload: String, newest: PointId, timeline: TimelineId },
    /// The point can't be made consistent.
    #[error("the archived log of recovery point {point} ends at {ends}, before it is consistent at {needed}")]
    LogMissing { point: PointId, ends: Lsn, needed: Lsn },
}

impl StandbyRefusal {
    /// What to type next.
    pub fn hint(&self) -> String {
        match self {
            Self::NoPoints { .. } | Self::NotInHistory { .. } | Self::LogMissing { .. } => {
                "take one with `lifeboat backup`, or copy the server itself: --from primary".into()
            }
            Self::AnotherCluster { .. } => "name the server that the workload is a backup of: --primary".into(),
            Self::StrayTimeline { .. } => {
                "either another server is the primary now, or a copy was promoted and archived there; \
                 `lifeboat points` shows the branches; `--from primary` makes a standby that doesn't read the archive"
                    .into()
            }
        }
    }
}

/// A timeline in the archive that a standby of that server would follow, and must not.
pub fn stray_timeline(known: &Known, upstream: &Upstream) -> Option<TimelineId> {
    let log = known.logs.iter().find(|log| log.system_id == upstream.system_id)?;
    stray(log, upstream)
}

fn stray(log: &WalCoverage, upstream: &Upstream) -> Option<TimelineId> {
    log.histories.iter().map(|history| history.timeline).filter(|timeline| *timeline > upstream.timeline).max()
}

/// The plan: the point, and the settings with which it follows.
///
/// # Errors
/// See [`StandbyRefusal`]. Nothing was touched.
pub fn plan_standby(
    known: &Known,
    location: Option<&str>,
    upstream: &Upstream,
    following: &Following,
) -> Result<RestorePlan, StandbyRefusal> {
    let has = |point: &&PointSummary| match location {
        Some(only) => point.locations.iter().any(|name| name == only),
        None => !point.locations.is_empty(),
    };
    let newest =
        |points: Vec<&PointSummary>| points.into_iter().max_by_key(|point| (point.stopped_at, point.lsn_stop)).cloned();
    let workload = || known.workload.clone();
    let all: Vec<&PointSummary> = known.points.iter().filter(has).collect();
    let leader = newest(all.clone())
        .ok_or_else(|| StandbyRefusal::NoPoints { workload: workload(), location: location.map(str::to_owned) })?;
    let ours: Vec<&PointSummary> = all.into_iter().filter(|point| point.system_id == upstream.system_id).collect();
    let newest_ours = newest(ours.clone()).ok_or_else(|| StandbyRefusal::AnotherCluster {
        workload: workload(),
        ours: leader.system_id,
        theirs: upstream.system_id,
    })?;
    let nothing = WalCoverage { system_id: upstream.system_id, runs: Vec::new(), histories: Vec::new() };
    let log = known.logs.iter().find(|log| log.system_id == upstream.system_id).unwrap_or(&nothing);
    if let Some(archived) = stray(log, upstream) {
        return Err(StandbyRefusal::StrayTimeline { archived, theirs: upstream.timeline });
    }
    let path = Path::along(upstream.history.clone(), log);
    let is_past = |point: &PointSummary| point.timeline != upstream.timeline || point.lsn_stop <= upstream.flushed;
    let in_history = ours.into_iter().filter(|point| path.carries(point) && is_past(point)).collect();
    let point = newest(in_history).ok_or_else(|| StandbyRefusal::NotInHistory {
        workload: workload(),
        newest: newest_ours.id.clone(),
        timeline: newest_ours.timeline,
    })?;
    let reach = path.reach(point.lsn_start);
    if reach.end < point.lsn_stop {
        return Err(StandbyRefusal::LogMissing { point: point.id, ends: reach.end, needed: point.lsn_stop });
    }
    let read_from = location.map(str::to_owned).or_else(|| point.locations.first().cloned()).unwrap_or_default();
    Ok(RestorePlan {
        workload: workload(),
        system_id: point.system_id,
        point_stopped_at: point.stopped_at,
        point_complete_to: Some(point.complete_to),
        point_lsn_stop: point.lsn_stop,
        target: Target::Latest,
        target_spoken: "a standby".into(),
        stop: Stop::EndOfLog,
        timeline: upstream.timeline,
        timeline_setting: TimelineSetting::Number(upstream.timeline),
        location: read_from,
        bytes: point.bytes,
        files: point.files,
        wal: path.legs(point.lsn_start, reach.end),
        archived_to: reach.last_at.unwrap_or(point.stopped_at).max(point.stopped_at),
        settings: standby_settings(following),
        notes: Vec::new(),
        point: point.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Run;
    use jiff::Timestamp;
    use lifeboat_postgres::MajorVersion;
    use lifeboat_postgres::history::TimelineHistory;
    use lifeboat_postgres::standbys::upstream::Limits;

    const LIMITS: Limits = Limits {
        max_connections: 100,
        max_worker_processes: 8,
        max_wal_senders: 10,
        max_prepared_transactions: 0,
        max_locks_per_transaction: 64,
    };

    fn history(timeline: u32, ancestors: &[(u32, u64)]) -> TimelineHistory {
        let lines: String = ancestors.iter().map(|(id, at)| format!("{id}\t{}\tno reason\n", Lsn(*at))).collect();
        TimelineHistory::parse(TimelineId(timeline), lines.as_bytes()).unwrap()
    }

    fn point(id: &str, timeline: u32, start: u64, stop: u64) -> PointSummary {
        let stopped_at = Timestamp::from_second(i64::try_from(stop).unwrap()).unwrap();
        PointSummary {
            id: PointId(id.into()),
            system_id: SystemId(7),
            timeline: TimelineId(timeline),
            lsn_start: Lsn(start),
            lsn_stop: Lsn(stop),
            stopped_at,
            complete_to: stopped_at,
            locations: vec!["local".into()],
            bytes: 1,
            files: 1,
        }
    }

    fn run(timeline: u32, from: u64, to: u64) -> Run {
        let (from, to) = (Lsn(from), Lsn(to));
        let timeline = TimelineId(timeline);
        Run { timeline, from, to, bytes_to: to, last_record: None, is_refused_behind: false, marks: Vec::new() }
    }

    /// Timeline 2 left 1 at 500; the archive has both.
    fn known() -> Known {
        Known {
            workload: "shop".into(),
            points: vec![point("old", 1, 100, 200), point("new", 2, 600, 700), point("left", 1, 550, 580)],
            logs: vec![WalCoverage {
                system_id: SystemId(7),
                runs: vec![run(1, 100, 590), run(2, 480, 900)],
                histories: vec![history(2, &[(1, 500)])],
            }],
            places: Vec::new(),
            places_from: Lsn(0),
            silent: Vec::new(),
        }
    }

    fn upstream(timeline: u32, ancestors: &[(u32, u64)], flushed: u64) -> Upstream {
        Upstream {
            system_id: SystemId(7),
            major: MajorVersion::V15,
            timeline: TimelineId(timeline),
            history: history(timeline, ancestors),
            flushed: Lsn(flushed),
            is_standby: false,
            limits: LIMITS,
        }
    }

    fn chosen(known: &Known, upstream: &Upstream) -> String {
        let following = Following { conninfo: "host=a".into(), slot: None, restore_command: None, limits: LIMITS };
        match plan_standby(known, None, upstream, &following) {
            Ok(plan) => plan.point.to_string(),
            Err(refusal) => refusal.to_string(),
        }
    }

    #[test]
    fn the_newest_point_in_the_servers_history_is_taken() {
        assert_eq!(chosen(&known(), &upstream(2, &[(1, 500)], 1000)), "new");
        assert_eq!(chosen(&known(), &upstream(2, &[(1, 500)], 650)), "old", "it is ahead of that server");
        assert_eq!(
            chosen(&known(), &upstream(3, &[(1, 500), (2, 950)], 1000)),
            "new",
            "just promoted, not yet archived"
        );
        assert_eq!(chosen(&known(), &upstream(3, &[(1, 300)], 1000)), "old", "it never was on timeline 2");
    }

    #[test]
    fn what_cannot_follow_is_refused() {
        let seen = chosen(&known(), &upstream(1, &[], 1000));
        assert!(seen.contains("timeline 2, which the primary, on timeline 1, has never been on"), "{seen}");
        let other = Upstream { system_id: SystemId(8), ..upstream(2, &[(1, 500)], 1000) };
        assert!(chosen(&known(), &other).contains("another cluster"));
        let mut empty = known();
        empty.points.clear();
        assert!(chosen(&empty, &upstream(2, &[(1, 500)], 1000)).contains("no recovery point"));
        assert!(chosen(&known(), &upstream(3, &[(1, 150)], 1000)).contains("lies in the history"));
        let mut gap = known();
        gap.logs[0].runs[1].to = Lsn(650);
        assert!(chosen(&gap, &upstream(2, &[(1, 500)], 1000)).contains("ends at 0/28A, before"));
    }
}
