//! What happens in the demo, step by step, and what is measured on the way.

use super::ledger::{Customers, Order, now_ns};
use super::rehearse::{Rehearsed, rehearse};
use super::stage::Stage;
use crate::failure::{Failure, FailureKind};
use lifeboat_postgres::cluster::{Cluster, RunState, StopMode};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Child;
use std::time::{Duration, Instant};

/// Orders that are there before anybody orders.
const LOADED_ORDERS: i64 = 400_000;
const CUSTOMERS: usize = 2;
/// Between the steps the customers go on for so long.
const BUSINESS: Duration = Duration::from_secs(3);

/// What was measured. Nothing in here is typed in by anybody.
pub struct Measured {
    /// Orders acknowledged before the accident.
    pub expected: usize,
    /// Of these, not there after recovery.
    pub missing: usize,
    /// There after recovery although they were sent after the accident.
    pub unwanted: usize,
    /// From the loss of the data directory to the first answer of the recovered server.
    pub rta: Duration,
    /// Of that: writing the files.
    pub restore: Duration,
    /// Of that: starting, replaying, answering.
    pub replay: Duration,
    /// How much of the time before the crash the vault doesn't have: the loss if the last moment had been wanted.
    pub site_loss: Duration,
    /// Size of the restored cluster.
    pub bytes: u64,
    /// What came after it.
    pub rehearsed: Rehearsed,
}

pub async fn tell(stage: &Stage) -> Result<Measured, Failure> {
    stage.say("1. a new database, and a vault for its backups");
    let cluster = stage.make_cluster().await?;
    stage.lifeboat(&["init"])?;
    stage.start(&cluster).await?;
    let receiver = stage.receive()?;
    let told = business(stage, &cluster, receiver).await?;
    recover(stage, told).await
}

/// What is known when the machine is lost.
struct Lost {
    ledger: BTreeMap<i64, Order>,
    accident_ns: i128,
    crashed_ns: i128,
}

