//! Packs that are mostly dead are written again, so that what is dead in them can go.

use super::look::Judged;
use crate::cli::PruneArguments;
use crate::config::{Config, parse_size};
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, progress};
use lifeboat_repository::{MarkedPoint, Progress, RepackPlan, RepackReport, Repository};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Slower than this is a slip of the finger.
const RATE_MIN: u64 = 100_000;

/// What was rewritten, or would be.
#[derive(Debug, Default)]
pub struct Repacked {
    pub plan: RepackPlan,
    pub report: RepackReport,
}

/// The options, checked before anything is touched.
pub fn rate(arguments: &PruneArguments) -> Result<Option<u64>, Failure> {
    let Some(text) = &arguments.max_rate else { return Ok(None) };
    let rate = parse_size(text.strip_suffix("/s").unwrap_or(text)).filter(|rate| *rate >= RATE_MIN);
    rate.map(Some).ok_or_else(|| {
        Failure::new(FailureKind::Usage, format!("--max-rate {text:?} is no rate"))
            .with_hint("write a size per second of at least 100kB, such as --max-rate 50MB")
    })
}

/// `judged`: the points of all locations. What no location keeps counts as dead.
pub async fn rewrite(
    config: &Config,
    repository: &Arc<Repository>,
    judged: &[&Judged],
    arguments: &PruneArguments,
    output: &Output,
) -> Result<Repacked, Failure> {
    let rate = rate(arguments)?;
    // What a location holds that is away can't be known: whether it is needed there neither.
    if arguments.repack_below == 0 || !repository.unavailable().is_empty() {
        return Ok(Repacked::default());
    }
    let name =
        |judged: &&&Judged| MarkedPoint { workload: judged.point.workload.clone(), point: judged.point.id.clone() };
    let kept: BTreeSet<MarkedPoint> =
        judged.iter().filter(|judged| judged.verdict.is_kept()).map(|judged| name(&judged)).collect();
    let all: BTreeSet<MarkedPoint> = judged.iter().map(|judged| name(&judged)).collect();
    let stays = |marked: &MarkedPoint| kept.contains(marked) || !all.contains(marked);
    let plan = match repository.plan_repack(stays, arguments.repack_below.into(), config.prune_after).await {
        Ok(plan) => plan,
        // Rewriting needs every location; giving up doesn't, and tells by itself which one is in trouble.
        Err(error) => {
            output.warn(&format!("no pack is rewritten this time: {}", Failure::from(error).sentence()));
            return Ok(Repacked::default());
        }
    };
    if arguments.dry_run || plan.packs() == 0 {
        return Ok(Repacked { plan, report: RepackReport::default() });
    }
    let progress = progress::for_rooms(output, "prune");
    progress.phase("rewrite packs", Some(plan.live_bytes));
    let watcher = progress.clone();
    let report = repository.repack(&plan, rate, &move |bytes| watcher.advance(bytes)).await;
    progress.finish();
    let report = report?;
    for left in &report.left {
        output.warn(&format!("left as it is, for `lifeboat verify --data` to look at: {left}"));
    }
    Ok(Repacked { plan, report })
}
