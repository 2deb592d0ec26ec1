//! Who is heard: a member whose database is a copy of ours.

use lifeboat_agent::Token;
use lifeboat_agent::api::{Incoming, Shown, serve};
use lifeboat_agent::routing::RouteTable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

const TOKEN: &str = "a token for tests only";

async fn say(address: std::net::SocketAddr, body: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let length = body.len();
    let head = format!(
        "POST /v1/message HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(head.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
    format!("{status} {}", answer.split_once("\r\n\r\n").map_or("", |(_, text)| text).trim())
}

#[tokio::test]
async fn a_member_with_another_database_is_told_so_and_not_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (incoming, mut heard) = mpsc::unbounded_channel();
    let shown = Shown {
        cluster: "shop".into(),
        name: "virginia".into(),
        members: ["virginia".into(), "ohio".into()].into(),
        system_id: Some("7000000000000000001".into()),
        token: Token::new(TOKEN.into()),
        status: watch::channel(None).1,
        routes: watch::channel(RouteTable::nowhere("shop", "virginia".into())).1,
        incoming,
    };
    let server = tokio::spawn(async move { serve(listener, None, shown).await });
    let message = |system_id: &str| {
        format!(
            r#"{{"cluster":"shop","system_id":"{system_id}","from":"ohio","to":"virginia","message":{{"message":"take_over","epoch":1}}}}"#
        )
    };
    let refused = say(address, &message("7000000000000000002")).await;
    assert_eq!(
        refused,
        "409 ohio's database has the system identifier 7000000000000000002, this one's is 7000000000000000001: they are not copies of one another"
    );
    assert!(heard.try_recv().is_err(), "it was heard");
    assert_eq!(say(address, &message("7000000000000000001")).await, "200 ");
    assert!(matches!(heard.try_recv(), Ok(Incoming::Message { from, .. }) if from.as_str() == "ohio"));
    server.abort();
}
