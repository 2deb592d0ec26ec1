//! Follows a server's stream and stores what comes: whole segments, and what is new in between.
//!
//! What the server is told: *written* is what has arrived, *flushed* what is durable in enough places; nothing is ever
//! *applied*. The server keeps everything after *flushed* in its slot, and lets synchronous commits return on the strength of
//! it. Which places are enough ([`Synchronous`]):
//!
//! - without it, one location, and parts about every second: cheap, and a commit that waits for it waits a second;
//! - so many locations, or certain ones: a part at once of all that came meanwhile;
//! - the receiver's own disk: a journal, shipped to the locations about every second, by whoever starts here next if this
//!   process doesn't come to it.
//!
//! A receiver that was killed begins again at the start of the segment it was in, which the slot still holds. While no place
//! takes anything, a bounded amount waits in memory and the rest on the server; somebody hears of it when the patience is
//! over ([`AlarmKind`]). At the end of a timeline the last parts remain; a `.partial` is PostgreSQL's own to archive,
//! because its bytes after the switch are its own.

mod alarm;
mod connecting;
mod course;
mod lanes;
mod pending;
mod session;
mod shipping;
mod start;
mod storing;
mod watch;

pub use alarm::{Alarm, AlarmKind};

use super::archive::ClusterIdentity;
use super::error::{Result, WalError, describe};
use super::journal::Journal;
use super::spool::Spool;
use alarm::Health;
use jiff::Timestamp;
use lifeboat_postgres::connection::{Error as ServerError, ErrorKind, Target};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::Repository;
use start::Position;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storing::Resting;
use tokio::sync::{Notify, watch as channel};
use tokio::time::Instant;

/// Between two attempts to reach the server, or to store something.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// How long the slot may still be held by a connection of ours that the server hasn't noticed to be gone.
const GHOST_PATIENCE: Duration = Duration::from_secs(5);

/// How to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// The replication slot, made when missing. Lower-case letters, digits, underscores. It is also the name under which
    /// the server knows the connection: for `synchronous_standby_names`.
    pub slot: String,
    /// How old new data may get before it is stored.
    pub tail_interval: Duration,
    /// How long to go on storing after having been told to stop.
    pub stop_patience: Duration,
    /// When the server no longer has what the archive lacks: begin with what it has, and leave the gap.
    pub accept_gap: bool,
    /// Commits wait for us.
    pub synchronous: Option<Synchronous>,
    /// How long a part stays after something took its place: somebody may have listed it and not read it yet.
    pub part_grace: Duration,
}

/// For commits that wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synchronous {
    /// What is enough to let them go on.
    pub keeping: Keeping,
    /// How long they may wait before somebody hears of it.
    pub patience: Duration,
}

/// Where log must be durable before it is acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keeping {
    /// In so many locations, whichever are quickest.
    Count(usize),
    /// In each of these.
    Named(Vec<String>),
    /// On this machine, below this directory, until a location has it.
    Spool(PathBuf),
}

