//! Who can open a repository: passphrases, machines' own keys, and what may not be taken away.

use crate::bench::*;
use lifeboat_repository::*;
use std::sync::Arc;

async fn opens(places: &[Arc<crate::place::Place>], key: &Passphrase) -> bool {
    let all = replicas(&places.iter().collect::<Vec<_>>());
    match Repository::open_with(all, key, 3, quick()).await {
        Ok(_) => true,
        Err(Error::WrongPassphrase { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn keys_come_and_go_and_the_data_stays_the_same() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    let machine = Passphrase::of_machine().unwrap();
    let words = Passphrase::new("four words on paper".into());
    assert!(!opens(&places, &machine).await);
    let machine_id = repository.add_key(&machine, "db1").await.unwrap();
    let words_id = repository.add_key(&words, "2027").await.unwrap();
    for key in [&machine, &words, &passphrase()] {
        assert!(opens(&places, key).await);
        for place in &places {
            assert!(opens(std::slice::from_ref(place), key).await, "in each location alone");
        }
    }
    let all = replicas(&places.iter().collect::<Vec<_>>());
    let by_machine = Arc::new(Repository::open_with(all, &machine, 3, quick()).await.unwrap());
    assert_eq!(by_machine.key_fingerprint().unwrap(), repository.key_fingerprint().unwrap());
    assert_reads_back(&by_machine, &point.id, &files).await;

    let kinds: Vec<_> = repository.key_records().await.unwrap().into_iter().map(|(_, record)| record.kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "machine").count(), 1, "{kinds:?}");
    repository.remove_key(&machine_id, &passphrase()).await.unwrap();
    assert!(!opens(&places, &machine).await);
    assert!(opens(&places, &words).await);
    // The first passphrase is given up for the second.
    let first = repository.key_records().await.unwrap().into_iter().find(|(id, _)| *id != words_id).unwrap().0;
    repository.remove_key(&first, &words).await.unwrap();
    assert!(!opens(&places, &passphrase()).await);
    assert!(opens(&places, &words).await);
    assert_eq!(verify(&repository, true).await, vec![]);
}

/// A damaged key record, or a lost one, doesn't take its location out of use while another one opens; and it is put back from there.
#[tokio::test]
async fn a_location_whose_key_is_damaged_is_opened_by_another_one() {
    let (places, repository) = create(2).await;
    let files = few_files(1);
    let (point, _) = backup(&repository, &files).await;
    let name = places[0].keys("keys/").remove(0);
    let whole = places[0].objects()[&name].clone();
    let mut bytes = whole.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    places[0].set(&name, bytes.clone());
    let opened = open(&places).await;
    assert_eq!(opened.unavailable(), []);
    let used: Vec<&str> = opened.replicas().iter().map(|replica| replica.name.as_str()).collect();
    assert_eq!(used, ["north", "south"], "in the order of the configuration");
    assert!(opened.keyless().len() == 1 && opened.keyless()[0].0 == "north", "{:?}", opened.keyless());
    assert_reads_back(&Arc::new(opened.only("north").unwrap()), &point.id, &files).await;
    let bad = verify(&opened, true).await;
    assert!(bad.len() == 1 && bad[0].location == "north" && bad[0].object == name, "{bad:?}");
    let plan = opened.plan_repair(&bad).await.unwrap();
    assert!(opened.put_back(&plan.replace[0]).await.unwrap());
    assert_eq!(places[0].objects()[&name], whole);
    assert_eq!(open(&places).await.keyless(), []);

    places[0].remove(&name);
    assert!(open(&places).await.keyless()[0].1.contains("no key is stored here"));
    // Nobody opens: it is said what helps, and not to do the same again.
    places[0].set(&name, bytes.clone());
    places[1].set(&name, bytes);
    let all = replicas(&places.iter().collect::<Vec<_>>());
    let error = Repository::open_with(all, &passphrase(), 3, quick()).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    assert!(error.hint().is_some_and(|hint| hint.contains("key record")), "{:?}", error.hint());
}

/// A place that nobody asked when the key was removed brings it back to no one, and loses it at the next copy.
#[tokio::test]
async fn a_removed_key_comes_back_from_nowhere() {
    let (places, repository) = create(3).await;
    let machine = Passphrase::of_machine().unwrap();
    let id = repository.add_key(&machine, "db1").await.unwrap();
    let without_west = repository.only("north").unwrap();
    without_west.remove_key(&id, &passphrase()).await.unwrap();
    assert!(opens(&places[1..], &machine).await, "these weren't asked");
    let all = replicas(&places.iter().collect::<Vec<_>>());
    let again = Repository::open_with(all, &passphrase(), 3, quick()).await.unwrap();
    assert_eq!(again.bring_up_to_date().await, Vec::<String>::new());
    for place in &places {
        assert!(!opens(std::slice::from_ref(place), &machine).await);
        assert!(opens(std::slice::from_ref(place), &passphrase()).await);
    }
    again.forget_gone().await.unwrap();
    assert_eq!(verify(&Arc::new(again), true).await, vec![]);
}

#[tokio::test]
async fn nobody_locks_everybody_out() {
    let (places, repository) = create(2).await;
    let first = repository.key_records().await.unwrap().swap_remove(0).0;
    let machine = Passphrase::of_machine().unwrap();
    let id = repository.add_key(&machine, "db1").await.unwrap();
    let refused = repository.remove_key(&first, &machine).await.unwrap_err();
    assert!(matches!(refused, Error::KeyNeeded { .. }), "the last one for people: {refused}");
    let refused = repository.remove_key(&id, &machine).await.unwrap_err();
    assert!(matches!(refused, Error::KeyNeeded { .. }), "one's own: {refused}");
    let known = repository.add_key(&machine, "once more").await.unwrap_err();
    assert!(matches!(&known, Error::KeyKnown { id: of } if *of == id), "{known}");
    assert!(matches!(repository.add_key(&passphrase(), "me").await, Err(Error::KeyKnown { .. })));
    let unknown = repository.remove_key("0123456789abcdef", &machine).await.unwrap_err();
    assert!(matches!(unknown, Error::NotFound { .. }), "{unknown}");
    assert!(opens(&places, &machine).await && opens(&places, &passphrase()).await);
}

/// A damaged record opens nothing, and stands in nobody's way: not of another one, and not of its own removal.
#[tokio::test]
async fn a_damaged_record_is_no_dead_end() {
    let (places, repository) = create(1).await;
    let first = places[0].keys("keys/").remove(0);
    let machine = Passphrase::of_machine().unwrap();
    let id = repository.add_key(&machine, "db1").await.unwrap();
    let name = format!("keys/{id}");
    let mut bytes = places[0].objects()[&name].to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    places[0].set(&name, bytes.clone());
    repository.add_key(&Passphrase::of_machine().unwrap(), "db2").await.unwrap();
    let bad = verify(&repository, true).await;
    assert_eq!(bad.iter().map(|damage| damage.object.as_str()).collect::<Vec<_>>(), [name.as_str()]);
    let lost = repository.plan_repair(&bad).await.unwrap().lost;
    assert_eq!(repository.give_up(&lost).await.unwrap().len(), 1);
    assert_eq!(verify(&repository, true).await, vec![]);
    assert!(opens(&places, &passphrase()).await);

    // The last one stays, whatever it is.
    for key in places[0].keys("keys/") {
        let mut bytes = places[0].objects()[&key].to_vec();
        bytes[middle] ^= 1;
        places[0].set(&key, bytes);
    }
    let lost = repository.plan_repair(&verify(&repository, true).await).await.unwrap().lost;
    assert_eq!((lost.len(), repository.give_up(&lost).await.unwrap()), (2, vec![]));
    assert!(places[0].keys("keys/").contains(&first));
}

/// Whoever was interrupted while a key was added adds it again, and it is everywhere.
#[tokio::test]
async fn a_key_that_is_not_everywhere_is_spread() {
    let (places, repository) = create(2).await;
    let machine = Passphrase::of_machine().unwrap();
    let id = repository.add_key(&machine, "db1").await.unwrap();
    places[1].remove(&format!("keys/{id}"));
    assert_eq!(repository.add_key(&machine, "db1").await.unwrap(), id);
    assert!(opens(&places[1..], &machine).await);
    assert!(matches!(repository.add_key(&machine, "db1").await, Err(Error::KeyKnown { .. })));
}

/// A machine's key that was copied badly, and one of another repository, open nothing.
#[tokio::test]
async fn another_machines_key_opens_nothing() {
    let (places, repository) = create(1).await;
    let machine = Passphrase::of_machine().unwrap();
    repository.add_key(&machine, "db1").await.unwrap();
    assert!(!opens(&places, &Passphrase::of_machine().unwrap()).await);
    let text = machine.expose();
    assert_eq!(text.len(), "lifeboat-key-1-".len() + 64 + 1 + 8);
    for place in 0..text.len() {
        let mut changed: Vec<u8> = text.bytes().collect();
        changed[place] = if changed[place] == b'0' { b'1' } else { b'0' };
        let key = Passphrase::new(String::from_utf8(changed).unwrap());
        assert!(!key.is_of_machine(), "{place}: the checksum tells");
    }
    assert!(!opens(&places, &Passphrase::new(text[..text.len() - 1].to_owned())).await);
    assert_eq!(format!("{machine:?}"), "Passphrase(hidden)");
}
