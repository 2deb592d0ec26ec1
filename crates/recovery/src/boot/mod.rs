//! Verification by doing: bring the files aside, start, replay, ask, check every page, remove.
//!
//! The files are all written first, or shown by a mount and come when they are read: see [`Way`].
//!
//! Promise: nobody outside notices: see [`PrivatePlace`](crate::PrivatePlace). What stays behind when we are killed is removed by the next run.
//!
//! What is measured here are the seconds that a real recovery takes, in the same way: nothing else in the product claims to know them.
//!
//! Not here: which point, storing the result.

mod asking;
mod files;
mod given;
mod helped;
mod pages;
mod reached;
mod relations;
mod room;
mod tables;

pub use asking::CheckResult;
pub use files::{Came, Way};
pub use pages::PagesReport;
pub use reached::Reached;
pub use tables::{Amcheck, BadRelation, TablesReport};

use crate::error::Result;
use crate::plan::RestorePlan;
use crate::restore::RestoreDone;
use files::Files;
use futures::future::{Either, select};
use jiff::Timestamp;
use lifeboat_postgres::Lsn;
use lifeboat_postgres::cluster::{Cluster, ClusterError, PidFile, Programs, StopMode, WaitFor};
use lifeboat_repository::{ChunkReader, MostRead, Point, Progress, Verification};
use lifeboat_workload::postgres::PostgresDetails;
use room::Room;
pub use room::remove_own;
use serde::Serialize;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long a copy may take to stop before it is stopped harder.
const STOP_PATIENCE: Duration = Duration::from_secs(60);

/// What to do with the copy.
#[derive(Debug, Clone)]
pub struct BootRequest {
    /// Where the copy's private directory is made. Short, because a socket's path must be; enterable for `owner`.
    pub scratch_dir: PathBuf,
    /// PostgreSQL's programs of the point's major version.
    pub programs: Programs,
    /// Whom the copy belongs to when we are root: see [`crate::owner_when_root`].
    pub owner: Option<(u32, u32)>,
    /// How the files come.
    pub way: Way,
    /// Threads.
    pub workers: usize,
    /// Who asks. Let in without a password: nobody else can reach the copy.
    pub user: String,
    /// Which database is asked.
    pub database: String,
    /// Statements that must each give one row whose first column is true.
    pub checks: Vec<String>,
    /// Whether every table and index is looked into, where that can be done.
    pub amcheck: bool,
    /// When the repository was looked at, for the plan.
    pub planned_at: Timestamp,
    /// How long that took, with opening it: the first part of a recovery.
    pub plan_seconds: f64,
    /// Up to where the original's log had been flushed just before, when it could be asked.
    pub server_lsn: Option<Lsn>,
    /// The name of this machine, for the record.
    pub host: String,
    /// How long start and replay may take.
    pub patience: Duration,
}

/// What was found and measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootReport {
    /// It started, replayed and became a primary.
    pub started: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Up to where the log was replayed.
    pub replayed_to: Option<Lsn>,
    /// When the last transaction ended that was replayed.
    pub replayed_until: Option<Timestamp>,
    /// How that compares with what was acknowledged: the measured recovery point (RPA).
    pub reached: Reached,
    /// Opening the repository, reading points and log, planning.
    pub plan_seconds: f64,
    /// Fetching and writing the files, which goes on side by side: all of them, or over a mount those that are wanted at once.
    pub restore_seconds: f64,
    /// From the start of the server to the end of replay, log fetched on the way.
    pub replay_seconds: f64,
    /// From there to the first answer to a query.
    pub first_query_seconds: f64,
    /// From nothing to that answer: the measured recovery time (RTA) of a restore that is done in the same way.
    pub seconds: f64,
    /// Bytes written before the start.
    pub bytes_written: u64,
    /// In which way it was done.
    pub came: Came,
    /// Every page of the restored cluster. None: it has no checksums, or didn't get that far.
    pub pages: Option<PagesReport>,
    /// Every table and index of it.
    pub amcheck: Amcheck,
    /// The user's own statements.
    pub checks: Vec<CheckResult>,
    /// The location that was read first.
    pub location: String,
    /// Where it was done.
    pub host: String,
    /// PostgreSQL's version there.
    pub server_version: Option<String>,
    /// Ours.
    pub lifeboat_version: String,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What the user's own statements read most. For programs, with the result that is kept.
    #[serde(skip)]
    pub most_read: MostRead,
}

impl BootReport {
    fn new(plan: &RestorePlan, request: &BootRequest, done: &RestoreDone, came: Came) -> Self {
        Self {
            started: false,
            failure: None,
            replayed_to: None,
            replayed_until: None,
            reached: Reached::before(plan, request.planned_at, request.server_lsn),
            plan_seconds: request.plan_seconds,
            restore_seconds: done.seconds,
            replay_seconds: 0.0,
            first_query_seconds: 0.0,
            seconds: request.plan_seconds + done.seconds,
            bytes_written: done.bytes_written,
            came,
            pages: None,
            amcheck: if request.amcheck { Amcheck::NotReached } else { Amcheck::NotAsked },
            checks: Vec::new(),
            location: plan.location.clone(),
            host: request.host.clone(),
            server_version: None,
            lifeboat_version: env!("CARGO_PKG_VERSION").to_owned(),
            notes: Vec::new(),
            most_read: MostRead::default(),
        }
    }

    /// Whether everything that was asked held.
    pub fn passed(&self) -> bool {
        self.started
            && self.failure.is_none()
            && self.pages.as_ref().is_none_or(|pages| pages.bad.is_empty())
            && !matches!(self.amcheck, Amcheck::Failed(_))
            && self.checks.iter().all(|check| check.passed)
    }

