//! The ledger as its users see it: several locations, some of which fail, and somebody who lays hands on one.

mod support;

use lifeboat_ledger::{EntryHash, FlawKind, Grade, Known, append, catch_up, gather, look};
use lifeboat_location::{ErrorKind, Fault, Location, Operation};
use serde_json::json;
use std::collections::BTreeSet;
use support::{World, at, keys_of, written};

#[tokio::test]
async fn an_entry_is_in_every_location_and_verifies() {
    let world = World::new(3);
    let first = world.append(1).await.unwrap();
    let second = world.append(2).await.unwrap();
    assert_eq!(second.kept, ["a", "b", "c"]);
    assert_eq!((first.signed.entry.sequence, second.signed.entry.sequence), (1, 2));
    assert_eq!(second.signed.entry.previous, [first.signed.hash]);
    let verdict = world.judge(&Known::default()).await;
    assert_eq!(verdict.findings, []);
    assert_eq!(verdict.heads, [second.signed.name()]);
    assert_eq!(world.gather().await.in_order()[1].entry.body, json!({ "number": 2 }));
}

#[tokio::test]
async fn a_location_that_was_away_is_told_of_and_catches_up() {
    let world = World::new(2);
    world.append(1).await.unwrap();
    world.faulty[1].always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    let second = world.append(2).await.unwrap();
    assert_eq!(second.kept, ["a"]);
    assert_eq!(second.away[0].0, "b");
    world.faulty[1].heal();
    let behind = world.judge(&Known::default()).await;
    assert_eq!(support::told(&behind), [("b", FlawKind::Lacking, second.signed.name().to_string())]);
    assert_eq!(behind.worst(), Some(Grade::Doubt));
    let third = world.append(3).await.unwrap();
    assert_eq!(third.caught[0].entries, [second.signed.name()]);
    assert_eq!(world.judge(&Known::default()).await.findings, []);
}

#[tokio::test]
async fn sync_brings_what_is_lacking_and_signs_nothing() {
    let world = World::new(2);
    world.faulty[1].always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
    for number in 1..=3 {
        world.append(number).await.unwrap();
    }
    world.faulty[1].heal();
    let (caught, away) = catch_up(&world.places, &world.key, &world.shelf()).await.unwrap();
    assert_eq!((caught[0].entries.len(), caught[1].entries.len()), (0, 3));
    assert!(away.is_empty());
    assert_eq!(keys_of(&world, 0).await, keys_of(&world, 1).await);
}

#[tokio::test]
async fn nobody_there_is_an_error_that_says_why() {
    let world = World::new(2);
    for faulty in &world.faulty {
        faulty.always(Operation::Put, "", Fault::Error(ErrorKind::Full));
    }
    let error = world.append(1).await.unwrap_err();
    assert!(matches!(&error, lifeboat_ledger::Error::NotKept { failures } if failures.len() == 2), "{error:?}");
    for faulty in &world.faulty {
        faulty.always(Operation::List, "", Fault::Error(ErrorKind::Unavailable));
    }
    assert!(matches!(world.append(1).await, Err(lifeboat_ledger::Error::NotKept { .. })));
}

#[tokio::test]
async fn two_writers_at_once_make_two_heads_and_the_next_entry_joins_them() {
    let world = World::new(2);
    world.append(1).await.unwrap();
    // Each sees one location only: the same as writing at the same moment.
    let (left, right) = (&world.places[..1], &world.places[1..]);
    let one = append(left, &world.key, &world.shelf(), written(2)).await.unwrap();
    let other = append(right, &world.key, &world.shelf(), written(3)).await.unwrap();
    catch_up(&world.places, &world.key, &world.shelf()).await.unwrap();
    let verdict = world.judge(&Known::default()).await;
    let heads: BTreeSet<String> = verdict.findings.iter().map(|finding| finding.object.clone()).collect();
    assert_eq!(heads, BTreeSet::from([one.signed.name().to_string(), other.signed.name().to_string()]));
    assert!(verdict.findings.iter().all(|finding| finding.kind == FlawKind::Heads && finding.grade == Grade::Doubt));
    let joining = world.append(4).await.unwrap();
    assert_eq!(joining.signed.entry.previous.len(), 2);
    assert_eq!(joining.signed.entry.sequence, 3);
    assert_eq!(world.judge(&Known::default()).await.findings, []);
}

#[tokio::test]
async fn a_kill_at_any_write_leaves_a_ledger_that_verifies() {
    // How many writes a catching up and an append take together, at most.
    for writes in 0..12 {
        let world = World::new(2);
        world.faulty[1].always(Operation::Any, "", Fault::Error(ErrorKind::Unavailable));
        for number in 1..=3 {
            world.append(number).await.unwrap();
        }
        world.faulty[1].heal();
        for faulty in &world.faulty {
            // Dead after so many writes: the last one happened, and nobody was told.
            faulty.times(Operation::Put, "", writes, 1, Fault::LostAnswer(ErrorKind::Unavailable));
            faulty.always(Operation::Put, "", Fault::Error(ErrorKind::Unavailable));
        }
        let _ = world.append(4).await;
        for faulty in &world.faulty {
            faulty.heal();
        }
        let verdict = world.judge(&Known::default()).await;
        assert!(verdict.worst() != Some(Grade::Damage), "{writes}: {:?}", verdict.findings);
        for place in &world.places {
            let alone = lifeboat_ledger::judge(&[look(place).await.unwrap()], world.key.public(), &Known::default());
            assert_eq!(alone.findings, [], "{writes}");
        }
        world.append(5).await.unwrap();
        assert_eq!(world.judge(&Known::default()).await.findings, [], "{writes}");
    }
}

