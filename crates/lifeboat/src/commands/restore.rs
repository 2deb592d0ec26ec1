//! `lifeboat restore`: bring one moment of a workload back.

mod begun;
mod instant;
mod left;
mod serving;
mod waiting;

use super::served::detach::Interrupted;
use super::served::status::{Phase, Status};
use super::{find_named, load_config, served, wal};
use crate::cli::{Global, RestoreArguments, RestoreSubcommand};
use crate::config::{Config, SynchronousConfig, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress, shell};
use crate::target;
use crate::{interrupt, rooms};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lifeboat_mount::control::Command;
use lifeboat_postgres::TimelineId;
use lifeboat_recovery::{
    Action, Destination, Observed, RestoreCommand, RestoreDone, RestorePlan, RestoreTo, TimelineChoice, Wanted, apply,
    observe, owner_when_root, plan, steps,
};
use lifeboat_repository::{ChunkReader, Point, PointId, Repository};
use lifeboat_workload::postgres::PostgresDetails;
use lifeboat_workload::postgres::wal::ship;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub fn run(global: &Global, arguments: &RestoreArguments, output: &Output) -> Result<(), Failure> {
    match &arguments.command {
        Some(RestoreSubcommand::Status { directory }) => serving::status(global, directory.as_deref(), output),
        Some(RestoreSubcommand::Finish { directory }) => serving::command(directory, Command::Finish, output),
        Some(RestoreSubcommand::Stop { directory }) => serving::command(directory, Command::End, output),
        None => restore(global, arguments, output),
    }
}

fn restore(global: &Global, arguments: &RestoreArguments, output: &Output) -> Result<(), Failure> {
    let zone = TimeZone::system();
    let moment = target::resolve(&arguments.target, Timestamp::now(), &zone)?;
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    find_named("workload", arguments.workload(), &config.workloads)?;
    if let Some(location) = &arguments.from {
        find_named("location", location, &config.locations)?;
    }
    let exclusive = target::stops_before(arguments.exclusive, &moment)?;
    let wanted = Wanted {
        target: moment,
        inclusive: !exclusive,
        timeline: arguments.timeline.map_or(TimelineChoice::default(), |id| TimelineChoice::Exactly(TimelineId(id))),
        point: arguments.point.clone().map(PointId),
        location: arguments.from.clone(),
        zone: Some(zone),
        restore_command: restore_command(&config_path, arguments.workload())?,
        action: Action::from(arguments.action),
        archives: arguments.as_primary,
    };
    let tablespaces = tablespaces(&arguments.tablespaces)?;
    if arguments.detach {
        return detached(&config, arguments, output);
    }
    if arguments.detached {
        served::detach::let_go();
    }
    if arguments.instant {
        return rooms::runtime()?.block_on(instant::run(&config, arguments, wanted, tablespaces, output));
    }
    rooms::runtime()?.block_on(async {
        let _ = interrupt::ends(output, "run it again: it goes on where it stopped", || {});
        bring_back(&config, arguments, wanted, tablespaces, output).await
    })
}

/// Lets another process serve it, and returns when that is as far as one waits for.
fn detached(config: &Config, arguments: &RestoreArguments, output: &Output) -> Result<(), Failure> {
    let to = absolute(arguments.to())?;
    // One that ends already tells why by how it ended.
    let is_enough = |status: &Status| matches!(status.phase, Phase::Coming | Phase::Whole);
    match served::detach::detach(config, &to, Vec::new(), output, Interrupted::GoesOn, is_enough)? {
        served::detach::Outcome::Serving(status) if output.is_json() => {
            output.document(&json!({"state": "served", "status": status}))
        }
        served::detach::Outcome::Serving(status) => serving::show(&status, output),
        served::detach::Outcome::Ended => {
            output.text(&format!("{} {}: everything is here", output.paint("restored", Tone::Good), to.display()))
        }
    }
}

/// How the restored server will call us: by whole paths, because it calls from its data directory.
pub fn restore_command(config_path: &Path, workload: &str) -> Result<RestoreCommand, Failure> {
    let failed =
        |error: std::io::Error| Failure::from_error(FailureKind::Internal, &error).while_doing("find our own paths");
    let program = std::env::current_exe().map_err(failed)?;
    let config = std::path::absolute(config_path).map_err(failed)?;
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    RestoreCommand::new(text(program), text(config), workload)
        .map_err(|error| Failure::from_error(FailureKind::Usage, &error))
}

