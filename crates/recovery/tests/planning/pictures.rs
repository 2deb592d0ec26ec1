//! One archive, many questions.

use crate::archive::*;
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_recovery::{Known, Run, Target, TimelineChoice, Wanted, plan, unusable, windows};

fn check(known: &Known, cases: &[(Wanted, &str)]) {
    for (wanted, expected) in cases {
        let asked = (&wanted.target, wanted.inclusive, wanted.timeline, &wanted.point, &wanted.location);
        assert_eq!(outcome(known, wanted), *expected, "{asked:?}");
    }
}

fn told(known: &Known) -> Vec<String> {
    let told = known.logs.iter().flat_map(|log| windows(&known.points, log));
    told.map(|window| window.to_string().replace("2026-11-21 ", "")).collect()
}

/// One timeline, two points, log without a hole from 10 to 100.
///
/// ```text
/// log    10 ============================================= 100
/// point      a 20-30            b 50-60
/// minute       10                 40                       90
/// ```
fn straight() -> Known {
    let points = vec![point("b", 1, 50, 60, 40), point("a", 1, 20, 30, 10)];
    known(points, vec![run(1, 10, 100, &[(30, 9), (60, 38), (80, 70), (100, 90)])], vec![])
}

#[test]
fn on_a_straight_line() {
    check(
        &straight(),
        &[
            (wanted(Target::Latest), "b on 1: at the end of the log"),
            (wanted(Target::Immediate), "b on 1: as soon as the recovery point is consistent"),
            (wanted(Target::Immediate).point("a"), "a on 1: as soon as the recovery point is consistent"),
            (wanted(Target::Latest).point("a"), "a on 1: at the end of the log"),
            (at(39), "a on 1: before the first transaction that ended after 00:39:00Z"),
            (at(40), "b on 1: before the first transaction that ended after 00:40:00Z"),
            (at(10), "a on 1: before the first transaction that ended after 00:10:00Z"),
            (at(89).exclusive(), "b on 1: before the first transaction that ended at 01:29:00Z or after"),
            (at(60).point("a"), "a on 1: before the first transaction that ended after 01:00:00Z"),
            // Nothing ended later than that, so PostgreSQL would find nothing to stop at.
            (at(90), "b on 1: after the first record at 0/63 or later"),
            (at(90).exclusive(), "b on 1: before the first transaction that ended at 01:30:00Z or after"),
            (at(91), "no: the last moment that is archived is 01:30:00Z (0/64)"),
            (at(9), "no: the oldest recovery point is consistent only at 00:10:00Z (0/1E)"),
            (at(39).point("b"), "no: recovery point b is consistent only at 00:40:00Z (0/3C); a would do"),
            (at(9).point("b"), "no: recovery point b is consistent only at 00:40:00Z (0/3C)"),
            (lsn(59), "a on 1: after the first record at 0/3B or later"),
            (lsn(60), "b on 1: after the first record at 0/3C or later"),
            (lsn(60).exclusive(), "b on 1: before the first record at 0/3C or later"),
            (lsn(30), "a on 1: after the first record at 0/1E or later"),
            (lsn(99), "b on 1: after the first record at 0/63 or later"),
            (lsn(100), "b on 1: after the first record at 0/63 or later"),
            (lsn(100).exclusive(), "b on 1: after the first record at 0/63 or later"),
            (lsn(101), "no: the last moment that is archived is 01:30:00Z (0/64)"),
            (lsn(29), "no: the oldest recovery point is consistent only at 00:10:00Z (0/1E)"),
            (lsn(59).point("b"), "no: recovery point b is consistent only at 00:40:00Z (0/3C); a would do"),
            (wanted(Target::Latest).point("c"), "no: there is no recovery point c"),
            (wanted(Target::Latest).timeline(2), "no: there is no timeline 2 (there is 1)"),
            (wanted(Target::Latest).timeline(1), "b on 1: at the end of the log"),
            (wanted(Target::Xid(800)), "no: no such record is in the log that is archived on timeline 1"),
        ],
    );
    assert_eq!(told(&straight()), ["timeline 1: 00:10:00Z to 01:30:00Z (0/1E to 0/64)"]);
}

