//! Giving points up: what stays reads back exactly at every step, what goes is gone, and nobody waits for a lock.

use crate::bench::*;
use crate::place::{Fault, Place};
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(3 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

fn marked(point: &Point) -> MarkedPoint {
    MarkedPoint { workload: point.workload.clone(), point: point.id.clone() }
}

fn let_pass(places: &[Arc<Place>], time: Duration) {
    places.iter().for_each(|place| place.let_pass(time));
}

async fn mark(repository: &Arc<Repository>, points: &[&Point]) -> Mark {
    let points = points.iter().map(|point| marked(point)).collect();
    let removal = repository.plan_removal(points, Vec::new(), GRACE).await.unwrap();
    let name = repository.mark(removal).await.unwrap();
    repository.marks().await.unwrap().into_iter().find(|mark| mark.name == name).unwrap()
}

fn going(points: &[&Point]) -> Going {
    Going { points: points.iter().map(|point| marked(point)).collect(), logs: Vec::new() }
}

fn packs(place: &Place) -> usize {
    place.keys("packs/").len()
}

fn assert_alike(places: &[Arc<Place>]) {
    // What a location gave up is written down there, by itself.
    let shared = |place: &Place| {
        place.objects().into_iter().filter(|(key, _)| !key.starts_with("removals/")).collect::<BTreeMap<_, _>>()
    };
    for pair in places.windows(2) {
        let (one, other) = (shared(&pair[0]), shared(&pair[1]));
        assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
        assert!(one == other, "the same names hold other bytes");
    }
}

#[tokio::test]
async fn what_goes_is_gone_and_what_stays_reads_back() {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    let (second, _) = backup(&repository, &new).await;
    let verification = Verification {
        point: first.id.clone(),
        workload: WORKLOAD.into(),
        verified_at: first.finished_at,
        passed: true,
        level: "data".into(),
        details: serde_json::json!({}),
        standing: None,
    };
    repository.put_verification(&verification).await.unwrap();
    let before = packs(&places[0]);
    let_pass(&places, GRACE);
    let mark = mark(&repository, &[&first]).await;
    assert!(!mark.removal.packs.is_empty() && !mark.has_begun);

    // Until the sweep nothing is lost.
    assert_reads_back(&repository, &first.id, &old).await;
    assert_eq!(verify(&repository, true).await, vec![]);
    assert!(!repository.is_due(&mark, GRACE).await.unwrap());
    let_pass(&places, GRACE - Duration::from_secs(1));
    assert!(!repository.is_due(&mark, GRACE).await.unwrap(), "a second too early");
    let_pass(&places, Duration::from_secs(1));
    assert!(repository.is_due(&mark, GRACE).await.unwrap());

    let report = repository.sweep(&mark, &going(&[&first])).await.unwrap();
    assert_eq!((report.points, report.failures), (vec![marked(&first)], vec![]));
    assert_eq!(report.packs as usize, mark.removal.packs.len());
    assert_eq!(packs(&places[0]), before - mark.removal.packs.len());
    for prefix in ["points/", "receipts/"] {
        assert_eq!(places[0].keys(prefix).len(), 1, "{prefix}");
    }
    assert_eq!(places[0].keys("verifications/").len(), 0);
    assert_eq!((places[0].keys("removals/").len(), places[0].keys("removals/gone/").len()), (1, 1));
    assert_alike(&places);
    assert_reads_back(&repository, &second.id, &new).await;
    assert_eq!(verify(&repository, true).await, vec![]);
    let (third, _) = backup(&repository, &old).await;
    assert_reads_back(&repository, &third.id, &old).await;
}

#[tokio::test]
async fn a_session_that_begins_after_the_mark_builds_on_nothing_that_goes() {
    let (places, repository) = create(2).await;
    let files = some_files(1);
    let (first, _) = backup(&repository, &files).await;
    let_pass(&places, GRACE);
    let mark = mark(&repository, &[&first]).await;
    // The very same content: without the mark, nothing would be stored.
    let (second, _) = backup(&repository, &files).await;
    assert!(second.bytes_new > 1_000_000, "{}", second.bytes_new);
    let_pass(&places, GRACE);
    repository.sweep(&mark, &going(&[&first])).await.unwrap();
    assert_reads_back(&repository, &second.id, &files).await;
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_session_that_began_before_the_mark_does_not_commit_on_sand() {
    let (places, repository) = create(1).await;
    let files = some_files(1);
    let (first, _) = backup(&repository, &files).await;
    let_pass(&places, GRACE);
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let mark = mark(&repository, &[&first]).await;
    let again = files.clone();
    let refused = tokio::task::spawn_blocking(move || {
        let (tree, bytes_new) = write_files(&session, &again)?;
        assert_eq!(bytes_new, 0, "it builds on what is there");
        session.commit(point(tree, &again, bytes_new))
    })
    .await
    .unwrap();
    assert!(matches!(refused, Err(Error::Undermined { .. })), "{refused:?}");
    assert_eq!(places[0].keys("points/").len(), 1);
    let (second, _) = backup(&repository, &files).await;
    repository.sweep(&mark, &going(&[&first])).await.unwrap();
    assert_reads_back(&repository, &second.id, &files).await;
}

/// Packs of a session that is under way belong to no point yet.
#[tokio::test]
async fn what_is_young_may_belong_to_somebody() {
    let (places, repository) = create(1).await;
    let files = some_files(1);
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let (session, written) = tokio::task::spawn_blocking({
        let files = files.clone();
        move || {
            let written = write_files(&session, &files).unwrap();
            session.settle().unwrap();
            (session, written)
        }
    })
    .await
    .unwrap();
    let_pass(&places, GRACE - Duration::from_secs(1));
    assert!(repository.plan_removal(Vec::new(), Vec::new(), GRACE).await.unwrap().is_empty());
    // Older than that, they are given up, and the session learns of it.
    let_pass(&places, Duration::from_secs(1));
    let mark = mark(&repository, &[]).await;
    assert_eq!(mark.removal.packs.len(), packs(&places[0]));
    let point = point(written.0, &files, written.1);
    let refused = tokio::task::spawn_blocking(move || session.commit(point)).await.unwrap();
    assert!(matches!(refused, Err(Error::Undermined { .. })), "{refused:?}");
    repository.sweep(&mark, &going(&[])).await.unwrap();
    assert_eq!((packs(&places[0]), places[0].keys("index/").len()), (0, 0));
}

#[tokio::test]
async fn a_sweep_that_is_interrupted_anywhere_loses_nothing_and_is_finished_by_the_next() {
    for count in 0.. {
        let (places, repository) = create(2).await;
        let (old, new) = (few_files(1), few_files(50));
        let (first, _) = backup(&repository, &old).await;
        let (second, _) = backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let mark_made = mark(&repository, &[&first]).await;
        let_pass(&places, GRACE);
        places[1].break_deletes(count);
        let result = repository.sweep(&mark_made, &going(&[&first])).await;
        places[1].repair();
        for name in ["north", "south"] {
            let alone = Arc::new(repository.only(name).unwrap());
            assert_reads_back(&alone, &second.id, &new).await;
            // Either it is gone, or it is whole.
            if alone.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.is_ok() {
                assert_reads_back(&alone, &first.id, &old).await;
            }
        }
        assert_eq!(verify(&repository, true).await, vec![], "after {count} deletions");
        // A session in between heals nothing back to life.
        WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
        for standing in repository.marks().await.unwrap() {
            assert!(standing.has_begun && repository.is_due(&standing, GRACE).await.unwrap());
            assert!(matches!(repository.cancel_removal(&standing).await, Err(Error::Conflict { .. })));
            let report = repository.sweep(&standing, &going(&[&first])).await.unwrap();
            assert_eq!(report.failures, Vec::<String>::new());
        }
        assert_alike(&places);
        assert_eq!(places[0].keys("points/").len(), 1);
        assert_eq!(repository.marks().await.unwrap(), vec![]);
        assert_reads_back(&repository, &second.id, &new).await;
        if result.is_ok_and(|report| report.failures.is_empty()) {
            assert!(count > 5, "it was never interrupted");
            return;
        }
    }
}

#[tokio::test]
async fn nothing_is_marked_or_swept_while_a_location_is_away() {
    let (places, repository) = create(2).await;
    let (first, _) = backup(&repository, &few_files(1)).await;
    backup(&repository, &few_files(2)).await;
    let_pass(&places, GRACE);
    let mark = mark(&repository, &[&first]).await;
    let_pass(&places, GRACE);
    // It goes away after the repository was opened: a point that only it has would be overlooked.
    places[1].break_reads("points/", Fault::Fail(ErrorKind::Unavailable));
    assert!(repository.plan_removal(Vec::new(), Vec::new(), GRACE).await.is_err());
    assert!(repository.sweep(&mark, &going(&[&first])).await.is_err());
    assert!(repository.points_everywhere(None).await.is_err());
    places[1].break_reads("", Fault::Fail(ErrorKind::Unavailable));
    let without = open(&places).await;
    assert!(without.mark(mark.removal.clone()).await.is_err());
    assert!(without.is_due(&mark, GRACE).await.is_err());
    assert!(without.sweep(&mark, &going(&[&first])).await.is_err());
    places[1].repair();
    assert_eq!(places[0].keys("points/").len(), 2);
    // A mark is about the location that it is in: nobody copies it.
    places[1].remove(&places[1].keys("removals/")[0].clone());
    WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    assert!(!repository.is_due(&mark, GRACE).await.unwrap());
    assert_eq!(places[1].keys("removals/"), [""; 0]);
}

/// A repository in `north` and `south`, of which only `north` gave up the first point.
async fn given_up_in_the_north() -> (Vec<Arc<Place>>, Arc<Repository>, [(Point, Files); 2]) {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    let (second, _) = backup(&repository, &new).await;
    let_pass(&places, GRACE);
    prune(&repository, "north", &[&first]).await;
    (places, repository, [(first, old), (second, new)])
}

/// Marks and sweeps in one location.
async fn prune(repository: &Arc<Repository>, location: &str, points: &[&Point]) -> SweepReport {
    let alone = Arc::new(repository.only(location).unwrap());
    let made = mark(&alone, points).await;
    let report = alone.sweep(&made, &going(points)).await.unwrap();
    assert_eq!(report.failures, Vec::<String>::new());
    report
}

#[tokio::test]
async fn what_one_location_gives_up_another_keeps_and_nobody_brings_it_back() {
    let (places, repository, [(first, old), (second, new)]) = given_up_in_the_north().await;
    let north = Arc::new(repository.only("north").unwrap());
    let south = Arc::new(repository.only("south").unwrap());
    let is_there =
        async |repository: &Repository| repository.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.is_ok();
    let before = places[0].objects();
    let missed = async |repository: &Arc<Repository>| {
        let report = repository.verify(None, true, &Silent).await.unwrap();
        (report.bad, report.behind)
    };
    assert_eq!(missed(&repository).await, (vec![], vec![]));
    // A session, a copy by hand, and bringing up to date.
    backup(&repository, &new).await;
    assert_eq!(repository.bring_up_to_date().await, Vec::<String>::new());
    let plan = repository.plan_copy("south", "north").await.unwrap();
    assert_eq!(plan.objects, vec![]);
    assert!(!is_there(&north).await && is_there(&south).await);
    assert!(places[0].keys("packs/").len() < places[1].keys("packs/").len());
    assert!(before.keys().all(|key| places[0].keys(key).len() == 1), "nothing else went");
    // Each by itself is whole.
    assert_reads_back(&north, &second.id, &new).await;
    assert_reads_back(&south, &first.id, &old).await;
    assert_eq!((missed(&north).await, missed(&south).await), ((vec![], vec![]), (vec![], vec![])));
    // The other one may follow later; then nobody remembers any more.
    prune(&repository, "south", &[&first]).await;
    assert!(!is_there(&repository).await);
    repository.forget_gone().await.unwrap();
    assert_eq!(places[0].keys("removals/").len() + places[1].keys("removals/").len(), 0);
    assert_eq!(missed(&repository).await, (vec![], vec![]));
}

#[tokio::test]
async fn a_loss_is_still_a_loss_where_something_was_given_up() {
    let (places, repository, [_, (second, new)]) = given_up_in_the_north().await;
    let kept = places[0].keys("packs/");
    places[0].remove(&kept[0]);
    let report = repository.verify(None, false, &Silent).await.unwrap();
    assert!(report.bad.iter().any(|damage| damage.location == "north" && damage.object == kept[0]), "{report:?}");
    backup(&repository, &new).await;
    let north = Arc::new(repository.only("north").unwrap());
    assert_reads_back(&north, &second.id, &new).await;
    // So is a point that vanishes, and its receipt says so.
    places[0].remove(&format!("points/{WORKLOAD}/{}", second.id));
    let report = repository.verify(None, false, &Silent).await.unwrap();
    assert!(report.bad.iter().any(|damage| damage.what.contains("receipt")), "{report:?}");
}

/// While the north was away, a point was made that builds on what the north gave up.
#[tokio::test]
async fn a_pack_comes_back_with_the_point_that_needs_it() {
    let (places, repository, [(first, old), _]) = given_up_in_the_north().await;
    let south = Arc::new(repository.only("south").unwrap());
    let (third, _) = backup(&south, &old).await;
    assert_eq!(third.bytes_new, 0, "it builds on packs that only the south has");
    for by_hand in [true, false] {
        let saved = places[0].objects();
        if by_hand {
            let plan = repository.plan_copy("south", "north").await.unwrap();
            repository.apply_copy(&plan, &|_| {}).await.unwrap();
        } else {
            repository.bring_up_to_date().await;
        }
        let north = Arc::new(repository.only("north").unwrap());
        assert_reads_back(&north, &third.id, &old).await;
        assert!(north.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.is_err(), "it stays given up");
        let report = repository.verify(None, true, &Silent).await.unwrap();
        assert_eq!((report.bad, report.behind), (vec![], vec![]));
        // From now on it is missed again, and mended.
        let back = places[0].keys("packs/").into_iter().find(|key| !saved.contains_key(key)).expect("a pack came back");
        places[0].remove(&back);
        assert!(!repository.verify(None, false, &Silent).await.unwrap().behind.is_empty());
        repository.bring_up_to_date().await;
        assert_reads_back(&north, &third.id, &old).await;
        if by_hand {
            places[0].keys("").iter().for_each(|key| _ = places[0].remove(key));
            saved.into_iter().for_each(|(key, bytes)| places[0].set(&key, bytes));
        }
    }
}

#[tokio::test]
async fn a_damaged_record_of_what_is_gone_costs_space_and_is_told() {
    let (places, repository, [(first, _), _]) = given_up_in_the_north().await;
    let record = places[0].keys("removals/gone/").remove(0);
    places[0].set(&record, b"no record".to_vec());
    assert!(verify(&repository, false).await.iter().any(|damage| damage.object == "removals"));
    backup(&repository, &few_files(3)).await;
    let north = repository.only("north").unwrap();
    assert!(north.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.is_ok(), "at worst it comes back");
}

#[tokio::test]
async fn a_location_is_pruned_while_another_one_is_away() {
    let (places, repository) = create(2).await;
    let (first, _) = backup(&repository, &few_files(1)).await;
    let (second, _) = backup(&repository, &few_files(2)).await;
    let_pass(&places, GRACE);
    places[1].break_reads("", Fault::Fail(ErrorKind::Unavailable));
    places[1].break_writes("", 0, Fault::Fail(ErrorKind::Unavailable));
    prune(&open(&places).await, "north", &[&first]).await;
    places[1].repair();
    // It comes back, with a point that the north knows nothing of.
    backup(&repository, &few_files(3)).await;
    assert_eq!((places[0].keys("points/").len(), places[1].keys("points/").len()), (2, 3));
    assert_reads_back(&Arc::new(repository.only("north").unwrap()), &second.id, &few_files(2)).await;
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_mark_that_is_taken_back_costs_nothing() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    let_pass(&places, GRACE);
    let mark = mark(&repository, &[&first]).await;
    repository.cancel_removal(&mark).await.unwrap();
    assert_eq!(repository.marks().await.unwrap(), vec![]);
    assert_eq!(backup(&repository, &files).await.0.bytes_new, 0, "built on again");
}

#[tokio::test]
async fn what_is_wanted_after_all_is_spared() {
    let (places, repository) = create(1).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    backup(&repository, &few_files(2)).await;
    let_pass(&places, GRACE);
    let mark = mark(&repository, &[&first]).await;
    let report = repository.sweep(&mark, &going(&[])).await.unwrap();
    assert_eq!((report.points, report.spared, report.packs), (vec![], vec![marked(&first)], 0));
    assert_reads_back(&repository, &first.id, &files).await;
}

#[tokio::test]
async fn only_the_part_of_a_log_that_is_marked_and_still_unneeded_goes() {
    let (places, repository) = create(2).await;
    for number in 1..=6 {
        repository.put_log(WORKLOAD, "7/1", &format!("{number:08}"), &noise(number, 100), &[]).await.unwrap();
    }
    repository.put_log(WORKLOAD, "7/2", "00000002", &noise(9, 100), &[]).await.unwrap();
    let range = |first: &str, last: &str| LogRange {
        workload: WORKLOAD.into(),
        group: "7/1".into(),
        first: first.into(),
        last: last.into(),
    };
    let logs = vec![range("00000001", "00000004")];
    let removal = repository.plan_removal(Vec::new(), logs, GRACE).await.unwrap();
    repository.mark(removal).await.unwrap();
    let mark = repository.marks().await.unwrap().remove(0);
    let now = Going { logs: vec![range("00000000", "00000003")], ..Going::default() };
    let report = repository.sweep(&mark, &now).await.unwrap();
    assert_eq!(report.logs, 3);
    let left: Vec<String> =
        repository.list_logs(WORKLOAD, "").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(left, ["00000004", "00000005", "00000006", "00000002"]);
    assert_alike(&places);
}

#[tokio::test]
async fn a_point_that_cannot_be_read_stops_everything() {
    let (places, repository) = create(1).await;
    let (first, _) = backup(&repository, &few_files(1)).await;
    let (second, _) = backup(&repository, &few_files(2)).await;
    let_pass(&places, GRACE);
    places[0].set(&format!("points/{WORKLOAD}/{}", second.id), b"not a point".to_vec());
    assert!(repository.plan_removal(vec![marked(&first)], Vec::new(), GRACE).await.is_err());
}

#[tokio::test]
async fn a_mark_that_cannot_be_read_costs_space_and_nothing_else() {
    let (places, repository) = create(1).await;
    let files = some_files(1);
    let (first, _) = backup(&repository, &files).await;
    let_pass(&places, GRACE);
    mark(&repository, &[&first]).await;
    let key = places[0].keys("removals/").remove(0);
    places[0].set(&key, b"not a mark".to_vec());
    let (second, notes) = backup(&repository, &files).await;
    assert!(second.bytes_new > 1_000_000, "{}", second.bytes_new);
    assert!(notes.iter().any(|note| note.contains("can't be told")), "{notes:?}");
    assert_reads_back(&repository, &second.id, &files).await;
    assert!(verify(&repository, false).await.iter().any(|damage| damage.object == "removals"));
}

/// A point whose one pack holds much that only another point needs; that other point is given up.
async fn mostly_dead() -> (Vec<Arc<Place>>, Arc<Repository>, Point, (Point, Files)) {
    let (places, repository) = create(2).await;
    let all: Files = (0..10).map(|number| (format!("file {number}"), noise(number, 30_000))).collect();
    let (first, _) = backup(&repository, &all).await;
    let some: Files = all.iter().take(2).map(|(name, content)| (name.clone(), content.clone())).collect();
    let (second, _) = backup(&repository, &some).await;
    let_pass(&places, GRACE);
    (places, repository, first, (second, some))
}

async fn rewrite(repository: &Arc<Repository>, going: &[&Point]) -> Result<RepackReport> {
    let gone: Vec<MarkedPoint> = going.iter().map(|point| marked(point)).collect();
    let plan = repository.plan_repack(|point| !gone.contains(point), 50, GRACE).await?;
    repository.repack(&plan, None, &|_| {}).await
}

/// Rewrites, marks, waits, sweeps, in each location.
async fn give_up(places: &[Arc<Place>], repository: &Arc<Repository>, points: &[&Point]) -> RepackReport {
    let report = rewrite(repository, points).await.unwrap();
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        let points = points.iter().map(|point| marked(point)).collect();
        let removal = alone.plan_removal_after(points, Vec::new(), GRACE, &report.rewritten).await.unwrap();
        alone.mark(removal).await.unwrap();
    }
    let_pass(places, GRACE);
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        for mark in alone.marks().await.unwrap() {
            assert_eq!(alone.sweep(&mark, &going(points)).await.unwrap().failures, Vec::<String>::new());
        }
    }
    report
}

