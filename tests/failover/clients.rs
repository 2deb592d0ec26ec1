//! Clients that insert all the while, and write down how each insert ended.

use crate::history::{Operation, Outcome};
use crate::member::{DATABASE_PORT, PROXY_PORT};
use anyhow::{Context, Result};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::TargetSessionAttrs;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, NoTls};

/// The row, and who took it: the server's address, and the timeline that it writes on.
const INSERT: &str = "insert into ledger (client, number) values ($1, $2)
    returning host(inet_server_addr()), ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int";
pub const TABLE: &str = "create table ledger (client int, number int, primary key (client, number))";
/// Rows of a kilobyte.
pub const MUCH: &str = "alter table ledger add stuff text not null default rpad('', 1000, md5(random()::text))";
/// The time, and how far the furthest standby is.
pub const MOMENT: &str = "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
    (select max(flush_lsn)::text from pg_stat_replication)";
/// Between two inserts of a client.
const PACE: Duration = Duration::from_millis(8);
/// Between two attempts to reach a server, or after a refusal.
const AGAIN: Duration = Duration::from_millis(20);
/// To reach one of several hosts, as libpq's `connect_timeout`.
const CONNECT_PATIENCE: Duration = Duration::from_millis(1_500);
/// What is noted of an insert that had no session to be asked for in.
const NO_SESSION: &str = "no session";
/// A client that is led goes elsewhere when it hears nothing for so long.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// The proxy holds whoever comes while there is no primary; a client that waits for less than its `hold` would hide what it does.
const HELD_PATIENCE: Duration = Duration::from_secs(40);

/// How a client gets to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Knows all hosts, and takes the one that can be written to: `target_session_attrs=read-write`.
    Led,
    /// Knows one host, and keeps its session as long as that lives, whatever happens meanwhile.
    Direct(usize),
    /// Knows the proxy alone, keeps its session as long as it lives, and waits for every answer: it is for the proxy to end what leads nowhere.
    Proxied,
    /// The same, with a session for each insert.
    ProxiedAnew,
}

impl Way {
    pub fn is_proxied(self) -> bool {
        matches!(self, Self::Proxied | Self::ProxiedAnew)
    }
}

/// Where clients go.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub members: Vec<String>,
    pub proxy: String,
}

/// Clients at work. They end when told, or dropped.
pub struct Clients {
    ways: Vec<(i32, Way)>,
    history: Arc<Mutex<Vec<Operation>>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

struct One {
    way: Way,
    client: i32,
    addresses: Addresses,
    begun: Instant,
    history: Arc<Mutex<Vec<Operation>>>,
    stop: watch::Receiver<bool>,
}

impl Clients {
    /// Numbers of clients begin at `first`.
    pub fn begin(ways: &[Way], first: i32, addresses: &Addresses, begun: Instant) -> Self {
        let (stop, stopped) = watch::channel(false);
        let history = Arc::new(Mutex::new(Vec::new()));
        let tasks = ways.iter().zip(first..).map(|(way, client)| {
            let (addresses, history, stop) = (addresses.clone(), history.clone(), stopped.clone());
            tokio::spawn(One { way: *way, client, addresses, begun, history, stop }.go_on())
        });
        let tasks = tasks.collect();
        Self { ways: (first..).zip(ways.iter().copied()).collect(), history, stop, tasks }
    }

    /// Those that go that way.
    pub fn on(&self, meant: impl Fn(Way) -> bool) -> Vec<i32> {
        self.ways.iter().filter(|(_, way)| meant(*way)).map(|(client, _)| *client).collect()
    }

    /// What was done so far.
    pub fn so_far(&self) -> Vec<Operation> {
        self.history.lock().expect("nobody panics with it").clone()
    }

