//! What a bucket's location makes of a store that is down, slow, wrong or lying.

mod support;

use bytes::Bytes;
use lifeboat_location::{Credentials, ErrorKind, Location, PutOutcome, Settings, SwapOutcome, open};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{InProcessS3, Reply, Scripted, key, settings};

fn hasty(endpoint: &str) -> Arc<dyn Location> {
    open(&Settings { time_limit: Duration::from_millis(700), ..settings("s3://bucket/dr", endpoint) }).unwrap()
}

async fn kinds(location: &dyn Location) -> Vec<Option<ErrorKind>> {
    let kind = |error: Option<lifeboat_location::Error>| error.map(|error| error.kind());
    vec![
        kind(location.put_new("a", Bytes::from_static(b"x")).await.err()),
        kind(location.get("a").await.err()),
        kind(location.get_range("a", 0..1).await.err()),
        kind(location.head("a").await.err()),
        kind(location.list("").await.err()),
        kind(location.delete("a").await.err()),
        kind(location.read_register("a").await.err()),
        kind(location.probe().await.err()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_its_kind() {
    let code = |code: &str| format!("<Error><Code>{code}</Code></Error>");
    let table = [
        (500, code("InternalError"), ErrorKind::Unavailable),
        (503, code("SlowDown"), ErrorKind::Unavailable),
        (507, String::new(), ErrorKind::Full),
    ];
    for (status, body, expected) in table {
        let server = Scripted::start(None, move |_, _| Reply::Say(status, body.clone())).await;
        // With time for every retry: whoever is cut off before the last one doesn't learn the cause.
        let location = open(&settings("s3://bucket/dr", &server.endpoint)).unwrap();
        assert_eq!(kinds(&*location).await, [Some(expected); 8], "{status}");
    }
    // HEAD has no body, so these show their cause with the other requests only.
    for (status, word, expected) in [
        (403, "RequestTimeTooSkewed", ErrorKind::ClockSkew),
        (403, "QuotaExceeded", ErrorKind::Full),
        (403, "AccessDenied", ErrorKind::Denied),
        (404, "NoSuchBucket", ErrorKind::NoContainer),
    ] {
        let body = code(word);
        let server = Scripted::start(None, move |_, _| Reply::Say(status, body.clone())).await;
        let location = hasty(&server.endpoint);
        assert_eq!(location.get("a").await.unwrap_err().kind(), expected, "{word}");
        assert_eq!(location.list("").await.unwrap_err().kind(), expected, "{word}");
        assert_eq!(location.probe().await.unwrap_err().kind(), expected, "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_listens() {
    let port = lifeboat_components::free_port().unwrap();
    let location = hasty(&format!("http://127.0.0.1:{port}"));
    assert_eq!(kinds(&*location).await, [Some(ErrorKind::Unavailable); 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_never_answers() {
    let server = Scripted::start(None, |_, _| Reply::Stall(String::new())).await;
    assert_eq!(kinds(&*hasty(&server.endpoint)).await, [Some(ErrorKind::Unavailable); 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\netag: \"a\"\r\nlast-modified: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\nhalf";
    let server = Scripted::start(None, move |_, _| Reply::Stall(head.to_string())).await;
    assert_eq!(hasty(&server.endpoint).get("a").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_missing_bucket() {
    let server = InProcessS3::start().await;
    for credentials in [key("access", "wrong"), key("stranger", "hush-hush")] {
        let location = open(&Settings { credentials, ..settings("s3://bucket", &server.endpoint) }).unwrap();
        let error = location.get("a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{:?}", error.source());
        assert_eq!(location.probe().await.unwrap_err().kind(), ErrorKind::Denied);
    }
    let location = open(&settings("s3://nowhere/dr", &server.endpoint)).unwrap();
    // This server deletes in, and makes, a bucket that is not there: no test for delete and probe.
    for (at, kind) in kinds(&*location).await.into_iter().enumerate().filter(|(at, _)| ![5, 7].contains(at)) {
        assert_eq!(kind, Some(ErrorKind::NoContainer), "{at}");
    }
}

/// The store kept the object, the answer got lost, the second attempt meets the first.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_without_an_answer_is_resolved() {
    let store = InProcessS3::start().await;
    let swallow = |_: usize, line: &str| if line.starts_with("PUT") { Reply::Swallow } else { Reply::Pass };
    let server = Scripted::start(Some(store.endpoint.clone()), swallow).await;
    let location = open(&settings("s3://bucket/dr", &server.endpoint)).unwrap();
    assert_eq!(location.put_new("a", Bytes::from_static(b"mine")).await.unwrap(), PutOutcome::Created);
    assert_eq!(store.open("/dr").get("a").await.unwrap(), "mine");

    // The same when the second attempt gets an answer: that the object exists. It is ours.
    let puts = AtomicUsize::new(0);
    let first_lost = move |_: usize, line: &str| {
        let lost = line.starts_with("PUT") && puts.fetch_add(1, Ordering::SeqCst) == 0;
        if lost { Reply::Swallow } else { Reply::Pass }
    };
    let server = Scripted::start(Some(store.endpoint.clone()), first_lost).await;
    let location = open(&settings("s3://bucket/dr", &server.endpoint)).unwrap();
    assert_eq!(location.put_new("b", Bytes::from_static(b"mine")).await.unwrap(), PutOutcome::Created);

    // Somebody else's object is not taken for ours, even if the same bytes are in it.
    let late = |_: usize, line: &str| match line {
        line if line.starts_with("HEAD") => Reply::Say(404, String::new()),
        line if line.starts_with("PUT") => Reply::Pass,
        _ => Reply::Pass,
    };
    let server = Scripted::start(Some(store.endpoint.clone()), late).await;
    let location = open(&settings("s3://bucket/dr", &server.endpoint)).unwrap();
    assert_eq!(location.put_new("a", Bytes::from_static(b"mine")).await.unwrap(), PutOutcome::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_without_an_answer_is_unknown_and_not_repeated() {
    let store = InProcessS3::start().await;
    let lease = |_: usize, line: &str| match line {
        line if line.starts_with("PUT") && line.contains("lease") => Reply::Swallow,
        _ => Reply::Pass,
    };
    let server = Scripted::start(Some(store.endpoint.clone()), lease).await;
    let location = open(&settings("s3://bucket/dr", &server.endpoint)).unwrap();
    location.probe().await.unwrap();
    let before = server.requests.load(Ordering::SeqCst);
    let swap = location.compare_and_swap("lease", None, Bytes::from_static(b"holder")).await.unwrap();
    assert_eq!(swap, SwapOutcome::Unknown);
    assert_eq!(server.requests.load(Ordering::SeqCst), before + 1, "asked once");
    assert_eq!(location.read_register("lease").await.unwrap().unwrap().0, "holder", "it had been applied");
}

/// Takes every condition and ignores it, as Garage does.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditions_is_found_out() {
    let store = InProcessS3::start_open().await;
    let server = Scripted::start(Some(store.endpoint.clone()), |_, _| Reply::PassWithoutConditions).await;
    let location =
        open(&Settings { credentials: Credentials::Anonymous, ..settings("s3://bucket/dr", &server.endpoint) })
            .unwrap();
    // Not probed yet: an object is safe all the same.
    assert_eq!(location.put_new("a", Bytes::from_static(b"first")).await.unwrap(), PutOutcome::Created);
    assert_eq!(location.put_new("a", Bytes::from_static(b"other")).await.unwrap(), PutOutcome::AlreadyExists);
    let found = location.probe().await.unwrap();
    assert!(!found.conditional_create && !found.compare_and_swap, "{found:?}");
    assert_eq!(location.put_new("a", Bytes::from_static(b"other")).await.unwrap(), PutOutcome::AlreadyExists);
    assert_eq!(location.get("a").await.unwrap(), "first");
    let swap = location.compare_and_swap("lease", None, Bytes::from_static(b"holder")).await;
    assert_eq!(swap.unwrap_err().kind(), ErrorKind::Invalid);
    let left: Vec<_> = location.list("").await.unwrap().into_iter().map(|entry| entry.key).collect();
    assert_eq!(left, ["a"], "the probe leaves nothing behind");
}