fn stored(place: &Place) -> usize {
    place.objects().iter().filter(|(key, _)| key.starts_with("packs/")).map(|(_, bytes)| bytes.len()).sum()
}

#[tokio::test]
async fn what_is_mostly_dead_is_written_again_without_the_dead() {
    let (places, repository, first, (second, some)) = mostly_dead().await;
    let before = stored(&places[0]);
    let plan = repository.plan_repack(|point| *point != marked(&first), 50, GRACE).await.unwrap();
    assert!(plan.packs() >= 1 && plan.live_bytes * 2 < plan.bytes, "{plan:?}");
    let none = repository.plan_repack(|_| true, 50, GRACE).await.unwrap();
    assert_eq!(none.packs(), 0, "while both points stay, nothing is dead");
    let report = give_up(&places, &repository, &[&first]).await;
    assert_eq!((report.rewritten.len(), report.left.len()), (plan.packs(), 0));
    assert!(stored(&places[0]) * 2 < before, "{} of {before} are left", stored(&places[0]));
    assert_alike(&places);
    assert_reads_back(&repository, &second.id, &some).await;
    assert_eq!(verify(&repository, true).await, vec![]);
    // The next backup builds on what was written again, and the run after that has nothing to do.
    assert_eq!(backup(&repository, &some).await.0.bytes_new, 0);
    let_pass(&places, GRACE);
    assert_eq!(rewrite(&repository, &[]).await.unwrap(), RepackReport::default());
}

