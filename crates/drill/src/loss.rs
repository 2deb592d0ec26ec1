//! What would have been lost if production had been gone at one moment, told from its log: what had arrived in a location by then survives, and
//! what it had committed and flushed, but did not arrive, is counted when the log has arrived after all.
//!
//! Promise: what isn't known is never nought, and a loss is overstated rather than understated.
//!
//! Not here: asking production, reading locations. Whoever does both hands over what they saw.

use jiff::Timestamp;
use lifeboat_postgres::{Lsn, SystemId, TimelineId};
use serde::{Deserialize, Serialize};

/// So long the log up to the fault is waited for, in seconds: a receiver stores once a second, and whoever archives whole segments by the clock
/// usually waits a minute and more, for which nobody would sit here.
pub const ARRIVAL_SECONDS_MAX: u64 = 30;

/// One end of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Of which cluster.
    pub system_id: SystemId,
    /// On which timeline.
    pub timeline: TimelineId,
    /// Where.
    pub lsn: Lsn,
    /// In a location: the time of the last transaction there. At production: when it was asked. Both by production's clock.
    pub at: Timestamp,
}

/// Where the log of a workload ended when it was taken as lost.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ends {
    /// In its locations, on the line that a restore takes. Looked at first.
    pub archive: Option<End>,
    /// Why that isn't known.
    pub archive_unknown: Option<String>,
    /// What production had flushed, a moment later.
    pub production: Option<End>,
    /// Why that isn't known.
    pub production_unknown: Option<String>,
}

/// Which part of the log is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Every record that ends here or before survived.
    pub survived: Lsn,
    /// Every record that ends here or before was in a location at the fault.
    pub stored: Lsn,
    /// A record that begins before was there at the fault.
    pub until: Lsn,
}

/// Where the record of a commit lies in the log, and when it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its first byte.
    pub start: Lsn,
    /// Behind its last one.
    pub end: Lsn,
    /// By production's clock.
    pub at: Option<Timestamp>,
}

/// What was found in that part of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Up to where it was asked.
    pub until: Lsn,
    /// Whether all of the log up to there is in the locations by now. If not, nothing was counted.
    pub covered: bool,
    /// Transactions that did not survive.
    pub lost: u64,
    /// Of these, in a location at the fault.
    pub lost_of_stored: u64,
    /// When the last one that survived was committed, as far as was looked.
    pub survived_at: Option<Timestamp>,
}

/// What was lost of one workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// So much.
    Known {
        /// Transactions.
        lost: u64,
        /// From the last one that survived to the moment when production was asked; nought when none was lost.
        seconds: f64,
    },
    /// Nobody knows, and why.
    Unknown(String),
    /// The restored server lacks what was in a location: that is no loss of the fault, but a restore that failed.
    Incomplete {
        /// So many transactions that were in a location.
        lost_of_stored: u64,
        /// Where its recovery ended.
        restored: Lsn,
        /// Where the log in the locations ended.
        stored: Lsn,
        /// Of all that production had committed, where that is known.
        lost: Option<u64>,
        /// As for a known loss.
        seconds: Option<f64>,
    },
}

/// Counts. A record that lies across the end of what survived is lost: half a record brings nothing back.
pub fn count(commits: impl IntoIterator<Item = Committed>, bounds: Bounds) -> Counted {
    let mut counted = Counted { until: bounds.until, covered: true, lost: 0, lost_of_stored: 0, survived_at: None };
    for commit in commits.into_iter().filter(|commit| commit.start < bounds.until) {
        if commit.end <= bounds.survived {
            counted.survived_at = counted.survived_at.max(commit.at);
        } else {
            counted.lost += 1;
            counted.lost_of_stored += u64::from(commit.end <= bounds.stored);
        }
    }
    counted
}

impl Ends {
    /// What production had flushed, where that can be compared with what is in the locations.
    fn flushed(&self) -> Result<End, String> {
        let archive = self.archive.ok_or_else(|| {
            let why = self.archive_unknown.as_deref().unwrap_or("nothing was seen there");
            format!("where the log in the locations ended at the fault is not known: {why}")
        })?;
        let production = self.production.ok_or_else(|| {
            let why = self.production_unknown.as_deref().unwrap_or("it was not asked");
            format!("where production's own log ended at the fault is not known: {why}")
        })?;
        if (production.system_id, production.timeline) == (archive.system_id, archive.timeline) {
            return Ok(production);
        }
        let one = |end: End| format!("cluster {} on timeline {}", end.system_id, end.timeline);
        Err(format!("production was {} at the fault, the log in the locations of {}", one(production), one(archive)))
    }

    /// In one line.
    pub fn said(&self) -> String {
        let one = |end: Option<End>, why: &Option<String>| match (end, why) {
            (Some(end), _) => end.lsn.to_string(),
            (None, why) => format!("unknown ({})", why.as_deref().unwrap_or("nobody was asked")),
        };
        let archive = one(self.archive, &self.archive_unknown);
        let production = one(self.production, &self.production_unknown);
        format!("log in the locations to {archive}, at production to {production}")
    }

