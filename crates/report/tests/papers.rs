//! The papers of a plan as a business would write it: what stands in them, what doesn't, and that they don't change by themselves.

use jiff::Timestamp;
use jiff::civil::date;
use lifeboat_plan::model::*;
use lifeboat_plan::money::Money;
use lifeboat_plan::run::*;
use lifeboat_report::*;
use std::time::Duration;

/// Stands in every place where a secret could slip in.
const SECRET: &str = "hunter2-s3cr3t";
const HOUR: u64 = 3600;

fn process(title: &str, tier: &str, group: &str) -> Process {
    Process {
        title: title.into(),
        owner: Some("ada".into()),
        approver: Some("bo".into()),
        reviewed: Some(date(2026, 9, 1)),
        tier: Some(tier.into()),
        users: Some(1200),
        peaks: vec!["Fridays".into()],
        cost_per_hour: Some(Money::from_units(1_000_000)),
        impacts: vec![],
        data_loss_cost_per_hour: None,
        recovery_cost: None,
        maximum_tolerable_downtime: Some(Duration::from_secs(24 * HOUR)),
        groups: [group.to_owned()].into(),
        depends_on: [].into(),
        workaround: Some("Orders are written on paper".into()),
    }
}

fn tier(rto: u64, rpo: u64, rank: u32) -> Tier {
    let objective = Objective { rto: Duration::from_secs(rto), rpo: Duration::from_secs(rpo) };
    Tier {
        objective,
        by_disruption: [].into(),
        drill_every: Some(Duration::from_secs(90 * 24 * HOUR)),
        strategy: Some(Strategy::PointInTime),
        rank: Some(rank),
    }
}

fn person(name: &str, phone: &str) -> Person {
    let page = Some(vec!["/usr/local/bin/page".into(), "--token".into(), SECRET.into()]);
    Person {
        name: name.into(),
        email: Some(format!("{}@shop.example", name.to_lowercase().replace(' ', "."))),
        phone: Some(phone.into()),
        deputy: Some("bo".into()),
        page,
    }
}

fn plan() -> Plan {
    let mut plan = Plan { organisation: Some("Shop & Söhne".into()), currency: Some("EUR".into()), ..Plan::default() };
    plan.processes.insert("checkout".into(), process("Orders are taken", "gold", "orders"));
    plan.processes.insert("billing".into(), process("Invoices are sent", "silver", "invoices"));
    plan.processes.insert("newsletter".into(), process("Customers get news", "bronze", "mail"));
    plan.tiers.insert("gold".into(), tier(15 * 60, 0, 1));
    plan.tiers.insert("silver".into(), tier(4 * HOUR, 300, 2));
    plan.tiers.insert("bronze".into(), tier(24 * HOUR, 24 * HOUR, 3));
    let group = |title: &str, workloads: &[&str]| Group {
        title: Some(title.into()),
        tier: None,
        workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
        vendor_steps: [].into(),
        after: [].into(),
        health: [].into(),
    };
    let mut orders = group("Orders and stock", &["shop", "stock"]);
    orders.vendor_steps = ["dns".to_owned(), "web".to_owned()].into();
    orders.after = [
        ("dns".to_owned(), ["web".to_owned()].into()),
        ("web".to_owned(), ["shop".to_owned(), "stock".to_owned()].into()),
    ]
    .into();
    orders.health =
        [("shop".to_owned(), vec!["select max(at) > now() - interval '1 hour' from orders".to_owned()])].into();
    plan.groups.insert("orders".into(), orders);
    plan.groups.insert("invoices".into(), group("Invoices", &["billing"]));
    plan.groups.insert("mail".into(), group("Mail", &["mail"]));
    let command = |words: &[&str]| VendorAction::Command(words.iter().map(|word| (*word).to_owned()).collect());
    let http = VendorAction::Http {
        method: "POST".into(),
        url: format!("https://me:{SECRET}@dns.example/switch?key={SECRET}"),
        body: Some(format!("{{\"password\":\"{SECRET}\"}}")),
        headers: [("Authorization".to_owned(), SECRET.to_owned())].into(),
        expected_status: 202,
    };
    let step = |title: &str, action, undo| VendorStep {
        title: title.into(),
        action,
        undo,
        time_limit: Duration::from_secs(600),
        on_failure: OnFailure::Stop,
    };
    plan.vendor_steps.insert("dns".into(), step("Names lead to Ohio", http, None));
    plan.vendor_steps.insert(
        "web".into(),
        step(
            "Start the web servers",
            command(&["az", "vm", "start", "--ids", "web-1", "--password", SECRET]),
            Some(command(&["az", "vm", "stop", "--ids", "web-1"])),
        ),
    );
    plan.people.insert("ada".into(), person("Ada Long", "+49 40 1234"));
    plan.people.insert("bo".into(), person("Bo Short", "+49 40 5678"));
    plan.roles.insert(
        "decides".into(),
        Role {
            title: "Decides whether to fail over".into(),
            people: vec!["ada".into(), "bo".into()],
            escalate_after: Some(Duration::from_secs(600)),
        },
    );
    let risk = |threat: &str, disruption| Risk {
        threat: threat.into(),
        disruption,
        per_year: Likelihood { low: 0.01, expected: 0.05, high: 0.2 },
        processes: [].into(),
        mitigation: None,
        owner: Some("ada".into()),
        reviewed: None,
    };
    plan.risks.insert("fire".into(), risk("The data centre burns", Disruption::Site));
    plan.risks.insert("mistake".into(), risk("Somebody drops a table", Disruption::Corruption));
    let drill = |scenario: &str, target: &str| Drill {
        scenario: scenario.into(),
        target: Some(target.into()),
        every: None,
        owner: Some("ada".into()),
        approver: None,
        participants: [].into(),
        with: [].into(),
    };
    plan.drills.insert("orders-back".into(), drill("restore-group", "orders"));
    plan.drills.insert("table".into(), drill("dropped-table", "invoices"));
    plan.drills.insert("region".into(), drill("loss-of-region", "orders"));
    plan
}

