//! Damage that is known: nobody builds on it, and what is stored anew is what counts.

use crate::bench::*;
use crate::place::Place;
use crate::removal::{GRACE, going, let_pass, mark};
use jiff::Timestamp;
use lifeboat_repository::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One bit in the middle of every pack.
fn damage_packs(place: &Place) {
    for key in place.keys("packs/") {
        let mut bytes = place.remove(&key).to_vec();
        // In the first frame, behind the header of 48 bytes: the tables stay whole.
        bytes[60] ^= 1;
        place.set(&key, bytes);
    }
}

/// Verifies every byte, and keeps what was found.
async fn verify_and_note(repository: &Arc<Repository>) -> BTreeMap<String, Findings> {
    let report = repository.verify(None, true, &Silent).await.unwrap();
    for location in &report.looked_at {
        let findings = Findings::of(location, "data", true, &report.bad, Timestamp::now());
        repository.put_findings(findings).await.unwrap();
    }
    repository.findings().await
}

#[tokio::test]
async fn what_is_known_to_be_damaged_is_stored_anew_and_read_from_there() {
    for damaged in [&[0][..], &[0, 1]] {
        let (places, repository) = create(2).await;
        let files = few_files(1);
        let (first, _) = backup(&repository, &files).await;
        damaged.iter().for_each(|number| damage_packs(&places[*number]));
        let findings = verify_and_note(&repository).await;
        let packs = places[0].keys("packs/").len();
        let is_inside = |found: &&Found| found.object.starts_with("packs/") && found.level == "data";
        assert_eq!(findings["north"].damaged.iter().filter(is_inside).count(), packs, "{findings:?}");
        assert_eq!(findings["south"].is_clean(), damaged.len() == 1, "{findings:?}");

        let (second, notes) = backup(&repository, &files).await;
        assert!(notes.iter().any(|note| note.contains("stored anew")), "{notes:?}");
        for name in ["north", "south"] {
            let alone = Arc::new(repository.only(name).unwrap());
            assert_reads_back(&alone, &second.id, &files).await;
            // The older point leans on the same chunks.
            assert_reads_back(&alone, &first.id, &files).await;
        }
        // Once is enough.
        let stored = places[0].keys("packs/").len();
        let (third, _) = backup(&repository, &files).await;
        assert_eq!((third.bytes_new, places[0].keys("packs/").len()), (0, stored));

        // What is given up is the damaged copy.
        let_pass(&places, GRACE);
        let given_up = mark(&repository, &[&first]).await;
        let_pass(&places, GRACE);
        repository.sweep(&given_up, &going(&[&first])).await.unwrap();
        assert_eq!(places[0].keys("packs/").len(), stored - packs);
        for name in ["north", "south"] {
            assert_reads_back(&Arc::new(repository.only(name).unwrap()), &third.id, &files).await;
        }
        let findings = verify_and_note(&repository).await;
        assert!(findings["north"].is_clean(), "{findings:?}");
    }
}

/// The record may be lost with the disk that it was on: a reader helps itself. Both copies of a chunk's pack are damaged, each
/// in another place.
#[tokio::test]
async fn a_chunk_that_is_damaged_in_one_pack_is_read_from_another() {
    let (places, repository) = create(1).await;
    let files: Files = (0..20).map(|number| (format!("{number:02}"), noise(number, 1000))).collect();
    let (first, _) = backup(&repository, &files).await;
    let old = places[0].keys("packs/");
    damage_packs(&places[0]);
    verify_and_note(&repository).await;
    backup(&repository, &files).await;
    for key in places[0].keys("findings/") {
        places[0].remove(&key);
    }
    for key in places[0].keys("packs/").iter().filter(|key| !old.contains(key)) {
        let mut bytes = places[0].remove(key).to_vec();
        // In the second frame; the pack with only the tree is shorter.
        if let Some(byte) = bytes.get_mut(100 + 1016) {
            *byte ^= 1;
        }
        places[0].set(key, bytes);
    }
    let (found, notes) = read_back(&repository, &first.id).await.unwrap();
    assert!(found == files && !notes.is_empty(), "{notes:?}");
}

