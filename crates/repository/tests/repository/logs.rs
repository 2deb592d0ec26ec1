//! Files of a log: stored once, never replaced, read from wherever they are whole.

use crate::bench::*;
use crate::place::Fault;
use lifeboat_location::ErrorKind;
use lifeboat_repository::*;
use std::time::Instant;

const GROUP: &str = "7000000000000000001/00000001";
const NAME: &str = "000000010000000000000002";

async fn put(repository: &Repository, bytes: &[u8]) -> Result<LogPut> {
    repository.put_log(WORKLOAD, GROUP, NAME, bytes, b"facts").await
}

async fn get(repository: &Repository) -> (Vec<u8>, Vec<String>) {
    let entries = repository.list_logs(WORKLOAD, &format!("{GROUP}/{NAME}")).await.unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    assert_eq!((entries[0].group.as_str(), entries[0].name.as_str()), (GROUP, NAME));
    let mut notes = Vec::new();
    let object = repository.get_log(WORKLOAD, &entries[0], &mut notes).await.unwrap();
    assert_eq!(object.annex, b"facts");
    (object.bytes, notes)
}

#[tokio::test]
async fn the_same_content_again_is_a_success() {
    let (places, repository) = create(2).await;
    let bytes = text(1, 300_000);
    let first = put(&repository, &bytes).await.unwrap();
    assert!(first.created);
    assert_eq!(first.stored_in, ["north", "south"]);
    let before = places[0].objects();
    let second = put(&repository, &bytes).await.unwrap();
    assert!(!second.created);
    assert_eq!(second.stored_in, ["north", "south"]);
    assert_eq!(places[0].objects(), before);
    assert_eq!(get(&repository).await, (bytes, vec![]));
}

#[tokio::test]
async fn a_file_that_comes_part_by_part_is_the_same_file() {
    let (_, repository) = create(2).await;
    for (number, length) in [0, 1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 3 * CHUNK_BYTES_MAX].into_iter().enumerate() {
        let (name, bytes) = (format!("file-{number}"), text(1, length));
        let mut sealer = repository.log_sealer(bytes.len()).unwrap();
        bytes.chunks(CHUNK_BYTES_MAX).for_each(|part| sealer.push(part).unwrap());
        let log = sealer.finish(b"facts").unwrap();
        assert!(repository.put_sealed_log(WORKLOAD, GROUP, &name, log).await.unwrap().created);
        assert!(!repository.put_log(WORKLOAD, GROUP, &name, &bytes, b"").await.unwrap().created, "{length} bytes");
        let entry = repository.list_logs(WORKLOAD, &format!("{GROUP}/{name}")).await.unwrap().remove(0);
        let object = repository.get_log(WORKLOAD, &entry, &mut Vec::new()).await.unwrap();
        assert_eq!((object.bytes, object.annex), (bytes, b"facts".to_vec()));
    }
    let mut sealer = repository.log_sealer(10).unwrap();
    sealer.push(b"short").unwrap();
    assert!(sealer.push(b"not the last").is_err());
    assert_eq!(repository.verify(None, true, &Silent).await.unwrap().bad, vec![]);
}

#[tokio::test]
async fn other_content_is_a_conflict_and_replaces_nothing() {
    for honours_conditions in [true, false] {
        let (places, repository) = create(2).await;
        if !honours_conditions {
            places.iter().for_each(|place| place.forget_conditions());
        }
        let bytes = text(1, 1000);
        put(&repository, &bytes).await.unwrap();
        let before = (places[0].objects(), places[1].objects());
        let error = put(&repository, &text(2, 1000)).await.unwrap_err();
        assert!(matches!(error, Error::Conflict { .. }), "{error}");
        assert_eq!((places[0].objects(), places[1].objects()), before);
        assert_eq!(get(&repository).await.0, bytes);
    }
}

#[tokio::test]
async fn a_conflict_in_one_location_does_not_spread_to_another() {
    let (places, repository) = create(2).await;
    let north = repository.only("north").unwrap();
    put(&north, &text(1, 1000)).await.unwrap();
    let before = places[1].objects();
    let error = put(&repository, &text(2, 1000)).await.unwrap_err();
    assert!(matches!(error, Error::Conflict { .. }), "{error}");
    assert_eq!(places[1].objects(), before);
}

#[tokio::test]
async fn two_writers_at_the_same_moment_do_not_both_succeed() {
    let (_, repository) = create(1).await;
    for round in 0..20 {
        let name = format!("segment{round}");
        let (one, two) = (text(1, 500), text(2, 500));
        let (first, second) = tokio::join!(
            repository.put_log(WORKLOAD, GROUP, &name, &one, b""),
            repository.put_log(WORKLOAD, GROUP, &name, &two, b"")
        );
        assert!(first.is_err() || second.is_err(), "both believe that {name} is theirs");
    }
}

