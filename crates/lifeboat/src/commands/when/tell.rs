//! What was found, in words, and the line to type.

use super::Asked;
use crate::failure::Failure;
use crate::output::table::{Column, render, terminal_width};
use crate::output::{Output, shell};
use lifeboat_postgres::Lsn;
use lifeboat_recovery::when::{Deed, Finding, Found, Looked, Search, TableName};
use lifeboat_recovery::{Target, TimelineChoice, Wanted, plan, spoken};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// So many are told, those with the most rows; `--json` has all.
const ROWS_MAX: usize = 20;
/// With so many, each has all lines that may be typed next.
const WITH_ALL_LINES_MAX: usize = 5;

/// What the answer is about.
pub struct Told<'a> {
    pub asked: Asked,
    pub workload: &'a str,
    /// The database that is meant when none is named.
    pub default_database: &'a str,
    pub table: &'a TableName,
    pub found: &'a Found,
    pub looked: Looked,
    pub search: &'a Search,
}

/// The options that name a line of history and a location, as far as they were given.
pub fn of_line(line: &Wanted) -> Vec<String> {
    let timeline = match line.timeline {
        TimelineChoice::Exactly(timeline) => Some(["--timeline".to_owned(), timeline.to_string()]),
        _ => None,
    };
    let from = line.location.as_ref().map(|location| ["--from".to_owned(), location.clone()]);
    timeline.into_iter().chain(from).flatten().collect()
}

/// What was done, to follow "transaction 700".
pub fn past(deed: &Deed) -> String {
    match deed {
        Deed::Dropped => "dropped".into(),
        Deed::DroppedWithDatabase => "dropped, with its database,".into(),
        Deed::FileGone => "dropped, truncated or rewrote".into(),
        Deed::Truncated => "truncated".into(),
        Deed::Deleted { rows } => format!("deleted {rows} {} of", if *rows == 1 { "row" } else { "rows" }),
        Deed::Renamed { to } => format!("renamed to {to}"),
    }
}

/// In a column of its own.
fn what(deed: &Deed) -> String {
    match deed {
        Deed::DroppedWithDatabase => "dropped with its database".into(),
        Deed::FileGone => "dropped, truncated or rewritten: the log doesn't tell".into(),
        Deed::Deleted { .. } => "rows deleted".into(),
        deed => past(deed),
    }
}

impl Told<'_> {
    /// Why the moment can't be brought back, if it can't.
    fn reaches(&self, lsn: Lsn) -> Result<(), String> {
        let wanted = Wanted { target: Target::Lsn(lsn), ..self.search.line.clone() };
        plan(&self.found.known, &wanted).map(drop).map_err(|refusal| refusal.reason.to_string())
    }

    /// What takes the table from a moment, without the moment.
    fn rescue(&self) -> Vec<String> {
        let mut words: Vec<String> = ["lifeboat", "rescue", self.workload, "--table"].map(str::to_owned).into();
        words.push(self.table.to_string());
        if self.table.database != self.default_database {
            words.extend(["--database".to_owned(), self.table.database.clone()]);
        }
        words
    }

    /// A line that does this with the moment just before.
    fn line(&self, what: &[&str], lsn: Lsn) -> String {
        let mut words: Vec<String> = what.iter().map(ToString::to_string).collect();
        words.extend(["--lsn".to_owned(), lsn.to_string(), "--exclusive".to_owned()]);
        words.extend(of_line(&self.search.line));
        shell::line(words)
    }

    /// The lines that restore, look at and take the table from the moment just before.
    fn lines(&self, lsn: Lsn) -> [String; 3] {
        let (workload, rescue) = (self.workload, self.rescue());
        let rescue: Vec<&str> = rescue.iter().map(String::as_str).collect();
        let [restore, open] = [&["lifeboat", "restore", workload, "--to", "DIR"][..], &["lifeboat", "open", workload]];
        [restore, open, &rescue].map(|what| self.line(what, lsn))
    }

    fn document(&self, findings: &[&Finding]) -> Value {
        let one = |finding: &&Finding| {
            let mut document = json!(finding);
            let [restore, open, rescue] = self.lines(finding.restore_lsn);
            match self.reaches(finding.restore_lsn) {
                Ok(()) => {
                    (document["restore"], document["open"], document["rescue"]) =
                        (json!(restore), json!(open), json!(rescue));
                }
                Err(reason) => document["unreachable"] = json!(reason),
            }
            document
        };
        json!({
            "workload": self.workload,
            "asked": self.asked.said(),
            "table": self.table,
            "findings": findings.iter().map(one).collect::<Vec<_>>(),
            "looked": {
                "from": self.looked.from,
                "to": self.looked.to,
                "from_time": self.looked.from_time,
                "last_at": self.looked.last_at,
            },
            "notes": self.found.notes,
        })
    }

    fn row(&self, finding: &Finding) -> Vec<String> {
        let at = finding.at.map_or("unknown".into(), |at| spoken(at, self.search.line.zone.as_ref()));
        let rows = match (&finding.deed, finding.rows_estimated) {
            (Deed::Deleted { rows }, _) => rows.to_string(),
            (_, Some(rows)) => format!("about {rows}"),
            (_, None) => "not known".into(),
        };
        vec![at, finding.xid.to_string(), what(&finding.deed), rows, finding.lsn.to_string()]
    }
}

