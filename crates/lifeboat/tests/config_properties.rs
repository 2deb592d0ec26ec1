//! The configuration against texts that nobody would write, and the promise for `restore`.

use lifeboat_cli::config::{UnknownKeys, load, load_clusters, parse, parse_including};
use lifeboat_plan::consistency::{Context, check};
use proptest::prelude::*;

const GOOD: &str = "[location.local]\nurl = \"file:///x\"\n[encryption]\npassphrase = { env = \"P\" }\n";

#[test]
fn a_newer_file_stops_a_backup_but_not_a_restore() {
    let newer = format!("{GOOD}algorithm = \"new\"\n[future]\nx = 1\n");
    let refused = parse("f", &newer, UnknownKeys::Refuse).expect_err("unknown keys are refused");
    let parsed = parse("f", &newer, UnknownKeys::Warn).expect("unknown keys only warn");
    assert_eq!(parsed.warnings, refused.0);
    assert_eq!(refused.0.len(), 2);
}

#[test]
fn one_sound_location_is_enough_for_a_restore() {
    let broken =
        format!("state_dir = 1\n{GOOD}[location.ohio]\nurl = \"ftp://x\"\n[workload.shop]\nkind = \"postgres\"\n");
    let refused = parse("f", &broken, UnknownKeys::Refuse).expect_err("a backup needs all of it");
    let parsed = parse("f", &broken, UnknownKeys::Warn).expect("a restore needs a location and the passphrase");
    assert_eq!(parsed.warnings, refused.0);
    assert_eq!(parsed.config.locations.keys().collect::<Vec<_>>(), ["local"]);
    let without_location = "[encryption]\npassphrase = { env = \"P\" }\n";
    assert!(parse("f", without_location, UnknownKeys::Warn).is_err());
    let without_passphrase = "[location.local]\nurl = \"file:///x\"\n";
    assert!(parse("f", without_passphrase, UnknownKeys::Warn).is_err());
}

#[test]
fn values_arrive_as_written() {
    let text = format!(
        "compression_level = 9\n{GOOD}[workload.shop]\nkind = \"postgres\"\ndata_dir = \"/d\"\nconnection = \"host=h\"\n\
         keep = {{ last = 3, yearly = 1 }}\nmax_rate = \"64MiB/s\"\nworkers = 4\nwindow = \"22:00-06:00\"\ncheckpoint = \"spread\"\n\
         wal_tail_interval = \"500ms\"\nslot = \"boat\"\nbackup_within = \"26h\"\n\
         verify_within = {{ boot = \"7d\" }}\ncheck = [\"select true\"]\n"
    );
    let config = parse("f", &text, UnknownKeys::Refuse).expect("a good configuration").config;
    insta::assert_debug_snapshot!(config);
}

/// Every key of every section of a plan.
const PLAN: &str = r#"
[plan]
organisation = "Shop Ltd"
currency = "EUR"
review_within = "365d"
assumptions = "costs.toml"
price_book = "prices.toml"

[process.checkout]
title = "Orders are taken"
owner = "ada"
approver = "grace"
reviewed = 2026-10-01
tier = "gold"
users = 1200
peaks = ["Fridays, 16:00 to 20:00"]
cost_per_hour = 3950
impacts = [{ after = "1h", cost = 4000.5, words = "first customers go elsewhere" }, { after = "1d", words = "the press calls" }]
data_loss_cost_per_hour = 2000
recovery_cost = 10_000
maximum_tolerable_downtime = "8h"
groups = ["shop"]
depends_on = ["payment"]
workaround = """
Orders are written
on paper."""

[process.payment]
title = "Money comes in"

[tier.gold]
rto = "4h"
rpo = "0s"
corruption = { rto = "6h", rpo = "5m" }
site = { rto = "8h" }
drill_every = "90d"
strategy = "hot_standby"
rank = 1

[group.shop]
title = "The shop"
tier = "gold"
workloads = ["orders", "stock"]
vendor_steps = ["vms"]
after = { vms = ["orders", "stock"] }
health = { orders = ["select count(*) > 0 from orders"] }

