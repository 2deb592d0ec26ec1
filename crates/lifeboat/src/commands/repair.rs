//! `lifeboat repair`: put back what is damaged, from a location that has it whole.

use super::load_config;
use super::verify::{Looked, log, note};
use crate::cli::{Global, RepairArguments};
use crate::config::{Config, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, Tone, human, progress};
use crate::{interrupt, removable, rooms};
use lifeboat_repository::{Damage, RepairPlan, Replacement, Repository, Rescued, VerifyReport};
use serde_json::json;
use std::sync::Arc;

/// What was done, or would be.
#[derive(Default)]
struct Outcome {
    plan: RepairPlan,
    /// Those of the plan that are whole again.
    put_back: Vec<Replacement>,
    failures: Vec<String>,
    /// What is gone of logs: no location has it.
    gaps: Vec<Damage>,
    /// How many of these nobody had heard of, or no point stands behind.
    gaps_open: usize,
    given_up: Vec<Damage>,
    /// What became of packs that no location has whole.
    rescued: Rescued,
    /// What is bad after all that, and not because something is lost.
    still_bad: Vec<Damage>,
    /// Locations that were not looked at, and why.
    left_out: Vec<(String, String)>,
}

pub fn run(global: &Global, arguments: &RepairArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    if arguments.give_up
        && let Some(disk) = removable::attached(&config, &rooms::all_locations(&config)).1.first()
    {
        let message = format!("location {disk} is not attached, and may have whole what would be given up");
        return Err(Failure::new(FailureKind::Unavailable, message)
            .with_hint("attach the disk and run it again, or take it out of the configuration"));
    }
    let outcome = rooms::runtime()?.block_on(repair(&config, arguments, output))?;
    tell(&outcome, arguments, output)?;
    verdict(&outcome, arguments)
}

async fn repair(config: &Config, arguments: &RepairArguments, output: &Output) -> Result<Outcome, Failure> {
    let _ = interrupt::ends(output, "run it again: it goes on where it stopped", || {});
    let repository = rooms::open_repository(config, &rooms::all_locations(config), output).await?;
    let mut outcome = Outcome { left_out: repository.unavailable().to_vec(), ..Outcome::default() };
    if arguments.give_up
        && let Some((name, reason)) = outcome.left_out.first()
    {
        let message = format!("nothing is given up while location {name} can't be used: {reason}");
        return Err(Failure::new(FailureKind::Unavailable, message).with_hint(
            "it may have whole what is damaged elsewhere: bring it back, or take it out of the configuration",
        ));
    }
    let mut report = look(&repository, output).await?;
    if let Some((name, reason)) = report.away.iter().find(|away| !outcome.left_out.contains(away)) {
        let message = format!("location {name} went away while it was looked at: {reason}");
        return Err(Failure::new(FailureKind::Unavailable, message).with_hint("run it again when it answers"));
    }
    outcome.plan = repository.plan_repair(&report.bad).await?;
    if arguments.dry_run {
        outcome.add_gaps(log::missing(&repository, None, None, &log::Arriving::new(), output).await?);
        return Ok(outcome);
    }
    for replacement in &outcome.plan.replace {
        match repository.put_back(replacement).await {
            Ok(_) => outcome.put_back.push(replacement.clone()),
            Err(error) => outcome.failures.push(format!("{} {}: {error}", replacement.location, replacement.object)),
        }
    }
    if arguments.give_up {
        outcome.given_up = repository.give_up(&outcome.plan.lost).await?;
    }
    // After the points that were given up: what only they needed goes with them.
    // Not while something could not be put back: it would be counted on.
    if outcome.failures.is_empty() {
        match repository.rescue(&outcome.plan.lost).await {
            Ok(rescued) => outcome.rescued = rescued,
            Err(error) => outcome.failures.push(format!("what can be read of damaged packs: {error}")),
        }
    }
    report.bad.retain(|damage| !outcome.is_mended(damage));
    if outcome.failures.is_empty() && (!report.bad.is_empty() || !outcome.put_back.is_empty()) {
        look_again(&repository, &mut report, &mut outcome, output).await?;
    }
    outcome.add_gaps(keep(&repository, &mut report, output).await?);
    Ok(outcome)
}

