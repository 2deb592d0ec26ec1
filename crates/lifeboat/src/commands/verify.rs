//! `lifeboat verify`: prove that recovery points can be brought back.

mod boot;
pub mod log;
mod one;
mod tell;

use super::{find_named, load_config, wal};
use crate::cli::{Global, VerifyArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, removable, rooms};
use jiff::Timestamp;
use lifeboat_repository::{Findings, Only, PointHeader, PointId, Repository, Verification, VerifyReport};
use serde_json::{Value, json};
use std::collections::HashSet;
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
        "arriving": report.arriving,
        "gaps": report.gaps,
        "left_out": left_out,
    });
    let mut booted = Vec::new();
    if arguments.boot && report.bad.iter().all(log::is_about_log) {
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
    if report.bad.iter().all(log::is_about_log) {
        let message = "what is there is whole, but a part of the log is gone: no moment in it can be reached";
        return Err(Failure::new(FailureKind::CheckFailed, message)
            .with_hint("`lifeboat points` shows what can be; `lifeboat backup` makes a point behind it, from which every moment can be")
            .after_its_document());
    }
    let message = format!("not as written: {}", human::count(report.bad.len(), "object"));
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
    Err(Failure::new(FailureKind::CheckFailed, message)
        .with_hint(hint)
        .after_its_document())
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
    let names: Vec<&str> = left_out.iter().map(|(name, _)| name.as_str()).collect();
    let message = format!("nothing bad was found, but {} could not be looked at", names.join(", "));
    Err(Failure::new(FailureKind::Unavailable, message)
        .with_hint("the reason is above; to look at one location only: `lifeboat verify --from LOCATION`")
        .after_its_document())
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
    let mut missing = log::missing(&repository, workload, point.as_ref()).await?;
    report.bad.append(&mut missing.bad);
    report.behind.append(&mut missing.behind);
    report.gaps.append(&mut missing.known);
    let level = if arguments.data { "data" } else { "structure" };
    let looked = Looked { level, is_whole: arguments.point.is_none(), workload, log: &missing };
    // First: what is known to be damaged is then looked for elsewhere, and a point that has it there passes.
    note(&repository, &report, looked, output).await;
    if let Err(failure) = record(&repository, arguments, &report, level).await {
        // Looking at a copy with the right to read only is a good habit.
        output.warn(&format!("the result can't be kept with the points: {}", failure.message));
    }
    Ok((report, repository.unavailable().to_vec()))
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
    repository: &Arc<Repository>,
    arguments: &VerifyArguments,
    report: &VerifyReport,
    level: &str,
) -> Result<(), Failure> {
    for header in repository.list_points(arguments.workload.as_deref()).await? {
        if arguments.point.as_ref().is_some_and(|wanted| *wanted != header.id.0) {
            continue;
        }
        let passed = passes(repository, report, &header).await;
        let details = json!({ "objects": report.objects, "bytes": report.bytes, "bad": report.bad.len() });
        keep(repository, header.id, &header.workload, passed, level, details).await?;
    }
    Ok(())
}

/// Whether nothing that is bad is a part of this point. What it needs of the log is told elsewhere.
async fn passes(repository: &Arc<Repository>, report: &VerifyReport, point: &PointHeader) -> bool {
    let bad: Vec<&str> =
        report.bad.iter().filter(|damage| !log::is_about_log(damage)).map(|damage| damage.object.as_str()).collect();
    if bad.is_empty() {
        return true;
    }
    match repository.packs_of_points(&[&point.key()]).await {
        Ok(packs) => !bad.into_iter().any(|object| concerns(object, &point.key(), &packs)),
        Err(_) => false,
    }
}

/// Whether a point of this key that needs these packs is touched by damage to an object.
fn concerns(object: &str, point: &str, packs: &HashSet<String>) -> bool {
    let (folder, rest) = object.split_once('/').unwrap_or((object, ""));
    match folder {
        "packs" => packs.contains(object),
        "points" | "receipts" => point.strip_prefix("points/") == Some(rest),
        // About points, or about places: nothing that a restore reads.
        "verifications" | "syncs" | "findings" | "removals" => false,
        _ => true,
    }
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
    for (location, count) in &report.arriving {
        output.text(&format!(
            "{count} files of the log are on their way to {location}: they were stored elsewhere a moment ago"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_concerns_the_points_that_need_what_is_damaged() {
        let packs = HashSet::from(["packs/aa/aa01".to_owned()]);
        for (object, expected) in [
            ("packs/aa/aa01", true),
            ("packs/bb/bb01", false),
            ("points/shop/1", true),
            ("points/shop/2", false),
            ("receipts/shop/1", true),
            ("verifications/shop/1/now", false),
            ("index/1", true),
            ("location", true),
            ("lifeboat.json", true),
        ] {
            assert_eq!(concerns(object, "points/shop/1", &packs), expected, "{object}");
        }
    }
}
