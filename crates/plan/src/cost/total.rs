//! Years of cost in the money of today; and whether it pays: net benefit, payback, return, and the likelihood at which it breaks even.

use super::Amount;
use crate::money::Money;

/// When an investment has come back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Payback {
    /// Nothing was invested, and it costs no more than before.
    AtOnce,
    /// After so many years.
    Years(f64),
    /// It costs more than it saves.
    Never,
}

/// Money of a year (the first is nought, counted at its end as the study does) in the money of today.
pub fn present_value(money: Money, year: u32, rate: f64) -> Money {
    if rate == 0.0 { money } else { money.times((1.0 + rate).powi(-i32::try_from(year + 1).unwrap_or(i32::MAX))) }
}

/// Sum over years, in the money of today.
pub fn total(purchases: &[Amount], running: &[Amount], rate: f64) -> Amount {
    let discounted = |amount: &Amount, money: Money| Amount { known: money, missing: amount.missing.clone() };
    // What is bought is paid at the beginning of its year, what runs at its end.
    let bought = purchases.iter().enumerate().map(|(year, amount)| {
        let at_end_before = (year as u32).checked_sub(1);
        discounted(amount, at_end_before.map_or(amount.known, |year| present_value(amount.known, year, rate)))
    });
    let run = running.iter().enumerate();
    let run = run.map(|(year, amount)| discounted(amount, present_value(amount.known, year as u32, rate)));
    bought.chain(run).sum()
}

/// Purchase against what it saves a year.
pub fn payback(extra_purchase: Money, net_benefit_per_year: Money) -> Payback {
    if net_benefit_per_year <= Money::ZERO {
        return if extra_purchase <= Money::ZERO && net_benefit_per_year == Money::ZERO {
            Payback::AtOnce
        } else {
            Payback::Never
        };
    }
    if extra_purchase <= Money::ZERO {
        return Payback::AtOnce;
    }
    Payback::Years(extra_purchase.as_units() / net_benefit_per_year.as_units())
}

/// After how many disasters a year's cost has come back. None: never.
pub fn disasters_to_pay_back(cost_per_year: Money, saved_by_each: Money) -> Option<u64> {
    if cost_per_year <= Money::ZERO {
        return Some(0);
    }
    let (cost, saved) = (cost_per_year.micros(), saved_by_each.micros());
    (saved > 0).then(|| u64::try_from(cost / saved + i128::from(cost % saved != 0)).unwrap_or(u64::MAX))
}

/// ROSI: what is saved beyond its cost, for each unit of cost. None: it costs nothing.
pub fn return_on_investment(loss_avoided_per_year: Money, cost_per_year: Money) -> Option<f64> {
    let cost = cost_per_year.as_units();
    (cost > 0.0).then(|| (loss_avoided_per_year.as_units() - cost) / cost)
}

/// So many times the expected likelihoods, and it saves just what it costs. None: it saves nothing, however often.
pub fn break_even_factor(loss_avoided_per_year: Money, cost_per_year: Money) -> Option<f64> {
    let avoided = loss_avoided_per_year.as_units();
    (avoided > 0.0).then(|| cost_per_year.as_units().max(0.0) / avoided)
}