/// Those with the most rows, in the order of the log.
fn largest<'a>(findings: &[&'a Finding]) -> Vec<&'a Finding> {
    let mut chosen = findings.to_vec();
    chosen.sort_by_key(|finding| Reverse((finding.deed.weight(), finding.lsn)));
    chosen.truncate(ROWS_MAX);
    chosen.sort_by_key(|finding| finding.lsn);
    chosen
}

/// Prints it, the newest last.
pub fn tell(told: &Told<'_>, findings: &[&Finding], output: &Output) -> Result<(), Failure> {
    if output.is_json() {
        return output.document(&told.document(findings));
    }
    output.text(&format!("{} in database {}", told.table, told.table.database))?;
    let columns = [
        Column::Left("committed"),
        Column::Right("xid"),
        Column::Left("what"),
        Column::Right("rows"),
        Column::Left("position"),
    ];
    let shown = largest(findings);
    let rows: Vec<Vec<String>> = shown.iter().map(|finding| told.row(finding)).collect();
    output.text(&render(&columns, &rows, terminal_width()))?;
    if shown.len() < findings.len() {
        let hidden = findings.len() - shown.len();
        output
            .text(&format!("and {hidden} that deleted fewer: --json has them, --since and --until leave them out"))?;
    }
    if shown.len() > WITH_ALL_LINES_MAX {
        output.text("\nto bring back the moment just before")?;
        for finding in shown {
            let [restore, ..] = told.lines(finding.restore_lsn);
            let line =
                told.reaches(finding.restore_lsn).map_or_else(|why| format!("can't be reached: {why}"), |()| restore);
            output.text(&format!("  {}: {line}", finding.xid))?;
        }
        output.hint(&format!(
            "with the same --lsn, `{}` shows that moment, and `{}` brings back only the table",
            shell::line(["lifeboat", "open", told.workload]),
            shell::line(told.rescue())
        ));
        return Ok(());
    }
    output.text("\nto bring back the moment just before, to look at it, or to bring back only the table")?;
    for finding in shown {
        let behind = format!("\n{}", " ".repeat(finding.xid.to_string().len() + "  : ".len()));
        let lines = match told.reaches(finding.restore_lsn) {
            Ok(()) => told.lines(finding.restore_lsn).join(&behind),
            Err(reason) => format!("can't be reached: {reason}"),
        };
        output.text(&format!("  {}: {lines}", finding.xid))?;
    }
    Ok(())
}
