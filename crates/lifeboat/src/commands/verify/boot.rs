//! `lifeboat verify --boot`: bring it up aside, start, replay, check every page, ask; and keep what was measured.

use super::tell;
use crate::cli::VerifyArguments;
use crate::commands::ready::stamp;
use crate::commands::served::why_no_mounts;
use crate::commands::{restore, wal};
use crate::config::{Config, WorkloadConfig};
use crate::failure::{Failure, FailureKind};
use crate::interrupt::Ending;
use crate::output::{Output, progress};
use crate::rooms;
use jiff::Timestamp;
use lifeboat_location as location;
use lifeboat_postgres::cluster::Programs;
use lifeboat_postgres::{Lsn, SystemId};
use lifeboat_recovery::{
    Action, BootReport, BootRequest, Observed, RecoveryError, Target, TimelineChoice, Wanted, Way, boot, observe,
    owner_when_root, plan,
};
use lifeboat_repository::{self as repository, ChunkReader, PointId};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long start and replay may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

/// How long the original may take to say where it is.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// A point that was started.
pub struct Booted {
    pub workload: String,
    pub point: PointId,
    pub report: BootReport,
}

impl Booted {
    pub fn document(&self) -> Value {
        let mut document = json!(self.report);
        document["workload"] = json!(self.workload);
        document["point"] = json!(self.point);
        document["passed"] = json!(self.report.passed());
        document
    }
}

/// Starts the newest point of each workload that is meant, or the one that is named.
pub async fn run_all(
    config: &Config,
    config_path: &Path,
    arguments: &VerifyArguments,
    ending: &Ending,
    output: &Output,
) -> Result<Vec<Booted>, Failure> {
    let names: Vec<String> = match &arguments.workload {
        Some(name) => vec![name.clone()],
        None => config.workloads.keys().cloned().collect(),
    };
    let mut all = Vec::new();
    for name in names {
        let booted = run_one(config, config_path, arguments, &name, ending, output).await?;
        tell::tell(&booted, output)?;
        all.push(booted);
    }
    Ok(all)
}

async fn run_one(
    config: &Config,
    config_path: &Path,
    arguments: &VerifyArguments,
    name: &str,
    ending: &Ending,
    output: &Output,
) -> Result<Booted, Failure> {
    let workload = &config.workloads[name];
    let (planned_at, begun) = (Timestamp::now(), Instant::now());
    // Before the repository is looked at: what the server acknowledges from now on isn't missing.
    let server = server_position(workload).await;
    let asked = begun.elapsed();
    let locations = wal::locations(config, name, arguments.from.as_deref());
    let repository = rooms::open_repository(config, &locations, output).await?;
    let progress = progress::for_rooms(output, name);
    let wanted = Wanted {
        target: Target::Latest,
        inclusive: true,
        timeline: TimelineChoice::default(),
        point: arguments.point.clone().map(PointId),
        location: arguments.from.clone(),
        zone: None,
        restore_command: restore::restore_command(config_path, name)?,
        action: Action::Promote,
        archives: false,
    };
    let Observed { known, points, notes, .. } = observe(&repository, name, Some(&wanted), &*progress).await?;
    notes.iter().for_each(|note| output.warn(note));
    let plan = plan(&known, &wanted).map_err(RecoveryError::from)?;
    let (point, details) = points
        .get(&plan.point)
        .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point)))?;
    let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
    let plan_seconds = (begun.elapsed() - asked).as_secs_f64();
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let programs = Programs::find(details.major, workload.bin_dir.as_deref(), &search)?;
    let scratch_dir = std::env::temp_dir();
    let (user, database) = rooms::user_and_database(workload);
    let request = BootRequest {
        way: way(arguments, &scratch_dir),
        owner: owner_when_root(&scratch_dir, rooms::postgres_account()),
        scratch_dir,
        programs,
        workers: rooms::workers(workload),
        user,
        database,
        checks: workload.check.clone(),
        amcheck: !arguments.without_amcheck,
        planned_at,
        plan_seconds,
        server_lsn: server.filter(|(system_id, _)| *system_id == plan.system_id).map(|(_, lsn)| lsn),
        host: rooms::host_name(),
        patience: PATIENCE,
    };
    let report = tokio::task::block_in_place(|| boot(&reader, point, &plan, &request, &*progress));
    progress.finish();
    // A rehearsal that was broken off says nothing about the point.
    ending.hold().await;
    let report = report.map_err(gone_meanwhile)?;
    let mut verification = report.verification(point, Timestamp::now());
    stamp::note(&mut verification.details, config);
    if let Err(error) = repository.put_verification(&verification).await {
        output.warn(&format!("the result can't be kept with the point: {error}"));
    }
    Ok(Booted { workload: name.to_owned(), point: plan.point.clone(), report })
}

/// A location that isn't there at all was there when the rehearsal began: a disk that was taken away, and no mistake in the configuration.
fn gone_meanwhile(error: RecoveryError) -> Failure {
    let is_gone = |error: &repository::Error| matches!(error, repository::Error::Location(error) if error.kind() == location::ErrorKind::NoContainer);
    match &error {
        RecoveryError::Repository(cause) if is_gone(cause) => Failure::from_error(FailureKind::Unavailable, &error)
            .with_hint("nothing is known of the point; run it again when the location is there"),
        _ => error.into(),
    }
}

/// By a mount where there can be one: a copy needs room for the whole database.
fn way(arguments: &VerifyArguments, scratch_dir: &Path) -> Way {
    match why_no_mounts() {
        _ if arguments.copy => Way::Copy { because: "--copy".into() },
        Some(why_not) => Way::Copy { because: format!("nothing can be mounted here: {why_not}") },
        None => Way::mount(scratch_dir),
    }
}

/// Up to where the original's log is on its own disk, and whose it is. None when it can't be asked: a copy is proved without
/// the original, often on another machine.
async fn server_position(workload: &WorkloadConfig) -> Option<(SystemId, Lsn)> {
    let asked = async {
        let client = rooms::server(workload).ok()?.connect().await.ok()?;
        let query = "select (select system_identifier from pg_control_system())::text, (case when pg_is_in_recovery() \
                     then pg_last_wal_receive_lsn() else pg_current_wal_flush_lsn() end)::text";
        let row = client.query_one(query, &[]).await.ok()?;
        let (system_id, lsn): (String, Option<String>) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
        // The number is signed there.
        let system_id = system_id.parse::<i64>().ok()?.cast_unsigned();
        Some((SystemId(system_id), lsn?.parse().ok()?))
    };
    tokio::time::timeout(SERVER_PATIENCE, asked).await.ok().flatten()
}
