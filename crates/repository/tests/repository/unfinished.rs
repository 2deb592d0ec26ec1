//! A sweep that stopped in the middle, and what is copied while its mark stands.

use crate::bench::*;
use crate::place::Place;
use crate::removal::*;
use jiff::Timestamp;
use lifeboat_repository::*;
use std::sync::Arc;

type Stopped = (Vec<Arc<Place>>, Arc<Repository>, [(Point, Files); 2]);

/// A repository in `north` and `south`; in the north a sweep that gives up the first point stopped after some deletions. None when
/// it has no more to delete.
async fn stopped_in_the_north(deletes: usize) -> Option<Stopped> {
    let (places, repository) = create(2).await;
    let (old, new) = (few_files(1), few_files(50));
    let (first, _) = backup(&repository, &old).await;
    let (second, _) = backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let north = Arc::new(repository.only("north").unwrap());
    let made = mark(&north, &[&first]).await;
    places[0].break_deletes(deletes);
    let stopped = north.sweep(&made, &going(&[&first])).await;
    places[0].repair();
    if stopped.is_ok_and(|report| report.failures.is_empty()) {
        assert!(deletes > 5, "it never stopped");
        return None;
    }
    assert!(north.marks().await.unwrap().iter().all(|mark| mark.has_begun));
    Some((places, repository, [(first, old), (second, new)]))
}

async fn finish(repository: &Arc<Repository>, location: &str, first: &Point) {
    let alone = Arc::new(repository.only(location).unwrap());
    for mark in alone.marks().await.unwrap() {
        let report = alone.sweep(&mark, &going(&[first])).await.unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
    }
}

async fn assert_nothing_missed(repository: &Arc<Repository>, when: &str) {
    let report = repository.verify(None, true, &Silent).await.unwrap();
    assert_eq!((report.bad, report.behind), (vec![], vec![]), "{when}");
}

/// Guards: a location with an unfinished sweep gets the index of what it gets, and others get it from there.
#[tokio::test]
async fn a_backup_comes_with_its_index_while_a_sweep_is_unfinished() {
    for (behind, other) in [("north", "south"), ("south", "north")] {
        for deletes in 0.. {
            let Some(stopped) = stopped_in_the_north(deletes).await else { break };
            let (places, repository, [(first, _), (second, new)]) = stopped;
            let third_files = few_files(90);
            let alone = Arc::new(repository.only(other).unwrap());
            let (third, _) = backup(&alone, &third_files).await;
            let reports = repository.bring_up_to_date().await;
            let late = Arc::new(repository.only(behind).unwrap());
            let when = format!("{behind} was behind after {deletes} deletions: {reports:?}");
            assert_nothing_missed(&repository, &when).await;
            assert_reads_back(&late, &third.id, &third_files).await;
            assert_reads_back(&late, &second.id, &new).await;
            finish(&repository, "north", &first).await;
            assert_nothing_missed(&repository, &when).await;
            assert!(places[0].keys("packs/").len() < places[1].keys("packs/").len());
        }
    }
}

/// Guards: a location that is new while another is being pruned doesn't learn of packs that it will never have.
#[tokio::test]
async fn what_lists_a_pack_that_goes_is_not_brought_where_the_pack_is_not() {
    for deletes in 0.. {
        let Some((places, repository, [(first, _), (second, new)])) = stopped_in_the_north(deletes).await else {
            break;
        };
        // The disk in the south was exchanged for an empty one.
        let south = places[1].objects();
        south.keys().filter(|key| *key != "lifeboat.json").for_each(|key| _ = places[1].remove(key));
        repository.bring_up_to_date().await;
        finish(&repository, "north", &first).await;
        repository.bring_up_to_date().await;
        repository.forget_gone().await.unwrap();
        assert_nothing_missed(&repository, &format!("after {deletes} deletions")).await;
        let alone = Arc::new(repository.only("south").unwrap());
        assert_reads_back(&alone, &second.id, &new).await;
    }
}

