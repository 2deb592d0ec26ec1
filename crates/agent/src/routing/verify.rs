//! Whether writes get where the table says, tried as a client would: through the proxy's port, or the name.
//!
//! A session is opened, the server is asked whether it is a primary and which, and a message is written into its log: durable, and without a table. The way
//! is right when all of that is; what was found and how long it took is a value.

use super::{Endpoint, RouteTable};
use lifeboat_failover::Epoch;
use lifeboat_postgres::connection::{Client, Secret, Target};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A way that isn't right yet is tried again after this.
const PAUSE: Duration = Duration::from_millis(200);

/// A way that clients go.
#[derive(Debug, Clone)]
pub struct Way {
    /// For people: `proxy`, `db.shop.example`.
    pub name: String,
    /// As clients would: `host=db.shop.example user=lifeboat dbname=postgres`. The role needs no right but to connect.
    pub target: Target,
    /// The cluster's `system_identifier`, if it is known: another cluster at the same address is found out.
    pub system_identifier: Option<u64>,
    /// Whether the server's own address and port must be the table's. Not where addresses are translated on the way.
    pub compare_address: bool,
    /// How long after a change it may take until the way is right.
    pub limit: Duration,
}

impl Way {
    /// With a connection string.
    ///
    /// # Errors
    /// When the string can't be understood.
    pub fn new(name: &str, conninfo: &str, secret: &Secret) -> Result<Self, lifeboat_postgres::connection::Error> {
        let target = Target::parse(conninfo, secret)?.with_application_name("lifeboat verification");
        let limit = Duration::from_secs(30);
        Ok(Self { name: name.to_owned(), target, system_identifier: None, compare_address: true, limit })
    }
}

/// What was found on a way that is right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    pub timeline: u32,
    pub system_identifier: u64,
    /// Where in the log the message is, as PostgreSQL writes it.
    pub position: String,
    /// Until there was a session, in the attempt that succeeded.
    pub connected_after: Duration,
    /// Until the message was durable.
    pub written_after: Duration,
}

/// The result for one way and one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    pub way: String,
    pub epoch: Epoch,
    pub begun: SystemTime,
    /// From the change until it was right, or given up.
    pub took: Duration,
    pub attempts: u32,
    /// What was found, or why it isn't right.
    pub result: Result<Arrived, String>,
}

/// Verifies after every change until dropped.
#[derive(Debug)]
pub struct Verifier {
    results: Arc<Mutex<Vec<Option<Verification>>>>,
    _tasks: JoinSet<()>,
}

impl Verifier {
    /// Begins. Needs a tokio runtime.
    pub fn start(ways: Vec<Way>, tables: &watch::Receiver<RouteTable>) -> Self {
        let results = Arc::new(Mutex::new(vec![None; ways.len()]));
        let mut tasks = JoinSet::new();
        for (number, way) in ways.into_iter().enumerate() {
            tasks.spawn(follow(way, tables.clone(), results.clone(), number));
        }
        Self { results, _tasks: tasks }
    }

    /// The last result of each way, in the order in which they were given; `None` before the first.
    pub fn results(&self) -> Vec<Option<Verification>> {
        lock(&self.results).clone()
    }
}

async fn follow(
    way: Way,
    mut tables: watch::Receiver<RouteTable>,
    results: Arc<Mutex<Vec<Option<Verification>>>>,
    number: usize,
) {
    let mut last: Option<(Epoch, Endpoint)> = None;
    loop {
        let (epoch, primary) = {
            let table = tables.borrow_and_update();
            (table.epoch, table.primary.clone())
        };
        let wanted = primary.map(|primary| (epoch, primary)).filter(|wanted| last.as_ref() != Some(wanted));
        let Some((epoch, primary)) = wanted else {
            match tables.changed().await {
                Ok(()) => continue,
                Err(_) => return,
            }
        };
        last = Some((epoch, primary.clone()));
        // A newer table makes what this would find worthless.
        tokio::select! {
            found = verify(&way, epoch, &primary) => lock(&results)[number] = Some(found),
            Ok(_) = tables.wait_for(|table| table.epoch > epoch) => {}
        }
    }
}

