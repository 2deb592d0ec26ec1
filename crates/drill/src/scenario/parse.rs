//! From text to a scenario. Every problem is told, with its line and the nearest key.

use super::steps::read_step;
use super::toml_table::{Findings, Table, advice, describe, duration_of};
use super::{Action, Health, PHASES, Parameter, Scenario, Step, TargetKind};
use crate::act::ASSUMED_LOSS;
use crate::words::placeholders;
use lifeboat_plan::model::Disruption;
use lifeboat_plan::run::Phase;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use toml::de::DeTable;

/// How long a scenario may take when it doesn't say.
const TIME_LIMIT: Duration = Duration::from_secs(3600);
/// After this many problems the rest is probably the same one.
const PROBLEMS_MAX: usize = 50;

/// Placeholders that are always there.
pub const ALWAYS_THERE: [&str; 16] = [
    "id",
    "place",
    "program",
    "workload",
    "workloads",
    "database",
    "user",
    "copy",
    "restored",
    "copy_dir",
    "restored_dir",
    "copy_connection",
    "restored_connection",
    "vault",
    "second",
    "fault_time",
];

/// One problem, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to us.
    pub file: String,
    /// Counted from 1.
    pub line: Option<usize>,
    /// One sentence: what was found, and what is expected.
    pub message: String,
}

/// All of one file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Reads one scenario. `file` is its name for messages.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(name: &str, file: &str, text: &str) -> Result<Scenario, Problems> {
    let mut findings = Findings { file, text, problems: Vec::new() };
    let (root, errors) = DeTable::parse_recoverable(text);
    if let Some(error) = errors.first() {
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        findings.problem(&error.span().unwrap_or(0..0), format!("not valid TOML: {message}"));
        return Err(Problems(findings.problems));
    }
    let mut table = Table::new(format!("scenario {name}"), root.get_ref(), root.span());
    let mut scenario = read(name, &mut table, &mut findings);
    table.finish(&mut findings);
    text.clone_into(&mut scenario.text);
    check(&scenario, &mut findings);
    if findings.problems.is_empty() {
        return Ok(scenario);
    }
    findings.problems.sort_by_key(|problem| problem.line);
    findings.problems.truncate(PROBLEMS_MAX);
    Err(Problems(findings.problems))
}

fn read(name: &str, table: &mut Table, findings: &mut Findings) -> Scenario {
    let title = table.text(findings, "title");
    if !table.has("title") {
        findings.problem(&table.span.clone(), "`title` is missing; expected what it rehearses, in one sentence".into());
    }
    let disruption = table.read(findings, "disruption", DISRUPTIONS, |value| disruption(value.as_str()?));
    let expected = "\"workload\", \"group\" or \"nothing\"";
    let target = table.read(findings, "target", expected, |value| match value.as_str()? {
        "workload" => Some(TargetKind::Workload),
        "group" => Some(TargetKind::Group),
        "nothing" => Some(TargetKind::Nothing),
        _ => None,
    });
    let isolated = table.boolean(findings, "isolated");
    let time_limit = table.duration(findings, "time_limit");
    let does_not_show = table.texts(findings, "does_not_show").unwrap_or_default();
    let health = read_health(table, findings);
    let parameters = read_parameters(table, findings);
    let mut phases = BTreeMap::new();
    for (phase, key) in PHASES {
        phases.insert(phase, read_steps(table, findings, key));
    }
    let abort_unless = read_steps(table, findings, "abort_unless");
    Scenario {
        name: name.to_owned(),
        title: title.unwrap_or_default(),
        disruption,
        target: target.unwrap_or(TargetKind::Workload),
        parameters,
        isolated: isolated.unwrap_or(true),
        time_limit: time_limit.unwrap_or(TIME_LIMIT),
        health,
        phases,
        abort_unless,
        does_not_show,
        text: String::new(),
    }
}

const DISRUPTIONS: &str = "one of corruption, ransomware, instance, site, network, dependency";

fn disruption(word: &str) -> Option<Disruption> {
    serde_json::from_value(word.into()).ok()
}

fn read_health(table: &mut Table, findings: &mut Findings) -> Option<Health> {
    let value = table.value("health")?;
    let mut health = Table::of("[health]", value, findings)?;
    let server = health.text(findings, "server").unwrap_or_else(|| "restored".into());
    let queries = health.texts(findings, "queries").unwrap_or_default();
    health.finish(findings);
    Some(Health { server, queries })
}