[risk.fire]
threat = "the data centre burns"
disruption = "site"
per_year = 0.05
processes = ["checkout"]
mitigation = "a standby in Ohio"
owner = "ada"
reviewed = "2026-10-02"

[risk.slip]
threat = "a table is dropped"
disruption = "corruption"
per_year = { low = 0.1, expected = 1, high = 4 }

[person.ada]
name = "Ada Lovelace"
email = "ada@example.com"
phone = "+44 20 7946 0001"
deputy = "grace"
page = ["/usr/local/bin/page", "ada"]

[role.decides]
title = "decides whether to fail over"
people = ["ada", "grace"]
escalate_after = "15m"

[vendor_step.vms]
title = "vSphere starts the application servers"
time_limit = "10m"
on_failure = "rollback"
undo = { command = ["/usr/local/bin/vms", "stop"] }

[vendor_step.vms.http]
method = "POST"
url = "https://vcenter.example.com/start"
body = "{}"
headers = { Accept = "application/json", Authorization = { env = "TOKEN" } }
expected_status = 202

[drill.restore]
scenario = "restore"
target = "shop"
every = "30d"
owner = "decides"
approver = "grace"
participants = ["ada"]
with = { database = "orders", rows = 10, quick = true }

[scenario.own]
title = "ours"
"#;

#[test]
fn a_plan_arrives_as_written_with_its_places() {
    let config = parse("f", &format!("{GOOD}{PLAN}"), UnknownKeys::Refuse).expect("a good plan").config.plan;
    insta::assert_debug_snapshot!("a_plan_arrives_as_written", (&config.plan, &config.vendor_secrets));
    assert_eq!(config.scenario_names().collect::<Vec<_>>(), ["own"]);
    let text = format!("{GOOD}{PLAN}");
    let line = |needle: &str| text.lines().position(|line| line.contains(needle)).expect("a line") + 1;
    for (path, needle) in [
        ("location.local", "[location.local]"),
        ("plan", "[plan]"),
        ("plan.currency", "currency ="),
        ("process.checkout", "[process.checkout]"),
        ("process.checkout.tier", "tier ="),
        ("process.checkout.groups.shop", "groups ="),
        ("process.checkout.impacts.1.words", "impacts ="),
        ("process.payment.tier", "[process.payment]"),
        ("tier.gold.corruption.rpo", "corruption ="),
        ("tier.gold.ransomware", "[tier.gold]"),
        ("vendor_step.vms.http.url", "url = \"https"),
        ("scenario.own.title", "title = \"ours\""),
    ] {
        assert_eq!(config.places.get(path).map(|place| place.line), Some(line(needle)), "{path}");
    }
    let further_up = config.place("risk.fire.threat.nothing").expect("what it belongs to");
    assert_eq!((further_up.file.as_str(), further_up.line), ("f", line("the data centre burns")));
    assert_eq!(config.place("risk.flood"), None);
}

#[test]
fn a_broken_plan_stops_no_restore_and_no_cluster() {
    let directory = tempfile::tempdir().expect("a directory");
    let main = directory.path().join("lifeboat.toml");
    let included = directory.path().join("plan.toml");
    std::fs::write(
        &main,
        format!("include = [\"plan.toml\", \"gone.toml\"]\n{GOOD}[tier.gold]\nrto = \"1h\"\nrpo = \"0s\"\n"),
    )
    .expect("write");
    std::fs::write(&included, "[tier.silver]\nrto = 5\n").expect("write");
    let refused = load(Some(&main), UnknownKeys::Refuse).expect_err("a backup wants all of it").to_string();
    assert!(refused.contains("gone.toml") && refused.contains("plan.toml:2: `rto`"), "{refused}");
    let parsed = load(Some(&main), UnknownKeys::Warn).expect("a restore needs no plan").parsed;
    assert_eq!(parsed.warnings.len(), 3, "{:?}", parsed.warnings);
    assert_eq!(parsed.config.plan.plan, Default::default(), "half a plan is none");
    assert_eq!(parsed.config.locations.len(), 1);
    load_clusters(Some(&main)).expect("an agent needs no plan");
}

