//! Which recovery points are kept, and why.
//!
//! The policy is the one that people know: the last ones, and the newest of each hour, day, week, month and year, as many as
//! asked for. Beyond it, some points are never given up, whatever the policy says:
//!
//! - the newest good one, and the newest that passed a test restore;
//! - whatever is younger than [`YOUNG`]. Nor does a young point push an older one out of `last`: somebody who writes a
//!   hundred points in a minute gains nothing before a day has passed, and the clocks decide the rest;
//! - a point whose time nobody else can confirm (a store says that it arrived much later than it claims, or it claims to come
//!   from the future) is judged among its like. It can't take the place of one that is confirmed.
//!
//! A damaged point doesn't take the place of a good one either; where all are damaged, they are kept as if they weren't.

use jiff::civil::ISOWeekDate;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Nothing younger is given up, or pushes anything out.
pub const YOUNG: SignedDuration = SignedDuration::from_hours(24);
/// How much later than it claims a point may arrive in a store, and still be believed. A backup of some hours is finished
/// when it arrives; clocks differ.
pub const BELIEVED: SignedDuration = SignedDuration::from_hours(24);

/// How many recovery points are kept, of each span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Keep {
    /// The newest ones.
    pub last: u64,
    /// The newest of each of so many hours that have one; the others likewise.
    pub hourly: u64,
    /// Days.
    pub daily: u64,
    /// Weeks, from Monday.
    pub weekly: u64,
    /// Months.
    pub monthly: u64,
    /// Years.
    pub yearly: u64,
    /// Everything younger than this.
    pub within: Option<SignedDuration>,
    /// Every moment of so long a time stays reachable: the log from then on is kept, and the point that it continues.
    pub window: Option<SignedDuration>,
}

/// A recovery point, as far as keeping it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub id: String,
    /// When it says it was finished.
    pub finished_at: Timestamp,
    /// The earliest time at which a store says that it arrived, by the store's clock. None when no store tells.
    pub arrived_at: Option<Timestamp>,
    /// Whole somewhere, without damaged pages, and no verification said otherwise.
    pub is_good: bool,
    /// It passed a test restore.
    pub is_proven: bool,
    /// Who still reads from it: `by db2:/srv/restored until 2026-12-22`.
    pub held: Vec<String>,
}

/// Why a point is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No policy: everything is kept.
    NoPolicy,
    /// Younger than [`YOUNG`].
    Young,
    /// Claims to come from the future.
    Future,
    /// One of the last.
    Last(u64),
    /// The newest of an hour.
    Hour(String),
    /// The newest of a day.
    Day(String),
    /// The newest of a week.
    Week(String),
    /// The newest of a month.
    Month(String),
    /// The newest of a year.
    Year(String),
    /// Young enough for `within`.
    Within,
    /// The window begins with it.
    Window,
    /// The newest good one.
    LastGood,
    /// The newest that passed a test restore.
    LastProven,
    /// Somebody still reads from it.
    Held(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPolicy => f.write_str("no policy"),
            Self::Young => f.write_str("younger than a day"),
            Self::Future => f.write_str("from the future"),
            Self::Last(number) => write!(f, "last {number}"),
            Self::Hour(span) | Self::Day(span) | Self::Week(span) | Self::Month(span) | Self::Year(span) => {
                write!(f, "newest of {span}")
            }
            Self::Within => f.write_str("within"),
            Self::Window => f.write_str("the window begins with it"),
            Self::LastGood => f.write_str("newest good one"),
            Self::LastProven => f.write_str("newest that passed a test restore"),
            Self::Held(whom) => write!(f, "held {whom}"),
        }
    }
}

/// What becomes of a point.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Its name.
    pub id: String,
    /// Why it is kept; nothing when it goes.
    pub kept: Vec<Reason>,
}

impl Verdict {
    /// Whether it stays.
    pub fn is_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether the policy would give it up.
    pub fn is_only_held(&self) -> bool {
        self.is_kept() && self.kept.iter().all(|reason| matches!(reason, Reason::Held(_)))
    }
}

