//! `plan runbook` and `report`: what is written, what is kept in the locations, and when that isn't the configuration's any more.

use crate::program::{Ran, lifeboat};
use clap::Parser;
use lifeboat_cli::cli::Cli;
use lifeboat_cli::config::{UnknownKeys, parse};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const PASSPHRASE: &str = "open-sesame-7f3a";

fn done(ran: Ran) -> Ran {
    assert_eq!(ran.code, 0, "{}", ran.screen());
    ran
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Two locations, two workloads; none of their servers is ever asked.
fn configure(root: &Path, region: &str) {
    let here = root.display();
    let location = |name: &str, region: &str| {
        format!("[location.{name}]\nurl = \"file://{here}/{name}\"\nregion = \"{region}\"\n")
    };
    let workload = |name: &str| {
        format!(
            "[workload.{name}]\nkind = \"postgres\"\ndata_dir = \"/srv/{name}\"\nconnection = \"host=/nowhere user=postgres\"\nregion = \"{region}\"\n"
        )
    };
    let text = format!(
        "state_dir = \"{here}/state\"\n{}{}[encryption]\npassphrase = {{ file = \"{here}/secret\" }}\n{}{}",
        location("near", "virginia"),
        location("far", "ohio"),
        workload("shop"),
        workload("stock")
    );
    fs::write(root.join("lifeboat.toml"), text).unwrap();
    fs::write(root.join("secret"), format!("{PASSPHRASE}\n")).unwrap();
    fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_runbook_is_for_its_owner_and_replaces_nothing_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    fs::create_dir(root.join("papers")).unwrap();
    done(lifeboat(root, &["plan", "runbook", "--to", "papers"]));
    let markdown = fs::read_to_string(root.join("papers/runbook.md")).unwrap();
    assert!(markdown.contains("lifeboat restore shop --to /srv/shop --from far --as-primary"), "{markdown}");
    for ending in ["md", "html", "pdf"] {
        let path = root.join(format!("papers/runbook.{ending}"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(PASSPHRASE.len()).any(|window| window == PASSPHRASE.as_bytes()), "{ending}");
    }
    // Again over our own, and not over another's; then nothing is touched.
    done(lifeboat(root, &["plan", "runbook", "--to", "papers", "--format", "html"]));
    fs::write(root.join("papers/runbook.pdf"), "my own runbook").unwrap();
    let before = fs::metadata(root.join("papers/runbook.md")).unwrap().modified().unwrap();
    let refused = lifeboat(root, &["plan", "runbook", "--to", "papers"]);
    assert_eq!(refused.code, 2, "{}", refused.screen());
    assert!(
        refused.stderr.contains("runbook.pdf is there already, and is not a paper of Lifeboat's"),
        "{}",
        refused.stderr
    );
    assert_eq!(fs::read_to_string(root.join("papers/runbook.pdf")).unwrap(), "my own runbook");
    assert_eq!(fs::metadata(root.join("papers/runbook.md")).unwrap().modified().unwrap(), before);
    assert_eq!(lifeboat(root, &["plan", "runbook", "--to", "nowhere"]).code, 2);
}

#[test]
fn every_location_has_the_runbook_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    done(lifeboat(root, &["init"]));
    let check = |code: i32| {
        let ran = lifeboat(root, &["plan", "runbook", "--check", "--json"]);
        assert_eq!(ran.code, code, "{}", ran.screen());
        json(&ran)
    };
    assert_eq!(check(4)["locations"][0]["state"], "none");
    let published = json(&done(lifeboat(root, &["plan", "runbook", "--publish", "--json"])));
    assert_eq!(published["published"].as_array().unwrap().len(), 2);
    assert!(published["files"].as_array().unwrap().is_empty() && !root.join("runbook.md").exists());
    assert_eq!(check(0)["current"], true);
    // Readable with nothing of ours: an index, and what it names.
    let index = fs::read(root.join("far").join(published["published"][0]["index"].as_str().unwrap())).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    assert_eq!(index["runbook_hash"], published["runbook_hash"]);
    let files = index["files"].as_array().unwrap();
    let markdown = root.join("far").join(files[0]["name"].as_str().unwrap());
    assert!(fs::read_to_string(&markdown).unwrap().starts_with("# Recovery runbook"));
    assert_eq!(files.len(), 3);
    // Backups don't mind what lies there.
    done(lifeboat(root, &["repair", "--dry-run"]));
    done(lifeboat(root, &["prune", "--dry-run"]));

    configure(root, "oregon");
    let old = check(4);
    assert!(old["locations"][0]["state"].as_str().unwrap().starts_with("of another configuration"), "{old}");
    configure(root, "virginia");
    check(0);
    // One location is enough; a damaged one is named.
    let whole = fs::read(&markdown).unwrap();
    fs::remove_file(&markdown).unwrap();
    fs::write(&markdown, "something else").unwrap();
    let damaged = check(0);
    assert!(damaged["locations"][0]["state"].as_str().unwrap().starts_with("damaged: plan/"), "{damaged}");
    done(lifeboat(root, &["repair"]));
    assert!(fs::read(&markdown).unwrap() == whole, "repair puts back what another location has");
    for location in ["near", "far"] {
        fs::remove_dir_all(root.join(location).join("plan")).unwrap();
    }
    check(4);
}

/// Words of a line as a shell would see them; nothing here needs more than quotation marks and comments.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for c in line.split(" #").next().unwrap_or_default().chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            c => word.push(c),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn every_command_of_the_runbook_parses() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    done(lifeboat(root, &["plan", "runbook", "--format", "md"]));
    let markdown = fs::read_to_string(root.join("runbook.md")).unwrap();
    let lines = markdown.lines().map(str::trim).filter(|line| line.starts_with("lifeboat "));
    let mut seen = 0;
    for line in lines {
        let typed = words(&line.replace("TIME", "2026-11-03T10:00:00Z"));
        assert!(Cli::try_parse_from(&typed).is_ok(), "{line}: {}", Cli::try_parse_from(&typed).unwrap_err());
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
    // And so does each of the configurations for a bare machine.
    let blocks = markdown.split("\n```\n").filter(|block| block.starts_with("# from "));
    let whole: Vec<_> =
        blocks.map(|block| parse("lifeboat.toml", block, UnknownKeys::Refuse).map(|parsed| parsed.config)).collect();
    assert_eq!(whole.len(), 2);
    assert!(whole.iter().all(|config| config.as_ref().is_ok_and(|config| config.workloads.len() == 2)), "{whole:?}");
}

#[test]
fn a_report_has_the_means_of_what_happened_for_real() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    done(lifeboat(root, &["init"]));
    for (began, recovered) in [("2 hours ago", "100 minutes ago"), ("40 minutes ago", "30 minutes ago")] {
        let opened = done(lifeboat(root, &["incident", "open", "it was gone", "--began", began, "--json"]));
        let id = json(&opened)["entry"].as_str().expect("an entry").to_owned();
        done(lifeboat(root, &["incident", "close", &id, "--recovered", recovered]));
    }
    done(lifeboat(root, &["report"]));
    let markdown = fs::read_to_string(root.join("report.md")).unwrap();
    let line = |name: &str| markdown.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(line("| Incidents").contains("| 2 |"), "{markdown}");
    assert!(line("(MTTR)").contains("15 min"), "{}", line("(MTTR)"));
    assert!(!line("(MTBF)").contains("not measured"), "{}", line("(MTBF)"));
}

