//! Whether a plan holds together: with itself, with what is protected, and with the calendar.
//!
//! Promise: every finding names the place that it is about, says what contradicts what, and what would mend it. The same values give the
//! same findings, in the same order.
//! Not here: whether it works. That is measured (`ready`, drills), not read from a plan.

mod coverage;
mod drills;
mod objectives;
mod people;
mod processes;
mod references;
mod risks;
mod strategies;

use crate::copies::Judgement;
use crate::model::{Disruption, Plan};
use jiff::civil::Date;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the configuration knows besides the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The day for which it is asked.
    pub today: Date,
    /// What is protected, by name.
    pub workloads: BTreeMap<String, Protected>,
    /// Names of clusters.
    pub clusters: BTreeSet<String>,
    /// Names of scenarios, built in or of the configuration. None: they can't be known here, and aren't looked at.
    pub scenarios: Option<BTreeSet<String>>,
}

/// How a workload is protected, as far as the configuration says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Protected {
    /// How old the newest copy may get. None: nothing was said.
    pub backup_within: Option<Duration>,
    /// How often the log's unfinished end is sent: the least that can be lost without waiting at each commit.
    pub log_interval: Duration,
    /// How far the standby may be behind that copies and log come from.
    pub lag_max: Option<Duration>,
    /// What an acknowledged commit survives, because it waits until somebody else has it.
    pub commits_survive: BTreeSet<Disruption>,
    /// A copy of the server runs elsewhere, fed all the time.
    pub has_standby: bool,
    /// Agents watch it and make another member the primary.
    pub has_cluster: bool,
    /// Whether something tells that it is healthy after a recovery.
    pub has_check: bool,
    /// The 3-2-1 rule, by what the configuration says of its locations. None: not judged.
    pub copies: Option<Judgement>,
}

impl Protected {
    /// The least that copies and log lose: what can be reached after the last moment that was sent.
    pub fn loss_min(&self) -> Duration {
        self.log_interval.saturating_add(self.lag_max.unwrap_or_default())
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The plan contradicts itself or what is there: it can't be kept.
    Problem,
    /// It may be kept; something is missing or close.
    Warning,
}

/// Something that doesn't hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about: `process.checkout.tier`. Where that stands, the configuration knows.
    pub path: String,
    /// How bad it is.
    pub severity: Severity,
    /// Which rule: for scripts, and for ever.
    pub code: &'static str,
    /// One sentence: what contradicts what.
    pub what: String,
    /// What would mend it.
    pub hint: String,
}

/// Everything that doesn't hold.
pub fn check(plan: &Plan, context: &Context) -> Vec<Finding> {
    let mut look = Look { plan, context, findings: Vec::new() };
    if plan.processes.is_empty() && plan.tiers.is_empty() && plan.groups.is_empty() {
        look.problem(
            "plan",
            "no-plan",
            "there is no plan: no process, no tier and no group",
            "begin with what the business does: [process.NAME], and what it is promised: [tier.NAME]; docs/plan.md has an example",
        );
        return look.findings;
    }
    look.references();
    look.processes();
    look.objectives();
    look.strategies();
    look.coverage();
    look.people();
    look.risks();
    look.drills();
    look.findings
        .sort_by(|one, other| (&one.path, one.severity, one.code).cmp(&(&other.path, other.severity, other.code)));
    look.findings
}

/// What is looked at, and what was found so far.
struct Look<'l> {
    plan: &'l Plan,
    context: &'l Context,
    findings: Vec<Finding>,
}

impl Look<'_> {
    fn problem(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.find(Severity::Problem, path, code, what, hint);
    }

    fn warning(
        &mut self,
        path: impl Into<String>,
        code: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.find(Severity::Warning, path, code, what, hint);
    }

    fn find(
        &mut self,
        severity: Severity,
        path: impl Into<String>,
        code: &'static str,
        what: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.findings.push(Finding { path: path.into(), severity, code, what: what.into(), hint: hint.into() });
    }
}

/// As the configuration writes it, in the largest unit that fits.
fn spoken(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
    let fits = |(size, _): &(u128, &str)| milliseconds >= *size && milliseconds.is_multiple_of(*size);
    units
        .into_iter()
        .find(fits)
        .map_or_else(|| "0s".to_owned(), |(size, unit)| format!("{}{unit}", milliseconds / size))
}

/// A list for a sentence: `a, b and c`.
fn listed<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.join(""),
    }
}

#[cfg(test)]
mod tests;
