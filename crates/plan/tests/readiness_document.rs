//! `docs/readiness.md` has the table of checks that the code has.

use lifeboat_plan::readiness::{CHECKS, Severity};
use std::fmt::Write;

fn table() -> String {
    let mut table = "| check | what should hold | limit | counts for | asked by |\n|---|---|---|---|---|\n".to_owned();
    let mut group = None;
    for check in &CHECKS {
        if group != Some(check.group) {
            group = Some(check.group);
            writeln!(table, "| **{}** | | | | |", check.group).expect("write to a string");
        }
        let mark = if check.severity == Severity::Warning { " (warning)" } else { "" };
        let standards = check.standards.join(", ");
        let (title, limit) = (check.title, check.threshold);
        let aspect = check.aspect.word();
        writeln!(table, "| {}{mark} | {title} | {limit} | {aspect} | {standards} |", check.id)
            .expect("write to a string");
    }
    table
}

#[test]
fn the_document_has_the_table_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/readiness.md");
    let document = std::fs::read_to_string(path).expect("docs/readiness.md");
    let table = table();
    assert!(document.contains(&table), "docs/readiness.md must have this table, as the code has it:\n\n{table}");
}

/// A table is read column by column: a bar in a cell would be one more.
#[test]
fn no_cell_breaks_the_table() {
    for check in &CHECKS {
        for cell in [check.id, check.title, check.threshold] {
            assert!(!cell.contains('|') && !cell.contains('\n'), "{}", check.id);
        }
    }
}
