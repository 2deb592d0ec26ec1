//! `[vendor_step.NAME]`: what another system does; a program, or a request.
//!
//! Promise: no secret stands in the model. The value of a secret header is kept as a reference beside it.

use super::reader::{Reader, line_of};
use crate::config::secret::SecretSource;
use crate::config::section::{SECRET_EXPECTED, Section, describe, shown};
use lifeboat_plan::model::{OnFailure, VendorAction, VendorStep};
use std::collections::BTreeMap;
use std::time::Duration;

const TIME_LIMITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));
const ON_FAILURE: [(&str, OnFailure); 3] =
    [("stop", OnFailure::Stop), ("continue", OnFailure::Continue), ("rollback", OnFailure::Rollback)];
const METHODS: [(&str, &str); 6] =
    [("GET", "GET"), ("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("DELETE", "DELETE"), ("HEAD", "HEAD")];
/// Words in the names of headers whose values nobody should see.
const SECRET_WORDS: [&str; 7] = ["authorization", "token", "secret", "api-key", "apikey", "cookie", "password"];

type Secrets = BTreeMap<(String, String), SecretSource>;

pub(super) fn step(reader: &mut Reader, name: &str, secrets: &mut Secrets) -> Option<VendorStep> {
    let title = reader.title("title", "what it does, such as \"vSphere starts the application servers\"");
    const LIMIT: &str = "a time of \"1s\" to \"7d\", such as \"10m\"";
    if !reader.section.has("time_limit") {
        reader.section.require(reader.findings, "time_limit", LIMIT, |_| None::<()>);
    }
    let time_limit = reader.section.duration(reader.findings, "time_limit", TIME_LIMITS, LIMIT);
    let on_failure = reader.required_choice("on_failure", &ON_FAILURE);
    let action = action(reader, name, secrets);
    let undo =
        reader.inner("undo", "a table such as { command = [\"program\", \"argument\"] }").and_then(|mut inner| {
            let undo = self::action(&mut inner, &format!("{name}.undo"), secrets);
            inner.finish();
            undo
        });
    if on_failure == Some(OnFailure::Rollback) && !reader.section.has("undo") {
        let message = format!(
            "`on_failure` in {} is \"rollback\", and there is no `undo`; expected undo = {{ command = [..] }} or {{ http = {{ .. }} }}",
            reader.section.name()
        );
        reader.problem("on_failure", message);
    }
    Some(VendorStep { title: title?, action: action?, undo, time_limit: time_limit?, on_failure: on_failure? })
}

fn action(reader: &mut Reader, step: &str, secrets: &mut Secrets) -> Option<VendorAction> {
    let before = reader.findings.problems.len();
    let command = reader.program("command").map(VendorAction::Command);
    let expected = "a table such as { method = \"POST\", url = \"https://dr.example.com/start\" }";
    let http = reader.inner("http", expected).and_then(|mut inner| {
        let found = request(&mut inner, step, secrets);
        inner.finish();
        found
    });
    let mut found: Vec<VendorAction> = [command, http].into_iter().flatten().collect();
    if found.len() != 1 && reader.findings.problems.len() == before {
        let count = if found.is_empty() { "nothing to do" } else { "two things to do" };
        let message = format!(
            "{} has {count}; expected one of command = [\"program\", \"argument\"] and http = {{ method, url }}",
            reader.section.name()
        );
        reader.problem("command", message);
    }
    found.pop()
}

fn request(reader: &mut Reader, step: &str, secrets: &mut Secrets) -> Option<VendorAction> {
    let method = reader.required_choice("method", &METHODS);
    const URL: &str = "an address such as \"https://dr.example.com/start\", without a password in it";
    let url = match reader.section.value("url").and_then(|value| value.get_ref().as_str()) {
        Some(text) if has_password(text) => {
            let message =
                format!("`url` in {} holds a password; give it by reference in `headers`", reader.section.name());
            reader.problem("url", message);
            None
        }
        _ => reader.section.require(reader.findings, "url", URL, |value| url_of(value.as_str()?)),
    };
    let body = reader
        .section
        .read(reader.findings, "body", "the text that is sent", |value| value.as_str().map(str::to_owned));
    let expected_status = reader.section.integer(reader.findings, "expected_status", 100..600);
    let expected_status = expected_status.and_then(|status| u16::try_from(status).ok()).unwrap_or(200);
    let headers = headers(reader, step, secrets);
    Some(VendorAction::Http { method: method?.to_owned(), url: url?, body, headers, expected_status })
}

fn has_password(url: &str) -> bool {
    let authority =
        url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or_default());
    authority.contains('@')
}

fn url_of(text: &str) -> Option<String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let sound =
        !host.is_empty() && !host.starts_with('/') && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    sound.then(|| text.to_owned())
}

/// Each is a text, or a secret by reference.
fn headers(reader: &mut Reader, step: &str, secrets: &mut Secrets) -> BTreeMap<String, String> {
    const EXPECTED: &str = "a table such as { Accept = \"application/json\", Authorization = { env = \"TOKEN\" } }";
    let mut found = BTreeMap::new();
    let Some(value) = reader.section.value("headers") else { return found };
    let Some(table) = value.get_ref().as_table() else {
        reader.section.read(reader.findings, "headers", EXPECTED, |_| None::<()>);
        return found;
    };
    for (key, value) in table {
        let header: &str = key.get_ref();
        let title = format!("header `{}` in {}", shown(header), reader.section.name());
        if header.is_empty() || !header.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            reader.findings.problem(&key.span(), format!("{title} is not a name; expected {EXPECTED}"));
        } else if let Some(inner) = value.get_ref().as_table() {
            let section = Section::new(title, inner, key.span());
            if let Some(source) = section.into_secret(reader.findings) {
                found.insert(header.to_owned(), format!("({source})"));
                secrets.insert((step.to_owned(), header.to_owned()), source);
            }
        } else if is_secret(header) && value.get_ref().is_str() {
            let message = format!("{title} is written out; a secret is given by reference: {SECRET_EXPECTED}");
            reader.findings.problem(&value.span(), message);
        } else if let Some(text) = value.get_ref().as_str().and_then(line_of) {
            found.insert(header.to_owned(), text);
        } else {
            let what = describe(value.get_ref());
            reader.findings.problem(&value.span(), format!("{title} is {what}; expected a text on one line"));
        }
    }
    found
}

fn is_secret(header: &str) -> bool {
    let name = header.to_ascii_lowercase().replace('_', "-");
    SECRET_WORDS.iter().any(|word| name.contains(word))
}
