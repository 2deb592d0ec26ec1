//! Which entries answer which clause, and which clause has none. No claim that any is met.

use super::ReportInput;
use crate::input::Evidence;
use lifeboat_document::{Document, NoticeKind, Text};
use lifeboat_plan::model::Disruption;

/// What a clause asks for, as far as an entry or the plan can answer it.
enum Asks {
    /// A drill that passed, of any kind.
    Drill,
    /// A drill that passed, of one of these kinds.
    Of(&'static [Disruption]),
    /// A drill with people who took part.
    People,
    /// A drill that was proven to be isolated.
    Isolated,
    /// A drill with a time to recover or a loss.
    Measured,
    /// A drill in which what came back was counted against what was written.
    Counted,
    /// Processes with owner, promise and review.
    Impact,
    /// Risks with an owner.
    Risks,
    /// Drills of the plan.
    Programme,
    /// Findings with owner and day.
    Findings,
    /// Entries of this kind.
    Kind(&'static str),
    /// Tiers.
    Objectives,
}

const CLAUSES: &[(&str, &str, &str, Asks)] = &[
    (
        "NIST SP 800-34",
        "3.2",
        "Business impact analysis: what stops, how long is bearable, in which order",
        Asks::Impact,
    ),
    ("NIST SP 800-34", "3.4", "Recovery strategies and objectives", Asks::Objectives),
    ("NIST SP 800-34", "3.5.1", "Testing: the plan's parts work, with results", Asks::Drill),
    ("NIST SP 800-34", "3.5.3", "Exercises, with the people who would do it", Asks::People),
    ("NIST SP 800-34", "3.6", "Maintenance: what was learnt is worked on", Asks::Findings),
    ("ISO 22301", "8.2.2", "Business impact analysis", Asks::Impact),
    ("ISO 22301", "8.2.3", "Risk assessment", Asks::Risks),
    ("ISO 22301", "8.3", "Strategies and solutions for the objectives", Asks::Objectives),
    ("ISO 22301", "8.5", "Exercise programme, with reports", Asks::Programme),
    ("ISO 22301", "9.1", "Measured against the objectives", Asks::Measured),
    ("ISO 22301", "10.1", "Nonconformity and corrective action", Asks::Findings),
    (
        "DORA",
        "11(6) switchover",
        "Tested at least yearly: loss of a server or site",
        Asks::Of(&[Disruption::Instance, Disruption::Site]),
    ),
    (
        "DORA",
        "11(6) cyber-attack",
        "Tested at least yearly: attack on data and copies",
        Asks::Of(&[Disruption::Ransomware]),
    ),
    ("DORA", "11(10) records", "Records of what happened, and what it cost", Asks::Kind("incident")),
    ("DORA", "12(2)", "Restoration tested periodically", Asks::Drill),
    ("DORA", "12(3)", "Restored on systems that are segregated", Asks::Isolated),
    ("DORA", "12(6)", "Objectives for each function", Asks::Objectives),
    ("DORA", "12(7)", "Checks and reconciliations after a recovery", Asks::Counted),
    ("SOC 2", "A1.2", "Backup and recovery operate, and are monitored", Asks::Kind("ready")),
    ("SOC 2", "A1.3", "Recovery plan procedures are tested", Asks::Measured),
    ("HIPAA", "164.308(a)(7)(ii)(A)", "Data backup plan: copies that can be brought back exactly", Asks::Counted),
    ("HIPAA", "164.308(a)(7)(ii)(B)", "Disaster recovery plan: procedures to restore", Asks::Drill),
    ("HIPAA", "164.308(a)(7)(ii)(C)", "Emergency mode: critical processes go on", Asks::Of(&[Disruption::Site])),
    ("HIPAA", "164.308(a)(7)(ii)(D)", "Testing and revision", Asks::People),
    ("HIPAA", "164.308(a)(7)(ii)(E)", "Criticality of applications and data", Asks::Impact),
];

/// Entries shown for one clause; the rest is counted.
const SHOWN_MAX: usize = 4;

pub(super) fn add(document: &mut Document, input: &ReportInput) {
    document.chapter("Clauses, and the evidence for each", "clauses");
    document.notice(
        NoticeKind::Note,
        "This table says which entries and which keys of the configuration bear on a clause. It does not say that the clause is met, and the words are ours, not the standards'.",
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
}

fn evidence(input: &ReportInput, asks: &Asks) -> Vec<String> {
    let runs = |wanted: &dyn Fn(&Evidence) -> bool| -> Vec<String> {
        let found = input.shown_runs().into_iter().filter(|run| run.passed() && wanted(run));
        found.map(|run| format!("entry {} ({})", run.source(), run.day())).collect()
    };
    let plan = &input.plan;
    match asks {
        Asks::Drill => runs(&|_| true),
        Asks::Of(kinds) => runs(&|run| run.run.disruption.is_some_and(|kind| kinds.contains(&kind))),
        Asks::People => runs(&|run| !run.run.participants.is_empty()),
        Asks::Isolated => {
            runs(&|run| !run.run.isolation.is_empty() && run.run.isolation.iter().all(|proof| proof.holds))
        }
        Asks::Measured => {
            runs(&|run| run.run.measured.fault_to_healthy_seconds.is_some() && run.run.measured.loss_seconds.is_some())
        }
        Asks::Counted => runs(&|run| run.run.measured.writes_checked.is_some_and(|count| count > 0)),
        Asks::Impact => {
            let whole = plan
                .processes
                .iter()
                .filter(|(_, process)| process.owner.is_some() && process.tier.is_some() && process.reviewed.is_some());
            whole.map(|(name, _)| format!("process.{name}")).collect()
        }
        Asks::Risks => {
            plan.risks.iter().filter(|(_, risk)| risk.owner.is_some()).map(|(name, _)| format!("risk.{name}")).collect()
        }
        Asks::Programme => plan.drills.keys().map(|name| format!("drill.{name}")).collect(),
        Asks::Objectives => plan.tiers.keys().map(|name| format!("tier.{name}")).collect(),
        Asks::Findings => {
            let owned = input.findings.iter().filter(|finding| finding.owner.is_some() && finding.due.is_some());
            owned.map(|finding| format!("entry {}", finding.source)).collect()
        }
        Asks::Kind(kind) => {
            let found = input.other_entries.iter().filter(|(found, count, _)| found == kind && *count > 0);
            found.map(|(_, count, newest)| format!("{count} entries, the newest {newest}")).collect()
        }
    }
}
