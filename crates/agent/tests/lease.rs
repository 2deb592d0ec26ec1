//! Every store of leases does the same, and those that can't hold one are refused. Real etcd, real S3 interfaces, a real directory.

use bytes::Bytes;
use lifeboat_agent::lease::{Etcd, EtcdSettings, LeaseStore, Register, StoreError, Swapped, Version};
use lifeboat_components::servers::{GARAGE_KEY_ID, GARAGE_SECRET, etcd, garage, moto};
use lifeboat_location::{Credentials, Directory, Secret, Settings, open};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(5);

fn applied(swapped: Swapped) -> Version {
    match swapped {
        Swapped::Applied(version) => version,
        other => panic!("not applied: {other:?}"),
    }
}

/// What a lease needs of its store, one writer at a time.
async fn holds_a_lease(store: Arc<dyn LeaseStore>) {
    store.probe().await.expect("it can hold a lease");
    assert_eq!(store.read().await.expect("read"), None, "nothing was ever written");
    let first = applied(store.swap(None, Bytes::from_static(b"first")).await);
    assert_eq!(store.swap(None, Bytes::from_static(b"also first")).await, Swapped::Lost);
    let (content, version) = store.read().await.expect("read").expect("written");
    assert_eq!((&content[..], &version), (&b"first"[..], &first));
    let second = applied(store.swap(Some(&first), Bytes::from_static(b"second")).await);
    assert_ne!(second, first);
    assert_eq!(store.swap(Some(&first), Bytes::from_static(b"stale")).await, Swapped::Lost);
    assert_eq!(&store.read().await.expect("read").expect("written").0[..], b"second");
}

/// Many at once: each increment is there, none twice.
async fn counts_right(store: Arc<dyn LeaseStore>) {
    const EACH: u64 = 5;
    const WRITERS: u64 = 6;
    let (_, version) = store.read().await.expect("read").expect("written");
    applied(store.swap(Some(&version), Bytes::from_static(b"0 start")).await);
    let writers = (0..WRITERS).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut done = 0;
            while done < EACH {
                let (content, version) = store.read().await.expect("read").expect("written");
                let text = String::from_utf8(content.to_vec()).expect("text");
                let count: u64 = text.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
                // The writer makes contents differ, for stores whose version is made of the content.
                let next = format!("{} {writer}-{done}", count + 1);
                match store.swap(Some(&version), next.into()).await {
                    Swapped::Applied(_) => done += 1,
                    Swapped::Lost => {}
                    Swapped::Unknown(why) => panic!("{why}"),
                }
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer");
    }
    let (content, _) = store.read().await.expect("read").expect("written");
    assert!(content.starts_with(format!("{} ", EACH * WRITERS).as_bytes()), "{content:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_holds_a_lease() {
    let scratch = tempfile::tempdir().expect("a directory");
    let directory = Arc::new(Directory::open(scratch.path()).expect("open"));
    let store = Arc::new(Register::new(directory, "shop", LIMIT));
    holds_a_lease(store.clone()).await;
    counts_right(store).await;
}

fn settings(url: &str, endpoint: &str, (id, secret): (&str, &str)) -> Settings {
    let credentials = Credentials::Key { id: id.into(), secret: Secret::new(secret), session_token: None };
    Settings { endpoint: Some(endpoint.into()), credentials, ..Settings::new(url) }
}

fn in_bucket(settings: &Settings) -> Arc<Register> {
    Arc::new(Register::new(open(settings).expect("open"), "shop", LIMIT))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_conditional_writes_holds_a_lease() {
    let server = moto().expect("moto");
    reqwest::Client::new().put(format!("{}/leases", server.url())).send().await.expect("a bucket");
    // It compares and swaps in two steps: not a store for many at once.
    holds_a_lease(in_bucket(&settings("s3://leases/here", server.url(), ("test", "test")))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_garage_is_refused_because_it_looks_at_no_condition() {
    let cluster = tokio::task::spawn_blocking(|| garage("shop")).await.expect("a thread").expect("garage");
    let url = cluster.urls().next().expect("a node").to_owned();
    let store = in_bucket(&settings("s3://shop/dr", &url, (GARAGE_KEY_ID, GARAGE_SECRET)));
    let error = store.probe().await.expect_err("refused");
    assert!(matches!(error, StoreError::Unsafe { .. }), "{error}");
    assert!(error.to_string().contains("no conditional writes"), "{error}");
}

fn of(endpoints: Vec<String>) -> Etcd {
    Etcd::new(&EtcdSettings { endpoints, ..EtcdSettings::default() }, "shop", LIMIT).expect("settings")
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_holds_a_lease_also_with_a_member_dead_and_says_so_when_two_are() {
    let mut cluster = etcd().expect("etcd");
    let store = Arc::new(of(cluster.endpoints()));
    holds_a_lease(store.clone()).await;
    counts_right(store.clone()).await;

    // One that takes connections and says nothing costs half the time, and no more.
    cluster.pause(0);
    let begun = Instant::now();
    let (_, version) = store.read().await.expect("another answers").expect("written");
    assert!(begun.elapsed() < LIMIT);
    cluster.resume(0);
    cluster.kill(0);
    let version = match store.swap(Some(&version), Bytes::from_static(b"with two")).await {
        Swapped::Applied(version) => version,
        // The dead one may have led; then nobody knows at first.
        other => {
            println!("{other:?}");
            store.read().await.expect("two of three").expect("written").1
        }
    };
    cluster.kill(1);
    assert!(matches!(store.swap(Some(&version), Bytes::from_static(b"alone")).await, Swapped::Unknown(_)));
    assert!(matches!(store.read().await, Err(StoreError::Unavailable { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_in_one_etcd_are_apart() {
    let cluster = etcd().expect("etcd");
    let settings = EtcdSettings { endpoints: cluster.endpoints(), ..EtcdSettings::default() };
    let shop = Etcd::new(&settings, "shop", LIMIT).expect("settings");
    let warehouse = Etcd::new(&settings, "warehouse", LIMIT).expect("settings");
    applied(shop.swap(None, Bytes::from_static(b"of the shop")).await);
    assert_eq!(warehouse.read().await.expect("read"), None);
}

#[tokio::test]
async fn what_is_wrong_with_an_address_is_said_before_anything_is_asked() {
    for (endpoints, expected) in [(vec![], "no endpoint"), (vec!["etcd1:2379".to_owned()], "must begin with https://")]
    {
        let settings = EtcdSettings { endpoints, ..EtcdSettings::default() };
        let error = Etcd::new(&settings, "shop", LIMIT).expect_err("refused").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_said_and_nothing_is_called_written() {
    let port = lifeboat_components::free_port().expect("a port");
    let store = of(vec![format!("http://127.0.0.1:{port}")]);
    assert!(matches!(store.read().await, Err(StoreError::Unavailable { .. })));
    assert!(matches!(store.swap(None, Bytes::new()).await, Swapped::Unknown(_)));
}
