//! `lifeboat prune`: give up what the policy doesn't keep, and delete what was given up before.
//!
//! Each location is pruned by itself, as its own policy says: first what was marked there some days ago is deleted, after
//! another look; then what goes today is marked. One that doesn't answer is left alone, and the others don't wait for it.

mod look;
mod release;
mod rewrite;
mod tell;

use super::load_config;
use super::verify::log;
use crate::cli::{Global, PruneArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human};
use crate::{removable, rooms};
use jiff::Timestamp;
use lifeboat_repository::{Mark, Removal, Repository, SweepReport};
use look::Judged;
use rewrite::Repacked;
use serde_json::json;
use std::sync::Arc;

/// What a run does, or would do.
struct Outcome {
    location: String,
    judged: Vec<Judged>,
    /// Marked now.
    going: Removal,
    /// Stored size of the packs that go and of the log that goes, in bytes.
    going_bytes: u64,
    going_logs: u64,
    /// Marked before, and not yet due.
    standing: Vec<Mark>,
    swept: SweepReport,
}

pub fn run(global: &Global, arguments: &PruneArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    rewrite::rate(arguments)?;
    rooms::runtime()?.block_on(async {
        let repository = rooms::open_repository(&config, &rooms::all_locations(&config), output).await?;
        if arguments.cancel {
            return cancel(&repository, output).await;
        }
        if let Some(point) = &arguments.release {
            return release::run(&repository, point, output).await;
        }
        let stored = look::read(&config, &repository).await?;
        let mut outcomes = Vec::new();
        let mut judged = Vec::new();
        let mut left_alone = repository.unavailable().to_vec();
        for replica in repository.replicas() {
            let alone = Arc::new(repository.only(&replica.name)?);
            if let Some(reason) = why_not(&alone).await {
                left_alone.push((replica.name.clone(), reason));
                continue;
            }
            judged.push((alone.clone(), look::judge(&config, &replica.name, &alone, &stored).await?));
        }
        let all: Vec<&Judged> = judged.iter().flat_map(|(_, judged)| judged).collect();
        let repacked = rewrite::rewrite(&config, &repository, &all, arguments, output).await?;
        for (alone, judged) in judged {
            match prune(&config, &alone, judged, &repacked, arguments.dry_run).await {
                Ok(outcome) => outcomes.push(outcome),
                // It is full, or we may not write there: that holds up nobody else.
                Err(failure) => left_alone.push((name_of(&alone), failure.sentence())),
            }
        }
        let (_, absent) = removable::attached(&config, &rooms::all_locations(&config));
        if !arguments.dry_run && absent.is_empty() && left_alone.is_empty() {
            log::note_given_up(&repository).await?;
            repository.forget_gone().await?;
        }
        tell::tell(&config, &outcomes, &repacked, arguments.dry_run, output)?;
        nobody_left_alone(&left_alone)
    })
}

/// Why nothing is given up in a location, if there is a reason.
async fn why_not(alone: &Repository) -> Option<String> {
    match alone.points_lost().await {
        Ok(lost) => lost.first().map(|lost| format!("{} {}, and what it needs must stay", lost.object, lost.what)),
        Err(error) => Some(error.to_string()),
    }
}

/// What could not be asked or written to keeps everything, and that is told.
fn nobody_left_alone(left_alone: &[(String, String)]) -> Result<(), Failure> {
    if left_alone.is_empty() {
        return Ok(());
    }
    let each: Vec<String> =
        left_alone.iter().map(|(name, reason)| format!("location {name} was left alone: {reason}")).collect();
    let lacks = |(_, reason): &(String, String)| reason.starts_with("points/");
    let hint = match left_alone.iter().all(lacks) {
        true => {
            "`lifeboat repair` brings a lost point back from another location; with --give-up it is given up where none has it"
        }
        false => "bring it back and run this again, or take it out of the configuration; whatever answers is pruned",
    };
    Err(Failure::new(FailureKind::Unavailable, each.join("; ")).with_hint(hint).after_its_document())
}

/// The one location that a repository is seen through.
fn name_of(alone: &Repository) -> String {
    alone.replicas().first().map(|replica| replica.name.clone()).unwrap_or_default()
}

/// `repository` is seen through the one location.
async fn prune(
    config: &Config,
    repository: &Arc<Repository>,
    judged: Vec<Judged>,
    repacked: &Repacked,
    dry_run: bool,
) -> Result<Outcome, Failure> {
    let location = name_of(repository);
    let mut swept = SweepReport::default();
    let mut standing = Vec::new();
    for mark in repository.marks().await? {
        if dry_run || !repository.is_due(&mark, config.prune_after).await? {
            standing.push(mark);
            continue;
        }
        let going = look::going(repository, &judged).await?;
        let report = repository.sweep(&mark, &going).await?;
        swept.points.extend(report.points);
        swept.spared.extend(report.spared);
        swept.failures.extend(report.failures);
        swept.logs += report.logs;
        swept.packs += report.packs;
        swept.bytes += report.bytes;
    }
    let going = look::going(repository, &judged).await?;
    let fresh = look::not_marked_yet(repository, going, &standing, &swept.points).await?;
    let removal =
        repository.plan_removal_after(fresh.points, fresh.logs, config.prune_after, &repacked.report.rewritten).await?;
    if !dry_run && !removal.is_empty() {
        repository.mark(removal.clone()).await?;
    }
    if !dry_run {
        repository.forget_ended_holds().await?;
    }
    let (going_logs, going_bytes) = look::size_of(repository, &removal).await?;
    Ok(Outcome { location, judged, going: removal, going_bytes, going_logs, standing, swept })
}

async fn cancel(repository: &Arc<Repository>, output: &Output) -> Result<(), Failure> {
    let (mut cancelled, mut begun) = (Vec::new(), Vec::new());
    for replica in repository.replicas() {
        let alone = repository.only(&replica.name)?;
        for mark in alone.marks().await? {
            if mark.has_begun {
                begun.push(mark.name);
                continue;
            }
            alone.cancel_removal(&mark).await?;
            cancelled.push((replica.name.clone(), mark));
        }
    }
    if output.is_json() {
        let names: Vec<&str> = cancelled.iter().map(|(_, mark)| mark.name.as_str()).collect();
        return output.document(&json!({ "cancelled": names, "begun": begun }));
    }
    for (location, mark) in &cancelled {
        let made = human::age(mark.made_at, Timestamp::now());
        output.text(&format!("{location}: taken back: {} points, marked {made}", mark.removal.points.len()))?;
    }
    for name in &begun {
        output.warn(&format!("removal {name} is being deleted already and can't be taken back"));
    }
    if cancelled.is_empty() && begun.is_empty() {
        output.text("nothing is marked")?;
    }
    output.hint("the next `lifeboat prune` marks the same again unless `keep` in the configuration says otherwise");
    Ok(())
}