#[tokio::test]
async fn a_rewriting_that_is_interrupted_anywhere_loses_nothing_and_is_not_done_twice() {
    for count in 0.. {
        let (places, repository, first, (second, some)) = mostly_dead().await;
        places[1].break_writes("", count, Fault::Fail(ErrorKind::Full));
        let result = rewrite(&repository, &[&first]).await;
        places[1].repair();
        for name in ["north", "south"] {
            assert_reads_back(&Arc::new(repository.only(name).unwrap()), &second.id, &some).await;
        }
        // A pack may be in one location only; nothing that is needed is missing.
        let bad = async || repository.verify(None, true, &Silent).await.unwrap().bad;
        assert_eq!(bad().await, vec![], "after {count} writes");
        let before = places[0].keys("packs/").len();
        give_up(&places, &repository, &[&first]).await;
        assert!(places[0].keys("packs/").len() <= before);
        assert_reads_back(&repository, &second.id, &some).await;
        assert_eq!(bad().await, vec![], "in the end, after {count} writes");
        if result.is_ok() {
            assert!(count > 1, "it was never interrupted");
            return;
        }
    }
}

#[tokio::test]
async fn damage_is_not_carried_on_under_a_new_name() {
    for damaged in 1..=2 {
        let (places, repository, first, (second, some)) = mostly_dead().await;
        let largest =
            |place: &Place| place.keys("packs/").into_iter().max_by_key(|key| place.objects()[key].len()).unwrap();
        let pack = largest(&places[0]);
        for place in places.iter().take(damaged) {
            let mut bytes = place.objects()[&pack].to_vec();
            let end = bytes.len() / 2;
            bytes[48..end].iter_mut().for_each(|byte| *byte ^= 1);
            place.set(&pack, bytes);
        }
        let report = rewrite(&repository, &[&first]).await.unwrap();
        match damaged {
            // The other location has it whole: both have a whole copy now.
            1 => {
                assert_eq!(report.left, Vec::<String>::new());
                give_up(&places, &repository, &[&first]).await;
                assert_reads_back(&Arc::new(repository.only("north").unwrap()), &second.id, &some).await;
                assert_eq!(verify(&repository, true).await, vec![]);
            }
            _ => assert!(report.left.iter().any(|left| left.contains(&pack)), "{report:?}"),
        }
    }
}

