//! How long recovery takes and how much it loses, for a group, a disruption and a strategy; and how that is known.
//!
//! In this order: measured in a drill; said in the file of assumptions; promised by the tier, for the strategy that it names; the study's
//! usual values. A copy that follows repeats what is wrong at once: against corruption and ransomware a standby is no faster than a restore.

use super::Assumptions;
use crate::model::{Disruption, Plan, Strategy, Tier};
use crate::run::{Measured, Run, Verdict};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::time::Duration;

/// How a figure is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In a drill, of that day.
    Measured {
        /// The day, in UTC.
        on: Date,
        /// The run's id.
        run: String,
        /// Whether it passed. One that failed measured, too.
        passed: bool,
    },
    /// In the file of assumptions.
    Given,
    /// It is what this tier promises.
    Promised(String),
    /// The usual value of the study.
    Usual,
    /// Nobody knows.
    Unknown,
}

/// A time, and how it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    /// None: not known.
    pub time: Option<Duration>,
    /// How.
    pub source: Source,
}

impl Figure {
    fn unknown() -> Self {
        Self { time: None, source: Source::Unknown }
    }

    /// The worse of two; what isn't known is worst.
    fn worse(self, other: Self) -> Self {
        let is_worse = other.time.is_none() || self.time.is_some() && other.time > self.time;
        if is_worse { other } else { self }
    }
}

/// What a recovery is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Recovery time actual: from the fault until it works again.
    pub rta: Figure,
    /// Recovery point actual: how much is lost.
    pub rpa: Figure,
}

impl Recovery {
    /// The worse of both, each for itself.
    #[must_use]
    pub fn worse(self, other: Self) -> Self {
        Self { rta: self.rta.worse(other.rta), rpa: self.rpa.worse(other.rpa) }
    }

    /// Nothing is known.
    pub fn unknown() -> Self {
        Self { rta: Figure::unknown(), rpa: Figure::unknown() }
    }
}

/// Whether every copy that follows has the damage, too, so that only a restore helps.
pub fn copies_damage(disruption: Disruption) -> bool {
    matches!(disruption, Disruption::Corruption | Disruption::Ransomware)
}

/// The strategy that does the work when this happens.
fn working(strategy: Strategy, disruption: Disruption) -> Strategy {
    if copies_damage(disruption) { strategy.min(Strategy::PointInTime) } else { strategy }
}

/// RTA and RPA that are usual, from the wording of AWS (REL13-BP02) as the study has it: "hours, up to 24", "5 minutes with point in
/// time", "tens of minutes", "minutes", "near nought"; the upper end where a span is told. Hot standby lies between its neighbours.
/// None: no strategy is known to help.
fn usual(strategy: Strategy, disruption: Disruption) -> Option<(Duration, Duration)> {
    if disruption == Disruption::Dependency {
        return None;
    }
    let (rta_seconds, rpa_seconds) = match working(strategy, disruption) {
        Strategy::BackupRestore => (24 * 3600, 24 * 3600),
        Strategy::PointInTime => (24 * 3600, 300),
        Strategy::PilotLight => (3600, 300),
        Strategy::WarmStandby => (600, 60),
        Strategy::HotStandby => (120, 10),
        Strategy::ActiveActive => (60, 1),
    };
    Some((Duration::from_secs(rta_seconds), Duration::from_secs(rpa_seconds)))
}

/// Everything that tells how long recovery takes.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Groups and tiers.
    pub plan: &'a Plan,
    /// What was said.
    pub assumptions: &'a Assumptions,
    /// What was rehearsed.
    pub runs: &'a [Run],
}

