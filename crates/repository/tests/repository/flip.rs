//! Every byte that is not what was written is found, and never becomes wrong content.

use crate::bench::*;
use crate::place::Place;
use bytes::Bytes;
use lifeboat_repository::*;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Objects up to this length are damaged at every byte.
const SHORT_BYTES: usize = 700;
/// Header, and footer with the end of the table of contents: damaged at every byte in every object.
const EDGE_BYTES: usize = 48;
const TAIL_BYTES: usize = 56 + 16 + 48;
const SAMPLES: usize = 60;

fn seed() -> u64 {
    let now = jiff::Timestamp::now().as_nanosecond() as u64;
    println!("seed of this run: {now}");
    now
}

/// Positions and bits to flip in an object of this length.
fn flips(seed: u64, length: usize) -> Vec<(usize, u8)> {
    let random = noise(seed ^ length as u64, SAMPLES * 8);
    let sample = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap()) as usize % length;
    let positions: BTreeSet<usize> = match length <= SHORT_BYTES {
        true => (0..length).collect(),
        false => (0..EDGE_BYTES).chain(length - TAIL_BYTES..length).chain(random.chunks_exact(8).map(sample)).collect(),
    };
    positions.into_iter().enumerate().map(|(n, at)| (at, 1 << ((n as u64 + seed) % 8))).collect()
}

async fn small(count: usize) -> (Vec<Arc<Place>>, Arc<Repository>, Point, Files) {
    let (places, repository) = create(count).await;
    let mut files = few_files(1);
    files.insert("long".into(), [noise(7, 600), vec![0; 600_000], noise(8, 300)].concat());
    let (point, _) = backup(&repository, &files).await;
    repository.put_log(WORKLOAD, "1/1", "000000010000000000000001", &text(5, 2000), b"facts").await.unwrap();
    repository.put_log(WORKLOAD, "1/1", "empty", b"", b"").await.unwrap();
    let verification = Verification {
        point: point.id.clone(),
        workload: WORKLOAD.into(),
        verified_at: jiff::Timestamp::now(),
        passed: true,
        level: "data".into(),
        details: serde_json::json!({}),
        standing: None,
    };
    repository.put_verification(&verification).await.unwrap();
    (places, repository, point, files)
}

fn damages(seed: u64, bytes: &Bytes) -> Vec<(String, Bytes)> {
    let mut all: Vec<(String, Bytes)> = flips(seed, bytes.len())
        .into_iter()
        .map(|(at, bit)| {
            let mut changed = bytes.to_vec();
            changed[at] ^= bit;
            (format!("bit {bit} of byte {at}"), changed.into())
        })
        .collect();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        all.push((format!("cut to {length}"), bytes.slice(..length)));
    }
    all.push(("one byte more".into(), [&bytes[..], b"x"].concat().into()));
    all
}

async fn read_log(repository: &Repository) -> Result<Vec<u8>> {
    let entries = repository.list_logs(WORKLOAD, "1/1/0").await?;
    Ok(repository.get_log(WORKLOAD, &entries[0], &mut Vec::new()).await?.bytes)
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_found() {
    let (places, repository, point, files) = small(1).await;
    let seed = seed();
    assert_eq!(verify(&repository, true).await, vec![], "whole before");
    let (mut tried, log) = (0, text(5, 2000));
    for (key, bytes) in places[0].objects() {
        for (what, changed) in damages(seed, &bytes) {
            tried += 1;
            places[0].set(&key, changed);
            let bad = verify(&repository, true).await;
            assert!(bad.iter().any(|damage| damage.object == key), "{key}, {what}: not found, seed {seed}: {bad:?}");
            match read_back(&repository, &point.id).await {
                Ok((found, _)) => assert!(found == files, "{key}, {what}: other content, seed {seed}"),
                Err(Error::Corrupt { .. } | Error::NewerFormat { .. }) => {}
                Err(error) => panic!("{key}, {what}: {error:?}, seed {seed}"),
            }
            if key.starts_with("wal/") {
                let read = read_log(&repository).await;
                assert!(read.is_err() || read.unwrap() == log, "{key}, {what}: other content, seed {seed}");
            }
        }
        places[0].set(&key, bytes);
    }
    assert!(tried > 1000, "{tried}");
}

#[tokio::test]
async fn the_other_location_helps_and_it_is_said() {
    let (places, repository, point, files) = small(2).await;
    let seed = seed();
    for (key, bytes) in places[0].objects() {
        let random = seed as usize % bytes.len();
        for (what, changed) in damages(seed, &bytes).into_iter().skip(random).step_by(37) {
            places[0].set(&key, changed);
            let (found, notes) = read_back(&repository, &point.id).await.unwrap();
            assert!(found == files, "{key}, {what}: other content, seed {seed}");
            assert_eq!(read_log(&repository).await.unwrap(), text(5, 2000), "{key}, {what}, seed {seed}");
            let bad = verify(&repository, true).await;
            assert!(bad.iter().all(|damage| damage.location == "north") && !bad.is_empty(), "{key}, {what}: {bad:?}");
            if key.starts_with("points/") {
                assert!(!notes.is_empty(), "{key}, {what}: read from elsewhere, and nobody knows; seed {seed}");
            }
        }
        places[0].set(&key, bytes);
    }
}

/// A flipped bit in every frame that the point needs: read from the other location, and noted.
#[tokio::test]
async fn a_damaged_frame_is_read_from_the_other_location_and_noted() {
    let (places, repository, point, files) = small(2).await;
    for key in places[0].keys("packs/") {
        let bytes = places[0].remove(&key);
        let mut changed = bytes.to_vec();
        changed[48 + 5] ^= 4;
        places[0].set(&key, changed);
        let (found, notes) = read_back(&repository, &point.id).await.unwrap();
        assert!(found == files);
        assert!(notes.iter().any(|note| note.contains(&key)), "{key}: {notes:?}");
        places[0].set(&key, bytes);
    }
}

/// Opening: a damaged root or key never opens to something else.
#[tokio::test]
async fn a_damaged_root_or_key_opens_to_nothing_else() {
    let (places, repository, _, _) = small(1).await;
    let all = replicas(&[&places[0]]);
    let seed = seed();
    for (key, bytes) in places[0].objects().into_iter().filter(|(key, _)| !key.contains("pack")) {
        if !(key == "lifeboat.json" || key.starts_with("keys/")) {
            continue;
        }
        for (number, (what, changed)) in damages(seed, &bytes).into_iter().enumerate() {
            if key == "lifeboat.json" {
                assert!(decode::root(&key, &changed).is_err(), "{what}, seed {seed}");
                // Each opening derives a key from a passphrase, which is meant to take its time.
                if number % 25 != 0 {
                    continue;
                }
            }
            places[0].set(&key, changed);
            match Repository::open(all.clone(), &passphrase(), 3).await {
                // The key says which repository it is, and the damage is told.
                Ok(opened) => {
                    assert!(key == "lifeboat.json" && opened.id() == repository.id(), "{key}, {what}, seed {seed}");
                    assert_eq!(opened.rootless().len(), 1, "{what}, seed {seed}");
                }
                Err(error) => assert!(
                    matches!(error, Error::Corrupt { .. } | Error::NewerFormat { .. }),
                    "{key}, {what}: {error:?}, seed {seed}"
                ),
            }
        }
        places[0].set(&key, bytes);
    }
}
