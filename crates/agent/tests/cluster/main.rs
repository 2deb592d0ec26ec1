//! Agents with real servers: what dies is replaced, what comes back follows, and nothing that was acknowledged is lost.

mod trio;

use lifeboat_agent::Outward;
use lifeboat_agent::lease::{Swapped, decode, encode};
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
    // A primary that knows of nobody who could take over goes on by itself.
    trio.hears_all(0).await;
    trio.kill_database(0);
    let deadline = std::time::Instant::now() + trio::PATIENCE;
    let next = loop {
        let next = trio.primary().await;
        if next != 0 {
            break next;
        }
        assert!(std::time::Instant::now() < deadline, "nobody replaces it: {:?}", trio.status(0).await);
    };
    assert_eq!(count(&trio, next).await, 20);
    trio.follows(0).await;
    trio.tells(next, "took over from virginia").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switchover_loses_nothing_and_the_old_primary_follows() {
    let trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 20).await, 20);
    let said = || std::fs::read_to_string(trio.nodes[0].cluster.directory().join("log")).expect("the server's log");
    let before = said().len();
    let answer = trio.command_done(0, r#"{"command":"switchover","to":"oregon"}"#).await;
    assert!(answer.contains("oregon has taken over"), "{answer}");
    // Nobody can write while a server stops: most of what it would write out then was written before.
    let log = said();
    let eased = log[before..].find("checkpoint starting: immediate force wait").expect("a checkpoint was asked for");
    assert!(log[before..].find("received fast shutdown request").is_some_and(|stopped| eased < stopped), "{log}");
    assert_eq!(trio.primary().await, 2);
    assert_eq!(count(&trio, 2).await, 20);
    assert_eq!(write(&trio, 2, 2, 0, 20).await, 20);
    trio.follows(0).await;
    trio.follows(1).await;
}

/// From the first member, from now on.
async fn nobody_receives(trio: &Trio) {
    let session = trio.session(0).await;
    let rows = session.query("select pid from pg_stat_replication", &[]).await.expect("who receives");
    for row in rows {
        let process = row.get::<_, i32>(0).to_string();
        let halted = std::process::Command::new("kill").args(["-STOP", &process]).status().expect("kill");
        assert!(halted.success());
    }
}

fn would_lose(trio: &Trio) -> Vec<String> {
    let journals = trio.nodes.iter().map(|node| node.state_dir.join("journal.jsonl"));
    let texts: Vec<String> = journals.filter_map(|path| std::fs::read_to_string(path).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines());
    lines.filter(|line| line.contains("would lose")).map(str::to_owned).collect()
}