    /// Ends them, and gives all that they did. What is under way ends as unknown.
    pub async fn end(self) -> Result<Vec<Operation>> {
        let _ = self.stop.send(true);
        for task in self.tasks {
            task.await.context("a client")?;
        }
        Ok(std::mem::take(&mut *self.history.lock().expect("nobody panics with it")))
    }
}

impl One {
    async fn go_on(mut self) {
        let mut session: Option<Client> = None;
        let mut number = 0;
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            // Who comes anew each time has asked when it begins to connect.
            let asked = self.begun.elapsed();
            if session.is_none() {
                session = tokio::select! {
                    found = self.connect() => found,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
            }
            let Some(client) = &session else {
                if self.way == Way::ProxiedAnew {
                    number += 1;
                    self.note(number, asked, Outcome::Refused { code: NO_SESSION.into() });
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            number += 1;
            let asked = if self.way == Way::ProxiedAnew { asked } else { self.begun.elapsed() };
            let outcome = tokio::select! {
                outcome = self.insert(client, number) => outcome,
                _ = stop.wait_for(|stop| *stop) => Outcome::Unknown { why: "the end of the run".into() },
            };
            let pause = match &outcome {
                Outcome::Ok { .. } => PACE,
                Outcome::Refused { .. } => AGAIN,
                Outcome::Unknown { .. } => Duration::ZERO,
            };
            if self.leaves_after(&outcome) {
                session = None;
            }
            self.note(number, asked, outcome);
            tokio::time::sleep(pause).await;
        }
    }

    fn note(&self, number: i32, asked: Duration, outcome: Outcome) {
        let operation = Operation { client: self.client, number, asked, ended: self.begun.elapsed(), outcome };
        self.history.lock().expect("nobody panics with it").push(operation);
    }

    /// Whether it opens another session for the next insert. Who is led goes elsewhere when refused: the server isn't the primary any more.
    fn leaves_after(&self, outcome: &Outcome) -> bool {
        match (outcome, self.way) {
            (_, Way::ProxiedAnew) | (Outcome::Unknown { .. }, _) => true,
            (Outcome::Refused { .. }, Way::Led | Way::Proxied) => true,
            (Outcome::Refused { .. }, Way::Direct(_)) | (Outcome::Ok { .. }, _) => false,
        }
    }

    async fn connect(&mut self) -> Option<Client> {
        let hosts = match self.way {
            Way::Led => self.addresses.members.clone(),
            Way::Direct(place) => vec![self.addresses.members[place].clone()],
            Way::Proxied | Way::ProxiedAnew => {
                let config = config_at(&self.addresses.proxy, PROXY_PORT, HELD_PATIENCE);
                return tokio::time::timeout(HELD_PATIENCE, open(&config)).await.ok()?.ok();
            }
        };
        // Each begins with another.
        let turn = usize::try_from(self.client).unwrap_or(0) % hosts.len();
        for address in hosts.iter().cycle().skip(turn).take(hosts.len()) {
            let mut config = config(address);
            if self.way == Way::Led {
                config.target_session_attrs(TargetSessionAttrs::ReadWrite);
            }
            if let Ok(Ok(client)) = tokio::time::timeout(CONNECT_PATIENCE, open(&config)).await {
                return Some(client);
            }
        }
        None
    }

    async fn insert(&self, client: &Client, number: i32) -> Outcome {
        let values: [&(dyn ToSql + Sync); 2] = [&self.client, &number];
        let row = client.query_one(INSERT, &values);
        let row = match self.way {
            Way::Led => match tokio::time::timeout(ANSWER_PATIENCE, row).await {
                Ok(row) => row,
                Err(_) => return Outcome::Unknown { why: "no answer".into() },
            },
            Way::Direct(_) | Way::Proxied | Way::ProxiedAnew => row.await,
        };
        match row {
            Ok(row) => {
                let address: String = row.get(0);
                let timeline: i32 = row.get(1);
                let server = self.addresses.members.iter().position(|known| *known == address).unwrap_or(usize::MAX);
                Outcome::Ok { server, timeline: timeline.unsigned_abs() }
            }
            Err(error) => match error.as_db_error() {
                // FATAL ends the session: a commit that waited then may be there.
                Some(said) if said.severity() == "ERROR" => Outcome::Refused { code: said.code().code().to_owned() },
                Some(said) => Outcome::Unknown { why: said.to_string() },
                None => Outcome::Unknown { why: error.to_string() },
            },
        }
    }
}

/// The superuser, by TCP.
pub fn config(address: &str) -> Config {
    config_at(address, DATABASE_PORT, CONNECT_PATIENCE)
}

fn config_at(address: &str, port: u16, patience: Duration) -> Config {
    let mut config = Config::new();
    config.host(address).port(port).user("postgres").dbname("postgres").connect_timeout(patience);
    config
}

/// A session.
pub async fn open(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
