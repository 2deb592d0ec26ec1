//! Choosing the point, and proving that the target can be reached from it, before anything is touched.
//!
//! For every kind of target the newest point is taken that is consistent before it, on the timeline that is followed,
//! provided that the log between them has no hole: the less is replayed, the sooner it is done. What can't be reached is
//! refused with what can.
//!
//! PostgreSQL needs a record at or behind the target to stop at; at the end of a log there may be none, and it would
//! fail after hours of replay. So a target at the very end becomes "stop at the last record", and one behind the
//! end is refused here. A transaction or name is looked up in the log: it tells which point is early enough, and when
//! the same name occurs twice the newest is meant, although PostgreSQL alone would stop at the first.

mod why;

use crate::line::{Line, main_line};
use crate::path::{Path, PointSummary, Reach, WalCoverage};
use crate::plan::{RestorePlan, Stop, TimelineSetting};
use crate::quoting::RestoreCommand;
use crate::refusal::{Reason, Refusal};
use crate::settings::{Action, recovery_settings};
use crate::target::{Target, TimelineChoice};
use crate::window::{Window, windows};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use lifeboat_repository::PointId;
use std::borrow::Cow;

/// What is known, read from one or all locations.
#[derive(Debug, Clone)]
pub struct Known {
    /// The workload's name.
    pub workload: String,
    /// Its points, in any order, also of clusters it was before.
    pub points: Vec<PointSummary>,
    /// The log, one entry for each cluster.
    pub logs: Vec<WalCoverage>,
    /// For a target that is a transaction or a name: where in the log it is.
    pub places: Vec<Place>,
    /// From here on all places are in `places`; there may be others before.
    pub places_from: Lsn,
    /// Locations that didn't answer. What is only there is not known.
    pub silent: Vec<String>,
}

/// Where in the log a transaction ends, or a restore point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The timeline whose log it was found in.
    pub timeline: TimelineId,
    /// Where its record begins, if known.
    pub start: Option<Lsn>,
    /// The end of its record.
    pub end: Lsn,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The moment.
    pub target: Target,
    /// Whether the record at the target is kept. PostgreSQL's default is yes.
    pub inclusive: bool,
    /// The line of history.
    pub timeline: TimelineChoice,
    /// This point and no other.
    pub point: Option<PointId>,
    /// Read from this location alone.
    pub location: Option<String>,
    /// In which times are told beside UTC.
    pub zone: Option<TimeZone>,
    /// How PostgreSQL gets its log.
    pub restore_command: RestoreCommand,
    /// What happens at the target.
    pub action: Action,
    /// Whether the copy goes on archiving, because it takes the place of the original.
    pub archives: bool,
}

/// A point with which the target can be reached.
struct Choice<'a> {
    point: &'a PointSummary,
    reach: Reach,
    stop: Stop,
    /// Where the log that can be needed ends.
    needed_to: Lsn,
    notes: Vec<String>,
}

/// What a point can do for a target.
enum Fit {
    /// Consistent only after the target.
    TooLate,
    /// The log from it ends before it is consistent.
    LogMissing(Lsn),
    /// The log from it ends before the target.
    FallsShort(Reach),
    Reaches(Reach, Stop, Lsn),
}

/// Chooses point, timeline and stop, or says why that can't be.
pub fn plan(known: &Known, wanted: &Wanted) -> Result<RestorePlan, Box<Refusal>> {
    Planner::decide(known, wanted).map_err(|(reason, windows)| {
        let target = wanted.target.spoken(wanted.zone.as_ref());
        Box::new(Refusal { workload: known.workload.clone(), target, reason, windows })
    })
}

/// The cluster, and the timeline to which the line leads on which the target is looked for. None when nothing can be planned, whatever
/// the log holds: [`plan`] says why.
pub(crate) fn line_wanted(known: &Known, wanted: &Wanted) -> Option<(SystemId, TimelineId)> {
    let planner = Planner::of(known, wanted).ok()?;
    let (timeline, _) = planner.chosen().ok()?;
    Some((planner.coverage().system_id, timeline))
}