/// Whoever lacks more than may be lost takes nothing over by himself, says how much it is and what to type, and does it when that is typed.
#[tokio::test(flavor = "multi_thread")]
async fn more_than_may_be_lost_is_lost_only_by_force() {
    let mut trio = Trio::new(15, lifeboat_failover::Mode::Asynchronous).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 10).await, 10);
    nobody_receives(&trio).await;
    let session = trio.session(0).await;
    let much = "select pg_logical_emit_message(true, 'much', repeat('x', 1000000)) from generate_series(1, 20)";
    session.query(much, &[]).await.expect("log");
    assert_eq!(write(&trio, 0, 2, 0, 10).await, 10, "nobody is waited for");
    let row = session.query_one("select (pg_current_wal_flush_lsn() - '0/0')::int8", &[]).await.expect("a position");
    let had = u64::try_from(row.get::<_, i64>(0)).expect("a position");
    let position = |status: Option<serde_json::Value>, of: &str| status.and_then(|status| status.pointer(of)?.as_u64());
    let deadline = std::time::Instant::now() + trio::PATIENCE;
    while position(trio.status(1).await, "/lease/position") < Some(had) {
        assert!(std::time::Instant::now() < deadline, "the lease doesn't say how far the primary is");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    trio.kill_agent(0).await;
    trio.kill_database(0);

    while would_lose(&trio).is_empty() {
        assert!(std::time::Instant::now() < deadline, "nobody says what would be lost");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let status = trio.status(1).await;
    let lacks =
        position(status.clone(), "/lease/position").expect("a lease") - position(status, "/position").expect("one");
    assert!(lacks > 16 << 20, "{lacks}");
    let answer = trio.command(1, r#"{"command":"failover","force":false}"#).await;
    assert!(answer.contains("\"done\":false"), "{answer}");
    assert!(answer.contains(&format!("at least {lacks} bytes of log would be lost")), "{answer}");
    assert!(answer.contains("`lifeboat cluster failover --to ohio --force` accepts that"), "{answer}");
    assert!(would_lose(&trio).iter().any(|line| line.contains(&format!("{lacks} bytes"))), "{:?}", would_lose(&trio));
    for place in [1, 2] {
        assert!(!trio.is_yes(place, "/primary").await, "{place} took over");
    }

    let answer = trio.command_done(1, r#"{"command":"failover","force":true}"#).await;
    assert!(answer.contains("ohio is the primary"), "{answer}");
    assert_eq!(trio.primary().await, 1);
    assert_eq!(count(&trio, 1).await, 10, "what it had, and no more");
    assert_eq!(write(&trio, 1, 3, 0, 5).await, 5);
}

/// Commits wait for nobody, and what the standbys never got is lost to the cluster; not to whoever looks for it.
#[tokio::test(flavor = "multi_thread")]
async fn what_only_the_old_primary_had_is_put_aside_and_it_is_rewound() {
    let mut trio = Trio::new(15, lifeboat_failover::Mode::Asynchronous).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 10).await, 10);
    nobody_receives(&trio).await;
    assert_eq!(write(&trio, 0, 2, 0, 10).await, 10, "nobody is waited for");
    trio.kill_agent(0).await;
    trio.kill_database(0);
    let next = trio.primary().await;
    assert_ne!(next, 0);
    assert_eq!(count(&trio, next).await, 10);
    assert_eq!(write(&trio, next, 3, 0, 5).await, 5);

    trio.start_agent(0).await;
    trio.follows(0).await;
    assert_eq!(count(&trio, 0).await, 15, "as on the others");
    let lost = std::fs::read_dir(trio.nodes[0].state_dir.join("lost")).expect("what was put aside").flatten().next();
    let lost = lost.expect("one directory").path();
    let note = std::fs::read_to_string(lost.join("README")).expect("a note");
    assert!(note.starts_with("Written on timeline 1 from 0/"), "{note}");
    let segments = std::fs::read_dir(&lost).expect("its content").count();
    assert!(segments >= 2, "the log itself");
}

/// Whoever has other data under a member's name has no say, and changes nothing: neither the lease nor who leads.
#[tokio::test(flavor = "multi_thread")]
async fn data_that_is_no_copy_of_the_clusters_is_refused() {
    let mut trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    trio.kill_agent(2).await;
    let elsewhere = tempfile::tempdir().expect("a directory");
    let mut settings = trio.settings(2);
    let ours = settings.system_id.expect("a control file");
    (settings.system_id, settings.state_dir) = (Some(lifeboat_postgres::SystemId(7)), elsewhere.path().join("state"));
    let before = lease(&trio).await;
    assert_eq!(before.system_id, Some(ours.to_string()));
    let (told, _entries) = tokio::sync::mpsc::unbounded_channel();
    let refused = lifeboat_agent::Agent::start(settings, trio.store.clone(), Outward::default(), told).await;
    let why = refused.map(drop).expect_err("other data").to_string();
    assert_eq!(
        why,
        format!(
            "cluster shop holds the data of system identifier {ours}, and the server here has 7: it is no copy of it"
        )
    );
    assert_eq!(lease(&trio).await.epoch, before.epoch);
    trio.start_agent(2).await;
    trio.follows(2).await;
}

async fn lease(trio: &Trio) -> lifeboat_failover::Lease {
    let (content, _) = trio.store.read().await.expect("a store").expect("a lease");
    decode(&content).expect("a lease")
}

/// A lease that nobody's log leads to keeps everybody out, until an operator accepts what there is.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_leads_nowhere_is_replaced_by_force() {
    use lifeboat_failover::{History, Lineage};
    let mut trio = Trio::new(15, Trio::synchronous()).await;
    trio.follows(1).await;
    trio.follows(2).await;
    assert_eq!(write(&trio, 0, 1, 0, 20).await, 20);
    for place in 0..3 {
        trio.kill_agent(place).await;
    }
    let (content, version) = trio.store.read().await.expect("a store").expect("a lease");
    let mut lost = decode(&content).expect("a lease");
    // As somebody left it who had other data under the name of the first.
    // Also without its last lineage, which nobody ever began, it leads past them.
    lost.history = History::default().forked(Lineage(1), 0).forked(Lineage(11), 4096).forked(Lineage(12), 8192);
    (lost.epoch, lost.incarnation, lost.writer) = (lost.epoch.next(), 1, 1);
    assert!(matches!(trio.store.swap(Some(&version), encode(&lost).into()).await, Swapped::Applied(_)));
    for place in 0..3 {
        trio.start_agent(place).await;
    }
    tokio::time::sleep(std::time::Duration::from_secs(8)).await;
    for place in 0..3 {
        let status = trio.status(place).await.expect("it answers");
        assert_ne!(status["state"], "primary", "{status}");
    }
    let answer = trio.command_done(1, r#"{"command":"failover","force":true}"#).await;
    assert!(answer.contains("is the primary"), "{answer}");
    assert_eq!(trio.primary().await, 1);
    assert_eq!(count(&trio, 1).await, 20);
    trio.follows(2).await;
    assert_eq!(write(&trio, 1, 2, 0, 20).await, 20);
}