/// What was damaged only in what it needs is whole by now, and what came back gets its index: so everything but the bytes is looked at
/// once more, and nothing is taken for granted.
async fn look_again(
    repository: &Arc<Repository>,
    report: &mut VerifyReport,
    outcome: &mut Outcome,
    output: &Output,
) -> Result<(), Failure> {
    if let Err(error) = repository.complete_index().await {
        outcome.failures.push(format!("the index: {error}"));
    }
    let progress = progress::for_rooms(output, "look again");
    let again = repository.verify(None, false, &*progress).await;
    progress.finish();
    let is_same = |one: &Damage, other: &Damage| one.location == other.location && one.object == other.object;
    report.bad.retain(|damage| outcome.still_lost().any(|lost| is_same(lost, damage)));
    let again = again?;
    outcome.failures.extend(again.away.iter().map(|(name, reason)| format!("location {name} went away: {reason}")));
    for damage in again.bad {
        if !report.bad.iter().any(|known| is_same(known, &damage)) {
            outcome.still_bad.push(damage.clone());
            report.bad.push(damage);
        }
    }
    Ok(())
}

/// Writes down what is still damaged: the next backup builds on none of it, and stores anew what the cluster still has.
///
/// Returns what is gone of logs, which nothing can put back.
async fn keep(
    repository: &Arc<Repository>,
    report: &mut VerifyReport,
    output: &Output,
) -> Result<log::Missing, Failure> {
    let missing = log::missing(repository, None, None, &log::Arriving::new(), output).await?;
    report.bad.extend(missing.bad.iter().cloned());
    let looked = Looked { level: "data", is_whole: true, workload: None, log: &missing };
    note(repository, report, looked, output).await;
    Ok(missing)
}

impl Outcome {
    fn add_gaps(&mut self, missing: log::Missing) {
        self.gaps_open = missing.bad.len();
        self.gaps = missing.bad.into_iter().chain(missing.known).collect();
    }

    fn is_mended(&self, damage: &Damage) -> bool {
        let is_back = |one: &Replacement| one.location == damage.location && one.object == damage.object;
        self.put_back.iter().any(is_back) || self.is_gone(damage)
    }

    fn is_gone(&self, damage: &Damage) -> bool {
        self.given_up.contains(damage) || self.rescued.dropped.contains(damage)
    }

    /// What no location has whole, and nobody could do without.
    fn still_lost(&self) -> impl Iterator<Item = &Damage> {
        self.plan.lost.iter().filter(|lost| !self.is_gone(lost))
    }
}

async fn look(repository: &Arc<Repository>, output: &Output) -> Result<VerifyReport, Failure> {
    let progress = progress::for_rooms(output, "repair");
    let report = repository.verify(None, true, &*progress).await;
    progress.finish();
    Ok(report?)
}

fn tell(outcome: &Outcome, arguments: &RepairArguments, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&json!({
            "dry_run": arguments.dry_run,
            "replace": outcome.plan.replace,
            "put_back": outcome.put_back.len(),
            "failures": outcome.failures,
            "gaps": outcome.gaps,
            "gaps_open": outcome.gaps_open,
            "lost": outcome.plan.lost,
            "given_up": outcome.given_up,
            "still_bad": outcome.still_bad,
            "rescued": {
                "chunks": outcome.rescued.chunks,
                "bytes": outcome.rescued.bytes,
                "chunks_lost": outcome.rescued.chunks_lost,
                "dropped": outcome.rescued.dropped,
            },
            "left_out": outcome.left_out,
        }));
    }
    for one in &outcome.plan.replace {
        let word = match (arguments.dry_run, outcome.put_back.contains(one)) {
            (true, _) => output.paint("whole elsewhere", Tone::Warning),
            (false, true) => output.paint("put back", Tone::Good),
            (false, false) => output.paint("not put back", Tone::Bad),
        };
        let size = human::size(one.bytes);
        output.text(&format!("{word}  {} {}: {size} from {}", one.location, one.object, one.from))?;
    }
    for lost in outcome.still_lost() {
        output.text(&format!(
            "{}  {} {}: {}",
            output.paint("lost", Tone::Bad),
            lost.location,
            lost.object,
            lost.what
        ))?;
    }
    for bad in &outcome.still_bad {
        let word = output.paint("still bad", Tone::Bad);
        output.text(&format!("{word}  {} {}: {}", bad.location, bad.object, bad.what))?;
    }
    tell_rescued(&outcome.rescued, output)?;
    for gap in &outcome.gaps {
        let word = output.paint("gap", Tone::Warning);
        output.text(&format!("{word}  {} {}: {}; no location has it", gap.location, gap.object, gap.what))?;
    }
    for gone in &outcome.given_up {
        let word = output.paint("given up", Tone::Warning);
        output.text(&format!("{word}  {}: {}", gone.location, gone.object))?;
    }
    let (can, lost) = (outcome.plan.replace.len(), outcome.still_lost().count());
    let left = outcome.plan.lost.len() + outcome.still_bad.len();
    if can + left == 0 && outcome.gaps.is_empty() && outcome.left_out.is_empty() {
        return output.text("every byte that was read is what was written: nothing to repair");
    }
    if arguments.dry_run {
        return output.text(&format!("{} can be put back, {lost} whole in no location", human::count(can, "object")));
    }
    output.hint("`lifeboat verify --data` looks again, and notes with the points what it finds");
    let put_back = human::count(outcome.put_back.len(), "object");
    output.text(&format!("{put_back} put back, {lost} whole in no location"))
}

