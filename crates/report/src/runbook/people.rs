//! Who decides, who does, who is called, and who when they don't answer.

use super::RunbookInput;
use crate::words::duration;
use lifeboat_document::{Document, NoticeKind, Text};
use lifeboat_plan::model::Person;

pub(super) fn add(document: &mut Document, input: &RunbookInput) {
    let plan = &input.plan;
    document.chapter("Who is called", "people");
    if plan.people.is_empty() {
        document.notice(
            NoticeKind::Alarm,
            Text::marked(
                "**Nobody is named in the plan.** Whom to call stands nowhere: add `[person.NAME]` and `[role.NAME]`.",
            ),
        );
        return;
    }
    if input.without_contacts {
        document.notice(
            NoticeKind::Note,
            "Numbers and addresses were left out of this copy. Keep them where they are needed.",
        );
    }
    let name_of = |key: &str| plan.people.get(key).map_or_else(|| key.to_owned(), |person| person.name.clone());
    let rows = plan.roles.values().map(|role| {
        let people = role.people.iter().enumerate().map(|(index, key)| format!("{}. {}", index + 1, name_of(key)));
        let after = role.escalate_after.map_or_else(
            || "when they don't answer".to_owned(),
            |after| format!("after {} without an answer", duration(after)),
        );
        vec![Text::new().strong(role.title.clone()), people.collect::<Vec<_>>().join(" ").into(), after.into()]
    });
    document.table(
        &["In which function", "In this order", "The next one is called"],
        rows.collect(),
        "No role is in the plan: who decides is said nowhere.",
    );
    let rows = plan.people.values().map(|person| {
        let deputy = person.deputy.as_deref().map(name_of).unwrap_or_else(|| "nobody".to_owned());
        vec![Text::new().strong(person.name.clone()), phone(person, input), mail(person, input), deputy.into()]
    });
    document.table(&["Name", "Telephone", "Mail", "When they don't answer"], rows.collect(), "");
    let owners = plan.processes.values().filter(|process| process.owner.is_some() || process.approver.is_some());
    let rows = owners.map(|process| {
        let of = |key: &Option<String>| Text::from(key.as_deref().map(name_of).unwrap_or_default());
        vec![
            process.title.as_str().into(),
            of(&process.owner),
            of(&process.approver),
            process.workaround.as_deref().unwrap_or("nothing is known").into(),
        ]
    });
    document.table(
        &["Process", "Belongs to", "Approves", "What people do meanwhile"],
        rows.collect(),
        "No process has an owner.",
    );
}

fn phone(person: &Person, input: &RunbookInput) -> Text {
    match &person.phone {
        _ if input.without_contacts => "left out".into(),
        Some(phone) => {
            let digits: String = phone.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
            Text::new().link(phone.clone(), format!("tel:{digits}"))
        }
        None => Text::new().strong("none is known"),
    }
}

fn mail(person: &Person, input: &RunbookInput) -> Text {
    match &person.email {
        _ if input.without_contacts => "left out".into(),
        Some(mail) => Text::new().link(mail.clone(), format!("mailto:{mail}")),
        None => "none is known".into(),
    }
}