#[test]
fn transactions_and_names_are_looked_up() {
    let one = with_places(straight(), &[(1, 55)]);
    let twice = with_places(straight(), &[(1, 40), (1, 70)]);
    let before_all = with_places(straight(), &[(1, 25)]);
    let in_backup = with_places(straight(), &[(1, 55), (1, 70)]);
    let mut unsure = with_places(straight(), &[(1, 70)]);
    unsure.places_from = lifeboat_postgres::Lsn(60);
    let at_end = with_places(straight(), &[(1, 40), (1, 100)]);
    let name = || wanted(Target::Name("deploy".into()));
    let xid = || wanted(Target::Xid(800));
    check(
        &one,
        &[
            (xid(), "a on 1: after the end of transaction 800"),
            (xid().exclusive(), "a on 1: before the end of transaction 800"),
            (name(), "a on 1: at the restore point \"deploy\""),
            (name().point("b"), "no: recovery point b is consistent only at 00:40:00Z (0/3C); a would do"),
        ],
    );
    check(
        &twice,
        &[
            (name(), "b on 1: at the restore point \"deploy\""),
            // From a, PostgreSQL would meet the older one first.
            (name().point("a"), "a on 1: before the first record at 0/46 or later"),
        ],
    );
    // What lies between b's start and 60 was not looked at.
    check(
        &unsure,
        &[
            (name(), "b on 1: before the first record at 0/46 or later"),
            (xid(), "b on 1: before the first record at 0/46 or later"),
            (xid().exclusive(), "b on 1: before the first record at 0/44 or later"),
        ],
    );
    check(&before_all, &[(name(), "no: the oldest recovery point is consistent only at 00:10:00Z (0/1E)")]);
    check(&in_backup, &[(name(), "b on 1: before the first record at 0/46 or later")]);
    check(&at_end, &[(name().point("a"), "a on 1: after the first record at 0/63 or later")]);
}

/// ```text
/// log    10 ======== 40      50 ==================== 100
/// point      a 20-30             b 60-70
/// minute       10     20           40                 90
/// ```
fn with_a_gap() -> Known {
    let runs = vec![run(1, 10, 40, &[(40, 20)]), run(1, 50, 100, &[(70, 39), (100, 90)])];
    known(vec![point("a", 1, 20, 30, 10), point("b", 1, 60, 70, 40)], runs, vec![])
}

#[test]
fn a_hole_ends_a_window() {
    let gap = "no: log is missing after 00:20:00Z (0/28), and the next recovery point is of 00:40:00Z (0/46)";
    check(
        &with_a_gap(),
        &[
            (at(30), gap),
            (lsn(45), gap),
            (lsn(65), gap),
            (at(20), "a on 1: after the first record at 0/27 or later"),
            (lsn(40), "a on 1: after the first record at 0/27 or later"),
            (at(15), "a on 1: before the first transaction that ended after 00:15:00Z"),
            (at(45), "b on 1: before the first transaction that ended after 00:45:00Z"),
            (wanted(Target::Latest), "b on 1: at the end of the log"),
            (at(45).point("a"), "no: from recovery point a the log leads only to 00:20:00Z (0/28); b would do"),
            (wanted(Target::Immediate).point("a"), "a on 1: as soon as the recovery point is consistent"),
        ],
    );
    let windows =
        ["timeline 1: 00:10:00Z to 00:20:00Z (0/1E to 0/28)", "timeline 1: 00:40:00Z to 01:30:00Z (0/46 to 0/64)"];
    assert_eq!(told(&with_a_gap()), windows);
    let latest = plan(&with_a_gap(), &wanted(Target::Latest).point("a")).unwrap();
    assert_eq!(latest.notes, ["log from 0/28 to 0/32 is missing: what was archived behind it can't be reached"]);
}

#[test]
fn a_point_without_its_log_is_passed_over() {
    let runs = vec![run(1, 10, 55, &[(55, 30)])];
    let known = known(vec![point("a", 1, 20, 30, 10), point("b", 1, 50, 60, 40)], runs, vec![]);
    check(
        &known,
        &[
            (wanted(Target::Immediate), "a on 1: as soon as the recovery point is consistent"),
            (wanted(Target::Latest), "a on 1: at the end of the log"),
            (at(35), "no: the last moment that is archived is 00:30:00Z (0/37)"),
            (
                wanted(Target::Latest).point("b"),
                "no: recovery point b needs log up to 0/3C, and what is there ends at 0/37",
            ),
            (
                wanted(Target::Immediate).point("b"),
                "no: recovery point b needs log up to 0/3C, and what is there ends at 0/37",
            ),
        ],
    );
    let unusable = unusable(&known.points, &known.logs[0]);
    assert_eq!(unusable.iter().map(|u| u.point.0.as_str()).collect::<Vec<_>>(), ["b"]);
    let notes = plan(&known, &wanted(Target::Latest)).unwrap().notes;
    assert_eq!(notes, ["recovery point b can't be used: log from 0/37 to 0/3C is missing"]);
}

