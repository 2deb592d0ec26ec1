//! `lifeboat verify`: prove that recovery points can be brought back.

mod boot;
mod concern;
pub mod log;
mod one;
mod owner;
mod tell;

use super::ready::stamp;
use super::{find_named, load_config, wal};
use crate::cli::{Global, VerifyArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, removable, rooms};
use jiff::Timestamp;
use lifeboat_repository::{Findings, Only, PointId, Repository, Verification, VerifyReport};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

pub fn run(global: &Global, arguments: &VerifyArguments, output: &Output) -> Result<(), Failure> {
    let (config_path, config) = load_config(global, UnknownKeys::Warn, output)?;
    if let Some(location) = &arguments.from {
        find_named("location", location, &config.locations)?;
    }
    if let Some(name) = &arguments.workload {
        find_named("workload", name, &config.workloads)?;
    }
    let runtime = rooms::runtime()?;
    // A copy of production, and its server, must not outlive the one who looks at it.
    let clean_up = || lifeboat_recovery::remove_own(&std::env::temp_dir());
    let ending = runtime.block_on(async { interrupt::ends(output, "nothing was left behind; run it again", clean_up) });
    let (report, left_out) = runtime.block_on(check_stored(&config, arguments, output))?;
    tell(&report, output)?;
    let mut document = json!({
        "checked": report.objects,
        "bytes": report.bytes,
        "points": report.points,
        "bad": report.bad,
        "behind": report.behind,
        "arriving": report.arriving.iter().map(|(name, keys)| (name, keys.len())).collect::<BTreeMap<_, _>>(),
        "gaps": report.gaps,
        "left_out": left_out,
    });
    let mut booted = Vec::new();
    if arguments.boot && report.bad.iter().all(|damage| log::is_about_log(damage) || owner::is_about_owner(damage)) {
        booted = runtime.block_on(boot::run_all(&config, &config_path, arguments, &ending, output))?;
        let documents: Vec<Value> = booted.iter().map(boot::Booted::document).collect();
        document["boot"] = if let [only] = &documents[..] { only.clone() } else { Value::Array(documents) };
    }
    if output.is_json() {
        output.document(&document)?;
    }
    if let Some(failed) = booted.iter().find(|booted| !booted.report.passed()) {
        let mut message = format!("{} of {} did not pass", failed.point, failed.workload);
        if let Some(reason) = tell::reason(&failed.report) {
            message = format!("{message}: {reason}");
        }
        return Err(Failure::new(FailureKind::CheckFailed, message)
            .with_hint("the reasons are above; an older point may be clean: `lifeboat verify --boot --point ID`")
            .after_its_document());
    }
    if report.bad.is_empty() {
        all_looked_at(&left_out)?;
        something_proven(&report, arguments)?;
        return nobody_behind(&report);
    }
    if report.bad.iter().all(owner::is_about_owner) {
        return Err(owner::failure());
    }
    if report.bad.iter().all(log::is_about_log) {
        let message = "what is there is whole, but a part of the log is gone: no moment in it can be reached";
        return Err(Failure::new(FailureKind::CheckFailed, message)
            .with_hint("`lifeboat points` shows what can be; `lifeboat backup` makes a point behind it, from which every moment can be")
            .after_its_document());
    }
    let mut message = format!("not as written: {}", human::count(report.bad.len(), "object"));
    if !left_out.is_empty() {
        message = format!("{message}; and {}", not_looked_at(&left_out));
    }
    Err(Failure::new(FailureKind::CheckFailed, message)
        .with_hint("`lifeboat repair` puts back what another location has whole; --dry-run shows what that is")
        .after_its_document())
}