/// Judges the points of one workload, in the order given. Days begin where they begin in `zone`.
pub fn judge(points: &[Candidate], keep: Option<&Keep>, now: Timestamp, zone: &TimeZone) -> Vec<Verdict> {
    // What is held takes nobody's place, and is in nobody's way.
    let held = |point: &Candidate| point.held.iter().cloned().map(Reason::Held).collect();
    let mut kept: Vec<BTreeSet<Reason>> = points.iter().map(held).collect();
    let Some(keep) = keep else {
        kept.iter_mut().for_each(|kept| _ = kept.insert(Reason::NoPolicy));
        return verdicts(points, kept);
    };
    // Where none is good, a damaged one is what there is: it must not go because it is damaged.
    let none_is_good = !points.iter().any(|point| point.is_good);
    let points: Vec<Candidate> =
        points.iter().map(|point| Candidate { is_good: point.is_good || none_is_good, ..point.clone() }).collect();
    let mut newest_first: Vec<usize> = (0..points.len()).collect();
    newest_first
        .sort_by(|a, b| (points[*b].finished_at, &points[*b].id).cmp(&(points[*a].finished_at, &points[*a].id)));
    let (believed, others): (Vec<usize>, Vec<usize>) =
        newest_first.iter().partition(|number| is_believed(&points[**number], now));
    for among in [&believed, &others] {
        by_policy(&points, among, keep, now, zone, &mut kept);
        protect(&points, among, &mut kept);
    }
    verdicts(&points, kept)
}

fn verdicts(points: &[Candidate], kept: Vec<BTreeSet<Reason>>) -> Vec<Verdict> {
    let of = |(point, kept): (&Candidate, BTreeSet<Reason>)| Verdict {
        id: point.id.clone(),
        kept: kept.into_iter().collect(),
    };
    points.iter().zip(kept).map(of).collect()
}

fn is_believed(point: &Candidate, now: Timestamp) -> bool {
    point.finished_at <= now && point.arrived_at.is_none_or(|at| at.duration_since(point.finished_at) <= BELIEVED)
}

/// `among`: numbers of points, newest first.
fn by_policy(
    points: &[Candidate],
    among: &[usize],
    keep: &Keep,
    now: Timestamp,
    zone: &TimeZone,
    kept: &mut [BTreeSet<Reason>],
) {
    let mut last = 0;
    for &number in among {
        let age = now.duration_since(points[number].finished_at);
        if age < SignedDuration::ZERO {
            kept[number].insert(Reason::Future);
        } else if age < YOUNG {
            kept[number].insert(Reason::Young);
        } else if last < keep.last && points[number].is_good {
            last += 1;
            kept[number].insert(Reason::Last(last));
        }
        if keep.within.is_some_and(|within| age <= within) {
            kept[number].insert(Reason::Within);
        }
    }
    type Span = (u64, fn(&Zoned) -> String, fn(String) -> Reason);
    let spans: [Span; 5] = [
        (keep.hourly, |time| time.strftime("%Y-%m-%d %H:00").to_string(), Reason::Hour),
        (keep.daily, |time| time.strftime("%Y-%m-%d").to_string(), Reason::Day),
        (keep.weekly, week, Reason::Week),
        (keep.monthly, |time| time.strftime("%Y-%m").to_string(), Reason::Month),
        (keep.yearly, |time| time.strftime("%Y").to_string(), Reason::Year),
    ];
    for (count, name, reason) in spans {
        for (number, span) in newest_of_each(points, among, count, |time| name(&time.to_zoned(zone.clone()))) {
            kept[number].insert(reason(span));
        }
    }
    if let Some(window) = keep.window {
        // The log continues the newest good point from before the window; without one, the oldest there is.
        let begins = |number: &&usize| now.duration_since(points[**number].finished_at) >= window;
        let good: Vec<&usize> = among.iter().filter(|number| points[**number].is_good).collect();
        if let Some(&base) = good.iter().copied().find(begins).or(good.last().copied()) {
            kept[base].insert(Reason::Window);
        }
    }
}

fn week(time: &Zoned) -> String {
    let week: ISOWeekDate = time.date().iso_week_date();
    format!("{}-W{:02}", week.year(), week.week())
}

/// The newest good point of each of the newest `count` spans, or the newest where none is good.
fn newest_of_each(
    points: &[Candidate],
    among: &[usize],
    count: u64,
    name: impl Fn(Timestamp) -> String,
) -> Vec<(usize, String)> {
    let mut chosen: Vec<(usize, String)> = Vec::new();
    for &number in among {
        let span = name(points[number].finished_at);
        let is_full = chosen.len() as u64 == count;
        match chosen.last_mut() {
            Some((best, known)) if *known == span => {
                if points[number].is_good && !points[*best].is_good {
                    *best = number;
                }
            }
            _ if is_full => break,
            _ => chosen.push((number, span)),
        }
    }
    chosen
}

