//! Carrying a job out, in a place.

use super::super::archive::{ArchivedName, TailName, WalArchive};
use super::super::error::{Result, WalError};
use super::super::facts;
use super::super::journal::Journal;
use super::super::push;
use super::course::{Job, What};
use bytes::Bytes;
use lifeboat_postgres::TimelineId;
use lifeboat_postgres::wal_file::{Segment, WalFileName};
use lifeboat_repository::PartPut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

const REST_MIN: Duration = Duration::from_secs(60);
const REST_MAX: Duration = Duration::from_secs(960);

/// Locations that failed: how long they rest, so that a dead one doesn't slow down the others again and again.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    until: BTreeMap<String, (Instant, Duration)>,
}

impl Resting {
    /// Who is left alone now.
    pub(crate) fn names(&self, now: Instant) -> Vec<String> {
        self.until.iter().filter(|(_, (end, _))| *end > now).map(|(name, _)| name.clone()).collect()
    }

    /// Learns from an attempt. Each failure in a row doubles the rest.
    pub(crate) fn learn(&mut self, stored: &Stored, now: Instant) {
        for name in &stored.stored_in {
            self.until.remove(name);
        }
        for (name, _) in &stored.failures {
            let rest = self.until.get(name).map_or(REST_MIN, |(_, rest)| (*rest * 2).min(REST_MAX));
            self.until.insert(name.clone(), (now + rest, rest));
        }
    }
}

/// Where something was stored and where not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub stored_in: Vec<String>,
    pub failures: Vec<(String, String)>,
    /// A part that may be removed when something takes its place.
    pub part: Option<PartPut>,
}

/// Where the log is stored.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In whatever locations work.
    Any(WalArchive),
    /// In this one.
    One(Arc<OneLocation>),
    /// On this machine.
    Journal(Arc<Journal>),
}

/// A location by itself, and what it must have before log comes.
#[derive(Debug)]
pub(crate) struct OneLocation {
    pub archive: WalArchive,
    pub history: Option<(TimelineId, Bytes)>,
    pub is_ready: AtomicBool,
}

impl OneLocation {
    /// Records whose archive it is, and the path to its timeline.
    async fn make_ready(&self) -> Result<()> {
        if self.is_ready.load(Ordering::Acquire) {
            return Ok(());
        }
        self.archive.claim().await?;
        if let Some((timeline, content)) = &self.history {
            push::store(&self.archive, WalFileName::History(*timeline), content).await?;
        }
        self.is_ready.store(true, Ordering::Release);
        Ok(())
    }
}

/// Stores, and says so only when it is durable.
pub(crate) async fn store(place: Place, timeline: TimelineId, job: Job, resting: Vec<String>) -> Result<Stored> {
    match place {
        Place::Any(archive) => {
            let archive = WalArchive { repository: archive.repository.without(&resting).into(), ..archive };
            let mut stored = put(&archive, timeline, &job).await?;
            stored.failures.retain(|(name, _)| !resting.contains(name));
            Ok(stored)
        }
        Place::One(location) => {
            location.make_ready().await?;
            let archive = &location.archive;
            if job.what == What::Segment {
                return put(archive, timeline, &job).await;
            }
            let name = ArchivedName::Tail(part_name(archive, timeline, &job));
            let (group, text) = (archive.group_of(name), name.to_string());
            let part = archive.repository.put_part(&archive.workload, &group, &text, &job.bytes).await?;
            Ok(Stored { part: Some(part), ..Stored::default() })
        }
        Place::Journal(journal) => {
            let append = move || journal.append(timeline, job.from, &job.bytes);
            let done = tokio::task::spawn_blocking(append).await;
            let done = done.unwrap_or_else(|error| Err(WalError::Internal(format!("the journal failed: {error}"))));
            done.map(|()| Stored::default())
        }
    }
}

fn part_name(archive: &WalArchive, timeline: TimelineId, job: &Job) -> TailName {
    archive.tail_name(Segment::containing(timeline, job.from, archive.segment_size), job.from, job.to)
}

async fn put(archive: &WalArchive, timeline: TimelineId, job: &Job) -> Result<Stored> {
    let segment = Segment::containing(timeline, job.from, archive.segment_size);
    let (name, annex) = match job.what {
        What::Segment => {
            let name = WalFileName::Segment(segment.name(archive.segment_size));
            (ArchivedName::File(name), facts::annex_of(&job.bytes))
        }
        What::Part | What::Bytes => (ArchivedName::Tail(part_name(archive, timeline, job)), Vec::new()),
    };
    let group = archive.group_of(name);
    let put = archive.repository.put_log(&archive.workload, &group, &name.to_string(), &job.bytes, &annex).await?;
    Ok(Stored { stored_in: put.stored_in, failures: put.failures, part: None })
}
