//! What is gone: objects that are missing are found, and read from elsewhere where there is an elsewhere.

use crate::bench::*;
use crate::place::Place;
use lifeboat_repository::*;
use std::sync::Arc;

async fn small(count: usize) -> (Vec<Arc<Place>>, Arc<Repository>, Point, Files) {
    let (places, repository) = create(count).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    repository.put_log(WORKLOAD, "1/1", "000000010000000000000001", &text(5, 2000), b"facts").await.unwrap();
    (places, repository, point, files)
}

/// One location: what is missing is reported, except a log's file and a receipt, which nothing else speaks of.
#[tokio::test]
async fn every_missing_object_is_found() {
    let (places, repository, point, files) = small(1).await;
    for key in places[0].keys("") {
        let bytes = places[0].remove(&key);
        let bad = verify(&repository, false).await;
        let silent = ["wal/", "receipts/"].iter().any(|prefix| key.starts_with(prefix));
        // The root and the key are read when it is opened: their loss is found there.
        let opened = Repository::open(replicas(&[&places[0]]), &passphrase(), 3).await;
        match key.split('/').next() {
            Some("keys") => assert!(opened.is_err(), "{key} is missing and it opens"),
            Some("lifeboat.json") => assert_eq!(opened.unwrap().rootless().len(), 1),
            _ => assert_eq!(bad.is_empty(), silent, "{key}: {bad:?}"),
        }
        match read_back(&repository, &point.id).await {
            Ok((found, _)) => assert!(found == files, "{key}: other content"),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. } | Error::NotFound { .. }), "{key}: {error}"),
        }
        places[0].set(&key, bytes);
    }
    assert_eq!(verify(&repository, true).await, vec![]);
}

/// Two locations: whatever is missing in one is found, read from the other, and brought back by the next session.
#[tokio::test]
async fn every_object_missing_in_one_of_two_locations_is_found_and_healed() {
    let (places, repository, point, files) = small(2).await;
    let everything = places[0].objects();
    for key in places[0].keys("").iter().filter(|key| *key != "lifeboat.json") {
        places[0].remove(key);
        let bad = verify(&repository, false).await;
        assert!(bad.iter().any(|damage| damage.location == "north"), "{key}: {bad:?}");
        assert!(bad.iter().all(|damage| damage.location == "north"), "{key}: {bad:?}");
        assert_eq!(read_back(&repository, &point.id).await.unwrap().0, files, "{key}");
        WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
        assert_eq!(places[0].objects(), everything, "{key} is not healed");
    }
}

#[tokio::test]
async fn a_missing_root_is_told_and_in_nobodys_way() {
    let (places, _, point, files) = small(2).await;
    places[0].remove("lifeboat.json");
    let repository = open(&places).await;
    assert!(repository.rootless()[0].1.contains("lifeboat.json is missing"), "{:?}", repository.rootless());
    assert_eq!(repository.only("south").unwrap().rootless(), [], "that one is whole");
    assert_eq!(read_back(&repository, &point.id).await.unwrap().0, files);
    assert!(!verify(&repository, false).await.is_empty());
}