/// What is there is whole, but not everywhere.
fn nobody_behind(report: &VerifyReport) -> Result<(), Failure> {
    let mut names: Vec<&str> = report.behind.iter().map(|damage| damage.location.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("what is there is whole, but {} lacks some of what another location has", names.join(", "));
    let mut hint = "the next backup brings it up to date".to_owned();
    if let Some(from) = report.looked_at.iter().find(|name| !names.contains(&name.as_str())) {
        let copies: Vec<String> = names.iter().map(|to| format!("`lifeboat copy --from {from} --to {to}`")).collect();
        hint = format!("{hint}, or now: {}", copies.join(", "));
    }
    Err(Failure::new(FailureKind::CheckFailed, message).with_hint(hint).after_its_document())
}

/// Without a point there is nothing to bring back, whole or not.
fn something_proven(report: &VerifyReport, arguments: &VerifyArguments) -> Result<(), Failure> {
    if report.points > 0 {
        return Ok(());
    }
    let of = arguments.workload.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let message = format!("nothing was proven: there is no recovery point{of}");
    let hint = format!("`lifeboat backup{}` makes one", of.replace(" of", ""));
    Err(Failure::new(FailureKind::NotFound, message).with_hint(hint).after_its_document())
}

/// What nobody looked at has not passed.
fn all_looked_at(left_out: &[(String, String)]) -> Result<(), Failure> {
    if left_out.is_empty() {
        return Ok(());
    }
    let message = format!("nothing bad was found, but {}", not_looked_at(left_out));
    Err(Failure::new(FailureKind::Unavailable, message)
        .with_hint("run it again when it answers; to look at one location only: `lifeboat verify --from LOCATION`")
        .after_its_document())
}

fn not_looked_at(left_out: &[(String, String)]) -> String {
    let each: Vec<String> =
        left_out.iter().map(|(name, reason)| format!("{name} could not be looked at: {reason}")).collect();
    each.join("; ")
}

async fn check_stored(
    config: &Config,
    arguments: &VerifyArguments,
    output: &Output,
) -> Result<(VerifyReport, Vec<(String, String)>), Failure> {
    let names = match (&arguments.workload, &arguments.from) {
        (_, Some(location)) => vec![location.clone()],
        (Some(workload), None) => wal::locations(config, workload, None),
        (None, None) => rooms::all_locations(config),
    };
    let repository = rooms::open_repository(config, &names, output).await?;
    let progress = progress::for_rooms(output, "verify");
    // A disk has what the last backup or `sync` brought; how old that may be is for `check` to judge.
    let standing = removable::standing(config, &rooms::all_locations(config));
    let is_home = |location: &str, workload: &str| {
        let is_named = |names: &[String]| names.iter().any(|name| name == location);
        let is_meant = config.workloads.get(workload).is_none_or(|workload| is_named(&workload.locations));
        is_named(&standing) && is_meant
    };
    let workload = arguments.workload.as_deref();
    let point = match &arguments.point {
        Some(id) => Some(one::find(&repository, workload, id).await?),
        None => None,
    };
    let needs_log = one::log_of(&repository, point.as_ref()).await;
    let only = point.as_ref().map(|point| Only { point, needs_log: &needs_log });
    let report = repository.verify_homes(workload, only, arguments.data, &is_home, &*progress).await;
    progress.finish();
    let mut report = report?;
    let mut missing = log::missing(&repository, workload, point.as_ref(), &report.arriving, output).await?;
    report.bad.append(&mut missing.bad);
    report.behind.append(&mut missing.behind);
    report.gaps.append(&mut missing.known);
    let more = std::mem::take(&mut missing.away);
    report.away.extend(
        more.into_iter().filter(|(name, _)| !report.away.iter().any(|(known, _)| known == name)).collect::<Vec<_>>(),
    );
    let level = if arguments.data { "data" } else { "structure" };
    let looked = Looked { level, is_whole: arguments.point.is_none(), workload, log: &missing };
    // First: what is known to be damaged is then looked for elsewhere, and a point that has it there passes.
    note(&repository, &report, looked, output).await;
    if let Err(failure) = record(config, &repository, arguments, &report, level).await {
        // Looking at a copy with the right to read only is a good habit.
        output.warn(&format!("the result can't be kept with the points: {}", failure.message));
    }
    // Behind the notes: no point is worse for it.
    if arguments.point.is_none() {
        report.bad.append(&mut owner::missing(&repository, workload).await?);
    }
    // One that answered and holds what can't be used is bad.
    let left_out = report.away.clone();
    Ok((report, left_out))
}

/// What was looked at, and how thoroughly.
#[derive(Clone, Copy)]
pub struct Looked<'a> {
    pub level: &'a str,
    pub is_whole: bool,
    pub workload: Option<&'a str>,
    /// How far the logs went, and where they have holes.
    pub log: &'a log::Missing,
}