/// What became of damaged packs.
fn tell_rescued(rescued: &Rescued, output: &Output) -> Result<(), Failure> {
    for gone in &rescued.dropped {
        let word = output.paint("dropped", Tone::Good);
        output.text(&format!("{word}  {} {}: no point needs what is lost of it", gone.location, gone.object))?;
    }
    if rescued.chunks + rescued.chunks_lost > 0 {
        let (chunks, size, lost) = (rescued.chunks, human::size(rescued.bytes), rescued.chunks_lost);
        output.text(&format!("{chunks} chunks of damaged packs ({size}) stored anew, {lost} are whole nowhere"))?;
    }
    Ok(())
}

/// How it ends: what could not be done weighs most, then what is lost.
fn verdict(outcome: &Outcome, arguments: &RepairArguments) -> Result<(), Failure> {
    if !outcome.failures.is_empty() {
        let message = format!("not everything could be put back: {}", outcome.failures.join("; "));
        return Err(Failure::new(FailureKind::Unavailable, message)
            .with_hint("run it again when the locations answer and have room")
            .after_its_document());
    }
    let left: Vec<&Damage> = outcome.still_lost().collect();
    let again = "the next `lifeboat backup` stores anew what the cluster still has";
    let hint = match left.iter().all(|lost| lost.object.starts_with("packs/")) {
        _ if left.is_empty() => None,
        true if arguments.dry_run => Some(format!("`lifeboat repair` stores anew what can be read of it; {again}")),
        true => Some(format!(
            "{again}: then run this again; `lifeboat verify --data` and `lifeboat points` tell which points need what is lost"
        )),
        false if arguments.dry_run => Some(format!("put back what can be first: `lifeboat repair`; {again}")),
        false => Some(format!("`lifeboat repair --give-up` deletes damaged points and files of the log; {again}")),
    };
    if let Some(hint) = hint {
        let message = format!("no location has {} whole", human::count(left.len(), "object"));
        return Err(Failure::new(FailureKind::CheckFailed, message).with_hint(hint).after_its_document());
    }
    if outcome.gaps_open > 0 && outcome.left_out.is_empty() {
        let message = format!("{} in the log that no location can fill", human::count(outcome.gaps_open, "gap"));
        let hint = "`lifeboat backup` makes a point behind it, from which every moment can be reached again; `lifeboat points` shows \
                    what can be reached before it";
        return Err(Failure::new(FailureKind::CheckFailed, message).with_hint(hint).after_its_document());
    }
    if !outcome.still_bad.is_empty() && outcome.left_out.is_empty() {
        let bad = human::count(outcome.still_bad.len(), "object");
        return Err(Failure::new(FailureKind::CheckFailed, format!("{bad} still bad"))
            .with_hint(format!("run it again when nothing else writes or prunes; {again}"))
            .after_its_document());
    }
    let Some((name, reason)) = outcome.left_out.first() else { return Ok(()) };
    let hint = match reason.contains("lifeboat.json") {
        true => "move that file away if it is there, and `lifeboat init` writes it again; then run this again",
        false => "bring it back and run this again",
    };
    Err(Failure::new(FailureKind::Unavailable, format!("location {name} was left alone: {reason}"))
        .with_hint(hint)
        .after_its_document())
}
