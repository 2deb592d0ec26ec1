//! What every kind of location promises, as one suite.
//!
//! For tests: it panics with the sentence that was broken. It works below a name of its own, so it may run in a
//! location that holds other things, and removes what it made.

use crate::{ErrorKind, Location, PutOutcome, Result, SwapOutcome};
use bytes::Bytes;
use futures::future::join_all;

/// What a place cannot do, as its own probe must find out too.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Its store refuses a second create.
    pub conditional_create: bool,
    /// Its store refuses a stale swap.
    pub compare_and_swap: bool,
    /// It decides between writers of the same instant. Imitations of stores often look first and write then.
    pub atomic: bool,
}

impl Expected {
    /// A place that does it all.
    pub const ALL: Self = Self { conditional_create: true, compare_and_swap: true, atomic: true };
}

/// Runs every check on `location`.
///
/// # Panics
/// At the first promise that doesn't hold.
pub async fn run(location: &dyn Location, expected: Expected) {
    let space = format!("conformance-{:016x}", rand::random::<u64>());
    absent(location, &space).await;
    probe_finds_out(location, expected).await;
    write_once(location, &space).await;
    ranges(location, &space).await;
    sizes(location, &space).await;
    listings(location, &space).await;
    bad_keys(location).await;
    if expected.atomic {
        writers_at_once(location, &space).await;
    }
    if expected.compare_and_swap && expected.conditional_create {
        registers(location, &space, expected.atomic).await;
    } else {
        no_registers(location, &space).await;
    }
    removal(location, &space).await;
}

fn kind<T: std::fmt::Debug>(answer: Result<T>) -> ErrorKind {
    answer.expect_err("an error").kind()
}

async fn absent(location: &dyn Location, space: &str) {
    let key = format!("{space}/absent");
    assert_eq!(kind(location.get(&key).await), ErrorKind::NotFound, "get of what isn't there");
    assert_eq!(kind(location.get_range(&key, 0..1).await), ErrorKind::NotFound, "range of what isn't there");
    assert_eq!(location.head(&key).await.expect("head"), None, "head of what isn't there");
    assert_eq!(location.list(&format!("{space}/")).await.expect("list"), [], "list of nothing");
    location.delete(&key).await.expect("delete of what isn't there succeeds");
    assert!(!location.address().is_empty(), "an address for people");
}

async fn probe_finds_out(location: &dyn Location, expected: Expected) {
    let before = location.list("").await.expect("list");
    let found = location.probe().await.expect("probe");
    assert_eq!(found.conditional_create, expected.conditional_create, "conditional create, by probe");
    assert_eq!(found.compare_and_swap, expected.compare_and_swap, "compare and swap, by probe");
    let skew = found.clock_skew_seconds.expect("clock skew");
    assert!(skew.abs() < 5.0, "a store on this machine has our clock, not one {skew} s away");
    assert_eq!(location.list("").await.expect("list"), before, "the probe leaves nothing behind");
}

async fn write_once(location: &dyn Location, space: &str) {
    let key = format!("{space}/once");
    let (first, second) = (Bytes::from_static(b"first"), Bytes::from_static(b"second, and longer"));
    assert_eq!(location.put_new(&key, first.clone()).await.expect("put"), PutOutcome::Created);
    assert_eq!(location.put_new(&key, second).await.expect("put again"), PutOutcome::AlreadyExists);
    assert_eq!(location.put_new(&key, first.clone()).await.expect("put same"), PutOutcome::AlreadyExists);
    assert_eq!(location.get(&key).await.expect("get"), first, "the first writer's bytes are untouched");
    let entry = location.head(&key).await.expect("head").expect("it is there");
    assert_eq!((entry.key.as_str(), entry.size), (key.as_str(), 5));
    let age = std::time::SystemTime::now().duration_since(entry.modified).map_or(0, |age| age.as_secs());
    assert!(age < 60, "modified {age} s ago");
}

