//! Objects of the ledger among the others: nothing deletes them, copies bring them along, and what somebody put there stops no data.

use crate::bench::*;
use crate::place::{Fault, Place};
use crate::removal::{GRACE, going, let_pass, mark};
use aws_lc_rs::digest::{SHA256, digest};
use lifeboat_location::ErrorKind;
use lifeboat_repository::Silent;
use std::sync::Arc;

fn entry(number: u64) -> (String, Vec<u8>) {
    let text = format!("{{\"entry\":{number}}}").into_bytes();
    let hash = hex::encode(digest(&SHA256, &text));
    (format!("ledger/{number:012}-{hash}.json"), text)
}

fn fill(place: &Place, count: u64) {
    (1..=count).map(entry).for_each(|(key, text)| place.set(&key, text));
}

#[tokio::test]
async fn nothing_that_is_given_up_takes_evidence_along() {
    let (places, repository) = create(2).await;
    places.iter().for_each(|place| fill(place, 3));
    let (first, _) = backup(&repository, &few_files(1)).await;
    backup(&repository, &few_files(500)).await;
    let_pass(&places, GRACE);
    let given_up = mark(&repository, &[&first]).await;
    let_pass(&places, GRACE);
    let report = repository.sweep(&given_up, &going(&[&first])).await.unwrap();
    repository.forget_gone().await.unwrap();
    assert_eq!((report.points.len(), report.failures), (1, vec![]));
    assert!(places.iter().all(|place| place.keys("ledger/").len() == 3));
    assert_eq!(verify(&repository, true).await, vec![]);
}

#[tokio::test]
async fn a_copy_brings_it_along_in_its_order() {
    let (places, repository) = create(2).await;
    fill(&places[0], 9);
    places[1].break_writes("ledger/", 4, Fault::Fail(ErrorKind::Unavailable));
    let plan = repository.plan_copy("north", "south").await.unwrap();
    let report = repository.apply_copy(&plan, &|_| {}).await.unwrap();
    assert!(report.failure.is_some());
    assert_eq!(places[1].keys("ledger/"), places[0].keys("ledger/")[..4], "killed anywhere, there is no hole");
    places[1].repair();
    backup(&repository, &few_files(1)).await;
    assert_eq!(places[1].keys("ledger/"), places[0].keys("ledger/"));
}

#[tokio::test]
async fn what_somebody_put_there_is_told_of_not_copied_and_stops_nothing() {
    let (places, repository) = create(2).await;
    places[1].break_writes("", 0, Fault::Fail(ErrorKind::Unavailable));
    let (point, _) = backup(&repository, &few_files(1)).await;
    places[1].repair();
    fill(&places[0], 2);
    let (changed, _) = entry(1);
    places[0].set(&changed, "{}");
    places[0].set("ledger/notes.txt", "x");
    let told = repository.bring_up_to_date().await;
    assert!(told.iter().any(|line| line.contains("ledger/")), "{told:?}");
    assert_eq!(places[1].keys("ledger/"), [entry(2).0]);
    assert_reads_back(&Arc::new(repository.only("south").unwrap()), &point.id, &few_files(1)).await;
    let report = repository.verify(None, true, &Silent).await.unwrap();
    let bad: Vec<&str> = report.bad.iter().map(|damage| damage.object.as_str()).collect();
    assert_eq!(bad, [changed.as_str(), "ledger/notes.txt"]);
}

#[tokio::test]
async fn what_is_damaged_comes_back_from_another_location() {
    let (places, repository) = create(2).await;
    places.iter().for_each(|place| fill(place, 2));
    let (key, text) = entry(1);
    places[0].set(&key, "{}");
    let plan = repository.plan_repair(&verify(&repository, true).await).await.unwrap();
    let [replacement] = &plan.replace[..] else { panic!("{plan:?}") };
    assert!(repository.put_back(replacement).await.unwrap());
    assert_eq!(places[0].objects()[&key], text);
}
