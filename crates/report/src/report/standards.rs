//! Which entries answer which clause, and which clause has none. No claim that any is met.
//!
//! Where each clause was read, and what is left out, stands in `docs/runbook-and-report.md`.

mod bearing;
mod clauses;

use super::ReportInput;
use crate::input::Evidence;
use bearing::{is_of_year, named};
use clauses::CLAUSES;
use lifeboat_document::{Document, NoticeKind, Text};
use lifeboat_plan::run::Run;

/// What bears on a clause.
enum Asks {
    /// Drills that passed, of which this holds.
    Drills(fn(&Run) -> bool),
    /// Those of the year before the report.
    DrillsOfYear(fn(&Run) -> bool),
    /// Keys of the configuration, and whatever else the report has.
    Keys(fn(&ReportInput) -> Vec<String>),
    /// Entries of this kind, which no drill is.
    Entries(&'static str),
}

/// Entries shown for one clause; the rest is counted.
const SHOWN_MAX: usize = 4;

pub(super) fn add(document: &mut Document, input: &ReportInput) {
    document.chapter("Clauses, and the evidence for each", "clauses");
    document.notice(
        NoticeKind::Note,
        "This table says which entries and which keys of the configuration bear on a clause. It does not say that the clause is met, and the words are ours, not the standards'. After \"Here:\" stands what the evidence is, where that is less than the clause asks for.",
    );
    let mut none = 0;
    let mut rows = Vec::new();
    for (standard, clause, what, asks) in CLAUSES {
        let found = evidence(input, asks);
        none += usize::from(found.is_empty());
        let shown = match found.len() {
            0 => Text::new().strong("none"),
            count if count > SHOWN_MAX => {
                format!("{} and {} more", found[count - SHOWN_MAX..].join(", "), count - SHOWN_MAX).into()
            }
            _ => found.join(", ").into(),
        };
        rows.push(vec![Text::new().strong(*standard), (*clause).into(), (*what).into(), shown]);
    }
    document.table(&["Standard", "Clause", "Asks for", "Evidence"], rows, "");
    document.paragraph(format!("Without any evidence: {none} of {} clauses.", CLAUSES.len()));
    document.paragraph("Editions: NIST SP 800-34 Rev. 1; ISO 22301:2019; DORA is Regulation (EU) 2022/2554, articles 11 and 12; SOC 2 is the Trust Services Criteria of 2017 with the points of focus of 2022; HIPAA is 45 CFR 164.308(a)(7). What is required there must be done; what is addressable must be done where it is reasonable and appropriate, or it is written down why not.");
}

fn evidence(input: &ReportInput, asks: &Asks) -> Vec<String> {
    let drills = |wanted: &dyn Fn(&Evidence) -> bool| -> Vec<String> {
        let found = input.shown_runs().into_iter().filter(|run| run.passed() && wanted(run));
        found.map(named).collect()
    };
    match asks {
        Asks::Drills(holds) => drills(&|run| holds(&run.run)),
        Asks::DrillsOfYear(holds) => drills(&|run| holds(&run.run) && is_of_year(input, run)),
        Asks::Keys(found) => found(input),
        Asks::Entries(kind) => {
            let found = input.other_entries.iter().filter(|(found, count, _)| found == kind && *count > 0);
            found
                .map(|(_, count, newest)| match count {
                    1 => format!("1 entry, {newest}"),
                    _ => format!("{count} entries, the newest {newest}"),
                })
                .collect()
        }
    }
}
