//! Holds: what somebody still reads from stays, and whoever holds and whoever deletes can't miss each other.

use crate::bench::*;
use crate::keeping::{mark_each, mostly_dead, rewrite};
use crate::place::{Fault, Place};
use crate::removal::{GRACE, going, let_pass, mark, marked};
use crate::shuffled::Shuffled;
use jiff::{SignedDuration, Timestamp};
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;
use std::time::Duration;

/// Orders in which a hold and a sweep meet.
const SEEDS: u64 = 400;
const BY: &str = "db2:/srv/restored";

async fn held_until(repository: &Repository, point: &Point, until: Timestamp) -> Result<Holding> {
    repository.hold(WORKLOAD, &point.id, BY, "instant restore", until).await
}

async fn held(repository: &Repository, point: &Point) -> Hold {
    held_until(repository, point, hold_until(Timestamp::now())).await.unwrap().hold
}

fn holds(place: &Place) -> usize {
    place.keys("holds/").len()
}

/// A repository with a point that goes and one that stays; the files of the first.
async fn with_two(count: usize) -> (Vec<Arc<Place>>, Arc<Repository>, (Point, Files)) {
    let (places, repository) = create(count).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    backup(&repository, &few_files(50)).await;
    let_pass(&places, GRACE);
    (places, repository, (first, files))
}

#[tokio::test]
async fn a_hold_that_comes_after_the_mark_spares_the_point_and_all_that_it_needs() {
    let (places, repository, (first, files)) = with_two(2).await;
    repository.put_log(WORKLOAD, "7/1", "00000001", &noise(1, 100), &[]).await.unwrap();
    let log =
        LogRange { workload: WORKLOAD.into(), group: "7/1".into(), first: "00000001".into(), last: "00000001".into() };
    let removal = repository.plan_removal(vec![marked(&first)], vec![log.clone()], GRACE).await.unwrap();
    assert!(!removal.packs.is_empty());
    repository.mark(removal).await.unwrap();
    let before = repository.marks().await.unwrap().remove(0);
    let hold = held(&repository, &first).await;
    // Whoever sweeps didn't know of it when he decided.
    let going = Going { logs: vec![log], ..going(&[&first]) };
    let report = repository.sweep(&before, &going).await.unwrap();
    assert_eq!((report.points, report.spared), (vec![], vec![marked(&first)]));
    assert_eq!((report.packs, report.logs), (0, 0));
    assert_reads_back(&repository, &first.id, &files).await;
    assert_eq!(verify(&repository, true).await, vec![]);

    assert_eq!(repository.release(&hold).await, vec![]);
    assert_eq!(repository.release(&hold).await, vec![], "a second time");
    assert_eq!(holds(&places[0]) + holds(&places[1]), 0);
    let removal = repository.plan_removal(vec![marked(&first)], going.logs.clone(), GRACE).await.unwrap();
    repository.mark(removal).await.unwrap();
    let report = repository.sweep(&repository.marks().await.unwrap()[0], &going).await.unwrap();
    assert_eq!((report.points.len(), report.logs), (1, 1));
    assert_eq!(verify(&repository, true).await, vec![]);
}

/// Guards: in whatever order the two go about it, a point that `hold` said is held can be read.
#[tokio::test]
async fn a_hold_and_a_sweep_at_once_never_miss_each_other() {
    let (places, repository, (first, files)) = with_two(1).await;
    let mark = mark(&repository, &[&first]).await;
    let begin = places[0].objects();
    let (mut held_count, mut refused_count) = (0, 0);
    let shuffled = [Shuffled::new(&places[0]), Shuffled::new(&places[0])];
    let through = async |number: usize| {
        let replica = Replica { name: "north".into(), location: shuffled[number].clone() };
        Arc::new(Repository::open(vec![replica], &passphrase(), 3).await.unwrap())
    };
    let (holder, sweeper) = (through(0).await, through(1).await);
    for seed in 0..SEEDS {
        places[0].hold(begin.clone());
        shuffled[0].shuffle(2 * seed);
        shuffled[1].shuffle(2 * seed + 1);
        let late = noise(seed, 2);
        let holding = async {
            for _ in 0..u16::from_le_bytes([late[0], late[1]]) % 700 {
                tokio::task::yield_now().await;
            }
            held_until(&holder, &first, hold_until(Timestamp::now())).await
        };
        let gone = going(&[&first]);
        let (held, report) = tokio::join!(holding, sweeper.sweep(&mark, &gone));
        let report = report.unwrap();
        match held {
            Ok(_) => {
                held_count += 1;
                assert_eq!(report.spared, vec![marked(&first)], "seed {seed}");
                assert_eq!(read_back(&repository, &first.id).await.unwrap().0, files, "seed {seed}");
                assert_eq!(holds(&places[0]), 1);
            }
            Err(Error::GoingAway { .. } | Error::NotFound { .. }) => {
                refused_count += 1;
                assert_eq!(holds(&places[0]), 0, "seed {seed}: it was given up");
            }
            Err(error) => panic!("seed {seed}: {error}"),
        }
        assert_eq!(verify(&repository, false).await, vec![], "seed {seed}");
    }
    assert!(held_count > 20 && refused_count > 20, "{held_count} held, {refused_count} refused");
}

