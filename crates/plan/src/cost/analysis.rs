//! Everything put together: each group, and the whole plan when it has several, with each strategy.

use super::actual::Evidence;
use super::choice::{broken, choose};
use super::loss::{affected, single_loss};
use super::storage::{Store, StoreCost, costs};
use super::total::{break_even_factor, payback, present_value, return_on_investment, total};
use super::{Amount, Assumptions, Choice, Objection, Payback, PriceBook, Range, Recovery, ScenarioLoss, copies_damage};
use crate::model::{Disruption, Plan, Risk, Strategy};
use crate::run::Run;
use jiff::civil::Date;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What is known of a workload's data.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct WorkloadSize {
    /// What a restore of the newest point writes.
    pub restore_bytes: Option<u64>,
    /// What its points added to a location.
    pub stored_bytes: Option<u64>,
    /// See [`super::growth_bytes_per_year`].
    pub growth_bytes_per_year: Option<f64>,
}

/// Everything that is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// What was decided.
    pub plan: &'a Plan,
    /// What was said.
    pub assumptions: &'a Assumptions,
    /// Prices of storage.
    pub book: &'a PriceBook,
    /// What was rehearsed.
    pub runs: &'a [Run],
    /// What was measured in the locations.
    pub stores: &'a [Store],
    /// And of the workloads.
    pub workloads: &'a BTreeMap<String, WorkloadSize>,
    /// How far to look.
    pub years: u32,
    /// For the age of prices.
    pub today: Date,
}

/// The whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// What amounts are counted in, if the plan says it.
    pub currency: Option<String>,
    /// The period.
    pub years: u32,
    /// Location by location.
    pub stores: Vec<StoreCost>,
    /// Each group, by name; then the whole.
    pub scopes: Vec<ScopeAnalysis>,
    /// What it rests upon.
    pub assumed: Vec<String>,
    /// What nobody said, and is in no sum.
    pub missing: BTreeSet<String>,
}

/// A group, or all.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeAnalysis {
    /// The group. None: the whole plan.
    pub group: Option<String>,
    /// Its tier.
    pub tier: Option<String>,
    /// The processes that need it.
    pub processes: BTreeSet<String>,
    /// Strategy by strategy.
    pub rows: Vec<StrategyRow>,
    /// What to take; only of groups, promises are made for groups.
    pub choice: Option<Choice>,
}

/// A strategy, for a group or for all.
#[derive(Debug, Clone, PartialEq)]
pub struct StrategyRow {
    /// Which.
    pub strategy: Strategy,
    /// Whether it is what the tier says.
    pub is_planned: bool,
    /// Risk by risk.
    pub scenarios: Vec<ScenarioLoss>,
    /// Expected loss a year.
    pub loss: Range,
    /// Paid at the beginning.
    pub purchase: Amount,
    /// What the first year costs otherwise, storage included.
    pub first_year: Amount,
    /// What the strategy itself costs in the first year, without storage, which costs the same with all of them.
    pub own_first_year: Amount,
    /// The strategy itself, over the period, in the money of today: without storage and losses.
    pub own: Amount,
    /// Over the period, in the money of today, with storage, without losses.
    pub protection: Amount,
    /// And with losses.
    pub total: Range,
    /// Against backup and restore. None: a sum isn't wholly known.
    pub benefit: Option<Benefit>,
    /// Why it won't do.
    pub objections: Vec<Objection>,
}

/// What is won against backup and restore.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Benefit {
    /// Loss avoided a year, less what it costs more a year; the purchase is not in it.
    pub net_per_year: crate::money::Money,
    /// When the purchase has come back.
    pub payback: Payback,
    /// Return on investment; none: it costs no more.
    pub return_on_investment: Option<f64>,
    /// So many times the expected likelihoods, and it saves what it costs.
    pub break_even_factor: Option<f64>,
    /// The same as disruptions of any kind a year.
    pub break_even_per_year: Option<f64>,
}

