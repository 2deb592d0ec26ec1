//! What was found out about a condition, in words, and the lines to type.

use super::condition::{Probe, Wish};
use super::question::Answer;
use super::tell::of_line;
use crate::failure::{Failure, FailureKind};
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, shell};
use lifeboat_recovery::spoken;
use lifeboat_recovery::when::Commit;
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
    /// The one that is meant when none is named.
    pub default_database: &'a str,
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
    /// A line that does this with the moment just before.
    fn line(&self, what: &[&str]) -> String {
        let Change { before, commit, .. } = self.change;
        let mut words: Vec<String> = what.iter().map(ToString::to_string).collect();
        words.extend(match commit.as_ref().and_then(|commit| commit.xid) {
            Some(xid) => ["--xid".to_owned(), xid.to_string()],
            None => ["--lsn".to_owned(), before.position.to_string()],
        });
        words.push("--exclusive".to_owned());
        words.extend(of_line(&self.wish.line));
        shell::line(words)
    }

    fn open(&self) -> String {
        self.line(&["lifeboat", "open", self.wish.workload])
    }

    fn rescue(&self) -> String {
        let mut words = vec!["lifeboat", "rescue", self.wish.workload, "--table", "TABLE"];
        if self.database != self.default_database {
            words.extend(["--database", self.database]);
        }
        self.line(&words)
    }

    fn restore(&self) -> String {
        self.line(&["lifeboat", "restore", self.wish.workload, "--to", "DIR"])
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
