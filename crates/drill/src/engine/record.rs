//! How a step is written down.

use super::{Current, Planned, Rehearsal};
use crate::scenario::tolerance::{brief, part, text};
use jiff::Timestamp;
use lifeboat_plan::run::{Outcome, Phase, Step};
use serde_json::Value;
use std::time::Duration;

/// What doing something showed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// What there was to see.
    pub value: Value,
    /// Why it didn't work, if so.
    pub wrong: Option<String>,
    /// Of all that was printed.
    pub hash: Option<String>,
    /// Who did or confirmed it.
    pub by: Option<String>,
    /// It took too long.
    pub is_late: bool,
}

impl Seen {
    pub fn wrong(why: impl Into<String>) -> Self {
        Self { wrong: Some(why.into()), ..Self::default() }
    }

    pub fn of(value: impl Into<Value>) -> Self {
        Self { value: value.into(), ..Self::default() }
    }
}

impl Rehearsal<'_> {
    /// Judges what was seen, and writes it down.
    pub(super) fn note(&mut self, current: Current, seen: Seen) -> Outcome {
        let step = &current.planned.step;
        let looked_at = step.path.as_ref().map_or(Some(&seen.value), |path| part(&seen.value, path));
        let refused = step.tolerance.as_ref().and_then(|tolerance| tolerance.refuses(looked_at));
        let missing = step.keeps.values().find(|path| part(&seen.value, path).is_none_or(Value::is_null));
        let missing = missing.map(|path| format!("there is no {path} in what was seen"));
        let wrong = seen.wrong.clone().or(refused).or(missing);
        let outcome = match (&wrong, seen.is_late) {
            (_, true) => Outcome::TimedOut,
            (Some(_), _) => Outcome::NotHeld,
            (None, _) => Outcome::Held,
        };
        if outcome == Outcome::Held {
            self.keep(&current.planned, &seen.value);
        }
        let shown = wrong.or_else(|| looked_at.filter(|value| !value.is_object() && !value.is_null()).map(text));
        self.push(&current, outcome, shown.map(|shown| brief(&shown)).filter(|shown| !shown.is_empty()), seen);
        outcome
    }

    fn keep(&mut self, planned: &Planned, value: &Value) {
        for (name, path) in &planned.step.keeps {
            self.meanings.extend(part(value, path).map(|found| (name.clone(), text(found))));
        }
        for (name, path) in &planned.step.measures {
            let found = part(value, path).and_then(Value::as_f64);
            self.run().measured.others.extend(found.map(|found| (name.clone(), found)));
        }
        if planned.step.alert {
            self.run().alert_seen = Some(true);
        }
    }

    fn push(&mut self, current: &Current, outcome: Outcome, shown: Option<String>, seen: Seen) {
        let step = Step {
            phase: current.planned.phase,
            name: self.name_of(&current.planned),
            did: current.did.clone(),
            started_at: Some(current.started_at),
            ended_at: Some(Timestamp::now()),
            outcome,
            counts: current.planned.step.counts,
            seen: shown,
            output_hash: seen.hash,
            by: seen.by.clone(),
        };
        let took = step.ended_at.and_then(|end| Some(end.duration_since(step.started_at?).as_secs_f64()));
        let word = match outcome {
            Outcome::Held => "held",
            Outcome::NotHeld => "DID NOT HOLD",
            Outcome::TimedOut => "TOOK TOO LONG",
            Outcome::Skipped => "skipped",
        };
        let because = step.seen.as_ref().filter(|_| outcome != Outcome::Held).map(|seen| format!(": {seen}"));
        (self.tell)(&format!("  {word} ({:.1} s){}", took.unwrap_or_default(), because.unwrap_or_default()));
        if let Some(by) = seen.by {
            let participants = &mut self.run().participants;
            if !participants.contains(&by) {
                participants.push(by);
            }
        }
        self.run().steps.push(step);
        self.write_journal();
    }

    /// A step that was not begun.
    pub(super) fn skip(&mut self, planned: &Planned) {
        let name = self.name_of(planned);
        self.run().steps.push(Step {
            phase: planned.phase,
            name,
            did: crate::words::spoken(&planned.step.action),
            started_at: None,
            ended_at: None,
            outcome: Outcome::Skipped,
            counts: planned.step.counts,
            seen: None,
            output_hash: None,
            by: None,
        });
    }

    /// One of our own steps of the cleanup.
    pub(crate) fn note_own(&mut self, phase: Phase, name: &str, started_at: Timestamp, wrong: Option<String>) {
        (self.tell)(&format!("{name}: {}", wrong.as_deref().unwrap_or("done")));
        self.run().steps.push(Step {
            phase,
            name: name.to_owned(),
            did: name.to_owned(),
            started_at: Some(started_at),
            ended_at: Some(Timestamp::now()),
            outcome: if wrong.is_some() { Outcome::NotHeld } else { Outcome::Held },
            counts: true,
            seen: wrong,
            output_hash: None,
            by: None,
        });
    }

    fn name_of(&self, planned: &Planned) -> String {
        let own = &planned.step.name;
        match self.around.workloads.get(planned.workload) {
            Some(protected) if planned.step.each => format!("{own} ({})", protected.name),
            _ => own.clone(),
        }
    }

    /// What has happened is on disk. That it can't be written is told, and stops nothing: the cleanup must still come.
    pub(crate) fn write_journal(&mut self) {
        if let Err(error) = self.journal.write(&self.around.journal_dir) {
            (self.tell)(&format!("warning: the journal could not be written: {error}"));
        }
    }

    pub(super) fn began(&mut self, planned: &Planned, did: String) -> Current {
        let number = self.journal.run.steps.len() + 1;
        (self.tell)(&format!("{number}. {}\n   {did}", self.name_of(planned)));
        Current { planned: planned.clone(), did, started_at: Timestamp::now() }
    }

    /// So long may a step still take.
    pub(super) fn limit_of(planned: &Planned) -> Duration {
        planned.step.time_limit
    }
}
