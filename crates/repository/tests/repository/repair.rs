//! What is damaged in one location is put back from another; what none has stays until it is given up.

use crate::bench::*;
use crate::place::{Fault, Place};
use bytes::Bytes;
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::sync::Arc;
use std::sync::atomic::Ordering;

async fn stored(count: usize) -> (Vec<Arc<Place>>, Arc<Repository>, PointId, Files) {
    let (places, repository) = create(count).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    repository.put_log(WORKLOAD, "1/1", "000000010000000000000001", &text(5, 2000), b"facts").await.unwrap();
    (places, repository, point.id, files)
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x20;
    bytes.into()
}

fn damages(bytes: &Bytes) -> Vec<Option<Bytes>> {
    vec![Some(flipped(bytes)), Some(bytes.slice(..bytes.len() / 2)), Some(Bytes::new()), None]
}

fn set(place: &Place, key: &str, bytes: Option<Bytes>) {
    match bytes {
        Some(bytes) => place.set(key, bytes),
        None => _ = place.remove(key),
    }
}

/// Every object, damaged in every way, comes back as it was.
#[tokio::test]
async fn what_another_location_has_whole_is_put_back() {
    let (places, repository, point, files) = stored(2).await;
    let everything = places[0].objects();
    let mut put_back = 0;
    for (key, bytes) in everything.iter().filter(|(key, _)| *key != "lifeboat.json") {
        for damaged in damages(bytes) {
            let is_there = damaged.is_some();
            set(&places[0], key, damaged);
            let plan = repository.plan_repair(&verify(&repository, true).await).await.unwrap();
            assert_eq!(plan.lost, [], "{key}");
            // What is missing and needed by no point is for `copy` to bring.
            assert!(!plan.replace.is_empty() || !is_there, "{key}");
            for replacement in &plan.replace {
                assert_eq!((replacement.object.as_str(), replacement.from.as_str()), (key.as_str(), "south"));
                assert!(repository.put_back(replacement).await.unwrap());
                assert!(!repository.put_back(replacement).await.unwrap(), "it is whole now");
                put_back += 1;
            }
            repository.bring_up_to_date().await;
            assert_eq!(places[0].objects(), everything, "{key}");
        }
    }
    assert!(put_back > 20, "{put_back}");
    assert_reads_back(&repository, &point, &files).await;
}

#[tokio::test]
async fn nothing_is_touched_that_is_whole_or_that_cannot_be_had() {
    let (places, repository, _, _) = stored(2).await;
    let key = places[0].keys("packs/").remove(0);
    let blamed =
        Damage { location: "north".into(), object: key.clone(), what: "somebody says so".into(), is_inside: true };
    let writes = || places.iter().map(|place| place.writes.load(Ordering::SeqCst)).sum::<usize>();
    let before = (places[0].objects(), places[1].objects(), writes());
    assert_eq!(repository.plan_repair(std::slice::from_ref(&blamed)).await.unwrap(), RepairPlan::default());
    assert_eq!(repository.give_up(&[blamed]).await.unwrap(), []);
    assert_eq!((places[0].objects(), places[1].objects(), writes()), before);

    // Damaged here, and the other one doesn't answer: nobody knows whether it is lost.
    places[0].set(&key, Bytes::from_static(b"rot"));
    let bad = verify(&repository, true).await;
    let plan = repository.plan_repair(&bad).await.unwrap();
    places[1].break_reads("packs/", Fault::Fail(ErrorKind::Unavailable));
    assert!(repository.plan_repair(&bad).await.is_err());
    assert!(repository.put_back(&plan.replace[0]).await.is_err());
    assert_eq!(places[0].objects()[&key], Bytes::from_static(b"rot"), "what is there stays until it can be replaced");
}

/// A point that is damaged where it is left: its receipt goes with it, and the location is whole without it.
#[tokio::test]
async fn what_nobody_has_is_given_up_when_told_so() {
    let (places, repository, point, _) = stored(2).await;
    let verification = Verification {
        point: point.clone(),
        workload: WORKLOAD.into(),
        verified_at: jiff::Timestamp::now(),
        passed: false,
        level: "data".into(),
        details: serde_json::Value::Null,
        standing: None,
    };
    repository.put_verification(&verification).await.unwrap();
    let keys: Vec<String> =
        ["points/", "packs/", "wal/"].iter().map(|prefix| places[0].keys(prefix).remove(0)).collect();
    for (place, key) in places.iter().flat_map(|place| keys.iter().map(move |key| (place, key))) {
        let bytes = flipped(&place.objects()[key]);
        place.set(key, bytes);
    }
    let plan = repository.plan_repair(&verify(&repository, true).await).await.unwrap();
    assert_eq!(plan.replace, []);
    assert_eq!(plan.lost.len(), 6, "{plan:?}");
    let gone = repository.give_up(&plan.lost).await.unwrap();
    assert_eq!(gone.len(), 4, "{gone:?}");
    let rescued = repository.rescue(&plan.lost).await.unwrap();
    assert_eq!(rescued.dropped.len(), 2, "no point needs the damaged pack: {rescued:?}");
    for place in &places {
        for prefix in ["points/", "receipts/", "verifications/", "wal/"] {
            assert_eq!(place.keys(prefix), Vec::<String>::new());
        }
    }
    assert_eq!(verify(&repository, true).await, [], "nothing needs the pack that is gone");
    let (point, _) = backup(&repository, &few_files(2)).await;
    assert_eq!(read_back(&repository, &point.id).await.unwrap().0, few_files(2));
}

