//! Is the write-ahead log there that the points need, without a hole?
//!
//! A repository doesn't know which log a point needs; recovery does. Each location is judged by itself. What one lacks and
//! the locations together have makes it behind, not bad: it rested while segments were pushed, and `copy` brings them. A hole that no
//! location fills is bad when it is found. From then on, once a point stands behind it, it is a fact that `points` shows, and
//! nothing that could be mended. A hole that `prune` made is known from the beginning: the policy keeps a point, and not the log behind
//! it.

mod known;

use crate::failure::Failure;
use crate::output::Output;
use jiff::Timestamp;
use lifeboat_postgres::wal_file::{Segment, SegmentSize};
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_recovery::{Run, Unusable, WalCoverage, observe, spoken, unusable};
use lifeboat_repository::{
    Damage, Findings, GivenUp, GivenUpThere, LogEnd, LogGap, LogStretch, MarkedPoint, Repository, Silent,
};
use lifeboat_workload::postgres::wal::segment_group;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A slow archiver has brought what a backup was ahead of by then.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(10);
const ARRIVAL_INTERVAL: Duration = Duration::from_millis(500);

/// What is missing of logs.
#[derive(Debug, Default)]
pub struct Missing {
    /// In every location that was looked at.
    pub bad: Vec<Damage>,
    /// In this one only.
    pub behind: Vec<Damage>,
    /// Holes that were known before, and behind which a point stands.
    pub known: Vec<Damage>,
    /// Locations that could not be looked at, and why.
    pub away: Vec<(String, String)>,
    /// How far each log goes, by location.
    pub ends: BTreeMap<String, Vec<LogEnd>>,
    /// All holes, by location.
    pub gaps: BTreeMap<String, Vec<LogGap>>,
}

/// Keys of files that each location lacks and another one got a moment ago.
pub type Arriving = BTreeMap<String, BTreeSet<String>>;

/// Whether it is about a log as a whole: then the points are judged by what they need of it.
pub fn is_about_log(damage: &Damage) -> bool {
    damage.object.strip_prefix("wal/").is_some_and(|workload| !workload.contains('/'))
}

/// What is missing in each location: log that a point needs, holes between archived stretches of a timeline, and the end of a log
/// that was there when somebody looked before. For one point: only what it needs.
///
/// What is `arriving` somewhere is no hole there.
pub async fn missing(
    repository: &Arc<Repository>,
    workload: Option<&str>,
    point: Option<&MarkedPoint>,
    arriving: &Arriving,
    output: &Output,
) -> Result<Missing, Failure> {
    let is_judged = |gap: &Gap| match (point, &gap.what) {
        (None, _) => true,
        (Some(only), What::Point(unusable)) => only.workload == gap.workload && only.point == unusable.point,
        (Some(_), What::Hole(..)) => false,
    };
    let mut missing = Missing::default();
    let known = repository.findings().await;
    let noted: Vec<_> = known.values().flat_map(|before| before.gaps.iter()).collect();
    let is_known =
        |hole: &LogGap| noted.iter().any(|before| before.stretch == hole.stretch && before.workload == hole.workload);
    let together = settled(repository, workload, is_known, output).await?;
    for replica in repository.replicas() {
        let alone = Arc::new(repository.only(&replica.name)?);
        let seen = match look(&alone, workload).await {
            Ok(seen) => seen,
            Err(failure) => {
                missing.away.push((replica.name.clone(), failure.message));
                continue;
            }
        };
        let unclear = seen.unclear.into_iter().filter(|_| point.is_none());
        let unclear = unclear.map(|(workload, why)| Damage::new(&replica.name, format!("log of {workload}"), why));
        missing.bad.extend(unclear);
        let before = known.get(&replica.name);
        let noted = before.map(|before| before.gaps.as_slice()).unwrap_or_default();
        let given_up = repository.given_up(&replica.name).await;
        for gap in seen.gaps.into_iter().filter(is_judged) {
            let is_everywhere = together.gaps.iter().any(|other| gap.is_in(other));
            let (is_closed, hole) = (gap.is_closed, gap.hole());
            let is_arriving = arriving.get(&replica.name).is_some_and(|arriving| gap.is_arriving(arriving));
            if (is_arriving || gap.is_to_be_without(&given_up)) && !is_everywhere {
                continue;
            }
            let is_known = hole.as_ref().is_some_and(|hole| known::is_known(hole, &gap.deleted(&given_up), noted));
            missing.gaps.entry(replica.name.clone()).or_default().extend(hole.filter(|_| is_everywhere));
            let list = match (is_everywhere, is_known && is_closed) {
                (true, true) => &mut missing.known,
                (true, false) => &mut missing.bad,
                (false, _) => &mut missing.behind,
            };
            list.push(gap.damage(&replica.name));
        }
        let known = before.filter(|_| point.is_none());
        for before in known.into_iter().flat_map(|known| &known.log_ends) {
            let is_cut = seen.workloads.contains(&before.workload) && !goes_as_far(&seen.ends, before);
            let is_everywhere = !goes_as_far(&together.ends, before);
            // What others have isn't missed where it is to go anyway.
            let excuse = if is_everywhere { GivenUp::Deleted } else { GivenUp::Marked };
            if is_cut && given_up.end(before) < excuse {
                let list = if is_everywhere { &mut missing.bad } else { &mut missing.behind };
                list.push(cut(&replica.name, before, &seen.ends));
            }
        }
        missing.ends.insert(replica.name.clone(), seen.ends);
    }
    Ok(missing)
}

