//! `lifeboat plan check`: what doesn't hold, with the line to look at and what would mend it.

use super::known::context;
use crate::cli::{Global, PlanCheckArguments};
use crate::commands::load_config;
use crate::config::{Place, PlanConfig, UnknownKeys};
use crate::failure::{Failure, FailureKind};
use crate::output::human::count;
use crate::output::{Output, Tone};
use jiff::Zoned;
use lifeboat_plan::consistency::{Finding, Severity, check};
use lifeboat_plan::model::Plan;
use serde_json::{Value, json};
use std::path::Path;

pub fn run(global: &Global, arguments: &PlanCheckArguments, output: &Output) -> Result<(), Failure> {
    let (path, config) = load_config(global, UnknownKeys::Refuse, output)?;
    let today = arguments.on.unwrap_or_else(|| Zoned::now().date());
    let found = in_order(&path, &config.plan, check(&config.plan.plan, &context(&config, today)));
    let number = |severity| found.iter().filter(|placed| placed.finding.severity == severity).count();
    let (problems, warnings) = (number(Severity::Problem), number(Severity::Warning));
    let plan = &config.plan.plan;
    if output.is_json() {
        output.document(&json!({
            "on": today.to_string(),
            "holds": problems == 0,
            "problems": problems,
            "warnings": warnings,
            "findings": found.iter().map(Placed::document).collect::<Vec<_>>(),
        }))?;
    }
    for placed in &found {
        output.text(&placed.text(output))?;
    }
    let seen = format!("{}; on {today}", size(plan));
    match problems {
        0 if warnings == 0 => output.text(&format!("the plan holds: {seen}")),
        0 => output.text(&format!("the plan holds, with {}: {seen}", count(warnings, "warning"))),
        _ => {
            let and = if warnings == 0 { String::new() } else { format!(", and {}", count(warnings, "warning")) };
            let message = format!("the plan doesn't hold: {}{and}: {seen}", count(problems, "problem"));
            Err(Failure::new(FailureKind::CheckFailed, message).after_its_document())
        }
    }
}

/// How much was looked at.
fn size(plan: &Plan) -> String {
    let process = match plan.processes.len() {
        1 => "1 process".to_owned(),
        number => format!("{number} processes"),
    };
    let person = match plan.people.len() {
        1 => "1 person".to_owned(),
        number => format!("{number} people"),
    };
    let counts = [
        count(plan.tiers.len(), "tier"),
        count(plan.groups.len(), "group"),
        count(plan.risks.len(), "risk"),
        person,
        count(plan.drills.len(), "drill"),
    ];
    format!("{process}, {}", counts.join(", "))
}

/// A finding and where it is.
struct Placed {
    finding: Finding,
    /// The line is missing when what is wrong stands nowhere.
    file: String,
    line: Option<usize>,
}

/// As they are read: the main file first, then what it includes, each from its top.
fn in_order(main: &Path, plan: &PlanConfig, findings: Vec<Finding>) -> Vec<Placed> {
    let main = main.to_string_lossy();
    let place = |finding: Finding| match plan.place(&finding.path) {
        Some(Place { file, line }) => Placed { finding, file: file.clone(), line: Some(*line) },
        None => Placed { finding, file: main.to_string(), line: None },
    };
    let mut placed: Vec<Placed> = findings.into_iter().map(place).collect();
    let order = |placed: &Placed| (plan.included.iter().position(|file| *file == placed.file), placed.line);
    placed.sort_by_key(order);
    placed
}

impl Placed {
    fn text(&self, output: &Output) -> String {
        let line = self.line.map(|line| format!(":{line}")).unwrap_or_default();
        let (word, tone) = match self.finding.severity {
            Severity::Problem => ("problem", Tone::Bad),
            Severity::Warning => ("warning", Tone::Warning),
        };
        let Finding { path, what, hint, .. } = &self.finding;
        format!("{}{line}: {}: {path}: {what}\n  fix: {hint}", self.file, output.paint(word, tone))
    }

    fn document(&self) -> Value {
        let mut document = json!(self.finding);
        document["file"] = json!(self.file);
        document["line"] = json!(self.line);
        document
    }
}