/// What is never given up.
fn protect(points: &[Candidate], among: &[usize], kept: &mut [BTreeSet<Reason>]) {
    let newest = |is: fn(&Candidate) -> bool| among.iter().copied().find(|number| is(&points[*number]));
    if let Some(number) = newest(|point| point.is_good) {
        kept[number].insert(Reason::LastGood);
    }
    if let Some(number) = newest(|point| point.is_good && point.is_proven) {
        kept[number].insert(Reason::LastProven);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: i64 = 1_790_000_000;
    const HOUR: i64 = 3600;
    const DAY: i64 = 24 * HOUR;

    fn now() -> Timestamp {
        Timestamp::from_second(NOW).unwrap()
    }

    fn aged(seconds: i64) -> Candidate {
        let finished_at = Timestamp::from_second(NOW - seconds).unwrap();
        Candidate {
            id: format!("{seconds}"),
            finished_at,
            arrived_at: Some(finished_at),
            is_good: true,
            is_proven: false,
            held: Vec::new(),
        }
    }

    fn nightly(nights: i64) -> Vec<Candidate> {
        (0..nights).map(|night| aged(night * DAY + 3 * HOUR)).collect()
    }

    fn kept(points: &[Candidate], keep: Keep) -> Vec<String> {
        let verdicts = judge(points, Some(&keep), now(), &TimeZone::UTC);
        verdicts.into_iter().filter(Verdict::is_kept).map(|verdict| verdict.id).collect()
    }

    fn days(ids: &[String]) -> Vec<i64> {
        ids.iter().map(|id| id.parse::<i64>().unwrap() / DAY).collect()
    }

    #[test]
    fn the_policy_that_people_know() {
        let points = nightly(400);
        assert_eq!(days(&kept(&points, Keep { last: 3, ..Keep::default() })), [0, 1, 2, 3]);
        assert_eq!(days(&kept(&points, Keep { daily: 3, ..Keep::default() })), [0, 1, 2]);
        // 2026-09-21 is a Monday.
        assert_eq!(days(&kept(&points, Keep { weekly: 3, ..Keep::default() })), [0, 1, 8]);
        assert_eq!(days(&kept(&points, Keep { monthly: 3, ..Keep::default() })), [0, 21, 52]);
        assert_eq!(days(&kept(&points, Keep { yearly: 5, ..Keep::default() })), [0, 264]);
        let within = Some(SignedDuration::from_hours(49));
        assert_eq!(days(&kept(&points, Keep { within, ..Keep::default() })), [0, 1]);
        assert_eq!(kept(&points, Keep::default()).len(), 1, "what is young, and good, is kept even so");
        assert!(judge(&points, None, now(), &TimeZone::UTC).iter().all(Verdict::is_kept));
    }

    #[test]
    fn a_window_keeps_the_point_it_begins_with() {
        let window = Some(SignedDuration::from_hours(10 * 24));
        let points = nightly(30);
        assert_eq!(days(&kept(&points, Keep { last: 2, window, ..Keep::default() })), [0, 1, 2, 10]);
        assert_eq!(days(&kept(&points[..5], Keep { last: 2, window, ..Keep::default() })), [0, 1, 2, 4]);
    }

    #[test]
    fn what_is_held_stays_and_takes_nobodys_place() {
        let mut points = nightly(30);
        points[20].held = vec!["by db2:/srv until 2026-12-22".into()];
        points[1].held = points[20].held.clone();
        let keep = Keep { last: 3, ..Keep::default() };
        assert_eq!(days(&kept(&points, keep)), [0, 1, 2, 3, 20]);
        let verdicts = judge(&points, Some(&keep), now(), &TimeZone::UTC);
        let only_held: Vec<usize> = (0..30).filter(|number| verdicts[*number].is_only_held()).collect();
        assert_eq!(only_held, [20]);
        assert_eq!(verdicts[20].kept[0].to_string(), "held by db2:/srv until 2026-12-22");
        assert!(judge(&points, None, now(), &TimeZone::UTC).iter().all(|verdict| !verdict.is_only_held()));
    }

    #[test]
    fn what_is_damaged_takes_nobodys_place() {
        let mut points = nightly(6);
        points[1].is_good = false;
        points[2].is_good = false;
        let all = kept(&points, Keep { last: 1, ..Keep::default() });
        assert_eq!(days(&all), [0, 3], "the newest good one older than a day");
        points.push(Candidate { is_good: false, ..aged(3 * DAY) });
        points[3].is_proven = true;
        let daily = judge(&points, Some(&Keep { daily: 4, ..Keep::default() }), now(), &TimeZone::UTC);
        assert!(daily[3].kept.iter().any(|reason| matches!(reason, Reason::Day(_))), "{daily:?}");
        assert!(!daily[6].is_kept(), "{daily:?}");
        points.iter_mut().take(3).for_each(|point| point.is_good = false);
        assert!(kept(&points, Keep { daily: 1, ..Keep::default() }).contains(&points[3].id), "the newest good one");
    }

    #[test]
    fn where_all_are_damaged_the_policy_holds_all_the_same() {
        let damaged: Vec<Candidate> =
            nightly(30).into_iter().map(|point| Candidate { is_good: false, ..point }).collect();
        let keep = Keep { last: 3, monthly: 2, ..Keep::default() };
        assert_eq!(kept(&damaged, keep), kept(&nightly(30), keep));
    }

    /// Somebody with the right to write makes points that look new, old, or come from the future.
    #[test]
    fn a_flood_pushes_nothing_out() {
        let keep = Keep { last: 3, daily: 7, weekly: 4, monthly: 6, ..Keep::default() };
        let honest = nightly(200);
        let before: BTreeSet<String> = kept(&honest, keep).into_iter().collect();
        let mut points = honest.clone();
        for number in 0..500 {
            // Made now; the stores say so, whatever the points say.
            let arrived_at = Some(now());
            points.push(Candidate { id: format!("new {number}"), arrived_at, is_proven: true, ..aged(number) });
            points.push(Candidate {
                id: format!("old {number}"),
                arrived_at,
                is_proven: true,
                ..aged(DAY * 2 + number * HOUR)
            });
            points.push(Candidate { id: format!("future {number}"), arrived_at, ..aged(-number * DAY - 60) });
        }
        let after: BTreeSet<String> = kept(&points, keep).into_iter().collect();
        // Today's place can go to one that was made today; the point itself is young and stays.
        let lost: Vec<&String> = before.difference(&after).collect();
        assert_eq!(lost, Vec::<&String>::new());
    }

    #[test]
    fn a_copy_to_a_new_store_is_thinned_like_the_original() {
        let copied: Vec<Candidate> =
            nightly(100).into_iter().map(|point| Candidate { arrived_at: Some(now()), ..point }).collect();
        let keep = Keep { daily: 7, monthly: 3, ..Keep::default() };
        let original = days(&kept(&nightly(100), keep));
        let copy = days(&kept(&copied, keep));
        // The youngest is believed, and counts apart: one more day stays.
        assert_eq!(original, [0, 1, 2, 3, 4, 5, 6, 21, 52]);
        assert_eq!(copy, [0, 1, 2, 3, 4, 5, 6, 7, 21, 52]);
    }

    proptest! {
        #[test]
        fn something_good_always_stays(
            ages in prop::collection::vec((-10 * DAY..800 * DAY, any::<bool>(), any::<bool>(), 0i64..3 * DAY), 0..60),
            counts in prop::array::uniform6(0u64..4),
        ) {
            let points: Vec<Candidate> = ages.iter().enumerate().map(|(number, (age, is_good, is_proven, late))| {
                let point = aged(*age);
                let arrived_at = point.finished_at + SignedDuration::from_secs(*late);
                Candidate { id: number.to_string(), is_good: *is_good, is_proven: *is_proven, arrived_at: Some(arrived_at), ..point }
            }).collect();
            let [last, hourly, daily, weekly, monthly, yearly] = counts;
            let keep = Keep { last, hourly, daily, weekly, monthly, yearly, within: None, window: None };
            let verdicts = judge(&points, Some(&keep), now(), &TimeZone::UTC);
            let stays = |is: fn(&Candidate) -> bool| {
                let wanted: Vec<usize> = (0..points.len()).filter(|number| is(&points[*number])).collect();
                wanted.is_empty() || wanted.iter().any(|number| verdicts[*number].is_kept())
            };
            prop_assert!(stays(|_| true), "nothing is left");
            prop_assert!(stays(|point| point.is_good));
            prop_assert!(stays(|point| point.is_good && point.is_proven));
            for (point, verdict) in points.iter().zip(&verdicts) {
                let age = now().duration_since(point.finished_at);
                prop_assert!(age >= YOUNG || verdict.is_kept(), "young: {:?}", point);
            }
            // Judging again what was kept gives up nothing more.
            let rest: Vec<Candidate> =
                points.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_kept()).map(|(point, _)| point.clone()).collect();
            prop_assert!(judge(&rest, Some(&keep), now(), &TimeZone::UTC).iter().all(Verdict::is_kept));
        }
    }
}
