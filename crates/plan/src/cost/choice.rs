//! The cheapest strategy that keeps every promise; and of the others, which promise they break.

use super::{Figure, Recovery, StrategyRow};
use crate::model::{Disruption, Strategy};
use std::time::Duration;

/// A kind of disruption as the files have it.
pub fn disruption_word(disruption: Disruption) -> &'static str {
    match disruption {
        Disruption::Corruption => "corruption",
        Disruption::Ransomware => "ransomware",
        Disruption::Instance => "instance",
        Disruption::Site => "site",
        Disruption::Network => "network",
        Disruption::Dependency => "dependency",
    }
}

/// Why a strategy won't do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Objection {
    /// It takes longer, or loses more, than was promised.
    Over {
        /// When this happens.
        disruption: Disruption,
        /// `RTO`, `RPO`, or the maximum tolerable downtime of a process.
        promise: String,
        /// What was promised.
        most: Duration,
        /// What it is like; a time that isn't known keeps no promise.
        figure: Figure,
    },
    /// No location can give the data back so soon.
    Slow {
        /// When this happens.
        disruption: Disruption,
        /// What was promised.
        rto: Duration,
        /// The fastest location, and the least that it needs.
        location: String,
        /// See there.
        floor: Duration,
    },
}

/// What is recommended for a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// The cheapest that keeps every promise, of those whose cost is known.
    pub cheapest: Option<Strategy>,
    /// Strategies that keep every promise and of which it isn't known whether they are cheaper.
    pub untold: Vec<Strategy>,
    /// Whether something is missing in its expected loss.
    pub is_least: bool,
}

/// What a recovery breaks.
pub(super) fn broken(
    disruption: Disruption,
    recovery: &Recovery,
    promises: &[(String, Duration, bool)],
) -> Vec<Objection> {
    let over = promises.iter().filter_map(|(promise, most, is_time)| {
        let figure = if *is_time { &recovery.rta } else { &recovery.rpa };
        let holds = figure.time.is_some_and(|time| time <= *most);
        let (promise, figure) = (promise.clone(), figure.clone());
        (!holds).then_some(Objection::Over { disruption, promise, most: *most, figure })
    });
    over.collect()
}

/// Chooses among the rows of a group, by cost of protection and expected loss together. Storage costs the same with all of them, so that it
/// needn't be known.
pub(super) fn choose(rows: &[StrategyRow]) -> Choice {
    let fitting = || rows.iter().filter(|row| row.objections.is_empty());
    let cheapest = fitting().filter(|row| row.own.is_whole()).min_by_key(|row| row.total.expected.known);
    let may_be_cheaper = |row: &&StrategyRow| {
        let bound = cheapest.map(|cheapest| cheapest.total.expected.known);
        !row.own.is_whole() && bound.is_none_or(|bound| row.total.expected.known < bound)
    };
    Choice {
        cheapest: cheapest.map(|row| row.strategy),
        untold: fitting().filter(may_be_cheaper).map(|row| row.strategy).collect(),
        is_least: cheapest.is_some_and(|row| !row.loss.expected.is_whole()),
    }
}