/// A sweep that is done leaves no mark: that the point is gone shows only by itself.
#[tokio::test]
async fn a_hold_that_comes_just_too_late_is_told_so() {
    let (places, repository, (first, _)) = with_two(1).await;
    let mark = mark(&repository, &[&first]).await;
    let before = places[0].objects();
    repository.sweep(&mark, &going(&[&first])).await.unwrap();
    let swept = places[0].objects();
    for requests in 0.. {
        places[0].hold(before.clone());
        places[0].becomes(requests, swept.clone());
        let held = held_until(&repository, &first, hold_until(Timestamp::now())).await;
        if !places[0].has_become() {
            assert!(held.is_ok() && requests > 2, "{held:?} after {requests} requests");
            break;
        }
        let is_told = matches!(held, Err(Error::GoingAway { .. } | Error::NotFound { .. }));
        assert!(is_told && holds(&places[0]) == 0, "swept before request {requests}: {held:?}");
    }
}

#[tokio::test]
async fn what_is_being_deleted_is_refused_and_what_was_held_before_is_renewed() {
    let (places, repository, (first, _)) = with_two(1).await;
    let mark = mark(&repository, &[&first]).await;
    let begun = format!("removals/{}/begun", mark.name);
    let hold = held(&repository, &first).await;
    places[0].set(&begun, b"begun".to_vec());
    // The sweep has seen the hold; another one it may have missed.
    let renewed = repository.renew(&hold, hold_until(Timestamp::now())).await.unwrap();
    assert_eq!((renewed.locations, holds(&places[0])), (vec!["north".to_owned()], 1));
    let refused = held_until(&repository, &first, hold_until(Timestamp::now())).await;
    assert!(matches!(refused, Err(Error::GoingAway { .. })), "{refused:?}");
    assert_eq!(holds(&places[0]), 1, "the other one stays");
    // One that is to end soon may have ended by the clocks of whoever sweeps.
    let soon = Timestamp::now() + SignedDuration::from_hours(1);
    let hold = repository.renew(&renewed.hold, soon).await.unwrap().hold;
    assert!(matches!(repository.renew(&hold, soon).await, Err(Error::GoingAway { .. })));
    assert_eq!(holds(&places[0]), 1, "what held before is as it was");
    // Another location may keep what one gives up.
    places[0].remove(&begun);
    assert!(repository.renew(&hold, soon).await.is_ok());
}

#[tokio::test]
async fn a_hold_that_nobody_renews_ends_by_both_clocks() {
    let (places, repository, (first, _)) = with_two(1).await;
    let mark = mark(&repository, &[&first]).await;
    let until = Timestamp::now() + SignedDuration::from_millis(1);
    held_until(&repository, &first, until).await.unwrap();
    while Timestamp::now() <= until {
        tokio::task::yield_now().await;
    }
    assert_eq!(repository.holds_that_stand().await.unwrap().len(), 1, "by the store's clock no time has passed");
    repository.forget_ended_holds().await.unwrap();
    assert_eq!(holds(&places[0]), 1);
    let_pass(&places, Duration::from_secs(1));
    assert_eq!(repository.holds_that_stand().await.unwrap(), vec![]);
    assert_eq!(repository.holds(None).await.unwrap().len(), 1);
    let report = repository.sweep(&mark, &going(&[&first])).await.unwrap();
    assert_eq!((report.points, report.spared), (vec![marked(&first)], vec![]));
    // Where nothing can be deleted, that is no error.
    places[0].break_deletes(1);
    repository.forget_ended_holds().await.unwrap();
    assert_eq!(holds(&places[0]), 1);
    places[0].repair();
    repository.forget_ended_holds().await.unwrap();
    assert_eq!(holds(&places[0]), 0);
}

