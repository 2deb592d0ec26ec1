//! `{placeholders}` in what is typed: found, and filled in.
//!
//! Only `{name}` in small letters counts; other braces stay, because SQL and JSON have theirs.

use crate::scenario::{Action, PaperStep};
use lifeboat_plan::run::Run;
use std::collections::BTreeMap;

/// What the placeholders mean now.
pub type Meanings = BTreeMap<String, String>;

/// The names between braces in a text.
pub fn placeholders(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        let Some(end) = rest.find('}') else { break };
        if is_name(&rest[..end]) {
            found.push(&rest[..end]);
            rest = &rest[end + 1..];
        }
    }
    found
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// The text with its placeholders filled in, each once: what comes in isn't looked at again.
///
/// # Errors
/// The name of one that means nothing yet.
pub fn fill(text: &str, meanings: &Meanings) -> Result<String, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        filled.push_str(&rest[..start]);
        rest = &rest[start..];
        match rest.find('}').map(|end| (&rest[1..end], end)) {
            Some((name, end)) if is_name(name) => {
                filled.push_str(meanings.get(name).ok_or(name)?);
                rest = &rest[end + 1..];
            }
            _ => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Every text of an action in which placeholders may stand.
pub fn texts_of(action: &Action) -> Vec<&str> {
    match action {
        Action::Lifeboat { words, .. } | Action::Command(words) => words.iter().map(String::as_str).collect(),
        Action::Sql { server, database, query } => {
            [Some(server), database.as_ref(), Some(query)].into_iter().flatten().map(String::as_str).collect()
        }
        Action::Refused { server, query } => vec![server, query],
        Action::Http { url, body, headers, .. } => {
            let rest = body.iter().chain(headers.values());
            std::iter::once(url).chain(rest).map(String::as_str).collect()
        }
        Action::Tcp(text)
        | Action::Start(text)
        | Action::Stop(text)
        | Action::Cluster(text)
        | Action::Canary(text)
        | Action::Count(text)
        | Action::Loss(text)
        | Action::Page(text)
        | Action::VendorStep(text) => vec![text],
        Action::Ask { question, of } => std::iter::once(question).chain(of).map(String::as_str).collect(),
        Action::Fault { on, .. } | Action::Paper { on, .. } => vec![on],
    }
}

/// The same action with its placeholders filled in.
///
/// # Errors
/// The name of one that means nothing yet.
pub fn fill_action(action: &Action, meanings: &Meanings) -> Result<Action, String> {
    let one = |text: &String| fill(text, meanings);
    let all = |texts: &Vec<String>| texts.iter().map(one).collect::<Result<Vec<_>, _>>();
    let maybe = |text: &Option<String>| text.as_ref().map(one).transpose();
    Ok(match action {
        Action::Lifeboat { words, with } => Action::Lifeboat { words: all(words)?, with: *with },
        Action::Command(words) => Action::Command(all(words)?),
        Action::Sql { server, database, query } => {
            Action::Sql { server: one(server)?, database: maybe(database)?, query: one(query)? }
        }
        Action::Refused { server, query } => Action::Refused { server: one(server)?, query: one(query)? },
        Action::Http { method, url, body, headers } => {
            let headers =
                headers.iter().map(|(name, value)| Ok((name.clone(), one(value)?))).collect::<Result<_, String>>()?;
            Action::Http { method: method.clone(), url: one(url)?, body: maybe(body)?, headers }
        }
        Action::Tcp(text) => Action::Tcp(one(text)?),
        Action::Start(text) => Action::Start(one(text)?),
        Action::Stop(text) => Action::Stop(one(text)?),
        Action::Cluster(text) => Action::Cluster(one(text)?),
        Action::Canary(text) => Action::Canary(one(text)?),
        Action::Count(text) => Action::Count(one(text)?),
        Action::Loss(text) => Action::Loss(one(text)?),
        Action::Page(text) => Action::Page(one(text)?),
        Action::VendorStep(text) => Action::VendorStep(one(text)?),
        Action::Ask { question, of } => Action::Ask { question: one(question)?, of: maybe(of)? },
        Action::Fault { name, on } => Action::Fault { name: name.clone(), on: one(on)? },
        Action::Paper { step, on } => Action::Paper { step: *step, on: one(on)? },
    })
}

/// As somebody would type it.
pub fn spoken(action: &Action) -> String {
    match action {
        Action::Lifeboat { words, .. } => format!("lifeboat {}", line(words)),
        Action::Command(words) => line(words),
        Action::Sql { server, query, .. } => format!("sql on {server}: {query}"),
        Action::Refused { server, query } => format!("sql that {server} must not carry out: {query}"),
        Action::Http { method, url, .. } => format!("{method} {url}"),
        Action::Tcp(address) => format!("connect to {address}"),
        Action::Start(server) => format!("start server {server}"),
        Action::Stop(server) => format!("stop server {server}"),
        Action::Cluster(server) => format!("{}{server}", Run::CLUSTER_MADE),
        Action::Canary(server) => format!("canary writes on {server}"),
        Action::Count(server) => format!("look for the canary's writes on {server}"),
        Action::Loss(server) => format!("count what production had committed by the fault and {server} lacks"),
        Action::Ask { question, of } => {
            of.as_ref().map_or_else(|| format!("ask: {question}"), |of| format!("ask {of}: {question}"))
        }
        Action::Page(role) => format!("call {role}"),
        Action::Fault { name, on } => format!("fault {name} on {on}"),
        Action::VendorStep(name) => format!("vendor step {name}"),
        Action::Paper { step, on } => match step {
            PaperStep::Read if on.is_empty() => "read plan/ in the workload's first location".to_owned(),
            PaperStep::Read => format!("read plan/ in location {on}"),
            PaperStep::Configure => "write from-copy.toml as the runbook says for a bare machine".to_owned(),
            PaperStep::Points => "type the runbook's lifeboat points".to_owned(),
            PaperStep::Restore => "type the runbook's lifeboat restore".to_owned(),
        },
    }
}

/// Words as a shell would take them.
fn line(words: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@,%+".contains(c));
    let quoted =
        words.iter().map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', "'\\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let meanings: Meanings = [("a".to_owned(), "{b}".to_owned()), ("b".to_owned(), "x".to_owned())].into();
        for (text, filled) in [
            ("{a} and {b}", Ok("{b} and x")),
            ("'{}'::json {\"a\": 1} {A}", Ok("'{}'::json {\"a\": 1} {A}")),
            ("{c}", Err("c")),
            ("{a", Ok("{a")),
            ("{{b}}", Ok("{x}")),
        ] {
            assert_eq!(fill(text, &meanings), filled.map(str::to_owned).map_err(str::to_owned), "{text}");
        }
        assert_eq!(placeholders("{a} {B} {{b}"), ["a", "b"]);
    }
}
