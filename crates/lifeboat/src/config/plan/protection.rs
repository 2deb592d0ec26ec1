//! `[group.NAME]`, `[risk.NAME]`, `[drill.NAME]`: what is recovered together, what may happen, and what is rehearsed.

use super::promises::{DISRUPTIONS, owner};
use super::reader::{self, Reader, number_of};
use crate::config::section::{describe, shown, texts_of};
use crate::config::values::is_name;
use lifeboat_plan::model::{Drill, Group, Likelihood, Risk};
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// Nothing happens more often: once in five minutes, for a year.
const TIMES_PER_YEAR_MAX: f64 = 100_000.0;

pub(super) fn group(reader: &mut Reader) -> Option<Group> {
    Some(Group {
        title: reader.text("title", "what it is, such as \"The shop and its stock\""),
        tier: reader.name("tier", "a tier"),
        workloads: reader.set("workloads", "workloads"),
        vendor_steps: reader.set("vendor_steps", "vendor steps"),
        after: table(reader, "after", "a table such as { shop = [\"stock\"] }", |reader, name, value| {
            reader::names(reader.findings, name, value, "workloads or vendor steps")
                .map(|names| names.into_iter().collect())
        }),
        health: table(reader, "health", "a table such as { shop = [\"select true\"] }", |reader, name, value| {
            let queries = texts_of(value.get_ref()).filter(|queries| !queries.is_empty());
            if queries.is_none() {
                let found = describe(value.get_ref());
                let message = format!("{name} is {found}; expected a list of queries, such as [\"select true\"]");
                reader.findings.problem(&value.span(), message);
            }
            queries
        }),
    })
}

/// A table whose keys are names.
fn table<T>(
    reader: &mut Reader,
    key: &'static str,
    expected: &str,
    mut convert: impl FnMut(&mut Reader, &str, &Spanned<DeValue<'_>>) -> Option<T>,
) -> BTreeMap<String, T> {
    let mut found = BTreeMap::new();
    let Some(value) = reader.section.value(key) else { return found };
    let Some(entries) = value.get_ref().as_table() else {
        reader.section.read(reader.findings, key, expected, |_| None::<()>);
        return found;
    };
    for (name, value) in entries {
        let text: &str = name.get_ref();
        let title = format!("`{key}.{}` in {}", shown(text), reader.section.name());
        if !is_name(text) {
            reader.findings.problem(&name.span(), format!("{title} is not a name; expected {expected}"));
        } else if let Some(value) = convert(reader, &title, value) {
            found.insert(text.to_owned(), value);
        }
    }
    found
}

pub(super) fn risk(reader: &mut Reader) -> Option<Risk> {
    let threat = reader.title("threat", "what may happen, such as \"the data centre burns\"");
    let disruption = reader.required_choice("disruption", &DISRUPTIONS);
    let per_year = likelihood(reader);
    let (owner, reviewed) = owner(reader);
    let processes = reader.set("processes", "processes");
    let mitigation = reader.prose("mitigation", "what is done against it, in words");
    Some(Risk { threat: threat?, disruption: disruption?, per_year: per_year?, processes, mitigation, owner, reviewed })
}

fn likelihood(reader: &mut Reader) -> Option<Likelihood> {
    const EXPECTED: &str =
        "times a year, such as 0.05 (once in twenty years) or { low = 0.01, expected = 0.05, high = 0.2 }";
    const NUMBER: &str = "times a year: a number of 0 to 100000, such as 0.05";
    let times = |value: &DeValue| number_of(value).filter(|times| (0.0..=TIMES_PER_YEAR_MAX).contains(times));
    let value = reader.section.value("per_year");
    if value.is_none_or(|value| !value.get_ref().is_table()) {
        let one = reader.section.require(reader.findings, "per_year", EXPECTED, times)?;
        return Some(Likelihood { low: one, expected: one, high: one });
    }
    let mut inner = reader.inner("per_year", EXPECTED)?;
    let [low, expected, high] =
        ["low", "expected", "high"].map(|key| inner.section.require(inner.findings, key, NUMBER, times));
    let found = low.zip(expected).zip(high).map(|((low, expected), high)| Likelihood { low, expected, high });
    if let Some(Likelihood { low, expected, high }) =
        found.filter(|all| all.low > all.expected || all.expected > all.high)
    {
        let message = format!(
            "{} goes from {low} over {expected} to {high}; expected low <= expected <= high",
            inner.section.name()
        );
        inner.problem("low", message);
    }
    inner.finish();
    found
}

pub(super) fn drill(reader: &mut Reader) -> Option<Drill> {
    let scenario =
        reader.required_name("scenario", "a scenario, such as \"restore-database\" (`lifeboat drill list` has them)");
    let hour = Duration::from_secs(3600);
    Some(Drill {
        target: reader.name("target", "a workload, a group or a cluster"),
        every: reader.time("every", hour, "a time of an hour or more, such as \"90d\""),
        owner: reader.name("owner", "a person or a role"),
        approver: reader.name("approver", "a person or a role"),
        participants: reader.set("participants", "people or roles"),
        with: table(reader, "with", "a table such as { table = \"orders\" }", |reader, name, value| {
            let text = match value.get_ref() {
                DeValue::String(text) => Some(text.to_string()),
                DeValue::Boolean(is) => Some(is.to_string()),
                DeValue::Integer(number) => Some(number.to_string()),
                DeValue::Float(number) => Some(number.to_string()),
                _ => None,
            };
            if text.is_none() {
                let found = describe(value.get_ref());
                let message = format!("{name} is {found}; expected a text, a number, true or false");
                reader.findings.problem(&value.span(), message);
            }
            text
        }),
        scenario: scenario?,
    })
}