#[tokio::test]
async fn an_answer_that_was_lost_is_no_second_entry() {
    let world = World::new(1);
    world.append(1).await.unwrap();
    world.faulty[0].times(Operation::Put, "", 1, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    assert!(world.append(2).await.is_err(), "nobody can say that it is kept");
    let third = world.append(3).await.unwrap();
    assert_eq!(third.signed.entry.sequence, 3, "it was");
    assert_eq!(world.judge(&Known::default()).await.findings, []);
}

#[tokio::test]
async fn damage_in_one_location_is_read_from_another_and_never_overwritten() {
    let world = World::new(2);
    let first = world.append(1).await.unwrap();
    let key = first.signed.name().key();
    world.replace(0, &key, b"{}").await;
    let second = world.append(2).await.unwrap();
    assert_eq!(second.signed.entry.previous, [first.signed.hash]);
    let gathered = gather(&world.places, world.key.public(), &lifeboat_ledger::Shelf::none()).await.unwrap();
    assert_eq!((gathered.entries.len(), gathered.flawed.len()), (2, 0));
    assert_eq!(world.memory(0).get(&key).await.unwrap(), &b"{}"[..]);
    let verdict = world.judge(&Known::default()).await;
    assert_eq!(support::told(&verdict), [("a", FlawKind::Changed, first.signed.name().to_string())]);
}

#[tokio::test]
async fn what_was_slipped_in_is_followed_by_nobody() {
    let world = World::new(1);
    let first = world.append(1).await.unwrap();
    let forger = World::with_seed(1, 9);
    forger.append(1).await.unwrap();
    let forged = forger.append(2).await.unwrap();
    world.memory(0).put_new(&forged.signed.name().key(), forged.signed.bytes.clone()).await.unwrap();
    let next = world.append(2).await.unwrap();
    assert_eq!((next.signed.entry.sequence, next.signed.entry.previous), (2, vec![first.signed.hash]));
    let gathered = world.gather().await;
    assert_eq!(gathered.flawed[0].1.kind, FlawKind::OtherKey);
    let verdict = world.judge(&Known::default()).await;
    assert_eq!(support::told(&verdict), [("a", FlawKind::OtherKey, forged.signed.name().to_string())]);
}

#[tokio::test]
async fn the_end_that_is_gone_everywhere_is_missed_by_who_knew_it() {
    let world = World::new(2);
    for number in 1..=3 {
        world.append(number).await.unwrap();
    }
    let last = world.gather().await.in_order().last().unwrap().name();
    for number in 0..2 {
        world.memory(number).delete(&last.key()).await.unwrap();
    }
    assert_eq!(world.judge(&Known::default()).await.findings, [], "a chain alone can't tell");
    let told = world.judge(&Known { heads: vec![last.hash.to_string()], ..Known::default() }).await;
    assert_eq!(support::told(&told), [("", FlawKind::Truncated, last.hash.to_string())]);
    let seen = [("a".to_owned(), BTreeSet::from([last]))].into();
    let told = world.judge(&Known { seen, ..Known::default() }).await;
    assert_eq!(support::told(&told), [("a", FlawKind::Truncated, last.to_string())]);
}

#[tokio::test]
async fn reads_have_a_bound() {
    let world = World::new(1);
    world.append(1).await.unwrap();
    let huge = vec![b' '; usize::try_from(lifeboat_ledger::BYTES_MAX).unwrap() + 1];
    let key = format!("ledger/000000000002-{}.json", EntryHash::of(&huge));
    world.memory(0).put_new(&key, huge.into()).await.unwrap();
    world.memory(0).put_new(&format!("ledger/key-{}.json", "0".repeat(16)), vec![b' '; 5000].into()).await.unwrap();
    let verdict = world.judge(&Known::default()).await;
    let kinds: Vec<FlawKind> = verdict.findings.iter().map(|finding| finding.kind).collect();
    assert_eq!(kinds, [FlawKind::Key, FlawKind::Changed]);
    let read = |call: &(Operation, String)| call.0 == Operation::Get && (call.1 == key || call.1.contains("key-0000"));
    assert!(!world.faulty[0].calls().iter().any(read), "none of it is read");
}

#[tokio::test]
async fn a_location_that_hangs_holds_nobody_up_for_ever() {
    tokio::time::pause();
    let world = World::new(2);
    world.faulty[1].always(Operation::Any, "", Fault::Hang);
    let kept = world.append(1).await.unwrap();
    assert_eq!(kept.kept, ["a"]);
    assert!(kept.away[0].1.contains("none within"), "{:?}", kept.away);
}

#[tokio::test]
async fn times_are_kept_to_the_microsecond() {
    let world = World::new(1);
    let kept = append(&world.places, &world.key, &world.shelf(), written(1)).await.unwrap();
    assert_eq!(kept.signed.entry.at, at(1));
    assert_eq!(world.gather().await.in_order()[0].entry.at.to_string(), "2026-11-22T00:00:01.000001Z");
}
