//! How readiness is told: a table for each group, what to do, and shares. A word says what colour says.

use super::Report;
use crate::failure::Failure;
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, Tone, human};
use jiff::Timestamp;
use lifeboat_plan::readiness::{Answer, Aspect, Check, Group, Severity, Status};
use serde_json::{Value, json};
use std::time::Duration;

impl Report {
    /// For `--json`, and for the ledger.
    pub fn document(&self) -> Value {
        json!({
            "ready": self.overall.is_ready,
            "observed_at": self.observed.at,
            "seconds": self.seconds,
            "configuration_hash": self.observed.stamp.configuration_hash,
            "version": self.observed.stamp.version,
            "overall": self.overall,
            "answers": self.answers,
        })
    }

    /// Shows it.
    pub fn show(&self, explained: Option<&Check>, output: &Output) -> Result<(), Failure> {
        if output.is_json() {
            return output.document(&self.document());
        }
        match explained {
            Some(check) => output.text(&self.explanation(check, output)),
            None => output.text(&self.page(output)),
        }
    }

    fn page(&self, output: &Output) -> String {
        let of_group = |group: Group| {
            let answers: Vec<&Answer> = self.answers.iter().filter(|answer| answer.group == group).collect();
            (!answers.is_empty()).then(|| self.group(group, &answers, output))
        };
        let mut parts: Vec<String> = Group::ALL.into_iter().filter_map(of_group).collect();
        parts.push(self.sum(output));
        parts.join("\n\n")
    }

    fn group(&self, group: Group, answers: &[&Answer], output: &Output) -> String {
        let columns = [
            Column::Left("status"),
            Column::Left("check"),
            Column::Left("of"),
            Column::Right("measured"),
            Column::Right("limit"),
            Column::Right("since"),
        ];
        let shown = answers.iter().filter(|answer| answer.status != Status::Skipped);
        let rows: Vec<Vec<String>> = shown.map(|answer| self.row(answer)).collect();
        let mut text = format!("{}\n", group.word().to_uppercase());
        if !rows.is_empty() {
            text.push_str(&render(&columns, &rows, terminal_width()));
            text.push('\n');
        }
        for line in troubles(answers, output) {
            text.push_str(&format!("\n{line}"));
        }
        let skipped: Vec<String> = skipped(answers);
        if !skipped.is_empty() {
            text.push_str(&format!("\n{}", wrapped(&format!("skipped: {}", skipped.join("; ")))));
        }
        text.trim_end().to_owned()
    }

    fn row(&self, answer: &Answer) -> Vec<String> {
        let figure = |figure: Option<f64>| figure.map(|value| spoken(value, answer.unit)).unwrap_or_default();
        let measured = match (answer.measured, answer.status) {
            (None, Status::NotReady) => "never".to_owned(),
            (measured, _) => figure(measured),
        };
        let limit = answer.threshold.map(|_| format!("{} {}", answer.comparator.sign(), figure(answer.threshold)));
        let since = answer.since.map(|since| age(since, self.observed.at)).unwrap_or_default();
        vec![
            word(answer).to_owned(),
            answer.id.to_owned(),
            answer.target.clone(),
            measured,
            limit.unwrap_or_default(),
            since,
        ]
    }

    fn sum(&self, output: &Output) -> String {
        let shares: Vec<String> = Aspect::ALL
            .into_iter()
            .map(|aspect| {
                let share = self.overall.score.of(aspect);
                format!("{} {} of {}", aspect.word(), share.ready, share.of)
            })
            .collect();
        let (word, tone) = match self.overall.is_ready {
            true => ("READY", Tone::Good),
            false => ("NOT READY", Tone::Bad),
        };
        let overall = &self.overall;
        format!(
            "{}: {} ready, {} not ready, {} unknown, {} warnings, {} skipped; asked in {:.1} s\n{}",
            output.paint(word, tone),
            overall.ready,
            overall.not_ready,
            overall.unknown,
            overall.warnings,
            overall.skipped,
            self.seconds,
            shares.join(", ")
        )
    }