/// The logs in all locations together. A backup stores what it needs of the log itself, and may be ahead of the server's archiver: then what
/// lies between comes within moments. A hole that is news is therefore looked at again for a while.
async fn settled(
    repository: &Arc<Repository>,
    workload: Option<&str>,
    is_known: impl Fn(&LogGap) -> bool,
    output: &Output,
) -> Result<Seen, Failure> {
    let (begun, mut is_told) = (Instant::now(), false);
    loop {
        let seen = look(repository, workload).await?;
        let is_news = seen.gaps.iter().filter_map(Gap::hole).any(|hole| !is_known(&hole));
        if !is_news || begun.elapsed() >= ARRIVAL_PATIENCE {
            return Ok(seen);
        }
        if !std::mem::replace(&mut is_told, true) {
            output.tell("the log has a hole that is news; what may be on its way is waited for");
        }
        tokio::time::sleep(ARRIVAL_INTERVAL).await;
    }
}

fn is_same_log(one: &LogEnd, other: &LogEnd) -> bool {
    one.workload == other.workload && one.log == other.log
}

fn goes_as_far(ends: &[LogEnd], before: &LogEnd) -> bool {
    ends.iter().any(|end| is_same_log(end, before) && end.end >= before.end)
}

/// A log that went further when somebody looked before.
fn cut(location: &str, before: &LogEnd, ends: &[LogEnd]) -> Damage {
    let timeline = before.log.rsplit(' ').next().unwrap_or_default();
    let now = match ends.iter().find(|end| is_same_log(end, before)) {
        Some(now) => format!("ends at {} now", Lsn(now.end)),
        None => "is gone".to_owned(),
    };
    let (end, seen_at) = (Lsn(before.end), spoken(before.seen_at, None));
    let what = format!("the log of timeline {timeline} ended at {end} on {seen_at}, and {now}");
    Damage::new(location, format!("wal/{}", before.workload), what)
}

/// The logs in some locations.
#[derive(Debug, Default)]
struct Seen {
    /// Whose could be read.
    workloads: BTreeSet<String>,
    /// Whose could not, and why.
    unclear: Vec<(String, String)>,
    gaps: Vec<Gap>,
    ends: Vec<LogEnd>,
}

/// Something that is missing of a workload's log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Gap {
    workload: String,
    what: What,
    /// Of the cluster whose log it is.
    system_id: SystemId,
    /// Whether a point begins behind it.
    is_closed: bool,
    /// What a hole lacks. Empty when it is too long to be named.
    files: Vec<LogFile>,
}

/// A file of a log that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LogFile {
    group: String,
    name: String,
    /// What it covers.
    from: Lsn,
    to: Lsn,
}

/// A hole of more files than this, 16 TiB, isn't named file by file.
const FILES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
enum What {
    Point(Unusable),
    Hole(TimelineId, Lsn, Lsn),
}