/// A session that builds on a pack while it is rewritten, marked, and gone.
#[tokio::test]
async fn a_session_under_way_while_packs_are_rewritten_commits_on_rock_or_not_at_all() {
    let (places, repository, first, (_, some)) = mostly_dead().await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    give_up(&places, &repository, &[&first]).await;
    let files = some.clone();
    let committed = tokio::task::spawn_blocking(move || {
        let (tree, bytes_new) = write_files(&session, &files)?;
        session.commit(point(tree, &files, bytes_new))
    })
    .await
    .unwrap();
    if let Ok(point) = committed {
        assert_reads_back(&repository, &point.id, &some).await;
    }
    assert_eq!(verify(&repository, true).await, vec![]);
    let (again, _) = backup(&repository, &some).await;
    assert_reads_back(&repository, &again.id, &some).await;
}

/// What one step of the torture does.
#[derive(Debug, Clone)]
enum Step {
    Backup(u64),
    /// A session that writes and never commits.
    Abandon(u64),
    /// Marks some of the points.
    Mark(Vec<bool>),
    Pass(u32),
    Sweep,
    /// A sweep that fails after so many deletions in the second location.
    BrokenSweep(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u64..6).prop_map(Step::Backup),
        1 => (0u64..6).prop_map(Step::Abandon),
        2 => prop::collection::vec(any::<bool>(), 8).prop_map(Step::Mark),
        3 => (1u32..5).prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => (0usize..12).prop_map(Step::BrokenSweep),
    ]
}

