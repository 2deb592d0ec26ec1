//! Beside what the program's own tests show: each rule by itself, and circles against a plain way to find them.

use super::references::circles;
use super::*;
use crate::copies::{Medium, Place, judge};
use crate::model::{Drill, Group, Likelihood, Objective, Person, Process, Risk, Role, Strategy, Tier};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3600);

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn tier(rto: Duration, rpo: Duration) -> Tier {
    Tier {
        objective: Objective { rto, rpo },
        by_disruption: [].into(),
        drill_every: Some(HOUR * 24 * 90),
        strategy: Some(Strategy::PointInTime),
        rank: None,
    }
}

fn person(name: &str, deputy: Option<&str>) -> Person {
    let deputy = deputy.map(str::to_owned);
    Person { name: name.to_owned(), email: None, phone: Some("1234".to_owned()), deputy, page: None }
}

/// A plan without a fault: one of everything.
fn good() -> (Plan, Context) {
    let (today, some) = (jiff::civil::date(2026, 11, 22), |text: &str| Some(text.to_owned()));
    let process = Process {
        title: "Orders".to_owned(),
        owner: some("ada"),
        approver: some("grace"),
        reviewed: Some(today),
        tier: some("gold"),
        users: None,
        peaks: vec![],
        cost_per_hour: Some(crate::money::Money::from_units(1)),
        impacts: vec![],
        data_loss_cost_per_hour: Some(crate::money::Money::ZERO),
        recovery_cost: None,
        maximum_tolerable_downtime: Some(HOUR * 8),
        groups: names(&["shop"]),
        depends_on: [].into(),
        workaround: None,
    };
    let group = Group {
        title: None,
        tier: None,
        workloads: names(&["orders"]),
        vendor_steps: [].into(),
        after: [].into(),
        health: [].into(),
    };
    let risk = Risk {
        threat: "a server dies".to_owned(),
        disruption: Disruption::Instance,
        per_year: Likelihood { low: 0.1, expected: 0.5, high: 1.0 },
        processes: [].into(),
        mitigation: some("copies"),
        owner: some("ada"),
        reviewed: Some(today),
    };
    let drill = Drill {
        scenario: "restore".to_owned(),
        target: some("shop"),
        every: None,
        owner: some("recovers"),
        approver: some("grace"),
        participants: [].into(),
        with: [].into(),
    };
    let role = Role {
        title: "recovers".to_owned(),
        people: vec!["ada".to_owned(), "grace".to_owned()],
        escalate_after: Some(HOUR),
    };
    let plan = Plan {
        organisation: None,
        currency: some("EUR"),
        review_within: Some(HOUR * 24 * 365),
        processes: [("checkout".to_owned(), process)].into(),
        tiers: [("gold".to_owned(), tier(HOUR, Duration::from_secs(5)))].into(),
        groups: [("shop".to_owned(), group)].into(),
        risks: [("server".to_owned(), risk)].into(),
        people: [("ada".to_owned(), person("Ada", None)), ("grace".to_owned(), person("Grace", None))].into(),
        roles: [("recovers".to_owned(), role)].into(),
        vendor_steps: [].into(),
        drills: [("back".to_owned(), drill)].into(),
    };
    let protected = Protected {
        backup_within: Some(HOUR * 26),
        log_interval: Duration::from_secs(1),
        has_check: true,
        ..Protected::default()
    };
    let scenarios = Some(names(&["restore", "ransomware"]));
    let context =
        Context { today, workloads: [("orders".to_owned(), protected)].into(), clusters: [].into(), scenarios };
    (plan, context)
}

type Change = fn(&mut Plan, &mut Context);

fn gold(plan: &mut Plan) -> &mut Tier {
    plan.tiers.get_mut("gold").unwrap()
}

fn orders(context: &mut Context) -> &mut Protected {
    context.workloads.get_mut("orders").unwrap()
}

fn fears(plan: &mut Plan, kind: Disruption) {
    plan.risks.get_mut("server").unwrap().disruption = kind;
}