/// Keeps what was found in each location, so that nothing is built on what is damaged.
pub async fn note(repository: &Repository, report: &VerifyReport, looked: Looked<'_>, output: &Output) {
    for location in &report.looked_at {
        let findings = Findings {
            workload: looked.workload.map(str::to_owned),
            log_ends: looked.log.ends.get(location).cloned().unwrap_or_default(),
            gaps: looked.log.gaps.get(location).cloned().unwrap_or_default(),
            ..Findings::of(location, looked.level, looked.is_whole, &report.bad, Timestamp::now())
        };
        if let Err(error) = repository.put_findings(findings).await {
            output.warn(&format!("what was found in {location} can't be kept: {error}"));
        }
    }
}

/// Keeps the result with every point that was followed.
async fn record(
    config: &Config,
    repository: &Arc<Repository>,
    arguments: &VerifyArguments,
    report: &VerifyReport,
    level: &str,
) -> Result<(), Failure> {
    let mut points = repository.list_points(arguments.workload.as_deref()).await?;
    points.retain(|header| arguments.point.as_ref().is_none_or(|wanted| *wanted == header.id.0));
    concern::only_looked_at(repository, report, &mut points).await?;
    let passed = concern::passed(repository, report, &points).await?;
    for (header, passed) in points.into_iter().zip(passed) {
        let mut details = json!({ "objects": report.objects, "bytes": report.bytes, "bad": report.bad.len() });
        stamp::note(&mut details, config);
        if !report.away.is_empty() {
            details["left_out"] = json!(report.away);
        }
        keep(repository, header.id, &header.workload, passed, level, details).await?;
    }
    Ok(())
}

async fn keep(
    repository: &Arc<Repository>,
    point: PointId,
    workload: &str,
    passed: bool,
    level: &str,
    details: Value,
) -> Result<(), Failure> {
    let verification = Verification {
        point,
        workload: workload.to_owned(),
        verified_at: Timestamp::now(),
        passed,
        level: level.to_owned(),
        details,
        standing: None,
    };
    Ok(repository.put_verification(&verification).await?)
}

fn tell(report: &VerifyReport, output: &Output) -> Result<(), Failure> {
    for damage in &report.bad {
        let line =
            format!("{}  {} {}: {}", output.paint("bad", Tone::Bad), damage.location, damage.object, damage.what);
        output.text(&line)?;
    }
    for damage in &report.behind {
        let word = output.paint("behind", Tone::Warning);
        output.text(&format!("{word}  {} {}: {}", damage.location, damage.object, damage.what))?;
    }
    for gap in &report.gaps {
        let word = output.paint("gap", Tone::Warning);
        output.text(&format!("{word}  {} {}: {}, as was known", gap.location, gap.object, gap.what))?;
    }
    for (location, keys) in &report.arriving {
        output.text(&format!(
            "{} files of the log are on their way to {location}: they were stored elsewhere a moment ago",
            keys.len()
        ))?;
    }
    output.text(&format!(
        "{} objects looked at, {} read, {} points followed to the end, {} bad",
        report.objects,
        human::size(report.bytes),
        report.points,
        report.bad.len()
    ))
}