async fn bring_back(
    config: &Config,
    arguments: &RestoreArguments,
    wanted: Wanted,
    tablespaces: BTreeMap<u32, PathBuf>,
    output: &Output,
) -> Result<(), Failure> {
    let workload = arguments.workload();
    let to = absolute(arguments.to())?;
    begun::is_none_begun(&to)?;
    let locations = wal::locations(config, workload, arguments.from.as_deref());
    let repository = rooms::open_repository(config, &locations, output).await?;
    bring_home(config, workload, &repository, output).await?;
    let progress = progress::for_rooms(output, workload);
    let Observed { known, points, unread, notes } = observe(&repository, workload, Some(&wanted), &*progress).await?;
    notes.iter().for_each(|note| output.warn(note));
    let plan = plan(&known, &wanted)
        .map_err(|refusal| unless_lost(lifeboat_recovery::RecoveryError::from(refusal).into(), &unread))?;
    let destination = Destination::observe(&to, plan.system_id).map_err(lifeboat_recovery::RecoveryError::from)?;
    let (point, _) = points
        .get(&plan.point)
        .ok_or_else(|| Failure::new(FailureKind::NotFound, format!("recovery point {} is gone", plan.point)))?;
    let place = RestoreTo {
        destination: to.clone(),
        tablespaces,
        workers: rooms::workers(&config.workloads[workload]),
        owner: owner_when_root(&to, rooms::postgres_account()),
    };
    check_oids(&place.tablespaces, point)?;
    if matches!(destination, Destination::Missing | Destination::Empty) {
        space_note(&to, point.bytes).into_iter().for_each(|note| output.warn(&note));
    }
    if arguments.dry_run {
        return show_plan(&plan, &steps(&plan, point, destination, &place)?, output);
    }
    plan.notes.iter().for_each(|note| output.warn(note));
    output.hint(&format!("{} from {} in {}", plan.target_spoken, plan.point, plan.location));
    let reader = Arc::new(ChunkReader::open(repository).await?);
    let done = tokio::task::block_in_place(|| apply(&reader, point, &plan, destination, &place, &*progress));
    progress.finish();
    let mut done = done?;
    if matches!(destination, Destination::Missing | Destination::Empty) {
        // Zeros, which a new file has by itself.
        done.bytes_unchanged = 0;
    }
    done.notes.iter().for_each(|note| output.warn(note));
    let settings = &config.workloads[workload];
    let receiver = settings.synchronous.as_ref().map(|_| wal::slot_of(workload, settings));
    tell(&done, &plan, point, arguments, &to, receiver, output)
}

/// What a receiver on this machine acknowledged and no location has yet. Lost with it would be what somebody was promised.
async fn bring_home(config: &Config, name: &str, repository: &Arc<Repository>, output: &Output) -> Result<(), Failure> {
    let workload = &config.workloads[name];
    let Some(spool) = workload.synchronous.as_ref().and_then(SynchronousConfig::spool) else { return Ok(()) };
    if !spool.is_dir() {
        output.warn(&format!(
            "the spool {} is not on this machine: what it holds and no location has is not brought back; run \
             `lifeboat wal receive {name} --ship-only` where it is",
            spool.display()
        ));
        return Ok(());
    }
    let shipped = ship(repository, name, spool).await.map_err(|error| {
        let hint = "what it holds was acknowledged; to restore without it, take `synchronous` out of the configuration";
        Failure::from(error).while_doing(format!("bring home the spool {}", spool.display())).with_hint(hint)
    })?;
    if let Some((timeline, end)) = shipped.end {
        output.hint(&format!("the spool {} was shipped: timeline {timeline}, up to {end}", spool.display()));
    }
    Ok(())
}

