//! Is the write-ahead log there that the points need, without a hole?
//!
//! A repository doesn't know which log a point needs; recovery does. Each location is judged by itself. What one lacks and
//! the locations together have makes it behind, not bad: it rested while segments were pushed, and `copy` brings them.

use crate::failure::Failure;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_recovery::{Run, Target, Unusable, observe, unusable};
use lifeboat_repository::{Damage, Repository, Silent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is missing of logs.
#[derive(Debug, Default)]
pub struct Missing {
    /// In every location that was looked at.
    pub bad: Vec<Damage>,
    /// In this one only.
    pub behind: Vec<Damage>,
}

/// What is missing in each location: log that a point needs, and holes between archived stretches of a timeline.
pub async fn missing(repository: &Arc<Repository>, workload: Option<&str>) -> Result<Missing, Failure> {
    let mut missing = Missing::default();
    let together = gaps(repository, workload).await?;
    for replica in repository.replicas() {
        let alone = Arc::new(repository.only(&replica.name)?);
        for gap in gaps(&alone, workload).await? {
            let is_everywhere = together.iter().any(|other| gap.is_in(other));
            let list = if is_everywhere { &mut missing.bad } else { &mut missing.behind };
            list.push(gap.damage(&replica.name));
        }
    }
    Ok(missing)
}

/// Something that is missing of a workload's log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    workload: String,
    what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Point(Unusable),
    Hole(TimelineId, Lsn, Lsn),
}

async fn gaps(repository: &Arc<Repository>, workload: Option<&str>) -> Result<Vec<Gap>, Failure> {
    let mut found = Vec::new();
    let workloads: BTreeSet<String> =
        repository.list_points(workload).await?.into_iter().map(|header| header.workload).collect();
    for name in workloads {
        // Points that can't be read are told of by the repository's own check.
        let Ok(observed) = observe(repository, &name, &Target::Latest, &Silent).await else { continue };
        for log in &observed.known.logs {
            let points = unusable(&observed.known.points, log).into_iter().map(What::Point);
            let holes = holes(&log.runs).into_iter().map(|(timeline, from, to)| What::Hole(timeline, from, to));
            found.extend(points.chain(holes).map(|what| Gap { workload: name.clone(), what }));
        }
    }
    Ok(found)
}

impl Gap {
    /// Whether the other has a part of what is missing here.
    fn is_in(&self, other: &Self) -> bool {
        let is_part = match (&self.what, &other.what) {
            (What::Point(one), What::Point(other)) => one.point == other.point,
            (What::Hole(timeline, from, to), What::Hole(other, start, end)) => {
                timeline == other && from < end && start < to
            }
            _ => false,
        };
        is_part && self.workload == other.workload
    }

    fn damage(self, location: &str) -> Damage {
        let name = &self.workload;
        let (object, what) = match self.what {
            What::Point(point) => (
                format!("points/{name}/{}", point.point),
                format!(
                    "its write-ahead log is missing from {} on timeline {}, and needed up to {}",
                    point.missing_from, point.timeline, point.needed_to
                ),
            ),
            What::Hole(timeline, from, to) => {
                (format!("wal/{name}"), format!("the log of timeline {timeline} has a hole from {from} to {to}"))
            }
        };
        Damage::new(location, object, what)
    }
}

/// Holes between stored stretches of each timeline: from and to.
pub fn holes(runs: &[Run]) -> Vec<(TimelineId, Lsn, Lsn)> {
    let mut by_timeline: BTreeMap<TimelineId, Vec<(Lsn, Lsn)>> = BTreeMap::new();
    for run in runs {
        by_timeline.entry(run.timeline).or_default().push((run.from, run.to));
    }
    let mut holes = Vec::new();
    for (timeline, mut stretches) in by_timeline {
        stretches.sort_unstable();
        let pairs = stretches.windows(2).filter(|pair| pair[0].1 < pair[1].0);
        holes.extend(pairs.map(|pair| (timeline, pair[0].1, pair[1].0)));
    }
    holes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_lies_between_two_stretches_of_one_timeline() {
        let run = |timeline, from, to| Run {
            timeline: TimelineId(timeline),
            from: Lsn(from),
            to: Lsn(to),
            last_record: None,
            is_refused_behind: false,
            marks: Vec::new(),
        };
        let runs = [run(1, 30, 40), run(1, 0, 20), run(2, 45, 50), run(1, 40, 42)];
        assert_eq!(holes(&runs), [(TimelineId(1), Lsn(20), Lsn(30))]);
    }

    #[test]
    fn a_hole_that_the_others_fill_is_none_of_all() {
        let hole = |workload: &str, timeline, from, to| Gap {
            workload: workload.into(),
            what: What::Hole(TimelineId(timeline), Lsn(from), Lsn(to)),
        };
        let one = hole("shop", 1, 20, 30);
        assert!(one.is_in(&hole("shop", 1, 29, 31)) && one.is_in(&one));
        for other in [hole("shop", 1, 30, 40), hole("shop", 2, 20, 30), hole("mill", 1, 20, 30)] {
            assert!(!one.is_in(&other), "{other:?}");
        }
    }
}
