//! One connection while it streams: what comes is handed to those who store, and what they have is told to the server.

use super::super::error::{Result, WalError};
use super::alarm::AlarmKind;
use super::course::What;
use super::lanes::{Done, Lanes};
use super::start::Position;
use super::{Carried, Context, Ended, ReceiveStatus, server, stopped};
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::connection::{ErrorKind, Result as ServerResult};
use lifeboat_postgres::replication::{StatusUpdate, StreamEvent, WalStream};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// How often the clock is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often the server hears from us when nothing happens; it gives up after `wal_sender_timeout`, a minute.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Log that comes within this time is of one age.
const AGE_STEP: Duration = Duration::from_millis(50);

/// A connection while it streams.
pub(crate) struct Session {
    stream: WalStream,
    lanes: Lanes,
    server_end: Lsn,
    /// Up to where log came, and when its first byte did; what isn't acknowledged yet.
    ages: VecDeque<(Lsn, Instant, Timestamp)>,
    told: Lsn,
    status_at: Instant,
    ended: bool,
}

/// Nothing more is received: what has come is stored, until then at the latest.
struct Closing {
    by: Instant,
    how: Result<Ended>,
}

impl Session {
    pub(crate) fn new(stream: WalStream, lanes: Lanes, server_end: Lsn) -> Self {
        let ages = VecDeque::new();
        Self { stream, lanes, server_end, ages, told: Lsn(0), status_at: Instant::now(), ended: false }
    }

    pub(crate) async fn drive(mut self, context: &mut Context<'_>, carried: &mut Carried) -> Result<Ended> {
        context.health.right(AlarmKind::Disconnected);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut closing: Option<Closing> = None;
        let closing_by = |context: &Context<'_>| Instant::now() + context.options.stop_patience;
        loop {
            self.begin(context, carried, closing.is_some());
            let drained = self.lanes.is_drained();
            if drained && self.ended {
                return Ok(Ended::Timeline);
            }
            if let Some(Closing { how, .. }) = closing.take_if(|closing| drained || Instant::now() >= closing.by) {
                return self.close(carried, drained, how).await;
            }
            let has_room = self.lanes.make_room(context.progress);
            let receiving = has_room && !self.ended && closing.is_none();
            let step = tokio::select! {
                event = self.stream.next(), if receiving => self.event(event, carried).await,
                done = self.lanes.done() => {
                    // The one error that ends everything at once: what is stored contradicts what comes.
                    let has_stored = self.note(done, context, carried)?;
                    if has_stored && closing.is_none() { self.tell(context).await } else { Ok(()) }
                }
                () = stopped(&mut context.stop), if closing.is_none() => {
                    closing = Some(Closing { by: closing_by(context), how: Ok(Ended::Stopped) });
                    Ok(())
                }
                Ok(()) = context.repositories.changed(), if closing.is_none() => {
                    closing = Some(Closing { by: closing_by(context), how: Ok(Ended::OtherLocations) });
                    Ok(())
                }
                _ = tick.tick() => {
                    self.lanes.sweep(context.options.part_grace);
                    self.look_at_the_clock(context);
                    let due = closing.is_none() && Instant::now() >= self.status_at;
                    if due { self.send_status().await } else { Ok(()) }
                }
            };
            if let (Err(error), None) = (step, &closing) {
                // The server may be gone for good: what has come from it is stored before anything else.
                closing = Some(Closing { by: closing_by(context), how: Err(error) });
            }
        }
    }

    /// The end of a session that was told to stop, or that broke.
    async fn close(mut self, carried: &mut Carried, drained: bool, how: Result<Ended>) -> Result<Ended> {
        let ended = how?;
        carried.report.complete = drained;
        if self.send_status().await.is_ok() {
            // The server hears of it in order; waiting for its answer could take as long as a dead network.
            let _ = tokio::time::timeout(Duration::from_secs(2), self.stream.finish()).await;
        }
        Ok(ended)
    }

