//! Where the copies are, how each is reached without the primary site, where keys are, and how to begin with nothing.

use super::RunbookInput;
use crate::input::LocationView;
use crate::words::{quoted, without_user};
use lifeboat_document::{Block, Document, NoticeKind, Step, Text};

pub(super) fn add(document: &mut Document, input: &RunbookInput) {
    let around = &input.surroundings;
    document.chapter("Where the copies are", "copies");
    let rows = around.locations.iter().map(|(name, view)| {
        let of: Vec<&str> = around
            .workloads
            .iter()
            .filter(|(_, workload)| workload.locations.contains(name))
            .map(|(name, _)| name.as_str())
            .collect();
        let guarded = if view.is_immutable {
            "immutable"
        } else if view.media == "removable" {
            "offline"
        } else {
            "no"
        };
        vec![
            Text::new().strong(name.clone()),
            Text::new().code(without_user(&view.url)),
            view.region.as_deref().unwrap_or("not said").into(),
            view.media.as_str().into(),
            guarded.into(),
            of.join(", ").into(),
        ]
    });
    document.table(
        &["Location", "Address", "Region", "Medium", "Guarded", "Holds"],
        rows.collect(),
        "No location is in the configuration.",
    );
    document.paragraph("How each is reached when the primary site is away, from any machine:");
    let reach = around.locations.iter().map(|(name, view)| {
        Text::new()
            .strong(name.clone())
            .plain(": ")
            .plain(reached(view))
            .plain(" Credentials: ")
            .plain(view.credentials.clone())
            .plain(".")
    });
    document.list(reach.collect());
    document.section("Where keys and passphrase are", "keys");
    document.notice(NoticeKind::Warning, "Without the passphrase nothing can be brought back, by nobody. No secret stands in this runbook, only where it is kept.");
    document.list(vec![
        Text::new().plain("Passphrase of the copies: ").strong(around.passphrase.clone()).plain(" on the machines that make copies."),
        Text::marked("A copy of it must be kept where the primary site's fire isn't, by two people. Write here, by hand, where: ______________________"),
        Text::marked("Another passphrase, in a safe for example, can be added at any time: `lifeboat key add`. `lifeboat key list` shows which there are."),
    ]);
    bare(document, input);
}

fn reached(view: &LocationView) -> String {
    let endpoint =
        view.endpoint.as_deref().map(|endpoint| format!(" at {}", without_user(endpoint))).unwrap_or_default();
    match view.url.split_once("://").map(|(scheme, _)| scheme) {
        Some("file") if view.media == "removable" => "fetch the disk, attach it to any machine, and mount it at that path.".into(),
        Some("file") => "a directory of that machine: it is only there as long as the machine or its disk is. Another machine reaches it when the disk is moved or the directory is copied.".into(),
        Some("s3") => format!("a bucket{endpoint}, from anywhere with the internet or that network."),
        Some("az") => format!("a container of Azure{endpoint}, from anywhere."),
        Some("gs") => format!("a bucket of Google Cloud{endpoint}, from anywhere."),
        _ => "as its address says.".into(),
    }
}

fn bare(document: &mut Document, input: &RunbookInput) {
    document.section("From a bare machine and one location", "bare");
    document.paragraph("Needed: a machine with Linux, PostgreSQL of the same major version, the program, one location, the passphrase. Nothing of the old site.");
    let around = &input.surroundings;
    document.steps(vec![
        Step { text: Text::marked("Put the program and PostgreSQL on the machine. Any version of the program that is not older reads the copies."), ..Step::default() },
        Step { text: Text::marked("Write the passphrase into a file that only you can read:"), code: Some("install -D -m 600 /dev/stdin /etc/lifeboat/passphrase      # type it, end with Ctrl-D".into()), after: None },
        Step { text: Text::marked("Write one of these configurations as `lifeboat.toml`:"), ..Step::default() },
    ]);
    for (name, view) in &around.locations {
        let of_it =
            around.workloads.iter().filter(|(_, workload)| workload.locations.contains(name)).map(|(name, _)| name);
        let mut text = format!("# from {name}\n[location.{name}]\nurl = \"{}\"\n", without_user(&view.url));
        if let Some(endpoint) = &view.endpoint {
            text.push_str(&format!("endpoint = \"{}\"\n", without_user(endpoint)));
        }
        for line in &view.more_lines {
            text.push_str(&format!("{line}\n"));
        }
        text.push_str("\n[encryption]\npassphrase = { file = \"/etc/lifeboat/passphrase\" }\n");
        for workload in of_it {
            text.push_str(&format!("\n[workload.{workload}]\nkind = \"postgres\"\ndata_dir = \"/nowhere\"\nconnection = \"host=/nowhere user=postgres\"\n"));
        }
        document.blocks.push(Block::Code(text));
    }
    let each = |line: &dyn Fn(&str) -> String| {
        around.workloads.keys().map(|name| line(&quoted(name))).collect::<Vec<_>>().join("\n")
    };
    document.steps(vec![
        Step {
            text: Text::marked("What is there?"),
            code: Some(each(&|name| format!("lifeboat points {name}"))),
            after: None,
        },
        Step {
            text: Text::new().plain("Bring it back, ").link("in this order", "#order").plain(":"),
            code: Some(each(&|name| format!("lifeboat restore {name} --to /srv/{name}"))),
            after: None,
        },
    ]);
    document.notice(
        NoticeKind::Note,
        Text::marked("Not even the program is left? Copy the location to a directory. `tests/reader/restore.py` of the project's source (some 200 lines of Python) restores from it, and `docs/format/` says what every byte means. This runbook lies in each location below `plan/`, in plain files."),
    );
}
