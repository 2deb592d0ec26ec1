//! One section per bad day, with this configuration's names in the commands.

use super::RunbookInput;
use super::groups::restore_commands;
use crate::input::newest;
use crate::words::{disruption, quoted, seconds};
use lifeboat_document::{Document, NoticeKind, Step, Text};
use lifeboat_plan::model::Disruption;

/// What happened, and where to go on.
pub(super) fn decisions(document: &mut Document, input: &RunbookInput) {
    document.section("What happened, and where to go on", "decide");
    let has_clusters = !input.surroundings.clusters.is_empty();
    let rows = [
        ("Rows or a table are gone or wrong", "dropped", "Data is gone or wrong", Disruption::Corruption, true),
        (
            "Files are encrypted, somebody is inside",
            "ransomware",
            "Somebody encrypts or deletes",
            Disruption::Ransomware,
            true,
        ),
        ("One server is gone", "server", "A server is gone", Disruption::Instance, true),
        ("A site or region is gone", "site", "A site is gone", Disruption::Site, true),
        ("No primary, or two places can't see each other", "cluster", "No primary", Disruption::Network, has_clusters),
        (
            "A copy, the passphrase or a person is missing",
            "location",
            "A copy or a key is missing",
            Disruption::Dependency,
            true,
        ),
    ];
    let rows = rows.into_iter().filter(|row| row.4).map(|(what, anchor, section, kind, _)| {
        let risks = input.plan.risks.values().filter(|risk| risk.disruption == kind);
        let threats: Vec<&str> = risks.map(|risk| risk.threat.as_str()).collect();
        let last = newest(&input.runs, |run| run.run.disruption == Some(kind));
        let rehearsed = match last {
            Some(last) => Text::from(format!(
                "{}, {}, entry {}",
                last.day(),
                if last.passed() { "passed" } else { "did not pass" },
                last.source()
            )),
            None => Text::new().strong("never"),
        };
        vec![
            Text::new().strong(what),
            Text::new().link(section, format!("#{anchor}")),
            threats.join("; ").into(),
            rehearsed,
        ]
    });
    document.table(&["What happened", "Go to", "Risks of the plan", "Rehearsed"], rows.collect(), "");
}

pub(super) fn add(document: &mut Document, input: &RunbookInput) {
    document.chapter("Bad days", "days");
    dropped(document, input);
    ransomware(document, input);
    server(document, input);
    site(document, input);
    if !input.surroundings.clusters.is_empty() {
        cluster(document, input);
    }
    location(document, input);
}

/// The times of the last rehearsal of this kind, or that there was none.
fn rehearsed(document: &mut Document, input: &RunbookInput, kind: Disruption) {
    match newest(&input.runs, |run| run.run.disruption == Some(kind)) {
        Some(last) => document.paragraph(
            Text::new().plain("Last rehearsed: ").strong(format!("{} on {}", last.run.scenario, last.day())).plain(
                format!(
                    " (entry {}), {}. ",
                    last.source(),
                    last.run
                        .measured
                        .fault_to_healthy_seconds
                        .map_or_else(|| "RTA not measured".to_owned(), |took| format!("RTA {}", seconds(took)))
                ),
            ),
        ),
        None => document
            .notice(NoticeKind::Alarm, Text::new().strong("Never rehearsed: ").plain(format!("{}.", disruption(kind)))),
    }
}

fn step(text: &'static str, code: String) -> Step {
    Step { text: Text::marked(text), code: (!code.is_empty()).then_some(code), after: None }
}

/// The same for each workload, a line each.
fn each(input: &RunbookInput, line: impl Fn(&str) -> String) -> String {
    input.surroundings.workloads.keys().map(|name| line(&quoted(name))).collect::<Vec<_>>().join("\n")
}