    /// Which part of the log must be counted when recovery ended there. None: nothing that was flushed can be missing, or nothing is known.
    pub fn bounds(&self, restored: Lsn) -> Option<Bounds> {
        let stored = self.archive?.lsn;
        // What came into a location after the fault doesn't count as survived, although the restored server has it.
        let survived = stored.min(restored);
        let until = self.flushed().map_or(stored, |production| production.lsn.max(stored));
        (until > survived).then_some(Bounds { survived, stored, until })
    }
}

/// Decides. `counted` is of the part that [`Ends::bounds`] named; or only up to what was in a location, when no more of it has arrived.
pub fn loss(ends: &Ends, restored: Lsn, counted: Option<&Counted>) -> Loss {
    let flushed = ends.flushed();
    let counted = counted.filter(|counted| counted.covered);
    let seconds = |since: Option<Timestamp>| {
        let asked_at = flushed.as_ref().ok()?.at;
        Some(asked_at.duration_since(since?).as_secs_f64().max(0.0))
    };
    if let (Some(counted), Some(stored)) = (counted.filter(|counted| counted.lost_of_stored > 0), ends.archive) {
        let is_all = flushed.as_ref().is_ok_and(|flushed| counted.until >= flushed.lsn);
        return Loss::Incomplete {
            lost_of_stored: counted.lost_of_stored,
            restored,
            stored: stored.lsn,
            lost: is_all.then_some(counted.lost),
            seconds: seconds(counted.survived_at).filter(|_| is_all),
        };
    }
    let flushed = match &flushed {
        Ok(flushed) => flushed,
        Err(why) => return Loss::Unknown(why.clone()),
    };
    let counted = match (ends.bounds(restored), counted) {
        (None, _) => return Loss::Known { lost: 0, seconds: 0.0 },
        (Some(_), Some(counted)) if counted.until >= flushed.lsn => counted,
        (Some(_), _) => {
            let why = format!("the log up to the fault had not arrived in a location after {ARRIVAL_SECONDS_MAX} s");
            return Loss::Unknown(why);
        }
    };
    match (counted.lost, seconds(ends.archive.map(|archive| archive.at))) {
        (0, _) => Loss::Known { lost: 0, seconds: 0.0 },
        (lost, Some(seconds)) => Loss::Known { lost, seconds },
        (_, None) => Loss::Unknown("when the last transaction in the locations was is not known".into()),
    }
}

impl Loss {
    /// Transactions, where that is known.
    pub fn lost(&self) -> Option<u64> {
        match self {
            Self::Known { lost, .. } => Some(*lost),
            Self::Incomplete { lost, .. } => *lost,
            Self::Unknown(_) => None,
        }
    }

    /// Seconds, where they are known.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Self::Known { seconds, .. } => Some(*seconds),
            Self::Incomplete { seconds, .. } => *seconds,
            Self::Unknown(_) => None,
        }
    }

    /// In one sentence.
    pub fn said(&self) -> String {
        let transactions = |count: u64| format!("{count} transaction{}", if count == 1 { "" } else { "s" });
        match self {
            Self::Known { lost: 0, .. } => "no transaction was lost".into(),
            Self::Known { lost, seconds } => {
                format!("{} lost: the last one that survived was {seconds:.1} s before the fault", transactions(*lost))
            }
            Self::Unknown(why) => format!("not measured: {why}"),
            Self::Incomplete { lost_of_stored, restored, stored, .. } => format!(
                "the restored server lacks {} that were in a location at the fault: its recovery ended at {restored}, the log there at {stored}",
                transactions(*lost_of_stored)
            ),
        }
    }
}

