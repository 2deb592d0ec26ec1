//! Several agents are followed at once; who is away, lies or was cut off leads nobody back.

use crate::http::{Request, Server};
use crate::tables::{table, until};
use lifeboat_agent::lease::Secret;
use lifeboat_agent::proxy::{Proxy, ProxySettings};
use lifeboat_agent::routing::{RouteTable, WatchSettings, follow};
use lifeboat_components::TestCluster;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_postgres::NoTls;

/// An agent's side of the long poll.
struct Agent {
    server: Server,
    says: watch::Sender<RouteTable>,
    asked: Arc<AtomicU64>,
}

impl Agent {
    async fn saying(first: RouteTable) -> Self {
        let says = watch::Sender::new(first);
        let asked = Arc::new(AtomicU64::new(0));
        let (tables, count) = (says.clone(), asked.clone());
        let server = Server::start(move |request| {
            count.fetch_add(1, Ordering::SeqCst);
            answer(request, tables.subscribe())
        });
        Self { server: server.await, says, asked }
    }

    fn go_away(&self, away: bool) {
        self.server.away.store(away, Ordering::SeqCst);
        // Whoever waits for an answer loses the connection.
        self.says.send_modify(|_| {});
    }
}

async fn answer(request: Request, mut says: watch::Receiver<RouteTable>) -> (u16, Vec<u8>) {
    if !request.head.contains("authorization: bearer open sesame") {
        return (401, b"{}".to_vec());
    }
    let after = request.line.rsplit_once("?after=").map(|(_, version)| version.parse::<u64>().expect("a version"));
    let _ = tokio::time::timeout(Duration::from_secs(10), async {
        while Some(says.borrow_and_update().version) == after {
            if says.changed().await.is_err() {
                return;
            }
            if Some(says.borrow().version) == after {
                return;
            }
        }
    })
    .await;
    (200, says.borrow().encode())
}

fn settings(agents: &[&Agent]) -> WatchSettings {
    WatchSettings {
        cluster: "shop".into(),
        agents: agents.iter().map(|agent| agent.server.url.clone()).collect(),
        token: Some(Secret::new("open sesame")),
        certificate_authority: None,
    }
}

