//! `lifeboat copy`: complete one location from another.

use super::{find_named, load_config};
use crate::cli::{CopyArguments, Global};
use crate::config::UnknownKeys;
use crate::failure::{Failure, FailureKind};
use crate::output::{Output, human, progress};
use crate::{interrupt, rooms};
use lifeboat_repository::Progress;
use serde_json::json;

pub fn run(global: &Global, arguments: &CopyArguments, output: &Output) -> Result<(), Failure> {
    let (_, config) = load_config(global, UnknownKeys::RefuseButInPlan, output)?;
    for name in [&arguments.from, &arguments.to] {
        find_named("location", name, &config.locations)?;
    }
    if arguments.from == arguments.to {
        return Err(Failure::new(FailureKind::Usage, "--from and --to name the same location")
            .with_hint("name two different locations"));
    }
    let names = [arguments.from.clone(), arguments.to.clone()];
    let report = rooms::runtime()?.block_on(async {
        let _ = interrupt::ends(output, "run it again: it goes on where it stopped", || {});
        let repository = rooms::open_repository(&config, &names, output).await?;
        if let Some((name, reason)) = repository.unavailable().first() {
            return Err(Failure::new(FailureKind::Unavailable, format!("location {name} can't be used: {reason}"))
                .with_hint("bring it back; a location that is new gets its repository by `lifeboat init` first"));
        }
        let plan = repository.plan_copy(&arguments.from, &arguments.to).await?;
        let progress = progress::for_rooms(output, "copy");
        progress.phase("copy", Some(plan.objects.iter().map(|(_, size)| size).sum()));
        let watcher = progress.clone();
        let report = repository.apply_copy(&plan, &move |bytes| watcher.advance(bytes)).await;
        progress.finish();
        report.map_err(Failure::from)
    })?;
    if let Some(reason) = &report.failure {
        let message = format!("copy to {} stopped after {} objects: {reason}", report.to, report.objects);
        return Err(
            Failure::new(FailureKind::Unavailable, message).with_hint("run it again: it goes on where it stopped")
        );
    }
    if output.is_json() {
        return output.document(
            &json!({ "from": arguments.from, "to": report.to, "objects": report.objects, "bytes": report.bytes }),
        );
    }
    output.text(&format!(
        "{}: {} objects, {} copied from {}",
        report.to,
        report.objects,
        human::size(report.bytes),
        arguments.from
    ))
}