struct Planner<'a> {
    known: &'a Known,
    wanted: &'a Wanted,
    coverage: Cow<'a, WalCoverage>,
    /// Of this cluster, and whole in the location that is read.
    points: Vec<PointSummary>,
    given: Option<PointSummary>,
}

impl<'a> Planner<'a> {
    fn decide(known: &'a Known, wanted: &'a Wanted) -> Result<RestorePlan, (Reason, Vec<Window>)> {
        let planner = Self::of(known, wanted)?;
        planner.on_chosen_timeline().map_err(|reason| (reason, windows(&planner.points, planner.coverage())))
    }

    fn of(known: &'a Known, wanted: &'a Wanted) -> Result<Self, (Reason, Vec<Window>)> {
        let everything = || known.logs.iter().flat_map(|log| windows(&known.points, log)).collect();
        let mut usable: Vec<PointSummary> = known.points.clone();
        for point in &mut usable {
            point.locations.retain(|name| wanted.location.as_ref().is_none_or(|only| only == name));
        }
        let find = |id: &PointId| known.points.iter().find(|point| point.id == *id);
        let given = match &wanted.point {
            None => None,
            Some(id) => Some(find(id).ok_or((Reason::UnknownPoint { point: id.clone() }, everything()))?),
        };
        let incomplete =
            |point: &PointSummary| Reason::Incomplete { point: point.id.clone(), location: wanted.location.clone() };
        usable.retain(|point| !point.locations.is_empty());
        if let Some(given) = given.filter(|given| usable.iter().all(|point| point.id != given.id)) {
            return Err((incomplete(given), everything()));
        }
        let newest = usable.iter().max_by_key(|point| (point.stopped_at, point.lsn_stop));
        let Some(leader) = given.or(newest) else {
            return Err((Reason::NoPoints { location: wanted.location.clone() }, everything()));
        };
        let system_id = leader.system_id;
        let given = given.map(|given| given.id.clone());
        usable.retain(|point| point.system_id == system_id);
        let coverage = match known.logs.iter().find(|log| log.system_id == system_id) {
            Some(log) => Cow::Borrowed(log),
            None => Cow::Owned(WalCoverage { system_id, runs: Vec::new(), histories: Vec::new() }),
        };
        let given = given.and_then(|id| usable.iter().find(|point| point.id == id).cloned());
        Ok(Planner { known, wanted, coverage, points: usable, given })
    }

    fn coverage(&self) -> &WalCoverage {
        &self.coverage
    }

    /// Where the line that was chosen leads, and the line, when it was chosen by us.
    fn chosen(&self) -> Result<(TimelineId, Option<Line>), Reason> {
        Ok(match self.wanted.timeline {
            TimelineChoice::Exactly(timeline) => (self.known_timeline(timeline)?, None),
            TimelineChoice::Latest => (self.latest_timeline(), None),
            TimelineChoice::MainLine => {
                let line = self.main_line();
                (line.timeline, Some(line))
            }
        })
    }

    fn on_chosen_timeline(&self) -> Result<RestorePlan, Reason> {
        let (timeline, line) = self.chosen()?;
        let is_open_ended = matches!(self.wanted.target, Target::Latest);
        match &line {
            Some(Line { heirs, .. }) if is_open_ended && !heirs.is_empty() => {
                return Err(Reason::TwoHeirs { parent: timeline, heirs: heirs.clone() });
            }
            _ => {}
        }
        match (self.on_timeline(timeline), &line) {
            (Ok(choice), _) => Ok(self.finish(timeline, choice, line.as_ref())),
            (Err(reason), Some(_)) if reason.is_about_the_target() => Err(self.look_elsewhere(timeline, reason)),
            (Err(reason), _) => Err(reason),
        }
    }

    fn known_timeline(&self, timeline: TimelineId) -> Result<TimelineId, Reason> {
        let known = self.coverage().timelines(&self.points);
        let is_known = known.contains(&timeline);
        let unknown = Reason::UnknownTimeline { timeline, known: known.into_iter().collect() };
        is_known.then_some(timeline).ok_or(unknown)
    }

