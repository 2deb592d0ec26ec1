//! Plans with each kind of mistake, one screen each: the place, the reason, the fix. And the one in the documentation, which has none.

use crate::program::{Ran, lifeboat};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Between the reviews of the example and their end.
const DAY: &str = "2026-11-22";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The configuration of the page about plans, and the plan that belongs to it.
fn example() -> (String, String) {
    let page = std::fs::read_to_string(docs().join("plan.md")).expect("read the page");
    let main = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a configuration");
    let main = main.replace(", \"plan.d/*.toml\"", "");
    (main, std::fs::read_to_string(docs().join("plan.example.toml")).expect("read the example"))
}

fn check(main: &str, plan: &str, arguments: &[&str]) -> Ran {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("lifeboat.toml"), main).expect("write");
    std::fs::write(directory.path().join("plan.toml"), plan).expect("write");
    lifeboat(directory.path(), &[&["plan", "check"], arguments].concat())
}

/// Each case replaces one text of the example by another.
const CONTRADICTIONS: &[(&str, &str, &str)] = &[
    ("RTO over what is bearable", "maximum_tolerable_downtime = \"8h\"", "maximum_tolerable_downtime = \"1h\""),
    ("RTO after corruption over it", "corruption = { rto = \"4h\"", "corruption = { rto = \"9h\""),
    ("RTO near it", "maximum_tolerable_downtime = \"8h\"", "maximum_tolerable_downtime = \"7h\""),
    ("RPO under the log's interval", "rpo = \"5s\"", "rpo = \"500ms\""),
    ("RPO under the backup's interval", "rpo = \"26h\"", "rpo = \"4h\""),
    ("nothing lost, and no commit waits", "rpo = \"5s\"", "rpo = \"0s\""),
    ("nothing lost after corruption", "rto = \"4h\", rpo = \"15m\"", "rto = \"4h\", rpo = \"0s\""),
    ("copies alone within minutes", "rto = \"3d\"", "rto = \"10m\""),
    ("hot standby without a cluster", "\"warm_standby\"", "\"hot_standby\""),
    ("standby where there is none", "\"backup_restore\"", "\"warm_standby\""),
    ("active/active", "\"backup_restore\"", "\"active_active\""),
    ("nothing said about corruption", "corruption = {", "# corruption = {"),
    ("a dependency in a slower tier", "tier = \"gold\"\nusers = 60", "tier = \"bronze\"\nusers = 60"),
    ("ranks against promises", "rank = 3", "rank = 0"),
    ("a group that is slower", "title = \"The shop and its stock\"", "tier = \"bronze\""),
    (
        "all groups one after the other",
        "groups = [\"shop\"]\ndepends_on = [",
        "groups = [\"shop\"]\ndepends_on = [\"reporting\", ",
    ),
    ("a vendor step longer than the RTO", "time_limit = \"10m\"", "time_limit = \"2h\""),
    ("a workload in no group", "workloads = [\"reports\"]", "workloads = []"),
    ("a workload in two groups", "workloads = [\"reports\"]", "workloads = [\"reports\", \"stock\"]"),
    ("a group that nobody needs", "groups = [\"reports\"]", "groups = [\"shop\"]"),
    ("no way to tell health", "health = {", "# health = {"),
    ("unknown tier", "tier = \"bronze\"", "tier = \"bronse\""),
    ("unknown person", "owner = \"linus\"", "owner = \"linux\""),
    ("unknown group", "groups = [\"shop\"]\n\n", "groups = [\"shops\"]\n\n"),
    ("unknown workload", "[\"orders\", \"stock\"]", "[\"orders\", \"stok\"]"),
    ("unknown process", "depends_on = [\"stock-keeping\"]", "depends_on = [\"stock-keping\"]"),
    ("unknown vendor step", "vendor_steps = [\"application-servers\"]", "vendor_steps = [\"application-server\"]"),
    ("unknown target", "target = \"reports\"", "target = \"report\""),
    ("a circle of processes", "groups = [\"shop\"]\n\n", "groups = [\"shop\"]\ndepends_on = [\"checkout\"]\n\n"),
    ("a circle in a group", "after = { orders = [\"stock\"]", "after = { stock = [\"orders\"], orders = [\"stock\"]"),
    ("review overdue", "reviewed = 2026-10-01\ntier = \"bronze\"", "reviewed = 2025-10-01\ntier = \"bronze\""),
    ("review to come", "reviewed = 2026-10-01\ntier = \"bronze\"", "reviewed = 2027-10-01\ntier = \"bronze\""),
    ("never reviewed", "reviewed = 2026-10-01\ntier = \"bronze\"", "tier = \"bronze\""),
    ("no cadence of reviews", "review_within = \"365d\"", ""),
    ("owner approves", "approver = \"ada\"", "approver = \"grace\""),
    ("neither owner nor approver", "owner = \"grace\"\napprover = \"ada\"\n", ""),
    ("nobody can be reached", "phone = \"+1 212 555 0102\"", ""),
    ("only mail", "phone = \"+44 20 7946 0001\"", ""),
    (
        "somebody nobody names",
        "[role.decides]",
        "[person.rosalind]\nname = \"Rosalind\"\nphone = \"+1 212 555 0104\"\n[role.decides]",
    ),
    ("a role for one", "people = [\"linus\", \"ada\"]", "people = [\"linus\"]"),
    ("a role for nobody", "people = [\"ada\", \"grace\"]", "people = []"),
    ("no escalation", "escalate_after = \"10m\"", ""),
    ("own deputy", "deputy = \"grace\"", "deputy = \"ada\""),
    ("risk without owner and mitigation", "mitigation = \"a standby and a copy in Ohio\"\nowner = \"linus\"\n", ""),
    ("a risk that never happens", "per_year = 0.5", "per_year = 0"),
    ("impact falls", "cost = 20_000", "cost = 2_000"),
    ("impact out of order", "after = \"4h\"", "after = \"30m\""),
    ("no cost", "cost_per_hour = 20\n", ""),
    ("no currency", "currency = \"EUR\"", ""),
    ("everything first", "tier = \"bronze\"\nusers", "tier = \"gold\"\nusers"),
    ("drill too seldom", "owner = \"recovers\"", "owner = \"recovers\"\nevery = \"180d\""),
    ("no drill", "target = \"reports\"", "target = \"shop\""),
    ("no cadence of drills", "drill_every = \"365d\"", ""),
    ("less than one drill in a year", "drill_every = \"365d\"", "drill_every = \"730d\""),
    ("drill without owner", "target = \"reports\"\nowner = \"linus\"", "target = \"reports\""),
];