#[tokio::test]
async fn a_holder_renews_its_own_also_after_a_restart_and_minds_nobody_elses() {
    let (places, repository, (first, _)) = with_two(2).await;
    let hold = held(&repository, &first).await;
    held(&repository, &first).await;
    let kept = serde_json::to_string(&hold).unwrap();
    drop(hold);
    let again = open(&places).await;
    let mut hold: Hold = serde_json::from_str(&kept).unwrap();
    for _ in 0..3 {
        hold = again.renew(&hold, hold_until(Timestamp::now())).await.unwrap().hold;
        assert_eq!((holds(&places[0]), holds(&places[1])), (2, 2));
    }
    let records = again.holds(Some(WORKLOAD)).await.unwrap();
    assert_eq!((records.len(), records[0].locations.len()), (2, 2));
    assert!(records.iter().any(|record| record.hold.as_ref() == Some(&hold)), "{records:?}");
    assert_eq!(again.holds(Some("other")).await.unwrap(), vec![]);
    // What is locked stays until it ends, and that is told.
    places[1].break_deletes(0);
    let stays = again.release(&hold).await;
    assert_eq!((stays.len(), stays[0].0.as_str()), (1, "south"));
    assert_eq!((holds(&places[0]), holds(&places[1])), (1, 2));
    places[1].repair();
    assert_eq!(again.release(&hold).await, vec![]);
    assert_eq!((holds(&places[0]), holds(&places[1])), (1, 1));
    // A released one that is renewed holds again.
    again.renew(&hold, hold_until(Timestamp::now())).await.unwrap();
    assert_eq!(again.holds(None).await.unwrap().len(), 2);
    for record in again.holds(None).await.unwrap() {
        assert_eq!(again.remove_hold(&record).await, vec![]);
    }
    assert_eq!(holds(&places[0]) + holds(&places[1]), 0);
}

#[tokio::test]
async fn one_location_that_takes_it_is_enough_and_none_is_an_error() {
    let (places, repository, (first, _)) = with_two(2).await;
    let month = hold_until(Timestamp::now());
    for fault in [Fault::Fail(ErrorKind::Denied), Fault::Hang] {
        places[1].break_writes("holds/", 0, fault);
        let holding = held_until(&repository, &first, month).await.unwrap();
        assert_eq!((holding.locations, holding.left_out[0].0.as_str()), (vec!["north".to_owned()], "south"));
    }
    places[0].break_writes("holds/", 0, Fault::Fail(ErrorKind::Denied));
    places[1].break_writes("holds/", 0, Fault::Fail(ErrorKind::Denied));
    let refused = held_until(&repository, &first, month).await;
    assert!(matches!(refused, Err(Error::AllLocationsFailed { .. })), "{refused:?}");
    places.iter().for_each(|place| place.repair());
    let nowhere = repository.hold(WORKLOAD, &PointId("20260101T000000Z-00000000".into()), BY, "", month).await;
    assert!(matches!(nowhere, Err(Error::NotFound { .. })), "{nowhere:?}");
    // What becomes of marks can't be told: then nothing is promised.
    places[0].break_reads("removals/", Fault::Fail(ErrorKind::Unavailable));
    let before = holds(&places[0]);
    let holding = held_until(&repository, &first, month).await.unwrap();
    assert_eq!((holding.locations, holds(&places[0])), (vec!["south".to_owned()], before));
}

