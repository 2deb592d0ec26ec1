//! Clients that write and read all the while, by the proxy's two addresses and nothing else.

use crate::ledger::Ledger;
use crate::script::PLACES;
use crate::world::Addresses;
use crate::world::member::DATABASE_PORT;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls};

const WRITERS: i32 = 4;
/// Between two writes of one client.
const PACE: Duration = Duration::from_millis(15);
const READ_EVERY: Duration = Duration::from_millis(100);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(50);
/// The proxy holds clients while there is no primary, and ends their sessions with an old one: they can be patient.
const PATIENCE: Duration = Duration::from_secs(20);
/// A question can be asked again, elsewhere.
const READ_PATIENCE: Duration = Duration::from_secs(3);

const TABLE: &str = "create table ledger (client int, number int, primary key (client, number))";
const WRITE: &str = "insert into ledger (client, number) values ($1, $2) returning host(inet_server_addr())";
const READ: &str = "select host(inet_server_addr()), (select max(number) from ledger where client = 0)";

pub type Shared = Arc<Mutex<Ledger>>;

#[derive(Clone)]
struct Way {
    port: u16,
    addresses: Vec<String>,
    begun: Instant,
    ledger: Shared,
}

impl Way {
    fn place(&self, address: &str) -> usize {
        self.addresses.iter().position(|known| known == address).unwrap_or(PLACES)
    }

    async fn open(&self) -> Result<Client, String> {
        let opened = tokio::time::timeout(PATIENCE, open("127.0.0.1", self.port)).await;
        match opened {
            Ok(Ok(client)) => Ok(client),
            Ok(Err(error)) => Err(words(&error)),
            Err(_) => Err("no session in time".into()),
        }
    }

    fn failed(&self, why: String) {
        let now = self.begun.elapsed();
        self.ledger.lock().expect("nobody panics with it").failed(why, now);
    }

    async fn write(self, client: i32) {
        let (mut session, mut number) = (None, 0);
        loop {
            let Some(open) = &session else {
                match self.open().await {
                    Ok(open) => session = Some(open),
                    Err(why) => self.failed(why),
                }
                tokio::time::sleep(if session.is_some() { Duration::ZERO } else { AGAIN }).await;
                continue;
            };
            number += 1;
            let asked = self.begun.elapsed();
            match tokio::time::timeout(PATIENCE, open.query_one(WRITE, &[&client, &number])).await {
                Ok(Ok(row)) => {
                    let (place, now) = (self.place(row.get(0)), self.begun.elapsed());
                    self.ledger.lock().expect("nobody panics with it").acknowledged(
                        (client, number),
                        place,
                        asked,
                        now,
                    );
                    tokio::time::sleep(PACE).await;
                }
                ended => {
                    self.failed(
                        ended.map_or_else(
                            |_| "no answer in time".into(),
                            |row| words(&row.expect_err("it isn't a row")),
                        ),
                    );
                    session = None;
                }
            }
        }
    }

    /// A session for each question, as short-lived programs have: the proxy chooses anew.
    async fn read(self) {
        loop {
            let ask = async {
                let session = self.open().await?;
                let row = session.query_one(READ, &[]).await.map_err(|error| words(&error))?;
                Ok::<_, String>(self.place(row.get(0)))
            };
            match tokio::time::timeout(READ_PATIENCE, ask).await {
                Ok(Ok(place)) => {
                    let now = self.begun.elapsed();
                    self.ledger.lock().expect("nobody panics with it").answered(place, now);
                }
                Ok(Err(why)) => self.failed(why),
                Err(_) => self.failed("no answer in time".into()),
            }
            tokio::time::sleep(READ_EVERY).await;
        }
    }
}

/// What the server said, or what became of the connection.
fn words(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned())
}

async fn open(host: &str, port: u16) -> Result<Client, tokio_postgres::Error> {
    let mut config = Config::new();
    config.host(host).port(port).user("postgres").dbname("postgres");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// Makes the table, and lets them begin. They end with the runtime.
///
/// # Errors
/// When the table can't be made.
pub async fn begin(addresses: &Addresses, begun: Instant) -> Result<Shared> {
    let [primary, read_only] = addresses.ports;
    let session = tokio::time::timeout(PATIENCE, open("127.0.0.1", primary)).await.context("no session in time")?;
    session.context("open a session by the proxy")?.batch_execute(TABLE).await.context("make the table")?;
    let ledger = Shared::default();
    let known = addresses.hosts.iter().map(|host| host.address().to_owned()).collect();
    let way = Way { port: primary, addresses: known, begun, ledger: ledger.clone() };
    for client in 0..WRITERS {
        tokio::spawn(way.clone().write(client));
    }
    tokio::spawn(Way { port: read_only, ..way }.read());
    Ok(ledger)
}

/// How many of the acknowledged writes the primary in that place doesn't have, by reading its table.
///
/// # Errors
/// When it doesn't answer, or isn't the primary.
pub async fn lost(ledger: Shared, address: String) -> Result<usize> {
    // What is acknowledged from here on may come after the look.
    let acknowledged = ledger.lock().expect("nobody panics with it").rows();
    let read = async {
        let session = open(&address, DATABASE_PORT).await?;
        let standby: bool = session.query_one("select pg_is_in_recovery()", &[]).await?.get(0);
        ensure!(!standby, "{address} isn't a primary");
        let rows = session.query("select client, number from ledger", &[]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect::<BTreeSet<(i32, i32)>>())
    };
    let there = tokio::time::timeout(PATIENCE, read).await.context("the table can't be read in time")??;
    Ok(acknowledged.iter().filter(|row| !there.contains(row)).count())
}