#[tokio::test]
async fn a_point_without_receipt_gets_it_from_the_next_session() {
    let (places, repository, _, _) = small(1).await;
    let receipt = places[0].keys("receipts/").remove(0);
    places[0].remove(&receipt);
    WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    assert_eq!(places[0].keys("receipts/"), [receipt]);
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_receipt_under_another_name_is_found() {
    let (places, repository, _, _) = small(1).await;
    let receipt = places[0].keys("receipts/").remove(0);
    let bytes = places[0].remove(&receipt);
    let other = format!("{}x", &receipt[..receipt.len() - 1]);
    places[0].set(&other, bytes);
    let bad = verify(&repository, true).await;
    assert!(bad.iter().any(|damage| damage.object == other), "{bad:?}");
}

#[tokio::test]
async fn foreign_giants_are_not_read() {
    let (places, repository, _, _) = small(1).await;
    places[0].set("verifications/shop/x/y", vec![0; 80 * 1024 * 1024]);
    let bad = verify(&repository, true).await;
    assert!(bad.iter().any(|damage| damage.what.contains("more than such an object has")), "{bad:?}");
}

/// Each location has lost another frame of the same pack; together they still have everything.
#[tokio::test]
async fn two_damaged_copies_make_one_whole() {
    let (places, repository) = create(2).await;
    let files: Files = (0..20).map(|number| (format!("{number:02}"), noise(number, 1000))).collect();
    let (point, _) = backup(&repository, &files).await;
    // The first frame begins after the header of 48 bytes, the second 1016 bytes later.
    for (place, position) in [(&places[0], 100), (&places[1], 100 + 1016)] {
        for key in place.keys("packs/") {
            let mut bytes = place.remove(&key).to_vec();
            // The pack with only the tree is shorter.
            if let Some(byte) = bytes.get_mut(position) {
                *byte ^= 1;
            }
            place.set(&key, bytes);
        }
    }
    let reader = ChunkReader::open(repository.clone()).await.unwrap();
    let point = repository.read_point(WORKLOAD, &point.id, &mut Vec::new()).await.unwrap();
    let mut ids = Vec::new();
    for entry in TreeReader::read(&reader, &point.tree).await.unwrap() {
        let Source::Chunk { id, .. } = reader.extents(&entry).await.unwrap()[0].source else { panic!("{entry:?}") };
        ids.push(id);
    }
    let mut together = 0;
    for read in reader.locate(ids.iter().copied()).unwrap() {
        together += 1;
        reader.fetch(&read, &mut |_, _| Ok(())).await.unwrap();
    }
    assert!(together <= 3, "the frames of a pack are read together, or this test shows nothing");
    let found = reader.read_all(&ids).await.unwrap();
    assert_eq!(found, files.into_values().collect::<Vec<_>>());
    let notes = reader.take_notes();
    assert!(notes.iter().any(|n| n.contains("//a/")) && notes.iter().any(|n| n.contains("//b/")), "{notes:?}");
}

/// Objects that are whole, but under each other's name.
#[tokio::test]
async fn exchanged_objects_are_found_and_never_believed() {
    let (places, repository) = create(1).await;
    let (one, two) = (few_files(1), few_files(2));
    let (first, _) = backup(&repository, &one).await;
    let (second, _) = backup(&repository, &two).await;
    for content in [b"one", b"two"] {
        repository.put_log(WORKLOAD, "1", &format!("log{}", content[0]), content, b"").await.unwrap();
    }
    for prefix in ["points/", "wal/", "packs/", "index/", "receipts/"] {
        let keys = places[0].keys(prefix);
        let (a, b) = (&keys[0], &keys[keys.len() - 1]);
        let (bytes_a, bytes_b) = (places[0].remove(a), places[0].remove(b));
        places[0].set(a, bytes_b.clone());
        places[0].set(b, bytes_a.clone());
        let bad = verify(&repository, true).await;
        assert!(bad.iter().any(|damage| &damage.object == a), "{prefix}: {bad:?}");
        for (point, files) in [(&first, &one), (&second, &two)] {
            let read = read_back(&repository, &point.id).await;
            assert!(read.is_err() || &read.unwrap().0 == files, "{prefix}: other content");
        }
        for entry in repository.list_logs(WORKLOAD, "").await.unwrap() {
            let read = repository.get_log(WORKLOAD, &entry, &mut Vec::new()).await;
            let name = |object: &LogObject| format!("log{}", object.bytes[0]);
            assert!(read.as_ref().map_or(true, |object| name(object) == entry.name), "{prefix}: other content");
            assert_eq!(read.is_err(), prefix == "wal/");
        }
        places[0].set(a, bytes_a);
        places[0].set(b, bytes_b);
    }
    let alone = repository.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.unwrap();
    places[0].set(
        &format!("points/{WORKLOAD}/{}", second.id),
        places[0].objects()[&format!("points/{WORKLOAD}/{}", alone.id)].clone(),
    );
    let error = repository.read_point(WORKLOAD, &second.id, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

/// `lifeboat.json` is a small file: it is in the key records too.
#[tokio::test]
async fn a_lost_root_comes_back_from_a_key_record_byte_for_byte() {
    let (places, repository) = create(1).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    let root = places[0].remove("lifeboat.json");
    let all = replicas(&places.iter().collect::<Vec<_>>());
    // Not with another passphrase.
    let other = Passphrase::new("another".into());
    assert!(matches!(Repository::init(&all, &other).await, Err(Error::WrongPassphrase { .. })));
    assert_eq!(places[0].keys("lifeboat.json"), Vec::<String>::new());
    Repository::init(&all, &passphrase()).await.unwrap();
    assert_eq!(places[0].objects()["lifeboat.json"], root);
    assert_eq!(places[0].keys("keys/").len(), 1);
    assert_reads_back(&open(&places).await, &point.id, &files).await;

    // An early record has no copy: then nothing new is made over what is there.
    places[0].remove("lifeboat.json");
    let key = places[0].keys("keys/").remove(0);
    let mut record: serde_json::Value = serde_json::from_slice(&places[0].remove(&key)).unwrap();
    record.as_object_mut().unwrap().remove("root");
    let early = serde_json::to_vec(&record).unwrap();
    places[0].set(&format!("keys/{}", &blake3::hash(&early).to_hex()[..16]), early);
    let before = places[0].objects();
    assert!(matches!(Repository::open(all.clone(), &passphrase(), 3).await, Err(Error::RootLost { .. })));
    assert!(matches!(Repository::init(&all, &passphrase()).await, Err(Error::RootLost { .. })));
    assert_eq!(places[0].objects(), before);
}