async fn look(repository: &Arc<Repository>, workload: Option<&str>) -> Result<Seen, Failure> {
    let mut seen = Seen::default();
    let workloads: BTreeSet<String> =
        repository.list_points(workload).await?.into_iter().map(|header| header.workload).collect();
    for name in workloads {
        // Points that can't be read are told of by the repository's own check.
        let observed = match observe(repository, &name, None, &Silent).await {
            Ok(observed) => observed,
            Err(error) => {
                seen.unclear.push((name, error.to_string()));
                continue;
            }
        };
        for log in &observed.known.logs {
            let points = unusable(&observed.known.points, log).into_iter().map(|point| (What::Point(point), false));
            let begins_behind = |timeline: TimelineId, to: Lsn| {
                let mut all = observed.points.values().map(|(_, details)| details);
                all.any(|point| point.system_id == log.system_id && point.timeline >= timeline && point.lsn_start >= to)
            };
            let holes = holes(&log.runs).into_iter();
            let holes = holes.map(|(timeline, from, to)| (What::Hole(timeline, from, to), begins_behind(timeline, to)));
            let mut details = observed.points.values().map(|(_, details)| details);
            let details = details.find(|details| details.system_id == log.system_id);
            let size = details.and_then(|details| SegmentSize::new(details.wal_segment_bytes).ok());
            let gap = |(what, is_closed)| {
                let files = size.map(|size| files_of(&what, log.system_id, size)).unwrap_or_default();
                Gap { workload: name.clone(), what, system_id: log.system_id, is_closed, files }
            };
            seen.gaps.extend(points.chain(holes).map(gap));
            seen.ends.extend(size.into_iter().flat_map(|size| ends(&name, log, size)));
        }
        seen.workloads.insert(name);
    }
    Ok(seen)
}

/// The files that a hole lacks.
fn files_of(what: &What, system_id: SystemId, size: SegmentSize) -> Vec<LogFile> {
    let What::Hole(timeline, from, to) = *what else { return Vec::new() };
    let mut files = Vec::new();
    let mut end = to;
    while end > from && (files.len() as u64) < FILES_MAX {
        let segment = Segment::ending_at(timeline, end, size);
        let name = segment.name(size);
        let (group, start) = (segment_group(system_id, name), segment.start(size));
        files.push(LogFile { group, name: name.to_string(), from: start, to: segment.end(size) });
        end = start;
    }
    if end > from { Vec::new() } else { files }
}

/// Writes down as known what `prune` left out of logs: the record of what was given up is about to be forgotten.
pub async fn note_given_up(repository: &Arc<Repository>) -> Result<(), Failure> {
    let known = repository.findings().await;
    for replica in repository.replicas() {
        let alone = Arc::new(repository.only(&replica.name)?);
        let before = known.get(&replica.name).map(|known| known.gaps.as_slice()).unwrap_or_default();
        // What doesn't answer now is looked at by the next one.
        let Ok(seen) = look(&alone, None).await else { continue };
        let given_up = repository.given_up(&replica.name).await;
        let is_news =
            |gap: &Gap, hole: &LogGap| !before.contains(hole) && known::is_known(hole, &gap.deleted(&given_up), before);
        let holes = seen.gaps.iter().filter_map(|gap| gap.hole().filter(|hole| is_news(gap, hole)));
        let gaps: Vec<LogGap> = holes.collect();
        if !gaps.is_empty() {
            // A look at nothing else: it carries on all that was known.
            let findings = Findings { gaps, ..Findings::of(&replica.name, "structure", false, &[], Timestamp::now()) };
            repository.put_findings(findings).await?;
        }
    }
    Ok(())
}

/// As records call it.
fn log_name(system_id: SystemId, timeline: TimelineId) -> String {
    format!("{system_id} {timeline}")
}

