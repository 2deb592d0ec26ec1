//! Who was told what, and when: clients that commit, and a judge of what came back.
//!
//! Each client writes rows with numbers 1, 2, 3, …, one transaction each, and notes the moment (time and position in the
//! log) just before it sends the commit and just after it was acknowledged. For any moment, a row that was acknowledged
//! before it must be there, a row whose commit was sent after it must not, and one in between may. The rows of a client
//! must have no gaps: a hole would be a transaction that is lost although a later one is there.

use anyhow::{Context, Result, ensure};
use lifeboat_components::TestCluster;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

/// Times are in microseconds since 1970, as PostgreSQL keeps them. Clients and server share a clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub client: u32,
    pub number: u64,
    pub xid: u64,
    pub sent_at: u64,
    pub sent_lsn: u64,
    /// `None`: the server died before it could say so.
    pub acknowledged: Option<Acknowledged>,
}

/// When a commit was known to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    pub at: u64,
    pub lsn: u64,
}

/// Everything that was promised.
#[derive(Debug, Default)]
pub struct Ledger {
    pub entries: Vec<Entry>,
}

/// Where a recovery was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Time(u64),
    /// What ends at or before it is in, what begins at or after it isn't.
    Lsn(u64),
    /// From here to there is left open.
    Between(u64, u64),
    /// Everything that was acknowledged.
    End,
}

/// Clients at work.
#[derive(Debug)]
pub struct Clients {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<Result<Vec<Entry>>>>,
}

impl Clients {
    /// Makes the table if it isn't there and sets `count` clients to work.
    pub async fn start(cluster: &TestCluster, count: u32) -> Result<Self> {
        let make =
            "create table if not exists ledger (client int, number bigint, filler text, primary key (client, number))";
        cluster.sql(make).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for client in 0..count {
            let connection = cluster.connect().await?;
            let done = connection
                .query_one("select coalesce(max(number), 0) from ledger where client = $1", &[&client.cast_signed()])
                .await?;
            let first = u64::try_from(done.get::<_, i64>(0))? + 1;
            tasks.push(tokio::spawn(work(connection, client, first, stop.clone())));
        }
        Ok(Self { stop, tasks })
    }

    /// Lets each finish what it is at.
    pub async fn stop(self) -> Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        let mut ledger = Ledger::default();
        for task in self.tasks {
            ledger.entries.extend(task.await??);
        }
        Ok(ledger)
    }
}

async fn work(connection: Client, client: u32, first: u64, stop: Arc<AtomicBool>) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let insert = format!(
            "begin; insert into ledger values ({client}, {number}, repeat('{number} ', 20)); \
             select pg_current_wal_insert_lsn(), txid_current()"
        );
        let Ok(Some((lsn, xid))) = ask(&connection, &insert).await else { break };
        let mut entry =
            Entry { client, number, xid: xid.parse()?, sent_at: now(), sent_lsn: parse_lsn(&lsn)?, acknowledged: None };
        let committed = connection.simple_query("commit").await;
        let at = now();
        if committed.is_ok()
            && let Ok(Some((lsn, _))) = ask(&connection, "select pg_current_wal_insert_lsn(), 0").await
        {
            entry.acknowledged = Some(Acknowledged { at, lsn: parse_lsn(&lsn)? });
        } else if committed.is_ok() {
            // Done, and the server died before it could be asked where: later than anything else.
            entry.acknowledged = Some(Acknowledged { at, lsn: u64::MAX });
        }
        let died = entry.acknowledged.is_none_or(|known| known.lsn == u64::MAX);
        entries.push(entry);
        if died {
            break;
        }
        number += 1;
        // Not for synchronisation: backups and other tests need a share of the processors.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(entries)
}

async fn ask(connection: &Client, statements: &str) -> Result<Option<(String, String)>> {
    let messages = connection.simple_query(statements).await?;
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?.to_owned(), row.get(1)?.to_owned())),
        _ => None,
    });
    Ok(row)
}

/// Now, in microseconds since 1970.
pub fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

/// `16/B374D848` as a number.
pub fn parse_lsn(text: &str) -> Result<u64> {
    let (high, low) = text.split_once('/').with_context(|| format!("{text} is no position"))?;
    Ok(u64::from_str_radix(high, 16)? << 32 | u64::from_str_radix(low, 16)?)
}

/// A number as `16/B374D848`.
pub fn lsn_text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xFFFF_FFFF)
}

