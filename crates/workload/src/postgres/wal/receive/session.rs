//! One connection, from "who are you" to its end.

use super::super::archive::{ClusterIdentity, WalArchive};
use super::super::error::{Result, WalError, describe};
use super::super::inventory;
use super::super::push;
use super::pending::{Job, Pending};
use super::start::{self, Position};
use super::storing::{self, Running, Stored};
use super::{Carried, Context, Ended, RETRY_MAX, RETRY_MIN, ReceiveStatus, server, stopped};
use jiff::Timestamp;
use lifeboat_postgres::connection::{ErrorKind, Result as ServerResult};
use lifeboat_postgres::history::TimelineHistory;
use lifeboat_postgres::replication::{ReplicationClient, StatusUpdate, StreamEvent, SystemIdentity, WalStream};
use lifeboat_postgres::wal_file::{Segment, SegmentSize, WalFileName};
use lifeboat_postgres::{Lsn, MajorVersion, TimelineId};
use std::time::Duration;
use tokio::time::Instant;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the server hears from us when nothing happens; it gives up after `wal_sender_timeout`, a minute.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Connects, receives and stores until the stream ends.
pub(crate) async fn run(context: &mut Context<'_>, carried: &mut Carried) -> Result<Ended> {
    let reach = |error| server("connect to the server for replication", error);
    let mut client = ReplicationClient::connect(context.target).await.map_err(reach)?;
    let identity = client.identify_system().await.map_err(|error| server("identify the server", error))?;
    let segment_size = segment_size(&mut client).await?;
    let archive = claim(context, carried, identity, segment_size).await?;
    let slot = context.options.slot.clone();
    client.create_slot_if_missing(&slot).await.map_err(|error| server("make the replication slot", error))?;
    let history = history(&mut client, &archive, identity.timeline).await?;
    let otherwise = kept_from(&mut client, &slot, &identity).await?;
    let position = match carried.position {
        Some(position) => start::again(position, &history, segment_size, otherwise),
        None if carried.beyond_gap => start::at_slot(&history, segment_size, otherwise),
        None => start::first(&inventory::observe(&archive).await?, &history, otherwise),
    };
    carried.position = Some(position);
    let from = Segment::containing(position.timeline, position.stored, segment_size).start(segment_size);
    let stream = match client.start_streaming(Some(&slot), from, position.timeline).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::WalRemoved | ErrorKind::SlotLost) => {
            return Err(WalError::Gap { timeline: position.timeline, from: position.stored, source: Box::new(error) });
        }
        Err(error) => return Err(server("start the stream", error)),
    };
    let now = Instant::now();
    let session = Session {
        archive,
        stream,
        pending: Pending::new(position.timeline, position.stored, segment_size),
        running: None,
        server_end: identity.flush_lsn,
        unstored_since: None,
        running_since: (now, Timestamp::now()),
        retry_at: now,
        retry_pause: RETRY_MIN,
        status_at: now,
        ended: false,
    };
    session.drive(context, carried).await
}

/// `16MB`, `1GB`: how `SHOW` says it.
async fn segment_size(client: &mut ReplicationClient) -> Result<SegmentSize> {
    let text = client.show("wal_segment_size").await.map_err(|error| server("ask for the segment size", error))?;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => 1,
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).unwrap_or(0);
    Ok(SegmentSize::new(bytes)?)
}

async fn claim(
    context: &Context<'_>,
    carried: &mut Carried,
    identity: SystemIdentity,
    segment_size: SegmentSize,
) -> Result<WalArchive> {
    let cluster = ClusterIdentity { system_id: identity.system_id, segment_size };
    let archive = WalArchive::new(context.repository.clone(), context.workload, cluster);
    if let Some(before) = carried.cluster.filter(|before| *before != cluster) {
        return Err(WalError::ForeignCluster {
            workload: context.workload.to_owned(),
            recorded: before.system_id,
            recorded_bytes: before.segment_size.bytes(),
            found: cluster.system_id,
            found_bytes: segment_size.bytes(),
        });
    }
    push::claim(&archive, context.spool).await?;
    carried.cluster = Some(cluster);
    Ok(archive)
}