/// Flips a bit of the middle of each frame that is told by its number, in the largest pack. Returns the pack's key.
fn damage_frames(place: &Place, index: &Index, which: impl Fn(usize) -> bool) -> String {
    let pack = index.packs().iter().max_by_key(|pack| pack.frames.len()).unwrap();
    let mut bytes = place.objects()[&pack.key()].to_vec();
    for (_, frame) in pack.frames.iter().enumerate().filter(|(number, _)| which(*number)) {
        bytes[frame.offset as usize + frame.stored_bytes as usize / 2] ^= 4;
    }
    place.set(&pack.key(), bytes);
    pack.key()
}

async fn index_of(repository: &Arc<Repository>) -> Index {
    ChunkReader::open(repository.clone()).await.unwrap().into_index().0
}

async fn lost(repository: &Arc<Repository>) -> Vec<Damage> {
    repository.plan_repair(&verify(repository, true).await).await.unwrap().lost
}

/// What a point needs stays, with all that can be read of it; and when a backup has stored the rest again, the damaged pack goes.
#[tokio::test]
async fn of_a_damaged_pack_all_that_can_be_read_is_saved_and_then_it_goes() {
    for count in 1..=2 {
        let (places, repository, _, _) = stored(count).await;
        let files = some_files(7);
        let (point, _) = backup(&repository, &files).await;
        let index = index_of(&repository).await;
        let frames = index.packs().iter().map(|pack| pack.frames.len()).max().unwrap();
        assert!(frames > 3, "{frames} frames");
        let damaged: Vec<String> =
            places.iter().map(|place| damage_frames(place, &index, |number| number == 1)).collect();
        let pack = &damaged[0];
        let found = lost(&repository).await;
        assert_eq!(found.len(), count, "{found:?}");
        let rescued = repository.rescue(&found).await.unwrap();
        assert_eq!((rescued.chunks_lost, rescued.dropped.len()), (1, 0), "{rescued:?}");
        assert_eq!(rescued.chunks, frames as u64 - 1);
        assert!(places.iter().all(|place| place.keys("packs/").contains(pack)), "a point needs what is lost");
        assert!(read_back(&repository, &point.id).await.is_err());
        let again = repository.rescue(&found).await.unwrap();
        assert_eq!((again.chunks, again.bytes), (0, 0), "nothing is saved twice");

        let bad = repository.verify(None, true, &Silent).await.unwrap().bad;
        for place in ["north", "south"].iter().take(count) {
            let now = jiff::Timestamp::now();
            repository.put_findings(Findings::of(place, "data", true, &bad, now)).await.unwrap();
        }
        let (second, _) = backup(&repository, &files).await;
        let rescued = repository.rescue(&lost(&repository).await).await.unwrap();
        assert_eq!((rescued.chunks, rescued.chunks_lost, rescued.dropped.len()), (0, 0, count), "{rescued:?}");
        assert_eq!(verify(&repository, true).await, []);
        repository.forget_gone().await.unwrap();
        assert_eq!(verify(&repository, true).await, [], "nothing lists it any more");
        for id in [&point.id, &second.id] {
            for name in ["north", "south"].iter().take(count) {
                assert_reads_back(&Arc::new(repository.only(name).unwrap()), id, &files).await;
            }
        }
    }
}

/// Two copies that are damaged in different places are one whole copy together.
#[tokio::test]
async fn copies_that_are_damaged_in_different_places_make_a_whole_one() {
    let (places, repository, _, _) = stored(2).await;
    let files = some_files(7);
    let (point, _) = backup(&repository, &files).await;
    let index = index_of(&repository).await;
    let even = damage_frames(&places[0], &index, |number| number % 2 == 0);
    assert_eq!(damage_frames(&places[1], &index, |number| number % 2 == 1), even);
    let rescued = repository.rescue(&lost(&repository).await).await.unwrap();
    assert_eq!((rescued.chunks_lost, rescued.dropped.len()), (0, 2), "{rescued:?}");
    assert_eq!(verify(&repository, true).await, []);
    for name in ["north", "south"] {
        assert_reads_back(&Arc::new(repository.only(name).unwrap()), &point.id, &files).await;
    }
}

