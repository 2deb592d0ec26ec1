//! What a test restore showed, for people.

use super::boot::Booted;
use crate::failure::Failure;
use crate::output::{Output, Tone, human};
use lifeboat_recovery::{Amcheck, BootReport, Came, TablesReport};
use std::time::Duration;

/// Of the damaged relations, so many are shown; the document has more.
const BAD_SHOWN_MAX: usize = 20;

/// The verdict and what it rests on.
pub fn tell(booted: &Booted, output: &Output) -> Result<(), Failure> {
    let report = &booted.report;
    report.notes.iter().for_each(|note| output.warn(note));
    let verdict = if report.passed() { output.paint("proved", Tone::Good) } else { output.paint("FAILED", Tone::Bad) };
    output.text(&format!("{verdict}  {} of {}: {}", booted.point, booted.workload, recovery_time(report)))?;
    output.text(&format!("  {}", recovery_point(report)))?;
    output.text(&format!("  {}", way(report)))?;
    if let Some(failure) = &report.failure {
        output.text(&format!("  {}  {failure}", output.paint("bad", Tone::Bad)))?;
    }
    match &report.pages {
        Some(pages) => output.text(&format!("  {} pages checked, {} damaged", pages.checked, pages.bad.len()))?,
        None => output.text("  pages not checked: they carry no checksums, or were not reached")?,
    }
    tables(report, output)?;
    for check in &report.checks {
        let word = if check.passed { output.paint("ok", Tone::Good) } else { output.paint("no", Tone::Bad) };
        let said = check.said.as_deref().map(|said| format!(": {said}")).unwrap_or_default();
        output.text(&format!("  {word}  {}{said}", check.sql))?;
    }
    Ok(())
}

/// What is wrong, in one line: for the error that ends the command.
pub fn reason(report: &BootReport) -> Option<String> {
    if let Some(failure) = &report.failure {
        return Some(failure.clone());
    }
    if let Some(page) = report.pages.as_ref().and_then(|pages| pages.bad.first()) {
        return Some(format!("page {} of {} is damaged", page.block, page.path));
    }
    if let Amcheck::Failed(TablesReport { bad, bad_count, .. }) = &report.amcheck {
        let first = bad.first()?;
        let more = if *bad_count > 1 { format!(" (and {} more)", bad_count - 1) } else { String::new() };
        return Some(format!("{} {} in {}: {}{more}", first.kind, first.relation, first.database, first.said));
    }
    report.checks.iter().find(|check| !check.passed).map(|check| format!("a check is not true: {}", check.sql))
}

/// Over a mount it is what an instant restore takes, and no copying one.
fn recovery_time(report: &BootReport) -> String {
    let (of, files) = match report.came {
        Came::Copy { .. } => ("", "fetch and write"),
        Came::Mount { .. } => (" of an instant restore", "mount"),
    };
    format!(
        "RTA{of} {:.1} s ({:.1} s plan, {:.1} s {files}, {:.1} s replay, {:.1} s first query)",
        report.seconds, report.plan_seconds, report.restore_seconds, report.replay_seconds, report.first_query_seconds
    )
}

/// In which way the files came, and why.
fn way(report: &BootReport) -> String {
    match &report.came {
        Came::Copy { because } => format!("every file was written before the start: {because}"),
        Came::Mount { bytes_fetched, bytes_kept_max, .. } => format!(
            "files came when they were read: {} fetched, at most {} kept here",
            human::size(*bytes_fetched),
            human::size(*bytes_kept_max)
        ),
    }
}

fn recovery_point(report: &BootReport) -> String {
    let reached = &report.reached;
    let lsn = report.replayed_to.map_or("nowhere".to_owned(), |lsn| lsn.to_string());
    let age = human::duration(Duration::try_from_secs_f64(reached.seconds_behind).unwrap_or_default());
    let behind = match reached.bytes_behind {
        Some(bytes) => format!("{} behind the server", human::size(bytes)),
        None => "the server was not asked".to_owned(),
    };
    format!("RPA at most {age}: replayed to {lsn}, {behind}")
}

fn tables(report: &BootReport, output: &Output) -> Result<(), Failure> {
    let found = match &report.amcheck {
        Amcheck::NotReached => return output.text("  tables and indexes not checked: they were not reached"),
        Amcheck::NotAsked => return output.text("  tables and indexes not checked: --without-amcheck"),
        Amcheck::NotAvailable { what } => return output.text(&format!("  tables and indexes not checked: {what}")),
        Amcheck::Passed(found) | Amcheck::Failed(found) => found,
    };
    output.text(&format!(
        "  {} tables, {} indexes, {} visibility maps of {} databases checked in {:.1} s, {} things wrong",
        found.tables, found.indexes, found.visibility_maps, found.databases, found.seconds, found.bad_count
    ))?;
    for bad in found.bad.iter().take(BAD_SHOWN_MAX) {
        let word = output.paint("bad", Tone::Bad);
        output.text(&format!("  {word}  {} {} in {}: {}", bad.kind, bad.relation, bad.database, bad.said))?;
    }
    for what in &found.not_checked {
        output.text(&format!("  not checked: {what}"))?;
    }
    Ok(())
}