fn tell(
    done: &RestoreDone,
    plan: &RestorePlan,
    point: &Point,
    arguments: &RestoreArguments,
    to: &Path,
    receiver: Option<String>,
    output: &Output,
) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&json!({
            "workload": arguments.workload(),
            "point": plan.point,
            "target": plan.target_spoken,
            "timeline": plan.timeline,
            "location": plan.location,
            "to": to,
            "bytes": point.bytes,
            "bytes_written": done.bytes_written,
            "bytes_unchanged": done.bytes_unchanged,
            "seconds": done.seconds,
            "files": done.files,
            "notes": done.notes,
        }));
    }
    let kept = match done.bytes_unchanged {
        0 => String::new(),
        bytes => format!(", {} right already", human::size(bytes)),
    };
    output.text(&format!(
        "{} {}: {} files, {} written{kept}, {:.1} s",
        output.paint("restored", Tone::Good),
        to.display(),
        done.files,
        human::size(done.bytes_written),
        done.seconds
    ))?;
    let then = match Action::from(arguments.action) {
        Action::Promote => "opens",
        Action::Pause => "waits: look, then `select pg_wal_replay_resume()`",
        Action::Shutdown => "stops",
    };
    let quoted = shell::word(&to.display().to_string());
    output.hint(&format!(
        "start it with `pg_ctl start -D {quoted}`: it replays the log to {} and then {then}",
        plan.target_spoken
    ));
    if arguments.as_primary
        && let Some(slot) = receiver
    {
        output.hint(&format!(
            "its commits wait for {slot} if synchronous_standby_names still says so: start `lifeboat wal receive {} --sync`",
            arguments.workload()
        ));
    }
    Ok(())
}

/// "Not there" is the wrong answer while a recovery point that is listed can't be read: it may be the one.
pub fn unless_lost(refused: Failure, unread: &[(PointId, lifeboat_repository::Error)]) -> Failure {
    let Some((point, why)) = unread.last().filter(|_| refused.kind == FailureKind::NotFound) else { return refused };
    let kind = if why.is_loss() { FailureKind::Corrupt } else { FailureKind::Unavailable };
    let message = format!("{}, but recovery point {point} is listed and can't be read", refused.message);
    Failure { kind, message, causes: vec![why.to_string()], ..refused }
        .with_hint("bring back, or add to the configuration, a location that holds it whole")
}

fn show_plan(plan: &RestorePlan, steps: &[String], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&json!({ "dry_run": true, "plan": plan, "steps": steps }));
    }
    output.text(&plan.to_string())?;
    output.text("steps")?;
    for (number, step) in steps.iter().enumerate() {
        output.text(&format!("  {}. {step}", number + 1))?;
    }
    output.hint("nothing was done; leave out --dry-run to do it");
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::from_error(FailureKind::Usage, &error).while_doing("read --to"))
}

/// A warning when what is free is less than what is written. Only that: zeros, and a file system that compresses, take less.
pub fn space_note(to: &Path, bytes: u64) -> Option<String> {
    let there = to.ancestors().find(|path| path.exists())?;
    let answer = rustix::fs::statvfs(there).ok()?;
    let free = answer.f_bavail.saturating_mul(answer.f_frsize);
    (free < bytes).then(|| {
        let (free, bytes) = (human::size(free), human::size(bytes));
        format!("{} has {free} free, and the restore writes {bytes}, and then replays the log", there.display())
    })
}

/// A place for a tablespace that isn't there is a mistake in the number: the one that was meant would go to its old place.
pub fn check_oids(places: &BTreeMap<u32, PathBuf>, point: &Point) -> Result<(), Failure> {
    let known = PostgresDetails::of(point)?.tablespaces;
    let Some(oid) = places.keys().find(|oid| known.iter().all(|tablespace| tablespace.oid != **oid)) else {
        return Ok(());
    };
    let names: Vec<String> =
        known.iter().map(|tablespace| format!("{} ({})", tablespace.oid, tablespace.path)).collect();
    let hint = match names.is_empty() {
        true => "it has no tablespaces: leave out --tablespace".to_owned(),
        false => format!("it has {}", names.join(", ")),
    };
    Err(Failure::new(FailureKind::Usage, format!("recovery point {} has no tablespace {oid}", point.id))
        .with_hint(hint))
}

/// `OID=PATH`, each.
pub fn tablespaces(given: &[String]) -> Result<BTreeMap<u32, PathBuf>, Failure> {
    let one = |text: &String| {
        let (oid, path) = text.split_once('=')?;
        let path = PathBuf::from(path);
        path.is_absolute().then_some((oid.parse().ok()?, path))
    };
    given
        .iter()
        .map(|text| {
            one(text).ok_or_else(|| {
                Failure::new(FailureKind::Usage, format!("--tablespace {text} is not OID=/absolute/path"))
                    .with_hint("`lifeboat restore ... --dry-run` lists the tablespaces with their oids")
            })
        })
        .collect()
}
