//! `lifeboat backup`: take a recovery point of each workload that is named.

mod opening;

use super::{find_named, load_config};
use crate::cli::{BackupArguments, BackupKind, Global};
use crate::config::{Checkpoint, Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, removable, rooms};
use lifeboat_repository::Point;
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::backup::{BackupOutcome, BackupRequest, BackupType, ServerCompression, backup};
use serde_json::{Value, json};
use std::time::Duration;

/// How long the end of a backup waits for its WAL.
const WAL_TIME_LIMIT: Duration = Duration::from_secs(120);
/// Of a backup that leaves the machine to others: as `nice` gives when nothing is said.
const NICENESS: i32 = 10;

pub fn run(global: &Global, arguments: &BackupArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    for name in &arguments.workloads {
        find_named("workload", name, &config.workloads)?;
    }
    let all: Vec<String> = config.workloads.keys().cloned().collect();
    let names = if arguments.workloads.is_empty() { &all } else { &arguments.workloads };
    let limited = |name: &String| config.workloads[name].max_rate_bytes_per_second.is_some();
    if arguments.max_rate.is_some() || names.iter().any(limited) {
        step_back();
    }
    let runtime = rooms::runtime()?;
    let (mut documents, mut failures, mut damaged, mut lacking) = (Vec::new(), Vec::new(), 0, Vec::new());
    for name in names {
        match runtime.block_on(back_up_one(&config, name, arguments, output)) {
            Ok(outcome) => {
                damaged += outcome.details.bad_pages.len();
                lacking.extend(locations_without(&config, name, &outcome));
                tell(&outcome, output)?;
                documents.push(document(&outcome));
            }
            Err(failure) if names.len() == 1 => return Err(failure),
            Err(failure) => {
                failure.tell(false);
                failures.push((name.clone(), failure));
            }
        }
    }
    if output.is_json() && failures.is_empty() {
        let only = if documents.len() == 1 { documents.remove(0) } else { Value::Array(documents) };
        output.document(&only)?;
    }
    if let Some((_, first)) = failures.first() {
        let names: Vec<&str> = failures.iter().map(|(name, _)| name.as_str()).collect();
        return Err(Failure::new(first.kind, format!("no backup of {}", names.join(", "))));
    }
    if damaged > 0 {
        let message = format!("{damaged} damaged pages in the database; the backup was kept and is marked");
        return Err(Failure::new(FailureKind::CheckFailed, message)
            .with_hint("find what is on these pages with pg_amcheck, and look for an older point without the damage")
            .after_its_document());
    }
    lacking.sort_unstable();
    lacking.dedup();
    if !lacking.is_empty() {
        let message = format!("the backup was stored, but not in {}", lacking.join(", "));
        let whole = config.locations.keys().find(|name| !lacking.contains(name));
        let from = whole.map_or("LOCATION", String::as_str);
        let copies: Vec<String> = lacking.iter().map(|to| format!("`lifeboat copy --from {from} --to {to}`")).collect();
        let copies = copies.join(", ");
        return Err(Failure::new(FailureKind::Unavailable, message)
            .with_hint(format!(
                "the reason is above; the next backup brings it up to date, or when it answers: {copies}"
            ))
            .after_its_document());
    }
    Ok(())
}

/// Locations that should have the point and haven't. A disk in a drawer isn't missed.
fn locations_without(config: &Config, workload: &str, outcome: &BackupOutcome) -> Vec<String> {
    let meant = removable::standing(config, &config.workloads[workload].locations);
    let is_whole =
        |name: &String| outcome.point.locations.iter().any(|state| state.name == *name && state.is_complete());
    meant.into_iter().filter(|name| !is_whole(name)).collect()
}

/// Whoever limits the rate has said that the database goes first: it gets the processors first, too. Threads started later
/// inherit it. The disk's priority is the service manager's to give (the README says how).
fn step_back() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the priority of this process stays as it was");
    }
}

async fn back_up_one(
    config: &Config,
    name: &str,
    arguments: &BackupArguments,
    output: &Output,
) -> Result<BackupOutcome, Failure> {
    let workload = find_named("workload", name, &config.workloads)?;
    let closes_at = match &workload.window {
        Some(window) => Some(opening::wait(name, window, arguments.wait_for_window, output).await?),
        None => None,
    };
    let request = BackupRequest {
        workload: name.to_owned(),
        data_dir: workload.data_dir.clone(),
        connection: rooms::server(workload)?,
        backup_type: match arguments.kind {
            BackupKind::Full => BackupType::Full,
            BackupKind::Incremental => BackupType::Incremental,
            BackupKind::Differential => BackupType::Differential,
        },
        workers: rooms::workers(workload),
        max_rate_bytes_per_second: arguments.max_rate.or(workload.max_rate_bytes_per_second),
        fast_checkpoint: workload.checkpoint == Checkpoint::Fast,
        state_dir: rooms::state_dir(config)?,
        spool: rooms::spool(config, name)?,
        wal_time_limit: WAL_TIME_LIMIT,
        skips_unchanged_files: workload.skips_unchanged_files,
        server_compression: match workload.compresses_on_server {
            true => ServerCompression::Zstd,
            false => ServerCompression::None,
        },
        primary: rooms::primary(workload)?,
        trusts_log: workload.trusts_log,
    };
    let repository = rooms::open_repository(config, &workload.locations, output).await?;
    let progress = progress::for_rooms(output, name);
    let cancel = opening::closing(interrupt::signal(), closes_at);
    let outcome = backup(repository.clone(), &request, progress.clone(), cancel.clone()).await;
    progress.finish();
    let standing = removable::standing(config, &workload.locations);
    if outcome.is_ok() && repository.replicas().iter().any(|replica| !standing.contains(&replica.name)) {
        // The log isn't sent to disks as it is written: they get it here, up to the end of this backup.
        repository.bring_up_to_date().await.iter().for_each(|line| output.tell(line));
    }
    outcome.map_err(|error| opening::failure(error, name, workload.window.as_ref()))
}

fn tell(outcome: &BackupOutcome, output: &Output) -> Result<(), Failure> {
    for note in &outcome.notes {
        output.warn(note);
    }
    for page in &outcome.details.bad_pages {
        output.warn(&format!("{}: damaged page, block {}", page.path, page.block));
    }
    let point = &outcome.point;
    let seconds = point.finished_at.duration_since(point.started_at).as_secs_f64();
    output.text(&format!(
        "{} {} of {}: {} in {} files, {} new, {} stored, {:.1} s",
        output.paint(&point.id.0, Tone::Good),
        point.backup_type,
        point.workload,
        human::size(point.bytes),
        point.files,
        human::size(point.bytes_new),
        human::size(point.bytes_stored),
        seconds
    ))
}

/// What scripts get.
pub fn document(outcome: &BackupOutcome) -> Value {
    let Point { id, workload, backup_type, started_at, finished_at, .. } = &outcome.point;
    let PostgresDetails { lsn_start, lsn_stop, timeline, bad_pages, .. } = &outcome.details;
    json!({
        "workload": workload,
        "point": id,
        "type": backup_type,
        "started_at": started_at,
        "finished_at": finished_at,
        "bytes": outcome.point.bytes,
        "files": outcome.point.files,
        "bytes_read": outcome.point.bytes_read,
        "bytes_new": outcome.point.bytes_new,
        "bytes_stored": outcome.point.bytes_stored,
        "pages_bad": bad_pages.len(),
        "bad_pages": bad_pages,
        "lsn_start": lsn_start,
        "lsn_stop": lsn_stop,
        "timeline": timeline,
        "locations": outcome.point.locations,
        "notes": outcome.notes,
    })
}