#[test]
fn a_report_says_what_the_plan_costs_and_where_each_figure_is_from() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    done(lifeboat(root, &["init"]));
    let plan = "[plan]\ncurrency = \"EUR\"\nassumptions = \"costs.toml\"\nprice_book = \"prices.toml\"\n\
        [tier.gold]\nrto = \"15m\"\nrpo = \"1m\"\nstrategy = \"point_in_time\"\n\
        [process.checkout]\ntitle = \"Orders\"\ntier = \"gold\"\ngroups = [\"g\"]\ncost_per_hour = 6000\nrecovery_cost = 0\n\
        [group.g]\nworkloads = [\"shop\"]\n\
        [risk.fire]\nthreat = \"fire\"\ndisruption = \"site\"\nper_year = { low = 0.5, expected = 1, high = 2 }\n";
    let main = fs::read_to_string(root.join("lifeboat.toml")).unwrap();
    fs::write(root.join("lifeboat.toml"), format!("{main}{plan}")).unwrap();
    fs::write(
        root.join("costs.toml"),
        "[strategy.point_in_time.subscription]\nper_year = 700\n[strategy.point_in_time.expected.site]\nrta = \"2h\"\nrpa = \"0s\"\n",
    )
    .unwrap();
    fs::write(root.join("prices.toml"), "[class.own-disk]\nper_gigabyte_month = 5\n").unwrap();
    let ran = done(lifeboat(root, &["report"]));
    let markdown = fs::read_to_string(root.join("report.md")).unwrap();
    let line = |name: &str| markdown.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    // Twice an hour of 6,000, once a year; half as often, and twice.
    let loss = line("Group g: expected loss a year, with point");
    assert!(loss.contains("12,000 EUR (6,000 to 24,000)") && loss.contains("risk.fire"), "{loss}\n{markdown}");
    assert!(loss.contains("assumed: given"), "{loss}");
    assert!(line("itself, in the first year").contains("≥700 EUR"), "{}", ran.screen());
    assert!(line("Location near, storage").contains("own-disk"), "{markdown}");
    let cheapest = line("the cheapest that keeps every promise");
    assert!(cheapest.contains("not known: costs are not given"), "{cheapest}");
    // A file that can't be read leaves the costs out, not the report.
    fs::write(root.join("costs.toml"), "[strategy.point_in_tim]\n").unwrap();
    let ran = done(lifeboat(root, &["report"]));
    assert!(ran.stderr.contains("the report has no costs: ") && ran.stderr.contains("costs.toml"), "{}", ran.screen());
    let refused = lifeboat(root, &["plan", "cost"]);
    assert_eq!(refused.code, 2, "{}", refused.screen());
}

#[test]
fn a_report_of_nothing_says_that_nothing_was_measured() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    configure(root, "virginia");
    done(lifeboat(root, &["init"]));
    let ran = done(lifeboat(root, &["report", "--since", "2026-01-01", "--json"]));
    assert_eq!(json(&ran)["runs"], 0);
    let markdown = fs::read_to_string(root.join("report.md")).unwrap();
    assert!(
        markdown.contains("No drill was run in this time.") && markdown.contains("the ledger is empty"),
        "{markdown}"
    );
    assert!(fs::read(root.join("report.pdf")).unwrap().starts_with(b"%PDF-"));
}
