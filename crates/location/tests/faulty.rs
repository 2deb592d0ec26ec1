//! The script of faults does what it says, no more and no less.

use bytes::Bytes;
use lifeboat_location::{ErrorKind, Fault, Faulty, Location, Memory, Operation, PutOutcome, SwapOutcome};
use std::time::Duration;

#[tokio::test(start_paused = true)]
async fn faults_strike_as_told() {
    let location = Faulty::new(Memory::default());
    let bytes = Bytes::from_static(b"0123456789");
    location.times(Operation::Put, "packs/", 1, 1, Fault::Error(ErrorKind::Full));
    assert_eq!(location.put_new("packs/a", bytes.clone()).await.unwrap(), PutOutcome::Created);
    assert_eq!(location.put_new("index/a", bytes.clone()).await.unwrap(), PutOutcome::Created);
    assert_eq!(location.put_new("packs/b", bytes.clone()).await.unwrap_err().kind(), ErrorKind::Full);
    assert_eq!(location.head("packs/b").await.unwrap(), None, "nothing happened");
    assert_eq!(location.put_new("packs/b", bytes.clone()).await.unwrap(), PutOutcome::Created);

    location.times(Operation::Put, "", 0, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    assert_eq!(location.put_new("c", bytes.clone()).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(location.head("c").await.unwrap().is_some(), "it happened");

    location.times(Operation::Get, "c", 0, 1, Fault::Truncated(3));
    location.times(Operation::Get, "c", 0, 1, Fault::Flipped(1));
    assert_eq!(location.get("c").await.unwrap(), "012");
    assert_ne!(location.get("c").await.unwrap(), bytes);
    assert_eq!(location.get("c").await.unwrap(), bytes);

    location.times(Operation::Swap, "lease", 0, 1, Fault::LostAnswer(ErrorKind::Unavailable));
    assert_eq!(location.compare_and_swap("lease", None, bytes.clone()).await.unwrap(), SwapOutcome::Unknown);
    assert!(location.read_register("lease").await.unwrap().is_some());

    location.always(Operation::Any, "", Fault::Hang);
    let waited = tokio::time::timeout(Duration::from_secs(3600), location.list("")).await;
    assert!(waited.is_err(), "it never answers");
    location.heal();
    assert_eq!(location.list("packs/").await.unwrap().len(), 2);
    assert_eq!(location.calls().last().unwrap(), &(Operation::List, "packs/".to_string()));
}
