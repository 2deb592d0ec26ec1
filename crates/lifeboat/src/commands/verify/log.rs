//! Is the write-ahead log there that the points need, without a hole?
//!
//! A repository doesn't know which log a point needs; recovery does. Each location is judged by itself.

use crate::failure::Failure;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_recovery::{Run, Target, observe, unusable};
use lifeboat_repository::{Damage, Repository, Silent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is missing in each location: log that a point needs, and holes between archived stretches of a timeline.
pub async fn missing(repository: &Arc<Repository>, workload: Option<&str>) -> Result<Vec<Damage>, Failure> {
    let mut bad = Vec::new();
    for replica in repository.replicas() {
        let alone = Arc::new(repository.only(&replica.name)?);
        let workloads: BTreeSet<String> =
            alone.list_points(workload).await?.into_iter().map(|header| header.workload).collect();
        for name in workloads {
            // Points that can't be read are told of by the repository's own check.
            let Ok(observed) = observe(&alone, &name, &Target::Latest, &Silent).await else { continue };
            for log in &observed.known.logs {
                bad.extend(unusable(&observed.known.points, log).into_iter().map(|point| Damage {
                    location: replica.name.clone(),
                    object: format!("points/{name}/{}", point.point),
                    what: format!(
                        "its write-ahead log is missing from {} on timeline {}, and needed up to {}",
                        point.missing_from, point.timeline, point.needed_to
                    ),
                }));
                bad.extend(holes(&log.runs).into_iter().map(|(timeline, from, to)| Damage {
                    location: replica.name.clone(),
                    object: format!("wal/{name}"),
                    what: format!("the log of timeline {timeline} has a hole from {from} to {to}"),
                }));
            }
        }
    }
    Ok(bad)
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
            marks: Vec::new(),
        };
        let runs = [run(1, 30, 40), run(1, 0, 20), run(2, 45, 50), run(1, 40, 42)];
        assert_eq!(holes(&runs), [(TimelineId(1), Lsn(20), Lsn(30))]);
    }
}