fn surroundings() -> Surroundings {
    let workload = |name: &str, region: &str| WorkloadView {
        data_dir: Some(format!("/var/lib/postgresql/15/{name}")),
        connection: "host=/var/run/postgresql user=postgres".into(),
        region: Some(region.into()),
        locations: vec!["local".into(), "ohio".into()],
        checks: vec!["select count(*) > 0 from orders".into()],
        is_synchronous: name == "shop",
        has_spool: name == "shop",
    };
    let location = |url: &str, region: &str, media: &str, is_immutable| LocationView {
        url: url.into(),
        endpoint: None,
        region: Some(region.into()),
        media: media.into(),
        is_immutable,
        credentials: "as the cloud's own tools find them".into(),
        more_lines: vec![],
    };
    let member = |host: &str, region: &str| MemberView {
        agent: format!("https://{host}:8008"),
        database: Some(format!("{host}:5432")),
        region: Some(region.into()),
    };
    Surroundings {
        configuration_file: "/etc/lifeboat/lifeboat.toml".into(),
        configuration_hash: "4f".repeat(32),
        plan_hash: "a0".repeat(32),
        passphrase: "the file /etc/lifeboat/passphrase".into(),
        workloads: ["shop", "stock", "billing", "mail"]
            .into_iter()
            .map(|name| (name.to_owned(), workload(name, "virginia")))
            .collect(),
        locations: [
            ("local".to_owned(), location("file:///var/lib/lifeboat", "virginia", "disk", false)),
            ("ohio".to_owned(), location("s3://shop-dr/lifeboat", "ohio", "object", true)),
        ]
        .into(),
        clusters: [(
            "shop".to_owned(),
            ClusterView {
                members: [
                    ("virginia".to_owned(), member("10.1.0.1", "virginia")),
                    ("ohio".to_owned(), member("10.2.0.1", "ohio")),
                ]
                .into(),
                lease: "etcd at 10.1.0.9, 10.2.0.9, 10.3.0.9".into(),
                mode: "commits wait for one standby".into(),
            },
        )]
        .into(),
    }
}