/// Computes all of it.
pub fn analyse(inputs: &Inputs) -> Analysis {
    let stores = costs(inputs);
    let work = Work { inputs, stores: &stores };
    let mut scopes: Vec<ScopeAnalysis> = inputs.plan.groups.keys().map(|group| work.scope(Some(group))).collect();
    let outside = |name: &String| !scopes.iter().any(|scope| scope.processes.contains(name));
    if scopes.len() != 1 || inputs.plan.processes.keys().any(outside) {
        scopes.push(work.scope(None));
    }
    let amounts = scopes.iter().flat_map(|scope| &scope.rows).map(|row| &row.total.high);
    let missing =
        amounts.chain(stores.iter().flat_map(|store| &store.per_year)).flat_map(|amount| amount.missing.clone());
    let mut missing: BTreeSet<String> = missing.collect();
    if inputs.plan.risks.is_empty() {
        missing.insert("what may happen, and how often: no [risk.NAME]".to_owned());
    }
    if inputs.plan.processes.is_empty() {
        missing.insert("what downtime costs: no [process.NAME]".to_owned());
    }
    let assumed = super::remarks::assumed(inputs, &scopes, &stores);
    Analysis { currency: inputs.plan.currency.clone(), years: inputs.years, stores, scopes, assumed, missing }
}

struct Work<'a> {
    inputs: &'a Inputs<'a>,
    stores: &'a [StoreCost],
}

