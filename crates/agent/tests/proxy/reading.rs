//! The port for reading: standbys that are near enough, the least loaded first, and the primary when there is none.

use crate::tables::{PATIENCE, table, until};
use crate::world::{World, cluster, connect};
use lifeboat_agent::proxy::ProxySettings;
use lifeboat_agent::routing::{Endpoint, RouteTable, StandbyEndpoint};
use lifeboat_components::TestCluster;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio_postgres::NoTls;

fn standby(name: &str, port: u16, lag_bytes: u64, streaming: bool) -> StandbyEndpoint {
    let endpoint = Endpoint { name: name.into(), host: "127.0.0.1".into(), port };
    StandbyEndpoint { endpoint, lag_bytes, lag: Duration::ZERO, streaming }
}

fn with(epoch: u64, primary: Option<(&str, &TestCluster)>, standbys: Vec<StandbyEndpoint>) -> RouteTable {
    let primary = primary.map(|(name, cluster)| (name, "127.0.0.1", cluster.port()));
    RouteTable { standbys, ..table("a", epoch, 0, primary) }
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_to_standbys_that_are_near_and_spread() {
    let a = TestCluster::builder(15).setting("wal_keep_size", "256MB").start().expect("PostgreSQL 15");
    let (mut b, mut c) = (a.standby(|it| it).await.expect("a standby"), a.standby(|it| it).await.expect("a standby"));
    b.start().expect("start");
    c.start().expect("start");
    let world = World::start(ProxySettings { hold: PATIENCE, ..ProxySettings::default() }).await;
    let nobody = lifeboat_components::free_port().expect("a port");
    let listed = |lag_of_c| {
        vec![standby("gone", nobody, 0, true), standby("b", b.port(), 0, true), standby("c", c.port(), lag_of_c, true)]
    };
    world.tables.send_replace(with(1, Some(("a", &a)), listed(0)));
    let mut sessions = Vec::new();
    let mut counts = BTreeMap::new();
    for _ in 0..8 {
        let session = connect(world.read_only).await.expect("a standby");
        *counts.entry(session.server_port().await).or_insert(0) += 1;
        sessions.push(session);
    }
    assert_eq!(counts, BTreeMap::from([(b.port(), 4), (c.port(), 4)]));
    assert_eq!((world.statistics().open_read_only, world.statistics().open), (8, 0));

    // One that falls behind gets nobody new, and keeps whom it has.
    world.tables.send_replace(with(1, Some(("a", &a)), listed(1 << 30)));
    let more = [connect(world.read_only).await.expect("a standby"), connect(world.read_only).await.expect("a standby")];
    for session in &more {
        assert_eq!(session.server_port().await, b.port());
    }
    drop(more);
    world.counts("those have gone", |now| now.open_read_only == 8).await;
    // When its standby becomes the primary, a session for reading ends; the others go on.
    world.tables.send_replace(with(2, Some(("b", &b)), vec![standby("c", c.port(), 0, true)]));
    for session in sessions {
        let port = b.port();
        if session
            .client
            .query_one("select current_setting('port')::int", &[])
            .await
            .is_ok_and(|row| row.get::<_, i32>(0) != i32::from(port))
        {
            assert_eq!(session.server_port().await, c.port());
        } else {
            session.dies().await;
        }
    }
    world.counts("four were cut off", |now| now.killed_total == 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_standby_the_primary_serves_reads_if_it_may() {
    let a = cluster();
    let world = World::start(ProxySettings::default()).await;
    world.tables.send_replace(with(1, Some(("a", &a)), vec![standby("b", 1, 0, false)]));
    let session = connect(world.read_only).await.expect("the primary");
    assert_eq!(session.server_port().await, a.port());
    // It is a session of the primary, and ends like one.
    world.tables.send_replace(with(2, None, vec![]));
    session.dies().await;

    let settings = ProxySettings { primary_serves_reads: false, hold: Duration::ZERO, ..ProxySettings::default() };
    let world = World::start(settings).await;
    world.tables.send_replace(with(1, Some(("a", &a)), vec![]));
    let error = connect(world.read_only).await.err().expect("refused");
    let said = error.as_db_error().expect("an error of the protocol");
    assert_eq!(said.code().code(), "57P03");
    assert_eq!(said.message(), "no standby of shop is near enough to serve reads now");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_on_any_standby_is_cancelled() {
    let (a, b, c) = (cluster(), cluster(), cluster());
    let world = World::start(ProxySettings::default()).await;
    let listed = vec![standby("b", b.port(), 0, true), standby("c", c.port(), 0, true)];
    world.tables.send_replace(with(1, Some(("a", &a)), listed));
    for _ in 0..2 {
        let session = connect(world.read_only).await.expect("a standby");
        let server = if session.server_port().await == b.port() { &b } else { &c };
        let cancel = session.client.cancel_token();
        let asked = tokio::spawn(async move {
            let answer = session.client.query("select pg_sleep(600)", &[]).await;
            (answer, session)
        });
        until("it sleeps", async || {
            let count =
                "select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'";
            let count = server.sql(count).await.expect("asked").expect("a count");
            if count == "1" { Ok(()) } else { Err(count) }
        })
        .await;
        cancel.cancel_query(NoTls).await.expect("cancelled");
        let (answer, _session) = tokio::time::timeout(PATIENCE, asked).await.expect("it sleeps on").expect("a task");
        assert_eq!(answer.expect_err("an end").code().map(|code| code.code()), Some("57014"));
    }
}