/// Beside the mistakes that the program's own tests show: what takes more than a change of one line.
const CASES: &[(&str, Change, &[&str])] = &[
    ("nothing", |_, _| {}, &[]),
    ("no plan", |plan, _| *plan = Plan::default(), &["problem plan no-plan"]),
    (
        "unknown scenario",
        |plan, _| plan.drills.get_mut("back").unwrap().scenario = "restor".into(),
        &["problem drill.back.scenario unknown-name"],
    ),
    (
        "scenarios that can't be known",
        |plan, context| {
            plan.drills.get_mut("back").unwrap().scenario = "restor".into();
            context.scenarios = None;
        },
        &[],
    ),
    (
        "likelihood out of order",
        |plan, _| plan.risks.get_mut("server").unwrap().per_year.low = 0.7,
        &["problem risk.server.per_year likelihood-order"],
    ),
    (
        "nothing lost, no commit waits",
        |plan, _| gold(plan).objective.rpo = Duration::ZERO,
        &["problem tier.gold.rpo rpo-zero"],
    ),
    (
        "nothing lost with a server, something after corruption",
        |plan, context| {
            gold(plan).objective.rpo = Duration::ZERO;
            orders(context).commits_survive = [Disruption::Instance, Disruption::Site].into();
        },
        &["warning tier.gold.rpo rpo-zero"],
    ),
    (
        "the same, feared",
        |plan, context| {
            gold(plan).objective.rpo = Duration::ZERO;
            orders(context).commits_survive = [Disruption::Instance, Disruption::Site].into();
            fears(plan, Disruption::Corruption);
        },
        &["problem tier.gold.rpo rpo-zero"],
    ),
    (
        "nothing lost, and commits stay in the region",
        |plan, context| {
            gold(plan).objective.rpo = Duration::ZERO;
            gold(plan).by_disruption.insert(Disruption::Corruption, Objective { rto: HOUR, rpo: HOUR });
            orders(context).commits_survive = [Disruption::Instance].into();
        },
        &["warning tier.gold.rpo rpo-zero"],
    ),
    (
        "nothing lost at a site, said so",
        |plan, context| {
            gold(plan).by_disruption.insert(Disruption::Site, Objective { rto: HOUR, rpo: Duration::ZERO });
            orders(context).commits_survive = [Disruption::Instance].into();
        },
        &["problem tier.gold.site.rpo rpo-zero"],
    ),
    (
        "nothing lost, and it is so",
        |plan, context| {
            gold(plan).objective.rpo = Duration::ZERO;
            gold(plan).by_disruption.insert(Disruption::Corruption, Objective { rto: HOUR, rpo: HOUR });
            orders(context).commits_survive = [Disruption::Instance, Disruption::Site].into();
        },
        &[],
    ),
    (
        "the lag counts",
        |_, context| orders(context).lag_max = Some(Duration::from_secs(5)),
        &["problem tier.gold.rpo rpo-under-possible"],
    ),
    (
        "copies only, and nobody says how often",
        |plan, context| {
            gold(plan).strategy = Some(Strategy::BackupRestore);
            orders(context).backup_within = None;
        },
        &["warning workload.orders.backup_within no-backup-interval"],
    ),
    (
        "pilot light with nothing elsewhere",
        |plan, _| gold(plan).strategy = Some(Strategy::PilotLight),
        &["problem tier.gold.strategy nothing-elsewhere"],
    ),
    (
        "hot standby with a standby only",
        |plan, context| {
            gold(plan).strategy = Some(Strategy::HotStandby);
            gold(plan).by_disruption.insert(Disruption::Corruption, Objective { rto: HOUR, rpo: HOUR });
            orders(context).has_standby = true;
        },
        &["warning tier.gold.strategy no-cluster"],
    ),
    (
        "ransomware, and every copy can be deleted",
        |plan, context| {
            let place = |name: &str, region: &str, medium| Place {
                name: name.into(),
                region: Some(region.into()),
                medium,
                is_immutable: false,
                shares_device: false,
                is_there: true,
                is_current: true,
            };
            orders(context).copies =
                Some(judge(Some("a"), &[place("near", "a", Medium::Disk), place("far", "b", Medium::Object)]));
            fears(plan, Disruption::Ransomware);
        },
        &["problem workload.orders.locations three-two-one"],
    ),
    (
        "a circle of one",
        |plan, _| {
            plan.processes.get_mut("checkout").unwrap().depends_on = names(&["checkout"]);
        },
        &["problem process.checkout.depends_on.checkout circle"],
    ),
    (
        "a lower tier that is as quick",
        |plan, _| {
            let mut other = plan.processes["checkout"].clone();
            other.tier = Some("silver".into());
            plan.processes.insert("payment".into(), other);
            plan.processes.get_mut("checkout").unwrap().depends_on = names(&["payment"]);
            gold(plan).rank = Some(1);
            let silver = Tier { rank: Some(2), ..plan.tiers["gold"].clone() };
            plan.tiers.insert("silver".into(), silver);
        },
        &["problem process.checkout.depends_on.payment dependency-lower"],
    ),
    (
        "a process that no risk touches",
        |plan, _| {
            let other = plan.processes["checkout"].clone();
            plan.processes.insert("payment".into(), other);
            plan.risks.get_mut("server").unwrap().processes = names(&["payment"]);
        },
        &["warning process.checkout no-risk"],
    ),
    ("no risk", |plan, _| plan.risks.clear(), &["warning plan no-risk"]),
    (
        "a deputy stands in",
        |plan, _| {
            plan.roles.get_mut("recovers").unwrap().people.pop();
            plan.people.get_mut("ada").unwrap().deputy = Some("grace".into());
        },
        &[],
    ),
    (
        "a drill without a target, and two groups",
        |plan, _| {
            plan.drills.get_mut("back").unwrap().target = None;
            let empty = Group { tier: Some("gold".into()), workloads: [].into(), ..plan.groups["shop"].clone() };
            plan.groups.insert("other".into(), empty);
            plan.processes.get_mut("checkout").unwrap().groups.insert("other".into());
        },
        &[
            "problem group.other group-empty",
            "problem group.other no-drill",
            "problem group.shop no-drill",
            "warning drill.back.every no-drill-cadence",
        ],
    ),
];

