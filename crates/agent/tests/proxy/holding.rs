//! While there is nowhere to go: held, served after, or refused in words.

use crate::tables::PATIENCE;
use crate::world::{World, cluster, connect, conninfo, quick};
use lifeboat_agent::proxy::ProxySettings;
use lifeboat_components::postgres::Shutdown;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_there_is_no_primary_is_held_and_served_after() {
    let mut a = cluster();
    let world = World::start(ProxySettings { hold: PATIENCE, ..ProxySettings::default() }).await;
    let address = world.primary;
    let waiting = (0..20).map(|_| tokio::spawn(async move { connect(address).await })).collect::<Vec<_>>();
    world.counts("all are held", |now| now.held == 20 && now.open == 0).await;
    world.route(1, Some(("a", &a)));
    for one in waiting {
        assert_eq!(one.await.expect("a task").expect("served").server_port().await, a.port());
    }
    world.counts("nobody is held any more", |now| now.held == 0 && now.served_total == 20).await;

    // The same when the table names a primary, and it isn't there.
    a.stop(Shutdown::Fast).expect("stop");
    let waiting = tokio::spawn(async move {
        loop {
            match connect(address).await {
                Ok(session) => return session,
                // A server that is just starting says so itself.
                Err(error) => assert_eq!(error.code().map(|code| code.code()), Some("57P03"), "{error}"),
            }
        }
    });
    world.counts("it is held", |now| now.held == 1 && now.unreachable_total >= 1).await;
    a.start().expect("start");
    assert_eq!(waiting.await.expect("a task").server_port().await, a.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_are_held_dont_all_knock() {
    const MANY: u64 = 200;
    let world = World::start(ProxySettings { hold: PATIENCE * 10, ..ProxySettings::default() }).await;
    let nobody = lifeboat_components::free_port().expect("a port");
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(TcpStream::connect(world.primary).await.expect("accepted"));
    }
    world.counts("all are held", |now| now.held == MANY).await;
    world.route_to_port(1, "a", nobody);
    let begun = Instant::now();
    world
        .counts("it is tried again and again", |now| now.unreachable_total >= 10 && begun.elapsed().as_secs() >= 2)
        .await;
    // All may knock once, before it is known that nobody opens; then one at a time.
    let (knocked, took) = (world.statistics().unreachable_total, begun.elapsed());
    assert!((knocked as f64) < MANY as f64 + 20.0 + took.as_secs_f64() * 15.0, "{knocked} in {took:?}");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("listen");
    world.route_to_port(2, "b", listener.local_addr().expect("an address").port());
    let accepting = tokio::spawn(async move {
        let mut accepted = Vec::new();
        while let Ok(one) = listener.accept().await {
            accepted.push(one);
        }
    });
    world.counts("all get through", |now| now.held == 0 && now.open == MANY).await;
    accepting.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_limit_it_is_refused_in_words() {
    let a = cluster();
    let world = World::start(quick()).await;
    world.route(7, None);
    let error = connect(world.primary).await.err().expect("refused");
    let said = error.as_db_error().expect("an error of the protocol");
    assert_eq!((said.code().code(), said.severity()), ("57P03", "FATAL"));
    assert_eq!(said.message(), "shop has no primary at present (epoch 7)");
    assert_eq!(said.detail(), Some("The connection was held for 300ms."));

    // libpq asks for encryption first, both kinds where it can, and must get as far as the words.
    let psql = |mode: &str| {
        let mut command = a.command("psql");
        command.arg(format!("{} sslmode={mode} gssencmode=prefer", conninfo(world.primary))).args(["-c", "select 1"]);
        let output = tokio::task::block_in_place(|| command.output()).expect("psql");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for mode in ["prefer", "disable"] {
        let said = psql(mode);
        assert!(said.contains("FATAL:  shop has no primary at present (epoch 7)"), "{said}");
    }
    let nobody = lifeboat_components::free_port().expect("a port");
    world.route_to_port(8, "ohio", nobody);
    let said = psql("prefer");
    assert!(said.contains("the primary ohio can't be reached: Connection refused"), "{said}");
    assert_eq!(world.statistics().refused_total, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_so_many_are_held_and_only_so_many_are_served() {
    let a = cluster();
    let settings = ProxySettings { hold: PATIENCE, held_max: 2, connections_max: 3, ..ProxySettings::default() };
    let world = World::start(settings).await;
    let held = (0..2).map(|_| async { TcpStream::connect(world.primary).await.expect("accepted") });
    let mut held = [held].into_iter().flatten().collect::<Vec<_>>();
    let (first, second) = (held.remove(0).await, held.remove(0).await);
    world.counts("two are held", |now| now.held == 2).await;
    let error = connect(world.primary).await.err().expect("refused");
    let said = error.as_db_error().expect("an error of the protocol");
    assert_eq!((said.code().code(), said.detail()), ("57P03", Some("2 connections wait already.")));

    // Who doesn't wait makes room.
    drop((first, second));
    world.counts("both have left", |now| now.held == 0 && now.left_total == 2).await;
    world.route(1, Some(("a", &a)));
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(connect(world.primary).await.expect("a"));
    }
    let error = connect(world.primary).await.err().expect("refused");
    assert_eq!(error.code().map(|code| code.code()), Some("53300"), "{error}");
    sessions.pop();
    world.counts("one has gone", |now| now.open == 2).await;
    connect(world.primary).await.expect("there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_a_primary_that_takes_nobody_may_end_by_themselves() {
    let a = cluster();
    let world = World::start(ProxySettings { drain: PATIENCE * 10, ..ProxySettings::default() }).await;
    world.route(1, Some(("a", &a)));
    let session = connect(world.primary).await.expect("a");
    world.route(1, None);
    let address = world.primary;
    let late = tokio::spawn(async move { connect(address).await });
    world.counts("a new one is held", |now| now.held == 1).await;
    assert_eq!(session.server_port().await, a.port());
    world.route(2, None);
    session.dies().await;
    late.abort();

    let world = World::start(ProxySettings { drain: Duration::from_millis(200), ..ProxySettings::default() }).await;
    world.route(1, Some(("a", &a)));
    let session = connect(world.primary).await.expect("a");
    world.route(1, None);
    session.dies().await;
    world.counts("it was cut off", |now| now.killed_total == 1).await;
}