fn dropped(document: &mut Document, input: &RunbookInput) {
    document.section("Data is gone or wrong", "dropped");
    rehearsed(document, input, Disruption::Corruption);
    document.notice(NoticeKind::Warning, Text::marked("**Don't restore over the running server.** Bring the moment before back beside it, and copy over. A standby is no help: it has repeated the mistake."));
    let moment = "TIME";
    document.steps(vec![
        step(
            "Find the moment. The log knows it, to the transaction:",
            each(input, |name| {
                format!("lifeboat when {name} --dropped TABLE          # or --truncated TABLE, --deleted-from TABLE")
            }),
        ),
        step("Is the moment inside a window?", each(input, |name| format!("lifeboat points {name}"))),
        step(
            "Look at it, in a server of its own that is thrown away afterwards:",
            each(input, |name| format!("lifeboat open {name} --at {moment}")),
        ),
        step(
            "Bring the table back beside what there is now; `--replace` puts it in its place:",
            each(input, |name| format!("lifeboat rescue {name} --table TABLE --at {moment}")),
        ),
    ]);
}

fn ransomware(document: &mut Document, input: &RunbookInput) {
    document.section("Somebody encrypts or deletes", "ransomware");
    rehearsed(document, input, Disruption::Ransomware);
    let safe = input.surroundings.locations.iter().filter(|(_, view)| view.is_immutable || view.media == "removable");
    let safe: Vec<String> = safe.map(|(name, _)| name.clone()).collect();
    match safe.is_empty() {
        true => document.notice(NoticeKind::Alarm, Text::marked("**No location is immutable or offline.** Whoever has the credentials of this machine can delete every copy.")),
        false => document.paragraph(Text::new().plain("Copies that can't be deleted from here: ").strong(safe.join(", ")).plain(". Restore from one of these.")),
    }
    let from = safe.first().map(|name| format!(" --from {}", quoted(name))).unwrap_or_default();
    document.steps(vec![
        step("Cut the network of what is hit. **Don't attach a removable disk, and don't log in to a store, from a machine that may be hit.**", String::new()),
        step("Change the credentials of every store from a clean machine; let the provider keep what is there.", String::new()),
        step("Install a new machine. Bring the program and the configuration from where they are known to be clean.", String::new()),
        step("What is whole, and up to when? Read every byte:", each(input, |name| format!("lifeboat points {name}\nlifeboat verify {name} --data"))),
        step("Find the last clean moment with whoever looks into the attack; look into it before anybody uses it:", each(input, |name| format!("lifeboat open {name} --at TIME"))),
        step("Bring it back on the new machine:", each(input, |name| format!("lifeboat restore {name} --to /srv/{name} --at TIME{from} --as-primary"))),
        step("New passwords for every account in the database before clients come back.", String::new()),
    ]);
}

fn server(document: &mut Document, input: &RunbookInput) {
    document.section("A server is gone", "server");
    rehearsed(document, input, Disruption::Instance);
    if !input.surroundings.clusters.is_empty() {
        document.paragraph(
            Text::new()
                .plain("Where a cluster looks after it, another member takes over by itself: look with ")
                .link("No primary", "#cluster")
                .plain(" first."),
        );
    }
    let mut steps = vec![step(
        "**Make sure that the old server is really gone** and can't come back by itself: two primaries are worse than none.",
        String::new(),
    )];
    for (name, workload) in &input.surroundings.workloads {
        if workload.has_spool {
            let text = Text::new().plain("What was acknowledged last may lie on the receiver's machine only. There, before anything else, for ").strong(name.clone()).plain(":");
            steps.push(Step {
                text,
                code: Some(format!("lifeboat wal receive {} --ship-only", quoted(name))),
                after: None,
            });
        }
        steps.push(Step {
            text: Text::new().plain("Bring back ").strong(name.clone()).plain(":"),
            code: Some(restore_commands(input, name, workload)),
            after: None,
        });
        if workload.is_synchronous {
            let text = Text::new()
                .plain("Commits of ")
                .strong(name.clone())
                .plain(" wait until a receiver is back; point the key connection to the new server, then:");
            steps.push(Step { text, code: Some(format!("lifeboat wal receive {} --sync", quoted(name))), after: None });
        }
    }
    steps.push(step("No time to wait for the copy? As root, where there is `/dev/fuse`: it answers within seconds and brings the rest meanwhile.", each(input, |name| format!("lifeboat restore {name} --to DIRECTORY --as-primary --instant --start --finish --detach\nlifeboat restore status"))));
    steps.push(step("Configuration that was outside of the data directory is not in a copy; the restore says so. Then take a backup:", each(input, |name| format!("lifeboat backup {name}"))));
    document.steps(steps);
}