fn run(
    sequence: u64,
    day: &str,
    scenario: &str,
    group: Option<&str>,
    workloads: &[&str],
    rta: Option<f64>,
) -> Evidence {
    let started_at: Timestamp = format!("{day}T10:00:00Z").parse().expect("a time");
    let after = Step {
        phase: Phase::After,
        name: "orders are there".into(),
        did: "select true".into(),
        started_at: None,
        ended_at: None,
        outcome: Outcome::Held,
        counts: true,
        seen: None,
        output_hash: None,
        by: None,
    };
    let measured = Measured {
        fault_to_healthy_seconds: rta,
        restore_seconds: rta.map(|rta| rta / 2.0),
        loss_seconds: rta.map(|_| 0.0),
        writes_checked: Some(400),
        ..Measured::default()
    };
    let mut run = Run {
        id: format!("run-{sequence}"),
        scenario: scenario.into(),
        scenario_hash: "00".into(),
        drill: None,
        disruption: Some(if scenario == "dropped-table" { Disruption::Corruption } else { Disruption::Instance }),
        workloads: workloads.iter().map(|name| (*name).to_owned()).collect(),
        group: group.map(str::to_owned),
        requested_by: "ada".into(),
        approved_by: Some("bo".into()),
        participants: vec!["ada".into()],
        started_at,
        ended_at: started_at,
        promised: Promised { tier: Some("gold".into()), rto_seconds: Some(900.0), rpo_seconds: Some(0.0) },
        configuration_hash: "4f".into(),
        versions: [].into(),
        host: "virginia-1".into(),
        point: None,
        location: Some("ohio".into()),
        isolation: vec![Isolation { tried: "connect to 10.1.0.1:5432".into(), seen: "no route".into(), holds: true }],
        steps: vec![after],
        measured,
        alert_seen: None,
        aborted: None,
        refused: None,
        verdict: Verdict::Passed,
        learnt: vec![],
        does_not_show: vec!["How it goes with ten times the data".into()],
    };
    run.verdict = run.entailed().0;
    Evidence { entry: format!("{:08x}{}", sequence * 7_654_321, "c".repeat(56)), sequence, run }
}

fn runs() -> Vec<Evidence> {
    vec![
        run(3, "2026-02-03", "restore-group", Some("orders"), &["shop", "stock"], Some(1460.0)),
        run(9, "2026-05-04", "restore-group", Some("orders"), &["shop", "stock"], Some(830.0)),
        run(12, "2026-08-05", "dropped-table", None, &["billing"], Some(127.0)),
        run(17, "2026-10-20", "restore-group", Some("orders"), &["shop", "stock"], Some(412.5)),
        run(18, "2026-10-21", "restore", None, &["shop"], Some(95.0)),
    ]
}

fn runbook_input() -> RunbookInput {
    RunbookInput {
        plan: plan(),
        surroundings: surroundings(),
        runs: runs(),
        made_on: date(2026, 11, 22),
        without_contacts: false,
    }
}

fn report_input() -> ReportInput {
    let finding = |what: &str, due, closed, source: &str| Finding {
        what: what.into(),
        owner: Some("ada".into()),
        due,
        closed,
        source: source.into(),
    };
    ReportInput {
        plan: plan(),
        surroundings: surroundings(),
        runs: runs(),
        since: None,
        now: "2026-11-22T12:00:00Z".parse().expect("a time"),
        findings: vec![
            finding("The telephone list was a year old", Some(date(2026, 11, 1)), None, "9-041b"),
            finding("Restore of stock waits for one disk", Some(date(2027, 1, 31)), None, "17-07c1"),
            finding("Nobody knew the passphrase", Some(date(2026, 3, 1)), Some(date(2026, 2, 20)), "3-015e"),
        ],
        incidents: Some(Incidents {
            count: 2,
            mean_to_recovery_seconds: Some(2400.0),
            mean_between_seconds: Some(90.0 * 86_400.0),
            sources: vec!["5-023a".into(), "14-0661".into()],
        }),
        readiness: Some(Readiness {
            at: "2026-11-22T11:00:00Z".parse().expect("a time"),
            is_ready: false,
            areas: vec![("objective".into(), [9, 1, 0, 2]), ("test".into(), [4, 2, 1, 0])],
            source: "21-099f".into(),
        }),
        costs: vec![(
            "Downtime a year, expected".into(),
            "200,000 EUR".into(),
            "process.*.cost_per_hour, risk.*.per_year".into(),
        )],
        ledger_head: Some((21, "9f".repeat(32))),
        other_entries: vec![("incident".into(), 4, "14-0661".into()), ("ready".into(), 1, "21-099f".into())],
    }
}

