//! The answer for programs. Amounts are objects: how much, and what is missing; null where nothing is known.

use super::words;
use lifeboat_plan::cost::{Amount, Analysis, Figure, Payback, Range, ScopeAnalysis, Source, StoreCost, StrategyRow};
use serde_json::{Value, json};

pub fn document(analysis: &Analysis) -> Value {
    json!({
        "currency": analysis.currency,
        "period_years": analysis.years,
        "groups": analysis.scopes.iter().filter(|scope| scope.group.is_some()).map(scope).collect::<Vec<_>>(),
        "whole": analysis.scopes.iter().find(|scope| scope.group.is_none()).map(scope),
        "locations": analysis.stores.iter().map(store).collect::<Vec<_>>(),
        "assumed": analysis.assumed,
        "not_given": analysis.missing,
    })
}

fn amount(amount: &Amount) -> Value {
    let is_unknown = !amount.is_whole() && amount.known.micros() == 0;
    json!({
        "currency_units": (!is_unknown).then(|| amount.known.as_units()),
        "at_least": !amount.is_whole(),
        "missing": amount.missing,
    })
}

fn range(range: &Range) -> Value {
    json!({ "low": amount(&range.low), "expected": amount(&range.expected), "high": amount(&range.high) })
}

fn figure(figure: &Figure) -> Value {
    let how = match &figure.source {
        Source::Measured { on, run, passed } => json!({ "kind": "measured", "on": on, "run": run, "passed": passed }),
        Source::Given => json!({ "kind": "assumed", "from": "assumptions" }),
        Source::Promised(tier) => json!({ "kind": "assumed", "from": "tier", "tier": tier }),
        Source::Usual => json!({ "kind": "assumed", "from": "usual" }),
        Source::Unknown => json!({ "kind": "unknown" }),
    };
    json!({ "seconds": figure.time.map(|time| time.as_secs_f64()), "source": how })
}

fn scope(scope: &ScopeAnalysis) -> Value {
    json!({
        "group": scope.group,
        "tier": scope.tier,
        "processes": scope.processes,
        "strategies": scope.rows.iter().map(|row| strategy(row, scope.choice.is_some())).collect::<Vec<_>>(),
        "cheapest": scope.choice.as_ref().map(|choice| json!({
            "strategy": choice.cheapest.map(words::strategy),
            "as_far_as_is_known": choice.is_least || !choice.untold.is_empty(),
            "might_be_cheaper": choice.untold.iter().map(|strategy| words::strategy(*strategy)).collect::<Vec<_>>(),
        })),
    })
}

fn strategy(row: &StrategyRow, is_judged: bool) -> Value {
    let scenarios = row.scenarios.iter().map(|scenario| {
        json!({
            "risk": scenario.risk,
            "disruption": words::disruption(scenario.disruption),
            "likelihood_per_year": scenario.per_year,
            "rta": figure(&scenario.recovery.rta),
            "rpa": figure(&scenario.recovery.rpa),
            "single_loss": amount(&scenario.single),
            "loss_per_year": range(&scenario.annual),
        })
    });
    json!({
        "strategy": words::strategy(row.strategy),
        "planned": row.is_planned,
        "loss_per_year": range(&row.loss),
        "purchase": amount(&row.purchase),
        "cost_in_first_year": amount(&row.first_year),
        "without_storage_over_period": amount(&row.own),
        "protection_over_period": amount(&row.protection),
        "total_over_period": range(&row.total),
        "against_backup_restore": row.benefit.map(|benefit| json!({
            "net_benefit_currency_units_per_year": benefit.net_per_year.as_units(),
            "payback": match benefit.payback { Payback::Never => "never", Payback::AtOnce => "at_once", Payback::Years(_) => "years" },
            "payback_years": match benefit.payback { Payback::Years(years) => Some(years), Payback::AtOnce => Some(0.0), Payback::Never => None },
            "return_on_investment_ratio": benefit.return_on_investment,
            "break_even_times_expected_likelihood": benefit.break_even_factor,
            "break_even_disruptions_per_year": benefit.break_even_per_year,
        })),
        "keeps_every_promise": is_judged.then_some(row.objections.is_empty()),
        "objections": row.objections.iter().map(words::objection).collect::<Vec<_>>(),
        "risks": scenarios.collect::<Vec<_>>(),
    })
}

fn store(cost: &StoreCost) -> Value {
    json!({
        "location": cost.store.name,
        "class": cost.store.class,
        "currency": cost.currency,
        "stored_bytes": cost.store.bytes,
        "objects": cost.store.objects,
        "cost_by_year": cost.per_year.iter().map(amount).collect::<Vec<_>>(),
        "one_restore": amount(&cost.one_restore),
        "restore_takes_at_least_seconds": cost.restore_floor.map(|floor| floor.as_secs_f64()),
    })
}
