//! A plan with one group, and the study's example (§5.5): 3,950 for an hour, 2,000 for an hour of data, 2,000 for a recovery, and 8,000 more
//! when it takes over an hour; a site is lost in one of 20 years, a database in one of two, data is corrupted in one of five.

use jiff::civil::date;
use lifeboat_plan::cost::{Analysis, Assumptions, Inputs, PriceBook, analyse};
use lifeboat_plan::model::{Disruption, Group, Impact, Likelihood, Objective, Plan, Process, Risk, Strategy, Tier};
use lifeboat_plan::money::Money;
use std::collections::BTreeMap;
use std::time::Duration;

pub const HOUR: Duration = Duration::from_secs(3600);

pub fn units(units: i64) -> Money {
    Money::from_units(units)
}

pub fn process(cost_per_hour: Option<Money>) -> Process {
    Process {
        title: "Orders are taken".into(),
        owner: None,
        approver: None,
        reviewed: None,
        tier: Some("gold".into()),
        users: None,
        peaks: vec![],
        cost_per_hour,
        impacts: vec![],
        data_loss_cost_per_hour: None,
        recovery_cost: None,
        maximum_tolerable_downtime: None,
        groups: ["shop".to_owned()].into(),
        depends_on: [].into(),
        workaround: None,
    }
}

pub fn impact(after: Duration, cost: i64) -> Impact {
    Impact { after, cost: Some(units(cost)), words: None }
}

pub fn risk(disruption: Disruption, expected: f64) -> Risk {
    Risk {
        threat: String::new(),
        disruption,
        per_year: Likelihood { low: expected / 2.0, expected, high: expected * 3.0 },
        processes: [].into(),
        mitigation: None,
        owner: None,
        reviewed: None,
    }
}

pub fn study_plan() -> Plan {
    let mut orders = process(Some(units(3950)));
    orders.data_loss_cost_per_hour = Some(units(2000));
    orders.recovery_cost = Some(units(2000));
    orders.impacts = vec![impact(HOUR, 0), impact(HOUR + Duration::from_millis(1), 8000)];
    let objective = Objective { rto: 4 * HOUR, rpo: HOUR / 4 };
    Plan {
        processes: [("orders".to_owned(), orders)].into(),
        tiers: [(
            "gold".to_owned(),
            Tier {
                objective,
                by_disruption: [].into(),
                drill_every: None,
                strategy: Some(Strategy::PilotLight),
                rank: None,
            },
        )]
        .into(),
        groups: [(
            "shop".to_owned(),
            Group {
                title: None,
                tier: None,
                workloads: ["shop".to_owned()].into(),
                vendor_steps: [].into(),
                after: [].into(),
                health: [].into(),
            },
        )]
        .into(),
        risks: [
            ("fire".to_owned(), risk(Disruption::Site, 0.05)),
            ("server".to_owned(), risk(Disruption::Instance, 0.5)),
            ("slip".to_owned(), risk(Disruption::Corruption, 0.2)),
        ]
        .into(),
        ..Plan::default()
    }
}

/// The study doesn't print its times; these give each of its figures to the unit.
pub const STUDY_ASSUMPTIONS: &str = r#"
[strategy.backup_restore]
capital = { purchase = 0, operation_per_year = 3000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.site = { rta = "18h", rpa = "12h" }
expected.instance = { rta = "6h", rpa = "12h" }
expected.corruption = { rta = "6h", rpa = "12h" }
[strategy.point_in_time]
capital = { purchase = 5000, operation_per_year = 6000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.site = { rta = "12h", rpa = "15m" }
expected.instance = { rta = "4h", rpa = "6m" }
expected.corruption = { rta = "4h", rpa = "15m" }
[strategy.pilot_light]
capital = { purchase = 15000, operation_per_year = 18000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.site = { rta = "30m", rpa = "6m" }
expected.instance = { rta = "30m", rpa = "6m" }
[strategy.warm_standby]
capital = { purchase = 25000, operation_per_year = 45000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.site = { rta = "4m", rpa = "18s" }
expected.instance = { rta = "4m", rpa = "18s" }
[strategy.active_active]
capital = { purchase = 60000, operation_per_year = 110000 }
subscription = { per_year = 0 }
use = { per_hour = 0 }
expected.site = { rta = "36s", rpa = "7200ms" }
expected.instance = { rta = "36s", rpa = "7200ms" }
"#;

pub fn analysed(plan: &Plan, assumptions: &str, years: u32) -> Analysis {
    let assumptions: Assumptions = toml::from_str(assumptions).unwrap();
    with(plan, &assumptions, years)
}

pub fn with(plan: &Plan, assumptions: &Assumptions, years: u32) -> Analysis {
    let book = PriceBook::default();
    let workloads = BTreeMap::new();
    analyse(&Inputs {
        plan,
        assumptions,
        book: &book,
        runs: &[],
        stores: &[],
        workloads: &workloads,
        years,
        today: date(2026, 11, 22),
    })
}