#[test]
fn each_change_gives_its_finding_and_no_other() {
    for (what, change, expected) in CASES {
        let (mut plan, mut context) = good();
        change(&mut plan, &mut context);
        let found = check(&plan, &context);
        assert_eq!(found, check(&plan, &context), "{what}: the same twice");
        let word = |severity| if severity == Severity::Problem { "problem" } else { "warning" };
        let mut found: Vec<String> =
            found.iter().map(|one| format!("{} {} {}", word(one.severity), one.path, one.code)).collect();
        found.sort();
        assert_eq!(found, *expected, "{what}");
    }
}

#[test]
fn times_are_said_as_they_are_written() {
    for (seconds, expected) in [(0, "0s"), (90, "90s"), (120, "2m"), (5400, "90m"), (26 * 3600, "26h"), (86_400, "1d")]
    {
        assert_eq!(spoken(Duration::from_secs(seconds)), expected);
    }
    assert_eq!(spoken(Duration::from_millis(1500)), "1500ms");
    assert_eq!(listed(["a", "b", "c"]), "a, b and c");
}

proptest! {
    /// Against the plain way: what is left when whoever waits for nobody is taken away, again and again.
    #[test]
    fn circles_are_found_exactly_where_there_are_some(pairs in proptest::collection::vec((0u8..7, 0u8..7), 0..14)) {
        let mut owned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in &pairs {
            owned.entry(from.to_string()).or_default().insert(to.to_string());
        }
        let edges: BTreeMap<&str, &BTreeSet<String>> = owned.iter().map(|(name, after)| (name.as_str(), after)).collect();
        let mut left = owned.clone();
        while let Some(free) = left.iter().find(|(_, after)| !after.iter().any(|name| left.contains_key(name))).map(|(name, _)| name.clone()) {
            left.remove(&free);
        }
        let found = circles(&edges);
        prop_assert_eq!(found.is_empty(), left.is_empty(), "{:?} {:?}", found, left);
        for circle in found {
            for (at, name) in circle.iter().enumerate() {
                let next = circle[(at + 1) % circle.len()];
                prop_assert!(owned[*name].contains(next), "{circle:?}");
            }
        }
    }
}
