//! A proxy that a test sends from place to place.

use crate::tables::{table, until};
use lifeboat_agent::proxy::{Proxy, ProxySettings, Statistics, StatisticsReader};
use lifeboat_agent::routing::RouteTable;
use lifeboat_components::TestCluster;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

pub struct World {
    pub tables: watch::Sender<RouteTable>,
    pub primary: SocketAddr,
    pub read_only: SocketAddr,
    statistics: StatisticsReader,
    task: JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A session, and the task that carries its bytes: it ends when the connection does.
pub struct Session {
    pub client: Client,
    pub carried: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl World {
    /// On any ports of loopback; nowhere to go yet.
    pub async fn start(settings: ProxySettings) -> Self {
        let any = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let settings = ProxySettings { primary: any, read_only: any, ..settings };
        let (tables, routes) = watch::channel(table("nobody", 0, 0, None));
        let proxy = Proxy::bind(settings).await.expect("bind");
        let (primary, read_only) = (proxy.primary_address().expect("bound"), proxy.read_only_address().expect("bound"));
        let statistics = proxy.statistics();
        let task = tokio::spawn(proxy.run(routes));
        Self { tables, primary, read_only, statistics, task }
    }

    /// From now on clients go to this cluster, or nowhere.
    pub fn route(&self, epoch: u64, to: Option<(&str, &TestCluster)>) {
        self.tables.send_replace(table("a", epoch, 0, to.map(|(name, cluster)| (name, "127.0.0.1", cluster.port()))));
    }

    pub fn route_to_port(&self, epoch: u64, name: &str, port: u16) {
        self.tables.send_replace(table("a", epoch, 0, Some((name, "127.0.0.1", port))));
    }

    pub fn statistics(&self) -> Statistics {
        self.statistics.read()
    }

    /// Waits until the numbers are so.
    pub async fn counts(&self, what: &str, is_so: impl Fn(&Statistics) -> bool) {
        until(what, async || {
            let now = self.statistics();
            if is_so(&now) { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await;
    }
}

pub fn conninfo(address: SocketAddr) -> String {
    format!("host=127.0.0.1 port={} user=postgres dbname=postgres", address.port())
}

pub async fn connect(address: SocketAddr) -> Result<Session, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(&conninfo(address), NoTls).await?;
    Ok(Session { client, carried: tokio::spawn(connection) })
}

impl Session {
    /// The port of the server that it really is with.
    pub async fn server_port(&self) -> u16 {
        let row =
            self.client.query_one("select current_setting('port')::int", &[]).await.expect("a session that lives");
        u16::try_from(row.get::<_, i32>(0)).expect("a port")
    }

    /// Waits until the connection has ended, without a word of ours.
    pub async fn dies(self) {
        tokio::time::timeout(crate::tables::PATIENCE, self.carried)
            .await
            .expect("the session is still open")
            .expect("a task that ends by itself")
            .expect_err("it was cut off");
    }
}

pub fn quick() -> ProxySettings {
    ProxySettings { hold: Duration::from_millis(300), ..ProxySettings::default() }
}

pub fn cluster() -> TestCluster {
    TestCluster::builder(15).start().expect("PostgreSQL 15")
}
