//! What each location keeps by itself, and packs that are written again.

use crate::bench::*;
use crate::place::{Fault, Place};
use crate::removal::*;
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;

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

/// A point whose one pack holds much that only another point needs; that other point is given up.
pub async fn mostly_dead() -> (Vec<Arc<Place>>, Arc<Repository>, Point, (Point, Files)) {
    let (places, repository) = create(2).await;
    let all: Files = (0..10).map(|number| (format!("file {number}"), noise(number, 30_000))).collect();
    let (first, _) = backup(&repository, &all).await;
    let some: Files = all.iter().take(2).map(|(name, content)| (name.clone(), content.clone())).collect();
    let (second, _) = backup(&repository, &some).await;
    let_pass(&places, GRACE);
    (places, repository, first, (second, some))
}

pub async fn rewrite(repository: &Arc<Repository>, going: &[&Point]) -> Result<RepackReport> {
    let gone: Vec<MarkedPoint> = going.iter().map(|point| marked(point)).collect();
    let plan = repository.plan_repack(|point| !gone.contains(point), 50, GRACE).await?;
    repository.repack(&plan, None, &|_| {}).await
}

/// Marks what goes after a rewriting, in each location.
pub async fn mark_each(repository: &Arc<Repository>, points: &[&Point], report: &RepackReport) {
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        let points = points.iter().map(|point| marked(point)).collect();
        let removal = alone.plan_removal_after(points, Vec::new(), GRACE, &report.rewritten).await.unwrap();
        alone.mark(removal).await.unwrap();
    }
}

/// Rewrites, marks, waits, sweeps, in each location.
async fn give_up(places: &[Arc<Place>], repository: &Arc<Repository>, points: &[&Point]) -> RepackReport {
    let report = rewrite(repository, points).await.unwrap();
    mark_each(repository, points, &report).await;
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

/// What was written again and then rots, while the old pack waits to be deleted: the old one is the only whole copy, and stays.
#[tokio::test]
async fn what_is_marked_stays_when_what_stands_in_for_it_is_found_damaged() {
    let (places, repository, first, (second, some)) = mostly_dead().await;
    let before = places[0].keys("packs/");
    let report = rewrite(&repository, &[&first]).await.unwrap();
    mark_each(&repository, &[&first], &report).await;
    let written: Vec<String> = places[0].keys("packs/").into_iter().filter(|key| !before.contains(key)).collect();
    assert!(!written.is_empty());
    for (place, key) in places.iter().flat_map(|place| written.iter().map(move |key| (place, key))) {
        let mut bytes = place.objects()[key].to_vec();
        let end = bytes.len() - 100;
        bytes[48..end].iter_mut().for_each(|byte| *byte ^= 1);
        place.set(key, bytes);
    }
    let bad = verify(&repository, true).await;
    for name in ["north", "south"] {
        let findings = Findings::of(name, "data", true, &bad, jiff::Timestamp::now());
        repository.put_findings(findings).await.unwrap();
    }
    let_pass(&places, GRACE);
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        for mark in alone.marks().await.unwrap() {
            alone.sweep(&mark, &going(&[&first])).await.unwrap();
        }
        assert_eq!(read_back(&alone, &second.id).await.unwrap().0, some, "{name}");
    }
}

/// A session that builds on a pack while it is rewritten, marked, and gone.
#[tokio::test]
async fn a_session_under_way_while_packs_are_rewritten_commits_on_the_new_ones() {
    let (places, repository, first, (_, some)) = mostly_dead().await;
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let report = rewrite(&repository, &[&first]).await.unwrap();
    mark_each(&repository, &[&first], &report).await;
    let files = some.clone();
    let committed = tokio::task::spawn_blocking(move || {
        let (tree, bytes_new) = write_files(&session, &files)?;
        session.commit(point(tree, &files, bytes_new))
    })
    .await
    .unwrap();
    let committed = committed.expect("what it builds on was written again");
    let_pass(&places, GRACE);
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        for mark in alone.marks().await.unwrap() {
            assert_eq!(alone.sweep(&mark, &going(&[&first])).await.unwrap().failures, Vec::<String>::new());
        }
        assert_reads_back(&alone, &committed.id, &some).await;
    }
    assert_eq!(verify(&repository, true).await, vec![]);
    let (again, _) = backup(&repository, &some).await;
    assert_reads_back(&repository, &again.id, &some).await;
}
