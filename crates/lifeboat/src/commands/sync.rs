//! `lifeboat sync`: bring a removable disk up to date, and let it go again.
//!
//! Attach, catch up, verify, flush, note it down, detach. Interrupted anywhere, the next run goes on where it stopped. Nothing
//! is ever written into a mount point whose disk isn't there.

mod disk;

use super::{find_named, load_config, verify};
use crate::cli::{Global, SyncArguments};
use crate::config::{Config, LocationConfig, Media, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human, progress};
use crate::{interrupt, removable, rooms};
use jiff::Timestamp;
use lifeboat_repository::{CopyReport, Damage, MarkedPoint, Progress, Repository, SyncRecord};
use serde_json::json;
use std::sync::Arc;

/// What was done.
struct Done {
    copied: Vec<(String, CopyReport)>,
    points: Vec<MarkedPoint>,
    bad: Vec<Damage>,
    verified: &'static str,
}

pub fn run(global: &Global, arguments: &SyncArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    let name = &arguments.location;
    let location = find_named("location", name, &config.locations)?;
    let sources = sources(&config, arguments, location)?;
    if let Some(attach) = location.removable.attach.as_ref().filter(|_| removable::is_absent(location)) {
        disk::run_command("attach", name, attach)?;
    }
    if removable::is_absent(location) {
        if !arguments.init_new {
            return Err(removable::not_attached(&config, name));
        }
        disk::may_be_set_up(name, location, arguments.same_device)?;
    }
    let done = rooms::runtime()?.block_on(async {
        let _ = interrupt::ends(output, "run it again: it goes on where it stopped", || {});
        if arguments.init_new {
            set_up(&config, &sources, name, output).await?;
        }
        bring_up_to_date(&config, &sources, arguments, output).await
    })?;
    disk::flush(name, location)?;
    let detached = match &location.removable.detach {
        Some(detach) if done.bad.is_empty() && !arguments.stay => {
            disk::run_command("detach", name, detach)?;
            true
        }
        _ => false,
    };
    tell(arguments, location, &done, detached, output)
}

/// Where to read from: what was named, or everything else that is there.
fn sources(config: &Config, arguments: &SyncArguments, location: &LocationConfig) -> Result<Vec<String>, Failure> {
    let name = &arguments.location;
    if location.media != Media::Removable {
        return Err(Failure::new(FailureKind::Usage, format!("location {name} is not removable")).with_hint(format!(
            "`lifeboat copy --from LOCATION --to {name}` completes it; or set media = \"removable\" in [location.{name}]"
        )));
    }
    let sources = match &arguments.from {
        Some(from) if from == name => {
            return Err(Failure::new(FailureKind::Usage, format!("--from names {name} itself"))
                .with_hint("name another location, or leave it out for all"));
        }
        Some(from) => vec![find_named("location", from, &config.locations).map(|_| from.clone())?],
        None => rooms::all_locations(config).into_iter().filter(|other| other != name).collect(),
    };
    let (sources, _) = removable::attached(config, &sources);
    if sources.is_empty() {
        return Err(Failure::new(FailureKind::NotFound, format!("nothing to bring {name} up to date from"))
            .with_hint("attach the other disk, or add a location that is always there"));
    }
    Ok(sources)
}

/// The repository on a new disk: the same as in the other locations, which must be there.
async fn set_up(config: &Config, sources: &[String], name: &str, output: &Output) -> Result<(), Failure> {
    let passphrase = rooms::passphrase(config)?;
    let open = rooms::open_attached(config, sources, output).await?;
    let mut replicas = open.replicas().to_vec();
    replicas.extend(rooms::replicas(config, &[name.to_owned()])?);
    Repository::init(&replicas, &passphrase).await?;
    Ok(())
}

