//! The worked examples, to the unit.

use crate::world::{HOUR, STUDY_ASSUMPTIONS, analysed, process, study_plan, units};
use lifeboat_plan::cost::{
    Amount, Assumptions, Payback, Subscription, break_even_factor, disasters_to_pay_back, downtime_cost, payback,
    return_on_investment,
};
use lifeboat_plan::model::Strategy;
use lifeboat_plan::money::Money;

#[test]
fn four_hours_at_a_million_pay_for_protection_with_the_first_disaster() {
    let process = process(Some(units(1_000_000)));
    let lost = downtime_cost("orders", &process, 4 * HOUR);
    assert_eq!(lost, Amount::known(units(4_000_000)));
    let a_year = units(500_000);
    assert_eq!(disasters_to_pay_back(a_year, lost.known), Some(1));
    assert_eq!(break_even_factor(lost.known, a_year), Some(0.125), "worth it from one disaster in eight years on");
    assert_eq!(payback(a_year, lost.known), Payback::Years(0.125));
    assert_eq!(return_on_investment(lost.known, a_year), Some(7.0));
    assert_eq!(return_on_investment(lost.known, units(0)), None, "nothing was invested");
    for (saved, disasters) in [(500_000, Some(1)), (499_999, Some(2)), (1, Some(500_000)), (0, None), (-5, None)] {
        assert_eq!(disasters_to_pay_back(a_year, units(saved)), disasters, "{saved}");
    }
}

#[test]
fn a_subscription_is_counted_to_the_cent() {
    let cent = Money::from_micros(10_000);
    let subscription = Subscription {
        per_year: Some(units(1000)),
        per_system_per_year: Some(cent),
        per_data_set_per_year: Some(cent),
        per_procedure_per_year: Some(cent),
        systems: Some(3),
        data_sets: Some(3),
        procedures: Some(2),
    };
    assert_eq!(subscription.cost_per_year("x").to_string(), "1,000.08");
    let unsaid = Subscription { systems: None, ..subscription };
    assert_eq!(unsaid.cost_per_year("x").to_string(), "at least 1,000.05");
    assert_eq!(Subscription::default().cost_per_year("x").to_string(), "not given");
}

#[test]
fn each_way_to_pay_is_counted_by_its_units() {
    let text = r#"
        staff_cost_per_hour = 80
        [strategy.warm_standby.use]
        per_hour = 0.5
        hours_per_year = 8760
        per_gigabyte_month = 0.08
        gigabytes = 200
        per_thousand_requests = 0.005
        requests_per_year = 1_000_000
        egress_per_gigabyte = 0.02
        egress_gigabytes_per_year = 500
        drill_compute_per_hour = 0.5
        drill_compute_hours_per_year = 24
        [strategy.warm_standby.capital]
        purchase = 10_000
        depreciation_years = 2
        operation_per_year = 1500
        staff_hours_per_year = 10
        [strategy.warm_standby.subscription]
        per_year = 0
    "#;
    let assumptions: Assumptions = toml::from_str(text).unwrap();
    let said = assumptions.of(None, Strategy::WarmStandby).unwrap();
    // 4,380 + 192 + 5 + 10 + 12; 1,500 + 800.
    assert_eq!(said.usage.cost_per_year("x").to_string(), "4,599.00");
    assert_eq!(said.capital.cost_per_year(assumptions.staff_cost_per_hour, "x").to_string(), "2,300.00");
    assert_eq!(said.capital.cost_per_year(None, "x").to_string(), "at least 1,500.00");
    assert_eq!(
        (0..5).map(|year| said.capital.is_bought_in(year)).collect::<Vec<_>>(),
        [true, false, true, false, true]
    );
}

#[test]
fn the_studys_table_row_by_row() {
    let analysis = analysed(&study_plan(), STUDY_ASSUMPTIONS, 3);
    let rows = &analysis.scopes[0].rows;
    let row = |strategy| rows.iter().find(|row| row.strategy == strategy).unwrap();
    // Loss, running, purchase, loss + running + purchase / 3, net benefit, payback in years.
    for (strategy, loss, running, purchase, all, net, pays) in [
        (Strategy::BackupRestore, "45,645", 3_000, 0, "48,645", None, None),
        (Strategy::PointInTime, "21,155", 6_000, 5_000, "28,822", Some("21,490"), Some("0.23")),
        (Strategy::PilotLight, "7,556", 18_000, 15_000, "30,556", Some("23,089"), Some("0.65")),
        (Strategy::WarmStandby, "6,510", 45_000, 25_000, "59,844", Some("-2,865"), None),
        (Strategy::ActiveActive, "6,384", 110_000, 60_000, "136,384", Some("-67,739"), None),
    ] {
        let row = row(strategy);
        assert_eq!(format!("{:.0}", row.loss.expected), loss, "{strategy:?}");
        assert_eq!(row.first_year.whole(), Some(units(running)), "{strategy:?}");
        assert_eq!(row.purchase.whole(), Some(units(purchase)), "{strategy:?}");
        let third = Money::from_micros(row.total.expected.whole().unwrap().micros() / 3);
        assert_eq!(format!("{third:.0}"), all, "{strategy:?}");
        assert_eq!(row.benefit.map(|benefit| format!("{:.0}", benefit.net_per_year)).as_deref(), net, "{strategy:?}");
        let years = match row.benefit.map(|benefit| benefit.payback) {
            Some(Payback::Years(years)) => Some(format!("{years:.2}")),
            Some(Payback::Never) | None => None,
            Some(Payback::AtOnce) => panic!("{strategy:?}"),
        };
        assert_eq!(years.as_deref(), pays, "{strategy:?}");
    }
    // What is left is nearly all corruption, which no standby helps against: 26,300 × 0.2.
    let slip = row(Strategy::ActiveActive).scenarios.iter().find(|scenario| scenario.risk == "slip").unwrap();
    assert_eq!(slip.single.whole(), Some(units(26_300)));
    assert_eq!(slip.annual.expected.whole(), Some(units(5_260)));
    assert_eq!(row(Strategy::HotStandby).protection.to_string(), "not given", "nobody said what it costs");
    assert!(row(Strategy::HotStandby).benefit.is_none());
}

#[test]
fn later_money_counts_less() {
    let discounted = format!("discount_rate_percent_per_year = 10\n{STUDY_ASSUMPTIONS}");
    let protection = |text: &str| {
        let analysis = analysed(&study_plan(), text, 2);
        analysis.scopes[0].rows[1].protection.whole().unwrap()
    };
    assert_eq!(protection(STUDY_ASSUMPTIONS), units(17_000));
    // 5,000 + 6,000 / 1.1 + 6,000 / 1.21.
    assert_eq!(protection(&discounted).to_string(), "15,413.22");
}