impl Evidence<'_> {
    /// For a group; none: for whatever is in no group. `floor`: no restore is faster, as far as that is known.
    pub fn recovery(
        &self,
        group: Option<&str>,
        disruption: Disruption,
        strategy: Strategy,
        floor: Option<Duration>,
    ) -> Recovery {
        let tier = group.and_then(|group| self.plan.tier_of_group(group));
        let own = tier.and_then(|(_, tier)| tier.strategy).unwrap_or(Strategy::PointInTime);
        let meant = working(strategy, disruption);
        let helps_none = disruption == Disruption::Dependency;
        let is_own = helps_none || working(own, disruption) == meant;
        let measured = group.filter(|_| is_own).map(|group| self.measured(group, disruption));
        let given = self.assumptions.of(group, meant).and_then(|said| said.expected.get(&disruption));
        let promised = tier.filter(|(_, tier)| is_own && speaks_for(tier, disruption, own));
        let usual = usual(strategy, disruption);
        let at_least = |time: Duration| match floor {
            Some(floor) if meant <= Strategy::PointInTime => time.max(floor),
            _ => time,
        };
        let choose =
            |measured: Option<Figure>, given: Option<Duration>, promised: Option<Duration>, usual: Option<Duration>| {
                let told = |time, source| Figure { time: Some(time), source };
                measured
                    .or_else(|| given.map(|time| told(time, Source::Given)))
                    .or_else(|| promised.map(|time| told(time, Source::Promised(tier_name(tier)))))
                    .or_else(|| usual.map(|time| told(time, Source::Usual)))
                    .unwrap_or_else(Figure::unknown)
            };
        let (rta, rpa) = measured.unwrap_or_default();
        let objective = promised.map(|(_, tier)| tier.objective(Some(disruption)));
        Recovery {
            rta: choose(
                rta,
                given.and_then(|given| given.rta),
                objective.map(|objective| objective.rto),
                usual.map(|(rta, _)| at_least(rta)),
            ),
            rpa: choose(
                rpa,
                given.and_then(|given| given.rpa),
                objective.map(|objective| objective.rpo),
                usual.map(|(_, rpa)| rpa),
            ),
        }
    }

    /// Of the newest run with the whole group; else the worst of the newest ones of each of its workloads, when each has one.
    fn measured(&self, group: &str, disruption: Disruption) -> (Option<Figure>, Option<Figure>) {
        let Some(members) = self.plan.groups.get(group).map(|group| &group.workloads) else { return (None, None) };
        let figure = |of: fn(&Measured) -> Option<f64>| {
            let newest = |fits: &dyn Fn(&Run) -> bool| {
                let fitting =
                    self.runs.iter().filter(|run| run.disruption == Some(disruption) && counts(run) && fits(run));
                fitting.filter_map(|run| Some((run, seconds(of(&run.measured)?)?))).max_by_key(|(run, _)| run.ended_at)
            };
            let whole = newest(&|run| run.group.as_deref() == Some(group));
            let found = whole.or_else(|| {
                let each = members.iter().map(|name| newest(&|run| run.workloads.contains(name)));
                each.collect::<Option<Vec<_>>>()?.into_iter().max_by_key(|(_, time)| *time)
            });
            found.map(|(run, time)| Figure {
                time: Some(time),
                source: Source::Measured {
                    on: run.ended_at.to_zoned(TimeZone::UTC).date(),
                    run: run.id.clone(),
                    passed: run.verdict == Verdict::Passed,
                },
            })
        };
        (figure(|measured| measured.fault_to_healthy_seconds), figure(|measured| measured.loss_seconds))
    }
}

fn tier_name(tier: Option<(&str, &Tier)>) -> String {
    tier.map(|(name, _)| name.to_owned()).unwrap_or_default()
}

/// Whether the tier's promise can stand for what its strategy does. That of a standby says nothing about a restore, unless it was made
/// for this disruption.
fn speaks_for(tier: &Tier, disruption: Disruption, own: Strategy) -> bool {
    tier.strategy.is_some() && (working(own, disruption) == own || tier.by_disruption.contains_key(&disruption))
}

/// Whether a run came far enough that its figures mean something.
fn counts(run: &Run) -> bool {
    !matches!(run.verdict, Verdict::Aborted | Verdict::Refused)
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}