/// The same for the configuration around the plan.
const AROUND: &[(&str, &str, &str)] = &[
    ("nobody can't delete a copy", "immutable = true\n", ""),
    ("no copy in another region", "region = \"us-east-2\"", "region = \"eu-central-1\""),
    ("no interval of backups", "backup_within = \"26h\"\ncheck = [\"select true\"]", "check = [\"select true\"]"),
    (
        "one more workload",
        "[workload.stock]",
        "[workload.payments]\nkind = \"postgres\"\nconnection = \"host=db\"\nregion = \"eu-central-1\"\nbackup_within = \"26h\"\n\n[workload.stock]",
    ),
    ("a log that is sent seldom", "standbys = [\"ohio\"]\n", "standbys = [\"ohio\"]\nwal_tail_interval = \"1m\"\n"),
    ("nothing of a plan", "include = [\"plan.toml\"]", ""),
];

/// The same, for what can't be read.
const MALFORMED: &[(&str, &str, &str)] = &[
    ("not TOML", "[risk.fire]", "[risk.fire"),
    ("unknown section", "[risk.fire]", "[risks.fire]"),
    ("unknown key", "maximum_tolerable_downtime = \"8h\"", "max_tolerable_downtime = \"8h\""),
    ("no title", "title = \"Orders are taken and paid\"", ""),
    ("a title on two lines", "title = \"Orders are taken and paid\"", "title = \"a\\nb\""),
    ("time without unit", "rto = \"1h\"", "rto = 60"),
    ("tier without promise", "rto = \"3d\"\nrpo = \"26h\"\n", ""),
    ("kind of disruption without promise", "{ rto = \"6h\", rpo = \"1h\" }", "{}"),
    ("unknown strategy", "\"backup_restore\"", "\"backup\""),
    ("date as text", "reviewed = 2026-10-01", "reviewed = \"October\""),
    ("date with a time", "reviewed = 2026-10-01", "reviewed = 2026-10-01T10:00:00Z"),
    ("no such day", "reviewed = 2026-10-01", "reviewed = \"2026-02-30\""),
    ("amount below nought", "cost_per_hour = 3950", "cost_per_hour = -1"),
    ("amount as text", "cost_per_hour = 3950", "cost_per_hour = \"3,950\""),
    ("currency in words", "\"EUR\"", "\"euro\""),
    ("impacts as text", "impacts = [", "impacts = [ \"a\","),
    (
        "an impact that says nothing",
        "{ after = \"1h\", cost = 4_000, words = \"first customers go elsewhere\" }",
        "{ after = \"1h\" }",
    ),
    ("a list as text", "groups = [\"reports\"]", "groups = \"reports\""),
    ("a name twice", "people = [\"ada\", \"grace\"]", "people = [\"ada\", \"ada\"]"),
    ("no name", "owner = \"recovers\"", "owner = \"Linus Pauling\""),
    ("address without @", "ada@example.com", "example.com"),
    ("telephone in words", "+44 20 7946 0001", "ask Grace"),
    ("likelihood as text", "per_year = 0.5", "per_year = \"often\""),
    ("likelihood out of order", "low = 0.01, expected = 0.05", "low = 0.1, expected = 0.05"),
    ("unknown disruption", "disruption = \"site\"", "disruption = \"fire\""),
    ("step without an action", "[vendor_step.application-servers.http]", "[vendor_step.application-servers.htp]"),
    ("step with two actions", "time_limit = \"10m\"", "time_limit = \"10m\"\ncommand = [\"true\"]"),
    ("step without limit and policy", "time_limit = \"10m\"\non_failure = \"rollback\"", ""),
    ("rollback without undo", "undo = {", "# undo = {"),
    (
        "command as text",
        "undo = { command = [\"/usr/local/bin/application-servers\", \"stop\"] }",
        "undo = { command = \"stop\" }",
    ),
    (
        "secret written out",
        "Authorization = { file = \"/etc/lifeboat/vcenter-token\" }",
        "Authorization = \"Bearer topsecret\"",
    ),
    ("secret from a relative file", "{ file = \"/etc/lifeboat/vcenter-token\" }", "{ file = \"token\" }"),
    ("password in an address", "https://vcenter", "https://me:topsecret@vcenter"),
    ("no address", "https://vcenter.example.com/api/shop/start", "vcenter"),
    ("unknown policy", "on_failure = \"rollback\"", "on_failure = \"ignore\""),
    ("drill without scenario", "scenario = \"restore-database\"\n", ""),
    ("drill with a list", "{ table = \"orders\" }", "{ table = [\"orders\"] }"),
    ("a connection in an included file", "[plan]", "[workload.shop]\nkind = \"postgres\"\n[plan]"),
    ("an include in an included file", "[plan]", "include = [\"more.toml\"]\n[plan]"),
    ("process as text", "[plan]", "process = \"checkout\"\n[plan]"),
];