    /// The highest number that one of the points leads to.
    fn latest_timeline(&self) -> TimelineId {
        let carries = |timeline: &TimelineId| {
            let path = Path::to(*timeline, self.coverage());
            self.candidates().any(|point| path.carries(point))
        };
        self.coverage().timelines(&self.points).into_iter().rev().find(carries).unwrap_or(TimelineId(1))
    }

    /// From the newest point; from the given one when that doesn't lie on the newest one's line.
    fn main_line(&self) -> Line {
        let newest = self.points.iter().max_by_key(|point| (point.stopped_at, point.lsn_stop));
        let start = |point: &PointSummary| main_line(point.timeline, &self.points, self.coverage());
        let line =
            newest.map(start).unwrap_or(Line { timeline: TimelineId(1), heirs: Vec::new(), branches: Vec::new() });
        match &self.given {
            Some(given) if !Path::to(line.timeline, self.coverage()).carries(given) => start(given),
            _ => line,
        }
    }

    fn candidates(&self) -> impl Iterator<Item = &PointSummary> {
        self.points.iter().filter(|point| self.given.as_ref().is_none_or(|given| given.id == point.id))
    }

    /// The best point on this timeline, or why there is none.
    fn on_timeline(&self, timeline: TimelineId) -> Result<Choice<'_>, Reason> {
        let path = Path::to(timeline, self.coverage());
        let places = self.places_on(&path)?;
        let mut on_path: Vec<&PointSummary> = self.points.iter().filter(|point| path.carries(point)).collect();
        on_path.sort_by_key(|point| (point.lsn_stop, point.stopped_at));
        let given = self.given.as_ref().map(|given| &given.id);
        if on_path.is_empty() || given.is_some_and(|given| on_path.iter().all(|point| point.id != *given)) {
            return Err(Reason::NotOnPath { timeline, point: given.cloned() });
        }
        let mut best: Option<Choice> = None;
        let mut notes = Vec::new();
        for point in on_path.iter().rev().filter(|point| given.is_none_or(|given| point.id == *given)) {
            match self.fit(point, &path, &places) {
                Fit::Reaches(reach, stop, needed_to) => {
                    let is_further = best.as_ref().is_none_or(|best| best.reach.end < reach.end);
                    let is_better = best.is_none() || (self.wanted.target == Target::Latest && is_further);
                    if is_better {
                        best = Some(Choice { point, reach, stop, needed_to, notes: Vec::new() });
                    }
                }
                Fit::LogMissing(missing_from) => notes.push(format!(
                    "recovery point {} can't be used: log from {missing_from} to {} is missing",
                    point.id, point.lsn_stop
                )),
                Fit::TooLate | Fit::FallsShort(_) => {}
            }
        }
        match best {
            Some(best) => Ok(Choice { notes, ..best }),
            None => Err(self.why_not(&path, &on_path, &places)),
        }
    }

    /// Where the transaction or name is on this path, oldest first. Empty for other targets.
    fn places_on(&self, path: &Path) -> Result<Vec<Place>, Reason> {
        if !matches!(self.wanted.target, Target::Xid(_) | Target::Name(_)) {
            return Ok(Vec::new());
        }
        let mut places: Vec<Place> = self.known.places.iter().filter(|place| path.passes(place)).copied().collect();
        places.sort_by_key(|place| place.end);
        places.dedup_by_key(|place| place.end);
        match places.is_empty() {
            true => Err(Reason::NotInLog { timeline: path.history.timeline }),
            false => Ok(places),
        }
    }

    fn fit(&self, point: &PointSummary, path: &Path, places: &[Place]) -> Fit {
        if self.begins_after_target(point, places) {
            return Fit::TooLate;
        }
        let reach = path.reach(point.lsn_start);
        if reach.end < point.lsn_stop {
            return Fit::LogMissing(reach.end);
        }
        match self.stop(point, path, &reach, places) {
            Some((stop, needed_to)) => Fit::Reaches(reach, stop, needed_to),
            None => Fit::FallsShort(reach),
        }
    }

    fn begins_after_target(&self, point: &PointSummary, places: &[Place]) -> bool {
        match &self.wanted.target {
            Target::Latest | Target::Immediate => false,
            Target::Time(at) => point.stopped_at > *at,
            Target::Lsn(lsn) => point.lsn_stop > *lsn,
            Target::Xid(_) | Target::Name(_) => places.last().is_none_or(|place| point.lsn_stop >= place.end),
        }
    }

    /// Where to stop, and up to where log can be needed for it. None when the log ends before.
    fn stop(&self, point: &PointSummary, path: &Path, reach: &Reach, places: &[Place]) -> Option<(Stop, Lsn)> {
        let inclusive = self.wanted.inclusive;
        match &self.wanted.target {
            Target::Immediate => Some((Stop::Consistent, point.lsn_stop)),
            // Nothing ends the path here but the choice of timeline: without a stop, recovery would run on.
            Target::Latest if reach.is_cut => Some((Stop::Lsn { lsn: reach.end, inclusive: false }, reach.end)),
            Target::Latest if reach.is_refused => Some((exactly_at(reach.end, reach), reach.end)),
            Target::Latest => Some((Stop::EndOfLog, reach.end)),
            Target::Time(time) => match reach.last_at {
                Some(last) if last > *time || (last == *time && !inclusive) => {
                    Some((Stop::Time { time: *time, inclusive }, reach.end))
                }
                // Nothing ended since: that lasted until the last point at least, which is later than the target.
                _ => (self.known_to(path, reach, point) >= *time).then(|| (exactly_at(reach.end, reach), reach.end)),
            },
            Target::Lsn(lsn) if *lsn > reach.end => None,
            Target::Lsn(lsn)
                if reach.is_cut || reach.last_record.is_none_or(|last| *lsn <= last) && *lsn < reach.end =>
            {
                Some((Stop::Lsn { lsn: *lsn, inclusive: inclusive && *lsn < reach.end }, reach.end))
            }
            Target::Lsn(_) => Some((exactly_at(reach.end, reach), reach.end)),
            Target::Xid(xid) => {
                let named = Stop::Xid { xid: *xid, inclusive };
                self.stop_at_last_place(point, reach, places, named)
            }
            Target::Name(name) => self.stop_at_last_place(point, reach, places, Stop::Name { name: name.clone() }),
        }
    }

    /// Up to when everything is known to be in the log that is replayed: the last end of a transaction, or of a point. Never
    /// before the end of `point` itself, whose state can be had whatever else is missing.
    pub(super) fn known_to(&self, path: &Path, reach: &Reach, point: &PointSummary) -> Timestamp {
        self.logged_to(path, reach).map_or(point.stopped_at, |at| at.max(point.stopped_at))
    }

    fn logged_to(&self, path: &Path, reach: &Reach) -> Option<Timestamp> {
        let passed = self.points.iter().filter(|other| path.carries(other) && other.lsn_stop <= reach.end);
        passed.map(|other| other.complete_to).chain(reach.last_at).max()
    }

    /// By its name when PostgreSQL is known to meet no other of that name first, by its position otherwise.
    fn stop_at_last_place(
        &self,
        point: &PointSummary,
        reach: &Reach,
        places: &[Place],
        named: Stop,
    ) -> Option<(Stop, Lsn)> {
        let place = *places.last().filter(|place| place.end <= reach.end)?;
        let looked_at_all = self.known.places_from <= point.lsn_start;
        let is_first = places.iter().all(|other| other.end <= point.lsn_start || *other == place);
        let stop = match (named, place.start) {
            (named, _) if looked_at_all && is_first => named,
            (Stop::Xid { inclusive: false, .. }, Some(start)) => Stop::Lsn { lsn: start, inclusive: false },
            // Without its beginning it can't be left out: but then it was found by its number, and that will do.
            (named @ Stop::Xid { inclusive: false, .. }, None) => named,
            _ => exactly_at(place.end, reach),
        };
        Some((stop, place.end))
    }

    fn finish(&self, timeline: TimelineId, choice: Choice<'_>, line: Option<&Line>) -> RestorePlan {
        let Choice { point, reach, stop, needed_to, mut notes } = choice;
        let path = Path::to(timeline, self.coverage());
        let is_own = timeline == point.timeline;
        let lacks_history = timeline.0 > 1 && !self.coverage().has_history(timeline);
        let timeline_setting = if is_own && (stop == Stop::Consistent || lacks_history) {
            TimelineSetting::Current
        } else {
            TimelineSetting::Number(timeline)
        };
        let Wanted { target, restore_command, action, archives, location, zone, .. } = self.wanted;
        notes.extend(self.notes_on(timeline, &stop, &reach, line));
        notes.extend(self.note_on_instant(point, &path, &reach));
        let read_from = location.clone().or(point.locations.first().cloned()).unwrap_or_default();
        // A location that burned down never answers, and without an answer the log's end couldn't be told from a hole.
        let only_from = (location.is_some() || !self.known.silent.is_empty()).then_some(read_from.as_str());
        let ends_on = path.history.timeline_at(Lsn(reach.end.0.saturating_sub(1)));
        let command = restore_command.to_command_line(ends_on, only_from, reach.is_refused.then_some(reach.end));
        RestorePlan {
            workload: self.known.workload.clone(),
            system_id: point.system_id,
            point: point.id.clone(),
            point_stopped_at: point.stopped_at,
            point_complete_to: Some(point.complete_to),
            point_lsn_stop: point.lsn_stop,
            target: target.clone(),
            target_spoken: target.spoken(zone.as_ref()),
            settings: recovery_settings(&command, &stop, timeline_setting, *action, *archives),
            stop,
            timeline,
            timeline_setting,
            location: read_from,
            bytes: point.bytes,
            files: point.files,
            wal: path.legs(point.lsn_start, needed_to),
            archived_to: self.known_to(&path, &reach, point),
            notes,
        }
    }

    /// Asked for the very moment at which the point ended, without log from behind it.
    fn note_on_instant(&self, point: &PointSummary, path: &Path, reach: &Reach) -> Option<String> {
        let Target::Time(time) = self.wanted.target else { return None };
        let logged_to = self.logged_to(path, reach)?;
        (time == point.stopped_at && logged_to < time).then(|| {
            let unknown = time.duration_since(logged_to).as_millis().max(1);
            format!("transactions that ended in the last {unknown} ms before the target may be missing: their log is")
                + " behind the recovery point's, and was not archived"
        })
    }

    fn notes_on(&self, timeline: TimelineId, stop: &Stop, reach: &Reach, line: Option<&Line>) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.known.silent.is_empty() {
            let silent = self.known.silent.join(", ");
            notes.push(format!("{silent} didn't answer: what is only there is not counted"));
        }
        let is_exact = matches!(self.wanted.target, Target::Time(_) | Target::Lsn(_));
        if is_exact && *stop == Stop::EndOfLog {
            notes.push(
                "the target is the end of the log; log that arrives before recovery gets there is replayed, too".into(),
            );
        }
        for (branch, at) in line.iter().flat_map(|line| &line.branches) {
            notes.push(format!(
                "timeline {branch} branched off at {at} and isn't followed; `--timeline {branch}` would follow it"
            ));
        }
        if self.wanted.target == Target::Latest {
            let behind = self.coverage().runs_of(timeline).filter(|run| run.from > reach.end);
            if let Some(run) = behind.min_by_key(|run| run.from) {
                let (end, from) = (reach.end, run.from);
                notes
                    .push(format!("log from {end} to {from} is missing: what was archived behind it can't be reached"));
            }
            if *stop == Stop::EndOfLog && self.wanted.action != Action::Promote {
                notes.push("without a target PostgreSQL neither pauses nor shuts down: it becomes a primary".into());
            }
        }
        notes
    }
}

/// A stop such that all records up to `end` are replayed and none behind it, also when more log arrives meanwhile.
fn exactly_at(end: Lsn, reach: &Reach) -> Stop {
    match reach.last_record {
        _ if end < reach.end || reach.is_cut => Stop::Lsn { lsn: end, inclusive: false },
        Some(last) => Stop::Lsn { lsn: last, inclusive: true },
        None => Stop::EndOfLog,
    }
}