/// What was lost of several: of the seconds the most, of the transactions the sum; nothing as soon as one of them isn't known.
pub fn together<'a>(losses: impl IntoIterator<Item = Option<&'a Loss>>) -> (Option<f64>, Option<u64>) {
    let (mut most, mut sum, mut count) = (Some(0.0_f64), Some(0), 0);
    for loss in losses {
        count += 1;
        most = most.zip(loss.and_then(Loss::seconds)).map(|(most, seconds)| most.max(seconds));
        sum = sum.zip(loss.and_then(Loss::lost)).map(|(sum, lost)| sum + lost);
    }
    if count == 0 { (None, None) } else { (most, sum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(timeline: u32, lsn: u64, second: i64) -> End {
        let at = Timestamp::from_second(1_000 + second).unwrap();
        End { system_id: SystemId(7), timeline: TimelineId(timeline), lsn: Lsn(lsn), at }
    }

    fn commit(start: u64, end: u64) -> Committed {
        Committed { start: Lsn(start), end: Lsn(end), at: Timestamp::from_second(1_000 + start.cast_signed()).ok() }
    }

    fn ends(archive: u64, flushed: u64) -> Ends {
        Ends { archive: Some(end(1, archive, 100)), production: Some(end(1, flushed, 104)), ..Ends::default() }
    }

    /// What is said when everything is counted that must be.
    fn decided(ends: &Ends, restored: u64, commits: &[Committed], covered: bool) -> Loss {
        let counted = ends.bounds(Lsn(restored)).map(|bounds| Counted { covered, ..count(commits.to_vec(), bounds) });
        loss(ends, Lsn(restored), counted.as_ref())
    }

    #[test]
    fn what_had_not_arrived_is_lost_and_nothing_else() {
        let none = Loss::Known { lost: 0, seconds: 0.0 };
        let some = |lost| Loss::Known { lost, seconds: 4.0 };
        let between = [commit(90, 100), commit(110, 120), commit(120, 130)];
        for (what, archive, flushed, restored, commits, expected) in [
            ("all had arrived", 200, 200, 200, &between[..], none.clone()),
            ("more had arrived than was flushed a moment before", 200, 150, 200, &between, none.clone()),
            ("the tail had not", 100, 130, 100, &between, some(2)),
            ("it arrived later, and was replayed", 100, 130, 130, &between, some(2)),
            ("what was flushed after the question doesn't count", 100, 120, 130, &between, some(1)),
            ("nothing was committed in the tail", 130, 200, 130, &between, none.clone()),
            ("a record lies across the end of what survived", 125, 130, 125, &between, some(1)),
            ("a record lies across the end of what was flushed", 100, 125, 100, &between, some(2)),
            ("recovery ended earlier, and missed no commit", 125, 130, 120, &between, some(1)),
        ] {
            assert_eq!(decided(&ends(archive, flushed), restored, commits, true), expected, "{what}");
        }
    }

    #[test]
    fn a_restore_that_lacks_what_was_stored_failed() {
        let commits = [commit(90, 100), commit(110, 120), commit(120, 130), commit(130, 140)];
        let lacking =
            |lost, seconds| Loss::Incomplete { lost_of_stored: 2, restored: Lsn(100), stored: Lsn(130), lost, seconds };
        // The last one that survived was at 1090, production was asked at 1104.
        assert_eq!(decided(&ends(130, 140), 100, &commits, true), lacking(Some(3), Some(14.0)));
        assert_eq!(decided(&ends(130, 140), 110, &commits, true).lost(), Some(3));
        // Also when nobody knows what else was lost: production was away, or its log never came.
        let away = Ends { production: None, production_unknown: Some("nobody answers".into()), ..ends(130, 0) };
        assert_eq!(decided(&away, 100, &commits, true), lacking(None, None));
        let bounds = Bounds { survived: Lsn(100), stored: Lsn(130), until: Lsn(130) };
        let up_to_stored = count(commits, bounds);
        assert_eq!(loss(&ends(130, 140), Lsn(100), Some(&up_to_stored)), lacking(None, None));
    }

    #[test]
    fn what_is_not_known_is_not_nought() {
        let commits = [commit(110, 120)];
        let lost = |ends: &Ends, covered| match decided(ends, 100, &commits, covered) {
            Loss::Unknown(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(lost(&ends(100, 130), false).contains("had not arrived in a location after 30 s"));
        let away = Ends { production: None, production_unknown: Some("nobody answers".into()), ..ends(100, 0) };
        assert!(lost(&away, true).contains("nobody answers"), "although nothing is missing of what is stored");
        let unseen = Ends { archive: None, archive_unknown: Some("no point".into()), ..ends(0, 130) };
        assert!(lost(&unseen, true).contains("no point"));
        let promoted = Ends { production: Some(end(2, 130, 104)), ..ends(100, 0) };
        assert!(lost(&promoted, true).contains("on timeline 2"));
        // What was counted up to the end of the locations says nothing of what is behind it.
        let bounds = Bounds { survived: Lsn(90), stored: Lsn(100), until: Lsn(100) };
        let short = loss(&ends(100, 130), Lsn(90), Some(&count(commits, bounds)));
        assert!(matches!(short, Loss::Unknown(_)), "{short:?}");
    }

    #[test]
    fn of_several_the_most_and_the_sum() {
        let known = |lost, seconds| Loss::Known { lost, seconds };
        let (one, two, unknown) = (known(1, 2.0), known(3, 1.0), Loss::Unknown("why".into()));
        assert_eq!(together([Some(&one), Some(&two)]), (Some(2.0), Some(4)));
        assert_eq!(together([Some(&one), Some(&unknown)]), (None, None));
        assert_eq!(together([Some(&one), None]), (None, None), "one that was not asked yet");
        assert_eq!(together([]), (None, None));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_loss() {
        let ends = Ends { production: Some(end(1, 130, 90)), ..ends(100, 0) };
        assert_eq!(decided(&ends, 100, &[commit(110, 120)], true), Loss::Known { lost: 1, seconds: 0.0 });
    }
}