/// Microseconds since 1970 as `--at` takes them.
pub fn time_text(microseconds: u64) -> String {
    let (days, rest) = (microseconds / 86_400_000_000, microseconds % 86_400_000_000);
    // Civil from days (Hinnant): the calendar as if years began in March.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z")
}

impl Entry {
    fn must_be_in(&self, moment: Moment) -> bool {
        let Some(known) = self.acknowledged else { return false };
        match moment {
            Moment::Time(time) => known.at < time,
            Moment::Lsn(lsn) | Moment::Between(lsn, _) => known.lsn <= lsn,
            Moment::End => true,
        }
    }

    fn must_be_out(&self, moment: Moment) -> bool {
        match moment {
            Moment::Time(time) => self.sent_at > time,
            Moment::Lsn(lsn) | Moment::Between(_, lsn) => self.sent_lsn >= lsn,
            Moment::End => false,
        }
    }
}

impl Ledger {
    /// Adds what came later.
    pub fn extend(&mut self, later: Self) {
        self.entries.extend(later.entries);
    }

    /// The last moment at which something was acknowledged.
    pub fn last(&self) -> Acknowledged {
        let known = self.entries.iter().filter_map(|entry| entry.acknowledged).filter(|known| known.lsn != u64::MAX);
        let last = known.fold((0, 0), |(at, lsn), known| (at.max(known.at), lsn.max(known.lsn)));
        Acknowledged { at: last.0, lsn: last.1 }
    }

    /// Compares what `copy` holds with what was promised. Returns how many rows had to be there and how many had not to.
    pub async fn judge(&self, copy: &TestCluster, moment: Moment) -> Result<(usize, usize)> {
        let rows = copy
            .connect()
            .await?
            .query("select client, count(*), coalesce(max(number), 0) from ledger group by client", &[])
            .await
            .context("read the ledger of the copy")?;
        let mut reached = BTreeMap::new();
        for row in rows {
            let (client, count, last): (i32, i64, i64) = (row.get(0), row.get(1), row.get(2));
            ensure!(count == last, "at {moment:?} client {client} has {count} rows up to number {last}: a gap");
            reached.insert(client.cast_unsigned(), last.cast_unsigned());
        }
        let is_there = |entry: &&Entry| reached.get(&entry.client).is_some_and(|last| entry.number <= *last);
        let must: Vec<&Entry> = self.entries.iter().filter(|entry| entry.must_be_in(moment)).collect();
        let must_not: Vec<&Entry> = self.entries.iter().filter(|entry| entry.must_be_out(moment)).collect();
        let lost: Vec<_> = must.iter().copied().filter(|entry| !is_there(entry)).take(3).collect();
        let extra: Vec<_> = must_not.iter().copied().filter(is_there).take(3).collect();
        ensure!(lost.is_empty(), "at {moment:?} acknowledged rows are lost: {lost:?}; there are {reached:?}");
        ensure!(extra.is_empty(), "at {moment:?} rows from after it are there: {extra:?}; there are {reached:?}");
        Ok((must.len(), must_not.len()))
    }
}

#[test]
fn times_are_written_as_the_calendar_has_them() {
    assert_eq!(time_text(0), "1970-01-01T00:00:00.000000Z");
    assert_eq!(time_text(951_827_696_000_001), "2000-02-29T12:34:56.000001Z");
    assert_eq!(time_text(1_795_305_600_000_000), "2026-11-22T00:00:00.000000Z");
}

#[test]
fn a_row_in_between_may_be_either() {
    let acknowledged = Some(Acknowledged { at: 20, lsn: 200 });
    let entry = Entry { client: 0, number: 1, xid: 3, sent_at: 10, sent_lsn: 100, acknowledged };
    let verdict = |moment| (entry.must_be_in(moment), entry.must_be_out(moment));
    assert_eq!(verdict(Moment::Time(9)), (false, true));
    assert_eq!(verdict(Moment::Time(15)), (false, false));
    assert_eq!(verdict(Moment::Time(21)), (true, false));
    assert_eq!(verdict(Moment::Lsn(100)), (false, true));
    assert_eq!(verdict(Moment::Lsn(150)), (false, false));
    assert_eq!(verdict(Moment::Lsn(200)), (true, false));
    let unanswered = Entry { acknowledged: None, ..entry.clone() };
    assert!(!unanswered.must_be_in(Moment::End));
}
