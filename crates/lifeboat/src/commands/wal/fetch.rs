//! `lifeboat wal fetch`: `restore_command`.

use crate::cli::{Global, WorkloadOption};
use crate::commands::{find_named, load_config};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::rooms;
use lifeboat_postgres::wal_file::SegmentName;
use lifeboat_postgres::{Lsn, TimelineId, control};
use lifeboat_workload::postgres::wal::{
    ClusterIdentity, FetchOptions, FetchOutcome, PrefetchSeat, Spool, WalArchive, Way, fetch, take_prefetched, way_to,
};
use std::path::Path;
use std::process::{Command, Stdio};

/// What PostgreSQL wants.
pub struct Request<'a> {
    pub name: &'a str,
    pub path: &'a Path,
    pub of: &'a WorkloadOption,
    pub from: Option<&'a str>,
    pub prefetches: bool,
    pub incomplete_of: Option<u32>,
    pub ends_at: Option<Lsn>,
    pub follows: Option<TimelineId>,
}

pub fn run(global: &Global, request: &Request<'_>, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    let named = rooms::workload_name(&config, request.of.workload.as_deref());
    let workload = named.map_err(|failure| not_the_end(failure, FailureKind::Usage))?;
    if let Some(from) = request.from {
        find_named("location", from, &config.locations).map_err(|failure| not_the_end(failure, FailureKind::Usage))?;
    }
    let fetched = bring(&config, &workload, request, output);
    if !fetched.map_err(|failure| not_the_end(failure, FailureKind::Unavailable))? {
        let message = format!("{} is not in the archive of {workload}", request.name);
        return Err(Failure::new(FailureKind::NotFound, message));
    }
    if request.prefetches && way(request) == Way::On {
        let spool = rooms::spool(&config, &workload)?;
        go_on_ahead(&config_path, &workload, &spool, request);
    }
    Ok(())
}

/// PostgreSQL takes "not found" for the end of the log, and opens the database without what comes after. So only the
/// archive's own no may say it; not a name that is mistyped, not a repository that isn't where it should be.
fn not_the_end(failure: Failure, kind: FailureKind) -> Failure {
    let kind = if failure.kind == FailureKind::NotFound { kind } else { failure.kind };
    Failure { kind, ..failure }
}

/// PostgreSQL looks ahead, and asks for the segment behind the last one that it will replay.
fn is_beyond(request: &Request<'_>) -> bool {
    let Some(ends_at) = request.ends_at else { return false };
    let size = control::read(Path::new(".")).map(|control| control.wal_segment_size).unwrap_or_default();
    let segment = request.name.parse::<SegmentName>().ok().and_then(|name| name.with_size(size).ok());
    segment.is_some_and(|segment| segment.start(size) >= ends_at)
}

/// Whether its name alone says that a standby may have it.
fn way(request: &Request<'_>) -> Way {
    match (request.follows, request.name.parse()) {
        (Some(follows), Ok(name)) => way_to(name, follows),
        _ => Way::On,
    }
}

/// False when it certainly isn't archived.
fn bring(config: &Config, workload: &str, request: &Request<'_>, output: &Output) -> Result<bool, Failure> {
    if is_beyond(request) || way(request) == Way::Off {
        return Ok(false);
    }
    let spool = rooms::spool(config, workload)?;
    if request.prefetches
        && way(request) == Way::On
        && take_prefetched(request.name, request.path, &spool, cluster_in_recovery().map(|it| it.system_id))?
    {
        return Ok(true);
    }
    rooms::runtime()?.block_on(fetch_one(config, workload, request, output))
}

/// PostgreSQL calls from the data directory: its control file says which cluster is in recovery.
fn cluster_in_recovery() -> Option<ClusterIdentity> {
    let control = control::read(Path::new(".")).ok()?;
    Some(ClusterIdentity { system_id: control.system_id, segment_size: control.wal_segment_size })
}

async fn fetch_one(config: &Config, workload: &str, request: &Request<'_>, output: &Output) -> Result<bool, Failure> {
    let names = locations(config, workload, request.from);
    let repository = rooms::open_attached(config, &names, output).await?;
    let silent: Vec<String> = repository.unavailable().iter().map(|(name, _)| name.clone()).collect();
    let Some(archive) = WalArchive::of_workload_or(repository, workload, cluster_in_recovery()).await? else {
        return if silent.is_empty() { Ok(false) } else { Err(could_not_ask(&silent)) };
    };
    let options = FetchOptions {
        incomplete_of: request.incomplete_of.map(TimelineId),
        trust_reachable: request.from.is_some(),
        follows: request.follows,
    };
    Ok(fetch(&archive, request.name, request.path, options).await? != FetchOutcome::NotThere)
}

fn could_not_ask(silent: &[String]) -> Failure {
    Failure::new(FailureKind::Unavailable, format!("could not ask {}", silent.join(", ")))
        .with_hint("bring the location back, or restore with --from a location that answers")
}

/// The locations of a workload, or the one that was named.
pub fn locations(config: &Config, workload: &str, from: Option<&str>) -> Vec<String> {
    match from {
        Some(name) => vec![name.to_owned()],
        None => config.workloads[workload].locations.clone(),
    }
}

/// Starts a process that loads the next segments while PostgreSQL replays this one. When that fails nothing is lost:
/// the next call fetches by itself.
fn go_on_ahead(config_path: &Path, workload: &str, spool: &Spool, request: &Request<'_>) {
    // One that is at work sees by itself what was asked for.
    let is_free = matches!(PrefetchSeat::take(spool), Ok(Some(_)));
    if request.name.len() != 24 || !is_free {
        return;
    }
    let (Ok(program), Ok(config_path)) = (std::env::current_exe(), std::path::absolute(config_path)) else { return };
    let mut command = Command::new(program);
    // Not in the data directory, where PostgreSQL calls us: that may be a mount, which nobody could take away as long as we stay.
    command.current_dir("/").arg("--config").arg(config_path).args([
        "--quiet",
        "wal",
        "prefetch",
        request.name,
        "--workload",
        workload,
    ]);
    if let Some(from) = request.from {
        command.args(["--from", from]);
    }
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}