/// Guards: a copy that listed before a sweep and wrote after it leaves nothing that is missed for ever.
#[tokio::test]
async fn a_fragment_that_comes_too_late_is_forgotten_with_its_packs() {
    let (places, repository, [(first, _), (second, new)]) = stopped_in_the_north(0).await.unwrap();
    let late = places[0].keys("index/").into_iter().map(|key| (key.clone(), places[0].objects()[&key].clone()));
    let late: Vec<_> = late.collect();
    finish(&repository, "north", &first).await;
    late.iter().for_each(|(key, bytes)| places[0].set(key, bytes.clone()));
    assert_nothing_missed(&repository, "what the north gave up is known").await;
    let south = Arc::new(repository.only("south").unwrap());
    mark(&south, &[&first]).await;
    let_pass(&places, GRACE);
    finish(&repository, "south", &first).await;
    repository.forget_gone().await.unwrap();
    assert_nothing_missed(&repository, "nobody has it any more").await;
    for name in ["north", "south"] {
        assert_reads_back(&Arc::new(repository.only(name).unwrap()), &second.id, &new).await;
    }
}

/// Guards: a mark that has not begun is no excuse. What is gone while it stands was lost, and stays so when it is taken back.
#[tokio::test]
async fn what_is_only_marked_is_not_given_up_yet() {
    const GROUP: &str = "7/1/0";
    let (places, repository) = create(1).await;
    let names = ["000000010000000000000001", "000000010000000000000002"];
    for name in names {
        repository.put_log(WORKLOAD, GROUP, name, name.as_bytes(), b"").await.unwrap();
    }
    let what_of =
        async |name: &str| repository.given_up(&repository.replicas()[0].name).await.file(WORKLOAD, GROUP, name);
    let range =
        LogRange { workload: WORKLOAD.into(), group: GROUP.into(), first: names[0].into(), last: names[1].into() };
    let going = Going { logs: vec![range.clone()], ..Going::default() };
    let mark = async || {
        let removal = repository.plan_removal(Vec::new(), vec![range.clone()], GRACE).await.unwrap();
        repository.mark(removal).await.unwrap();
        repository.marks().await.unwrap().remove(0)
    };
    assert_eq!(what_of(names[1]).await, GivenUp::No);
    let note = async |log_ends: Vec<LogEnd>| {
        let findings = Findings { log_ends, ..Findings::of("north", "structure", true, &[], Timestamp::now()) };
        repository.put_findings(findings).await.unwrap();
        repository.findings().await["north"].log_ends.len()
    };
    let (workload, group, name) = (WORKLOAD.to_owned(), GROUP.to_owned(), names[1].to_owned());
    let end = LogEnd { workload, group, name, log: "7 1".into(), end: 2, seen_at: Timestamp::now() };
    assert_eq!(note(vec![end.clone()]).await, 1);

    let standing = mark().await;
    assert_eq!((what_of(names[0]).await, what_of(names[1]).await), (GivenUp::Marked, GivenUp::Marked));
    let (key, bytes) = places[0].objects().into_iter().find(|(key, _)| key.contains(names[1])).unwrap();
    places[0].remove(&key);
    assert_eq!(note(Vec::new()).await, 1, "the end of the log was lost, and is missed");
    repository.cancel_removal(&standing).await.unwrap();
    assert_eq!(what_of(names[1]).await, GivenUp::No);
    places[0].set(&key, bytes);

    let standing = mark().await;
    places[0].break_deletes(0);
    assert_ne!(repository.sweep(&standing, &going).await.unwrap().failures, Vec::<String>::new());
    places[0].repair();
    let standing = repository.marks().await.unwrap().remove(0);
    assert!(standing.has_begun);
    assert_eq!((what_of(names[0]).await, what_of(names[1]).await), (GivenUp::Deleted, GivenUp::Deleted));
    assert_eq!(repository.sweep(&standing, &going).await.unwrap().logs, 2);
    assert_eq!(repository.marks().await.unwrap(), vec![]);
    assert_eq!((what_of(names[0]).await, what_of(names[1]).await), (GivenUp::Deleted, GivenUp::Deleted));
    assert_eq!(note(Vec::new()).await, 0, "it was given up");
}