fn site(document: &mut Document, input: &RunbookInput) {
    document.section("A site is gone", "site");
    rehearsed(document, input, Disruption::Site);
    let locations = &input.surroundings.locations;
    for (name, workload) in &input.surroundings.workloads {
        let region = workload.region.as_deref();
        let elsewhere: Vec<&str> = workload
            .locations
            .iter()
            .filter(|location| {
                let of_it = locations.get(*location).and_then(|view| view.region.as_deref());
                matches!((of_it, region), (Some(of_it), Some(region)) if of_it != region)
            })
            .map(String::as_str)
            .collect();
        match elsewhere.is_empty() {
            true => document.notice(
                NoticeKind::Alarm,
                Text::new()
                    .strong(format!("No copy of {name} is known to be in another region."))
                    .plain(" Where locations and workload are stands in their key region."),
            ),
            false => document.paragraph(
                Text::new()
                    .strong(name.clone())
                    .plain(": copies elsewhere are in ")
                    .strong(elsewhere.join(", "))
                    .plain("."),
            ),
        }
    }
    document.steps(vec![
        step("Has the site only lost its lines? Then something there may still take writes. Whoever decides says: we leave it, and it stays off.", String::new()),
        Step { text: Text::new().plain("Start ").link("from a bare machine and one location", "#bare").plain(", in the other region."), ..Step::default() },
        Step { text: Text::new().plain("Bring back group by group, ").link("in this order", "#order").plain("."), ..Step::default() },
        step("Lead clients there: DNS, proxy, load balancer.", String::new()),
        step("When the old site is back, it follows; it never leads by itself.", String::new()),
    ]);
}

fn cluster(document: &mut Document, input: &RunbookInput) {
    document.section("No primary", "cluster");
    rehearsed(document, input, Disruption::Network);
    for (name, view) in &input.surroundings.clusters {
        let shown = quoted(name);
        document.paragraph(
            Text::new()
                .plain("Cluster ")
                .strong(name.clone())
                .plain(format!(": {}. The lease lives in {}.", view.mode, view.lease)),
        );
        let rows = view.members.iter().map(|(member, view)| {
            vec![
                Text::new().strong(member.clone()),
                view.database.as_deref().unwrap_or("none, a witness").into(),
                Text::new().code(view.agent.clone()),
                view.region.as_deref().unwrap_or("not said").into(),
            ]
        });
        document.table(&["Member", "Database", "Agent", "Region"], rows.collect(), "It has no members.");
        document.steps(vec![
            step("Who answers, and what does it say?", format!("lifeboat cluster status {shown}")),
            step("**PAUSED**? Somebody switched takeovers off:", format!("lifeboat cluster resume {shown}")),
            step("Too few members answer? Bring one back; the rest happens by itself.", String::new()),
            step("Would taking over lose something? The first says what, and refuses. The second does it: **whoever decides must have said so.**", format!("lifeboat cluster failover {shown} --to MEMBER\nlifeboat cluster failover {shown} --to MEMBER --force")),
            step("The lease store is away? Bring it back; nobody can take over meanwhile, and writes go on where every member agreed to wait.", String::new()),
            step("It worked when this ends with exit code 0:", format!("lifeboat cluster status {shown}")),
        ]);
    }
}

fn location(document: &mut Document, input: &RunbookInput) {
    document.section("A copy or a key is missing", "location");
    rehearsed(document, input, Disruption::Dependency);
    document.steps(vec![
        step(
            "A location is full or away: make room, or wait. The next backup brings it up to date by itself.",
            String::new(),
        ),
        step(
            "A location is gone for good: give its section a new `url`, then",
            "lifeboat init\nlifeboat copy --from LOCATION --to LOCATION".to_owned(),
        ),
        step(
            "A location is damaged: what exactly, and where is it whole?",
            "lifeboat repair --dry-run\nlifeboat repair\nlifeboat verify --data".to_owned(),
        ),
        step("A location doesn't answer during a restore: name one that does with `--from`.", String::new()),
        Step {
            text: Text::new()
                .plain("The passphrase is missing: ")
                .link("where keys are", "#keys")
                .plain(". Any passphrase that was added with ")
                .code("lifeboat key add")
                .plain(" opens all."),
            ..Step::default()
        },
    ]);
}