#[test]
fn nothing_at_all() {
    let mut none = known(vec![], vec![run(1, 10, 100, &[])], vec![]);
    check(&none, &[(wanted(Target::Latest), "no: there is no recovery point in any location")]);
    none.points.push(point("a", 1, 20, 30, 10));
    none.logs.clear();
    let missing = "no: recovery point a needs log up to 0/1E, and what is there ends at 0/14";
    check(&none, &[(wanted(Target::Latest), missing), (at(50), missing)]);
}

#[test]
fn locations_must_have_the_point() {
    let mut known = straight();
    known.points[0].locations = vec!["near".into()];
    known.points[1].locations = vec!["far".into()];
    let from = |location: &str, wanted: Wanted| Wanted { location: Some(location.into()), ..wanted };
    check(
        &known,
        &[
            (from("far", wanted(Target::Immediate)), "a on 1: as soon as the recovery point is consistent"),
            (from("near", wanted(Target::Immediate)), "b on 1: as soon as the recovery point is consistent"),
            (from("far", wanted(Target::Latest)).point("b"), "no: recovery point b is not complete in location far"),
            (from("moon", wanted(Target::Latest)), "no: there is no recovery point in location moon"),
        ],
    );
    known.points[0].locations.clear();
    check(
        &known,
        &[
            (wanted(Target::Immediate), "a on 1: as soon as the recovery point is consistent"),
            (wanted(Target::Latest).point("b"), "no: recovery point b is not complete in any location"),
        ],
    );
    assert_eq!(plan(&known, &wanted(Target::Latest)).unwrap().location, "far");

    // With a location that burned down, the end of the log could never be told: the others are taken at their word.
    let command = |known: &Known, wanted: &Wanted| {
        let settings = plan(known, wanted).unwrap().settings;
        settings.into_iter().find(|setting| setting.name == "restore_command").unwrap().value
    };
    assert!(command(&known, &wanted(Target::Latest)).ends_with(" --workload shop --incomplete-of 1"));
    assert!(command(&known, &from("far", wanted(Target::Latest))).ends_with(" --incomplete-of 1 --from far"));
    known.silent = vec!["near".into()];
    assert!(command(&known, &wanted(Target::Latest)).ends_with(" --incomplete-of 1 --from far"));
    let notes = plan(&known, &wanted(Target::Latest)).unwrap().notes;
    assert_eq!(notes, ["near didn't answer: what is only there is not counted"]);
}

/// A failover without loss, and nothing backed up since.
///
/// ```text
/// 1   10 ============ 50
/// 2             45 ---50 ============ 100
/// point   a 20-30
/// ```
fn after_a_failover() -> Known {
    let runs = vec![run(1, 10, 50, &[(40, 20), (50, 30)]), run(2, 45, 100, &[(55, 35), (100, 90)])];
    known(vec![point("a", 1, 20, 30, 10)], runs, vec![history(2, &[(1, 50)])])
}

#[test]
fn the_heir_of_a_timeline_that_ended_is_followed() {
    check(
        &after_a_failover(),
        &[
            (wanted(Target::Latest), "a on 2: at the end of the log"),
            (at(60), "a on 2: before the first transaction that ended after 01:00:00Z"),
            (at(15), "a on 2: before the first transaction that ended after 00:15:00Z"),
            (wanted(Target::Latest).timeline(1), "a on 1: at the end of the log"),
            (at(60).timeline(1), "no: the last moment that is archived is 00:30:00Z (0/32)"),
        ],
    );
    assert_eq!(told(&after_a_failover()), ["timeline 2: 00:10:00Z to 01:30:00Z (0/1E to 0/64)"]);

    // The old primary's last segment was never finished: its child's first one repeats it.
    let mut unfinished = after_a_failover();
    unfinished.logs[0].runs[0] = run(1, 10, 45, &[(40, 20)]);
    check(&unfinished, &[(wanted(Target::Latest), "a on 2: at the end of the log")]);
    unfinished.logs[0].runs[1].from = lifeboat_postgres::Lsn(46);
    check(&unfinished, &[(at(60), "no: the last moment that is archived is 00:20:00Z (0/2D)")]);

    // What the old primary did alone before it was stopped doesn't make it the main line.
    let mut tail = after_a_failover();
    tail.logs[0].runs[0] = run(1, 10, 58, &[(40, 20), (58, 31)]);
    check(
        &tail,
        &[
            (wanted(Target::Latest), "a on 2: at the end of the log"),
            (wanted(Target::Latest).timeline(1), "a on 1: at the end of the log"),
        ],
    );
    assert_eq!(told(&tail).len(), 2);
}

