//! `[person.NAME]`, `[role.NAME]`: who is called, and in which function.

use super::reader::Reader;
use lifeboat_plan::model::{Person, Role};
use std::time::Duration;

pub(super) fn person(reader: &mut Reader) -> Option<Person> {
    let name = reader.title("name", "the full name");
    let email = reader.section.read(reader.findings, "email", "an address such as \"ada@example.com\"", |value| {
        let text = value.as_str()?;
        let (user, host) = text.split_once('@')?;
        let plain = !text.chars().any(|c| c.is_whitespace() || c.is_control() || "<>,;".contains(c));
        (plain && !user.is_empty() && host.len() > 1 && !host.contains('@')).then(|| text.to_owned())
    });
    let phone = reader.section.read(reader.findings, "phone", "a number such as \"+49 30 1234567\"", |value| {
        let text = value.as_str()?.trim();
        let plain = text.chars().all(|c| c.is_ascii_digit() || "+-()/ .#*x".contains(c));
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        (plain && (3..=30).contains(&digits)).then(|| text.to_owned())
    });
    let (deputy, page) = (reader.name("deputy", "a person"), reader.program("page"));
    Some(Person { name: name?, email, phone, deputy, page })
}

pub(super) fn role(reader: &mut Reader) -> Option<Role> {
    let title = reader.title("title", "what it is for, such as \"decides whether to fail over\"");
    let people = reader.names("people", "people");
    let expected = "a time of a second or more, such as \"15m\"";
    let escalate_after = reader.time("escalate_after", Duration::from_secs(1), expected);
    Some(Role { title: title?, people, escalate_after })
}
