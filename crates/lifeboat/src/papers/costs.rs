//! What the report says of costs: the expected loss and the cost of what each tier says, and the cheapest that keeps every promise. Pure.
//!
//! Promise: a sum that lacks something says "at least", and where a figure comes from stands beside it.

use crate::commands::plan::cost::words;
use lifeboat_plan::cost::{Amount, Analysis, ScopeAnalysis, Source, StrategyRow};
use std::collections::BTreeSet;

/// Of what is missing in a sum, so many are named.
const MISSING_NAMED_MAX: usize = 3;

/// Name, amount, source.
pub fn rows(analysis: &Analysis) -> Vec<(String, String, String)> {
    let currency = analysis.currency.as_deref().unwrap_or("(the plan names no currency)");
    let scopes = analysis.scopes.iter().filter(|scope| !scope.processes.is_empty());
    let mut rows: Vec<_> = scopes.flat_map(|scope| of_scope(scope, currency)).collect();
    for store in &analysis.stores {
        let Some(first) = store.per_year.first() else { continue };
        let name = format!("Location {}, storage in the first year", store.store.name);
        let from =
            format!("its size when this was made, class {} of the price book{}", store.store.class, lacking(first));
        rows.push((name, amount(first, store.currency.as_deref().unwrap_or(currency)), from));
    }
    rows
}

fn of_scope(scope: &ScopeAnalysis, currency: &str) -> Vec<(String, String, String)> {
    // Only groups have a tier, which says with what they are protected.
    let planned = scope.group.as_ref().zip(scope.rows.iter().find(|row| row.is_planned));
    let Some((group, row)) = planned else { return Vec::new() };
    let of = format!("Group {group}");
    let strategy = words::strategy(row.strategy);
    let own = row.purchase.clone() + row.own_first_year.clone();
    let (low, high) = (words::amount(&row.loss.low, true), words::amount(&row.loss.high, true));
    let loss = format!("{} ({low} to {high})", amount(&row.loss.expected, currency));
    let mut rows = vec![
        (format!("{of}: expected loss a year, with {strategy}"), loss, loss_from(row)),
        (
            format!("{of}: {strategy} itself, in the first year"),
            amount(&own, currency),
            format!("the file of assumptions{}", lacking(&own)),
        ),
    ];
    let Some(choice) = &scope.choice else { return rows };
    let cheapest = match choice.cheapest {
        Some(cheapest) => words::strategy(cheapest).to_owned(),
        None if scope.rows.iter().any(|row| row.objections.is_empty()) => "not known: costs are not given".to_owned(),
        None => "none keeps them".to_owned(),
    };
    let from = "objectives of the tier, the drills' figures, `lifeboat plan cost`".to_owned();
    rows.push((format!("{of}: the cheapest that keeps every promise"), cheapest, from));
    rows
}

/// The risks, and how it is known what each is like.
fn loss_from(row: &StrategyRow) -> String {
    let risks: Vec<String> = row.scenarios.iter().map(|scenario| format!("risk.{}", scenario.risk)).collect();
    let known: BTreeSet<String> = row
        .scenarios
        .iter()
        .flat_map(|scenario| [&scenario.recovery.rta.source, &scenario.recovery.rpa.source])
        .map(|source| match source {
            Source::Measured { run, .. } => format!("drill {run}"),
            other => words::known(other),
        })
        .collect();
    if risks.is_empty() {
        return "no risk of the plan concerns it".to_owned();
    }
    let times: Vec<String> = known.into_iter().collect();
    let (risks, times) = (risks.join(", "), times.join(", "));
    format!("{risks}; the processes' costs; RTA and RPA: {times}{}", lacking(&row.loss.expected))
}

fn amount(amount: &Amount, currency: &str) -> String {
    format!("{} {currency}", words::amount(amount, true))
}

fn lacking(amount: &Amount) -> String {
    let names: Vec<&str> = amount.missing.iter().take(MISSING_NAMED_MAX).map(String::as_str).collect();
    let more = amount.missing.len() - names.len();
    match (names.is_empty(), more) {
        (true, _) => String::new(),
        (false, 0) => format!("; not given: {}", names.join(", ")),
        (false, _) => format!("; not given: {} and {more} more", names.join(", ")),
    }
}