/// Two takeovers within a segment: the first child had time to archive nothing, the parent's own last segment neither. The grandchild's first
/// segment has all of it, and the end of the record that began in the segment before.
///
/// ```text
/// 1   10 ======= 37-40
/// 3              40 --43--45 ============ 100
/// point   a 20-30
/// ```
#[test]
fn a_record_that_begins_with_the_parent_may_end_with_the_grandchild() {
    let parent = Run { bytes_to: Lsn(40), ..run(1, 10, 37, &[(30, 9), (37, 20)]) };
    let histories = || vec![history(2, &[(1, 43)]), history(3, &[(1, 43), (2, 45)])];
    let point = || vec![point("a", 1, 20, 30, 10)];
    let whole = known(point(), vec![parent.clone(), run(3, 40, 100, &[(100, 90)])], histories());
    check(
        &whole,
        &[
            (wanted(Target::Latest).timeline(3), "a on 3: at the end of the log"),
            (lsn(60).timeline(3), "a on 3: after the first record at 0/3C or later"),
        ],
    );
    assert_eq!(told(&whole), ["timeline 3: 00:10:00Z to 01:30:00Z (0/1E to 0/64)"]);
    // One byte is missing.
    let parent = Run { bytes_to: Lsn(39), ..parent };
    let holed = known(point(), vec![parent, run(3, 40, 100, &[(100, 90)])], histories());
    check(&holed, &[(lsn(60).timeline(3), "no: the last moment that is archived is 00:20:00Z (0/25)")]);
}

/// The child was replaced before it had archived anything: its child's first segment has what it wrote.
#[test]
fn an_heir_without_log_of_its_own_is_followed_through_its_child() {
    let runs = || vec![run(1, 10, 50, &[(30, 9), (50, 20)]), run(3, 45, 100, &[(60, 40), (100, 90)])];
    let histories = || vec![history(2, &[(1, 48)]), history(3, &[(1, 48), (2, 52)])];
    let known = |runs| known(vec![point("a", 1, 20, 30, 10)], runs, histories());
    let cases = [
        (wanted(Target::Latest), "a on 3: at the end of the log"),
        (lsn(60), "a on 3: after the first record at 0/3C or later"),
    ];
    check(&known(runs()), &cases);
    // The first one went on, and knew nothing of the other two.
    let alive = vec![run(1, 10, 100, &[(30, 9), (60, 50), (100, 95)]), run(3, 45, 100, &[(60, 40), (100, 90)])];
    check(&known(alive), &[(wanted(Target::Latest), "a on 1: at the end of the log")]);
}

/// The old primary heard nothing of its successor until its lease ended, and ended transactions of its own meanwhile.
#[test]
fn an_old_primary_that_goes_on_for_a_moment_is_not_followed() {
    let after = |seconds: i64, successor_ends_at: i64| {
        let mut known = after_a_failover();
        let mut alone = run(1, 10, 58, &[(40, 20), (58, 35)]);
        alone.marks[1].last_at += jiff::SignedDuration::from_secs(seconds);
        known.logs[0].runs = vec![alone, run(2, 45, 100, &[(55, 35), (100, successor_ends_at)])];
        known
    };
    let expected = [
        (wanted(Target::Latest), "a on 2: at the end of the log"),
        (at(60), "a on 2: before the first transaction that ended after 01:00:00Z"),
    ];
    check(&after(20, 90), &expected);
    // Longer than a lease lasts: it lives.
    check(&after(40, 90), &[(wanted(Target::Latest), "a on 1: at the end of the log")]);
    // It ended transactions when the other one had stopped: that was a copy.
    check(&after(20, 35), &[(wanted(Target::Latest), "a on 1: at the end of the log")]);
}