/// Sets that share most of their files, so that points build on each other.
fn set(seed: u64) -> Files {
    (0..6).map(|number| (format!("file {number}"), noise(if number == seed { 100 } else { number }, 3000))).collect()
}

async fn torture(steps: Vec<Step>) {
    let (places, repository) = create(2).await;
    let mut model: BTreeMap<PointId, Files> = BTreeMap::new();
    let mut given_up: Vec<MarkedPoint> = Vec::new();
    for step in steps {
        match &step {
            Step::Backup(seed) => {
                let (point, _) = backup(&repository, &set(*seed)).await;
                model.insert(point.id, set(*seed));
            }
            Step::Abandon(seed) => {
                let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
                let files = set(*seed);
                tokio::task::spawn_blocking(move || write_files(&session, &files).map(|_| session.settle()))
                    .await
                    .unwrap()
                    .unwrap()
                    .unwrap();
            }
            Step::Mark(which) => {
                let chosen = model.keys().zip(which).filter(|(_, chosen)| **chosen).map(|(id, _)| id.clone());
                let points: Vec<MarkedPoint> = chosen
                    .map(|point| MarkedPoint { workload: WORKLOAD.into(), point })
                    .filter(|point| !given_up.contains(point))
                    .collect();
                given_up.extend(points.iter().cloned());
                let removal = repository.plan_removal(points, Vec::new(), GRACE).await.unwrap();
                repository.mark(removal).await.unwrap();
            }
            Step::Pass(days) => let_pass(&places, DAY * *days),
            Step::Sweep | Step::BrokenSweep(_) => {
                let going = Going { points: given_up.iter().cloned().collect(), logs: Vec::new() };
                for mark in repository.marks().await.unwrap() {
                    if !repository.is_due(&mark, GRACE).await.unwrap() {
                        continue;
                    }
                    if let Step::BrokenSweep(count) = step {
                        places[1].break_deletes(count);
                    }
                    let result = repository.sweep(&mark, &going).await;
                    places[1].repair();
                    let begun = result.map_or_else(|_| mark.removal.points.clone(), |report| report.points);
                    begun.iter().for_each(|gone| _ = model.remove(&gone.point));
                }
            }
        }
        for (id, files) in &model {
            assert_reads_back(&repository, id, files).await;
        }
        assert_eq!(verify(&repository, false).await, vec![], "after {step:?}");
    }
    // Everything that nobody needs goes in the end.
    for round in 0..3 {
        let removal = repository.plan_removal(Vec::new(), Vec::new(), GRACE).await.unwrap();
        repository.mark(removal).await.unwrap();
        let_pass(&places, GRACE);
        let going = Going { points: given_up.iter().cloned().collect(), logs: Vec::new() };
        for mark in repository.marks().await.unwrap() {
            let report = repository.sweep(&mark, &going).await.unwrap();
            assert_eq!(report.failures, Vec::<String>::new());
            report.points.iter().for_each(|gone| _ = model.remove(&gone.point));
        }
        let left = repository.plan_removal(Vec::new(), Vec::new(), GRACE).await.unwrap();
        assert!(round < 2 || left.is_empty(), "{left:?}");
    }
    assert_alike(&places);
    for (id, files) in &model {
        assert_reads_back(&repository, id, files).await;
    }
    assert_eq!(places[0].keys("points/").len(), model.len());
    assert_eq!(verify(&repository, true).await, vec![]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_point_that_stays_reads_back(steps in prop::collection::vec(step(), 1..25)) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(torture(steps));
    }
}