/// Tries `way` until it leads to `primary`, or its time is over.
pub async fn verify(way: &Way, epoch: Epoch, primary: &Endpoint) -> Verification {
    let (begun, clock, mut attempts) = (SystemTime::now(), Instant::now(), 0);
    let mut why = format!("no answer within {:?}", way.limit);
    let result = loop {
        attempts += 1;
        let left = way.limit.saturating_sub(clock.elapsed());
        match tokio::time::timeout(left, attempt(way, epoch, primary)).await {
            Ok(Ok(arrived)) => break Ok(arrived),
            Ok(Err(error)) => why = error,
            Err(_) => break Err(why),
        }
        if clock.elapsed() + PAUSE >= way.limit {
            break Err(why);
        }
        tokio::time::sleep(PAUSE).await;
    };
    Verification { way: way.name.clone(), epoch, begun, took: clock.elapsed(), attempts, result }
}

async fn attempt(way: &Way, epoch: Epoch, primary: &Endpoint) -> Result<Arrived, String> {
    let clock = Instant::now();
    let client = way.target.connect().await.map_err(|error| told(&error))?;
    let connected_after = clock.elapsed();
    look(way, &client, primary).await?;
    let (timeline, system_identifier, position) = write(&client, epoch).await?;
    Ok(Arrived { timeline, system_identifier, position, connected_after, written_after: clock.elapsed() })
}

/// Whether this is the server that it should be.
async fn look(way: &Way, client: &Client, primary: &Endpoint) -> Result<(), String> {
    let question = "select pg_is_in_recovery(), host(inet_server_addr()), inet_server_port(), \
                    (select system_identifier from pg_control_system())";
    let row = client.query_one(question, &[]).await.map_err(|error| told(&error))?;
    if row.get::<_, bool>(0) {
        return Err("it leads to a standby".into());
    }
    let identifier = row.get::<_, i64>(3).cast_unsigned();
    if let Some(expected) = way.system_identifier.filter(|expected| *expected != identifier) {
        return Err(format!("it leads to another cluster: {identifier} instead of {expected}"));
    }
    if !way.compare_address {
        return Ok(());
    }
    let (address, port) = (row.get::<_, Option<String>>(1), row.get::<_, Option<i32>>(2));
    let (Some(address), Some(port)) = (address.and_then(|text| text.parse::<IpAddr>().ok()), port) else {
        return Err("it leads through a socket, which has no address to compare".into());
    };
    let found = tokio::net::lookup_host((primary.host.as_str(), primary.port)).await;
    let expected: Vec<_> = found.map_err(|error| format!("{}: {error}", primary.host))?.collect();
    if expected.iter().any(|expected| expected.ip() == address && i32::from(expected.port()) == port) {
        return Ok(());
    }
    Err(format!(
        "it leads to {address}:{port}, and the primary {} is at {}:{}",
        primary.name, primary.host, primary.port
    ))
}

/// Writes a message into the log, and waits until it is durable as commits are.
async fn write(client: &Client, epoch: Epoch) -> Result<(u32, u64, String), String> {
    let failed = |error: lifeboat_postgres::connection::DriverError| told(&error);
    client.batch_execute("set synchronous_commit = on").await.map_err(failed)?;
    let message = "select pg_logical_emit_message(true, 'lifeboat', $1)::text";
    let row = client.query_one(message, &[&format!("epoch {epoch}")]).await.map_err(failed)?;
    let position: String = row.get(0);
    // The name of a file of the log begins with the timeline; the control file has the old one until the next checkpoint.
    let question = "select pg_current_wal_flush_lsn() >= $1::text::pg_lsn, \
                    ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int, \
                    (select system_identifier from pg_control_system())";
    let row = client.query_one(question, &[&position]).await.map_err(failed)?;
    if !row.get::<_, bool>(0) {
        return Err(format!("the message at {position} was committed, and isn't durable"));
    }
    Ok((row.get::<_, i32>(1).cast_unsigned(), row.get::<_, i64>(2).cast_unsigned(), position))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