fn screens(cases: &[(&str, &str, &str)], code: impl Fn(&Ran) -> bool, around: bool) -> String {
    let (main, plan) = example();
    let mut screens = String::new();
    for (what, from, to) in cases {
        let changed = if around { &main } else { &plan };
        assert!(changed.contains(from), "{what}: nothing to replace");
        let changed = changed.replacen(from, to, 1);
        let ran = match around {
            true => check(&changed, &plan, &["--on", DAY]),
            false => check(&main, &changed, &["--on", DAY]),
        };
        assert!(code(&ran), "{what}: {}", ran.screen());
        assert!(!ran.screen().contains("topsecret"), "{what}: the message shows a secret: {}", ran.screen());
        writeln!(screens, "── {what}: {}\n{}\n", to.replace('\n', " ⏎ "), ran.screen()).expect("write to a string");
    }
    screens
}

/// Exit code 4 exactly when there is a problem, and never without a word.
fn is_told(ran: &Ran) -> bool {
    let has_problem = ran.stdout.contains(": problem: ");
    let has_warning = ran.stdout.contains(": warning: ");
    (has_problem || has_warning) && ran.code == if has_problem { 4 } else { 0 }
}

#[test]
fn the_plan_of_the_documentation_holds() {
    let (main, plan) = example();
    let ran = check(&main, &plan, &["--on", DAY]);
    insta::assert_snapshot!("plan_holds", ran.screen());
    let ran = check(&main, &plan, &["--on", "2027-10-02", "--json"]);
    assert_eq!(ran.code, 4, "{}", ran.screen());
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one document");
    let findings = document["findings"].as_array().expect("a list");
    assert!(findings.iter().all(|finding| finding["code"] == "review-overdue"), "{}", ran.stdout);
    assert_eq!((findings.len(), document["problems"].as_u64()), (7, Some(7)), "every review, a year and a day later");
    let line = plan.lines().position(|line| line.starts_with("reviewed")).map(|line| line as u64 + 1);
    assert_eq!((findings[0]["file"].as_str(), findings[0]["line"].as_u64()), (Some("plan.toml"), line));
}