#[tokio::test]
async fn a_rescue_that_is_interrupted_anywhere_loses_nothing_and_is_gone_on_with() {
    for count in 0.. {
        let (places, repository, _, _) = stored(2).await;
        let files = some_files(7);
        let (point, _) = backup(&repository, &files).await;
        let index = index_of(&repository).await;
        damage_frames(&places[0], &index, |number| number % 2 == 0);
        damage_frames(&places[1], &index, |number| number % 2 == 1);
        let found = lost(&repository).await;
        places[1].break_writes("", count, Fault::Fail(ErrorKind::Full));
        let interrupted = repository.rescue(&found).await;
        places[1].repair();
        assert_eq!(read_back(&repository, &point.id).await.unwrap().0, files);
        repository.bring_up_to_date().await;
        repository.rescue(&lost(&repository).await).await.unwrap();
        let (second, _) = backup(&repository, &files).await;
        assert_eq!(verify(&repository, true).await, [], "after {count} writes");
        for id in [&point.id, &second.id] {
            for name in ["north", "south"] {
                assert_reads_back(&Arc::new(repository.only(name).unwrap()), id, &files).await;
            }
        }
        if interrupted.is_ok() {
            assert!(count > 1, "it was never interrupted");
            return;
        }
    }
}

/// Lost or damaged, `lifeboat.json` doesn't stand in the way of a restore, and is written again byte for byte.
#[tokio::test]
async fn a_repository_without_its_root_is_read_and_gets_it_again() {
    for count in 1..=2 {
        let (places, _, point, files) = stored(count).await;
        let root = places[0].objects()["lifeboat.json"].clone();
        for damaged in damages(&root) {
            for place in &places {
                set(place, "lifeboat.json", damaged.clone());
            }
            let other = Passphrase::new("another".into());
            let refused = Repository::open(replicas(&places.iter().collect::<Vec<_>>()), &other, 3).await;
            assert!(matches!(refused, Err(Error::WrongPassphrase { .. })), "{refused:?}");
            let repository = open(&places).await;
            assert_eq!(repository.rootless().len(), count);
            assert_reads_back(&repository, &point, &files).await;
            for data in [false, true] {
                let bad = verify(&repository, data).await;
                let of_roots = bad.iter().filter(|damage| damage.object == "lifeboat.json").count();
                assert_eq!((of_roots, bad.len()), (count, count), "{bad:?}");
            }
            let plan = repository.plan_repair(&verify(&repository, false).await).await.unwrap();
            assert_eq!((plan.replace.len(), plan.lost.len()), (count, 0));
            for replacement in &plan.replace {
                assert!(repository.put_back(replacement).await.unwrap());
            }
            assert!(places.iter().all(|place| place.objects()["lifeboat.json"] == root));
            assert!(open(&places).await.rootless().is_empty());
        }
    }
}

/// What is there by its receipt only: whoever gives up what no point needs has to know.
#[tokio::test]
async fn a_point_that_is_lost_is_told_by_its_receipt() {
    let (places, repository, _, _) = stored(2).await;
    let point = places[0].keys("points/").remove(0);
    assert_eq!(repository.points_lost().await.unwrap(), []);
    places[1].remove(&point);
    let told = repository.points_lost().await.unwrap();
    assert_eq!(told.iter().map(|one| (one.location.as_str(), &one.object)).collect::<Vec<_>>(), [("south", &point)]);
    let plan = repository.plan_repair(&verify(&repository, false).await).await.unwrap();
    assert!(repository.put_back(&plan.replace[0]).await.unwrap());
    assert_eq!(repository.points_lost().await.unwrap(), []);
    places.iter().for_each(|place| _ = place.remove(&point));
    repository.give_up(&lost(&repository).await).await.unwrap();
    assert_eq!(repository.points_lost().await.unwrap(), [], "it was given up");
}

#[tokio::test]
async fn nothing_is_given_up_while_a_location_is_away() {
    let (places, repository, _, _) = stored(2).await;
    let key = places[0].keys("points/").remove(0);
    places[0].set(&key, Bytes::from_static(b"rot"));
    let lost = vec![Damage { location: "north".into(), object: key.clone(), what: "rot".into(), is_inside: true }];
    places[1].break_reads("lifeboat.json", Fault::Fail(ErrorKind::Unavailable));
    let alone = open(&places).await;
    assert_eq!(alone.unavailable().len(), 1);
    assert!(alone.give_up(&lost).await.is_err());
    assert_eq!(repository.plan_repair(&lost).await.unwrap().replace.len(), 1, "it wasn't lost");
    assert!(places[0].objects().contains_key(&key));
}

/// What a newer version wrote can't be read by this one. It is no damage: nothing takes its place, and it is never deleted.
#[tokio::test]
async fn what_a_newer_version_wrote_is_not_given_up() {
    let (places, repository, _, _) = stored(2).await;
    let key = places[0].keys("points/").remove(0);
    for place in &places {
        let mut bytes = place.objects()[&key].to_vec();
        bytes[8] += 1;
        place.set(&key, bytes);
    }
    let bad = verify(&repository, true).await;
    assert!(bad.iter().any(|damage| damage.object == key), "{bad:?}");
    let refused = repository.plan_repair(&bad).await.unwrap_err();
    assert!(matches!(refused, Error::NewerFormat { .. }), "{refused}");
    assert!(matches!(repository.give_up(&bad).await, Err(Error::NewerFormat { .. })));
    assert!(places.iter().all(|place| place.objects().contains_key(&key)));
}