impl Work<'_> {
    fn evidence(&self) -> Evidence<'_> {
        let Inputs { plan, assumptions, runs, .. } = *self.inputs;
        Evidence { plan, assumptions, runs }
    }

    fn scope(&self, group: Option<&str>) -> ScopeAnalysis {
        let plan = self.inputs.plan;
        let processes: BTreeSet<String> = match group {
            Some(group) => plan.processes_of(group).into_iter().map(str::to_owned).collect(),
            None => plan.processes.keys().cloned().collect(),
        };
        let tier = group.and_then(|group| plan.tier_of_group(group));
        let mut rows: Vec<StrategyRow> =
            Strategy::ALL.into_iter().map(|strategy| self.row(group, &processes, strategy)).collect();
        if let Some(base) = rows.first().cloned() {
            for row in rows.iter_mut().skip(1) {
                row.benefit = benefit(&base, row, self.inputs.years);
            }
        }
        let choice = group.filter(|_| tier.is_some()).map(|_| choose(&rows));
        ScopeAnalysis {
            group: group.map(str::to_owned),
            tier: tier.map(|(name, _)| name.to_owned()),
            processes,
            rows,
            choice,
        }
    }

    fn row(&self, group: Option<&str>, processes: &BTreeSet<String>, strategy: Strategy) -> StrategyRow {
        let Inputs { plan, assumptions, years, .. } = *self.inputs;
        let risks = plan.risks.iter();
        let scenarios: Vec<ScenarioLoss> =
            risks.filter_map(|(name, risk)| self.scenario(group, processes, strategy, name, risk)).collect();
        let mut loss = Range::default();
        for scenario in &scenarios {
            loss += scenario.annual.clone();
        }
        let groups: Vec<Option<&str>> = match group {
            None if !plan.groups.is_empty() => plan.groups.keys().map(|name| Some(name.as_str())).collect(),
            group => vec![group],
        };
        let storage = self.storage(group);
        let parts = |of: &dyn Fn(Option<&str>) -> Amount| groups.iter().map(|group| of(*group)).sum::<Amount>();
        let own_first_year = parts(&|group| self.running(group, strategy));
        let purchases: Vec<Amount> =
            (0..years).map(|year| parts(&|group| self.purchase(group, strategy, year))).collect();
        let rate = assumptions.discount_rate();
        let own = total(&purchases, &vec![own_first_year.clone(); years as usize], rate);
        let protection = own.clone() + total(&[], &storage, rate);
        let of_losses = |loss: &Amount| {
            let yearly = (0..years).map(|year| present_value(loss.known, year, rate)).sum();
            protection.clone() + Amount { known: yearly, missing: loss.missing.clone() }
        };
        let planned = group.and_then(|group| plan.tier_of_group(group)).and_then(|(_, tier)| tier.strategy);
        StrategyRow {
            strategy,
            is_planned: planned == Some(strategy),
            total: loss.map(of_losses),
            scenarios,
            loss,
            purchase: purchases.first().cloned().unwrap_or_default(),
            first_year: own_first_year.clone() + storage.first().cloned().unwrap_or_default(),
            own_first_year,
            own,
            protection,
            benefit: None,
            objections: group.map(|group| self.objections(group, processes, strategy)).unwrap_or_default(),
        }
    }

    fn whose(group: Option<&str>, strategy: Strategy) -> String {
        let strategy = super::remarks::strategy_word(strategy);
        group.map_or_else(|| strategy.to_owned(), |group| format!("{strategy} of {group}"))
    }

    fn running(&self, group: Option<&str>, strategy: Strategy) -> Amount {
        let whose = Self::whose(group, strategy);
        let members = group.and_then(|name| self.inputs.plan.groups.get(name));
        let Some(said) = self.inputs.assumptions.of(group, strategy) else {
            return Amount::missing(format!("all that {whose} costs"));
        };
        said.cost_per_year(members, self.inputs.assumptions.staff_cost_per_hour, &whose)
    }

    fn purchase(&self, group: Option<&str>, strategy: Strategy, year: u32) -> Amount {
        let whose = Self::whose(group, strategy);
        match self.inputs.assumptions.of(group, strategy).map(|said| said.capital) {
            None if year == 0 => Amount::missing(format!("all that {whose} costs")),
            Some(capital) if capital.is_bought_in(year) => capital.purchase(&whose),
            _ => Amount::ZERO,
        }
    }

    /// Storage year by year: all of it for the whole, by the share of what its points added for one group of several.
    fn storage(&self, group: Option<&str>) -> Vec<Amount> {
        let Inputs { plan, workloads, years, .. } = *self.inputs;
        let all = (0..years as usize)
            .map(|year| self.stores.iter().filter_map(|store| store.per_year.get(year)).cloned().sum::<Amount>());
        let Some(members) = group.filter(|_| plan.groups.len() > 1).and_then(|name| plan.groups.get(name)) else {
            return all.collect();
        };
        let sum = |wanted: &dyn Fn(&String) -> bool| -> Option<u64> {
            workloads.iter().filter(|(name, _)| wanted(name)).map(|(_, size)| size.stored_bytes).sum()
        };
        let share = sum(&|name| members.workloads.contains(name)).zip(sum(&|_| true)).filter(|(_, all)| *all > 0);
        all.map(|amount| match share {
            Some((own, all)) => amount.times(own as f64 / all as f64),
            None if amount == Amount::ZERO => Amount::ZERO,
            None => Amount::missing("how the storage is shared between groups"),
        })
        .collect()
    }

    fn recovery(&self, group: Option<&str>, disruption: Disruption, strategy: Strategy) -> Recovery {
        let floor = group.and_then(|group| self.fastest(group)).map(|(_, floor)| floor);
        self.evidence().recovery(group, disruption, strategy, floor)
    }

    /// Of the whole plan, the worst of the groups that a process needs.
    fn recovery_of_process(&self, process: &str, disruption: Disruption, strategy: Strategy) -> Recovery {
        let plan = self.inputs.plan;
        let groups = plan.groups.keys().filter(|group| plan.processes_of(group).contains(&process));
        let each = groups.map(|group| self.recovery(Some(group), disruption, strategy));
        each.reduce(Recovery::worse).unwrap_or_else(|| self.recovery(None, disruption, strategy))
    }

    fn scenario(
        &self,
        group: Option<&str>,
        processes: &BTreeSet<String>,
        strategy: Strategy,
        name: &str,
        risk: &Risk,
    ) -> Option<ScenarioLoss> {
        let plan = self.inputs.plan;
        let mut worst: Option<Recovery> = None;
        let mut single = Amount::ZERO;
        for process in affected(plan, risk).into_iter().filter(|process| processes.contains(*process)) {
            let recovery = match group {
                Some(_) => self.recovery(group, risk.disruption, strategy),
                None => self.recovery_of_process(process, risk.disruption, strategy),
            };
            single += single_loss(process, plan.processes.get(process)?, risk.disruption, &recovery);
            worst = Some(worst.map_or(recovery.clone(), |worst| worst.worse(recovery)));
        }
        let annual = Range::of(&single, risk.per_year);
        let (risk, disruption, per_year) = (name.to_owned(), risk.disruption, risk.per_year);
        worst.map(|recovery| ScenarioLoss { risk, disruption, per_year, recovery, single, annual })
    }

    /// The location that gives a group's data back soonest, where the least time of each is known.
    fn fastest(&self, group: &str) -> Option<(String, Duration)> {
        let Inputs { plan, workloads, assumptions, book, .. } = *self.inputs;
        let members = &plan.groups.get(group)?.workloads;
        let holders = self.stores.iter().map(|cost| &cost.store);
        let holders = holders.filter(|store| store.workloads.iter().any(|name| members.contains(name)));
        let floors = holders.map(|store| {
            let sizes = members.iter().filter_map(|name| workloads.get(name)?.restore_bytes);
            let class = book.class.get(&store.class)?;
            let floor = class.restore_floor(sizes.sum(), assumptions.restore_megabytes_per_second)?;
            Some((store.name.clone(), floor))
        });
        floors.collect::<Option<Vec<_>>>()?.into_iter().min_by_key(|(_, floor)| *floor)
    }

    fn objections(&self, group: &str, processes: &BTreeSet<String>, strategy: Strategy) -> Vec<Objection> {
        let plan = self.inputs.plan;
        let Some((_, tier)) = plan.tier_of_group(group) else { return Vec::new() };
        let fastest = self.fastest(group);
        let mut found = Vec::new();
        for disruption in self.feared(group, processes) {
            let objective = tier.objective(Some(disruption));
            let mut promises = vec![("RTO".to_owned(), objective.rto, true), ("RPO".to_owned(), objective.rpo, false)];
            let tolerated = processes.iter().filter_map(|name| plan.processes.get(name)?.maximum_tolerable_downtime);
            if let Some(most) = tolerated.min().filter(|most| *most < objective.rto) {
                promises.push(("maximum tolerable downtime".to_owned(), most, true));
            }
            found.extend(broken(disruption, &self.recovery(Some(group), disruption, strategy), &promises));
            let restores = strategy <= Strategy::PointInTime || copies_damage(disruption);
            if let Some((location, floor)) = fastest.clone().filter(|(_, floor)| restores && *floor > objective.rto) {
                found.push(Objection::Slow { disruption, rto: objective.rto, location, floor });
            }
        }
        found
    }

    /// The kinds of disruption against which promises are held: those of the risks and of the tier; else all that the study has figures of.
    fn feared(&self, group: &str, processes: &BTreeSet<String>) -> BTreeSet<Disruption> {
        let plan = self.inputs.plan;
        let concerns = |risk: &&Risk| affected(plan, risk).into_iter().any(|process| processes.contains(process));
        let mut found: BTreeSet<Disruption> =
            plan.risks.values().filter(concerns).map(|risk| risk.disruption).collect();
        if let Some((_, tier)) = plan.tier_of_group(group) {
            found.extend(tier.by_disruption.keys());
        }
        if found.is_empty() {
            found.extend(Disruption::ALL.into_iter().filter(|kind| *kind != Disruption::Dependency));
        }
        found
    }
}

fn benefit(base: &StrategyRow, row: &StrategyRow, years: u32) -> Option<Benefit> {
    let avoided = base.loss.expected.whole()? - row.loss.expected.whole()?;
    let running = row.own_first_year.whole()? - base.own_first_year.whole()?;
    let purchase = row.purchase.whole()? - base.purchase.whole()?;
    let per_year = running + purchase.times(1.0 / f64::from(years.max(1)));
    let net_per_year = avoided - running;
    let factor = break_even_factor(avoided, per_year);
    let often: f64 = row.scenarios.iter().map(|scenario| scenario.per_year.expected).sum();
    Some(Benefit {
        net_per_year,
        payback: payback(purchase, net_per_year),
        return_on_investment: return_on_investment(avoided, per_year),
        break_even_factor: factor,
        break_even_per_year: factor.map(|factor| factor * often),
    })
}
