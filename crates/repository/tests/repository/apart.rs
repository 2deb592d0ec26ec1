//! Places that go different ways: one is pruned, one was away, one is a new disk. Each stays whole by itself, and nothing is missed for ever.

use crate::bench::*;
use crate::place::{Fault, Place};
use crate::removal::*;
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;

async fn told(repository: &Arc<Repository>) -> (Vec<Damage>, Vec<Damage>) {
    let report = repository.verify(None, true, &Silent).await.unwrap();
    (report.bad, report.behind)
}

async fn finish(repository: &Arc<Repository>, location: &str, first: &[&Point]) {
    let alone = Arc::new(repository.only(location).unwrap());
    for mark in alone.marks().await.unwrap() {
        let report = alone.sweep(&mark, &going(first)).await.unwrap();
        assert_eq!(report.failures, Vec::<String>::new());
    }
}

/// North marked the first point's packs; then the north was away and a point came to the south that builds on them. A copy of it to
/// the north is planned before the north's sweep, and carried out after it.
#[tokio::test]
async fn a_point_that_is_copied_while_its_packs_are_swept_comes_with_them() {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let north = Arc::new(repository.only("north").unwrap());
    let south = Arc::new(repository.only("south").unwrap());
    mark(&north, &[&first]).await;
    // The north is away for this one: nobody sees its mark.
    let (third, _) = backup(&south, &old).await;
    assert_eq!(third.bytes_new, 0);
    let_pass(&places, GRACE);
    let plan = repository.plan_copy("south", "north").await.unwrap();
    finish(&repository, "north", &[&first]).await;
    let report = repository.apply_copy(&plan, &|_| {}).await.unwrap();
    assert_eq!(report.failure, None);
    assert_reads_back(&north, &third.id, &old).await;
    repository.bring_up_to_date().await;
    assert_eq!(told(&repository).await, (vec![], vec![]));
    repository.forget_gone().await.unwrap();
    assert!(north.plan_removal(Vec::new(), Vec::new(), GRACE).await.is_ok());
}

/// The same, where the copy ends right after it wrote the point, at any moment of the sweep.
#[tokio::test]
async fn a_point_that_comes_while_its_packs_are_swept_gets_them_again() {
    let mut healed = 0;
    for requests in 0.. {
        let (places, repository) = create(2).await;
        let (old, new) = (few_files(1), few_files(50));
        let (first, _) = backup(&repository, &old).await;
        backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let north = Arc::new(repository.only("north").unwrap());
        let south = Arc::new(repository.only("south").unwrap());
        mark(&north, &[&first]).await;
        let (third, _) = backup(&south, &old).await;
        let_pass(&places, GRACE);
        let ends = format!("/{}", third.id);
        let of_third = |key: &str| key.starts_with("points/") && key.ends_with(&ends);
        places[0].gets(requests, places[1].objects().into_iter().filter(|(key, _)| of_third(key)).collect());
        let mark = north.marks().await.unwrap().remove(0);
        north.sweep(&mark, &going(&[&first])).await.unwrap();
        let came_in_time = places[0].has_got();
        repository.bring_up_to_date().await;
        // One that came after the sweep's last look is found, and repaired.
        let (bad, _) = told(&repository).await;
        for one in &repository.plan_repair(&bad).await.unwrap().replace {
            repository.put_back(one).await.unwrap();
        }
        repository.complete_index().await.unwrap();
        healed += usize::from(bad.is_empty());
        assert_eq!(told(&repository).await, (vec![], vec![]), "before request {requests}");
        assert_reads_back(&north, &third.id, &old).await;
        if !came_in_time {
            assert!(healed + 5 > requests, "{healed} of {requests}: the last look sees nearly all");
            return;
        }
    }
}

/// A fragment that can't be read for a moment while its packs are forgotten.
#[tokio::test]
async fn a_fragment_that_cannot_be_read_for_a_moment_is_not_forgotten() {
    for number in 0..2 {
        let (places, repository) = create(2).await;
        let (old, new) = (few_files(1), few_files(50));
        let (first, _) = backup(&repository, &old).await;
        let (second, _) = backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let late: Vec<_> =
            places[0].keys("index/").into_iter().map(|key| (key.clone(), places[0].objects()[&key].clone())).collect();
        let north = Arc::new(repository.only("north").unwrap());
        let south = Arc::new(repository.only("south").unwrap());
        mark(&north, &[&first]).await;
        mark(&south, &[&first]).await;
        let_pass(&places, GRACE);
        finish(&repository, "north", &[&first]).await;
        // A slow copy brought them after the sweep.
        late.iter().for_each(|(key, bytes)| places[0].set(key, bytes.clone()));
        finish(&repository, "south", &[&first]).await;
        assert_eq!(told(&repository).await, (vec![], vec![]), "known");
        places[0].break_reads(&late[number].0, Fault::Fail(ErrorKind::Unavailable));
        assert!(repository.forget_gone().await.is_err(), "it can't be told");
        places[0].repair();
        repository.forget_gone().await.unwrap();
        assert_reads_back(&north, &second.id, &new).await;
        assert_eq!(told(&repository).await, (vec![], vec![]), "missed for ever, {number}");
    }
}

