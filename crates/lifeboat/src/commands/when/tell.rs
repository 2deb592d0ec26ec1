//! What was found, in words, and the line to type.

use super::Asked;
use crate::failure::Failure;
use crate::output::Output;
use crate::output::table::{Column, render, terminal_width};
use lifeboat_postgres::Lsn;
use lifeboat_recovery::when::{Deed, Finding, Found, Looked, Search, TableName};
use lifeboat_recovery::{Target, TimelineChoice, Wanted, plan, spoken};
use serde_json::{Value, json};
use std::cmp::Reverse;

/// So many are told, those with the most rows; `--json` has all.
const ROWS_MAX: usize = 20;

/// What the answer is about.
pub struct Told<'a> {
    pub asked: Asked,
    pub workload: &'a str,
    pub table: &'a TableName,
    pub found: &'a Found,
    pub looked: Looked,
    pub search: &'a Search,
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
    /// The line that brings back the moment just before, or why there is none.
    fn restore(&self, lsn: Lsn) -> Result<String, String> {
        let wanted = Wanted { target: Target::Lsn(lsn), ..self.search.line.clone() };
        plan(&self.found.known, &wanted).map_err(|refusal| refusal.reason.to_string())?;
        let timeline = match wanted.timeline {
            TimelineChoice::Exactly(timeline) => format!(" --timeline {timeline}"),
            _ => String::new(),
        };
        let from = wanted.location.map(|location| format!(" --from {location}")).unwrap_or_default();
        Ok(format!("lifeboat restore {} --to DIR --lsn {lsn} --exclusive{timeline}{from}", self.workload))
    }

    fn document(&self, findings: &[&Finding]) -> Value {
        let one = |finding: &&Finding| {
            let mut document = json!(finding);
            match self.restore(finding.restore_lsn) {
                Ok(line) => document["restore"] = json!(line),
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
    output.text("\nto bring back the moment just before")?;
    for finding in shown {
        let line = told.restore(finding.restore_lsn);
        let line = line.unwrap_or_else(|reason| format!("can't be reached: {reason}"));
        output.text(&format!("  {}: {line}", finding.xid))?;
    }
    output.hint(
        "with the same --lsn, `lifeboat open` shows that moment, and `lifeboat rescue --table` brings back only the table",
    );
    Ok(())
}