async fn reached(tables: &watch::Receiver<RouteTable>, epoch: u64, primary: Option<&str>) {
    until("the table", async || {
        let table = tables.borrow().clone();
        let named = table.primary.as_ref().map(|primary| primary.name.as_str());
        if (table.epoch.0, named) == (epoch, primary) { Ok(()) } else { Err(format!("{table:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_epoch_of_any_agent_is_followed_and_never_left() {
    let (a, b) = (("a", "10.0.0.1", 5432), ("b", "10.0.0.2", 5432));
    let of_a = Agent::saying(table("a", 1, 1, Some(a))).await;
    let of_b = Agent::saying(table("b", 1, 1, None)).await;
    let (watching, tables) = follow(&settings(&[&of_a, &of_b])).expect("settings");
    reached(&tables, 1, Some("a")).await;

    of_a.says.send_replace(table("a", 1, 2, None));
    reached(&tables, 1, None).await;
    of_b.says.send_replace(table("b", 2, 2, Some(b)));
    reached(&tables, 2, Some("b")).await;

    // Everybody is away; then only the one that was cut off is back.
    of_a.go_away(true);
    of_b.go_away(true);
    until("both are missed", async || {
        let seen = watching.seen();
        if seen.iter().all(|agent| agent.trouble.is_some()) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    of_a.says.send_replace(table("a", 1, 3, Some(a)));
    of_a.go_away(false);
    until("the old one is heard and not believed", async || {
        let trouble = watching.seen()[0].trouble.clone().unwrap_or_default();
        if trouble.contains("at epoch 1, and 2 has begun") { Ok(()) } else { Err(trouble) }
    })
    .await;
    reached(&tables, 2, Some("b")).await;

    of_b.says.send_replace(table("b", 3, 1, Some(b)));
    of_b.go_away(false);
    reached(&tables, 3, Some("b")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_table_or_too_much_is_not_believed_and_said() {
    let liar = Server::start(|_| async { (200, vec![b' '; 300 * 1024]) }).await;
    let other = Agent::saying(RouteTable { cluster: "other".into(), ..table("a", 9, 1, None) }).await;
    let mut settings = settings(&[&other]);
    settings.agents.push(liar.url.clone());
    let (watching, tables) = follow(&settings).expect("settings");
    until("both are found out", async || {
        let troubles = watching.seen().into_iter().filter_map(|agent| agent.trouble).collect::<Vec<_>>();
        let expected = ["of the cluster other", "too many for a route table"];
        let all = expected.iter().all(|expected| troubles.iter().any(|trouble| trouble.contains(expected)));
        if all { Ok(()) } else { Err(format!("{troubles:?}")) }
    })
    .await;
    assert_eq!(tables.borrow().epoch.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_isnt_let_in_says_so_and_asks_again() {
    let agent = Agent::saying(table("a", 1, 1, None)).await;
    let wrong = WatchSettings { token: None, ..settings(&[&agent]) };
    let (watching, _tables) = follow(&wrong).expect("settings");
    until("it is refused several times", async || {
        let asked = agent.asked.load(Ordering::SeqCst);
        if asked >= 4 { Ok(()) } else { Err(format!("asked {asked} times: {:?}", watching.seen())) }
    })
    .await;
    assert!(watching.seen()[0].trouble.as_ref().expect("trouble").contains("401"));
    drop(watching);
    let wrong = WatchSettings { agents: vec!["ohio:7432".into()], ..wrong };
    assert!(follow(&wrong).expect_err("no address").to_string().contains("must begin with https://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_follows_the_agents_over_a_switchover() {
    let cluster = || TestCluster::builder(15).start().expect("PostgreSQL 15");
    let (here, there) = (cluster(), cluster());
    let (a, b) = (("a", "127.0.0.1", here.port()), ("b", "127.0.0.1", there.port()));
    let of_a = Agent::saying(table("a", 1, 1, Some(a))).await;
    let of_b = Agent::saying(table("b", 1, 1, None)).await;
    let (_watching, tables) = follow(&settings(&[&of_a, &of_b])).expect("settings");
    let proxy = ProxySettings { primary: Some(([127, 0, 0, 1], 0).into()), ..ProxySettings::default() };
    let proxy = Proxy::bind(proxy).await.expect("bind");
    let (address, numbers) = (proxy.primary_address().expect("bound"), proxy.statistics());
    let served = tokio::spawn(proxy.run(tables));
    let port_of_server = async || {
        let conninfo = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", address.port());
        let (client, connection) = tokio_postgres::connect(&conninfo, NoTls).await.expect("served");
        let carried = tokio::spawn(connection);
        let row = client.query_one("select current_setting('port')::int", &[]).await.expect("it lives");
        (u16::try_from(row.get::<_, i32>(0)).expect("a port"), client, carried)
    };
    let (port, _client, carried) = port_of_server().await;
    assert_eq!(port, here.port());

    of_a.says.send_replace(table("a", 1, 2, None));
    until("the proxy knows", async || {
        let probe = tokio::time::timeout(Duration::from_millis(200), port_of_server()).await;
        if probe.is_err() && numbers.read().open == 1 { Ok(()) } else { Err(format!("{:?}", numbers.read())) }
    })
    .await;
    let (waiting, ()) = tokio::join!(port_of_server(), async {
        until("it is held", async || if numbers.read().held >= 1 { Ok(()) } else { Err(String::new()) }).await;
        of_b.says.send_replace(table("b", 2, 2, Some(b)));
    });
    assert_eq!(waiting.0, there.port());
    carried.await.expect("a task").expect_err("the old session was cut off");
    served.abort();
}
