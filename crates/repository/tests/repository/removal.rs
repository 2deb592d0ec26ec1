//! Giving points up: what stays reads back exactly at every step, what goes is gone, and nobody waits for a lock.

use crate::bench::*;
use crate::place::{Fault, Place};
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub const GRACE: Duration = Duration::from_secs(3 * 24 * 3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

pub fn marked(point: &Point) -> MarkedPoint {
    MarkedPoint { workload: point.workload.clone(), point: point.id.clone() }
}

pub fn let_pass(places: &[Arc<Place>], time: Duration) {
    places.iter().for_each(|place| place.let_pass(time));
}

pub async fn mark(repository: &Arc<Repository>, points: &[&Point]) -> Mark {
    let points = points.iter().map(|point| marked(point)).collect();
    let removal = repository.plan_removal(points, Vec::new(), GRACE).await.unwrap();
    let name = repository.mark(removal).await.unwrap();
    repository.marks().await.unwrap().into_iter().find(|mark| mark.name == name).unwrap()
}

pub fn going(points: &[&Point]) -> Going {
    Going { points: points.iter().map(|point| marked(point)).collect(), logs: Vec::new() }
}

fn packs(place: &Place) -> usize {
    place.keys("packs/").len()
}

pub fn assert_alike(places: &[Arc<Place>]) {
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
