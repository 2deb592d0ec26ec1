//! `lifeboat verify --boot`: restore aside, start, replay, check every page, ask; and keep what was measured.

use crate::cli::VerifyArguments;
use crate::commands::{restore, wal};
use crate::config::Config;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, progress};
use crate::rooms;
use jiff::Timestamp;
use lifeboat_postgres::cluster::Programs;
use lifeboat_recovery::{
    Action, Amcheck, BootReport, BootRequest, Observed, RecoveryError, Target, TimelineChoice, Wanted, boot, observe,
    owner_when_root, plan,
};
use lifeboat_repository::{ChunkReader, PointId};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long start and replay may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);

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
    output: &Output,
) -> Result<Vec<Booted>, Failure> {
    let names: Vec<String> = match &arguments.workload {
        Some(name) => vec![name.clone()],
        None => config.workloads.keys().cloned().collect(),
    };
    let mut all = Vec::new();
    for name in names {
        let booted = run_one(config, config_path, arguments, &name, output).await?;
        tell(&booted, output)?;
        all.push(booted);
    }
    Ok(all)
}

async fn run_one(
    config: &Config,
    config_path: &Path,
    arguments: &VerifyArguments,
    name: &str,
    output: &Output,
) -> Result<Booted, Failure> {
    let workload = &config.workloads[name];
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
    let Observed { known, points, notes, .. } = observe(&repository, name, &wanted.target, &*progress).await?;
    notes.iter().for_each(|note| output.warn(note));
    let plan = plan(&known, &wanted).map_err(RecoveryError::from)?;
    let (point, details) = points
        .get(&plan.point)
        .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point)))?;
    let search: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let programs = Programs::find(details.major, workload.bin_dir.as_deref(), &search)?;
    let scratch_dir = std::env::temp_dir();
    let (user, database) = rooms::user_and_database(workload);
    let request = BootRequest {
        owner: owner_when_root(&scratch_dir, rooms::postgres_account()),
        scratch_dir,
        programs,
        workers: rooms::workers(workload),
        user,
        database,
        checks: workload.check.clone(),
        amcheck: true,
        patience: PATIENCE,
    };
    let reader = Arc::new(ChunkReader::open(repository.clone()).await?);
    let report = tokio::task::block_in_place(|| boot(&reader, point, &plan, &request, &*progress));
    progress.finish();
    let report = report?;
    if let Err(error) = repository.put_verification(&report.verification(point, Timestamp::now())).await {
        output.warn(&format!("the result can't be kept with the point: {error}"));
    }
    Ok(Booted { workload: name.to_owned(), point: plan.point.clone(), report })
}

fn tell(booted: &Booted, output: &Output) -> Result<(), Failure> {
    let report = &booted.report;
    report.notes.iter().for_each(|note| output.warn(note));
    let verdict = if report.passed() { output.paint("proved", Tone::Good) } else { output.paint("FAILED", Tone::Bad) };
    let reached = report.replayed_to.map_or("nowhere".to_owned(), |lsn| lsn.to_string());
    output.text(&format!(
        "{verdict}  {} of {}: RTA {:.1} s ({:.1} s restore, {:.1} s replay to {reached})",
        booted.point, booted.workload, report.seconds, report.restore_seconds, report.replay_seconds
    ))?;
    if let Some(failure) = &report.failure {
        output.text(&format!("  {}  {failure}", output.paint("bad", Tone::Bad)))?;
    }
    match &report.pages {
        Some(pages) => output.text(&format!("  {} pages checked, {} damaged", pages.checked, pages.bad.len()))?,
        None => output.text("  pages carry no checksums, or were not reached")?,
    }
    output.text(&match &report.amcheck {
        Amcheck::NotAsked => "  tables and indexes were not looked into".to_owned(),
        Amcheck::NotAvailable { what } => format!("  tables and indexes were not looked into: {what}"),
        Amcheck::Passed { seconds } => format!("  pg_amcheck found nothing wrong in {seconds:.1} s"),
        Amcheck::Failed { said, .. } => format!("  {}  pg_amcheck: {said}", output.paint("bad", Tone::Bad)),
    })?;
    for check in &report.checks {
        let word = if check.passed { output.paint("ok", Tone::Good) } else { output.paint("no", Tone::Bad) };
        let said = check.said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
        output.text(&format!("  {word}  {}{said}", check.sql))?;
    }
    Ok(())
}