/// The end of each timeline.
fn ends(workload: &str, log: &WalCoverage, size: SegmentSize) -> Vec<LogEnd> {
    let mut ends: BTreeMap<TimelineId, Lsn> = BTreeMap::new();
    for run in &log.runs {
        let end = ends.entry(run.timeline).or_default();
        *end = run.to.max(*end);
    }
    let seen_at = Timestamp::now();
    let end = |(timeline, to): (TimelineId, Lsn)| {
        let name = Segment::ending_at(timeline, to, size).name(size);
        LogEnd {
            workload: workload.to_owned(),
            group: segment_group(log.system_id, name),
            name: name.to_string(),
            log: log_name(log.system_id, timeline),
            end: to.0,
            seen_at,
        }
    };
    ends.into_iter().map(end).collect()
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

    /// As it is kept; none for a point.
    fn hole(&self) -> Option<LogGap> {
        let What::Hole(timeline, from, to) = &self.what else { return None };
        let stretch = LogStretch { log: log_name(self.system_id, *timeline), from: from.0, to: to.0 };
        let what = format!("timeline {timeline}, {from} to {to}");
        Some(LogGap { workload: self.workload.clone(), what, stretch: Some(stretch) })
    }

    /// What the location deleted of it on purpose.
    fn deleted(&self, given_up: &GivenUpThere) -> Vec<(u64, u64)> {
        let is_deleted = |file: &&LogFile| given_up.file(&self.workload, &file.group, &file.name) == GivenUp::Deleted;
        self.files.iter().filter(is_deleted).map(|file| (file.from.0, file.to.0)).collect()
    }

    /// Whether the location gave up all of it, or is about to: nobody brings it there.
    fn is_to_be_without(&self, given_up: &GivenUpThere) -> bool {
        let is_given_up = |file: &LogFile| given_up.file(&self.workload, &file.group, &file.name) >= GivenUp::Marked;
        !self.files.is_empty() && self.files.iter().all(is_given_up)
    }

    /// Whether all of it was stored elsewhere a moment ago.
    fn is_arriving(&self, arriving: &BTreeSet<String>) -> bool {
        let is_there = |file: &LogFile| {
            let start = format!("wal/{}/{}/{}-", self.workload, file.group, file.name);
            let mut keys = arriving.range(start.clone()..).take_while(|key| key.starts_with(&start));
            // The parts of a file may be fewer than it needs.
            keys.any(|key| !key[start.len()..].contains('.'))
        };
        !self.files.is_empty() && self.files.iter().all(is_there)
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
            bytes_to: Lsn(to),
            last_record: None,
            is_refused_behind: false,
            marks: Vec::new(),
        };
        let runs = [run(1, 30, 40), run(1, 0, 20), run(2, 45, 50), run(1, 40, 42)];
        assert_eq!(holes(&runs), [(TimelineId(1), Lsn(20), Lsn(30))]);
    }

    #[test]
    fn a_hole_is_named_file_by_file() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let hole = |from: u64, to: u64| What::Hole(TimelineId(1), Lsn(from << 24), Lsn(to << 24));
        let names = |what: &What| -> Vec<String> {
            files_of(what, SystemId(7), size).iter().map(|file| format!("{}/{}", file.group, file.name)).collect()
        };
        let of = |number: u64| format!("7/00000001/00000000/0000000100000000{number:08X}");
        assert_eq!(names(&hole(0x19, 0x1a)), [of(0x19)]);
        assert_eq!(names(&hole(0x19, 0x1c)), [of(0x1b), of(0x1a), of(0x19)]);
        assert_eq!(names(&hole(0, 1 << 22)), Vec::<String>::new(), "too many to be named");
    }

    #[test]
    fn a_hole_is_arriving_when_all_of_it_is() {
        let size = SegmentSize::new(16 << 20).unwrap();
        let what = What::Hole(TimelineId(1), Lsn(0x19 << 24), Lsn(0x1b << 24));
        let files = files_of(&what, SystemId(7), size);
        let gap = Gap { workload: "shop".into(), what, system_id: SystemId(7), is_closed: false, files };
        let whole = |number: u64| format!("wal/shop/7/00000001/00000000/0000000100000000{number:08X}-{:032x}", 7);
        let arriving = |keys: &[String]| gap.is_arriving(&keys.iter().cloned().collect());
        assert!(arriving(&[whole(0x18), whole(0x19), whole(0x1a)]));
        assert!(!arriving(&[whole(0x19)]) && !arriving(&[]));
        assert!(!arriving(&[whole(0x19), whole(0x1a) + ".00000000.00100000"]), "a part may be all there is");
    }

    #[test]
    fn a_hole_that_the_others_fill_is_none_of_all() {
        let hole = |workload: &str, timeline, from, to| Gap {
            workload: workload.into(),
            what: What::Hole(TimelineId(timeline), Lsn(from), Lsn(to)),
            system_id: SystemId(7),
            is_closed: false,
            files: Vec::new(),
        };
        let one = hole("shop", 1, 20, 30);
        assert!(one.is_in(&hole("shop", 1, 29, 31)) && one.is_in(&one));
        for other in [hole("shop", 1, 30, 40), hole("shop", 2, 20, 30), hole("mill", 1, 20, 30)] {
            assert!(!one.is_in(&other), "{other:?}");
        }
    }
}
