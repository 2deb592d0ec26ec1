//! A store that takes conditional writes and doesn't look at their conditions: three nodes of Garage.

mod support;

use bytes::Bytes;
use lifeboat_components::servers::{self, GARAGE_KEY_ID, GARAGE_SECRET, Garage};
use lifeboat_location::conformance::{Expected, run};
use lifeboat_location::{ErrorKind, Location, PutOutcome, Settings, open};
use std::sync::Arc;
use support::{key, settings};

/// One location for each node, all of the same objects.
fn locations(cluster: &Garage) -> Vec<Arc<dyn Location>> {
    let credentials = key(GARAGE_KEY_ID, GARAGE_SECRET);
    let settings = |url| Settings { credentials: credentials.clone(), ..settings("s3://shop/dr", url) };
    cluster.urls().map(|url| open(&settings(url)).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn long_garage_keeps_the_promises_that_need_no_conditions() {
    let cluster = tokio::task::spawn_blocking(|| servers::garage("shop")).await.unwrap().unwrap();
    let expected = Expected { conditional_create: false, compare_and_swap: false, atomic: false };
    for location in locations(&cluster) {
        run(&*location, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_garage_is_found_out_and_still_never_overwritten() {
    let cluster = tokio::task::spawn_blocking(|| servers::garage("shop")).await.unwrap().unwrap();
    let nodes = locations(&cluster);

    let found = nodes[0].probe().await.unwrap();
    assert!(!found.conditional_create, "it overwrites what `If-None-Match: *` should have kept");
    assert!(!found.compare_and_swap, "it takes a stale `If-Match`");
    let refused = nodes[0].compare_and_swap("lease", None, Bytes::from_static(b"mine")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid);
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("does not honour conditional writes"), "{cause}");
    assert_eq!(nodes[0].head("lease").await.unwrap(), None, "a refused swap writes nothing");

    // Without a condition to rely on a create looks first, whether it has probed (the first node's location) or not.
    let first = Bytes::from_static(b"first");
    for round in 0..9 {
        let key = format!("objects/{round}");
        assert_eq!(nodes[round % 3].put_new(&key, first.clone()).await.unwrap(), PutOutcome::Created);
        for node in &nodes {
            let again = node.put_new(&key, Bytes::from_static(b"second")).await.unwrap();
            assert_eq!(again, PutOutcome::AlreadyExists, "{key}");
            assert_eq!(node.get(&key).await.unwrap(), first, "{key}");
        }
    }
}
