//! The canary: it writes all the time and remembers exactly what the database promised to keep.

use jiff::Timestamp;
use lifeboat_postgres::connection::{Client, Target};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Its own table.
pub const TABLE: &str = "lifeboat_drill_canary";
/// Between two writes: a loss is measured that finely.
const WRITE_EVERY: Duration = Duration::from_millis(20);

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Write {
    /// Its row.
    pub id: i64,
    /// When the database promised to keep it.
    pub acknowledged_at: Timestamp,
}

/// A writer at work.
#[derive(Debug)]
pub struct Canary {
    writes: Arc<Mutex<Vec<Write>>>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

/// What became of what was promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Acknowledged, before the fault or at all, and looked for.
    pub checked: u64,
    /// Of these, not there.
    pub lost: u64,
    /// From the last write that survived to the fault; nought when none was lost. None: nothing survived.
    pub seconds: Option<f64>,
}

impl Canary {
    /// Makes its table, and begins. One that `goes_on` connects again after an error, because somebody else takes over; any other ends there.
    ///
    /// # Errors
    /// What the server said.
    pub async fn begin(target: &Target, goes_on: bool) -> Result<Self, String> {
        let mut client = target.connect().await.map_err(|error| error.to_string())?;
        let target = target.clone();
        let make = format!(
            "drop table if exists {TABLE}; create table {TABLE} (id bigint primary key, sent_at timestamptz not null default clock_timestamp())"
        );
        client.batch_execute(&make).await.map_err(|error| said(&error))?;
        let (writes, stop) = (Arc::<Mutex<Vec<Write>>>::default(), Arc::<AtomicBool>::default());
        let (noted, told) = (writes.clone(), stop.clone());
        let task = tokio::spawn(async move {
            let insert = format!("insert into {TABLE} (id) values ($1)");
            let mut id = 0;
            while !told.load(Ordering::Relaxed) {
                id += 1;
                // One that isn't answered was promised to nobody. It is written as another one, where somebody answers again.
                if client.execute(&insert, &[&id]).await.is_err() {
                    if !goes_on {
                        return;
                    }
                    client = again(&target).await;
                    continue;
                }
                let write = Write { id, acknowledged_at: Timestamp::now() };
                noted.lock().unwrap_or_else(PoisonError::into_inner).push(write);
                tokio::time::sleep(WRITE_EVERY).await;
            }
        });
        Ok(Self { writes, stop, task })
    }

    /// What was acknowledged so far.
    pub fn writes(&self) -> Vec<Write> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// It writes no more.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.abort();
        let _ = self.task.await;
    }
}

/// A new session, as soon as there can be one.
async fn again(target: &Target) -> Client {
    loop {
        tokio::time::sleep(WRITE_EVERY).await;
        if let Ok(client) = target.connect().await {
            return client;
        }
    }
}

/// The rows that are there.
///
/// # Errors
/// What the server said.
pub async fn present(client: &Client) -> Result<BTreeSet<i64>, String> {
    let rows = client.query(&format!("select id from {TABLE}"), &[]).await.map_err(|error| said(&error))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Compares what was promised before the fault with what is there; where nothing may be lost later either, what was promised `since`, too.
pub fn loss(writes: &[Write], present: &BTreeSet<i64>, fault_at: Timestamp, since: bool) -> Loss {
    let before: Vec<&Write> = writes.iter().filter(|write| write.acknowledged_at < fault_at).collect();
    let looked_for = || writes.iter().filter(|write| since || write.acknowledged_at < fault_at);
    let (checked, lost) = (looked_for().count(), looked_for().filter(|write| !present.contains(&write.id)).count());
    let survivors = before.iter().filter(|write| present.contains(&write.id));
    let last = survivors.map(|write| write.acknowledged_at).max();
    let seconds = match (lost, last) {
        (0, _) if !before.is_empty() => Some(0.0),
        (_, last) => last.map(|last| fault_at.duration_since(last).as_secs_f64()),
    };
    Loss { checked: checked as u64, lost: lost as u64, seconds }
}

/// What a server said, with its own words.
pub fn said(error: &lifeboat_postgres::connection::DriverError) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_promised_before_the_fault_counts() {
        let at = |second: i64| Timestamp::from_second(1_000 + second).unwrap();
        let writes: Vec<Write> = (0..10).map(|id| Write { id, acknowledged_at: at(id) }).collect();
        let all: BTreeSet<i64> = (0..10).collect();
        let some: BTreeSet<i64> = (0..5).collect();
        let none = BTreeSet::new();
        let loss = |writes: &[Write], present: &BTreeSet<i64>, fault_at| loss(writes, present, fault_at, false);
        assert_eq!(loss(&writes, &all, at(8)), Loss { checked: 8, lost: 0, seconds: Some(0.0) });
        assert_eq!(loss(&writes, &some, at(8)), Loss { checked: 8, lost: 3, seconds: Some(4.0) });
        assert_eq!(loss(&writes, &none, at(8)), Loss { checked: 8, lost: 8, seconds: None });
        assert_eq!(loss(&[], &none, at(8)), Loss { checked: 0, lost: 0, seconds: None });
        let but_the_last: BTreeSet<i64> = (0..9).collect();
        assert_eq!(loss(&writes, &but_the_last, at(8)).lost, 0);
        assert_eq!(super::loss(&writes, &but_the_last, at(8), true), Loss { checked: 10, lost: 1, seconds: Some(1.0) });
    }
}
