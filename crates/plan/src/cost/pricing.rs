//! How protection is paid for: a subscription, by use, or bought. A model of which no price is given isn't free, it is unknown.
//!
//! A price whose quantity nobody said is missing too; 0 says that there is none.

use super::Amount;
use super::input::{count, price};
use crate::money::Money;
use serde::Deserialize;

/// Paid every year, whatever happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Subscription {
    /// The flat part.
    #[serde(deserialize_with = "price")]
    pub per_year: Option<Money>,
    /// For each protected system, a year.
    #[serde(deserialize_with = "price")]
    pub per_system_per_year: Option<Money>,
    /// For each protected data set, a year.
    #[serde(deserialize_with = "price")]
    pub per_data_set_per_year: Option<Money>,
    /// For each procedure, such as a runbook or a drill, a year.
    #[serde(deserialize_with = "price")]
    pub per_procedure_per_year: Option<Money>,
    /// How many systems. None: as many as the group has workloads.
    pub systems: Option<u64>,
    /// How many data sets. None: as many as the group has workloads.
    pub data_sets: Option<u64>,
    /// How many procedures. None: as many as the group has vendor steps.
    pub procedures: Option<u64>,
}

impl Subscription {
    /// For one year. `whose` is for what is missing.
    pub fn cost_per_year(&self, whose: &str) -> Amount {
        let parts = [
            ("systems", self.per_system_per_year, self.systems),
            ("data_sets", self.per_data_set_per_year, self.data_sets),
            ("procedures", self.per_procedure_per_year, self.procedures),
        ];
        if self.per_year.is_none() && parts.iter().all(|(_, price, _)| price.is_none()) {
            return Amount::missing(format!("subscription of {whose}"));
        }
        let counted = parts.into_iter().filter_map(|(what, price, count)| {
            let money = count.map(|count| price.map(|price| price.times_whole(count)));
            price.map(|_| Amount::of(money.flatten(), format!("number of {what} in the subscription of {whose}")))
        });
        counted.sum::<Amount>() + Amount::known(self.per_year.unwrap_or_default())
    }
}

/// Paid for what is used.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Use {
    /// For an hour in which it runs, standby machines for example.
    #[serde(deserialize_with = "price")]
    pub per_hour: Option<Money>,
    /// Hours in a year; all of them are 8,760.
    #[serde(deserialize_with = "count")]
    pub hours_per_year: Option<f64>,
    /// For a gigabyte (1,000,000,000 bytes) that is kept for a month, besides the locations of the configuration.
    #[serde(deserialize_with = "price")]
    pub per_gigabyte_month: Option<Money>,
    /// Gigabytes that are kept.
    #[serde(deserialize_with = "count")]
    pub gigabytes: Option<f64>,
    /// For a thousand requests.
    #[serde(deserialize_with = "price")]
    pub per_thousand_requests: Option<Money>,
    /// Requests in a year.
    #[serde(deserialize_with = "count")]
    pub requests_per_year: Option<f64>,
    /// For a gigabyte that leaves.
    #[serde(deserialize_with = "price")]
    pub egress_per_gigabyte: Option<Money>,
    /// Gigabytes that leave in a year: replication between regions, drills.
    #[serde(deserialize_with = "count")]
    pub egress_gigabytes_per_year: Option<f64>,
    /// For an hour of the machines of a drill.
    #[serde(deserialize_with = "price")]
    pub drill_compute_per_hour: Option<Money>,
    /// Such hours in a year.
    #[serde(deserialize_with = "count")]
    pub drill_compute_hours_per_year: Option<f64>,
}

impl Use {
    /// For one year. `whose` is for what is missing.
    pub fn cost_per_year(&self, whose: &str) -> Amount {
        let parts = [
            ("hours_per_year", self.per_hour, self.hours_per_year),
            ("gigabytes", self.per_gigabyte_month, self.gigabytes.map(|gigabytes| gigabytes * 12.0)),
            ("requests_per_year", self.per_thousand_requests, self.requests_per_year.map(|count| count / 1000.0)),
            ("egress_gigabytes_per_year", self.egress_per_gigabyte, self.egress_gigabytes_per_year),
            ("drill_compute_hours_per_year", self.drill_compute_per_hour, self.drill_compute_hours_per_year),
        ];
        if parts.iter().all(|(_, price, _)| price.is_none()) {
            return Amount::missing(format!("use of {whose}"));
        }
        let priced = parts.into_iter().filter_map(|(what, price, quantity)| Some((what, price?, quantity)));
        let cost = |(what, price, quantity): (&str, Money, Option<f64>)| {
            if price == Money::ZERO {
                return Amount::ZERO;
            }
            Amount::of(quantity.map(|quantity| price.times(quantity)), format!("{what} in the use of {whose}"))
        };
        priced.map(cost).sum()
    }
}

/// Bought once, and kept running.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capital {
    /// What is paid at the beginning.
    #[serde(deserialize_with = "price")]
    pub purchase: Option<Money>,
    /// After so many years it is worth nothing, and is bought again. None: it outlasts the period.
    pub depreciation_years: Option<u32>,
    /// What running it costs a year, people apart.
    #[serde(deserialize_with = "price")]
    pub operation_per_year: Option<Money>,
    /// Hours of people's work a year; their price is `staff_cost_per_hour`.
    #[serde(deserialize_with = "count")]
    pub staff_hours_per_year: Option<f64>,
}

impl Capital {
    /// What is paid at the beginning.
    pub fn purchase(&self, whose: &str) -> Amount {
        Amount::of(self.purchase, format!("purchase of {whose}"))
    }

    /// Whether it is bought (again) at the beginning of this year, counted from nought.
    pub fn is_bought_in(&self, year: u32) -> bool {
        year == 0 || self.depreciation_years.is_some_and(|years| years > 0 && year.is_multiple_of(years))
    }

    /// Running it for a year.
    pub fn cost_per_year(&self, staff_cost_per_hour: Option<Money>, whose: &str) -> Amount {
        let running = Amount::of(self.operation_per_year, format!("operation of {whose}"));
        let staff = match self.staff_hours_per_year {
            None | Some(0.0) => Amount::ZERO,
            Some(hours) => Amount::of(staff_cost_per_hour.map(|rate| rate.times(hours)), "staff_cost_per_hour"),
        };
        running + staff
    }
}
