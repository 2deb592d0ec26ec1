//! `docs/failover.md` has the tables that the code has.

use lifeboat_failover::{TRANSITIONS, Timing};
use std::fmt::Write;

fn has(table: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/failover.md");
    let document = std::fs::read_to_string(path).expect("docs/failover.md");
    assert!(document.contains(table), "docs/failover.md must have this table, as the code has it:\n\n{table}");
}

#[test]
fn the_states_are_those_of_the_code() {
    let mut table = String::from("| from | to | when | what is done |\n|---|---|---|---|\n");
    for way in TRANSITIONS {
        writeln!(table, "| {} | {} | {} | {} |", way.from, way.to, way.when, way.done).expect("a string");
    }
    has(&table);
}

#[test]
fn the_times_are_those_of_the_code() {
    let (local, regions) = (Timing::local(), Timing::regions());
    let rows = [
        ("pulse to each other member", local.pulse_interval, regions.pulse_interval),
        ("no sign of the primary is suspicious after", local.silence_limit, regions.silence_limit),
        ("the same, when its host says that no agent listens", local.refusal_limit, regions.refusal_limit),
        ("renewal of the lease", local.renew_interval, regions.renew_interval),
        ("an operation on the lease store is given up after", local.operation_timeout, regions.operation_timeout),
        ("lifetime of the lease", local.lifetime, regions.lifetime),
        ("before its end the database begins to be stopped", local.stop_margin, regions.stop_margin),
        ("a candidate asks for promises", local.canvass_timeout, regions.canvass_timeout),
        (
            "of a switchover: from when new connections are held to the stop of the database",
            local.drain_grace,
            regions.drain_grace,
        ),
        (
            "who has promised looks for the new lease every",
            local.promised_look_interval(),
            regions.promised_look_interval(),
        ),
        ("a database that doesn't answer is given up after", local.database_timeout, regions.database_timeout),
        ("commits stop waiting for a standby that is away after", local.voter_timeout, regions.voter_timeout),
    ];
    let mut table = String::from("| | local | regions |\n|---|---|---|\n");
    for (what, local, regions) in rows {
        writeln!(table, "| {what} | {local:?} | {regions:?} |").expect("a string");
    }
    has(&table);
}
