//! Of every plan: more downtime and more disasters never cost less, and nothing makes it panic.

use crate::world::{analysed, process, study_plan, units, with};
use jiff::civil::date;
use lifeboat_plan::cost::{
    Assumptions, Inputs, PriceBook, SHIPPED_PRICE_BOOK, Store, WorkloadSize, analyse, data_loss_cost, downtime_cost,
    per_hour,
};
use lifeboat_plan::model::{Impact, Likelihood};
use lifeboat_plan::money::Money;
use proptest::prelude::*;
use std::time::Duration;

fn money() -> impl Strategy<Value = Money> {
    prop_oneof![0..1_000_000_000_000_i128, 0..1_000_000_000_000_000_000_000_000_000_000_i128]
        .prop_map(Money::from_micros)
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![(0..1_000_000_000_u64).prop_map(Duration::from_millis), any::<u64>().prop_map(Duration::from_secs)]
}

fn impact() -> impl Strategy<Value = Impact> {
    (time(), prop::option::of(money())).prop_map(|(after, cost)| Impact { after, cost, words: None })
}

fn toml_of(purchase: u32, running: u32, rate: u32) -> Assumptions {
    toml::from_str(&format!(
        "discount_rate_percent_per_year = {rate}\n[strategy.warm_standby]\ncapital = {{ purchase = {purchase}, operation_per_year = {running}, depreciation_years = 2 }}\nsubscription = {{ per_year = 0 }}\nuse = {{ per_hour = 0 }}\n"
    ))
    .unwrap()
}

proptest! {
    #[test]
    fn longer_never_costs_less(
        cost_per_hour in prop::option::of(money()), loss in money(), impacts in prop::collection::vec(impact(), 0..6),
        one in time(), other in time(),
    ) {
        let mut process = process(cost_per_hour);
        process.impacts = impacts;
        process.data_loss_cost_per_hour = Some(loss);
        let (short, long) = (one.min(other), one.max(other));
        prop_assert!(downtime_cost("x", &process, short).known <= downtime_cost("x", &process, long).known);
        prop_assert!(data_loss_cost("x", &process, short).known <= data_loss_cost("x", &process, long).known);
    }

    #[test]
    fn hours_are_counted_exactly(micros in 0..1_000_000_000_000_000_i128, hours in 0..100_000_u64) {
        let rate = Money::from_micros(micros);
        prop_assert_eq!(per_hour(rate, Duration::from_secs(hours * 3600)), rate.times_whole(hours));
        let half = per_hour(rate, Duration::from_secs(hours * 1800));
        prop_assert!((half.micros() * 2 - rate.times_whole(hours).micros()).abs() <= 1);
    }

    #[test]
    fn likelier_never_costs_less(expected in 0.0..1000.0_f64, more in 0.0..1000.0_f64, years in 1..30_u32) {
        let loss = |expected: f64| {
            let mut plan = study_plan();
            plan.risks.get_mut("fire").unwrap().per_year = Likelihood { low: 0.0, expected, high: 2000.0 };
            analysed(&plan, "", years).scopes.remove(0).rows
        };
        for (few, many) in loss(expected).into_iter().zip(loss(expected + more)) {
            prop_assert!(few.loss.expected.known <= many.loss.expected.known);
            prop_assert!(few.total.expected.known <= many.total.expected.known);
            prop_assert!(few.loss.low.known <= few.loss.expected.known && few.loss.expected.known <= few.loss.high.known);
        }
    }

    #[test]
    fn nothing_panics_and_dearer_is_never_cheaper(
        purchase in any::<u32>(), running in any::<u32>(), rate in 0..1_000_000_u32, years in 0..200_u32, much in any::<u64>(),
        growth in prop::option::of(prop::num::f64::ANY), hourly in money(), likelihood in prop::num::f64::ANY,
    ) {
        let mut plan = study_plan();
        plan.processes.get_mut("orders").unwrap().cost_per_hour = Some(hourly);
        let protection = |more: u32| {
            let analysis = with(&plan, &toml_of(purchase / 2 + more, running, rate), years);
            analysis.scopes[0].rows[3].protection.known
        };
        prop_assert!(protection(0) <= protection(1000));
        plan.risks.get_mut("fire").unwrap().per_year = Likelihood { low: 0.0, expected: likelihood, high: f64::MAX };
        let book: PriceBook = toml::from_str(SHIPPED_PRICE_BOOK).unwrap();
        let stores: Vec<Store> = book.class.keys().map(|class| Store {
            name: class.clone(), class: class.clone(), bytes: Some(much), objects: Some(much), workloads: vec!["shop".into()],
        }).collect();
        let size = WorkloadSize { restore_bytes: Some(much), stored_bytes: Some(much), growth_bytes_per_year: growth };
        let workloads = [("shop".to_owned(), size)].into();
        let analysis = analyse(&Inputs {
            plan: &plan, assumptions: &toml_of(purchase, running, rate), book: &book, runs: &[], stores: &stores,
            workloads: &workloads, years, today: date(9999, 12, 31),
        });
        prop_assert_eq!(analysis.stores.len(), stores.len());
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[a-z\\[\\]=\"0-9.\n_ -]{0,200}") {
        let _ = toml::from_str::<PriceBook>(&text);
        let _ = toml::from_str::<Assumptions>(&text);
    }
}

#[test]
fn a_plan_without_anything_has_an_answer() {
    let analysis = analysed(&lifeboat_plan::model::Plan::default(), "", 3);
    assert_eq!(analysis.scopes.len(), 1);
    assert!(analysis.missing.iter().any(|what| what.contains("[risk.NAME]")), "{:?}", analysis.missing);
    let _ = units(0);
}