/// A copy was promoted by accident and archived a little; the original went on.
///
/// ```text
/// 1   10 ============ 50 ============= 100
/// 2             45 ---50 == 60
/// point   a 20-30
/// ```
fn after_an_accident() -> Known {
    let runs = vec![run(1, 10, 100, &[(40, 20), (60, 40), (100, 90)]), run(2, 45, 60, &[(60, 45)])];
    known(vec![point("a", 1, 20, 30, 10)], runs, vec![history(2, &[(1, 50)])])
}

#[test]
fn an_accidental_promotion_does_not_take_over() {
    check(
        &after_an_accident(),
        &[
            (wanted(Target::Latest), "a on 1: at the end of the log"),
            (at(60), "a on 1: before the first transaction that ended after 01:00:00Z"),
            (at(42).timeline(2), "a on 2: before the first transaction that ended after 00:42:00Z"),
            (Wanted { timeline: TimelineChoice::Latest, ..wanted(Target::Latest) }, "a on 2: at the end of the log"),
            (at(60).timeline(2), "no: the last moment that is archived is 00:45:00Z (0/3C)"),
        ],
    );
    let note = "timeline 2 branched off at 0/32 and isn't followed; `--timeline 2` would follow it";
    assert_eq!(plan(&after_an_accident(), &wanted(Target::Latest)).unwrap().notes, [note]);
    let windows =
        ["timeline 1: 00:10:00Z to 01:30:00Z (0/1E to 0/64)", "timeline 2: 00:10:00Z to 00:45:00Z (0/1E to 0/3C)"];
    assert_eq!(told(&after_an_accident()), windows);
}

#[test]
fn a_point_behind_the_branch_is_not_on_the_other_timeline() {
    let mut known = after_an_accident();
    known.points.push(point("b", 1, 60, 70, 50));
    known.points.push(point("z", 1, 48, 52, 36));
    check(
        &known,
        &[
            (wanted(Target::Immediate), "b on 1: as soon as the recovery point is consistent"),
            (wanted(Target::Immediate).timeline(2), "a on 2: as soon as the recovery point is consistent"),
            (wanted(Target::Latest).timeline(2).point("b"), "no: timeline 2 doesn't lead over recovery point b"),
            (wanted(Target::Latest).timeline(2).point("z"), "no: timeline 2 doesn't lead over recovery point z"),
        ],
    );
}

#[test]
fn another_timeline_is_offered_and_not_taken() {
    // The original died at minute 90; the copy has gone on to minute 120.
    let mut known = after_an_accident();
    known.logs[0].runs[1] = run(2, 45, 80, &[(60, 45), (80, 120)]);
    check(
        &known,
        &[
            (at(100), "no: it lies on timeline 2, not on timeline 1"),
            (at(100).timeline(2), "a on 2: before the first transaction that ended after 01:40:00Z"),
        ],
    );
    let refusal = plan(&known, &at(100)).unwrap_err();
    assert!(refusal.hint().starts_with("say which one: `--timeline 2`; what can be reached:\n  timeline 1"));
}

#[test]
fn between_two_heirs_nobody_guesses() {
    let mut known = after_a_failover();
    known.logs[0].runs.push(run(3, 45, 70, &[(70, 60)]));
    known.logs[0].histories.push(history(3, &[(1, 50)]));
    check(
        &known,
        &[
            (
                wanted(Target::Latest),
                "no: timelines 2 and 3 both continue timeline 1, and which is the right one can't be told",
            ),
            (wanted(Target::Latest).timeline(3), "a on 3: at the end of the log"),
            (at(25), "a on 1: before the first transaction that ended after 00:25:00Z"),
            (at(50), "no: it lies on timeline 2 and 3, not on timeline 1"),
            (at(80), "no: it lies on timeline 2, not on timeline 1"),
        ],
    );
    // A point on one of them says which.
    known.points.push(point("b", 3, 55, 60, 55));
    check(&known, &[(wanted(Target::Latest), "b on 3: at the end of the log")]);
}

#[test]
fn a_point_off_the_main_line_brings_its_own() {
    let mut known = after_an_accident();
    known.points.push(point("b", 1, 60, 70, 50));
    known.points.push(point("c", 2, 52, 55, 41));
    check(
        &known,
        &[
            (wanted(Target::Latest), "b on 1: at the end of the log"),
            (wanted(Target::Latest).point("c"), "c on 2: at the end of the log"),
            (at(43).point("c"), "c on 2: before the first transaction that ended after 00:43:00Z"),
        ],
    );
}