/// A fresh place, and the sweep that was stopped is finished afterwards.
#[tokio::test]
async fn a_spared_pack_is_there_when_the_sweep_is_finished() {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let north = Arc::new(repository.only("north").unwrap());
    let south = Arc::new(repository.only("south").unwrap());
    let made = mark(&north, &[&first]).await;
    let (third, _) = backup(&south, &old).await;
    repository.bring_up_to_date().await;
    let_pass(&places, GRACE);
    places[0].break_deletes(0);
    let _ = north.sweep(&made, &going(&[&first])).await;
    places[0].repair();
    empty(&places[1]);
    repository.bring_up_to_date().await;
    finish(&repository, "north", &[&first]).await;
    repository.bring_up_to_date().await;
    assert_eq!(told(&repository).await, (vec![], vec![]), "in the end");
    assert_reads_back(&south, &third.id, &old).await;
}

/// A sweep stops after it wrote the record; a point comes that needs what it names; the next sweep spares it. Then the pack is lost.
#[tokio::test]
async fn a_pack_that_was_spared_is_missed_when_it_is_lost() {
    for deletes in 0..12 {
        let (places, repository) = create(2).await;
        let (old, new) = (some_files(1), some_files(1000));
        let (first, _) = backup(&repository, &old).await;
        backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let north = Arc::new(repository.only("north").unwrap());
        let south = Arc::new(repository.only("south").unwrap());
        let made = mark(&north, &[&first]).await;
        let (third, _) = backup(&south, &old).await;
        let_pass(&places, GRACE);
        places[0].break_deletes(deletes);
        let _ = north.sweep(&made, &going(&[&first])).await;
        places[0].repair();
        repository.bring_up_to_date().await;
        finish(&repository, "north", &[&first]).await;
        repository.bring_up_to_date().await;
        let bad = told(&repository).await;
        assert_reads_back(&north, &third.id, &old).await;
        let packs =
            repository.packs_of_each(&[format!("points/{WORKLOAD}/{}", third.id)]).await.unwrap().remove(0).unwrap();
        let lost = packs.iter().next().unwrap();
        places[0].remove(lost);
        repository.bring_up_to_date().await;
        assert_eq!(bad, (vec![], vec![]), "{deletes}");
        assert!(places[0].keys("packs/").contains(lost), "{deletes}: healed");
        assert_eq!(told(&repository).await, (vec![], vec![]), "{deletes}");
    }
}

fn empty(place: &Place) {
    place.objects().keys().filter(|key| *key != "lifeboat.json").for_each(|key| _ = place.remove(key));
}

/// North gave up two points; the south makes one again of the second, for which its pack comes back, and with it the fragment. Then the
/// south gives up the first point, too, while the west is away, and the west comes back empty.
#[tokio::test]
async fn a_new_place_does_not_learn_of_packs_that_nobody_has() {
    let (places, repository) = create(3).await;
    let (a, b, new) = (some_files(1), some_files(500), some_files(1000));
    // One fragment that lists packs of both.
    let (first, _) = backup(&repository, &a).await;
    let (second, _) = backup(&repository, &b).await;
    let (stays, _) = backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let late: Vec<_> =
        places[0].keys("index/").into_iter().map(|key| (key.clone(), places[0].objects()[&key].clone())).collect();
    for name in ["north", "south"] {
        let alone = Arc::new(repository.only(name).unwrap());
        mark(&alone, &[&first, &second]).await;
        let_pass(&places, GRACE);
        finish(&repository, name, &[&first, &second]).await;
    }
    // A slow copy brought a fragment back to the north.
    late.iter().for_each(|(key, bytes)| places[0].set(key, bytes.clone()));
    // The west's disk was exchanged for an empty one.
    empty(&places[2]);
    repository.bring_up_to_date().await;
    repository.forget_gone().await.unwrap();
    repository.bring_up_to_date().await;
    repository.forget_gone().await.unwrap();
    let west = Arc::new(repository.only("west").unwrap());
    assert_reads_back(&west, &stays.id, &new).await;
    assert_eq!(told(&repository).await, (vec![], vec![]), "missed for ever");
}

/// A fresh place gets a point from one whose sweep was stopped, without a pack that was marked and spared.
#[tokio::test]
async fn a_spared_pack_comes_to_a_new_place_before_the_sweep_is_finished() {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let north = Arc::new(repository.only("north").unwrap());
    let south = Arc::new(repository.only("south").unwrap());
    let made = mark(&north, &[&first]).await;
    let (third, _) = backup(&south, &old).await;
    repository.bring_up_to_date().await;
    let_pass(&places, GRACE);
    places[0].break_deletes(0);
    let _ = north.sweep(&made, &going(&[&first])).await;
    places[0].repair();
    assert_reads_back(&north, &third.id, &old).await;
    empty(&places[1]);
    repository.bring_up_to_date().await;
    assert_reads_back(&south, &third.id, &old).await;
}