#[test]
fn included_files_are_part_of_the_plan() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("write");
    std::fs::create_dir(directory.path().join("plan.d")).expect("a directory");
    write("lifeboat.toml", &format!("include = [\"plan.d/*.toml\", \"*.toml\", \"plan.d/b.toml\"]\n{GOOD}"));
    write("plan.d/b.toml", "[person.ada]\nname = \"Ada\"\n[scenario.own]\nx = 1\n");
    write("plan.d/a.toml", "\n\n[person.grace]\nname = \"Grace\"\n");
    write("more.toml", "[tier.gold]\nrto = \"1h\"\nrpo = \"0s\"\n");
    write("plan.d/.hidden.toml", "[person.ada]\nname = \"Ada\"\n");
    write("plan.d/a.toml~", "[person.ada]\nname = \"Ada\"\n");
    let config =
        load(Some(&directory.path().join("lifeboat.toml")), UnknownKeys::Refuse).expect("good").parsed.config.plan;
    assert_eq!(config.plan.people.keys().collect::<Vec<_>>(), ["ada", "grace"]);
    let files = config.included.iter().map(|file| file.rsplit('/').next().unwrap_or_default());
    assert_eq!(files.collect::<Vec<_>>(), ["a.toml", "b.toml", "more.toml"]);
    assert_eq!(config.place("person.grace").map(|place| place.line), Some(3));
    assert_eq!(config.scenario_files.len(), 1);
    assert!(config.scenario_files[0].0.ends_with("plan.d/b.toml"));
}

proptest! {
    /// Cuts and swaps inside a whole plan, in the file itself and in one that it includes.
    #[test]
    fn a_damaged_plan_is_problems_or_a_plan(at in 0..PLAN.len(), with in "[\\[\\]{}=\",.a-z0-9\\-\n]{0,4}", skip in 0usize..12) {
        let end = (at + skip).min(PLAN.len());
        let damaged = format!("{}{with}{}", &PLAN[..at], &PLAN[end..]);
        let lines = |text: &str| text.lines().count() + 1;
        let own = format!("{GOOD}{damaged}");
        if let Err(problems) = parse("f", &own, UnknownKeys::Refuse) {
            prop_assert!(problems.0.iter().all(|problem| problem.line.is_none_or(|line| line <= lines(&own))));
            prop_assert!(problems.0.iter().all(|problem| problem.message.chars().count() < 500));
        }
        let included = |_: &str| Ok(vec![("g".to_owned(), damaged.clone())]);
        let main = format!("include = [\"g\"]\n{GOOD}");
        if let Err(problems) = parse_including("f", &main, UnknownKeys::Refuse, &included) {
            prop_assert!(!problems.0.is_empty());
            prop_assert!(problems.0.iter().all(|problem| problem.file == "g"), "{:?}", problems);
        }
        let config = parse_including("f", &main, UnknownKeys::Warn, &included).expect("a restore").config.plan;
        let context = Context { today: jiff::civil::date(2026, 11, 22), workloads: [].into(), clusters: [].into(), scenarios: None };
        for finding in check(&config.plan, &context) {
            let is_known = finding.path.starts_with("plan") || config.place(&finding.path).is_some();
            prop_assert!(is_known, "{finding:?} has no place");
        }
    }

    #[test]
    fn no_included_text_panics(text in "\\PC{0,300}") {
        let _ = parse_including("f", &format!("include = [\"g\"]\n{GOOD}"), UnknownKeys::Warn, &|_| Ok(vec![("g".into(), text.clone())]));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,300}") {
        let _ = parse("f", &text, UnknownKeys::Refuse);
    }

    /// Cuts and swaps inside a real file reach deeper than random text.
    #[test]
    fn a_damaged_file_is_problems_or_a_configuration(at in 0..GOOD.len(), with in "[\\[\\]{}=\",.a-z0-9\n]{0,3}", skip in 0usize..5) {
        let end = (at + skip).min(GOOD.len());
        let text = format!("{}{with}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(problems) = parse("f", &text, UnknownKeys::Refuse) {
            prop_assert!(!problems.0.is_empty());
            let lines = text.lines().count() + 1;
            prop_assert!(problems.0.iter().all(|problem| problem.line.is_none_or(|line| line <= lines)));
        }
    }
}