    fn explanation(&self, check: &Check, output: &Output) -> String {
        let mut text = format!(
            "{}: {}\n  group      {}, counts for {}\n  limit      {} {} ({})\n  to do      {}\n  asked by   {}\n",
            check.id,
            check.title,
            check.group.word(),
            check.aspect.word(),
            check.comparator.sign(),
            check.threshold,
            check.unit,
            check.advice,
            check.standards.join(", ")
        );
        for answer in &self.answers {
            let [_, _, _, measured, limit, since] = self.row(answer).try_into().unwrap_or_default();
            let word = output.paint(word(answer), tone(answer));
            text.push_str(&format!("\n{word} {}: {}\n", answer.target, answer.why));
            if let Some(basis) = &answer.threshold_of {
                text.push_str(&format!("  measured   {measured}, limit {limit} ({basis})\n"));
            }
            text.push_str(&format!("  since      {since} ago\n"));
            if !answer.evidence.asked.is_empty() {
                let hash = answer.evidence.answer_hash.as_deref().unwrap_or("no answer");
                text.push_str(&format!("  evidence   {}\n             {hash}\n", answer.evidence.asked));
            }
        }
        text.trim_end().to_owned()
    }
}

/// What isn't as it should be, and what to do; each reason once, with all that it keeps from being known.
fn troubles(answers: &[&Answer], output: &Output) -> Vec<String> {
    let mut lines = Vec::new();
    let mut told: Vec<&str> = Vec::new();
    for answer in answers.iter().filter(|answer| matches!(answer.status, Status::NotReady | Status::Unknown)) {
        let same: Vec<&&Answer> = match answer.status {
            Status::Unknown => {
                answers.iter().filter(|other| other.status == Status::Unknown && other.why == answer.why).collect()
            }
            _ => Vec::new(),
        };
        let word = output.paint(word(answer), tone(answer));
        if same.len() < 2 {
            let line = wrapped(&format!("{} of {}: {}", answer.id, answer.target, answer.why));
            let advice = answer.advice.as_deref().unwrap_or_default();
            lines.push(format!("{word} {line}\n  {}", wrapped(advice)));
        } else if !told.contains(&answer.why.as_str()) {
            told.push(&answer.why);
            let mut ids: Vec<&str> = same.iter().map(|other| other.id).collect();
            ids.dedup();
            lines.push(format!("{word} {}", wrapped(&format!("{}: {}", ids.join(", "), answer.why))));
        }
    }
    lines
}

/// Broken between words where a terminal ends, the following lines indented.
fn wrapped(text: &str) -> String {
    const WIDTH: usize = 96;
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is one from the beginning");
        let is_full = !line.is_empty() && line.chars().count() + 1 + word.chars().count() > WIDTH;
        match is_full {
            true => lines.push(word.to_owned()),
            false if line.is_empty() => line.push_str(word),
            false => line.push_str(&format!(" {word}")),
        }
    }
    lines.join("\n  ")
}

/// Each reason once, with the checks that it keeps from being asked.
fn skipped(answers: &[&Answer]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for answer in answers.iter().filter(|answer| answer.status == Status::Skipped) {
        match reasons.iter_mut().find(|(why, _)| *why == answer.why) {
            Some((_, checks)) => checks.push(answer.id),
            None => reasons.push((&answer.why, vec![answer.id])),
        }
    }
    for (_, checks) in &mut reasons {
        checks.dedup();
    }
    reasons.into_iter().map(|(why, checks)| format!("{} ({why})", checks.join(", "))).collect()
}

fn word(answer: &Answer) -> &'static str {
    match (answer.status, answer.severity) {
        (Status::NotReady, Severity::Warning) => "warning",
        (status, _) => status.word(),
    }
}

fn tone(answer: &Answer) -> Tone {
    match (answer.status, answer.severity) {
        (Status::Ready | Status::Skipped, _) => Tone::Good,
        (_, Severity::Warning) => Tone::Warning,
        _ => Tone::Bad,
    }
}

fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs_f64().max(0.0);
    if seconds < 1.0 { "now".to_owned() } else { human::duration(Duration::from_secs_f64(seconds)) }
}

/// A figure with its unit.
fn spoken(value: f64, unit: &str) -> String {
    match unit {
        _ if !value.is_finite() => "unknown".to_owned(),
        "seconds" if (0.0..1e12).contains(&value) => human::duration(Duration::from_secs_f64(value)),
        "bytes" if value >= 0.0 => human::size(value as u64),
        "days" => format!("{value:.0} d"),
        "ratio" => format!("{value:.2}"),
        _ => format!("{value}"),
    }
}
