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
    assert_eq!(gone.len(), 6, "{gone:?}");
    for place in &places {
        for prefix in ["points/", "receipts/", "verifications/", "wal/"] {
            assert_eq!(place.keys(prefix), Vec::<String>::new());
        }
    }
    assert_eq!(verify(&repository, true).await, [], "nothing needs the pack that is gone");
    let (point, _) = backup(&repository, &few_files(2)).await;
    assert_eq!(read_back(&repository, &point.id).await.unwrap().0, few_files(2));
}

/// A damaged pack that a point needs stays: most of what it holds can still be read.
#[tokio::test]
async fn a_pack_that_a_point_needs_is_not_given_up() {
    let (places, repository, _, _) = stored(1).await;
    let packs = places[0].keys("packs/");
    for pack in &packs {
        let bytes = flipped(&places[0].objects()[pack]);
        places[0].set(pack, bytes);
    }
    let plan = repository.plan_repair(&verify(&repository, true).await).await.unwrap();
    assert_eq!(plan.lost.iter().filter(|damage| damage.object.starts_with("packs/")).count(), packs.len());
    assert_eq!(repository.give_up(&plan.lost).await.unwrap(), []);
    assert_eq!(places[0].keys("packs/"), packs);
}

#[tokio::test]
async fn nothing_is_given_up_while_a_location_is_away() {
    let (places, repository, _, _) = stored(2).await;
    let key = places[0].keys("points/").remove(0);
    places[0].set(&key, Bytes::from_static(b"rot"));
    let lost = vec![Damage { location: "north".into(), object: key.clone(), what: "rot".into(), is_inside: true }];
    places[1].remove("lifeboat.json");
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
