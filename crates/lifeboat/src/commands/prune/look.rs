//! What there is, and what the policy says about it.

use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat_plan::retention::{self, Candidate, Keep, Reason, Verdict};
use lifeboat_postgres::wal_file::SegmentSize;
use lifeboat_repository::{Going, HoldRecord, LogRange, Mark, MarkedPoint, Point, Removal, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::{LogNeed, unneeded};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

/// A point, and what becomes of it.
pub struct Judged {
    pub point: Point,
    pub verdict: Verdict,
    pub is_good: bool,
    need: LogNeed,
}

/// What today's run gives up beyond what is marked already.
pub struct Fresh {
    pub points: Vec<MarkedPoint>,
    pub logs: Vec<LogRange>,
}

/// Every point of the configured workloads, wherever it is.
pub type Stored = BTreeMap<MarkedPoint, (Point, PostgresDetails, Candidate)>;

/// Reads the points. One that can't be read is an error: what it needs can't be told.
pub async fn read(config: &Config, repository: &Arc<Repository>) -> Result<Stored, Failure> {
    let mut stored = Stored::new();
    for name in config.workloads.keys() {
        let arrivals = arrivals(repository, name).await?;
        for header in repository.list_points(Some(name)).await? {
            let marked = MarkedPoint { workload: name.clone(), point: header.id };
            let point = repository.read_point(name, &marked.point, &mut Vec::new()).await?;
            let details = PostgresDetails::of(&point)?;
            let standing = repository.standing(name, &marked.point).await?.unwrap_or_default();
            let candidate = Candidate {
                id: marked.point.0.clone(),
                finished_at: point.finished_at,
                arrived_at: arrivals.get(&marked.point.0).copied(),
                is_good: details.bad_pages.is_empty() && standing.failed.is_none(),
                is_proven: standing.is_proven(),
                held: Vec::new(),
            };
            stored.insert(marked, (point, details, candidate));
        }
    }
    Ok(stored)
}

/// The points that one location lists, judged by the policies for it.
pub async fn judge(
    config: &Config,
    location: &str,
    repository: &Arc<Repository>,
    stored: &Stored,
) -> Result<Vec<Judged>, Failure> {
    let now = Timestamp::now();
    let mut judged = Vec::new();
    let holds = repository.holds_that_stand().await?;
    for (name, workload) in &config.workloads {
        let keep = workload.keep_at(location);
        let mut points = Vec::new();
        for marked in repository.points_everywhere(Some(name)).await? {
            let mut known = stored.get(&marked).cloned().ok_or_else(|| {
                Failure::new(FailureKind::Unavailable, format!("point {} came while this was looked at", marked.point))
                    .with_hint("run it again")
            })?;
            known.2.held = holds.iter().filter(|record| record.marked() == marked).map(holder).collect();
            points.push(known);
        }
        let candidates: Vec<Candidate> = points.iter().map(|(_, _, candidate)| candidate.clone()).collect();
        let verdicts = retention::judge(&candidates, keep, now, &TimeZone::system());
        let base = continues_from(keep, &candidates, &verdicts);
        for ((point, details, candidate), verdict) in points.into_iter().zip(verdicts) {
            let segment_size = SegmentSize::new(details.wal_segment_bytes).map_err(|error| {
                Failure::from_error(FailureKind::Corrupt, &error).while_doing(format!("read {}", point.id))
            })?;
            let need = LogNeed {
                system_id: details.system_id,
                segment_size,
                start: details.lsn_start,
                stop: details.lsn_stop,
                is_kept: verdict.is_kept(),
                continues: base.is_none_or(|base| candidate.finished_at >= base),
            };
            judged.push(Judged { point, verdict, is_good: candidate.is_good, need });
        }
    }
    Ok(judged)
}

/// Who holds, and until when.
fn holder(record: &HoldRecord) -> String {
    match &record.hold {
        Some(hold) => format!("by {} until {}", hold.by, hold.until.to_zoned(TimeZone::system()).date()),
        None => format!("by somebody: {} can't be read", record.name),
    }
}

/// With a window, the log goes on from the point that it begins with; else from every point.
fn continues_from(keep: Option<&Keep>, candidates: &[Candidate], verdicts: &[Verdict]) -> Option<Timestamp> {
    keep?.window?;
    let begins = |verdict: &&Verdict| verdict.kept.contains(&Reason::Window);
    let bases: BTreeSet<&str> = verdicts.iter().filter(begins).map(|verdict| verdict.id.as_str()).collect();
    candidates.iter().filter(|candidate| bases.contains(candidate.id.as_str())).map(|base| base.finished_at).min()
}

/// When each point arrived, by the earliest clock of a store that has it.
async fn arrivals(repository: &Repository, workload: &str) -> Result<BTreeMap<String, Timestamp>, Failure> {
    let mut arrivals: BTreeMap<String, Timestamp> = BTreeMap::new();
    let prefix = format!("points/{workload}/");
    for replica in repository.replicas() {
        let entries = replica.location.list(&prefix).await.map_err(lifeboat_repository::Error::from)?;
        for entry in entries {
            // A store that doesn't tell says the beginning of time.
            let Some(at) = Timestamp::try_from(entry.modified).ok().filter(|_| entry.modified > SystemTime::UNIX_EPOCH)
            else {
                continue;
            };
            let id = entry.key.trim_start_matches(&prefix).to_owned();
            let first = arrivals.entry(id).or_insert(at);
            *first = at.min(*first);
        }
    }
    Ok(arrivals)
}

/// Everything that could go today: points by the policy, and the log that no point needs then.
pub async fn going(repository: &Repository, judged: &[Judged]) -> Result<Going, Failure> {
    let points = judged
        .iter()
        .filter(|judged| !judged.verdict.is_kept())
        .map(|judged| MarkedPoint { workload: judged.point.workload.clone(), point: judged.point.id.clone() });
    let mut going = Going { points: points.collect(), logs: Vec::new() };
    let workloads: BTreeSet<&str> = judged.iter().map(|judged| judged.point.workload.as_str()).collect();
    for workload in workloads {
        let needs: Vec<LogNeed> =
            judged.iter().filter(|judged| judged.point.workload == workload).map(|judged| judged.need).collect();
        going.logs.extend(unneeded(workload, &repository.list_logs(workload, "").await?, &needs));
    }
    Ok(going)
}

/// The points among those that go which are neither marked nor deleted yet. They were judged before the sweep.
fn points_to_mark(going: BTreeSet<MarkedPoint>, standing: &[Mark], swept: &[MarkedPoint]) -> Vec<MarkedPoint> {
    let is_marked = |point: &MarkedPoint| standing.iter().any(|mark| mark.removal.points.contains(point));
    going.into_iter().filter(|point| !is_marked(point) && !swept.contains(point)).collect()
}

/// What of it no mark names yet, after `swept` was deleted.
pub async fn not_marked_yet(
    repository: &Repository,
    going: Going,
    standing: &[Mark],
    swept: &[MarkedPoint],
) -> Result<Fresh, Failure> {
    let points = points_to_mark(going.points, standing, swept);
    let marked: Vec<&LogRange> = standing.iter().flat_map(|mark| &mark.removal.logs).collect();
    let mut logs = Vec::new();
    for range in going.logs {
        let entries = repository.list_logs(&range.workload, &format!("{}/", range.group)).await?;
        let is_new = entries
            .iter()
            .filter(|entry| range.covers(&range.workload, entry))
            .any(|entry| !marked.iter().any(|marked| marked.covers(&range.workload, entry)));
        if is_new {
            logs.push(range);
        }
    }
    Ok(Fresh { points, logs })
}

/// Number of log files, and stored bytes of everything but the points themselves, in one location.
pub async fn size_of(repository: &Repository, removal: &Removal) -> Result<(u64, u64), Failure> {
    let (mut files, mut bytes) = (0, 0);
    for range in &removal.logs {
        for entry in repository.list_logs(&range.workload, &format!("{}/", range.group)).await? {
            if range.covers(&range.workload, &entry) {
                files += 1;
                bytes += entry.stored_bytes;
            }
        }
    }
    let packs: BTreeSet<String> = removal.pack_keys().collect();
    if let Some(replica) = repository.replicas().first() {
        let entries = replica.location.list("packs/").await.map_err(lifeboat_repository::Error::from)?;
        bytes += entries.iter().filter(|entry| packs.contains(&entry.key)).map(|entry| entry.size).sum::<u64>();
    }
    Ok((files, bytes))
}

/// When what was marked at `made_at` may be deleted.
pub fn due_at(made_at: Timestamp, after: std::time::Duration) -> Timestamp {
    SignedDuration::try_from(after).ok().and_then(|after| made_at.checked_add(after).ok()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeboat_repository::PointId;

    #[test]
    fn what_is_marked_or_was_just_deleted_is_not_marked_again() {
        let point = |id: &str| MarkedPoint { workload: "shop".into(), point: PointId(id.into()) };
        let standing = Mark {
            name: "one".into(),
            made_at: Timestamp::UNIX_EPOCH,
            removal: Removal { points: vec![point("marked")], ..Removal::default() },
            has_begun: false,
        };
        let going = ["deleted", "fresh", "marked"].map(point).into();
        let fresh = points_to_mark(going, &[standing], &[point("deleted")]);
        assert_eq!(fresh, [point("fresh")]);
    }
}