impl Default for ReceiveOptions {
    fn default() -> Self {
        Self {
            slot: "lifeboat".into(),
            tail_interval: Duration::from_secs(1),
            stop_patience: Duration::from_secs(15),
            accept_gap: false,
            synchronous: None,
            part_grace: Duration::from_secs(60),
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveStatus {
    /// The timeline of the stream.
    pub timeline: TimelineId,
    /// Everything before has arrived here.
    pub received: Lsn,
    /// Everything before is durable in a location.
    pub stored: Lsn,
    /// How far the server is.
    pub server_end: Lsn,
    /// What the server has and no location, in bytes.
    pub lag_bytes: u64,
    /// When the oldest byte arrived that is not stored yet; `None` when all is. Now minus this is what would be lost.
    pub unstored_since: Option<Timestamp>,
}

/// Whom to tell.
pub trait ReceiveProgress: Send + Sync {
    /// Several times a second, and whenever something was stored.
    fn status(&self, status: &ReceiveStatus);
    /// Something failed; it is tried again.
    fn problem(&self, what: &str);
    /// The stream has begun.
    fn connected(&self, _timeline: TimelineId, _from: Lsn) {}
    /// Somebody must look. Told once, until it is over.
    fn alarm(&self, _alarm: &Alarm) {}
    /// It is over.
    fn alarm_over(&self, _kind: AlarmKind) {}
}

/// What a receiver that was told to stop has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Whole segments stored.
    pub segments: u64,
    /// Parts stored.
    pub tails: u64,
    /// How often the stream was begun again.
    pub reconnects: u64,
    /// The last position that is stored, and its timeline.
    pub stored: Option<(TimelineId, Lsn)>,
    /// Whether everything that had arrived is stored.
    pub complete: bool,
}

/// What lasts from one connection to the next.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// By the name of the lane.
    pub positions: BTreeMap<String, Position>,
    pub journal: Option<Arc<Journal>>,
    /// A stream has begun since this process did.
    pub has_streamed: bool,
    pub cluster: Option<ClusterIdentity>,
    pub resting: Resting,
    pub report: ReceiveReport,
    /// Whether the stream moved: a connection that breaks at once isn't tried at once again.
    pub moved: bool,
    /// There is a gap, and it was accepted: the archive's end is no place to begin.
    pub beyond_gap: bool,
}

/// How a connection ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The server went on on another timeline; all of the old one is stored.
    Timeline,
    /// We were told to stop.
    Stopped,
    /// There are other locations now.
    OtherLocations,
}

/// What a connection needs.
pub(crate) struct Context<'a> {
    /// The locations that can be reached; another one when there are more.
    pub repositories: channel::Receiver<Arc<Repository>>,
    pub workload: &'a str,
    pub target: &'a Target,
    pub spool: &'a Spool,
    pub options: &'a ReceiveOptions,
    pub progress: &'a dyn ReceiveProgress,
    pub stop: channel::Receiver<bool>,
    pub health: &'a Health,
    /// The journal, once it is open, and that it has something new.
    pub journal: channel::Sender<Option<shipping::Open>>,
    pub shippable: &'a Notify,
}

impl Context<'_> {
    /// The locations as they are now.
    fn repository(&mut self) -> Arc<Repository> {
        self.repositories.borrow_and_update().clone()
    }
}

/// Remembers the last problem for the sentence of an alarm.
struct Telling<'a> {
    progress: &'a dyn ReceiveProgress,
    health: &'a Health,
}

impl ReceiveProgress for Telling<'_> {
    fn status(&self, status: &ReceiveStatus) {
        self.progress.status(status);
    }

    fn problem(&self, what: &str) {
        self.health.problem(what);
        self.progress.problem(what);
    }

    fn connected(&self, timeline: TimelineId, from: Lsn) {
        self.progress.connected(timeline, from);
    }
}

