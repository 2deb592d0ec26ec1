//! `lifeboat ready`: if it burned now, would the promise be kept? Measured at this moment, check by check.
//!
//! What is thought of the figures is `plan`'s; here they are gathered, remembered and told.

mod archiving;
mod cluster;
mod followers;
mod machine;
mod observe;
mod papers;
mod people;
mod places;
mod server;
pub mod stamp;
mod tell;

use super::{find_named, load_config};
use crate::cli::{Global, GroupName, ReadyArguments};
use crate::config::{Config, UnknownKeys, nearest};
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::{evidence, rooms};
use lifeboat_plan::readiness::{self as plan, Answer, Check, Group, Memory, Overall};
use std::path::PathBuf;
use std::time::Instant;

/// Since when each answer is what it is: in the directory of caches.
const MEMORY: &str = "ready.json";
/// More than thousands of answers need.
const MEMORY_BYTES_MAX: u64 = 16 << 20;

/// Everything that is told.
pub struct Report {
    pub observed: plan::Observed,
    pub answers: Vec<Answer>,
    pub overall: Overall,
    pub seconds: f64,
}

pub fn run(global: &Global, arguments: &ReadyArguments, output: &Output) -> Result<(), Failure> {
    let (path, config) = load_config(global, UnknownKeys::Refuse, output)?;
    for name in &arguments.workloads {
        find_named("workload", name, &config.workloads)?;
    }
    let explained = arguments.explain.as_deref().map(named).transpose()?;
    let runtime = rooms::runtime()?;
    let outcome = runtime.block_on(async {
        let begun = Instant::now();
        let observed = observe::observe(global, (&path, &config), arguments, output).await;
        let answers = plan::assess(&observed, &groups(&arguments.only));
        let mut report =
            Report { overall: plan::overall(&answers), observed, answers, seconds: begun.elapsed().as_secs_f64() };
        remember(&config, &mut report, output);
        if let Some(check) = explained {
            report.answers.retain(|answer| answer.id == check.id);
            report.overall = plan::overall(&report.answers);
        }
        if arguments.keep {
            evidence::keep(&config, "ready", report.document(), output).await?;
        }
        report.show(explained, output)?;
        report.verdict()
    });
    // A mount that hangs would be waited for, after its time was over.
    runtime.shutdown_background();
    outcome
}

fn groups(named: &[GroupName]) -> Vec<Group> {
    let group = |name: &GroupName| match name {
        GroupName::Postgres => Group::Postgres,
        GroupName::Repository => Group::Repository,
        GroupName::Location => Group::Location,
        GroupName::Failover => Group::Failover,
        GroupName::Governance => Group::Governance,
    };
    named.iter().map(group).collect()
}

fn named(id: &str) -> Result<&'static Check, Failure> {
    plan::check(id).ok_or_else(|| {
        let known = plan::CHECKS.iter().map(|check| check.id);
        let failure = Failure::new(FailureKind::Usage, format!("there is no check {id}"));
        match nearest(id, known) {
            Some(near) => failure.with_hint(format!("did you mean {near}?")),
            None => failure.with_hint("`lifeboat ready` lists all of them"),
        }
    })
}

impl Report {
    /// Ready, or why not, for the exit code.
    fn verdict(&self) -> Result<(), Failure> {
        if self.overall.is_ready {
            return Ok(());
        }
        let Overall { not_ready, unknown, ready, .. } = self.overall;
        let message = match ready + not_ready + unknown {
            0 => "nothing was asked, so nothing is known".to_owned(),
            _ => format!("not ready: {not_ready} checks said no, {unknown} could not be answered"),
        };
        Err(Failure::new(FailureKind::CheckFailed, message).after_its_document())
    }
}

fn memory_file(config: &Config) -> Option<PathBuf> {
    Some(rooms::state_dir(config).ok()?.join(MEMORY))
}

/// A cache: what can't be read or written costs a date, and nothing else.
fn remember(config: &Config, report: &mut Report, output: &Output) {
    let Some(path) = memory_file(config) else { return };
    let is_small = path.metadata().is_ok_and(|metadata| metadata.len() <= MEMORY_BYTES_MAX);
    let text = is_small.then(|| std::fs::read(&path).ok()).flatten();
    let mut memory: Memory = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    memory.note(&mut report.answers, report.observed.at);
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let beside = path.with_extension(format!("{}.new", std::process::id()));
        std::fs::write(&beside, serde_json::to_vec(&memory)?)?;
        std::fs::rename(&beside, &path)
    });
    if let Err(error) = written {
        output.hint(&format!("since when is not remembered: {}: {error}", path.display()));
    }
}