/// The server's own path; stored before anything of its timeline is, because recovery needs it to get there.
async fn history(
    client: &mut ReplicationClient,
    archive: &WalArchive,
    timeline: TimelineId,
) -> Result<TimelineHistory> {
    if timeline.0 <= 1 {
        return Ok(TimelineHistory::without_ancestors(timeline));
    }
    let file = client.timeline_history(timeline).await.map_err(|error| server("read the timeline's history", error))?;
    let name = WalFileName::History(timeline);
    push::check(archive, name, &file.content)?;
    push::store(archive, name, &file.content).await?;
    let damaged = |what: String| WalError::Damaged { name: name.to_string(), what };
    TimelineHistory::parse(timeline, &file.content).map_err(|error| damaged(error.to_string()))
}

/// From where on the server keeps its log for us.
///
/// A slot that lost what it should keep (`max_slot_wal_keep_size`) keeps nothing ever after. It is made anew, so that
/// the next backup is followed by a log without a gap. PostgreSQL 14 can't tell over this protocol.
async fn kept_from(client: &mut ReplicationClient, slot: &str, identity: &SystemIdentity) -> Result<Lsn> {
    let failed = |error| server("look at the replication slot", error);
    if client.version().map_err(failed)? == MajorVersion::V14 {
        return Ok(identity.flush_lsn);
    }
    if let Some(kept) = client.read_slot(slot).await.map_err(failed)?.and_then(|state| state.restart_lsn) {
        return Ok(kept);
    }
    client.drop_slot(slot).await.map_err(|error| server("remove the replication slot that was lost", error))?;
    client.create_slot_if_missing(slot).await.map_err(|error| server("make the replication slot anew", error))?;
    let state = client.read_slot(slot).await.map_err(failed)?;
    Ok(state.and_then(|state| state.restart_lsn).unwrap_or(identity.flush_lsn))
}

/// A connection while it streams.
struct Session {
    archive: WalArchive,
    stream: WalStream,
    pending: Pending,
    running: Option<Running>,
    server_end: Lsn,
    unstored_since: Option<(Instant, Timestamp)>,
    running_since: (Instant, Timestamp),
    retry_at: Instant,
    retry_pause: Duration,
    status_at: Instant,
    ended: bool,
}

/// Nothing more is received: what has come is stored, until then at the latest.
struct Closing {
    by: Instant,
    error: Option<WalError>,
}

impl Session {
    async fn drive(mut self, context: &mut Context<'_>, carried: &mut Carried) -> Result<Ended> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing: Option<Closing> = None;
        loop {
            self.begin_job(context, carried, closing.is_some());
            let drained = self.running.is_none() && !self.pending.is_behind();
            if drained && self.ended {
                return Ok(Ended::Timeline);
            }
            if closing.as_ref().is_some_and(|closing| drained || Instant::now() >= closing.by) {
                return self.close(carried, drained, closing.and_then(|closing| closing.error)).await;
            }
            let receiving = self.pending.has_room() && !self.ended && closing.is_none();
            let step = tokio::select! {
                event = self.stream.next(), if receiving => self.event(event, carried).await,
                stored = finished(&mut self.running) => {
                    // The one error that ends everything at once: what is stored contradicts what comes.
                    self.finish_job(stored, context, carried)?;
                    if closing.is_none() { self.tell(context).await } else { Ok(()) }
                }
                () = stopped(&mut context.stop), if closing.is_none() => {
                    closing = Some(Closing { by: Instant::now() + context.options.stop_patience, error: None });
                    Ok(())
                }
                _ = tick.tick() => {
                    context.progress.status(&self.status());
                    let due = closing.is_none() && Instant::now() >= self.status_at;
                    if due { self.send_status().await } else { Ok(()) }
                }
            };
            if let (Err(error), None) = (step, &closing) {
                // The server may be gone for good: what has come from it is stored before anything else.
                closing = Some(Closing { by: Instant::now() + context.options.stop_patience, error: Some(error) });
            }
        }
    }

    /// The end of a session that was told to stop, or that broke.
    async fn close(mut self, carried: &mut Carried, drained: bool, error: Option<WalError>) -> Result<Ended> {
        if let Some(error) = error {
            return Err(error);
        }
        carried.report.complete = drained;
        if self.send_status().await.is_ok() {
            // The server hears of it in order; waiting for its answer could take as long as a dead network.
            let _ = tokio::time::timeout(Duration::from_secs(2), self.stream.finish()).await;
        }
        Ok(Ended::Stopped)
    }

