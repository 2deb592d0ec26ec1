//! Agents with real servers: what dies is replaced, what comes back follows, and nothing that was acknowledged is lost.

mod trio;

use trio::Trio;

/// Writes numbers until told, each acknowledged one is counted.
async fn write(trio: &Trio, place: usize, client: i32, from: i32, to: i32) -> i32 {
    let session = trio.session(place).await;
    for number in from..to {
        if session.execute("insert into ledger values ($1, $2)", &[&client, &number]).await.is_err() {
            return number;
        }
    }
    to
}

async fn count(trio: &Trio, place: usize) -> i64 {
    trio.session(place).await.query_one("select count(*) from ledger", &[]).await.expect("a count").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_killed_is_replaced_and_follows_when_it_comes_back() {
    let mut trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 50).await, 50);

    // The whole host: its agent and its server.
    trio.kill_agent(0).await;
    trio.kill_database(0);
    let next = trio.primary().await;
    assert_ne!(next, 0);
    assert_eq!(count(&trio, next).await, 50, "what was acknowledged is there");
    assert_eq!(write(&trio, next, 2, 0, 50).await, 50);

    trio.start_agent(0).await;
    trio.follows(0).await;
    assert_eq!(trio.primary().await, next);
    for place in 0..3 {
        let session = trio.session(place).await;
        let recovers: bool = session.query_one("select pg_is_in_recovery()", &[]).await.expect("an answer").get(0);
        assert_eq!(recovers, place != next);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_alone_is_replaced() {
    let trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 20).await, 20);
    trio.kill_database(0);
    let next = loop {
        let next = trio.primary().await;
        if next != 0 {
            break next;
        }
    };
    assert_eq!(count(&trio, next).await, 20);
    trio.follows(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_loses_nothing_and_the_old_primary_follows() {
    let trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 20).await, 20);
    let answer = trio.command_done(0, r#"{"command":"switchover","to":"oregon"}"#).await;
    assert!(answer.contains("oregon has taken over"), "{answer}");
    assert_eq!(trio.primary().await, 2);
    assert_eq!(count(&trio, 2).await, 20);
    assert_eq!(write(&trio, 2, 2, 0, 20).await, 20);
    trio.follows(0).await;
    trio.follows(1).await;
}