#[tokio::test]
async fn a_name_that_begins_like_another_is_no_conflict() {
    let (_, repository) = create(1).await;
    for name in ["a", "a-b", "a-00000000000000000000000000000000-c"] {
        repository.put_log(WORKLOAD, GROUP, name, name.as_bytes(), b"").await.unwrap();
    }
    repository.put_log(WORKLOAD, GROUP, "a", b"a", b"").await.unwrap();
    let names: Vec<String> =
        repository.list_logs(WORKLOAD, "").await.unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"a-b".to_string()), "{names:?}");
}

/// An object under the right name that is damaged is not "already there": WAL would be thrown away for it.
#[tokio::test]
async fn a_damaged_copy_does_not_count_as_stored() {
    let (places, repository) = create(2).await;
    let bytes = text(1, 1000);
    put(&repository, &bytes).await.unwrap();
    let key = places[0].keys("wal/").remove(0);
    let whole = places[0].remove(&key);
    for cut in [0, 10, whole.len() * 3 / 4, whole.len() - 1] {
        places[0].set(&key, whole.slice(..cut));
        let outcome = put(&repository, &bytes).await.unwrap();
        assert_eq!(outcome.stored_in, ["south"], "cut to {cut}");
        assert_eq!(outcome.failures[0].0, "north");
        let error = put(&repository.only("north").unwrap(), &bytes).await.unwrap_err();
        assert!(matches!(error, Error::AllLocationsFailed { temporary: false, .. }), "{error}");
        let (read, notes) = get(&repository).await;
        assert!(read == bytes && notes.len() == 1, "{notes:?}");
    }
}

#[tokio::test]
async fn one_location_is_enough_and_the_other_is_named() {
    let (places, repository) = create(2).await;
    places[0].break_writes("wal/", 0, Fault::Fail(ErrorKind::Full));
    let bytes = text(1, 1000);
    let outcome = put(&repository, &bytes).await.unwrap();
    assert_eq!(outcome.stored_in, ["south"]);
    assert!(outcome.failures[0].1.contains("no space left"), "{:?}", outcome.failures);
    assert_eq!(get(&repository).await.0, bytes);
    places[1].break_writes("wal/", 0, Fault::Fail(ErrorKind::Unavailable));
    let error = repository.put_log(WORKLOAD, GROUP, "next", &bytes, b"").await.unwrap_err();
    assert!(matches!(error, Error::AllLocationsFailed { temporary: true, .. }), "{error}");
}

#[tokio::test]
async fn a_location_that_hangs_costs_no_more_than_the_patience() {
    for reads_too in [false, true] {
        let (places, repository) = create(2).await;
        places[0].break_writes("", 0, Fault::Hang);
        if reads_too {
            places[0].break_reads("", Fault::Hang);
        }
        let started = Instant::now();
        let bytes = text(1, 1000);
        let outcome = put(&repository, &bytes).await.unwrap();
        assert_eq!(outcome.stored_in, ["south"]);
        assert!(outcome.failures[0].1.contains("none within"), "{:?}", outcome.failures);
        assert_eq!(get(&repository).await.0, bytes);
        // The default would be half a minute; what is checked is that it ends by itself, with much room.
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_unreachable_archive_never_looks_empty() {
    let (places, repository) = create(2).await;
    put(&repository, &text(1, 1000)).await.unwrap();
    places[0].break_reads("", Fault::Fail(ErrorKind::Unavailable));
    assert_eq!(repository.list_logs(WORKLOAD, "").await.unwrap().len(), 1);
    places[1].break_reads("", Fault::Fail(ErrorKind::Unavailable));
    assert!(repository.list_logs(WORKLOAD, "").await.is_err());
    assert!(repository.list_points(None).await.is_err());
    assert!(ChunkReader::open(repository.clone()).await.is_err());
}

#[tokio::test]
async fn logs_of_one_workload_are_not_those_of_another() {
    let (_, repository) = create(1).await;
    repository.put_log("shop", "1", "a", b"1", b"").await.unwrap();
    repository.put_log("shop2", "1", "a", b"2", b"").await.unwrap();
    assert_eq!(repository.list_logs("shop", "").await.unwrap().len(), 1);
}

/// The store died after it wrote: the next attempt finds the file and is a success.
#[tokio::test]
async fn a_lost_answer_is_made_good_by_trying_again() {
    use lifeboat_location::{Fault, Faulty, Memory, Operation};
    let location = std::sync::Arc::new(Faulty::new(Memory::new("memory")));
    let replicas = vec![Replica { name: "only".into(), location: location.clone() }];
    Repository::init(&replicas, &passphrase()).await.unwrap();
    let repository = Repository::open(replicas, &passphrase(), 3).await.unwrap();
    location.times(Operation::Put, "wal/", 0, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    let bytes = text(1, 1000);
    let error = put(&repository, &bytes).await.unwrap_err();
    assert!(matches!(error, Error::AllLocationsFailed { temporary: true, .. }), "{error}");
    assert!(!put(&repository, &bytes).await.unwrap().created);
    assert_eq!(get(&repository).await.0, bytes);
}