#[test]
fn a_timeline_without_its_history_can_only_be_followed_as_current() {
    let known = known(vec![point("a", 4, 20, 30, 10)], vec![run(4, 10, 50, &[(50, 20)])], vec![]);
    let settings = |wanted| plan(&known, &wanted).unwrap().settings;
    let timeline = |wanted| {
        let found = settings(wanted).into_iter().find(|setting| setting.name == "recovery_target_timeline");
        found.unwrap().value
    };
    assert_eq!(timeline(wanted(Target::Latest)), "current");
    assert_eq!(timeline(at(15)), "current");
    let straight = plan(&straight(), &wanted(Target::Latest)).unwrap();
    assert!(straight.settings.iter().any(|s| s.name == "recovery_target_timeline" && s.value == "1"));
}

#[test]
fn a_branch_without_log_ends_where_it_branched_off() {
    let mut known = after_an_accident();
    known.logs[0].runs.truncate(1);
    check(
        &known,
        &[
            (wanted(Target::Latest), "a on 1: at the end of the log"),
            // PostgreSQL would run on along timeline 1: it must be stopped.
            (wanted(Target::Latest).timeline(2), "a on 2: before the first record at 0/32 or later"),
            (lsn(50).timeline(2), "a on 2: before the first record at 0/32 or later"),
            (lsn(51).timeline(2), "no: the last moment that is archived is 00:20:00Z (0/32)"),
        ],
    );
    let names: Vec<_> = known.logs[0].histories.iter().map(|history| history.timeline).collect();
    assert_eq!(names, [TimelineId(2)]);
}

#[test]
fn a_cluster_made_anew_under_the_same_name_is_another_one() {
    let mut known = straight();
    let mut young = point("y", 1, 15, 18, 200);
    young.system_id = lifeboat_postgres::SystemId(8);
    known.points.push(young);
    let mut log = known.logs[0].clone();
    log.system_id = lifeboat_postgres::SystemId(8);
    log.runs = vec![run(1, 10, 25, &[(25, 210)])];
    known.logs.push(log);
    check(
        &known,
        &[
            (wanted(Target::Latest), "y on 1: at the end of the log"),
            (wanted(Target::Latest).point("a"), "a on 1: at the end of the log"),
            (lsn(99).point("a"), "a on 1: after the first record at 0/63 or later"),
            (lsn(99), "no: the last moment that is archived is 03:30:00Z (0/19)"),
        ],
    );
    assert_eq!(told(&known).len(), 2);
}

#[test]
fn what_is_not_known_of_the_log_is_not_promised() {
    let mut known = straight();
    known.logs[0].runs[0].marks.clear();
    known.logs[0].runs[0].last_record = None;
    check(
        &known,
        &[
            (at(40), "b on 1: at the end of the log"),
            (at(41), "no: the last moment that is archived is 00:40:00Z (0/64)"),
            (lsn(80), "b on 1: after the first record at 0/50 or later"),
            (lsn(100), "b on 1: at the end of the log"),
        ],
    );
}

#[test]
fn a_point_promises_no_more_than_its_log_holds() {
    // What ended while the server ended the backup lies behind the log of `b`, and that is not archived.
    let mut last = point("b", 1, 60, 70, 60);
    last.complete_to = minute(58);
    let known = known(vec![point("a", 1, 10, 20, 10), last], vec![run(1, 0, 80, &[(30, 20)])], vec![]);
    check(
        &known,
        &[
            (at(58), "a on 1: after the first record at 0/4F or later"),
            (at(59), "no: the last moment that is archived is 00:58:00Z (0/50)"),
            (at(60), "b on 1: after the first record at 0/4F or later"),
            (at(61), "no: the last moment that is archived is 00:58:00Z (0/50)"),
        ],
    );
    let notes = plan(&known, &at(60)).unwrap().notes;
    assert!(notes.iter().any(|note| note.contains("may be missing")), "{notes:?}");
}

#[test]
fn the_whole_plan_reads_well() {
    let known = after_a_failover();
    let zone = jiff::tz::TimeZone::posix("EST5").unwrap();
    let plan = plan(&known, &Wanted { zone: Some(zone), ..at(60) }).unwrap();
    insta::assert_snapshot!(plan);
    insta::assert_snapshot!(serde_json::to_string_pretty(&plan).unwrap());
}

#[test]
fn a_refusal_says_what_can_be_reached() {
    let refusal = plan(&with_a_gap(), &at(30)).unwrap_err();
    insta::assert_snapshot!(format!("error: {refusal}\nhint: {}", refusal.hint()));
}
