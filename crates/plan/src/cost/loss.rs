//! Expected annual loss: what one disruption costs, times how often it comes. `SLE = C_down(RTA) + C_data(RPA) + C_fix`, `ALE = Σ ARO · SLE`.

use super::{Amount, Recovery, data_loss_cost, downtime_cost, recovery_cost};
use crate::model::{Disruption, Likelihood, Plan, Process, Risk};
use std::collections::BTreeSet;
use std::ops::AddAssign;

/// An estimate: the least, the likely, the most.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Range {
    /// At the lowest likelihood.
    pub low: Amount,
    /// At the expected one.
    pub expected: Amount,
    /// At the highest.
    pub high: Amount,
}

impl Range {
    /// So often a year.
    pub fn of(single: &Amount, per_year: Likelihood) -> Self {
        let times = |factor: f64| single.clone().times(factor);
        Self { low: times(per_year.low), expected: times(per_year.expected), high: times(per_year.high) }
    }

    /// Each of the three changed alike.
    #[must_use]
    pub fn map(&self, change: impl Fn(&Amount) -> Amount) -> Self {
        Self { low: change(&self.low), expected: change(&self.expected), high: change(&self.high) }
    }
}

impl AddAssign for Range {
    fn add_assign(&mut self, other: Self) {
        self.low += other.low;
        self.expected += other.expected;
        self.high += other.high;
    }
}

/// What one risk costs with one strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioLoss {
    /// The risk's name.
    pub risk: String,
    /// Its kind.
    pub disruption: Disruption,
    /// How often.
    pub per_year: Likelihood,
    /// How long, and how much is lost; the worst of the groups that are concerned.
    pub recovery: Recovery,
    /// Once.
    pub single: Amount,
    /// A year.
    pub annual: Range,
}

/// The processes that stop: those of the risk (all when it names none), and whatever depends on them.
pub fn affected<'p>(plan: &'p Plan, risk: &Risk) -> BTreeSet<&'p str> {
    let named = |name: &str| risk.processes.is_empty() || risk.processes.contains(name);
    let mut found: BTreeSet<&str> = plan.processes.keys().map(String::as_str).filter(|name| named(name)).collect();
    loop {
        let depends = |process: &Process| process.depends_on.iter().any(|other| found.contains(other.as_str()));
        let more = plan.processes.iter().find(|(name, process)| !found.contains(name.as_str()) && depends(process));
        match more {
            Some((name, _)) => found.insert(name),
            None => return found,
        };
    }
}

/// What it costs one process once. What isn't known of the recovery is missing.
pub fn single_loss(name: &str, process: &Process, disruption: Disruption, recovery: &Recovery) -> Amount {
    let word = super::choice::disruption_word(disruption);
    let down = recovery.rta.time.map_or_else(
        || Amount::missing(format!("how long recovery takes ({word})")),
        |time| downtime_cost(name, process, time),
    );
    let data = recovery.rpa.time.map_or_else(
        || Amount::missing(format!("how much data is lost ({word})")),
        |time| data_loss_cost(name, process, time),
    );
    down + data + recovery_cost(name, process)
}