/// The north gave up the first point. The south has a point that the north doesn't have, and it is damaged there.
#[tokio::test]
async fn a_point_that_cannot_be_read_brings_nothing_back_that_was_given_up() {
    for what in ["point", "moment"] {
        let (places, repository) = create(2).await;
        let (old, new) = (some_files(1), some_files(1000));
        let (first, _) = backup(&repository, &old).await;
        backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let north = Arc::new(repository.only("north").unwrap());
        let south = Arc::new(repository.only("south").unwrap());
        mark(&north, &[&first]).await;
        let_pass(&places, GRACE);
        finish(&repository, "north", &[&first]).await;
        let before = places[0].keys("");
        let (third, _) = backup(&south, &some_files(3000)).await;
        let (fourth, _) = backup(&south, &some_files(4000)).await;
        let key = format!("points/{WORKLOAD}/{}", third.id);
        match what {
            "point" => places[1].set(&key, b"rot".to_vec()),
            _ => places[1].break_reads(&key, Fault::Fail(ErrorKind::Unavailable)),
        }
        repository.bring_up_to_date().await;
        places[1].repair();
        let gave_up =
            south.packs_of_each(&[format!("points/{WORKLOAD}/{}", first.id)]).await.unwrap().remove(0).unwrap();
        let back = places[0].keys("packs/").into_iter().filter(|key| gave_up.contains(key) && !before.contains(key));
        assert_eq!(back.collect::<Vec<_>>(), Vec::<String>::new(), "{what}");
        assert!(!places[0].keys("points/").iter().any(|key| key.ends_with(&first.id.0)), "{what}");
        assert_reads_back(&north, &fourth.id, &some_files(4000)).await;
        if what == "moment" {
            repository.bring_up_to_date().await;
            assert_reads_back(&north, &third.id, &some_files(3000)).await;
        }
    }
}

/// A mark stands in the north. One of the packs that it names, which a point needs after all, is lost there. The south has it.
#[tokio::test]
async fn a_marked_pack_that_is_lost_and_needed_is_put_back() {
    let mut stuck = Vec::new();
    for number in 0..4 {
        let (places, repository) = create(2).await;
        let (old, new) = (few_files(1), few_files(50));
        let (first, _) = backup(&repository, &old).await;
        backup(&repository, &new).await;
        let_pass(&places, GRACE);
        let north = Arc::new(repository.only("north").unwrap());
        let south = Arc::new(repository.only("south").unwrap());
        let made = mark(&north, &[&first]).await;
        // The north is away for this one; then it is brought up to date.
        let (third, _) = backup(&south, &old).await;
        repository.bring_up_to_date().await;
        assert_reads_back(&north, &third.id, &old).await;
        let Some(pack) = made.removal.pack_keys().nth(number) else { break };
        places[0].remove(&pack);
        repository.bring_up_to_date().await;
        let bad = told(&repository).await.0;
        let plan = repository.plan_repair(&bad).await.unwrap();
        for one in &plan.replace {
            repository.put_back(one).await.unwrap();
        }
        assert_eq!(plan.lost, vec![]);
        if told(&repository).await.0 != vec![] {
            stuck.push((pack, north.sweep(&made, &going(&[&first])).await.map_err(|error| error.to_string())));
        }
    }
    assert_eq!(stuck, vec![], "the south has it whole, and repair has nothing to do");
}

/// The north gave up the first point. A point from the south brings one of its packs back, and with it the fragment that lists all of
/// them. Then the south's disk is exchanged for an empty one.
#[tokio::test]
async fn a_fragment_that_came_back_with_one_pack_brings_no_other_to_a_new_place() {
    let (places, repository) = create(2).await;
    let (old, new) = (some_files(1), some_files(1000));
    let (first, _) = backup(&repository, &old).await;
    let (second, _) = backup(&repository, &new).await;
    let_pass(&places, GRACE);
    let north = Arc::new(repository.only("north").unwrap());
    let south = Arc::new(repository.only("south").unwrap());
    mark(&north, &[&first]).await;
    let_pass(&places, GRACE);
    finish(&repository, "north", &[&first]).await;
    let some: Files =
        old.iter().filter(|(name, _)| name.starts_with("base/1/2")).map(|(a, b)| (a.clone(), b.clone())).collect();
    let (third, _) = backup(&south, &some).await;
    repository.bring_up_to_date().await;
    assert_eq!(told(&repository).await, (vec![], vec![]), "before");
    empty(&places[1]);
    repository.bring_up_to_date().await;
    repository.forget_gone().await.unwrap();
    repository.bring_up_to_date().await;
    assert_reads_back(&south, &second.id, &new).await;
    assert_reads_back(&south, &third.id, &some).await;
    assert_eq!(told(&repository).await, (vec![], vec![]), "missed for ever");
}