async fn ranges(location: &dyn Location, space: &str) {
    let key = format!("{space}/ranges");
    location.put_new(&key, Bytes::from_static(b"0123456789")).await.expect("put");
    for (range, bytes) in [(0..10, "0123456789"), (0..1, "0"), (9..10, "9"), (3..7, "3456"), (4..4, ""), (10..10, "")] {
        assert_eq!(location.get_range(&key, range.clone()).await.expect("range"), bytes, "bytes {range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "that is what must be refused")]
    for range in [0..11, 9..11, 10..11, 11..12, 11..11, 5..4, 1000..2000] {
        assert_eq!(kind(location.get_range(&key, range.clone()).await), ErrorKind::Invalid, "bytes {range:?} of 10");
    }
}

/// Around the block sizes at which a writer might do something else.
async fn sizes(location: &dyn Location, space: &str) {
    for size in [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 4099] {
        let key = format!("{space}/size/{size}");
        let bytes: Bytes = (0..size).map(|at: usize| (at ^ (at >> 8) ^ (at >> 16)) as u8).collect::<Vec<_>>().into();
        assert_eq!(location.put_new(&key, bytes.clone()).await.expect("put"), PutOutcome::Created);
        let back = location.get(&key).await.expect("get");
        assert!(back == bytes, "{size} bytes came back as {} or changed", back.len());
        assert_eq!(location.head(&key).await.expect("head").expect("there").size, size as u64);
    }
}

async fn listings(location: &dyn Location, space: &str) {
    // `a-` sorts before `a/`, `a0` after it: an order of directories isn't an order of keys.
    let keys =
        ["l/a-", "l/a/b", "l/a/c/d", "l/a0", "l/ab", "l/b", "l/points/shop/2026-01-01", "l/points/shop/2026-02-01"];
    for key in keys.iter().rev() {
        location.put_new(&format!("{space}/{key}"), Bytes::from_static(b"x")).await.expect("put");
    }
    let list = async |prefix: &str| -> Vec<String> {
        let entries = location.list(&format!("{space}/{prefix}")).await.expect("list");
        assert!(entries.iter().all(|entry| entry.size == 1), "sizes in the listing");
        entries.into_iter().map(|entry| entry.key[space.len() + 1..].to_string()).collect()
    };
    assert_eq!(list("l/").await, keys, "all, in key order");
    assert_eq!(list("l").await, keys, "a prefix is text");
    assert_eq!(list("l/a").await, keys[..5], "a prefix is text, not a directory");
    assert_eq!(list("l/a/").await, ["l/a/b", "l/a/c/d"]);
    assert_eq!(list("l/a/c/d").await, ["l/a/c/d"], "a whole key is a prefix of itself");
    assert_eq!(list("l/points/shop/2026-02").await, ["l/points/shop/2026-02-01"]);
    assert_eq!(list("l/a/c/d/").await, [""; 0], "nothing is below an object");
    assert_eq!(list("l/zz").await, [""; 0]);
}

async fn bad_keys(location: &dyn Location) {
    for key in ["", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../../b", ".", ".private/x", "a b", "a\n", "ä"] {
        assert_eq!(kind(location.put_new(key, Bytes::new()).await), ErrorKind::Invalid, "put {key:?}");
        assert_eq!(kind(location.get(key).await), ErrorKind::Invalid, "get {key:?}");
        assert_eq!(kind(location.get_range(key, 0..1).await), ErrorKind::Invalid, "get range {key:?}");
        assert_eq!(kind(location.head(key).await), ErrorKind::Invalid, "head {key:?}");
        assert_eq!(kind(location.delete(key).await), ErrorKind::Invalid, "delete {key:?}");
        assert_eq!(kind(location.read_register(key).await), ErrorKind::Invalid, "read register {key:?}");
        assert_eq!(kind(location.compare_and_swap(key, None, Bytes::new()).await), ErrorKind::Invalid, "swap {key:?}");
    }
    assert_eq!(kind(location.list("../").await), ErrorKind::Invalid, "list above the location");
}

async fn writers_at_once(location: &dyn Location, space: &str) {
    for round in 0..5 {
        let key = format!("{space}/race/{round}");
        let bodies: Vec<Bytes> = (0..8).map(|writer| Bytes::from(format!("writer {writer}").repeat(1000))).collect();
        let outcomes = join_all(bodies.iter().map(|body| location.put_new(&key, body.clone()))).await;
        let outcomes: Vec<PutOutcome> = outcomes.into_iter().map(|outcome| outcome.expect("put")).collect();
        let winners: Vec<usize> = (0..8).filter(|writer| outcomes[*writer] == PutOutcome::Created).collect();
        assert_eq!(winners.len(), 1, "exactly one of the writers of one key is told that it created it");
        assert_eq!(location.get(&key).await.expect("get"), bodies[winners[0]], "and its bytes are there");
    }
}

async fn registers(location: &dyn Location, space: &str, atomic: bool) {
    let key = format!("{space}/register");
    assert_eq!(location.read_register(&key).await.expect("read"), None, "never written");
    let swap = async |expected, text: &'static str| {
        location.compare_and_swap(&key, expected, Bytes::from_static(text.as_bytes())).await.expect("swap")
    };
    let SwapOutcome::Applied(first) = swap(None, "one").await else { panic!("the first write is applied") };
    assert_eq!(swap(None, "other").await, SwapOutcome::Lost, "it exists by now");
    let (bytes, version) = location.read_register(&key).await.expect("read").expect("written");
    assert_eq!((bytes.as_ref(), &version), (b"one".as_ref(), &first));
    let SwapOutcome::Applied(second) = swap(Some(&first), "two").await else { panic!("a current version is applied") };
    assert_eq!(swap(Some(&first), "late").await, SwapOutcome::Lost, "a stale version loses");
    let (bytes, version) = location.read_register(&key).await.expect("read").expect("written");
    assert_eq!((bytes.as_ref(), &version), (b"two".as_ref(), &second));
    location.delete(&key).await.expect("delete");
    assert_eq!(swap(Some(&second), "ghost").await, SwapOutcome::Lost, "what is gone has no version");
    if atomic {
        swaps_at_once(location, &key).await;
    }
}

async fn swaps_at_once(location: &dyn Location, key: &str) {
    let mut current = None;
    for round in 0..5 {
        let values: Vec<Bytes> = (0..6).map(|holder| Bytes::from(format!("round {round} holder {holder}"))).collect();
        let swaps = values.iter().map(|value| location.compare_and_swap(key, current.as_ref(), value.clone()));
        let outcomes: Vec<SwapOutcome> =
            join_all(swaps).await.into_iter().map(|outcome| outcome.expect("swap")).collect();
        let winners: Vec<usize> =
            (0..6).filter(|holder| matches!(outcomes[*holder], SwapOutcome::Applied(_))).collect();
        assert_eq!(winners.len(), 1, "exactly one swap from one version wins: {outcomes:?}");
        let (bytes, version) = location.read_register(key).await.expect("read").expect("written");
        assert_eq!(bytes, values[winners[0]], "and its value is there");
        current = Some(version);
    }
}

async fn no_registers(location: &dyn Location, space: &str) {
    let swap = location.compare_and_swap(&format!("{space}/register"), None, Bytes::from_static(b"x")).await;
    assert_eq!(kind(swap), ErrorKind::Invalid, "a lease must not be held where nothing holds it");
}

async fn removal(location: &dyn Location, space: &str) {
    let prefix = format!("{space}/");
    let entries = location.list(&prefix).await.expect("list");
    assert!(!entries.is_empty());
    for entry in entries {
        location.delete(&entry.key).await.expect("delete");
        location.delete(&entry.key).await.expect("delete twice");
        assert_eq!(location.head(&entry.key).await.expect("head"), None, "gone");
    }
    assert_eq!(location.list(&prefix).await.expect("list"), [], "all gone");
}
