//! When it runs again: what is asked, who is told, what is learnt.

use super::RunbookInput;
use crate::words::quoted;
use lifeboat_document::{Document, Step, Text};

pub(super) fn add(document: &mut Document, input: &RunbookInput) {
    document.chapter("When it runs again", "end");
    let workloads = &input.surroundings.workloads;
    let each =
        |line: &dyn Fn(&str) -> String| workloads.keys().map(|name| line(&quoted(name))).collect::<Vec<_>>().join("\n");
    let step = |text: &'static str, code: String| Step {
        text: Text::marked(text),
        code: (!code.is_empty()).then_some(code),
        after: None,
    };
    let mut steps = vec![
        step(
            "Each question of each group returns true; the application's own question is answered rightly.",
            String::new(),
        ),
        step(
            "What was lost? The end of the window is the last moment that survived; write it down.",
            each(&|name| format!("lifeboat points {name}")),
        ),
        step("Archiving works, copies arrive:", each(&|name| format!("lifeboat check {name}"))),
    ];
    if !input.surroundings.clusters.is_empty() {
        let lines = input.surroundings.clusters.keys().map(|name| format!("lifeboat cluster status {}", quoted(name)));
        steps.push(step("Members follow:", lines.collect::<Vec<_>>().join("\n")));
    }
    steps.push(step(
        "A new backup, and a verification that starts it:",
        each(&|name| format!("lifeboat backup {name}\nlifeboat verify {name} --boot")),
    ));
    steps.push(step("Would we meet the promise again?", "lifeboat ready".to_owned()));
    document.steps(steps);
    communication(document);
    document.section("Afterwards", "after");
    document.steps(vec![
        step(
            "Close it, with when it began, was noticed and was over:",
            "lifeboat incident list --open\nlifeboat incident close ID --recovered TIME".to_owned(),
        ),
        step(
            "Within a week: what happened, what helped, what hindered. Each finding gets an owner and a day.",
            String::new(),
        ),
        step(
            "Compare what it took with what was promised; change the plan where they differ.",
            "lifeboat plan check\nlifeboat report".to_owned(),
        ),
        step("Write this runbook again, and rehearse what went wrong.", "lifeboat plan runbook --publish".to_owned()),
    ]);
}

fn communication(document: &mut Document) {
    document.section("Communication", "communication");
    document.table(
        &["When", "To whom", "What"],
        [
            ("At once", "Who decides, who does", "What was seen, since when, what is not known yet"),
            (
                "When it is decided",
                "Owners of the processes that stop",
                "What is down, what people do meanwhile, when the next word comes",
            ),
            (
                "Every 30 minutes, or as agreed",
                "The same, and customers as agreed",
                "What changed. Nothing changed is a message, too",
            ),
            ("When it runs again", "All of them", "Since when, what was lost, what must be entered again"),
            (
                "If personal data or a supervised service is hit",
                "Whoever answers for law and supervision",
                "Terms for notices run from the moment it was known",
            ),
        ]
        .into_iter()
        .map(|(when, whom, what)| vec![Text::new().strong(when), whom.into(), what.into()])
        .collect(),
        "",
    );
}
