//! One step: exactly one action, and how it is judged.

use super::toml_table::{Findings, Table, advice, json_of, text_of};
use super::{Action, PaperStep, READING, Step, Tolerance, With};
use lifeboat_plan::model::OnFailure;
use std::time::Duration;
use toml::Spanned;
use toml::de::DeValue;

/// For a step that says nothing of it: a restore of a large database may take that long.
const TIME_LIMIT: Duration = Duration::from_secs(30 * 60);
/// For a step that asks a person.
const PERSON_TIME_LIMIT: Duration = Duration::from_secs(15 * 60);

const ACTIONS: [&str; 17] = [
    "lifeboat",
    "command",
    "sql",
    "refused",
    "http",
    "tcp",
    "start",
    "stop",
    "cluster",
    "canary",
    "count",
    "loss",
    "ask",
    "page",
    "fault",
    "vendor_step",
    "paper",
];

pub(super) fn read_step(mut table: Table, findings: &mut Findings) -> Option<Step> {
    let name = table.text(findings, "name");
    if !table.has("name") {
        findings.problem(
            &table.span.clone(),
            format!("`name` is missing in {}; expected what is done, in words", table.name),
        );
    }
    if let Some(name) = &name {
        table.name = format!("step \"{name}\"");
    }
    let until = table.has("wait_for");
    let action = if until { read_waiting(&mut table, findings) } else { read_action(&mut table, findings) };
    let is_asked = matches!(action, Some(Action::Ask { .. } | Action::Page(_)));
    let limit = if is_asked { PERSON_TIME_LIMIT } else { TIME_LIMIT };
    let exit_code = table.read(findings, "exit_code", "a whole number of 0 to 255", |value| {
        let number = value.as_integer()?;
        i32::from_str_radix(number.as_str(), number.radix()).ok().filter(|code| (0..=255).contains(code))
    });
    let path = table.text(findings, "path");
    let tolerance = read_tolerance(&mut table, findings);
    let expected = "\"stop\", \"continue\" or \"rollback\"";
    let on_failure = table.read(findings, "on_failure", expected, |value| match value.as_str()? {
        "stop" => Some(OnFailure::Stop),
        "continue" => Some(OnFailure::Continue),
        "rollback" => Some(OnFailure::Rollback),
        _ => None,
    });
    let time_limit = table.duration(findings, "time_limit").unwrap_or(limit);
    let [background, counts, alert, each] =
        ["background", "counts", "alert", "each"].map(|key| table.boolean(findings, key));
    let (keeps, measures) = (table.map(findings, "keeps"), table.map(findings, "measures"));
    table.finish(findings);
    Some(Step {
        name: name?,
        action: action?,
        exit_code,
        path,
        tolerance,
        time_limit,
        until,
        on_failure: on_failure.unwrap_or_default(),
        background: background.unwrap_or(false),
        counts: counts.unwrap_or(true),
        alert: alert.unwrap_or(false),
        each: each.unwrap_or(false),
        keeps,
        measures,
    })
}

/// `wait_for = { sql = .. }`: the action stands in the table.
fn read_waiting(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let value = table.value("wait_for")?;
    let mut inner = Table::of("wait_for", value, findings)?;
    inner.name = format!("wait_for of {}", table.name);
    let action = read_action(&mut inner, findings);
    inner.finish(findings);
    action
}

fn read_action(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let named: Vec<String> =
        table.keys().map(|(key, _)| key.to_owned()).filter(|key| ACTIONS.contains(&key.as_str())).collect();
    if named.len() != 1 {
        let found = if named.is_empty() { "nothing".to_owned() } else { named.join(" and ") };
        let near = table
            .keys()
            .map(|(key, _)| key.to_owned())
            .find(|key| ACTIONS.iter().any(|action| strsim::damerau_levenshtein(key, action) == 1));
        let advice = near.map_or_else(|| ACTIONS.join(", "), |near| advice(&near, &ACTIONS));
        let message = format!("{} does {found}; expected exactly one of: {advice}", table.name);
        findings.problem(&table.span.clone(), message);
        // So that they are not called unknown, too.
        for action in ACTIONS {
            table.value(action);
        }
        return None;
    }
    match named[0].as_str() {
        "lifeboat" => read_lifeboat(table, findings),
        "command" => table.texts(findings, "command").map(Action::Command),
        "sql" => read_sql(table, findings),
        "refused" => read_refused(table, findings),
        "http" => read_http(table, findings),
        "ask" => {
            let of = table.text(findings, "of");
            table.text(findings, "ask").map(|question| Action::Ask { question, of })
        }
        "fault" => {
            let on = table.text(findings, "on").unwrap_or_else(|| "copy".into());
            let known = crate::act::FAULTS;
            let expected = format!("one of {}", known.join(", "));
            let name = table.read(findings, "fault", &expected, |value| {
                text_of(value).filter(|name| known.contains(&name.as_str()))
            });
            name.map(|name| Action::Fault { name, on })
        }
        "paper" => {
            let on = table.text(findings, "on").unwrap_or_default();
            let expected = "\"read\", \"configure\", \"points\" or \"restore\"";
            let step = table.read(findings, "paper", expected, |value| match value.as_str()? {
                "read" => Some(PaperStep::Read),
                "configure" => Some(PaperStep::Configure),
                "points" => Some(PaperStep::Points),
                "restore" => Some(PaperStep::Restore),
                _ => None,
            });
            step.map(|step| Action::Paper { step, on })
        }
        "tcp" => table.text(findings, "tcp").map(Action::Tcp),
        "start" => table.text(findings, "start").map(Action::Start),
        "stop" => table.text(findings, "stop").map(Action::Stop),
        "cluster" => table.text(findings, "cluster").map(Action::Cluster),
        "canary" => table.text(findings, "canary").map(Action::Canary),
        "count" => table.text(findings, "count").map(Action::Count),
        "loss" => table.text(findings, "loss").map(Action::Loss),
        "page" => table.text(findings, "page").map(Action::Page),
        _ => table.text(findings, "vendor_step").map(Action::VendorStep),
    }
}