/// All forms, for whoever wants to look; and the text of each.
fn forms(name: &str, document: &lifeboat_document::Document) -> Vec<String> {
    let place = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (markdown, html, pdf) = (document.markdown(), document.html(), document.pdf().expect("a PDF"));
    std::fs::write(place.join(format!("{name}.md")), &markdown).expect("write");
    std::fs::write(place.join(format!("{name}.html")), &html).expect("write");
    std::fs::write(place.join(format!("{name}.pdf")), &pdf).expect("write");
    vec![markdown, html, format!("{document:?}")]
}

#[test]
fn no_secret_is_in_any_form() {
    let documents = [("runbook", runbook(&runbook_input())), ("report", report(&report_input()))];
    for (name, document) in documents {
        for form in forms(name, &document) {
            assert!(!form.contains(SECRET), "{name} holds a secret");
        }
    }
}

#[test]
fn a_runbook_says_what_to_type_and_what_it_took() {
    let text = runbook(&runbook_input()).markdown();
    for wanted in [
        "lifeboat restore shop --to /var/lib/postgresql/15/shop --from ohio --as-primary",
        "lifeboat cluster failover shop --to MEMBER --force",
        "lifeboat wal receive shop --ship-only",
        "az vm start --ids web-1 --password (left out)",
        "6 min 53 s (2026-10-20, entry 17-07c1",
        "Never rehearsed",
        "the file /etc/lifeboat/passphrase",
        "s3://shop-dr/lifeboat",
        "after 10 min without an answer",
        "+49 40 1234",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
    // What one database took says nothing about the group.
    assert!(!text.contains("1 min 35 s (2026-10-21"), "the group's time is that of a part of it");
    let order: Vec<usize> = ["Bring back **shop**", "Start the web servers", "Names lead to Ohio"]
        .iter()
        .map(|step| text.find(step).expect(step))
        .collect();
    assert!(order.is_sorted(), "{order:?}");
    let bare = RunbookInput { without_contacts: true, ..runbook_input() };
    let text = runbook(&bare).markdown();
    assert!(!text.contains("+49 40") && !text.contains("@shop.example") && text.contains("Ada Long"));
}

#[test]
fn the_hash_follows_the_configuration_only() {
    let input = runbook_input();
    let same = [
        RunbookInput { runs: vec![], ..input.clone() },
        RunbookInput { made_on: date(2030, 1, 1), ..input.clone() },
        RunbookInput { without_contacts: true, ..input.clone() },
    ];
    for other in same {
        assert_eq!(runbook_hash(&other), runbook_hash(&input));
    }
    let mut other = input.clone();
    other.plan.people.get_mut("ada").expect("ada").phone = Some("+49 40 9999".into());
    assert_ne!(runbook_hash(&other), runbook_hash(&input));
    let mut other = input.clone();
    other.surroundings.workloads.get_mut("mail").expect("mail").data_dir = Some("/elsewhere".into());
    assert_ne!(runbook_hash(&other), runbook_hash(&input));
}

#[test]
fn a_report_names_the_source_of_each_figure() {
    let text = report(&report_input()).markdown();
    for wanted in [
        "**1 of 3 processes** were brought back within both promises",
        "6 min 53 s (2026-10-20, entry 17-07c1",
        "24 min 20 s",
        "RTA of 1460.0 s, promised 900.0 s",
        "**late**",
        "40 min",
        "Without any evidence:",
        "Said by drills: How it goes with ten times the data",
        "Closed: 1 of 3",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}

/// The line of a clause.
fn clause(input: &ReportInput, clause: &str) -> String {
    let text = report(input).markdown().replace('\\', "");
    text.lines().find(|line| line.contains(clause)).expect("the clause").to_owned()
}

#[test]
fn the_attack_clause_is_answered_by_an_attack_alone() {
    let mut input = report_input();
    let line = |input: &ReportInput| clause(input, "11(6) cyber");
    // Neither restores nor a dropped table are an attack on data and copies.
    assert!(line(&input).contains("**none**"), "{}", line(&input));
    let dropped = input.runs.iter_mut().find(|run| run.sequence == 12).expect("the dropped table");
    dropped.run.disruption = Some(lifeboat_plan::model::Disruption::Ransomware);
    let found = line(&input);
    assert!(found.contains("12-05798c4c") && !found.contains("17-07c1"), "{found}");
}

#[test]
fn the_switchover_clause_is_answered_by_a_takeover_of_the_last_year_alone() {
    let mut input = report_input();
    let line = |input: &ReportInput| clause(input, "11(6) switchover");
    // A restore after the loss of a server is no takeover.
    assert!(line(&input).contains("**none**"), "{}", line(&input));
    let run = &mut input.runs.iter_mut().find(|run| run.sequence == 18).expect("the newest").run;
    let mut made = run.steps[0].clone();
    (made.phase, made.did) = (Phase::Prepare, format!("{}a", Run::CLUSTER_MADE));
    run.steps.insert(0, made);
    assert!(line(&input).contains("entry 18-"), "{}", line(&input));
    input.now = "2027-11-22T12:00:00Z".parse().expect("a time");
    assert!(line(&input).contains("**none**"), "{}", line(&input));
}

#[test]
fn a_clause_shows_what_bears_on_it_and_no_more() {
    let input = report_input();
    for (wanted, shown) in [
        ("11(6)(a)", "group.orders: entry 17-07c1"),
        ("11(6)(a)", "but not invoices, mail"),
        ("| 3.4.2", "workload.shop (ohio)"),
        ("| 3.4.3", "cluster.shop (ohio, virginia)"),
        ("11(8)", "4 entries, the newest 14-0661"),
        ("| 8.4.3", "**none**"),
        ("12(1)(b)", "**none**"),
        ("| 8.5", "drill.orders-back: entry 17-07c1"),
        ("(ii)(E)", "group.orders (tier.gold)"),
    ] {
        let line = clause(&input, wanted);
        assert!(line.contains(shown), "{wanted}: {shown}\n{line}");
    }
}

#[test]
fn the_document_has_every_clause() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/runbook-and-report.md");
    let document = std::fs::read_to_string(path).expect("docs/runbook-and-report.md");
    let text = report(&report_input()).markdown().replace(['*', '\\'], "");
    let rows = text.lines().skip_while(|line| !line.starts_with("| Standard | Clause |")).skip(2);
    let mut count = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let (standard, rest) = row[1..].split_once(" | ").expect("a standard");
        let clause = rest.split(" | ").next().expect("a clause");
        let start = format!("|{standard} | {clause} |");
        assert!(document.lines().any(|line| line.starts_with(&start)), "docs/runbook-and-report.md lacks: {start}");
        count += 1;
    }
    assert!(text.contains(&format!("of {count} clauses.")), "the table was not found: {count}");
}

#[test]
fn nothing_at_all_is_a_document_too() {
    let empty = RunbookInput {
        plan: Plan::default(),
        surroundings: Surroundings::default(),
        runs: vec![],
        made_on: date(2026, 11, 22),
        without_contacts: false,
    };
    let text = runbook(&empty).markdown();
    assert!(
        text.contains("Nothing in this runbook was ever rehearsed") && text.contains("Nobody is named in the plan")
    );
    runbook(&empty).pdf().expect("a PDF");
    let empty = ReportInput {
        plan: Plan::default(),
        surroundings: Surroundings::default(),
        runs: vec![],
        findings: vec![],
        incidents: None,
        readiness: None,
        costs: vec![],
        ledger_head: None,
        other_entries: vec![],
        ..report_input()
    };
    let text = report(&empty).markdown();
    assert!(text.contains("No incident was kept") && text.contains("the ledger is empty"));
    assert!(text.contains("Without any evidence: 49 of 49 clauses."));
    report(&empty).pdf().expect("a PDF");
}