#[tokio::test]
async fn a_hold_is_about_its_location_and_nobody_copies_or_misses_it() {
    let (places, repository, (first, _)) = with_two(2).await;
    let north = repository.only("north").unwrap();
    held(&north, &first).await;
    assert_eq!((holds(&places[0]), holds(&places[1])), (1, 0));
    assert_eq!(verify(&repository, true).await, vec![]);
    let plan = repository.plan_copy("north", "south").await.unwrap();
    assert_eq!(plan.objects, vec![]);
    WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    assert_eq!(holds(&places[1]), 0);
    // A location without the point takes no hold, and misses nothing.
    let key = places[1].keys(&format!("receipts/{WORKLOAD}/{}", first.id)).remove(0);
    places[1].remove(&key);
    places[1].remove(&key.replacen("receipts", "points", 1));
    let holding = held_until(&repository, &first, hold_until(Timestamp::now())).await.unwrap();
    assert_eq!((holding.locations, holding.left_out), (vec!["north".to_owned()], vec![]));
}

#[tokio::test]
async fn a_hold_that_cannot_be_read_holds_and_can_be_given_up() {
    let (places, repository, (first, files)) = with_two(1).await;
    let removal = mark(&repository, &[&first]).await;
    let ours = held(&repository, &first).await;
    let key = places[0].keys("holds/").remove(0);
    let whole = places[0].objects()[&key].clone();
    // Under the name of another point it says nothing either.
    let moved = format!("holds/{WORKLOAD}/{}/{}", first.id, "20260101T000000.000000Z-00000000");
    for (key, bytes) in [(&key, b"not a hold, but long enough to be one".repeat(9).into()), (&moved, whole)] {
        places[0].keys("holds/").iter().for_each(|key| _ = places[0].remove(key));
        places[0].set(key, bytes);
        assert_eq!(repository.holds(None).await.unwrap()[0].hold, None);
        // Another one that has ended takes nothing from it.
        held_until(&repository, &first, Timestamp::now() - SignedDuration::from_secs(1)).await.unwrap();
        let report = repository.sweep(&removal, &going(&[&first])).await.unwrap();
        assert_eq!(report.spared, vec![marked(&first)]);
        assert_reads_back(&repository, &first.id, &files).await;
        repository.forget_ended_holds().await.unwrap();
        let bad = verify(&repository, true).await;
        assert_eq!(bad.iter().map(|damage| &damage.object).collect::<Vec<_>>(), [key]);
        let plan = repository.plan_repair(&bad).await.unwrap();
        assert_eq!(plan.lost, bad);
        assert_eq!(repository.give_up(&plan.lost).await.unwrap(), bad);
        assert_eq!(holds(&places[0]), 0);
    }
    // Its holder knows its own by the name.
    places[0].set(&key, b"not a hold".to_vec());
    repository.renew(&ours, hold_until(Timestamp::now())).await.unwrap();
    assert_eq!(repository.holds(None).await.unwrap().len(), 1);
    // One of a point that is gone is nobody's.
    places[0].set("holds/shop/gone/1-2", b"not a hold".to_vec());
    repository.forget_ended_holds().await.unwrap();
    assert_eq!(holds(&places[0]), 1);
}

/// Who serves a point for weeks has read the index once: the packs that it knows must stay, though others hold the same by now.
#[tokio::test]
async fn packs_that_a_holder_reads_from_are_neither_rewritten_nor_deleted() {
    for is_held_first in [true, false] {
        let (places, repository, first, (second, _)) = mostly_dead().await;
        let reader = ChunkReader::open(repository.clone()).await.unwrap();
        let tree = TreeReader::read(&reader, &second.tree).await.unwrap();
        if is_held_first {
            held(&repository, &second).await;
        }
        let report = rewrite(&repository, &[&first]).await.unwrap();
        assert_eq!(report.rewritten.is_empty(), is_held_first);
        mark_each(&repository, &[&first], &report).await;
        if !is_held_first {
            held(&repository, &second).await;
        }
        let_pass(&places, GRACE);
        for name in ["north", "south"] {
            let alone = Arc::new(repository.only(name).unwrap());
            for mark in alone.marks().await.unwrap() {
                assert_eq!(alone.sweep(&mark, &going(&[&first])).await.unwrap().points, vec![marked(&first)]);
            }
        }
        for entry in &tree {
            for extent in reader.extents(entry).await.unwrap() {
                let Source::Chunk { id, .. } = extent.source else { continue };
                reader.read_all(&[id]).await.expect("the packs that it knows of are there");
            }
        }
        assert_eq!(verify(&repository, true).await, vec![]);
    }
}
