//! What can't be measured and somebody has to say: prices of strategies, and what is expected of those that were never rehearsed.

use super::input::{count, price, time};
use super::{Amount, Capital, Subscription, Use};
use crate::model::{Disruption, Group, Strategy};
use crate::money::Money;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A file to begin with: everything in it is a comment.
pub const SHIPPED_ASSUMPTIONS: &str = include_str!("assumptions.toml");

/// See the module. Everything absent is "not given".
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Assumptions {
    /// By how much money of a year later counts less, in percent.
    #[serde(deserialize_with = "count")]
    pub discount_rate_percent_per_year: Option<f64>,
    /// For an hour of people's work.
    #[serde(deserialize_with = "price")]
    pub staff_cost_per_hour: Option<Money>,
    /// How fast a restore comes at the most, in 1,000,000 bytes a second.
    #[serde(deserialize_with = "count")]
    pub restore_megabytes_per_second: Option<f64>,
    /// For every group.
    pub strategy: BTreeMap<Strategy, StrategyAssumptions>,
    /// For one group.
    pub group: BTreeMap<String, GroupAssumptions>,
}

/// What is different for one group.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupAssumptions {
    /// Each takes the place of the general one, as a whole.
    pub strategy: BTreeMap<Strategy, StrategyAssumptions>,
}

/// What a strategy costs for one group, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StrategyAssumptions {
    /// Bought.
    pub capital: Capital,
    /// Subscribed to.
    pub subscription: Subscription,
    /// Paid for what is used.
    #[serde(rename = "use")]
    pub usage: Use,
    /// Where no drill measured it.
    pub expected: BTreeMap<Disruption, Expected>,
}

/// What is expected of a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// From the fault until it works again.
    #[serde(deserialize_with = "time")]
    pub rta: Option<Duration>,
    /// How much is lost.
    #[serde(deserialize_with = "time")]
    pub rpa: Option<Duration>,
}

impl Assumptions {
    /// What is said about a strategy of a group.
    pub fn of(&self, group: Option<&str>, strategy: Strategy) -> Option<&StrategyAssumptions> {
        let own = group.and_then(|name| self.group.get(name)).and_then(|group| group.strategy.get(&strategy));
        own.or_else(|| self.strategy.get(&strategy))
    }

    /// By how much less money counts after a year, as a fraction.
    pub fn discount_rate(&self) -> f64 {
        self.discount_rate_percent_per_year.unwrap_or(0.0) / 100.0
    }
}

impl StrategyAssumptions {
    /// Running costs of a year, without copies in locations. Counts that nobody said are those of the group.
    pub fn cost_per_year(&self, group: Option<&Group>, staff_cost_per_hour: Option<Money>, whose: &str) -> Amount {
        let mut subscription = self.subscription;
        if let Some(group) = group {
            let workloads = group.workloads.len() as u64;
            subscription.systems.get_or_insert(workloads);
            subscription.data_sets.get_or_insert(workloads);
            subscription.procedures.get_or_insert(group.vendor_steps.len() as u64);
        }
        subscription.cost_per_year(whose)
            + self.usage.cost_per_year(whose)
            + self.capital.cost_per_year(staff_cost_per_hour, whose)
    }
}
