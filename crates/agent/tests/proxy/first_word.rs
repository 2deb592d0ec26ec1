//! Servers that end before their first word: the client is led on, and nothing of what it said gets to anybody twice that could do harm.

use crate::tables::PATIENCE;
use crate::world::{World, cluster, connect, quick};
use lifeboat_agent::proxy::ProxySettings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const SSL_REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";

/// Of version 3.0: the user `postgres`.
fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(body.len() + 4).expect("short");
    [length.to_be_bytes().as_slice(), body].concat()
}

/// A host that takes connections and says nothing.
struct Mute(TcpListener);

impl Mute {
    async fn listen() -> Self {
        Self(TcpListener::bind(("127.0.0.1", 0)).await.expect("listen"))
    }

    fn port(&self) -> u16 {
        self.0.local_addr().expect("an address").port()
    }

    async fn accept(&self) -> TcpStream {
        timeout(PATIENCE, self.0.accept()).await.expect("somebody comes").expect("a connection").0
    }

    /// What it is told first, of that length.
    async fn hears(&self, bytes: usize) -> (TcpStream, Vec<u8>) {
        let (mut taken, mut said) = (self.accept().await, vec![0; bytes]);
        timeout(PATIENCE, taken.read_exact(&mut said)).await.expect("words").expect("words");
        (taken, said)
    }
}

async fn patient() -> World {
    World::start(ProxySettings { hold: PATIENCE, ..ProxySettings::default() }).await
}

async fn one_byte(client: &mut TcpStream) -> Option<u8> {
    let mut answer = [0];
    let read = timeout(PATIENCE, client.read(&mut answer)).await.expect("an answer, or the end");
    read.is_ok_and(|bytes| bytes == 1).then_some(answer[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_led_to_a_server_that_ends_without_a_word_is_led_on() {
    let a = cluster();
    let (world, dying) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", dying.port());
    let address = world.primary;
    let client = tokio::spawn(async move { connect(address).await });
    for bytes in [0, 8, 20] {
        drop(dying.hears(bytes).await);
    }
    world.route(2, Some(("a", &a)));
    assert_eq!(client.await.expect("a task").expect("served").server_port().await, a.port());
    let now = world.statistics();
    assert_eq!((now.served_total, now.killed_total, now.refused_total), (1, 0, 0), "{now:?}");
}

/// Its host hangs: it is left only when another one is the primary.
#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_the_first_word_of_a_server_that_is_replaced_is_led_on() {
    let a = cluster();
    let (world, hanging) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", hanging.port());
    let address = world.primary;
    let client = tokio::spawn(async move { connect(address).await });
    let (_kept, _) = hanging.hears(8).await;
    world.route(2, Some(("a", &a)));
    assert_eq!(client.await.expect("a task").expect("served").server_port().await, a.port());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_encryption_is_led_on_and_on_the_port_for_reading_too() {
    let a = cluster();
    let (world, dying) = (patient().await, Mute::listen().await);
    for (epoch, address) in [(1, world.primary), (3, world.read_only)] {
        world.route_to_port(epoch, "b", dying.port());
        let mut client = TcpStream::connect(address).await.expect("accepted");
        client.write_all(SSL_REQUEST).await.expect("written");
        let (taken, said) = dying.hears(8).await;
        assert_eq!(said, SSL_REQUEST);
        drop(taken);
        world.route(epoch + 1, Some(("a", &a)));
        assert_eq!(one_byte(&mut client).await, Some(b'N'), "this server has no certificate");
        client.write_all(&startup()).await.expect("written");
        assert_eq!(one_byte(&mut client).await, Some(b'R'));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_never_says_a_word_is_told_of_in_words() {
    let (world, dying) = (World::start(quick()).await, Mute::listen().await);
    world.route_to_port(1, "b", dying.port());
    let ends = tokio::spawn(async move {
        loop {
            drop(dying.accept().await);
        }
    });
    let refused = connect(world.primary).await.map(|_| ()).expect_err("nobody serves");
    assert_eq!(refused.code().map(|code| code.code()), Some("57P03"), "{refused}");
    let why = refused.as_db_error().map(|error| error.message().to_owned()).unwrap_or_default();
    assert!(why.contains("without a word"), "{why}");
    ends.abort();
}

/// It means one server, and one that took it may have done it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_cancel_is_said_once() {
    let (world, dying) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", dying.port());
    let mut client = TcpStream::connect(world.primary).await.expect("accepted");
    let request = [b"\0\0\0\x10\x04\xd2\x16\x2e".as_slice(), &[7; 8]].concat();
    client.write_all(&request).await.expect("written");
    let (taken, said) = dying.hears(16).await;
    assert_eq!(said, request);
    drop(taken);
    assert_eq!(one_byte(&mut client).await, None, "it ends as the server did");
    assert_eq!(world.statistics().unreachable_total, 0);
}

/// Statements that somebody sends before he was answered mustn't be done twice.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_first_packet_is_said_before_the_answer() {
    let (world, mute) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", mute.port());
    let mut client = TcpStream::connect(world.primary).await.expect("accepted");
    client.write_all(&[startup(), b"Q\0\0\0\x0dselect 1\0".to_vec()].concat()).await.expect("written");
    let (mut taken, said) = mute.hears(startup().len()).await;
    assert_eq!(said, startup());
    // Its first word opens the way.
    let silent = timeout(std::time::Duration::from_millis(200), taken.read(&mut [0])).await;
    assert!(silent.is_err(), "{silent:?}");
    taken.write_all(b"R").await.expect("written");
    let mut rest = [0; 5];
    timeout(PATIENCE, taken.read_exact(&mut rest)).await.expect("the rest").expect("the rest");
    assert_eq!(&rest, b"Q\0\0\0\x0d");
}

/// What says of itself that it is larger than PostgreSQL allows is none of our business, and isn't kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_packet_that_is_too_large_is_not_waited_for() {
    let (world, mute) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", mute.port());
    let mut client = TcpStream::connect(world.primary).await.expect("accepted");
    client.write_all(&[10_001_u32.to_be_bytes(), (3_u32 << 16).to_be_bytes()].concat()).await.expect("written");
    let (_taken, _) = mute.hears(8).await;
    let mut within = TcpStream::connect(world.primary).await.expect("accepted");
    within.write_all(&[10_000_u32.to_be_bytes(), (3_u32 << 16).to_be_bytes()].concat()).await.expect("written");
    let mut taken = mute.accept().await;
    within.write_all(&vec![b'x'; 9_992]).await.expect("written");
    let mut said = vec![0; 10_000];
    timeout(PATIENCE, taken.read_exact(&mut said)).await.expect("all of it").expect("all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_before_the_first_word_leaves_no_connection() {
    let (world, mute) = (patient().await, Mute::listen().await);
    world.route_to_port(1, "b", mute.port());
    for said in [Vec::new(), startup()[..6].to_vec(), startup()] {
        let mut client = TcpStream::connect(world.primary).await.expect("accepted");
        client.write_all(&said).await.expect("written");
        let mut taken = mute.accept().await;
        drop(client);
        let mut heard = Vec::new();
        // In good order, or by a reset.
        let _ = timeout(PATIENCE, taken.read_to_end(&mut heard)).await.expect("it is left");
    }
    world.counts("none is left", |now| now.open == 0).await;
}