    /// The result, to be kept beside the point.
    pub fn verification(&self, point: &Point, verified_at: Timestamp) -> Verification {
        let mut details = serde_json::to_value(self).unwrap_or_default();
        if !self.most_read.is_empty() {
            details["read"] = serde_json::to_value(&self.most_read).unwrap_or_default();
        }
        Verification {
            point: point.id.clone(),
            workload: point.workload.clone(),
            verified_at,
            passed: self.passed(),
            level: "boot".into(),
            details,
            standing: None,
        }
    }
}

/// Restores the point of `plan` aside and proves it. The plan must promote and must not archive; its target says up to
/// where is replayed. Call from a thread that may block, within a runtime.
///
/// # Errors
/// Only what keeps us from trying. What is wrong with the point is in the report.
pub fn boot(
    reader: &Arc<ChunkReader>,
    point: &Point,
    plan: &RestorePlan,
    request: &BootRequest,
    progress: &dyn Progress,
) -> Result<BootReport> {
    let details = PostgresDetails::of(point)?;
    let mut notes = room::remove_leftovers(&request.scratch_dir);
    let (room, files) = files::bring(reader, point, plan, request, progress)?;
    room.write_configuration(&files.control, &plan.settings, details.major)?;
    notes.extend(copied_notes(&files.done));
    let proved = prove(&room, &files, point, plan, request, progress);
    // Whatever came of it: what still runs there would keep the mount, and the place.
    let ended = files.end(&room).and_then(|()| room.remove());
    let mut report = proved?;
    ended?;
    report.notes.splice(0..0, notes);
    Ok(report)
}

/// Starts the copy, asks it, and reads all of it.
fn prove(
    room: &Room,
    files: &Files,
    point: &Point,
    plan: &RestorePlan,
    request: &BootRequest,
    progress: &dyn Progress,
) -> Result<BootReport> {
    let details = PostgresDetails::of(point)?;
    let mut report = BootReport::new(plan, request, &files.done, files.came());
    let started = run(room, files, plan, request, &mut report, progress);
    let pages = match started {
        Ok(()) if report.failure.is_none() && details.data_checksums => {
            progress.phase("check every page", Some(point.bytes));
            pages::check(&room.data_dir(), details.major, request.workers, progress).map(Some)
        }
        ended => ended.map(|()| None),
    };
    // Why something could not be read comes before that it couldn't.
    files.read_the_rest(request.workers, &mut report, progress)?;
    match pages {
        Ok(pages) => report.pages = pages,
        // It has a cause, which is told.
        Err(_) if report.failure.is_some() => {}
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// Starts the copy, asks it, and stops it. That it doesn't start is told in the report.
fn run(
    room: &Room,
    files: &Files,
    plan: &RestorePlan,
    request: &BootRequest,
    report: &mut BootReport,
    progress: &dyn Progress,
) -> Result<()> {
    let cluster = Cluster::open(&room.data_dir(), request.programs.clone())?;
    let mut options = room.start_options().wait_for(WaitFor::Primary, request.patience);
    options.user = request.user.clone();
    let options = files.start_options(options, request.programs.major());
    let handle = Handle::current();
    progress.phase("start and replay", None);
    let begun = Instant::now();
    let started = handle.block_on(async {
        match select(pin!(cluster.start(&options)), pin!(files.hopeless())).await {
            Either::Left((started, _)) => Some(started),
            Either::Right(_) => None,
        }
    });
    let Some(started) = started else {
        report.failure = Some("the server does not start without it".into());
        return room.end_server();
    };
    match started {
        Ok(file) => {
            report.started = true;
            report.replay_seconds = begun.elapsed().as_secs_f64();
            report.seconds += report.replay_seconds;
            files.replayed();
            handle.block_on(ask(room, &file, plan, request, report, progress));
            report.most_read = files.most_read();
            if request.amcheck {
                report.amcheck = handle.block_on(tables::amcheck(&room.socket_dir(), file.port, request, progress));
            }
            progress.phase("stop", None);
            handle.block_on(stop(&cluster, report));
        }
        Err(error @ (ClusterError::EndedEarly { .. } | ClusterError::TimedOut { .. })) => {
            report.failure = Some(error.to_string());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// Where the configuration was isn't where the copy is.
fn copied_notes(done: &RestoreDone) -> impl Iterator<Item = String> {
    done.notes.iter().filter(|note| !note.starts_with("configuration")).cloned()
}

async fn ask(
    room: &Room,
    file: &PidFile,
    plan: &RestorePlan,
    request: &BootRequest,
    report: &mut BootReport,
    progress: &dyn Progress,
) {
    progress.phase("ask", None);
    let begun = Instant::now();
    match asking::first_answer(&room.socket_dir(), file.port, request).await {
        Ok(answer) => {
            report.first_query_seconds = begun.elapsed().as_secs_f64();
            report.seconds += report.first_query_seconds;
            (report.replayed_to, report.replayed_until) = (answer.replayed_to, answer.replayed_until);
            report.server_version = answer.server_version;
            report.reached.replayed(plan, report.replayed_to, report.replayed_until);
            report.failure = report.reached.shortfall(plan);
        }
        Err(error) => report.failure = Some(error.to_string()),
    }
    report.checks = asking::checks(&room.socket_dir(), file.port, request).await;
}

/// A clean stop writes every page, so that all can be checked.
async fn stop(cluster: &Cluster, report: &mut BootReport) {
    if let Err(error) = cluster.stop(StopMode::Fast, STOP_PATIENCE).await {
        report.failure.get_or_insert(format!("stop the copy: {error}"));
        let _ = cluster.stop(StopMode::Immediate, STOP_PATIENCE).await;
    }
}