async fn bring_up_to_date(
    config: &Config,
    sources: &[String],
    arguments: &SyncArguments,
    output: &Output,
) -> Result<Done, Failure> {
    let name = &arguments.location;
    let names: Vec<String> = sources.iter().chain([name]).cloned().collect();
    let repository = rooms::open_attached(config, &names, output).await?;
    if let Some((_, reason)) = repository.unavailable().iter().find(|(other, _)| other == name) {
        return Err(Failure::new(FailureKind::Unavailable, format!("location {name} can't be used: {reason}"))
            .with_hint("look at the disk (dmesg, mount); nothing was written to it"));
    }
    let mut copied = Vec::new();
    for from in repository.replicas().iter().map(|replica| &replica.name).filter(|from| *from != name) {
        copied.push((from.clone(), copy(&repository, from, name, output).await?));
    }
    if copied.is_empty() {
        let message = format!("nothing to bring {name} up to date from: no other location answers");
        return Err(Failure::new(FailureKind::Unavailable, message).with_hint("bring one back, and run it again"));
    }
    let alone = Arc::new(repository.only(name)?);
    let progress = progress::for_rooms(output, "verify");
    let report = alone.verify(None, arguments.data, &*progress).await;
    progress.finish();
    let mut report = report?;
    let mut missing = verify::log::missing(&alone, None, None, &verify::log::Arriving::new(), output).await?;
    // What no other location had can't be brought. `verify` tells of it, and the points are judged by what they need.
    report.bad.extend(missing.bad.drain(..).filter(|damage| !verify::log::is_about_log(damage)));
    let points: Vec<MarkedPoint> = alone.points_everywhere(None).await?;
    let verified = if arguments.data { "data" } else { "structure" };
    // Everywhere, so that it is known while the disk lies in its drawer.
    verify::note(
        &repository,
        &report,
        verify::Looked { level: verified, is_whole: true, workload: None, log: &missing },
        output,
    )
    .await;
    let bad = report.bad;
    if bad.is_empty() {
        let record = SyncRecord {
            location: name.clone(),
            synced_at: Timestamp::now(),
            verified: verified.into(),
            points: points.clone(),
        };
        repository.put_sync_record(&record).await?;
    }
    Ok(Done { copied, points, bad, verified })
}

async fn copy(repository: &Repository, from: &str, to: &str, output: &Output) -> Result<CopyReport, Failure> {
    let plan = repository.plan_copy(from, to).await?;
    let progress = progress::for_rooms(output, "sync");
    progress.phase(&format!("copy from {from}"), Some(plan.objects.iter().map(|(_, size)| size).sum()));
    let watcher = progress.clone();
    let report = repository.apply_copy(&plan, &move |bytes| watcher.advance(bytes)).await;
    progress.finish();
    let report = report?;
    match &report.failure {
        None => Ok(report),
        Some(reason) => {
            let message = format!("sync of {to} stopped after {} objects: {reason}", report.objects);
            Err(Failure::new(FailureKind::Unavailable, message).with_hint("run it again: it goes on where it stopped"))
        }
    }
}

fn tell(
    arguments: &SyncArguments,
    location: &LocationConfig,
    done: &Done,
    detached: bool,
    output: &Output,
) -> Result<(), Failure> {
    let name = &arguments.location;
    let objects: u64 = done.copied.iter().map(|(_, report)| report.objects).sum();
    let bytes: u64 = done.copied.iter().map(|(_, report)| report.bytes).sum();
    if output.is_json() {
        let from: Vec<&str> = done.copied.iter().map(|(from, _)| from.as_str()).collect();
        output.document(&json!({
            "location": name,
            "from": from,
            "objects": objects,
            "bytes": bytes,
            "points": done.points,
            "verified": done.verified,
            "bad": done.bad,
            "detached": detached,
        }))?;
    }
    for damage in &done.bad {
        output.text(&format!("bad  {} {}: {}", damage.location, damage.object, damage.what))?;
    }
    let verified = match (done.bad.is_empty(), done.verified) {
        (false, _) => "and not all is as it was written".to_owned(),
        (true, "data") => "every byte verified".to_owned(),
        (true, _) => "their structure verified".to_owned(),
    };
    output.text(&format!(
        "{name}: {objects} objects, {} copied; it holds {} points, {verified}",
        human::size(bytes),
        done.points.len(),
    ))?;
    if !done.bad.is_empty() {
        let message = format!("{} things on {name} are not what was written", done.bad.len());
        return Err(Failure::new(FailureKind::CheckFailed, message)
            .with_hint("`lifeboat repair` puts back what another location has whole; then run it again: the disk is still attached")
            .after_its_document());
    }
    let directory = location.url.directory().map(|path| path.display().to_string()).unwrap_or_default();
    match detached && removable::is_absent(location) {
        true => output.text("it can be unplugged"),
        false if detached => {
            output.warn(&format!("`detach` was run, but {directory} still holds the repository"));
            Ok(())
        }
        false => {
            output.hint(&format!("everything is on the disk: unmount {directory}, and it can be unplugged"));
            Ok(())
        }
    }
}
