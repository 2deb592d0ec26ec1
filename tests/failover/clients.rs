//! Clients that insert all the while, and write down how each insert ended.

use crate::history::{Operation, Outcome};
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
/// Between two inserts of a client.
const PACE: Duration = Duration::from_millis(8);
/// Between two attempts to reach a server, or after a refusal.
const AGAIN: Duration = Duration::from_millis(20);
/// To reach one of several hosts, as libpq's `connect_timeout`.
const CONNECT_PATIENCE: Duration = Duration::from_millis(1_500);
/// A client that is led goes elsewhere when it hears nothing for so long.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// How a client gets to a server. (A third kind comes with the proxy: by its address alone.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Knows all hosts, and takes the one that can be written to: `target_session_attrs=read-write`.
    Led,
    /// Knows one host, and keeps its session as long as that lives, whatever happens meanwhile.
    Direct(usize),
}

/// Clients at work. They end when told, or dropped.
pub struct Clients {
    history: Arc<Mutex<Vec<Operation>>>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

struct One {
    way: Way,
    client: i32,
    addresses: Vec<String>,
    begun: Instant,
    history: Arc<Mutex<Vec<Operation>>>,
    stop: watch::Receiver<bool>,
}

impl Clients {
    /// Numbers of clients begin at `first`.
    pub fn begin(ways: &[Way], first: i32, addresses: &[String], begun: Instant) -> Self {
        let (stop, stopped) = watch::channel(false);
        let history = Arc::new(Mutex::new(Vec::new()));
        let tasks = ways.iter().zip(first..).map(|(way, client)| {
            let (addresses, history, stop) = (addresses.to_vec(), history.clone(), stopped.clone());
            tokio::spawn(One { way: *way, client, addresses, begun, history, stop }.go_on())
        });
        let tasks = tasks.collect();
        Self { history, stop, tasks }
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
            let Some(client) = &session else {
                tokio::select! {
                    found = self.connect() => session = found,
                    _ = stop.wait_for(|stop| *stop) => return,
                }
                if session.is_none() {
                    tokio::time::sleep(AGAIN).await;
                }
                continue;
            };
            number += 1;
            let asked = self.begun.elapsed();
            let outcome = tokio::select! {
                outcome = self.insert(client, number) => outcome,
                _ = stop.wait_for(|stop| *stop) => Outcome::Unknown { why: "the end of the run".into() },
            };
            let pause = match &outcome {
                Outcome::Ok { .. } => PACE,
                Outcome::Refused { .. } => AGAIN,
                Outcome::Unknown { .. } => Duration::ZERO,
            };
            // Who is led goes elsewhere when refused: the server isn't the primary any more.
            if matches!(outcome, Outcome::Unknown { .. })
                || matches!((&outcome, self.way), (Outcome::Refused { .. }, Way::Led))
            {
                session = None;
            }
            let ended = self.begun.elapsed();
            let operation = Operation { client: self.client, number, asked, ended, outcome };
            self.history.lock().expect("nobody panics with it").push(operation);
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect(&mut self) -> Option<Client> {
        let hosts = match self.way {
            Way::Led => self.addresses.clone(),
            Way::Direct(place) => vec![self.addresses[place].clone()],
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
            Way::Direct(_) => row.await,
        };
        match row {
            Ok(row) => {
                let address: String = row.get(0);
                let timeline: i32 = row.get(1);
                let server = self.addresses.iter().position(|known| *known == address).unwrap_or(usize::MAX);
                Outcome::Ok { server, timeline: timeline.unsigned_abs() }
            }
            Err(error) => match error.as_db_error() {
                // FATAL ends the session: a commit that waited then may be there.
                Some(said) if said.severity() == "ERROR" => Outcome::Refused { code: said.code().code().to_owned() },
                _ => Outcome::Unknown { why: error.to_string() },
            },
        }
    }
}

/// The superuser, by TCP.
pub fn config(address: &str) -> Config {
    let mut config = Config::new();
    config.host(address).port(crate::member::DATABASE_PORT).user("postgres").dbname("postgres");
    config.connect_timeout(CONNECT_PATIENCE);
    config
}

/// A session.
pub async fn open(config: &Config) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
