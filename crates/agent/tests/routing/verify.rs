//! Ways to real PostgreSQL: right, and wrong in every way.

use crate::tables::{PATIENCE, table, until};
use lifeboat_agent::proxy::{Proxy, ProxySettings};
use lifeboat_agent::routing::{Endpoint, Verifier, Way, verify};
use lifeboat_components::TestCluster;
use lifeboat_failover::Epoch;
use lifeboat_postgres::connection::Secret;
use std::time::Duration;
use tokio::sync::watch;

fn way(port: u16) -> Way {
    // A role without any right: what the documentation promises.
    let conninfo = format!("host=127.0.0.1 port={port} user=plain dbname=postgres");
    Way { limit: PATIENCE, ..Way::new("proxy", &conninfo, &Secret::None).expect("settings") }
}

async fn with_role(cluster: TestCluster) -> TestCluster {
    cluster.sql("create role plain login").await.expect("a role");
    cluster
}

fn endpoint(cluster: &TestCluster) -> Endpoint {
    Endpoint { name: "a".into(), host: "localhost".into(), port: cluster.port() }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_every_change_the_way_through_the_proxy_is_tried() {
    let a = TestCluster::builder(15).setting("wal_level", "logical").start().expect("PostgreSQL 15");
    let a = with_role(a).await;
    let mut b = a.standby(|it| it).await.expect("a standby");
    b.start().expect("start");
    let slot = "select pg_create_logical_replication_slot('looks', 'test_decoding')";
    a.sql(slot).await.expect("a slot");
    let (tables, routes) = watch::channel(table("a", 0, 0, None));
    let settings = ProxySettings { primary: Some(([127, 0, 0, 1], 0).into()), ..ProxySettings::default() };
    let proxy = Proxy::bind(settings).await.expect("bind");
    let way = way(proxy.primary_address().expect("bound").port());
    let served = tokio::spawn(proxy.run(routes.clone()));
    let verifier = Verifier::start(vec![way], &routes);
    assert_eq!(verifier.results(), [None]);
    let result_for = async |epoch| {
        until("a result", async || match &verifier.results()[0] {
            Some(result) if result.epoch == Epoch(epoch) => Ok(result.clone()),
            other => Err(format!("{other:?}")),
        })
        .await
    };
    tables.send_replace(table("a", 1, 0, Some(("a", "127.0.0.1", a.port()))));
    let first = result_for(1).await;
    let arrived = first.result.expect("the way is right");
    assert_eq!(arrived.timeline, 1);
    assert!(arrived.connected_after <= arrived.written_after && arrived.written_after <= first.took);
    // It is in the log, where it said.
    let found =
        a.sql("select lsn || ' ' || data from pg_logical_slot_get_changes('looks', null, null) where data ~ 'message'");
    let found = found.await.expect("asked").expect("a message");
    assert!(found.contains("transactional: 1 prefix: lifeboat, sz: 7 content:epoch 1"), "{found}");
    assert!(found.starts_with(&arrived.position), "{found} isn't at {}", arrived.position);

    b.promote().expect("promote");
    tables.send_replace(table("b", 2, 0, Some(("b", "127.0.0.1", b.port()))));
    let second = result_for(2).await.result.expect("the way is right");
    assert_eq!((second.timeline, second.system_identifier), (2, arrived.system_identifier));
    served.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_way_that_leads_elsewhere_is_found_out() {
    let a = with_role(TestCluster::builder(15).start().expect("PostgreSQL 15")).await;
    let mut standby = a.standby(|it| it).await.expect("a standby");
    standby.start().expect("start");
    let stranger = with_role(TestCluster::builder(15).start().expect("PostgreSQL 15")).await;
    let quick = |port| Way { limit: Duration::from_secs(2), ..way(port) };
    let tried = async |way: Way| verify(&way, Epoch(7), &endpoint(&a)).await;

    let right = tried(way(a.port())).await.result.expect("right");
    let position = a.sql(&format!("select '{}'::pg_lsn < pg_current_wal_flush_lsn()", right.position)).await;
    assert_eq!(position.expect("asked").as_deref(), Some("t"));
    let found = tried(quick(standby.port())).await;
    assert_eq!(found.result, Err("it leads to a standby".into()));
    assert!(found.attempts > 1, "it is tried until its time is over: {found:?}");
    let found = tried(quick(stranger.port())).await.result.expect_err("another server");
    assert!(found.contains("and the primary a is at localhost"), "{found}");
    let known =
        Way { system_identifier: Some(right.system_identifier), compare_address: false, ..quick(stranger.port()) };
    let found = tried(known).await.result.expect_err("another cluster");
    assert!(found.contains("it leads to another cluster"), "{found}");
    let anywhere = Way { compare_address: false, ..way(stranger.port()) };
    tried(anywhere).await.result.expect("nothing else was asked for");
    let nobody = lifeboat_components::free_port().expect("a port");
    let found = tried(quick(nobody)).await.result.expect_err("nobody");
    assert!(found.contains("Connection refused"), "{found}");
    // A primary that refuses writes, or whose commits wait for ever, isn't one for clients.
    a.sql("alter system set synchronous_standby_names = 'nobody'; ").await.expect("set");
    a.sql("select pg_reload_conf()").await.expect("reload");
    until("commits wait", async || {
        let now = a.sql("show synchronous_standby_names").await.expect("asked").unwrap_or_default();
        if now == "nobody" { Ok(()) } else { Err(now) }
    })
    .await;
    let found = tried(quick(a.port())).await.result.expect_err("it can't be written");
    assert_eq!(found, "no answer within 2s");
}