fn read_lifeboat(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let words = table.texts(findings, "lifeboat");
    let expected = "\"place\", \"cluster\", \"production\", \"escrow\" or \"copy\"";
    let with = table.read(findings, "with", expected, |value| match value.as_str()? {
        "place" => Some(With::Place),
        "cluster" => Some(With::Cluster),
        "production" => Some(With::Production),
        "escrow" => Some(With::Escrow),
        "copy" => Some(With::Copy),
        _ => None,
    });
    let (words, with) = (words?, with.unwrap_or(With::Place));
    if ![With::Place, With::Cluster].contains(&with) && !READING.contains(&words[0].as_str()) {
        let message = format!(
            "`lifeboat {}` in {} would run with the real configuration; only {} may",
            words[0],
            table.name,
            READING.join(", ")
        );
        findings.problem(&table.span.clone(), message);
    }
    Some(Action::Lifeboat { words, with })
}

fn read_sql(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let value = table.value("sql")?;
    let mut inner = Table::of(&format!("`sql` of {}", table.name), value, findings)?;
    let server = inner.text(findings, "server").unwrap_or_else(|| "copy".into());
    let database = inner.text(findings, "database");
    let query = inner.text(findings, "query");
    if !inner.has("query") {
        findings.problem(&inner.span.clone(), format!("`query` is missing in {}", inner.name));
    }
    inner.finish(findings);
    Some(Action::Sql { server, database, query: query? })
}

fn read_refused(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let value = table.value("refused")?;
    let mut inner = Table::of(&format!("`refused` of {}", table.name), value, findings)?;
    let (server, query) = (inner.text(findings, "server"), inner.text(findings, "query"));
    for key in ["server", "query"].into_iter().filter(|key| !inner.has(key)) {
        findings.problem(&inner.span.clone(), format!("`{key}` is missing in {}", inner.name));
    }
    inner.finish(findings);
    Some(Action::Refused { server: server?, query: query? })
}

fn read_http(table: &mut Table, findings: &mut Findings) -> Option<Action> {
    let value = table.value("http")?;
    let mut inner = Table::of(&format!("`http` of {}", table.name), value, findings)?;
    let method = inner.text(findings, "method").unwrap_or_else(|| "GET".into());
    let (url, body) = (inner.text(findings, "url"), inner.text(findings, "body"));
    let headers = inner.map(findings, "headers");
    if !inner.has("url") {
        findings.problem(&inner.span.clone(), format!("`url` is missing in {}", inner.name));
    }
    inner.finish(findings);
    Some(Action::Http { method, url: url?, body, headers })
}

/// `equals`, `between`, `one_of`, `matches`: at most one.
fn read_tolerance(table: &mut Table, findings: &mut Findings) -> Option<Tolerance> {
    let named: Vec<&str> =
        ["equals", "between", "one_of", "matches"].into_iter().filter(|key| table.has(key)).collect();
    if named.len() > 1 {
        findings.problem(&table.span.clone(), format!("{} has {}; one is enough", table.name, named.join(" and ")));
    }
    let equals = table.read(findings, "equals", "a value", |value| json_of(value).map(Tolerance::Equals));
    let between = table.read(findings, "between", "two numbers, the lower one first", |value| {
        let numbers: Vec<f64> = value.as_array()?.iter().map(number).collect::<Option<_>>()?;
        match numbers[..] {
            [low, high] if low <= high => Some(Tolerance::Between(low, high)),
            _ => None,
        }
    });
    let one_of = table.read(findings, "one_of", "a list of values", |value| {
        let values = value.as_array()?.iter().map(|item| json_of(item.get_ref())).collect::<Option<_>>()?;
        Some(Tolerance::OneOf(values))
    });
    let matches = table.read(findings, "matches", "a regular expression", |value| {
        let pattern = text_of(value)?;
        regex::Regex::new(&pattern).is_ok().then_some(Tolerance::Matches(pattern))
    });
    equals.or(between).or(one_of).or(matches)
}

fn number(value: &Spanned<DeValue>) -> Option<f64> {
    json_of(value.get_ref())?.as_f64()
}