#[test]
fn each_contradiction_is_told_with_its_place_its_reason_and_its_fix() {
    insta::assert_snapshot!("bad_plans", screens(CONTRADICTIONS, is_told, false));
    insta::assert_snapshot!("bad_around_plans", screens(AROUND, is_told, true));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    insta::assert_snapshot!("malformed_plans", screens(MALFORMED, |ran| ran.code == 2, false));
}

#[test]
fn an_include_that_leads_nowhere_is_told() {
    let (main, plan) = example();
    let include = |with: &str| main.replace("include = [\"plan.toml\"]", &format!("include = {with}"));
    let mut screens = String::new();
    for with in [
        "[\"gone.toml\"]",
        "[\"plan.d/*.toml\"]",
        "[\"*.tml\"]",
        "[\"p*/x.toml\"]",
        "[\"lifeboat.toml\"]",
        "[\"..\"]",
        "\"plan.toml\"",
    ] {
        let ran = check(&include(with), &plan, &[]);
        assert_eq!(ran.code, 2, "{with}: {}", ran.screen());
        writeln!(screens, "── include = {with}\n{}\n", ran.screen()).expect("write to a string");
    }
    let twice = format!("{}\n[person.ada]\nname = \"Ada\"\n[plan]\n", include("[\"plan.toml\"]"));
    writeln!(screens, "── twice\n{}\n", check(&twice, &plan, &[]).screen()).expect("write to a string");
    insta::assert_snapshot!("bad_includes", screens);
}

/// Who else has a commit before it is acknowledged, and what it survives therefore: nothing, a server, a site.
const WAITING: &[(&str, &str, &str)] = &[
    ("nobody", "", "nothing"),
    ("the quickest location", "synchronous = { locations = 1 }", "a server"),
    ("both locations", "synchronous = { locations = 2 }", "a site"),
    ("a location beside it", "synchronous = { locations = [\"local\"] }", "a server"),
    ("a location far away", "synchronous = { locations = [\"ohio\"] }", "a site"),
    ("a disk of the receiver", "synchronous = { spool = \"/var/spool/lifeboat\" }", "a server"),
    ("a cluster over two regions", "member a, b", "a site"),
    ("two members in one region", "member a, a, b", "a server"),
    ("a cluster that goes on alone", "when_alone = \"continue\" member a, b", "nothing"),
    ("a cluster that waits for nobody", "mode = \"asynchronous\" member a, b", "nothing"),
    ("a single member", "member a", "nothing"),
];

#[test]
fn what_a_commit_waits_for_decides_what_may_be_promised() {
    let (main, plan) = example();
    let plan = plan.replace("rpo = \"5s\"", "rpo = \"0s\"");
    for (what, text, survives) in WAITING {
        let changed = match text.split_once("member ") {
            None => main.replacen("standbys = [\"ohio\"]\n", &format!("{text}\nstandbys = [\"ohio\"]\n"), 1),
            Some((mode, regions)) => {
                let members = regions.split(", ").enumerate().map(|(number, region)| {
                    format!("[cluster.orders.member.m{number}]\nagent = \"https://m{number}:7432\"\ndatabase = \"m{number}:5432\"\nregion = \"{region}\"\n")
                });
                let members: String = members.collect();
                format!(
                    "{main}\n[cluster.orders]\n{mode}\nlease = {{ directory = \"/x\" }}\ntoken = {{ env = \"T\" }}\n{members}"
                )
            }
        };
        let ran = check(&changed, &plan, &["--on", DAY, "--json"]);
        let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("one document");
        let findings = document["findings"].as_array().unwrap_or_else(|| panic!("{what}: {}", ran.screen()));
        let about_orders = findings.iter().filter_map(|finding| {
            let is_it = finding["code"] == "rpo-zero" && finding["path"] == "tier.gold.rpo";
            finding["what"].as_str().filter(|what| is_it && what.contains("`orders`"))
        });
        let found = match about_orders.collect::<Vec<_>>()[..] {
            [] => "a site",
            [only] if only.contains("after the loss of a site") => "a server",
            [_] => "nothing",
            _ => "told twice",
        };
        assert_eq!(found, *survives, "{what}: {}", ran.screen());
    }
}
