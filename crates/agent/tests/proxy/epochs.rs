//! Nobody stays with an older epoch, and nobody gets to one.

use crate::tables::{PATIENCE, until};
use crate::world::{World, cluster, connect};
use lifeboat_agent::proxy::ProxySettings;
use lifeboat_components::TestCluster;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread")]
async fn a_new_epoch_cuts_off_the_old_one_at_once() {
    let (a, b) = (cluster(), cluster());
    let world = World::start(ProxySettings::default()).await;
    world.route(1, Some(("a", &a)));
    let (idle, busy) = (connect(world.primary).await.expect("a"), connect(world.primary).await.expect("a"));
    assert_eq!(idle.server_port().await, a.port());
    let asked = tokio::spawn(async move {
        let answer = busy.client.query("select pg_sleep(600)", &[]).await;
        (answer, busy)
    });
    world.counts("both are connected", |now| now.open == 2).await;

    world.route(2, Some(("b", &b)));
    idle.dies().await;
    let (answer, busy) = tokio::time::timeout(PATIENCE, asked).await.expect("still asking").expect("a task");
    answer.expect_err("cut off in the middle");
    busy.dies().await;
    assert_eq!(connect(world.primary).await.expect("b").server_port().await, b.port());
    world.counts("both are counted", |now| now.killed_total == 2 && now.open == 0).await;
    until("the old server has no session left but ours", async || {
        let count = a.sql("select count(*) from pg_stat_activity where backend_type = 'client backend'").await;
        let count = count.expect("the old server lives on").expect("a count");
        // The one that sleeps looks for its client when it wakes.
        if count.parse::<u32>().expect("a number") <= 2 { Ok(()) } else { Err(count) }
    })
    .await;

    // Also the same member, in another life of it.
    let session = connect(world.primary).await.expect("b");
    world.route(3, Some(("b", &b)));
    session.dies().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_table_leads_nobody_back() {
    let (a, b) = (cluster(), cluster());
    let world = World::start(ProxySettings::default()).await;
    world.route(2, Some(("b", &b)));
    let session = connect(world.primary).await.expect("b");
    world.route(1, Some(("a", &a)));
    for _ in 0..20 {
        assert_eq!(connect(world.primary).await.expect("b").server_port().await, b.port());
    }
    assert_eq!(session.server_port().await, b.port());
    assert_eq!(world.statistics().killed_total, 0);
}

fn signal(cluster: &TestCluster, signal: Signal) {
    let process = cluster.process_id().and_then(|id| Pid::from_raw(id.cast_signed())).expect("it runs");
    kill_process(process, signal).expect("a signal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stands_still_holds_up_nobody() {
    let (a, b) = (cluster(), cluster());
    let world = World::start(ProxySettings::default()).await;
    world.route(1, Some(("a", &a)));
    let idle = connect(world.primary).await.expect("a");
    signal(&a, Signal::STOP);
    // The system takes the connection, and nobody answers on it.
    let address = world.primary;
    let stuck = tokio::spawn(async move { connect(address).await });
    world.counts("it is connected through", |now| now.open == 2).await;

    world.route(2, Some(("b", &b)));
    assert_eq!(connect(world.primary).await.expect("b").server_port().await, b.port());
    idle.dies().await;
    // Nobody has answered it: it never learns of the first.
    let led_on = tokio::time::timeout(PATIENCE, stuck).await;
    signal(&a, Signal::CONT);
    let session = led_on.expect("still stuck").expect("a task").expect("b");
    assert_eq!(session.server_port().await, b.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_connection_is_waited_for_and_passed_over_when_replaced() {
    let b = cluster();
    let world = World::start(ProxySettings::default()).await;
    let full = TcpSocket::new_v4().expect("a socket");
    full.bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let full = full.listen(1).expect("listen");
    let address = full.local_addr().expect("an address");
    // Its queue is full: what comes now gets no answer at all.
    let mut queue = Vec::new();
    while let Ok(Ok(one)) = tokio::time::timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        queue.push(one);
    }
    world.route_to_port(1, "a", address.port());
    let to = world.primary;
    let waiting = tokio::spawn(async move { connect(to).await });
    world.counts("it is held", |now| now.held == 1 && now.unreachable_total >= 1).await;
    world.route(2, Some(("b", &b)));
    let session = tokio::time::timeout(PATIENCE, waiting).await.expect("still held").expect("a task").expect("b");
    assert_eq!(session.server_port().await, b.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_are_carried_and_cut_off() {
    const MANY: usize = 500;
    let a = TestCluster::builder(15).setting("max_connections", MANY + 20).start().expect("PostgreSQL 15");
    let b = cluster();
    let world = World::start(ProxySettings::default()).await;
    world.route(1, Some(("a", &a)));
    let address = world.primary;
    let opening =
        (0..MANY).map(|_| tokio::spawn(async move { connect(address).await.expect("a") })).collect::<Vec<_>>();
    let mut sessions = Vec::new();
    for one in opening {
        sessions.push(one.await.expect("a task"));
    }
    for (number, session) in sessions.iter().enumerate() {
        let number = i32::try_from(number).expect("few");
        let row = session.client.query_one("select $1::int", &[&number]).await.expect("it lives");
        assert_eq!(row.get::<_, i32>(0), number);
    }
    assert_eq!(world.statistics().open as usize, MANY);
    world.route(2, Some(("b", &b)));
    for session in sessions {
        session.dies().await;
    }
    world.counts("all are counted", |now| now.killed_total as usize == MANY && now.open == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_connection_goes_on() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listen");
    let world = World::start(ProxySettings::default()).await;
    world.route_to_port(1, "a", listener.local_addr().expect("an address").port());
    let address = world.primary;
    let sent = vec![7; 1 << 20];
    // Who has said all that it has to say still hears the other, whichever it is.
    for client_ends_first in [true, false] {
        let talk = async |mut first: TcpStream, mut second: TcpStream| {
            first.write_all(&sent).await.expect("written");
            first.shutdown().await.expect("no more to say");
            let mut all = Vec::new();
            second.read_to_end(&mut all).await.expect("to its end");
            second.write_all(&all).await.expect("back");
            second.shutdown().await.expect("no more to say");
            let mut back = Vec::new();
            first.read_to_end(&mut back).await.expect("all");
            assert_eq!(back.len(), sent.len());
        };
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, server) = (client.expect("the proxy"), accepted.expect("its connection").0);
        let talked = if client_ends_first { talk(client, server) } else { talk(server, client) };
        tokio::time::timeout(PATIENCE, talked).await.expect("an end isn't passed on");
    }
    let is_all = (2 << 20, 2 << 20);
    world.counts("bytes are counted", |now| (now.received_bytes_total, now.sent_bytes_total) == is_all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_nothing_for_a_while_is_not_cut_off() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listen");
    let port = listener.local_addr().expect("an address").port();
    let server = tokio::spawn(async move {
        // More than the system keeps for somebody who doesn't read.
        let flood = vec![7; 32 << 20];
        while let Ok((mut stream, _)) = listener.accept().await {
            let flood = flood.clone();
            tokio::spawn(async move {
                let _ = stream.write_all(&flood).await;
            });
        }
    });
    let patient = World::start(ProxySettings { silence_max: Duration::from_secs(1), ..ProxySettings::default() }).await;
    let strict = ProxySettings { stall_max: Some(Duration::from_secs(1)), ..ProxySettings::default() };
    let strict = World::start(strict).await;
    patient.route_to_port(1, "a", port);
    strict.route_to_port(1, "a", port);
    let mut reader = TcpStream::connect(patient.primary).await.expect("the proxy");
    patient.counts("much is on its way", |now| now.sent_bytes_total > 64 << 10).await;
    let _other = TcpStream::connect(strict.primary).await.expect("the proxy");
    // Both begin at the same time, or the strict one later; by then the patient one has outlived that limit.
    strict.counts("it is connected", |now| now.served_total == 1).await;
    strict.counts("where a limit was asked for it holds", |now| now.open == 0).await;
    let mut all = Vec::new();
    reader.read_to_end(&mut all).await.expect("not cut off");
    assert_eq!(all.len(), 32 << 20);
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_cancelled_through_the_proxy() {
    let a = cluster();
    let world = World::start(ProxySettings::default()).await;
    world.route(1, Some(("a", &a)));
    let session = connect(world.primary).await.expect("a");
    let cancel = session.client.cancel_token();
    let asked = tokio::spawn(async move { session.client.query("select pg_sleep(600)", &[]).await });
    until("it sleeps", async || {
        let count =
            a.sql("select count(*) from pg_stat_activity where query like 'select pg_sleep%' and state = 'active'");
        let count = count.await.expect("asked").expect("a count");
        if count == "1" { Ok(()) } else { Err(count) }
    })
    .await;
    cancel.cancel_query(NoTls).await.expect("cancelled");
    let error =
        tokio::time::timeout(PATIENCE, asked).await.expect("it sleeps on").expect("a task").expect_err("an end");
    assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error}");
}