fn read_parameters(table: &mut Table, findings: &mut Findings) -> BTreeMap<String, Parameter> {
    let mut found = BTreeMap::new();
    let Some(value) = table.value("parameters") else { return found };
    let Some(all) = value.get_ref().as_table() else {
        let said = describe(value.get_ref());
        findings.problem(&value.span(), format!("`parameters` is {said}; expected sections [parameters.NAME]"));
        return found;
    };
    for (name, value) in all {
        let text = name.get_ref().to_string();
        let Some(mut one) = Table::of(&format!("[parameters.{text}]"), value, findings) else { continue };
        let title = one.text(findings, "title").unwrap_or_default();
        let default = one.read(findings, "default", "a text", |value| value.as_str().map(str::to_owned));
        one.finish(findings);
        found.insert(text, Parameter { title, default });
    }
    found
}

fn read_steps(table: &mut Table, findings: &mut Findings, key: &'static str) -> Vec<Step> {
    let expected = format!("steps, each under [[{key}]]");
    let list = table.value(key);
    let Some(value) = list else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        findings.problem(&value.span(), format!("`{key}` is {}; expected {expected}", describe(value.get_ref())));
        return Vec::new();
    };
    let steps = items.iter().enumerate().filter_map(|(number, item)| {
        let step = Table::of(&format!("step {} of [[{key}]]", number + 1), item, findings)?;
        read_step(step, findings)
    });
    steps.collect()
}

/// What holds for the whole: every placeholder comes from somewhere, something is asked afterwards.
fn check(scenario: &Scenario, findings: &mut Findings) {
    let mut known: Vec<String> = ALWAYS_THERE.iter().map(ToString::to_string).collect();
    known.extend(scenario.parameters.keys().cloned());
    let all = || scenario.phases.values().flatten().chain(&scenario.abort_unless);
    known.extend(all().flat_map(|step| step.keeps.keys().cloned()));
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    for step in all() {
        for name in crate::words::texts_of(&step.action).into_iter().flat_map(placeholders) {
            if !known.contains(&name) {
                let message = format!("{}: nothing is called {{{name}}}; {}", step.name, advice(name, &known));
                findings.problems.push(Problem { file: findings.file.to_owned(), line: None, message });
            }
        }
    }
    // What isn't known of a loss is no failure, so it is no question either.
    let silent = |action: &Action| matches!(action, Action::Start(_) | Action::Stop(_) | Action::Loss(_));
    let asks = |step: &&Step| step.counts && !silent(&step.action);
    if !scenario.phases.get(&Phase::After).is_some_and(|steps| steps.iter().any(|step| asks(&step))) {
        let message = "nothing is asked afterwards; expected at least one step [[after]] that counts".to_owned();
        findings.problems.push(Problem { file: findings.file.to_owned(), line: None, message });
    }
    let assumed = scenario.phases.get(&Phase::Fault).into_iter().flatten();
    let mut assumed = assumed.filter(|step| matches!(&step.action, Action::Fault { name, .. } if name == ASSUMED_LOSS));
    if scenario.counts_loss() && assumed.next().is_none() {
        let message = format!(
            "`loss` counts from the moment when production is taken as lost; expected a step [[fault]] with fault = \"{ASSUMED_LOSS}\""
        );
        findings.problems.push(Problem { file: findings.file.to_owned(), line: None, message });
    }
    let missing = scenario.parameters.iter().filter(|(name, _)| ALWAYS_THERE.contains(&name.as_str()));
    for (name, _) in missing {
        let message = format!("[parameters.{name}] has a name that is taken; choose another");
        findings.problems.push(Problem { file: findings.file.to_owned(), line: None, message });
    }
}

/// The scenarios of a configuration: its sections `[scenario.NAME]`, each as a text of its own with the lines where they are.
pub fn in_configuration(file: &str, text: &str) -> Vec<(String, Result<Scenario, Problems>)> {
    let (root, _) = DeTable::parse_recoverable(text);
    let Some(all) = root.get_ref().get("scenario").and_then(|value| value.get_ref().as_table()) else {
        return Vec::new();
    };
    let read_one = |name: &str, value| {
        let mut findings = Findings { file, text, problems: Vec::new() };
        let Some(mut table) = Table::of(&format!("[scenario.{name}]"), value, &mut findings) else {
            return Err(Problems(findings.problems));
        };
        let mut scenario = read(name, &mut table, &mut findings);
        table.finish(&mut findings);
        check(&scenario, &mut findings);
        let own = toml::from_str::<toml::Table>(text).ok();
        let own = own.and_then(|all| toml::to_string(all.get("scenario")?.get(name)?).ok());
        scenario.text = own.unwrap_or_default();
        if findings.problems.is_empty() { Ok(scenario) } else { Err(Problems(findings.problems)) }
    };
    all.iter().map(|(name, value)| (name.get_ref().to_string(), read_one(name.get_ref(), value))).collect()
}

/// A duration as scenarios write it.
pub fn duration(text: &str) -> Option<Duration> {
    duration_of(text)
}
