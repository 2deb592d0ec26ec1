//! The runbook: what is done on the day, by whom, with which commands, in which order; made from the configuration as it is.
//!
//! Promise: it can be followed with nothing but itself, a machine, one location and the passphrase. Figures come from drills and name their
//! entry; what was never rehearsed says so, loudly.

mod bad_days;
mod closing;
mod groups;
mod people;
mod places;

use crate::input::{Evidence, Surroundings};
use jiff::civil::Date;
use lifeboat_document::{Document, NoticeKind, Step, Text};
use lifeboat_plan::model::Plan;

/// See [`runbook`].
#[derive(Debug, Clone, PartialEq)]
pub struct RunbookInput {
    /// What was decided.
    pub plan: Plan,
    /// What the configuration says besides.
    pub surroundings: Surroundings,
    /// What was rehearsed, oldest first.
    pub runs: Vec<Evidence>,
    /// The day on which it is made.
    pub made_on: Date,
    /// Names of people stand in it, their numbers and addresses don't.
    pub without_contacts: bool,
}

/// See the module.
pub fn runbook(input: &RunbookInput) -> Document {
    let mut document = content(input);
    let hashes = [
        ("Configuration", input.surroundings.configuration_file.clone()),
        ("Hash of the configuration", input.surroundings.configuration_hash.clone()),
        ("Hash of the plan", input.surroundings.plan_hash.clone()),
        ("Hash of this runbook", runbook_hash(input)),
    ];
    document.facts.push(("Made on".into(), Text::from(input.made_on.to_string())));
    document.facts.extend(hashes.map(|(name, value)| (name.into(), Text::new().code(value))));
    document.facts.push((
        "Figures from".into(),
        Text::from(match input.runs.last() {
            Some(last) => {
                format!("{} runs in the ledger, the last of {} (entry {})", input.runs.len(), last.day(), last.source())
            }
            None => "nothing: no run is in the ledger".to_owned(),
        }),
    ));
    document
}

/// What the runbook says apart from its day and the figures of drills: two runbooks of one configuration have the same, whoever's
/// contacts were left out. BLAKE3, hexadecimal.
pub fn runbook_hash(input: &RunbookInput) -> String {
    let bare = RunbookInput { runs: Vec::new(), without_contacts: false, ..input.clone() };
    blake3::hash(content(&bare).markdown().as_bytes()).to_hex().to_string()
}

/// All but what says when and from what it was made.
fn content(input: &RunbookInput) -> Document {
    let whose = input.plan.organisation.as_deref();
    let mut document = Document {
        title: whose.map_or_else(|| "Recovery runbook".to_owned(), |whose| format!("Recovery runbook of {whose}")),
        subtitle: Some("What to do when something is gone: who, what, in which order".into()),
        facts: Vec::new(),
        footer: format!(
            "Recovery runbook{}. Printed copies age: compare the hash.",
            whose.map(|whose| format!(" of {whose}")).unwrap_or_default()
        ),
        blocks: Vec::new(),
    };
    beginning(&mut document, input);
    people::add(&mut document, input);
    groups::overview(&mut document, input);
    groups::add(&mut document, input);
    bad_days::add(&mut document, input);
    places::add(&mut document, input);
    closing::add(&mut document, input);
    document
}

fn beginning(document: &mut Document, input: &RunbookInput) {
    document.chapter("The first minutes", "first");
    let step = |text: &'static str| Step { text: Text::marked(text), ..Step::default() };
    document.steps(vec![
        step("Write down the time, and what was seen. Every figure afterwards is counted from here."),
        Step { text: Text::new().plain("Call the one who decides: ").link("who is called", "#people").plain("."), ..Step::default() },
        step("**Change nothing that can't be taken back** before somebody who may decide has decided. Don't delete, don't restore over what runs."),
        step("If somebody may still be attacking: cut the network first, and touch no copy."),
        Step {
            text: "Keep what happens, so that it can be told afterwards:".into(),
            code: Some("lifeboat incident open 'WHAT HAPPENED, IN ONE SENTENCE'".into()),
            ..Step::default()
        },
        Step { text: Text::new().plain("Find what happened ").link("in this table", "#decide").plain(", and go there."), ..Step::default() },
    ]);
    bad_days::decisions(document, input);
    if input.runs.is_empty() {
        document.notice(
            NoticeKind::Alarm,
            Text::marked("**Nothing in this runbook was ever rehearsed.** There is no measured time in it. `lifeboat drill run` measures."),
        );
    }
}
