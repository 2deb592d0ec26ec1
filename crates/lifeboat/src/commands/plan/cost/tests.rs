//! The page, the picture and the document of the study's example, in full.

use super::{document, svg, tables};
use jiff::civil::date;
use lifeboat_plan::cost::{Analysis, Assumptions, Inputs, PriceBook, SHIPPED_PRICE_BOOK, Store, WorkloadSize, analyse};
use lifeboat_plan::model::{Disruption, Group, Likelihood, Objective, Plan, Process, Risk, Strategy, Tier};
use lifeboat_plan::money::Money;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

const ASSUMPTIONS: &str = r#"
[strategy.backup_restore]
capital = { purchase = 0, operation_per_year = 3000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
[strategy.point_in_time]
capital = { purchase = 5000, operation_per_year = 6000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.corruption = { rta = "4h", rpa = "15m" }
[strategy.pilot_light]
capital = { purchase = 15000, operation_per_year = 18000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
[strategy.warm_standby]
capital = { operation_per_year = 45000 }
"#;

fn plan() -> Plan {
    let money = |units| Some(Money::from_units(units));
    let orders = Process {
        title: "Orders are taken".into(),
        owner: None,
        approver: None,
        reviewed: None,
        tier: Some("gold".into()),
        users: None,
        peaks: vec![],
        cost_per_hour: money(3950),
        impacts: vec![],
        data_loss_cost_per_hour: money(2000),
        recovery_cost: money(2000),
        maximum_tolerable_downtime: None,
        groups: ["shop".to_owned()].into(),
        depends_on: [].into(),
        workaround: None,
    };
    let tier = Tier {
        objective: Objective { rto: 4 * HOUR, rpo: HOUR / 4 },
        by_disruption: [].into(),
        drill_every: None,
        strategy: Some(Strategy::PilotLight),
        rank: None,
    };
    let group = Group {
        title: None,
        tier: None,
        workloads: ["shop".to_owned()].into(),
        vendor_steps: [].into(),
        after: [].into(),
        health: [].into(),
    };
    let risk = |disruption, low, expected, high| Risk {
        threat: String::new(),
        disruption,
        per_year: Likelihood { low, expected, high },
        processes: [].into(),
        mitigation: None,
        owner: None,
        reviewed: None,
    };
    Plan {
        currency: Some("USD".into()),
        processes: [("orders".to_owned(), orders)].into(),
        tiers: [("gold".to_owned(), tier)].into(),
        groups: [("shop".to_owned(), group)].into(),
        risks: [
            ("fire".to_owned(), risk(Disruption::Site, 0.02, 0.05, 0.1)),
            ("slip".to_owned(), risk(Disruption::Corruption, 0.1, 0.2, 0.5)),
        ]
        .into(),
        ..Plan::default()
    }
}

fn analysis(plan: &Plan) -> Analysis {
    let book: PriceBook = toml::from_str(SHIPPED_PRICE_BOOK).unwrap();
    let assumptions: Assumptions = toml::from_str(ASSUMPTIONS).unwrap();
    let store = |name: &str, class: &str, bytes| Store {
        name: name.into(),
        class: class.into(),
        bytes,
        objects: bytes.map(|_| 40_000),
        workloads: vec!["shop".into()],
    };
    let stores = [
        store("local", "own-disk", Some(500 << 30)),
        store("ohio", "s3-standard-ia", Some(500 << 30)),
        store("vault-of-the-other-company", "s3-deep-archive", None),
    ];
    let size = WorkloadSize {
        restore_bytes: Some(800 << 30),
        stored_bytes: Some(500 << 30),
        growth_bytes_per_year: Some(2e11),
    };
    analyse(&Inputs {
        plan,
        assumptions: &assumptions,
        book: &book,
        runs: &[],
        stores: &stores,
        workloads: &[("shop".to_owned(), size)].into(),
        years: 3,
        today: date(2026, 11, 22),
    })
}

#[test]
fn the_page_fits_a_terminal_and_says_where_each_figure_is_from() {
    let plan = plan();
    let page = tables::page(&plan, &analysis(&plan), true);
    for line in page.lines() {
        assert!(line.chars().count() <= 100, "{} characters: {line}", line.chars().count());
    }
    insta::assert_snapshot!("page", page);
    let plain = tables::page(&plan, &analysis(&plan), false);
    assert!(plain.is_ascii(), "{plain}");
}

#[test]
fn the_largest_amounts_fit_too() {
    let mut plan = plan();
    let orders = plan.processes.get_mut("orders").unwrap();
    orders.cost_per_hour = Some(Money::from_units(999_999_999_999));
    orders.recovery_cost = None;
    let page = tables::page(&plan, &analysis(&plan), false);
    let long: Vec<_> = page.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn the_picture_has_an_axis_a_unit_and_no_loose_end() {
    let mut plan = plan();
    plan.currency = Some("<&\">".into());
    let picture = svg::picture(&analysis(&plan));
    assert!(picture.contains("prefers-color-scheme: dark") && picture.contains("money of today"), "{picture}");
    assert!(picture.contains("&lt;&amp;&quot;&gt;") && !picture.contains("<&"), "{picture}");
    assert_eq!(picture.matches("class=\"protection\"").count(), 7, "six strategies and the legend");
    assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
    let empty = svg::picture(&analysis(&Plan::default()));
    assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
}

#[test]
fn the_document_tells_unknown_from_nought() {
    let plan = plan();
    let document = document::document(&analysis(&plan));
    let strategies = document["groups"][0]["strategies"].as_array().unwrap();
    let of = |name: &str| strategies.iter().find(|row| row["strategy"] == name).unwrap();
    assert_eq!(of("backup_restore")["purchase"]["currency_units"], 0.0);
    assert_eq!(of("backup_restore")["purchase"]["at_least"], false);
    assert!(of("warm_standby")["purchase"]["currency_units"].is_null());
    assert_eq!(of("warm_standby")["purchase"]["missing"][0], "purchase of warm_standby of shop");
    assert_eq!(of("point_in_time")["risks"][1]["rta"]["source"]["from"], "assumptions");
    assert_eq!(of("point_in_time")["risks"][1]["rta"]["seconds"], 14_400.0);
    assert_eq!(document["locations"][2]["restore_takes_at_least_seconds"], 43_200.0);
    assert!(document["locations"][2]["stored_bytes"].is_null());
}