/// Receives until `stop` becomes true (or its sender is gone). Outages of the server and of locations are waited out.
/// When `repositories` changes, the stream is begun again with the locations that there are now.
///
/// # Errors
/// Only what waiting doesn't cure: a gap ([`WalError::Gap`]), another cluster, other content under the same name, a
/// server that refuses us, a slot that somebody else uses, `remote_apply`.
pub async fn receive(
    repositories: channel::Receiver<Arc<Repository>>,
    workload: &str,
    target: &Target,
    spool: &Spool,
    options: &ReceiveOptions,
    progress: &dyn ReceiveProgress,
    stop: channel::Receiver<bool>,
) -> Result<ReceiveReport> {
    let (health, shippable) = (Health::default(), Notify::new());
    let (journal, opened) = channel::channel(None);
    let telling = Telling { progress, health: &health };
    let shipping = shipping::Shipping {
        repositories: repositories.clone(),
        workload,
        interval: options.tail_interval,
        stop_patience: options.stop_patience,
        health: &health,
        progress: &telling,
        shippable: &shippable,
    };
    let context = Context {
        repositories,
        workload,
        target,
        spool,
        options,
        progress: &telling,
        stop,
        health: &health,
        journal,
        shippable: &shippable,
    };
    let Some(synchronous) = &options.synchronous else { return run(context).await };
    health.wrong(AlarmKind::Disconnected, "not connected yet");
    let left = match &synchronous.keeping {
        Keeping::Spool(directory) => Some(directory.as_path()),
        _ => None,
    };
    // The journal goes on being shipped until the stream has ended, and then once more.
    let working = async { tokio::join!(run(context), shipping.run(left, opened)).0 };
    tokio::select! {
        report = working => report,
        () = alarm::watch(&health, synchronous.patience, progress) => unreachable_end(),
        () = watch::watch(target, options, synchronous.patience, &health, &telling) => unreachable_end(),
    }
}

/// What watches never ends.
fn unreachable_end() -> Result<ReceiveReport> {
    Err(WalError::Internal("a watch ended".into()))
}

async fn run(mut context: Context<'_>) -> Result<ReceiveReport> {
    let mut carried = Carried::default();
    let mut pause = RETRY_MIN;
    let begun = Instant::now();
    loop {
        if *context.stop.borrow() {
            return Ok(carried.report);
        }
        carried.moved = false;
        match connecting::run(&mut context, &mut carried).await {
            Ok(Ended::Stopped) => return Ok(carried.report),
            Ok(Ended::Timeline) => {}
            Ok(Ended::OtherLocations) => carried.moved = true,
            Err(error @ WalError::Gap { .. }) if context.options.accept_gap && !carried.beyond_gap => {
                context.progress.problem(&describe(&error));
                carried.positions.clear();
                carried.beyond_gap = true;
            }
            Err(error) if is_final(&error) => return Err(error),
            // A connection that died may hold the slot for a moment. Whoever holds it longer is somebody else; unless we
            // streamed already: then the server has not noticed yet, and others wait for us.
            Err(error @ WalError::SlotInUse { .. }) if !carried.has_streamed && begun.elapsed() > GHOST_PATIENCE => {
                return Err(error);
            }
            Err(error) => {
                let why = describe(&error);
                context.health.wrong(AlarmKind::Disconnected, &why);
                match error.hint().filter(|_| matches!(error, WalError::SlotInUse { .. })) {
                    Some(hint) => context.progress.problem(&format!("{why}; {hint}")),
                    None => context.progress.problem(&why),
                }
            }
        }
        context.health.wrong(AlarmKind::Disconnected, "the stream ended");
        context.health.right(AlarmKind::Waiting);
        carried.report.reconnects += 1;
        pause = if carried.moved { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut context.stop) => {}
        }
    }
}

/// Ends when the receiver shall stop.
pub(crate) async fn stopped(stop: &mut channel::Receiver<bool>) {
    // An error: nobody is left who could say it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What waiting doesn't cure.
fn is_final(error: &WalError) -> bool {
    use super::error::WalErrorKind;
    match error {
        WalError::Server { temporary, .. } => !temporary,
        WalError::SlotInUse { .. } | WalError::JournalInUse { .. } | WalError::TooFewPlaces { .. } => false,
        WalError::RemoteApply { .. } => true,
        error => matches!(error.kind(), WalErrorKind::Gap | WalErrorKind::Conflict),
    }
}

/// A server's error, as this room says it.
pub(crate) fn server(action: &'static str, error: ServerError) -> WalError {
    let refused = matches!(
        error.kind(),
        ErrorKind::Invalid | ErrorKind::Authentication | ErrorKind::NoDatabase | ErrorKind::Tls | ErrorKind::Denied
    );
    WalError::Server { action, temporary: !refused, source: Box::new(error) }
}