    async fn event(&mut self, event: ServerResult<StreamEvent>, carried: &mut Carried) -> Result<()> {
        let lost = |error| server("receive the log", error);
        match event {
            Ok(StreamEvent::Data { start, server_end, bytes, .. }) => {
                if !self.lanes.pending.append(start, &bytes) {
                    let expected = self.lanes.pending.received();
                    return Err(WalError::Internal(format!("log from {start} came where {expected} was expected")));
                }
                carried.moved = true;
                self.server_end = self.server_end.max(server_end);
                self.note_age();
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
                timeline: self.lanes.timeline(),
                from: self.acknowledged(),
                source: Box::new(error),
            }),
            Err(error) => Err(lost(error)),
        }
    }

    fn acknowledged(&self) -> Lsn {
        self.lanes.acknowledged().unwrap_or(Lsn(0))
    }

    /// What has come and isn't acknowledged has an age.
    fn note_age(&mut self) {
        let (received, now) = (self.lanes.pending.received(), Instant::now());
        if received <= self.acknowledged() {
            return;
        }
        match self.ages.back_mut().filter(|(_, since, _)| now < *since + AGE_STEP) {
            Some(last) => last.0 = received,
            None => self.ages.push_back((received, now, Timestamp::now())),
        }
    }

    /// Begins to store what there is to store.
    fn begin(&mut self, context: &Context<'_>, carried: &Carried, stopping: bool) {
        let due =
            self.ages.front().is_some_and(|(_, since, _)| Instant::now() >= *since + context.options.tail_interval);
        self.lanes.begin(due || stopping || self.ended, &carried.resting);
    }

    /// Takes note of what became of something. Only what waiting doesn't cure is an error.
    fn note(&mut self, done: Done, context: &Context<'_>, carried: &mut Carried) -> Result<bool> {
        let what = self.lanes.note(done, &mut carried.resting, context.progress)?;
        match what {
            Some(What::Segment) => carried.report.segments += 1,
            Some(What::Part | What::Bytes) => carried.report.tails += 1,
            None => return Ok(false),
        }
        let (timeline, acknowledged) = (self.lanes.timeline(), self.acknowledged());
        for lane in &self.lanes.lanes {
            carried.positions.insert(lane.name.clone(), Position { timeline, stored: lane.course.stored() });
        }
        carried.report.stored = Some((timeline, acknowledged));
        while self.ages.front().is_some_and(|(end, ..)| *end <= acknowledged) {
            self.ages.pop_front();
        }
        context.shippable.notify_one();
        Ok(true)
    }

    fn look_at_the_clock(&mut self, context: &Context<'_>) {
        context.progress.status(&self.status());
        match self.ages.front() {
            Some((_, since, _)) => context.health.wrong_since(AlarmKind::Waiting, *since),
            None => context.health.right(AlarmKind::Waiting),
        }
    }

    /// Tells the server when there is something new to it.
    async fn tell(&mut self, context: &Context<'_>) -> Result<()> {
        if self.acknowledged() <= self.told {
            return Ok(());
        }
        self.send_status().await?;
        context.progress.status(&self.status());
        Ok(())
    }

    /// Nothing is ever applied here, so nothing is said about it: a commit that waits for that must not believe it.
    async fn send_status(&mut self) -> Result<()> {
        let acknowledged = self.acknowledged();
        let written = self.lanes.pending.received().max(acknowledged);
        let update = StatusUpdate { written, flushed: acknowledged, applied: Lsn(0), reply_requested: false };
        self.status_at = Instant::now() + STATUS_INTERVAL;
        self.told = acknowledged;
        let sent = self.stream.send_status(&update, Timestamp::now()).await;
        sent.map_err(|error| server("report to the server", error))
    }

    fn status(&self) -> ReceiveStatus {
        let (received, stored) = (self.lanes.pending.received(), self.acknowledged());
        let server_end = self.server_end.max(received);
        ReceiveStatus {
            timeline: self.lanes.timeline(),
            received: received.max(stored),
            stored,
            server_end,
            lag_bytes: server_end.bytes_since(stored),
            unstored_since: self.ages.front().map(|(_, _, at)| *at),
        }
    }
}