    async fn event(&mut self, event: ServerResult<StreamEvent>, carried: &mut Carried) -> Result<()> {
        let lost = |error| server("receive the log", error);
        match event {
            Ok(StreamEvent::Data { start, server_end, bytes, .. }) => {
                if !self.pending.append(start, &bytes) {
                    let expected = self.pending.received();
                    return Err(WalError::Internal(format!("log from {start} came where {expected} was expected")));
                }
                carried.moved = true;
                self.server_end = self.server_end.max(server_end);
                if self.pending.is_behind() {
                    self.unstored_since.get_or_insert_with(|| (Instant::now(), Timestamp::now()));
                }
                Ok(())
            }
            Ok(StreamEvent::Keepalive { server_end, reply_requested, .. }) => {
                self.server_end = self.server_end.max(server_end);
                if reply_requested { self.send_status().await } else { Ok(()) }
            }
            Ok(StreamEvent::TimelineEnded { switched_at, .. }) => {
                carried.moved = true;
                self.ended = true;
                self.server_end = self.server_end.max(switched_at);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::WalRemoved | ErrorKind::SlotLost) => Err(WalError::Gap {
                timeline: self.pending.timeline(),
                from: self.pending.stored(),
                source: Box::new(error),
            }),
            Err(error) => Err(lost(error)),
        }
    }

    /// Begins to store when there is something to store and nothing under way.
    fn begin_job(&mut self, context: &Context<'_>, carried: &Carried, stopping: bool) {
        let now = Instant::now();
        if self.running.is_some() || now < self.retry_at {
            return;
        }
        let due = self.unstored_since.is_some_and(|(since, _)| now >= since + context.options.tail_interval);
        if let Some(job) = self.pending.next_job(due || stopping || self.ended) {
            self.running_since = (now, Timestamp::now());
            self.running = Some(storing::begin(&self.archive, job, &carried.resting.names(now)));
        }
    }

    /// Takes note of what became of a job. Only what waiting doesn't cure is an error.
    fn finish_job(&mut self, done: (Job, Result<Stored>), context: &Context<'_>, carried: &mut Carried) -> Result<()> {
        let (job, result) = done;
        match result {
            Ok(stored) => {
                for (location, why) in &stored.failures {
                    context.progress.problem(&format!("{location}: {why}"));
                }
                carried.resting.learn(&stored, Instant::now());
                self.pending.done(&job);
                match job {
                    Job::Segment(..) => carried.report.segments += 1,
                    Job::Tail(..) => carried.report.tails += 1,
                }
                let position = Position { timeline: self.pending.timeline(), stored: self.pending.stored() };
                carried.position = Some(position);
                carried.report.stored = Some((position.timeline, position.stored));
                // What isn't stored now came after the job was begun.
                self.unstored_since = self.pending.is_behind().then_some(self.running_since);
                self.retry_pause = RETRY_MIN;
                Ok(())
            }
            Err(error) if super::is_final(&error) => Err(error),
            Err(error) => {
                context.progress.problem(&describe(&error));
                self.retry_at = Instant::now() + self.retry_pause;
                self.retry_pause = (self.retry_pause * 2).min(RETRY_MAX);
                Ok(())
            }
        }
    }

    async fn tell(&mut self, context: &Context<'_>) -> Result<()> {
        context.progress.status(&self.status());
        self.send_status().await
    }

    async fn send_status(&mut self) -> Result<()> {
        let stored = self.pending.stored();
        let written = self.pending.received().max(stored);
        let update = StatusUpdate { written, flushed: stored, applied: stored, reply_requested: false };
        self.status_at = Instant::now() + STATUS_INTERVAL;
        let sent = self.stream.send_status(&update, Timestamp::now()).await;
        sent.map_err(|error| server("report to the server", error))
    }

    fn status(&self) -> ReceiveStatus {
        let (received, stored) = (self.pending.received(), self.pending.stored());
        let server_end = self.server_end.max(received);
        ReceiveStatus {
            timeline: self.pending.timeline(),
            received: received.max(stored),
            stored,
            server_end,
            lag_bytes: server_end.bytes_since(stored),
            unstored_since: self.unstored_since.map(|(_, at)| at),
        }
    }
}

/// The end of the job under way; never, when there is none.
async fn finished(running: &mut Option<Running>) -> (Job, Result<Stored>) {
    let Some(under_way) = running.as_mut() else { return std::future::pending().await };
    let result = (&mut under_way.handle).await;
    let result = result.unwrap_or_else(|error| Err(WalError::Internal(format!("storing failed: {error}"))));
    match running.take() {
        Some(Running { job, .. }) => (job, result),
        None => std::future::pending().await,
    }
}
