//! The answer as tables of at most 100 columns. Pure.

use super::{bars, words};
use crate::output::human;
use crate::output::table::{Column, render};
use lifeboat_plan::cost::{Analysis, ScopeAnalysis, StoreCost, StrategyRow};
use lifeboat_plan::model::Plan;
use std::fmt::Write;

/// The page that the command prints.
pub fn page(plan: &Plan, analysis: &Analysis, unicode: bool) -> String {
    let page = Page { plan, analysis, unicode };
    let mut text = format!("Amounts are in {}.\n", analysis.currency.as_deref().unwrap_or("the plan's currency"));
    for scope in &analysis.scopes {
        page.scope(&mut text, scope);
    }
    page.stores(&mut text);
    for (heading, sentences) in [
        ("Assumed", analysis.assumed.iter().collect::<Vec<_>>()),
        ("Not given, and in no sum", analysis.missing.iter().collect()),
    ] {
        if !sentences.is_empty() {
            let _ = writeln!(text, "\n{heading}");
            for sentence in sentences {
                let _ = writeln!(text, "{}", words::bullet(sentence));
            }
        }
    }
    text
}

struct Page<'a> {
    plan: &'a Plan,
    analysis: &'a Analysis,
    unicode: bool,
}

impl Page<'_> {
    fn scope(&self, text: &mut String, scope: &ScopeAnalysis) {
        let _ = writeln!(text, "\n{}", words::wrapped("", &self.heading(scope)));
        let planned = if scope.rows.iter().any(|row| row.is_planned) { "* what the tier says\n" } else { "" };
        let _ = writeln!(text, "\n{}\n{planned}", self.costs(scope));
        text.push_str(&bars::bars(scope, self.unicode));
        let _ = writeln!(text, "\n{}", self.worth(scope));
        self.recommended(text, scope);
        self.scenarios(text, scope);
    }

    fn heading(&self, scope: &ScopeAnalysis) -> String {
        let processes = scope.processes.iter().cloned().collect::<Vec<_>>().join(", ");
        let Some(group) = &scope.group else {
            return "The whole plan, each process counted once".to_owned();
        };
        let tier = scope.tier.as_ref().and_then(|name| Some((name, self.plan.tiers.get(name)?)));
        let tier = tier.map_or_else(
            || "no tier".to_owned(),
            |(name, tier)| {
                let (rto, rpo) = (words::time(Some(tier.objective.rto)), words::time(Some(tier.objective.rpo)));
                format!("tier {name}: RTO {rto}, RPO {rpo}")
            },
        );
        let needed =
            if processes.is_empty() { "needed by no process".to_owned() } else { format!("needed by {processes}") };
        format!("Group {group} ({tier}), {needed}")
    }

    fn amount(&self, amount: &lifeboat_plan::cost::Amount) -> String {
        words::amount(amount, self.unicode)
    }

    fn costs(&self, scope: &ScopeAnalysis) -> String {
        let columns = [
            Column::Left("strategy"),
            Column::Right("loss/year"),
            Column::Right("low"),
            Column::Right("high"),
            Column::Right("cost/year"),
            Column::Right("purchase"),
            Column::Right(match self.analysis.years {
                1 => "total, 1 year",
                _ => "total, all years",
            }),
        ];
        let row = |row: &StrategyRow| {
            let planned = if row.is_planned { " *" } else { "" };
            vec![
                format!("{}{planned}", words::strategy(row.strategy)),
                self.amount(&row.loss.expected),
                self.amount(&row.loss.low),
                self.amount(&row.loss.high),
                self.amount(&row.first_year),
                self.amount(&row.purchase),
                self.amount(&row.total.expected),
            ]
        };
        let rows: Vec<_> = scope.rows.iter().map(row).collect();
        render(&columns, &rows, None)
    }

    fn worth(&self, scope: &ScopeAnalysis) -> String {
        let columns = [
            Column::Left("against backup_restore"),
            Column::Right("net/year"),
            Column::Right("payback"),
            Column::Right("return"),
            Column::Right("breaks even at"),
            Column::Left("keeps the promise"),
        ];
        let row = |row: &StrategyRow| {
            let dash = || "-".to_owned();
            let benefit = row.benefit;
            let keeps = match (&scope.choice, row.objections.is_empty()) {
                (None, _) => dash(),
                (Some(_), true) => "yes".to_owned(),
                (Some(_), false) => "no".to_owned(),
            };
            let of = |text: Option<String>| text.unwrap_or_else(dash);
            vec![
                words::strategy(row.strategy).to_owned(),
                of(benefit.map(|benefit| words::money(benefit.net_per_year))),
                of(benefit.map(|benefit| words::payback(benefit.payback))),
                of(benefit.and_then(|benefit| benefit.return_on_investment).map(|roi| format!("{:.0} %", roi * 100.0))),
                of(benefit.and_then(|benefit| benefit.break_even_per_year).map(|often| format!("{often:.3}/year"))),
                keeps,
            ]
        };
        let rows: Vec<_> = scope.rows.iter().map(row).collect();
        render(&columns, &rows, None)
    }

    fn recommended(&self, text: &mut String, scope: &ScopeAnalysis) {
        let Some(choice) = &scope.choice else { return };
        let least = if choice.is_least { ", as far as is known" } else { "" };
        let keeps = |row: &&StrategyRow| row.objections.is_empty();
        let said = match choice.cheapest {
            Some(cheapest) => format!("Cheapest that keeps every promise{least}: {}", words::strategy(cheapest)),
            None if scope.rows.iter().any(|row| keeps(&row)) => {
                "Which is the cheapest that keeps every promise can't be told: their costs are not given".to_owned()
            }
            None => "No strategy keeps every promise".to_owned(),
        };
        let _ = writeln!(text, "\n{said}");
        let untold: Vec<_> = choice.untold.iter().map(|strategy| words::strategy(*strategy)).collect();
        if !untold.is_empty() && choice.cheapest.is_some() {
            let _ = writeln!(
                text,
                "{}",
                words::bullet(&format!("might be cheaper, its cost is not given: {}", untold.join(", ")))
            );
        }
        for row in &scope.rows {
            for objection in &row.objections {
                let sentence = format!("not {}: {}", words::strategy(row.strategy), words::objection(objection));
                let _ = writeln!(text, "{}", words::bullet(&sentence));
            }
        }
    }

    fn scenarios(&self, text: &mut String, scope: &ScopeAnalysis) {
        let columns = [
            Column::Left("strategy"),
            Column::Right("rta"),
            Column::Left("known"),
            Column::Right("rpa"),
            Column::Left("known"),
            Column::Right("once"),
            Column::Right("a year"),
        ];
        let risks = scope.rows.first().into_iter().flat_map(|row| &row.scenarios);
        for (number, risk) in risks.enumerate() {
            let often = risk.per_year;
            let heading = format!(
                "{}: {}, {} times a year ({} to {})",
                risk.risk,
                words::disruption(risk.disruption),
                often.expected,
                often.low,
                often.high
            );
            let _ = writeln!(text, "\n{}", words::wrapped("", &heading));
            let rows = scope.rows.iter().filter_map(|row| Some((row, row.scenarios.get(number)?)));
            let rows: Vec<_> = rows
                .map(|(row, scenario)| {
                    let recovery = &scenario.recovery;
                    vec![
                        words::strategy(row.strategy).to_owned(),
                        words::time(recovery.rta.time),
                        words::known(&recovery.rta.source),
                        words::time(recovery.rpa.time),
                        words::known(&recovery.rpa.source),
                        self.amount(&scenario.single),
                        self.amount(&scenario.annual.expected),
                    ]
                })
                .collect();
            let _ = writeln!(text, "{}", render(&columns, &rows, None));
        }
    }

    fn stores(&self, text: &mut String) {
        if self.analysis.stores.is_empty() {
            return;
        }
        let columns = [
            Column::Left("location"),
            Column::Left("class"),
            Column::Right("stored"),
            Column::Right("objects"),
            Column::Right("1st year"),
            Column::Right("all years"),
            Column::Right("1 restore"),
            Column::Right("at least"),
        ];
        let row = |cost: &StoreCost| {
            let store = &cost.store;
            let dash = || "?".to_owned();
            vec![
                cut(&store.name, 12),
                cut(&store.class, 17),
                store.bytes.map_or_else(dash, human::size),
                store.objects.map_or_else(dash, |count| count.to_string()),
                self.amount(&cost.per_year.first().cloned().unwrap_or_default()),
                self.amount(&cost.per_year.iter().cloned().sum()),
                self.amount(&cost.one_restore),
                words::time(cost.restore_floor),
            ]
        };
        let rows: Vec<_> = self.analysis.stores.iter().map(row).collect();
        let _ = writeln!(
            text,
            "\nStorage, as it was just measured; a whole restore costs, and takes at least\n{}",
            render(&columns, &rows, None)
        );
    }
}

/// A name that leaves room for the others.
fn cut(name: &str, most: usize) -> String {
    if name.chars().count() <= most { name.to_owned() } else { name.chars().take(most - 1).chain(['~']).collect() }
}
