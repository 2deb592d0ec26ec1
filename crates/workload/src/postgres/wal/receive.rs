//! Follows a server's stream and stores what comes: whole segments, and about every second what is new in between.
//!
//! What the server is told: *written* is what has arrived, *flushed* (and *applied*) what at least one location holds
//! durably. The server keeps everything after *flushed* in its slot, and lets synchronous commits return on the
//! strength of it, so nothing on this machine counts: there is no local copy that could be lost, or fill a disk. A
//! receiver that was killed begins again at the start of the segment it was in, which the slot still holds.
//!
//! While no location takes anything, a bounded amount waits in memory and the rest on the server. Old parts stay when
//! the whole segment is stored: nothing is removed here. At the end of a timeline the last parts remain; a `.partial`
//! is PostgreSQL's own to archive, because its bytes after the switch are its own.

mod pending;
mod session;
mod start;
mod storing;

use super::archive::ClusterIdentity;
use super::error::{Result, WalError, describe};
use super::spool::Spool;
use jiff::Timestamp;
use lifeboat_postgres::connection::{Error as ServerError, ErrorKind, Target};
use lifeboat_postgres::{Lsn, TimelineId};
use lifeboat_repository::Repository;
use start::Position;
use std::sync::Arc;
use std::time::Duration;
use storing::Resting;
use tokio::sync::watch;

/// Between two attempts to reach the server, or to store something.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(10);

/// How to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// The replication slot, made when missing. Lower-case letters, digits, underscores.
    pub slot: String,
    /// How old new data may get before it is stored.
    pub tail_interval: Duration,
    /// How long to go on storing after having been told to stop.
    pub stop_patience: Duration,
    /// When the server no longer has what the archive lacks: begin with what it has, and leave the gap.
    pub accept_gap: bool,
}

impl Default for ReceiveOptions {
    fn default() -> Self {
        Self {
            slot: "lifeboat".into(),
            tail_interval: Duration::from_secs(1),
            stop_patience: Duration::from_secs(15),
            accept_gap: false,
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
    pub position: Option<Position>,
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
}

/// What a connection needs.
pub(crate) struct Context<'a> {
    pub repository: Arc<Repository>,
    pub workload: &'a str,
    pub target: &'a Target,
    pub spool: &'a Spool,
    pub options: &'a ReceiveOptions,
    pub progress: &'a dyn ReceiveProgress,
    pub stop: watch::Receiver<bool>,
}

/// Receives until `stop` becomes true (or its sender is gone). Outages of the server and of locations are waited out.
///
/// # Errors
/// Only what waiting doesn't cure: a gap ([`WalError::Gap`]), another cluster, other content under the same name, a
/// server that refuses us.
pub async fn receive(
    repository: Arc<Repository>,
    workload: &str,
    target: &Target,
    spool: &Spool,
    options: &ReceiveOptions,
    progress: &dyn ReceiveProgress,
    stop: watch::Receiver<bool>,
) -> Result<ReceiveReport> {
    let mut context = Context { repository, workload, target, spool, options, progress, stop };
    let mut carried = Carried::default();
    let mut pause = RETRY_MIN;
    loop {
        if *context.stop.borrow() {
            return Ok(carried.report);
        }
        carried.moved = false;
        match session::run(&mut context, &mut carried).await {
            Ok(Ended::Stopped) => return Ok(carried.report),
            Ok(Ended::Timeline) => {}
            Err(error @ WalError::Gap { .. }) if options.accept_gap && !carried.beyond_gap => {
                progress.problem(&describe(&error));
                carried.position = None;
                carried.beyond_gap = true;
            }
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => progress.problem(&describe(&error)),
        }
        carried.report.reconnects += 1;
        pause = if carried.moved { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(&mut context.stop) => {}
        }
    }
}

/// Ends when the receiver shall stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error: nobody is left who could say it.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What waiting doesn't cure.
fn is_final(error: &WalError) -> bool {
    use super::error::WalErrorKind;
    match error {
        WalError::Server { temporary, .. } => !temporary,
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
