//! What was found out about a condition, in words, and the lines to type.

use super::condition::{Probe, Wish};
use super::question::Answer;
use crate::failure::{Failure, FailureKind};
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use lifeboat_recovery::when::Commit;
use lifeboat_recovery::{TimelineChoice, spoken};
use serde_json::{Value, json};

/// Where the answer changed.
pub struct Change {
    pub before: Probe,
    pub after: Probe,
    /// What lies between the two. None when it is more than a commit, or less.
    pub commit: Option<Commit>,
    /// Between the two lies what can't be reached.
    pub is_in_hole: bool,
}

/// What is told.
pub struct Told<'a> {
    pub wish: &'a Wish<'a>,
    pub database: &'a str,
    pub change: &'a Change,
    pub probes: &'a [Probe],
    /// More answers were seen than one change explains.
    pub is_one_of_several: bool,
}

/// `16/B374D848, 2026-11-21 13:02:58Z: false`.
pub fn moment_and_answer(probe: &Probe, wish: &Wish<'_>) -> String {
    let at = probe.seen.at.map(|at| format!(", {}", spoken(at, wish.line.zone.as_ref()))).unwrap_or_default();
    format!("{}{at}: {}", probe.position, probe.seen.answer.in_full())
}

/// Nothing is to be found between answers that are the same.
pub fn same(low: &Probe, high: &Probe, wish: &Wish<'_>, database: &str) -> Failure {
    let message = format!("{} in database {database} is the same at both ends", wish.condition);
    let mut failure = Failure::new(FailureKind::NotFound, message);
    failure.details = [low, high].map(|probe| moment_and_answer(probe, wish)).into();
    let hint = match (&low.seen.answer, &high.seen.answer) {
        (Answer::Nothing(_), Answer::Nothing(_)) => {
            "write names as in SQL, with their schema, and give --database NAME"
        }
        _ => {
            "if it changed and changed back, a narrower --since and --until can show it; \
             `lifeboat points` shows what can be reached"
        }
    };
    failure.with_hint(hint)
}

impl Told<'_> {
    /// How to see the moment just before, what ends each line to type.
    fn before(&self) -> String {
        let Change { before, commit, .. } = self.change;
        match commit.as_ref().and_then(|commit| commit.xid) {
            Some(xid) => format!("--xid {xid} --exclusive{}", self.line()),
            None => format!("--lsn {} --exclusive{}", before.position, self.line()),
        }
    }

    /// On which line of history, as far as it was said.
    fn line(&self) -> String {
        let timeline = match self.wish.line.timeline {
            TimelineChoice::Exactly(timeline) => format!(" --timeline {timeline}"),
            _ => String::new(),
        };
        let from = self.wish.line.location.as_ref().map(|location| format!(" --from {location}")).unwrap_or_default();
        format!("{timeline}{from}")
    }

    fn open(&self) -> String {
        format!("lifeboat open {} {}", self.wish.workload, self.before())
    }

    fn rescue(&self) -> String {
        format!("lifeboat rescue {} --table TABLE {}", self.wish.workload, self.before())
    }

    fn restore(&self) -> String {
        format!("lifeboat restore {} --to DIR {}", self.wish.workload, self.before())
    }

    fn document(&self) -> Value {
        let probe = |probe: &Probe| {
            let mut document = json!(probe.seen.answer);
            document["lsn"] = json!(probe.position);
            document["at"] = json!(probe.seen.at);
            document
        };
        let Change { before, after, commit, is_in_hole } = self.change;
        let mut finding = json!({
            "what": "answer_changed",
            "xid": commit.and_then(|commit| commit.xid),
            "committed": commit.is_some(),
            "at": commit.and_then(|commit| commit.at),
            "lsn": commit.map(|commit| commit.start),
            "restore_lsn": before.position,
            "timeline": commit.map(|commit| commit.timeline),
            "before": probe(before),
            "after": probe(after),
            "open": self.open(),
            "rescue": self.rescue(),
            "restore": self.restore(),
        });
        if *is_in_hole {
            finding["in_hole"] = json!(true);
        }
        json!({
            "workload": self.wish.workload,
            "asked": "changed",
            "condition": self.wish.condition,
            "database": self.database,
            "findings": [finding],
            "one_of_several": self.is_one_of_several,
            "probes": self.probes.iter().map(probe).collect::<Vec<_>>(),
        })
    }
}

/// Prints it.
pub fn tell(told: &Told<'_>, output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&told.document());
    }
    let Change { before, after, commit, is_in_hole } = told.change;
    output.text(&format!("{} in database {}", told.wish.condition, told.database))?;
    if let Some(commit) = commit {
        let columns = [
            Column::Left("committed"),
            Column::Right("xid"),
            Column::Left("before"),
            Column::Left("after"),
            Column::Right("position"),
        ];
        let row = vec![
            commit.at.map_or("unknown".into(), |at| spoken(at, told.wish.line.zone.as_ref())),
            commit.xid.map_or("unknown".into(), |xid| xid.to_string()),
            before.seen.answer.spoken().into(),
            after.seen.answer.spoken().into(),
            commit.start.to_string(),
        ];
        output.text(&render(&columns, &[row], terminal_width()))?;
        for probe in [before, after] {
            if let Answer::Nothing(why) = &probe.seen.answer {
                output.text(&format!("no answer: {why}"))?;
            }
        }
    } else {
        let why = match is_in_hole {
            true => "log is missing there, and no moment between can be reached",
            false => {
                "no transaction committed there: perhaps it asks for what isn't undone by a rollback, as a sequence, \
                      or doesn't answer the same twice"
            }
        };
        output.text(&format!("it changed between these, and closer it can't be told: {why}"))?;
        for probe in [before, after] {
            output.text(&format!("  {}", moment_and_answer(probe, told.wish)))?;
        }
    }
    output.text(&format!(
        "\nto ask the moment just before, and to bring something back from it\n  {}\n  {}\n  {}",
        told.open(),
        told.rescue(),
        told.restore()
    ))?;
    let several = match told.is_one_of_several {
        true => "the answer changed more than once, and this is one of the changes",
        false => "this is one change; whether the answer changed there and back elsewhere was not looked at",
    };
    output.hint(&format!("{several}: --since and --until look at a part"));
    Ok(())
}