async fn business(stage: &Stage, cluster: &Cluster, mut receiver: Child) -> Result<Lost, Failure> {
    let server = stage.server()?;
    let client = server.connect().await?;
    stage.say(&format!("2. {LOADED_ORDERS} orders, and customers who go on ordering"));
    client
        .batch_execute(&format!(
            "create table orders (id bigint primary key, customer text not null, amount numeric not null, \
             placed_at timestamptz not null default clock_timestamp());\
             insert into orders select id, 'customer ' || id % 997, id % 100 from generate_series(1, {LOADED_ORDERS}) id;\
             create table visits (at timestamptz);"
        ))
        .await
        .map_err(server_failed)?;
    let customers = Customers::send(&server, CUSTOMERS, LOADED_ORDERS + 1).await?;
    stage.say("3. the first backup, while they order");
    stage.lifeboat(&["backup", "shop"])?;
    tokio::time::sleep(BUSINESS).await;
    stage.lifeboat(&["backup", "shop"])?;
    tokio::time::sleep(BUSINESS).await;
    let before = customers.acknowledged();
    // PostgreSQL keeps times in microseconds; the next whole one is a moment that it can name.
    let accident_ns = (now_ns() / 1000 + 1) * 1000;
    tokio::time::sleep(Duration::from_millis(20)).await;
    stage.say(&format!("4. the accident: after {before} new orders somebody drops the table"));
    client.batch_execute("drop table orders").await.map_err(server_failed)?;
    let ledger = customers.stop().await;
    for _ in 0..20 {
        client.batch_execute("insert into visits values (now())").await.map_err(server_failed)?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let crashed_ns = now_ns();
    stage.say("5. and then the machine is lost: the server is killed, its data directory is gone");
    kill(cluster)?;
    receiver
        .kill()
        .and_then(|()| receiver.wait())
        .map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    cluster.stop(StopMode::Immediate, Duration::from_secs(5)).await.ok();
    remove(&cluster.data_dir).await?;
    Ok(Lost { ledger, accident_ns, crashed_ns })
}

async fn recover(stage: &Stage, lost: Lost) -> Result<Measured, Failure> {
    let begun = Instant::now();
    let moment = jiff::Timestamp::from_nanosecond(lost.accident_ns)
        .map_err(|error| Failure::from_error(FailureKind::Internal, &error))?;
    stage.say(&format!("6. back to the moment before the accident, {moment}"));
    let to = stage.path("recovered").display().to_string();
    let restored = stage.lifeboat(&["restore", "shop", "--to", &to, "--at", &moment.to_string()])?;
    let restore = begun.elapsed();
    let recovered = stage.open_cluster("recovered")?;
    stage.start(&recovered).await?;
    let client = stage.server()?.connect().await?;
    let first = client.query_one("select count(*) from orders", &[]).await.map_err(server_failed)?;
    let rta = begun.elapsed();
    stage.say(&format!("7. {} orders are back; compare them with what the customers remember", first.get::<_, i64>(0)));
    let rows = client.query("select id from orders where id > $1", &[&LOADED_ORDERS]).await.map_err(server_failed)?;
    let present: BTreeSet<i64> = rows.iter().map(|row| row.get(0)).collect();
    let loaded: i64 = client
        .query_one("select count(*) from orders where id <= $1", &[&LOADED_ORDERS])
        .await
        .map_err(server_failed)?
        .get(0);
    let must = |order: &Order| order.acknowledged_ns.is_some_and(|at| at < lost.accident_ns);
    let must_not = |order: &Order| order.sent_ns > lost.accident_ns;
    let expected = lost.ledger.values().filter(|order| must(order)).count();
    let missing = lost.ledger.iter().filter(|(id, order)| must(order) && !present.contains(id)).count();
    let unwanted = lost.ledger.iter().filter(|(id, order)| must_not(order) && present.contains(id)).count();
    let site_loss = site_loss(stage, lost.crashed_ns)?;
    let last = lost.ledger.keys().max().copied().unwrap_or(LOADED_ORDERS);
    Ok(Measured {
        expected: expected + LOADED_ORDERS as usize,
        missing: missing + (LOADED_ORDERS - loaded).unsigned_abs() as usize,
        unwanted,
        rta,
        restore,
        replay: rta - restore,
        site_loss,
        bytes: restored["bytes"].as_u64().or(restored["bytes_written"].as_u64()).unwrap_or_default(),
        rehearsed: rehearse(stage, last + 1).await?,
    })
}

/// How long before the crash the last moment lies that the vault could bring back.
fn site_loss(stage: &Stage, crashed_ns: i128) -> Result<Duration, Failure> {
    let points = stage.lifeboat(&["points", "shop"])?;
    let last = points["windows"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|window| window["to"].as_str()?.parse::<jiff::Timestamp>().ok())
        .max()
        .ok_or_else(|| {
            Failure::new(FailureKind::NotFound, "the vault has no window in which moments can be reached")
        })?;
    Ok(Duration::from_nanos(u64::try_from(crashed_ns - last.as_nanosecond()).unwrap_or_default()))
}

/// As a power failure does it: nobody gets to write anything.
fn kill(cluster: &Cluster) -> Result<(), Failure> {
    if let RunState::Running(process) = cluster.state()?
        && let Some(pid) = rustix::process::Pid::from_raw(process.process_id as i32)
    {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .map_err(|error| Failure::new(FailureKind::Internal, format!("kill the server: {error}")))?;
    }
    Ok(())
}

/// The server's children end a moment after it; until then they may still create files.
async fn remove(data_dir: &std::path::Path) -> Result<(), Failure> {
    let begun = Instant::now();
    loop {
        match std::fs::remove_dir_all(data_dir) {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(10) => {
                return Err(Failure::from_error(FailureKind::Internal, &error).while_doing("remove the data directory"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

pub(super) fn server_failed(error: impl std::error::Error) -> Failure {
    Failure::from_error(FailureKind::Unavailable, &error).while_doing("talk to the demo's server")
}