/// Nobody has verified: whoever meets the damage on the way tells the session, which builds no point on it; the next one knows.
#[tokio::test]
async fn a_session_that_learns_of_damage_refuses_what_it_built_on_it_and_the_next_one_heals() {
    let (places, repository) = create(1).await;
    let files = few_files(1);
    let (first, _) = backup(&repository, &files).await;
    damage_packs(&places[0]);
    let session = WriteSession::begin(repository.clone(), &mut Vec::new()).await.unwrap();
    let reader = ChunkReader::open(repository.clone()).await.unwrap();
    let first = repository.read_point(WORKLOAD, &first.id, &mut Vec::new()).await.unwrap();
    assert!(reader.read_all(&first.tree).await.is_err());
    let lost = reader.lost_packs();
    assert!(!lost.is_empty());
    let built = files.clone();
    let refused = tokio::task::spawn_blocking(move || {
        let (tree, bytes_new) = write_files(&session, &built)?;
        session.distrust(lost);
        session.commit(point(tree, &built, bytes_new))
    });
    let refused = refused.await.unwrap();
    assert!(matches!(refused, Err(Error::Decayed { .. })), "{refused:?}");
    let findings = &repository.findings().await["north"];
    assert!(!findings.is_whole && !findings.is_clean(), "{findings:?}");
}

#[tokio::test]
async fn the_end_of_a_log_that_was_given_up_is_not_missed() {
    let (places, repository) = create(1).await;
    let names = ["000000010000000000000001", "000000010000000000000002"];
    for name in names {
        repository.put_log(WORKLOAD, "7/1/0", name, name.as_bytes(), b"").await.unwrap();
    }
    let at = Timestamp::now();
    let end = LogEnd {
        workload: WORKLOAD.into(),
        group: "7/1/0".into(),
        name: names[1].into(),
        log: "7 1".into(),
        end: 2,
        seen_at: at,
    };
    let note = async |log_ends: Vec<LogEnd>| {
        let findings = Findings { log_ends, ..Findings::of("north", "structure", true, &[], Timestamp::now()) };
        repository.put_findings(findings).await.unwrap();
        repository.findings().await["north"].log_ends.clone()
    };
    assert_eq!(note(vec![end.clone()]).await, vec![end.clone()]);
    assert_eq!(note(vec![LogEnd { end: 1, ..end.clone() }]).await, vec![end.clone()]);
    assert_eq!(repository.given_up("north").await.end(&end), GivenUp::No);
    let range = |last: &str| LogRange {
        workload: WORKLOAD.into(),
        group: "7/1/0".into(),
        first: names[0].into(),
        last: last.into(),
    };
    for (last, is_given_up) in [(names[0], false), (names[1], true)] {
        let logs = vec![range(last)];
        let removal = repository.plan_removal(Vec::new(), logs.clone(), GRACE).await.unwrap();
        let name = repository.mark(removal).await.unwrap();
        let mark = repository.marks().await.unwrap().into_iter().find(|mark| mark.name == name).unwrap();
        repository.sweep(&mark, &Going { logs, ..Going::default() }).await.unwrap();
        let given_up = repository.given_up("north").await;
        assert_eq!(given_up.end(&end) == GivenUp::Deleted, is_given_up, "{last}");
        assert_eq!(given_up.file(WORKLOAD, "7/1/0", names[1]) == GivenUp::Deleted, is_given_up, "{last}: the second");
        assert_eq!(given_up.file(WORKLOAD, "7/1/0", names[0]), GivenUp::Deleted, "{last}: the first");
        assert_eq!(given_up.file("mill", "7/1/0", names[0]), GivenUp::No);
    }
    assert_eq!(places[0].keys("wal/"), Vec::<String>::new());
    // The record that it was given up is kept only for as long as another location may bring it back.
    repository.forget_gone().await.unwrap();
    assert_eq!(repository.given_up("north").await.end(&end), GivenUp::No);
    assert_eq!(repository.findings().await["north"].log_ends, []);
    assert_eq!(note(vec![end.clone()]).await, [], "whoever looked before doesn't bring it up again");
}

/// A look every hour leaves no thousands of records, and one by a clock that ran ahead doesn't hide those after it.
#[tokio::test]
async fn findings_dont_pile_up_and_the_last_look_counts() {
    let (places, repository) = create(2).await;
    let look = |at: &str, object: &str| {
        let bad = [Damage::new("north", object, "is bad")];
        Findings::of("north", "structure", true, &bad, at.parse().unwrap())
    };
    for hour in 10..20 {
        repository.put_findings(look(&format!("2026-11-21T{hour}:00:00Z"), "packs/1")).await.unwrap();
    }
    repository.put_findings(look("2099-01-01T00:00:00Z", "packs/2")).await.unwrap();
    repository.put_findings(look("2026-11-21T20:00:00Z", "packs/3")).await.unwrap();
    let known = &repository.findings().await["north"];
    assert_eq!(known.damaged.iter().map(|found| found.object.as_str()).collect::<Vec<_>>(), ["packs/3"]);
    for place in &places {
        assert!((1..=5).contains(&place.keys("findings/north/").len()), "{:?}", place.keys("findings/"));
    }
}
